//! The folder of one cluster: removed with it, or by the next start when its owner was killed.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::process;

/// A folder that is locked for as long as its owner lives.
pub(crate) struct WorkDir {
    path: PathBuf,
    _owned: File,
}

impl WorkDir {
    pub(crate) fn create(keep: bool) -> Result<Self> {
        let root = root()?;
        // Nobody may take a folder for abandoned between its creation and its locking.
        let everyone = File::create(root.join("lock"))?;
        everyone.lock()?;
        sweep(&root);
        let path = tempfile::Builder::new().prefix("cluster-").tempdir_in(&root)?.keep();
        let owned = File::create(path.join(OWNER))?;
        owned.lock()?;
        fs::create_dir(path.join("logs"))?;
        let dir = Self { path, _owned: owned };
        if keep {
            dir.keep();
        }
        Ok(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Leaves the folder to people.
    pub(super) fn keep(&self) {
        let _ = File::create(self.path.join(KEEP));
    }

    pub(super) fn log_tails(&self, lines: usize) -> String {
        let Ok(entries) = fs::read_dir(self.logs()) else {
            return String::new();
        };
        let mut logs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        let tail =
            |path: &PathBuf| format!("--- the end of {}\n{}\n", path.display(), process::tail(path, lines));
        logs.iter().map(tail).collect::<Vec<_>>().concat()
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.path.join(KEEP).exists() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn root() -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let root = std::env::temp_dir().join(format!("backout-{user}"));
    DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
    let owner = fs::symlink_metadata(&root)?;
    ensure!(owner.is_dir() && owner.uid() == user, "{} belongs to someone else", root.display());
    Ok(root)
}

/// Removes what killed owners left; of failed runs the logs stay for a day.
fn sweep(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let _ = sweep_one(&path);
    }
}

fn sweep_one(path: &Path) -> Result<()> {
    if File::open(path.join(OWNER)).is_ok_and(|owner| owner.try_lock().is_err()) {
        return Ok(());
    }
    let age = |path: &Path| -> Result<Duration> { Ok(fs::metadata(path)?.modified()?.elapsed()?) };
    if age(&path.join(KEEP)).is_ok_and(|age| age < KEPT_FOR) {
        return Ok(());
    }
    fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))
}

const OWNER: &str = "owner.lock";
const KEEP: &str = "keep";
const KEPT_FOR: Duration = Duration::from_hours(24);
