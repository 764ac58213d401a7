//! From changes in the cluster to looks at releases: each release by itself, many side by side.

use std::{sync::Arc, time::Duration};

use backout_model::{names, release::Release};
use backout_runtime::{
    api::WATCH_SECONDS,
    readiness::{Gate, Readiness},
    telemetry::Chain,
};
use futures::{StreamExt as _, future};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{self, Action},
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Args, capture,
    certificates::Certificates,
    cluster::Cluster,
    context::Context,
    events::Events,
    leader::Leader,
    memory::Memories,
    metrics::{Metrics, Watch},
    reconcile::{Error, reconcile},
    records::{Log, release_of},
    schemas::Documents,
    standings::Standings,
    sweep::Sweep,
};

type Meta<K> = PartialObjectMeta<K>;

/// How soon a release is looked at again after an error.
const RETRY: Duration = Duration::from_secs(1);

/// Works until `stop` is cancelled, then finishes what is under way.
pub(crate) async fn run(
    args: &Args,
    client: Client,
    metrics: Metrics,
    gates: Gates,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let context = Arc::new(Context {
        cluster: Cluster::new(client.clone()),
        log: Log::new(client.clone(), &args.namespace),
        documents: Documents::new(Cluster::new(client.clone())),
        events: Events::new(client.clone(), metrics.clone()),
        metrics: metrics.clone(),
        memories: Memories::default(),
        standings: Standings::default(),
        registration: args.certificates.webhook_configuration.clone(),
        policy: args.policy(),
        options: args.options(),
    });
    let Gates { caches, lease, certificate } = gates;
    let certificates = certificate.map(|gate| Certificates {
        client: client.clone(),
        names: args.certificates.names(&args.namespace),
        settings: args.certificates.settings(&args.namespace),
        metrics: metrics.clone(),
        gate,
    });
    let certificates = async {
        match certificates {
            Some(certificates) => certificates.run(watches()).await,
            None => future::pending().await,
        }
    };
    let work = || work(args, &context, &caches, &stop);
    let led = async {
        let Some(gate) = lease else {
            metrics.leader.set(1);
            return work().await;
        };
        caches.rest();
        let mut leader = Leader::new(client, &args.namespace, &args.identity, gate, metrics.leader.clone());
        leader.lead(&stop, work).await
    };
    tokio::select! {
        outcome = led => outcome,
        // Each watcher does: none can tell what was written while nobody watched.
        () = capture::run(Arc::clone(&context), watches()) => {
            Err(anyhow::anyhow!("the watch of admission configurations ended"))
        }
        // Each does: compare-and-swap makes it one's work.
        () = certificates => Ok(()),
    }
}

async fn work(
    args: &Args,
    context: &Arc<Context>,
    caches: &Caches,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let client = context.cluster.client();
    let (records, records_writer) = reflector::store();
    let (namespaces, namespaces_writer) = reflector::store();
    let new_record = Arc::new(Notify::new());
    let secrets = Api::namespaced(client.clone(), &args.namespace);
    let [of_releases, of_records, of_namespaces] = &caches.0;
    let broken_off = breaks(&context.metrics, Watch::Records, of_records);
    let records_changed = records_changed(secrets, records_writer, Arc::clone(&new_record), broken_off);
    let broken_off = breaks(&context.metrics, Watch::Namespaces, of_namespaces);
    let namespaces_changed = watcher(Api::<Meta<Namespace>>::all(client.clone()), watches())
        .default_backoff()
        .modify(lean)
        .reflect(namespaces_writer)
        .for_each(|event| {
            if let Err(error) = event {
                broken_off(&error);
            }
            future::ready(())
        });
    let controller = Controller::new(Api::<Meta<Release>>::all(client.clone()), watches());
    let releases = controller.store();
    let sweep = Sweep {
        client,
        log: context.log.clone(),
        records: records.clone(),
        releases: releases.clone(),
        namespaces: namespaces.clone(),
        context: Arc::clone(context),
    };
    let broken_off = breaks(&context.metrics, Watch::Releases, of_releases);
    let works = controller
        .with_config(controller::Config::default().concurrency(args.workers))
        .reconcile_on(records_changed)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, error_policy, Arc::clone(context))
        .for_each(|looked| {
            if let Err(controller::Error::QueueError(error)) = looked {
                broken_off(&error);
            }
            future::ready(())
        });

    let _at_rest_then = caches.fill(context);
    tokio::select! {
        () = works => Ok(()),
        () = namespaces_changed => Err(anyhow::anyhow!("the watch of namespaces ended")),
        () = sweep.run(new_record) => Ok(()),
        () = caches.report(releases, records, namespaces) => Ok(()),
    }
}

/// What must hold before the watcher is ready.
pub(crate) struct Gates {
    caches: Caches,
    /// Where watchers are elected.
    lease: Option<Gate>,
    /// Where the watcher makes the webhook's certificate.
    certificate: Option<Gate>,
}

impl Gates {
    pub(crate) fn new(readiness: &Readiness, args: &Args) -> Self {
        Self {
            caches: Caches(["releases", "records", "namespaces"].map(|name| readiness.gate(name))),
            lease: args.leader_elect.then(|| readiness.gate("lease")),
            certificate: args.manage_certificates.then(|| readiness.gate("certificate")),
        }
    }
}

/// What is done when a watch breaks off; it is taken up again by itself.
fn breaks(metrics: &Metrics, watch: Watch, gate: &Gate) -> impl Fn(&watcher::Error) + Send + use<> {
    let (metrics, gate) = (metrics.clone(), gate.clone());
    move |error| {
        metrics.interrupted(watch);
        gate.waits(Chain(error).to_string());
        tracing::warn!(watch = watch.metric_label(), error = %Chain(error), "a watch was interrupted");
    }
}

fn watches() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// Leaves out half of what an object without content weighs, and nothing that is asked for here.
fn lean<K>(object: &mut Meta<K>) {
    object.metadata.managed_fields = None;
}

fn records_changed(
    secrets: Api<Meta<Secret>>,
    writer: reflector::store::Writer<Meta<Secret>>,
    new_record: Arc<Notify>,
    broken_off: impl Fn(&watcher::Error) + Send + 'static,
) -> impl futures::Stream<Item = ObjectRef<Meta<Release>>> + Send + 'static {
    let heads = watches().labels(&format!("{}={}", names::PART, names::PART_HEAD));
    let heads = watcher(secrets, heads).default_backoff().modify(lean).reflect(writer);
    heads.applied_objects().filter_map(move |record| {
        let release = match record {
            Ok(record) => release_of(&record),
            Err(error) => {
                broken_off(&error);
                None
            }
        };
        new_record.notify_one();
        future::ready(release.map(|key| ObjectRef::new(key.name.as_str()).within(&key.namespace)))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature kube asks for")]
fn error_policy(release: Arc<Meta<Release>>, error: &Error, context: Arc<Context>) -> Action {
    context.metrics.errors.with_label_values(&[error.metric_label()]).inc();
    let release = format!("{}/{}", release.namespace().unwrap_or_default(), release.name_any());
    if matches!(error, Error::Name) {
        tracing::warn!(%release, %error, "the release is ignored");
        return Action::await_change();
    }
    tracing::warn!(%release, %error, "a look at the release failed, it is tried again");
    Action::requeue(RETRY)
}

/// The gates of what a watcher that works has to know first: releases, records, namespaces.
struct Caches([Gate; 3]);

impl Caches {
    /// Closes them, until they are filled; opens them when the work ends, for who does not work needs none, and knows no
    /// releases.
    fn fill<'a>(&'a self, context: &'a Context) -> impl Drop {
        self.0.iter().for_each(|gate| gate.close("not yet"));
        AtRest(self, context)
    }

    fn rest(&self) {
        self.0.iter().for_each(Gate::open);
    }

    /// Opens the gates as the caches fill, then waits forever.
    async fn report(
        &self,
        releases: Store<Meta<Release>>,
        records: Store<Meta<Secret>>,
        namespaces: Store<Meta<Namespace>>,
    ) {
        let [of_releases, of_records, of_namespaces] = &self.0;
        let wait = |gate: &Gate, ready: bool| {
            if ready {
                gate.open();
            } else {
                gate.close("the watch ended");
            }
        };
        tokio::join!(
            async { wait(of_releases, releases.wait_until_ready().await.is_ok()) },
            async { wait(of_records, records.wait_until_ready().await.is_ok()) },
            async { wait(of_namespaces, namespaces.wait_until_ready().await.is_ok()) },
        );
        future::pending::<()>().await;
    }
}

struct AtRest<'a>(&'a Caches, &'a Context);

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        self.0.rest();
        self.1.standings.retain(|_| false);
        self.1.standings.count(&[], &self.1.metrics);
    }
}
