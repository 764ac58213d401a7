//! The admission half of Backout: tags every write of a deployer and records how to undo it, before it commits.
//!
//! [`service`] takes the requests, [`review`] decides them with the model, [`releases`] knows the releases, [`joins`]
//! who may reach into those of other namespaces, [`log`] makes the records durable.

mod args;
pub mod configuration;
pub mod joins;
pub mod log;
pub mod metrics;
pub mod releases;
pub mod review;
pub mod service;

use std::{io, sync::Arc};

use backout_model::identity::{Deployers, NotAnAccount};
use backout_runtime::{
    admin, api, metrics as runtime_metrics,
    readiness::Readiness,
    server::{Limits, Server, ServerMetrics},
    tls::{Files, Tls, TlsError},
};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use args::Args;

use crate::{joins::Joins, log::Log, metrics::Metrics, review::Reviewer, service::Service};

/// Serves until `drain` is cancelled and every request is answered.
pub async fn run(args: Args, drain: CancellationToken) -> Result<(), Error> {
    let deployers = Deployers::new(&args.deployers)?;
    let registry = Registry::new();
    runtime_metrics::process(&registry, env!("CARGO_PKG_VERSION"))?;
    api::register(&registry)?;
    let metrics = Metrics::register(&registry)?;
    let tls = Arc::new(Tls::load(files(&args), &registry)?);
    let client = api::connect().await?;
    let readiness = Readiness::register(&registry)?;
    let (releases, follow_releases) =
        releases::follow(client.clone(), readiness.gate("release cache"), metrics.clone());
    let log = Log::new(client.clone(), args.namespace.clone());
    let reviewer = Reviewer::new(deployers, releases, Joins::new(client), log, metrics.clone());
    let service = Arc::new(Service::new(reviewer, metrics));

    let limits = Limits { grace: args.grace, ..Limits::default() };
    let server_metrics = ServerMetrics::register(&registry)?;
    let server = Server::bind(args.listen, Arc::clone(&tls), limits, server_metrics)
        .await
        .map_err(|source| Error::Bind { address: args.listen.to_string(), source })?;
    let admin = TcpListener::bind(args.admin_listen)
        .await
        .map_err(|source| Error::Bind { address: args.admin_listen.to_string(), source })?;
    tracing::info!(listen = %args.listen, admin = %args.admin_listen, "serving");

    let end = CancellationToken::new();
    let handler = move |request| Arc::clone(&service).handle(request);
    tokio::select! {
        complete = server.serve(handler, readiness.clone(), drain) => {
            end.cancel();
            if complete { Ok(()) } else { Err(Error::Unanswered) }
        }
        // These end with the process; before that their end is a failure.
        () = follow_releases => Err(Error::Task("the watch of releases")),
        () = tls.follow(end.clone()) => Err(Error::Task("the watch of the certificate")),
        () = admin::serve(admin, readiness.clone(), registry, end.clone()) => Err(Error::Task("the admin port")),
    }
}

fn files(args: &Args) -> Files {
    Files { certificate: args.tls_cert.clone(), key: args.tls_key.clone(), client_ca: args.client_ca.clone() }
}

/// Why the webhook stopped, or never started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--deployer` is no service account.
    #[error("--deployer")]
    Deployer(#[from] NotAnAccount),
    /// The certificate cannot be used.
    #[error("TLS")]
    Tls(#[from] TlsError),
    /// There is no cluster to talk to.
    #[error("no cluster")]
    Connect(#[from] api::ConnectError),
    /// A metric is registered twice.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// The port is taken, or may not be bound.
    #[error("{address} cannot be bound")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that must run as long as the process came to an end.
    #[error("{0} ended unexpectedly")]
    Task(&'static str),
    /// The time to finish requests was over before all were answered.
    #[error("some requests were not answered in time")]
    Unanswered,
}
