//! Reviews that are not the API server's. Anyone who can reach the webhook may send some, where it does not ask for client
//! certificates: nothing that they claim is ever written to the cluster, and what is real goes on as if they were not there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod forgery {
    mod alone;
    mod beside;
    mod cases;
    mod scene;
    mod tags;
}

use std::time::Duration;

/// A revision ends in half a minute on an idle machine; a record without an object goes after 40 s.
const PATIENCE: Duration = Duration::from_mins(4);
