//! What was seen of a failed revision lies in a Secret beside its Release before anything is restored; it gives nothing
//! away, and whatever goes wrong with it, the rollback does not wait for it for long.
//!
//! The nodes of this cluster are simulated: where a log is asked for, nobody answers, unless the test does. The watcher
//! has the shipped permissions only in the namespaces where the test grants it the right to gather evidence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod evidence {
    mod aside;
    pub(super) mod ground;
    mod hindered;
    mod kept;
    mod kubelet;
    mod shown;
}
