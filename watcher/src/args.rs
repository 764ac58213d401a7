//! The watcher's command line: the reference of its configuration.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use backout_model::{
    certificates::{Settings, service_names},
    release::{Action, Policy, duration},
    rollback::Options,
};
use backout_runtime::telemetry::LogFormat;
use clap::{ArgAction, Parser};

use crate::certificates::Names;

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

    /// Make and renew the webhook's certificate, and tell the API server of its authority. Switch it off where something
    /// else does that, such as cert-manager.
    #[arg(long, env = "BACKOUT_MANAGE_CERTIFICATES", default_value_t = true, action = ArgAction::Set)]
    pub manage_certificates: bool,

    /// Which, and where they lie.
    #[command(flatten)]
    pub certificates: CertificateArgs,

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

/// Which certificates are made, and where they lie.
#[derive(Clone, Debug, clap::Args)]
pub struct CertificateArgs {
    /// The webhook's Service.
    #[arg(long, env = "BACKOUT_WEBHOOK_SERVICE", default_value = "backout-webhook")]
    pub webhook_service: String,

    /// The Secret with the webhook's certificate, tls.crt and tls.key, that its pods mount.
    #[arg(long, env = "BACKOUT_WEBHOOK_SECRET", default_value = "backout-webhook-tls")]
    pub webhook_secret: String,

    /// The Secret with the authority that signs the webhook's certificate, and its key.
    #[arg(long, env = "BACKOUT_AUTHORITY_SECRET", default_value = "backout-webhook-ca")]
    pub authority_secret: String,

    /// The mutating webhook configuration with which the API server calls the webhook.
    #[arg(long, env = "BACKOUT_WEBHOOK_CONFIGURATION", default_value = "zz-backout")]
    pub webhook_configuration: String,

    /// Further names or addresses that the webhook is called by, where the configuration gives a URL in place of the
    /// Service.
    #[arg(long = "webhook-name", env = "BACKOUT_WEBHOOK_NAME", value_delimiter = ',')]
    pub webhook_names: Vec<String>,

    /// For how long the webhook's certificate is valid. It is renewed when a third of that is left.
    #[arg(long, env = "BACKOUT_CERTIFICATE_VALIDITY", default_value = "720h", value_parser = duration)]
    pub certificate_validity: Duration,

    /// For how long the authority is valid. The next one begins when a third of that is left.
    #[arg(long, env = "BACKOUT_AUTHORITY_VALIDITY", default_value = "8760h", value_parser = duration)]
    pub authority_validity: Duration,

    /// How long all API servers may take to read a changed configuration.
    #[arg(long, env = "BACKOUT_TRUST_DELAY", default_value = "1m", value_parser = duration)]
    pub trust_delay: Duration,

    /// How long all replicas of the webhook may take to load a changed certificate: the kubelet's time, and theirs.
    #[arg(long, env = "BACKOUT_RELOAD_DELAY", default_value = "10m", value_parser = duration)]
    pub reload_delay: Duration,
}

impl CertificateArgs {
    pub(crate) fn names(&self, namespace: &str) -> Names {
        Names {
            namespace: namespace.to_owned(),
            serving: self.webhook_secret.clone(),
            authority: self.authority_secret.clone(),
            configuration: self.webhook_configuration.clone(),
        }
    }

    pub(crate) fn settings(&self, namespace: &str) -> Settings {
        // An address is written in one way only.
        let canonical = |name: &String| {
            name.parse::<IpAddr>().map_or_else(|_| name.clone(), |address| address.to_string())
        };
        let mut names = service_names(&self.webhook_service, namespace);
        names.extend(self.webhook_names.iter().map(canonical));
        Settings {
            names,
            authority_lasts: self.authority_validity,
            leaf_lasts: self.certificate_validity,
            trusted_after: self.trust_delay,
            loaded_after: self.reload_delay,
        }
    }
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
