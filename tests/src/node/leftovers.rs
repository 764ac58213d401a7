//! What a node leaves on the machine when it was killed.

use std::{
    env,
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

/// Waits until no other test has a node, and removes what the last one left. The next one waits for the file to close.
pub(super) fn claim() -> Result<(File, Leftovers)> {
    let path = env::temp_dir().join("backout-node.lock");
    let alone = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    alone.lock()?;
    sweep();
    Ok((alone, Leftovers))
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

/// One by controller, or the only one where the hierarchy is unified.
fn control_groups() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([root.to_owned()]).map(|hierarchy| hierarchy.join(CONTROL_GROUP));
    groups.filter(|group| group.is_dir()).collect()
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
