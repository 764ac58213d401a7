//! Backout's watcher: judges releases, and restores what was there before those that fail.

use std::process::ExitCode;

use backout_watcher::Args;
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match backout_watcher::run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backout-watcher: {error:#}");
            ExitCode::FAILURE
        }
    }
}
