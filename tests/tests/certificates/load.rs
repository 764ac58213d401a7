//! Calls without end, and what became of them.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    planted::certificates,
    site::{Site, write},
};

/// How many writes are under way at a time.
const WRITERS: u32 = 40;

/// Writes that the webhook is asked for, at a steady rate, and new connections to each replica, which trust what the
/// configuration says at that moment: an API server keeps its connections, so that it would make few.
pub(crate) struct Load {
    tasks: JoinSet<()>,
    begin: Instant,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    handshakes: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Counts {
    async fn count<T, E: std::fmt::Debug>(&self, counter: &AtomicU64, outcome: Result<T, E>) {
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = outcome {
            self.failures.lock().await.push(format!("{error:?}"));
        }
    }
}

impl Load {
    /// So many writes a second.
    pub(crate) fn start(site: &Site, rate: u32) -> Self {
        let (mut tasks, counts) = (JoinSet::new(), Arc::new(Counts::default()));
        for _ in 0..WRITERS {
            tasks.spawn(writes(site.maps(), Duration::from_secs(1) * WRITERS / rate, Arc::clone(&counts)));
        }
        for port in site.ports() {
            tasks.spawn(handshakes(site.configurations(), site.name.clone(), port, Arc::clone(&counts)));
        }
        Self { tasks, begin: Instant::now(), counts }
    }

    /// Ends it: none of them failed. So many there were of each kind at least.
    pub(crate) async fn end(mut self, site: &Site, what: &str) -> u64 {
        self.tasks.shutdown().await;
        let [writes, handshakes] =
            [&self.counts.writes, &self.counts.handshakes].map(|count| count.load(Ordering::Relaxed));
        let failures = std::mem::take(&mut *self.counts.failures.lock().await);
        println!(
            "{what}: {writes} writes and {handshakes} new connections in {:.0?}, {} failures",
            self.begin.elapsed(),
            failures.len()
        );
        let first: Vec<_> = failures.iter().take(3).collect();
        assert!(failures.is_empty(), "{first:#?}\n{}", site.cluster.keep_for_inspection());
        writes.min(handshakes)
    }
}

async fn writes(maps: Api<ConfigMap>, every: Duration, counts: Arc<Counts>) {
    let mut times = interval(every);
    loop {
        times.tick().await;
        counts.count(&counts.writes, write(&maps, true).await).await;
    }
}

async fn handshakes(
    configurations: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration>,
    name: String,
    port: u16,
    counts: Arc<Counts>,
) {
    let mut times = interval(Duration::from_millis(200));
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let Ok(configuration) = configurations.get(&name).await else { continue };
        let bundles = configuration.webhooks.into_iter().flatten().map(|entry| entry.client_config.ca_bundle);
        for bundle in bundles {
            let outcome = handshake(&bundle.unwrap_or_default().0, port).await;
            counts.count(&counts.handshakes, outcome).await;
        }
    }
}

/// A new connection to the webhook at this port by someone who trusts this bundle.
pub(crate) async fn handshake(bundle: &[u8], port: u16) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(bundle));
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connect = async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let name = ServerName::try_from("backout-webhook.backout-system.svc")?;
        anyhow::Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    };
    let connected = timeout(Duration::from_secs(30), connect).await.context("no handshake in time")?;
    connected.map(drop).with_context(|| format!("port {port}"))
}
