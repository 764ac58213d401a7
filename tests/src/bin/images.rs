//! `cargo images`: builds the images of Backout with buildah, as files that any registry or node can take.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use system_tests::{guard, images};

/// Builds static programs, and an image of each, as an archive that `docker load`, `ctr images import` and `skopeo copy` read, with
/// its bill of materials beside it, as `CycloneDX`.
#[derive(Debug, Parser)]
#[command(name = "cargo images")]
struct Args {
    /// The folder to write them to.
    #[arg(long, default_value = "target/images")]
    out: PathBuf,
}

fn main() -> ExitCode {
    if let Some(code) = guard::serve_if_asked() {
        return code;
    }
    match images::build(&Args::parse().out) {
        Ok(images) => {
            for image in images {
                let (archive, bill) = (image.archive.display(), image.bill.display());
                println!("{} {} KiB {archive} {bill}", image.name, image.size >> 10);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("The images could not be built: {error:#}");
            ExitCode::FAILURE
        }
    }
}
