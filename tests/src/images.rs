//! The images of Backout, as users install them: static programs, and nothing else.

mod bill;

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

pub use self::bill::bill;
use crate::{
    backout::{cargo_build, target_dir, workspace_root},
    components::progress,
    node::requirements,
};

/// The programs; each has an image of its own.
pub const PROGRAMS: [&str; 2] = ["backout-webhook", "backout-watcher"];

/// An image in a file, as `docker save` writes it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Such as `backout-webhook:0.1.0`.
    pub name: String,
    /// The file.
    pub archive: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The file of its bill of materials.
    pub bill: PathBuf,
}

/// What is missing on this machine, a phrase each.
pub fn missing() -> Vec<String> {
    requirements::missing_of(&[("buildah", "buildah")])
}

/// The target that the programs are built for.
pub fn triple() -> String {
    format!("{ARCH}-unknown-linux-gnu")
}

/// Builds the programs, then the images and their bills, into `out`. Blocks, for minutes the first time.
pub fn build(out: &Path) -> Result<Vec<Image>> {
    let programs = static_programs()?;
    fs::create_dir_all(out)?;
    // Not every machine can mount overlays, or has the files that buildah is set up by.
    let policy = out.join("policy.json");
    fs::write(&policy, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)?;
    let storage = out.join("storage");
    let buildah = |args: &[&str]| {
        let mut buildah = Command::new("buildah");
        buildah.env("PATH", requirements::search_path());
        buildah.arg("--storage-driver=vfs").arg("--root").arg(storage.join("root"));
        buildah.arg("--runroot").arg(storage.join("run")).args(args).arg("--signature-policy").arg(&policy);
        buildah
    };
    let images = PROGRAMS.map(|program| {
        let name = format!("{program}:{}", env!("CARGO_PKG_VERSION"));
        let (archive, bill) = (out.join(format!("{program}.tar")), out.join(format!("{program}.cdx.json")));
        let stage = program.trim_start_matches("backout-");
        let build = ["build", "--isolation=chroot", "--target", stage, "--tag", &name];
        run(buildah(&build).arg("--file").arg(workspace_root().join("Dockerfile")).arg(&programs))?;
        // It refuses to write into an archive that is there.
        if archive.exists() {
            fs::remove_file(&archive)?;
        }
        let target = format!("docker-archive:{}:{name}", archive.display());
        run(buildah(&["push"]).args([&name, &target]))?;
        let size = fs::metadata(&archive)?.len();
        fs::write(&bill, serde_json::to_vec_pretty(&self::bill(program)?)?)?;
        Ok(Image { name, archive, size, bill })
    });
    images.into_iter().collect()
}

/// The folder of the programs, linked with all that they need.
fn static_programs() -> Result<PathBuf> {
    progress("building static programs, for minutes the first time …\n");
    let triple = triple();
    cargo_build(&PROGRAMS, |cargo| {
        cargo.args(["--release", "--locked", "--target", &triple]);
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    })?;
    let target_dir = target_dir()?;
    // A context of its own: all that is in it is sent along.
    let (built, context) = (target_dir.join(triple).join("release"), target_dir.join("images"));
    fs::create_dir_all(&context)?;
    for program in PROGRAMS {
        let (from, to) = (built.join(program), context.join(program));
        fs::copy(&from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(context)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("cannot run buildah")?;
    ensure!(output.status.success(), "buildah failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
