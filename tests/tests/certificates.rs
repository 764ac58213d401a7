//! The webhook's certificate, which the watcher makes and renews: no call of the API server fails for it.
//!
//! Each test has an installation of its own in the cluster: namespace, webhook configuration, Secrets, webhooks, watcher.
//! What takes months is begun shortly before it is due, and what takes minutes takes seconds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod certificates {
    mod beginning;
    mod clients;
    mod connections;
    mod damage;
    mod load;
    pub(super) mod planted;
    mod rotation;
    pub(super) mod site;
}

use std::time::Duration;

use system_tests::{Backout, BackoutOptions, Cluster, backout, mount::Mount};
use tokio::sync::OnceCell;

/// Longer than anything lasts here: a succession whose watcher dies at each step waits twice for the replicas.
const PATIENCE: Duration = Duration::from_mins(3);

/// A cluster with Backout in it, whose watcher has made the webhook's certificate from nothing.
async fn ground() -> (&'static Cluster, &'static Backout) {
    static MOUNT: OnceCell<Mount> = OnceCell::const_new();
    let cluster = Cluster::shared().unwrap();
    let start = || Mount::start(cluster, backout::NAMESPACE, "backout-webhook-tls", Duration::ZERO);
    let mount = MOUNT.get_or_try_init(start).await.unwrap();
    let mut options = BackoutOptions {
        manage_certificates: true,
        webhook_certificate: Some(mount.pair()),
        ..BackoutOptions::default()
    };
    options.watcher_args.extend(["--webhook-name", "127.0.0.1"].map(str::to_owned));
    Backout::shared_with(options).unwrap()
}
