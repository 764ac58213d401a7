//! Every way in which a deployer can write: each is recorded, and undone when its release fails.
//!
//! A [`Case`] is a healthy release and a change of it by the real clients. What fails the change is a Job of the same
//! release that runs from the beginning, and fails at the end: so no case depends on how long its writes take. All cases run side by side, each in a namespace of its own.
//! `BACKOUT_CASE=NAME` plays one of them alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod every_write {
    mod case;
    mod creations;
    mod deletions;
    mod hurdles;
    mod kinds;
    mod large;
    mod outsiders;
    mod replacements;
    mod scene;
    mod updates;
    mod workloads;
}
