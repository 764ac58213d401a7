//! Runs one command that dies with the process that started this one: see `system_tests::guard`.

use std::process::ExitCode;

fn main() -> ExitCode {
    system_tests::guard::run(std::env::args_os().skip(1))
}
