//! Tests that this machine lacks something for.

use std::{io::Write as _, sync::OnceLock};

/// Says what is not tried and why: once for a test binary, and to where it is seen although nothing failed.
pub fn skip(what: &str, why: &str) {
    static SAID: OnceLock<()> = OnceLock::new();
    SAID.get_or_init(|| {
        let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what} ***\n{why}\n");
    });
}
