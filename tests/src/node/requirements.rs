//! What a real node takes that not every machine has.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What is missing on this machine, a phrase each.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::getuid().is_root() {
        missing.push("root".to_owned());
    }
    missing.extend(missing_of(COMMANDS));
    if plugins().is_none() {
        missing.push(format!("the network plugins {PLUGINS:?} (Debian: containernetworking-plugins)"));
    }
    missing
}

/// Which of these commands are missing, each given with Debian's package of it, a phrase each.
pub(crate) fn missing_of(commands: &[(&str, &str)]) -> Vec<String> {
    let search = search_path();
    let is_there = |command: &str| env::split_paths(&search).any(|dir| dir.join(command).is_file());
    let missing = commands.iter().filter(|(command, _)| !is_there(command));
    missing.map(|(command, package)| format!("the command {command} (Debian: {package})")).collect()
}

/// The folder of the network plugins.
pub(super) fn plugins() -> Option<PathBuf> {
    let has_all = |dir: &&str| PLUGINS.iter().all(|plugin| Path::new(dir).join(plugin).is_file());
    PLUGIN_DIRS.into_iter().find(has_all).map(PathBuf::from)
}

/// The `PATH` with the administrator's commands, which a root shell need not have.
pub(crate) fn search_path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&own).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(dirs).unwrap_or(own)
}

const COMMANDS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("tar", "tar"),
];

const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// Debian's, and everybody else's.
const PLUGIN_DIRS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
