//! The watcher: observes releases, has `backout-model` decide, and performs what was decided.
//!
//! Everything it does can be redone from what is stored in the cluster: it may die anywhere.

mod args;
mod capture;
mod certificates;
mod cluster;
mod context;
mod controller;
mod diff;
mod events;
mod evidence;
mod leader;
mod memory;
mod metrics;
mod observe;
mod packs;
mod params;
mod perform;
mod reconcile;
mod records;
mod schemas;
mod standings;
mod surroundings;
mod survey;
mod sweep;
mod verify;
mod weed;

use anyhow::Context as _;
use backout_runtime::{admin, api, metrics as runtime_metrics, readiness::Readiness, shutdown, telemetry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use args::Args;

/// Runs the watcher until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log)?;
    let signals = shutdown::Signals::register().context("cannot catch signals")?;
    let client = api::connect().await.context("cannot connect to the cluster")?;
    let registry = prometheus::Registry::new();
    let metrics = register(&registry).context("cannot set up the metrics")?;
    let listener = TcpListener::bind(args.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {} (--admin-listen)", args.admin_listen))?;

    let readiness = Readiness::register(&registry).context("cannot set up the metrics")?;
    let gates = controller::Gates::new(&readiness, &args);
    let (stop, stop_admin) = (CancellationToken::new(), CancellationToken::new());
    let admin = tokio::spawn(admin::serve(listener, readiness, registry, stop_admin.clone()));
    let work = controller::run(&args, client, metrics, gates, stop.clone());
    let outcome = shutdown::supervise(signals, stop, Box::pin(work)).await;
    stop_admin.cancel();
    admin.await.context("the admin port failed")?;
    outcome?
}

fn register(registry: &prometheus::Registry) -> prometheus::Result<metrics::Metrics> {
    runtime_metrics::process(registry, env!("CARGO_PKG_VERSION"))?;
    api::register(registry)?;
    metrics::Metrics::register(registry)
}
