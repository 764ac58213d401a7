//! A proxy between a client and a server of the cluster, with a rule for every single request.
//!
//! It stands wherever two of them speak HTTPS: between the watcher or the webhook and the API server, or between the
//! API server and the webhook. The test decides what becomes of each request, and of each event of a watch.
//!
//! # Flow
//! The client speaks TLS with the proxy, which has a certificate of the cluster's authority, and the proxy speaks TLS
//! with the server. A request is read whole and numbered; the rule says its [`Fate`]; the answer is streamed, so that
//! watches are as prompt as without the proxy. All headers pass, bearer tokens included.
//!
//! ```no_run
//! # async fn example(cluster: &system_tests::Cluster, watcher: std::sync::Arc<system_tests::Process>)
//! # -> anyhow::Result<()> {
//! use std::sync::Arc;
//!
//! use system_tests::proxy::{Act, Fate, Proxy};
//!
//! let proxy = Proxy::start(cluster, &cluster.url()).await?;
//! // The third write is forwarded, and the client killed before it hears the answer.
//! let mut writes = 0;
//! proxy.rule(move |call| {
//!     writes += u32::from(call.is_write());
//!     if call.is_write() && writes == 3 { Fate::Swallow(Act::kill(Arc::clone(&watcher))) } else { Fate::Pass }
//! });
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! Numbers rise in the order in which the rule is asked, and it is asked for one request at a time. What a rule stops
//! never reaches the server. An action runs to its end even if the connection it concerns is long gone. The proxy works
//! on a thread of its own, so that it may serve several tests; dropping it closes all connections.
//!
//! # Limits
//! HTTP/1.1 on both sides; client certificates end here (service accounts have tokens); no upgrades, such as `exec`.

mod call;
mod connection;
mod fate;
mod journal;
mod pipe;
mod tap;
mod tls;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

pub use self::{
    call::Call,
    fate::{Act, Fate, Gate, Reply},
    journal::{Entry, Outcome},
    pipe::Pipe,
    tap::{Change, Event, Tap, expired},
};
use self::{
    fate::Rule,
    journal::{Journal, Ticket},
};
use crate::{
    certs::Pair,
    cluster::{Cluster, free_port},
};

/// A running proxy.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

/// What all connections share.
struct Shared {
    rule: Mutex<Rule>,
    journal: Journal,
    server: Mutex<SocketAddr>,
    connections: Mutex<CancellationToken>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Proxy {
    /// A proxy to the server at `https://ADDRESS:PORT`, which lets everything pass until told otherwise.
    pub async fn start(cluster: &Cluster, server: &str) -> Result<Self> {
        let port = free_port()?;
        let authority = cluster.authority();
        let pair = authority.server(&format!("proxy-{port}"), &["localhost", "127.0.0.1"])?;
        Self::serve(cluster, server, port, &pair).await
    }

    /// The same, with a certificate of the test's own, which clients may find wanting.
    pub async fn with_certificate(cluster: &Cluster, server: &str, pair: &Pair) -> Result<Self> {
        Self::serve(cluster, server, free_port()?, pair).await
    }

    async fn serve(cluster: &Cluster, server: &str, port: u16, pair: &Pair) -> Result<Self> {
        let shared = Arc::new(Shared {
            rule: Mutex::new(Box::new(|_| Fate::Pass)),
            journal: Journal::default(),
            server: Mutex::new(address(server)?),
            connections: Mutex::default(),
            acceptor: tls::acceptor(pair)?,
            connector: tls::connector(&cluster.authority().ca())?,
        });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let bound = runtime.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        let listener = bound.await?.with_context(|| format!("the proxy cannot listen on port {port}"))?;
        runtime.spawn(connection::accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a client has to be told instead of the server's own address.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Decides from now on what becomes of each request. Replaces the rule before.
    pub fn rule(&self, rule: impl FnMut(&Call) -> Fate + Send + 'static) {
        *locked(&self.shared.rule) = Box::new(rule);
    }

    /// Lets every request pass from now on.
    pub fn pass(&self) {
        self.rule(|_| Fate::Pass);
    }

    /// Every request so far, by number.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal.entries()
    }

    /// Sends new connections to another server, and cuts those that there are.
    pub fn redirect(&self, server: &str) -> Result<()> {
        *locked(&self.shared.server) = address(server)?;
        self.cut();
        Ok(())
    }

    /// Cuts all connections, watches included; clients may connect again at once.
    pub fn cut(&self) {
        std::mem::take(&mut *locked(&self.shared.connections)).cancel();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        // Waiting for its threads is not allowed where other async work runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Numbers a request and asks the rule.
    fn decide(&self, call: &mut Call) -> (Fate, Ticket) {
        let mut rule = locked(&self.rule);
        let ticket = self.journal.open(call);
        (rule(call), ticket)
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    let address = url.strip_prefix("https://").unwrap_or(url);
    address.parse().with_context(|| format!("{url} is not of the form https://ADDRESS:PORT"))
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
