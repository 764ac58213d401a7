//! The Kubernetes components, built from their Go modules once and kept in a cache outside the work tree.
//!
//! # Guarantees
//! A component in the cache is complete: it is built under another name, asked for its version, and renamed. Builds of
//! several processes at once wait for each other; none is done twice.

mod recipe;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use self::recipe::{GO_ENVIRONMENT, Module};
use crate::process;

/// One program of the control plane, or one of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The database.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers of the workloads.
    KubeControllerManager,
    /// The scheduler.
    KubeScheduler,
    /// The command line client.
    Kubectl,
    /// The package manager.
    Helm,
    /// The simulator of nodes.
    Kwok,
    /// The agent of a real node.
    Kubelet,
    /// The Services of a real node.
    KubeProxy,
}

impl Component {
    /// What a cluster with simulated nodes needs.
    pub const CLUSTER: &[Self] = &[
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Helm,
        Self::Kwok,
    ];

    /// The name of the executable.
    pub fn name(self) -> &'static str {
        self.recipe().name
    }
}

/// Built components.
#[derive(Clone, Debug)]
pub struct Components {
    dir: PathBuf,
}

impl Components {
    /// Builds what is missing of the wanted components. Blocks, for minutes the first time.
    pub fn build(wanted: &[Component]) -> Result<Self> {
        let go = go_version()?;
        let dir = cache_dir()?.join("components").join(digest(&go)?);
        ensure_built(&dir, wanted, &build_with_go)?;
        Ok(Self { dir })
    }

    /// The executable. It exists if it was among the wanted ones.
    pub fn path(&self, component: Component) -> PathBuf {
        self.dir.join(component.name())
    }
}

/// Fills `dir` with the wanted components, by `build`, which makes one under the name it is told.
pub fn ensure_built(
    dir: &Path,
    wanted: &[Component],
    build: &dyn Fn(Component, &Path) -> Result<()>,
) -> Result<()> {
    let missing = || wanted.iter().copied().filter(|component| !dir.join(component.name()).is_file());
    if missing().next().is_none() {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let lock = File::create(dir.join("lock"))?;
    if lock.try_lock().is_err() {
        progress("waiting for another process that is building the components …\n");
        lock.lock()?;
    }
    let missing: Vec<_> = missing().collect();
    for (done, component) in missing.iter().enumerate() {
        let name = component.name();
        progress(&format!(
            "building {name} ({} of {}, the first time takes {}) …",
            done + 1,
            missing.len(),
            component.recipe().hint
        ));
        let start = Instant::now();
        let unfinished = dir.join(format!(".{name}.unfinished"));
        build(*component, &unfinished).with_context(|| format!("cannot build {name}"))?;
        fs::rename(&unfinished, dir.join(name))?;
        progress(&format!(" {} s\n", start.elapsed().as_secs()));
    }
    Ok(())
}

/// Where things are kept between runs.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("BACKOUT_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME") {
        return Ok(PathBuf::from(dir).join("backout"));
    }
    let home = std::env::home_dir()
        .context("no home directory: set BACKOUT_CACHE to a folder for built components")?;
    Ok(home.join(".cache/backout"))
}

/// Shown even while a test runner captures what tests print.
pub(crate) fn progress(text: &str) {
    let mut err = std::io::stderr();
    let _ = err.write_all(text.as_bytes());
    let _ = err.flush();
}

fn build_with_go(component: Component, target: &Path) -> Result<()> {
    let recipe = component.recipe();
    let mut command = process::guarded(Path::new("go"), None)?;
    command.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &recipe::link_flags()?, "-o"]);
    command.arg(target).arg(recipe.package).current_dir(recipe.module.dir());
    command.envs(GO_ENVIRONMENT.iter().copied()).env_remove("GOOS").env_remove("GOARCH");
    let mut child = command.spawn()?;
    let _kept_open_while_we_live = child.stdin.take();
    let status = child.wait()?;
    ensure!(status.success(), "`go build {}` failed ({status}), see its output above", recipe.package);

    let output = Command::new(target).args(recipe.ask).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = component.version()?;
    ensure!(
        said.contains(version.trim_start_matches('v')),
        "{} should be {version}, but says: {said}",
        recipe.name
    );
    Ok(())
}

fn digest(go: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for module in [Module::ControlPlane, Module::Kwok] {
        hash.update(module.go_mod());
        hash.update(module.go_sum());
    }
    hash.update(recipe::link_flags()?);
    hash.update(format!("{GO_ENVIRONMENT:?} {go}"));
    let mut text = String::new();
    for byte in &hash.finalize()[..8] {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

fn go_version() -> Result<String> {
    let output =
        match Command::new("go").arg("version").env("GOTOOLCHAIN", "local").stdin(Stdio::null()).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("no `go` command found: {NEEDS_GO}"),
            other => other.context("cannot run `go version`")?,
        };
    let Output { status, stdout, .. } = output;
    let said = String::from_utf8_lossy(&stdout).trim().to_owned();
    ensure!(status.success(), "`go version` failed ({status}): {NEEDS_GO}");
    ensure!(new_enough(&said), "`go version` says \"{said}\", which is too old: {NEEDS_GO}");
    Ok(said)
}

fn new_enough(said: &str) -> bool {
    let numbers = said.split_whitespace().find_map(|word| word.strip_prefix("go1."));
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    numbers.and_then(|rest| digits(rest).parse::<u32>().ok()).is_some_and(|minor| minor >= 24)
}

const NEEDS_GO: &str = "the Kubernetes components are built with Go 1.24 or newer. \
    Install it from https://go.dev/dl or with your system's package manager, so that `go` is on the PATH";

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn two_builds_at_once_build_each_component_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("digest");
        let builds = AtomicUsize::new(0);
        let slowly = |_: Component, path: &Path| {
            builds.fetch_add(1, Ordering::SeqCst);
            let mut file = File::create_new(path)?;
            file.write_all(b"half")?;
            thread::sleep(Duration::from_millis(50));
            file.write_all(b"whole")?;
            fs::remove_file(path)?;
            Ok(fs::write(path, "halfwhole")?)
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    ensure_built(&target, &[Component::Etcd, Component::Helm], &slowly).unwrap();
                    assert_eq!(fs::read_to_string(target.join("etcd")).unwrap(), "halfwhole");
                });
            }
        });
        assert_eq!(builds.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_failed_build_leaves_nothing_that_looks_built() {
        let dir = tempfile::tempdir().unwrap();
        let fails = |_: Component, path: &Path| -> Result<()> {
            fs::write(path, "half")?;
            bail!("compiler error")
        };
        assert!(ensure_built(dir.path(), &[Component::Kwok], &fails).is_err());
        assert!(!dir.path().join("kwok").exists());
        ensure_built(dir.path(), &[Component::Kwok], &|_, path| Ok(fs::write(path, "whole")?)).unwrap();
    }

    #[test]
    fn go_before_1_24_is_refused() {
        assert!(!new_enough("go version go1.23.9 linux/amd64"));
        assert!(new_enough("go version go1.24rc1 linux/amd64"));
        assert!(new_enough("go version go1.26.8 linux/amd64"));
        assert!(!new_enough("nonsense"));
    }
}
