//! The watcher's command line: the reference of its configuration.

use std::{net::SocketAddr, time::Duration};

use backout_model::{
    release::{Action, Policy, duration},
    rollback::Options,
};
use backout_runtime::telemetry::LogFormat;
use clap::{ArgAction, Parser};

/// Judges the releases of opted-in namespaces, and undoes those that fail.
#[derive(Clone, Debug, Parser)]
#[command(name = "backout-watcher", version)]
pub struct Args {
    /// Where to serve /livez, /readyz and /metrics (plain HTTP).
    #[arg(long, env = "BACKOUT_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,

    /// The namespace of the undo records.
    #[arg(long, env = "BACKOUT_NAMESPACE", default_value = "backout-system")]
    pub namespace: String,

    /// Work only while holding the Lease `backout-watcher`, so that one of several watchers works.
    #[arg(long, env = "BACKOUT_LEADER_ELECT", default_value_t = true, action = ArgAction::Set)]
    pub leader_elect: bool,

    /// Who this watcher is, as the Lease tells: another name for each that runs, the same one again after a restart.
    #[arg(long, env = "BACKOUT_IDENTITY", default_value_t = host())]
    pub identity: String,

    /// How many releases are worked on at the same time.
    #[arg(long, env = "BACKOUT_WORKERS", default_value_t = 16)]
    pub workers: u16,

    /// Quiet time that ends a revision's writes, unless a namespace or Release says otherwise.
    #[arg(long, env = "BACKOUT_SETTLE", default_value = "5s", value_parser = duration)]
    pub settle: Duration,

    /// Time to become ready, unless a namespace or Release says otherwise.
    #[arg(long, env = "BACKOUT_DEADLINE", default_value = "10m", value_parser = duration)]
    pub deadline: Duration,

    /// Time to stay ready, unless a namespace or Release says otherwise.
    #[arg(long, env = "BACKOUT_SOAK", default_value = "60s", value_parser = duration)]
    pub soak: Duration,

    /// What to do with a failed first install: Rollback, Hold or Notify.
    #[arg(long, env = "BACKOUT_ON_INSTALL_FAILURE", default_value = "Rollback")]
    pub on_install_failure: Action,

    /// What to do with a failed upgrade: Rollback, Hold or Notify.
    #[arg(long, env = "BACKOUT_ON_UPGRADE_FAILURE", default_value = "Rollback")]
    pub on_upgrade_failure: Action,

    /// For how long one failing pod is kept running after a rollback, unless a namespace or Release says otherwise.
    #[arg(long, env = "BACKOUT_KEEP_FAILING_POD", default_value = "0s", value_parser = duration)]
    pub keep_failing_pod: Duration,

    /// Restore roles and role bindings too. The watcher then needs the verbs `bind` and `escalate`.
    #[arg(long, env = "BACKOUT_RESTORE_RBAC")]
    pub restore_rbac: bool,

    /// How the log is written: text or json.
    #[arg(long, env = "BACKOUT_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// What is logged, in the syntax of `RUST_LOG`.
    #[arg(long, env = "BACKOUT_LOG", default_value = "info,kube=warn")]
    pub log: String,
}

/// The name of the pod: the kubelet makes it the host's.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Args {
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            settle: self.settle,
            deadline: self.deadline,
            soak: self.soak,
            keep_failing_pod: self.keep_failing_pod,
            on_install_failure: self.on_install_failure,
            on_upgrade_failure: self.on_upgrade_failure,
            ..Policy::default()
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options { accept_unverified: false, restore_rbac: self.restore_rbac }
    }
}
