//! The server under test.

use std::{sync::Arc, time::Duration};

use backout_runtime::{
    readiness::Readiness,
    server::{Limits, Server, ServerMetrics, read_body},
    tls::{Files, Tls},
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Authority;

/// Of the bodies in these tests.
pub(crate) const BODY_LIMIT: usize = 1024;

/// A server, and what its callers need.
pub(crate) struct Running {
    pub(crate) port: u16,
    pub(crate) authority: Authority,
    pub(crate) readiness: Readiness,
    pub(crate) drain: CancellationToken,
    pub(crate) serving: JoinHandle<bool>,
}

/// A server that answers with the length of the body, after a rest for `/slow`.
pub(crate) async fn start(limits: Limits, client_ca: bool) -> Running {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let files = Files {
        certificate: dir.path().join("tls.crt"),
        key: dir.path().join("tls.key"),
        client_ca: client_ca.then(|| dir.path().join("ca.crt")),
    };
    authority.write_server(dir.path(), "first");
    let registry = Registry::new();
    let tls = Arc::new(Tls::load(files, &registry).unwrap());
    let metrics = ServerMetrics::register(&registry).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(address, Arc::clone(&tls), limits, metrics).await.unwrap();
    let port = server.address().unwrap().port();
    let (readiness, drain) = (Readiness::default(), CancellationToken::new());
    let serving = tokio::spawn(server.serve(handle, readiness.clone(), drain.clone()));
    Running { port, authority, readiness, drain, serving }
}

async fn handle(request: Request<Incoming>) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/slow" => tokio::time::sleep(Duration::from_millis(400)).await,
        "/slower" => tokio::time::sleep(Duration::from_secs(5)).await,
        _ => {}
    }
    let (head, body) = request.into_parts();
    let (status, text) = match read_body(&head.headers, body, BODY_LIMIT).await {
        Ok(body) => (200, body.len().to_string()),
        Err(error) => (413, error.to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    response
}

/// Far below the defaults, and far above what a client that does its part takes.
pub(crate) fn quick() -> Limits {
    let short = Duration::from_secs(2);
    Limits {
        handshake: short,
        first_request: short,
        idle: short,
        grace: short,
        close: short,
        ..Limits::default()
    }
}
