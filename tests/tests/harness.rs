//! Proof that the harness itself does what the other tests rely on. One cluster for all tests, all at once.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test too")]

mod harness {
    mod clients;
    mod cluster;
    mod pods;
    mod processes;
    mod proxy;
}
