//! What goes on, and what does not, while a part of Backout is dead; and what is left of it afterwards: nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod outages {
    mod compacted;
    mod fence;
    mod forgotten;
    mod open;
    mod watcher;
    mod webhook;
}

use system_tests::{
    Backout, demo,
    stories::{Quiet, Stage},
};
use tokio::sync::{Mutex, MutexGuard};

/// A stage of which parts may be killed: only one test at a time has it.
async fn stage() -> (Stage<'static>, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let alone = ALONE.lock().await;
    let (cluster, backout) = Backout::shared().unwrap();
    for process in [backout.webhook(), backout.watcher()] {
        // A test before this one may have failed in between.
        if process.exit().is_some() {
            process.restart().await.unwrap();
        }
    }
    backout.wait_ready().await.unwrap();
    demo::definitions(cluster).await.unwrap();
    (
        Stage {
            cluster,
            backout: Some(backout),
            tell: &Quiet,
            suffix: format!("-{:08x}", rand::random::<u32>()),
        },
        alone,
    )
}
