//! `cargo demo`: what Backout does, told as it happens on a real cluster of this machine.

use std::process::ExitCode;

use clap::Parser as _;
use system_tests::{demo, guard};

fn main() -> ExitCode {
    // `cargo run --bin demo` builds no other binary: this one guards its own children.
    if let Some(code) = guard::serve_if_asked() {
        return code;
    }
    demo::run(&demo::Args::parse())
}
