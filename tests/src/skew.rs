//! Wall clocks that go wrong: a library that is loaded before the C library shifts what a process takes for the time.
//! Its monotonic clock stays right.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;

/// The environment of a process whose wall clock is this many seconds ahead, or behind.
pub fn environment(cluster: &Cluster, seconds: i64) -> Result<Vec<(String, OsString)>> {
    let library = cluster.dir().join("skew.so");
    if !library.exists() {
        build(&library)?;
    }
    Ok(vec![
        ("LD_PRELOAD".to_owned(), library.into_os_string()),
        ("BACKOUT_TEST_SKEW".to_owned(), seconds.to_string().into()),
    ])
}

fn build(library: &Path) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/skew.c");
    let mut command = Command::new("cc");
    let output = command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(source).output();
    let output = output.context("cannot run the C compiler `cc`")?;
    ensure!(output.status.success(), "skew.c is not compiled: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
