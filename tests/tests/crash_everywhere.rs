//! The watcher or the webhook killed at any request it makes in the life of a revision: the end is always the same.
//!
//! # Method
//! All their requests go through a proxy. Of each scenario there is a reference run that nobody disturbs; it tells which
//! requests there are. Then, for each of them, the scenario is played again, and the process killed before that request
//! is forwarded, after it is forwarded and before it is answered, or after it is answered. The new process must reach
//! the state of the reference run. Several namespaces are at it at a time, with one watcher: each of its deaths hits
//! all of them, one at a chosen request and the others wherever they are.
//!
//! By default a small sample is tried; `BACKOUT_SEED` replays one, `BACKOUT_EVERYTHING=1` tries all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod crash_everywhere {
    pub(super) mod arena;
    pub(super) mod lane;
    pub(super) mod point;
    pub(super) mod sample;
    pub(super) mod scenario;
}

use crash_everywhere::{point::Site, sample::everywhere, scenario::Scenario};

#[tokio::test]
async fn a_watcher_killed_at_any_request_of_a_bad_upgrade_puts_everything_back() {
    everywhere(Scenario::BadUpgrade, &[Site::Watcher], 15).await;
}

#[tokio::test]
async fn a_watcher_killed_at_any_request_of_a_bad_install_takes_it_down_again() {
    everywhere(Scenario::BadInstall, &[Site::Watcher], 12).await;
}

#[tokio::test]
async fn a_watcher_killed_at_any_request_of_a_good_release_leaves_it_healthy_and_untouched() {
    everywhere(Scenario::Good, &[Site::Watcher], 8).await;
}

#[tokio::test]
async fn a_watcher_killed_at_any_request_of_a_superseded_revision_judges_the_one_that_is_there() {
    everywhere(Scenario::Superseded, &[Site::Watcher], 10).await;
}

#[tokio::test]
async fn a_webhook_killed_at_any_call_of_a_bad_upgrade_refuses_the_write_and_leaves_no_hole_in_the_log() {
    everywhere(Scenario::BadUpgrade, &[Site::Webhook, Site::Review], 8).await;
}
