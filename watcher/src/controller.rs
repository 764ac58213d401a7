//! From changes in the cluster to looks at releases: each release by itself, many side by side.

use std::{sync::Arc, time::Duration};

use backout_model::{names, release::Release};
use backout_runtime::{
    api::WATCH_SECONDS,
    readiness::{Gate, Readiness},
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
    metrics::Metrics,
    reconcile::{Error, reconcile},
    records::{Log, release_of},
    schemas::Documents,
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
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let context = Arc::new(Context {
        cluster: Cluster::new(client.clone()),
        log: Log::new(client.clone(), &args.namespace),
        documents: Documents::new(Cluster::new(client.clone())),
        events: Events::new(client.clone()),
        metrics: metrics.clone(),
        memories: Memories::default(),
        policy: args.policy(),
        options: args.options(),
    });
    let certificates = args.manage_certificates.then(|| Certificates {
        client: client.clone(),
        names: args.certificates.names(&args.namespace),
        settings: args.certificates.settings(&args.namespace),
        expiry: metrics.certificate_expiry.clone(),
        gate: readiness.gate("certificate"),
    });
    let certificates = async {
        match certificates {
            Some(certificates) => certificates.run(watches()).await,
            None => future::pending().await,
        }
    };
    let caches = Caches(["releases", "records", "namespaces"].map(|name| readiness.gate(name)));
    let work = || work(args, &context, &caches, &stop);
    let led = async {
        if !args.leader_elect {
            return work().await;
        }
        caches.rest();
        let gate = readiness.gate("lease");
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
    let records_changed = records_changed(secrets, records_writer, Arc::clone(&new_record));
    let namespaces_changed = watcher(Api::<Meta<Namespace>>::all(client.clone()), watches())
        .default_backoff()
        .modify(lean)
        .reflect(namespaces_writer)
        .for_each(|event| {
            if let Err(error) = event {
                tracing::warn!(%error, "the watch of namespaces was interrupted");
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
    let works = controller
        .with_config(controller::Config::default().concurrency(args.workers))
        .reconcile_on(records_changed)
        .graceful_shutdown_on(stop.clone().cancelled_owned())
        .run(reconcile, error_policy, Arc::clone(context))
        .for_each(|_| future::ready(()));

    let _at_rest_then = caches.fill();
    tokio::select! {
        () = works => Ok(()),
        () = namespaces_changed => Err(anyhow::anyhow!("the watch of namespaces ended")),
        () = sweep.run(new_record) => Ok(()),
        () = caches.report(releases, records, namespaces) => Ok(()),
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
) -> impl futures::Stream<Item = ObjectRef<Meta<Release>>> + Send + 'static {
    let heads = watches().labels(&format!("{}={}", names::PART, names::PART_HEAD));
    let heads = watcher(secrets, heads).default_backoff().modify(lean).reflect(writer);
    heads.applied_objects().filter_map(move |record| {
        let release = match record {
            Ok(record) => release_of(&record),
            Err(error) => {
                tracing::warn!(%error, "the watch of undo records was interrupted");
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
    /// Closes them, until they are filled; opens them when the work ends, for who does not work needs none.
    fn fill(&self) -> impl Drop {
        self.0.iter().for_each(|gate| gate.close("not yet"));
        AtRest(self)
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

struct AtRest<'a>(&'a Caches);

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        self.0.rest();
    }
}
