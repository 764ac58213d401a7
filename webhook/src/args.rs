//! The configuration: every setting of the webhook, with its default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use backout_model::release::duration;
use backout_runtime::telemetry::LogFormat;
use clap::Parser;

/// Records every write of a deployer before it commits, so that it can be undone.
#[derive(Clone, Debug, Parser)]
#[command(name = "backout-webhook", version)]
pub struct Args {
    /// Address for admission requests, HTTPS.
    #[arg(long, env = "BACKOUT_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Address for /livez, /readyz and /metrics, plain HTTP.
    #[arg(long, env = "BACKOUT_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
    /// The server's certificate chain, PEM. Read again when it changes.
    #[arg(long, env = "BACKOUT_TLS_CERT", default_value = "/tls/tls.crt")]
    pub tls_cert: PathBuf,
    /// The certificate's private key, PEM.
    #[arg(long, env = "BACKOUT_TLS_KEY", default_value = "/tls/tls.key")]
    pub tls_key: PathBuf,
    /// Authorities, PEM: only clients with a certificate of one of them are served. Needs an API server that is
    /// configured to authenticate itself to webhooks.
    #[arg(long, env = "BACKOUT_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// Namespace of the undo log.
    #[arg(long, env = "BACKOUT_NAMESPACE", default_value = "backout-system")]
    pub namespace: String,
    /// A service account, as NAMESPACE:NAME, that deploys whatever it writes. The webhook's configuration has to let
    /// its writes through as well: print one for the same accounts with --print-configuration.
    #[arg(long = "deployer", env = "BACKOUT_DEPLOYER", value_delimiter = ',')]
    pub deployers: Vec<String>,
    /// Print the webhook's configuration for the API server, as JSON, and exit.
    #[arg(long)]
    pub print_configuration: bool,
    /// Time to go on serving after SIGTERM, until the cluster knows that this replica is gone.
    #[arg(long, env = "BACKOUT_GRACE", default_value = "10s", value_parser = duration)]
    pub grace: Duration,
    /// How the log is written: text or json.
    #[arg(long, env = "BACKOUT_LOG_FORMAT", default_value_t)]
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`.
    #[arg(long, env = "BACKOUT_LOG", default_value = "info,kube=warn")]
    pub log: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_that_is_no_duration_is_refused_with_the_rule() {
        let with = |grace: &str| Args::try_parse_from(["backout-webhook", "--grace", grace]);
        assert_eq!(with("1m30s").unwrap().grace, Duration::from_secs(90));
        for text in ["soon", "1s-2s", "99999999999999999999h"] {
            let refused = with(text).unwrap_err().to_string();
            assert!(refused.contains("it must be a duration such as 90s or 10m"), "{refused}");
        }
    }
}
