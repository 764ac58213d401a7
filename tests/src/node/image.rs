//! The images of a node, built from nothing but one static program: there is no registry.

use std::{
    env::consts::ARCH,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::IMAGE;

/// What holds the namespaces of a pod.
pub(super) const PAUSE: &str = "local/pause:1";

/// Writes `images/app.tar`, as `docker save` would.
pub(super) fn pack(dir: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]).arg(dir.join("app"));
    go.arg(".").current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node/app"));
    run(go.envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOWORK", "off")]))?;
    tar(dir, "layer.tar", &["app"])?;

    let mut digest = String::new();
    for byte in Sha256::digest(fs::read(dir.join("layer.tar"))?) {
        write!(digest, "{byte:02x}")?;
    }
    let architecture = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "os": "linux",
        "architecture": architecture,
        "config": { "Entrypoint": ["/app"], "Cmd": ["pause"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [PAUSE, IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(dir.join("config.json"), config.to_string())?;
    fs::write(dir.join("manifest.json"), manifest.to_string())?;
    fs::create_dir_all(dir.join("images"))?;
    tar(dir, "images/app.tar", &["manifest.json", "config.json", "layer.tar"])
}

fn tar(dir: &Path, archive: &str, files: &[&str]) -> Result<()> {
    run(Command::new("tar").args(["--owner=0", "--group=0", "-cf", archive]).args(files).current_dir(dir))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status}), see its output above");
    Ok(())
}
