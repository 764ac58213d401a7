//! An HTTPS server that bounds what a stranger can hold: connections, handshakes, headers, bodies and time; and that
//! ends without breaking a request that is under way.
//!
//! # Flow of the end
//!
//! When the drain token is cancelled, the process turns unready and goes on serving: endpoints take time to
//! propagate, and clients keep their open connections. Every HTTP/1 answer now closes its connection. After the grace
//! time nothing is accepted any more, idle connections close, and requests under way may finish.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful},
};
use prometheus::{IntCounterVec, IntGauge, Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{metrics, readiness::Readiness, tls::Tls};

/// Pause after a failed accept: out of file descriptors, trying again at once would only burn the processor.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often somebody is asked to make room while all connections are taken.
const CROWDED: Duration = Duration::from_millis(2);
/// For how long nobody is asked: whoever has just come, or just asked something, is about to use the connection.
const FRESH: Duration = Duration::from_secs(1);

/// What one client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. Where more come those that are not used make room; the others wait in the kernel's queue.
    pub connections: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Time for the TLS handshake.
    pub handshake: Duration,
    /// Time from the handshake to the end of the first request's headers: port scanners end here.
    pub first_request: Duration,
    /// Time from one request of a connection to the end of the next one's headers, of HTTP/2 up to twice that. Above the
    /// 90 s after which Go's clients close an idle connection, so that it is never the server that closes one just being
    /// used.
    pub idle: Duration,
    /// Time to go on serving after the drain has begun.
    pub grace: Duration,
    /// Time for requests under way to finish after that.
    pub close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 250,
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(10),
            idle: Duration::from_mins(2),
            grace: Duration::from_secs(10),
            close: Duration::from_secs(15),
        }
    }
}

/// A bound port with its certificate: nothing can fail any more but single connections.
pub struct Server {
    listener: TcpListener,
    tls: Arc<Tls>,
    limits: Limits,
    metrics: ServerMetrics,
}

impl Server {
    /// Binds the port.
    pub async fn bind(
        address: SocketAddr,
        tls: Arc<Tls>,
        limits: Limits,
        metrics: ServerMetrics,
    ) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls, limits, metrics })
    }

    /// The address that is bound.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `drain` is cancelled and all is answered; returns whether every request could finish.
    pub async fn serve<H, F>(self, handler: H, readiness: Readiness, drain: CancellationToken) -> bool
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let shared = Arc::new(Shared::new(&self, drain.clone()));
        let graceful = graceful::GracefulShutdown::new();
        let end = async {
            drain.cancelled().await;
            readiness.drain();
            tokio::time::sleep(self.limits.grace).await;
        };
        tokio::pin!(end);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut end => break,
                accepted = shared.accept(&self.listener) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let connection =
                        Arc::clone(&shared).serve_connection(stream, handler.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => shared.accept_failed(&error).await,
            }
        }
        drop(self.listener);
        timeout(self.limits.close, graceful.shutdown()).await.is_ok()
    }
}

struct Shared {
    tls: Arc<Tls>,
    limits: Limits,
    metrics: ServerMetrics,
    slots: Arc<Semaphore>,
    crowded: Notify,
    drain: CancellationToken,
    http: auto::Builder<TokioExecutor>,
}

impl Shared {
    fn new(server: &Server, drain: CancellationToken) -> Self {
        let Limits { connections, streams, idle, .. } = server.limits;
        let mut http = auto::Builder::new(TokioExecutor::new());
        // hyper counts the header timeout from the previous answer on: it is the idle timeout as well.
        http.http1().timer(TokioTimer::new()).header_read_timeout(idle);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .keep_alive_interval(idle)
            .keep_alive_timeout(Duration::from_secs(20));
        Self {
            tls: Arc::clone(&server.tls),
            limits: server.limits,
            metrics: server.metrics.clone(),
            slots: Arc::new(Semaphore::new(connections)),
            crowded: Notify::new(),
            drain,
            http,
        }
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let slot = loop {
            match timeout(CROWDED, Arc::clone(&self.slots).acquire_owned()).await {
                Ok(slot) => break slot.map_err(io::Error::other)?,
                // The one that has waited longest.
                Err(_) => self.crowded.notify_one(),
            }
        };
        let (stream, _) = listener.accept().await?;
        // Without it an answer of two segments waits 40 ms for an acknowledgement.
        stream.set_nodelay(true)?;
        Ok((stream, slot))
    }

    async fn accept_failed(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | InvalidInput) {
            return;
        }
        self.metrics.failed("accept");
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    async fn serve_connection<H, F>(
        self: Arc<Self>,
        stream: TcpStream,
        handler: H,
        graceful: graceful::Watcher,
    ) where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let handshake = timeout(self.limits.handshake, self.tls.acceptor().accept(stream));
        let stream = tokio::select! {
            stream = handshake => stream,
            () = self.is_to_make_room() => return self.metrics.failed("crowded"),
        };
        let stream = match stream {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.failed("handshake");
                tracing::debug!(%error, "handshake failed");
                return;
            }
            Err(_) => {
                self.metrics.failed("handshake_timeout");
                return;
            }
        };
        self.metrics.open.inc();
        let used = Arc::new(Use::default());
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = used.begin();
            let version = request.version();
            let answer = handler(request);
            let drain = self.drain.clone();
            async move {
                let _under_way = under_way;
                Ok::<_, Infallible>(closing(answer.await, version, &drain))
            }
        });
        let connection =
            graceful.watch(self.http.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::select! {
            outcome = connection => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "connection ended");
                }
            }
            reason = self.deserted(&used) => self.metrics.failed(reason),
        }
        self.metrics.open.dec();
    }

    /// Resolves with the reason when nobody uses the connection: no request has come in time, or none has begun or ended for
    /// the idle time, or since it was last asked to make room; and none is under way. An idle HTTP/1 connection hyper closes
    /// before; of HTTP/2 it asks only whether the client still answers pings.
    async fn deserted(&self, used: &Use) -> &'static str {
        let mut limit = (self.limits.first_request, "first_request_timeout");
        let mut seen = 0;
        loop {
            let reason = tokio::select! {
                () = tokio::time::sleep(limit.0) => limit.1,
                () = self.is_to_make_room() => "crowded",
            };
            let moved = used.moved.load(Ordering::Relaxed);
            if moved == seen && used.under_way.load(Ordering::Relaxed) == 0 {
                return reason;
            }
            seen = moved;
            limit = (self.limits.idle, "idle");
        }
    }

    async fn is_to_make_room(&self) {
        tokio::time::sleep(FRESH).await;
        self.crowded.notified().await;
    }
}

/// How a connection is used.
#[derive(Default)]
struct Use {
    /// How often a request has begun or ended: the answer of one that has ended just now may not be sent yet.
    moved: AtomicUsize,
    under_way: AtomicUsize,
}

impl Use {
    fn begin(self: &Arc<Self>) -> UnderWay {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }
}

/// A request, for as long as it lives.
struct UnderWay(Arc<Use>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.moved.fetch_add(1, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn closing(
    mut response: Response<Full<Bytes>>,
    version: Version,
    drain: &CancellationToken,
) -> Response<Full<Bytes>> {
    if drain.is_cancelled() && version <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads a body of at most `limit` bytes; one that announces more is refused before any of it is read.
pub async fn read_body(headers: &HeaderMap, body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(BodyError::TooLarge);
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(error) => Err(BodyError::Broken(error.to_string())),
    }
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than the limit.
    #[error("the body is too large")]
    TooLarge,
    /// The client stopped in the middle of it.
    #[error("the body did not arrive: {0}")]
    Broken(String),
}

/// What the server counts about its connections.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    open: IntGauge,
    failures: IntCounterVec,
}

impl ServerMetrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Connections past their handshake.";
        let open = metrics::gauge(registry, "backout_https_connections_open", help)?;
        let name = "backout_https_connections_failed_total";
        let help = "Connections that came to nothing, or that nobody used any more, by reason.";
        Ok(Self { open, failures: metrics::counters(registry, name, help, &[("reason", &REASONS)])? })
    }

    fn failed(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}

/// Why a connection comes to nothing, or is closed because nobody uses it.
const REASONS: [&str; 6] =
    ["accept", "crowded", "first_request_timeout", "handshake", "handshake_timeout", "idle"];
