//! The binaries under test, built as the running one was.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{components::progress, process};

/// The executables.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) webhook: PathBuf,
    pub(super) watcher: PathBuf,
    /// The folder of `kubectl-backout`.
    pub(super) plugins: PathBuf,
}

impl Binaries {
    /// Builds them, or takes them from `BACKOUT_BIN_DIR`.
    pub(super) fn build() -> Result<Self> {
        let dir = match env::var_os("BACKOUT_BIN_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => build_with_cargo()?,
        };
        let binary = |name: &str| -> Result<PathBuf> {
            let path = dir.join(name);
            ensure!(path.is_file(), "there is no {}", path.display());
            Ok(path)
        };
        binary("kubectl-backout")?;
        let (webhook, watcher) = (binary("backout-webhook")?, binary("backout-watcher")?);
        Ok(Self { webhook, watcher, plugins: dir })
    }
}

fn build_with_cargo() -> Result<PathBuf> {
    progress("building the webhook, the watcher and the plugin …\n");
    let profile_dir = profile_dir()?;
    // With this package among them all dependencies have the features that they were built with before.
    let packages = ["backout-webhook", "backout-watcher", "backout-cli", "system-tests"];
    cargo_build(&packages, |cargo| {
        cargo.arg("--bins");
        if profile_dir.file_name() == Some(OsStr::new("release")) {
            cargo.arg("--release");
        }
    })?;
    Ok(profile_dir)
}

/// Builds packages of the workspace, in the target folder of the running executable.
pub(crate) fn cargo_build(packages: &[&str], options: impl FnOnce(&mut Command)) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = process::guarded(Path::new(&cargo), None)?;
    command.args(["build", "--quiet"]);
    for package in packages {
        command.args(["--package", package]);
    }
    command.arg("--target-dir").arg(target_dir()?).current_dir(workspace_root());
    options(&mut command);
    forget_running_package(&mut command);
    let mut child = command.spawn()?;
    let _kept_open_while_we_live = child.stdin.take();
    let status = child.wait()?;
    ensure!(status.success(), "building Backout failed ({status}), see above");
    Ok(())
}

/// Cargo describes the running package in variables that build scripts watch: inherited, they would make each build
/// of the one kind rebuild what the other kind has built.
fn forget_running_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let foreign = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if name.to_str().is_some_and(|name| foreign.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
}

/// `debug` or `release` in the target folder: the running executable lies there, or in `deps` below.
fn profile_dir() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let dir = exe.parent().context("an executable lies in a folder")?;
    let dir = if dir.file_name() == Some(OsStr::new("deps")) { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.to_owned())
}

/// The target folder of the build that the running executable is of.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let profile_dir = profile_dir()?;
    Ok(profile_dir.parent().context("a profile's folder lies in the target folder")?.to_owned())
}

/// Where the workspace was when this was compiled.
pub(crate) fn workspace_root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
