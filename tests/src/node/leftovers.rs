//! What a node leaves on the machine when it was killed.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::requirements;

/// The bridge that the pods hang on.
pub(super) const BRIDGE: &str = "backout-node";

/// The control group above those of all containers.
pub(super) const CONTROL_GROUP: &str = "backout-node";

/// Removes what was left when it is dropped.
pub(super) struct Leftovers;

/// Waits until no other test has a node, and removes what the last one left; then there is but an empty control group. The
/// next one waits for the file to close.
pub(super) fn claim(lock: &Path) -> Result<(File, Leftovers)> {
    let alone = File::create(lock).with_context(|| format!("cannot write {}", lock.display()))?;
    alone.lock()?;
    sweep();
    let leftovers = Leftovers;
    for hierarchy in hierarchies() {
        let group = hierarchy.join(CONTROL_GROUP);
        fs::create_dir(&group).with_context(|| format!("cannot create {}", group.display()))?;
    }
    Ok((alone, leftovers))
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        sweep();
    }
}

fn sweep() {
    let mut ip = Command::new("ip");
    ip.args(["link", "delete", BRIDGE]).env("PATH", requirements::search_path());
    // It is no error that there is none.
    let _ = ip.stdout(Stdio::null()).stderr(Stdio::null()).status();
    for group in control_groups() {
        // The killed are still on their way out.
        let deadline = Instant::now() + Duration::from_secs(5);
        while remove(&group).is_err() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What there is of a node on this machine, a phrase each: processes in its containers, its bridge, its control groups.
pub fn remains() -> Vec<String> {
    let is_group = |path: &str| path.split('/').any(|part| part == CONTROL_GROUP);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut remains: Vec<_> = processes
        .filter(|process| fs::read_to_string(process.join("cgroup")).is_ok_and(|groups| is_group(&groups)))
        .map(|process| format!("process {}", process.display()))
        .collect();
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        remains.push(format!("bridge {BRIDGE}"));
    }
    remains.extend(control_groups().iter().map(|group| format!("control group {}", group.display())));
    remains
}

fn control_groups() -> Vec<PathBuf> {
    let groups = hierarchies().into_iter().map(|hierarchy| hierarchy.join(CONTROL_GROUP));
    groups.filter(|group| group.is_dir()).collect()
}

/// One by controller, or the only one where they are unified.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    if is_hierarchy(&root) {
        return vec![root];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    // Of controllers that share a hierarchy all names but one are links.
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).filter(|dir| is_hierarchy(dir)).collect()
}

fn is_hierarchy(dir: &Path) -> bool {
    dir.join("cgroup.procs").is_file()
}

/// Control groups are removed one by one, from the leaves; their files are not.
fn remove(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
