//! An API server that knows Secrets and Releases, and the webhook's service behind plain HTTP.

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex},
};

use backout_model::identity::Deployers;
use backout_runtime::{api, readiness::Readiness, tls};
use backout_webhook::{
    joins::Joins, log::Log, metrics::Metrics, releases, review::Reviewer, service::Service,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Secret;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the API server does with a new record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Stores,
    Has,
    Forbids,
    Hangs,
    FailsOnce,
    /// Stores records, but lists no Releases.
    HidesReleases,
}

pub(crate) struct World {
    pub(crate) readiness: Readiness,
    registry: Registry,
    port: u16,
    server: Arc<ApiServer>,
}

struct ApiServer {
    behaviour: Behaviour,
    stored: Mutex<Vec<Secret>>,
    failures: Mutex<u32>,
    fence: Mutex<Option<Value>>,
}

impl World {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        tls::install_crypto();
        let server = Arc::new(ApiServer {
            behaviour,
            stored: Mutex::default(),
            failures: Mutex::default(),
            fence: Mutex::default(),
        });
        let api_server = Arc::clone(&server);
        let api_port = listen(move |request| Arc::clone(&api_server).answer(request)).await;
        let config = kube::Config::new(format!("http://127.0.0.1:{api_port}").parse().unwrap());
        let client = api::client(config).unwrap();
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let readiness = Readiness::default();
        let gate = readiness.gate("release cache");
        let (releases, follow) = releases::follow(client.clone(), gate, metrics.clone());
        tokio::spawn(follow);
        let log = Log::new(client.clone(), "backout-system".to_owned());
        let reviewer =
            Reviewer::new(Deployers::default(), releases, Joins::new(client), log, metrics.clone());
        let service = Arc::new(Service::new(reviewer, metrics));
        let port = listen(move |request| Arc::clone(&service).handle(request)).await;
        Self { readiness, registry, port, server }
    }

    /// What a metric says: the sum of the series that end so, labels and all.
    pub(crate) fn counted(&self, series: &str) -> f64 {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let samples =
            text.lines().filter_map(|line| line.strip_prefix("backout_webhook_")?.strip_prefix(series));
        let values: Vec<f64> = samples.filter_map(|value| value.trim().parse().ok()).collect();
        assert_eq!(values.len(), 1, "{series} in {text}");
        values[0]
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The records, in the order in which they were stored.
    pub(crate) fn stored(&self) -> Vec<Secret> {
        self.server.stored.lock().unwrap().clone()
    }

    /// Sets the fence of every release, for those who ask for it; the webhook's cache never learns of it.
    pub(crate) fn fence(&self, fence: Option<Value>) {
        *self.server.fence.lock().unwrap() = fence;
    }

    pub(crate) async fn admit(&self, review: &Value) -> (u16, Value) {
        let (status, body) = self.post("/admit?timeout=5s", review.to_string().as_bytes()).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}")))
    }

    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A body that is refused unread is not taken to its end.
        stream.write_all(body).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl ApiServer {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path();
        if head.method == Method::POST && path == "/api/v1/namespaces/backout-system/secrets" {
            return self.create(&body).await;
        }
        if path == "/apis/backout.dev/v1alpha1/releases" && self.behaviour == Behaviour::HidesReleases {
            return failure(403, "Forbidden");
        }
        if path == "/apis/authorization.k8s.io/v1/subjectaccessreviews" {
            return respond(201, &json!({"spec": {}, "status": {"allowed": true}}));
        }
        if path == "/api/v1/namespaces/other" {
            let labels = json!({"backout.dev/atomic": "enabled"});
            return respond(200, &json!({"metadata": {"name": "other", "labels": labels}}));
        }
        if path == "/apis/backout.dev/v1alpha1/releases" {
            return watch(head.uri.query().unwrap_or_default()).await;
        }
        if path.starts_with("/apis/backout.dev/v1alpha1/namespaces/shop/releases/") {
            return self.release();
        }
        failure(404, "NotFound")
    }

    async fn create(&self, body: &[u8]) -> Response<Full<Bytes>> {
        match self.behaviour {
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Has => failure(409, "AlreadyExists"),
            Behaviour::Forbids => failure(403, "Forbidden"),
            Behaviour::FailsOnce if self.fails() => failure(503, "ServiceUnavailable"),
            Behaviour::Stores | Behaviour::FailsOnce | Behaviour::HidesReleases => {
                let secret: Secret = serde_json::from_slice(body).unwrap();
                let metadata = serde_json::to_value(&secret.metadata).unwrap();
                self.stored.lock().unwrap().push(secret);
                respond(
                    201,
                    &json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
                )
            }
        }
    }

    fn fails(&self) -> bool {
        let mut failures = self.failures.lock().unwrap();
        *failures += 1;
        *failures == 1
    }

    fn release(&self) -> Response<Full<Bytes>> {
        let fence = self.fence.lock().unwrap().clone();
        respond(
            200,
            &json!({"apiVersion": "backout.dev/v1alpha1", "kind": "Release", "metadata": {"name": "front", "namespace": "shop"},
                    "spec": {}, "status": {"phase": "RolledBack", "revision": 2, "fence": fence}}),
        )
    }
}

async fn watch(query: &str) -> Response<Full<Bytes>> {
    if query.contains("watch=true") {
        std::future::pending::<()>().await;
    }
    respond(
        200,
        &json!({"apiVersion": "backout.dev/v1alpha1", "kind": "ReleaseList", "metadata": {"resourceVersion": "1"},
                "items": [{"metadata": {"name": "broken", "namespace": "shop"}, "spec": "none"}]}),
    )
}

fn failure(code: u16, reason: &str) -> Response<Full<Bytes>> {
    respond(
        code,
        &json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}),
    )
}

fn respond(code: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

async fn listen<F>(handler: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> u16
where
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    port
}

/// As the API server calls for a write of Alice to a ConfigMap in a namespace that opted in.
pub(crate) fn review(operation: &str, old: &Value, new: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r-1", "operation": operation, "namespace": "shop", "name": new["metadata"]["name"], "dryRun": false,
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "userInfo": {"username": "alice", "groups": []}, "object": new, "oldObject": old}})
}

/// The patch of an answer.
pub(crate) fn decoded(answer: &Value) -> Value {
    let text = answer["response"]["patch"].as_str().unwrap();
    let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(text)).unwrap();
    serde_json::from_slice(&bytes.0).unwrap()
}
