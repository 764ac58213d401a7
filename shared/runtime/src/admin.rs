//! The admin port, plain HTTP: `/livez`, `/readyz` and `/metrics`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{readiness::Readiness, server::ACCEPT_PAUSE};

/// The kubelet and a few scrapers: more callers than this are a mistake.
const CONNECTIONS: usize = 64;
/// A connection that brings no request for so long is closed; scrapers come every 15 to 60 s.
const IDLE: Duration = Duration::from_secs(75);

/// Serves until `token` is cancelled, and longer than the service itself if the caller cancels it last: a process
/// that drains is alive.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Registry,
    token: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let pages = Arc::new(Pages { readiness, registry });
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let connection = serve_connection(stream, Arc::clone(&pages), token.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn serve_connection(stream: TcpStream, pages: Arc<Pages>, token: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(pages.page(request.method(), request.uri().path())) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = token.cancelled() => {}
        outcome = connection => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "admin connection ended");
            }
        }
    }
}

struct Pages {
    readiness: Readiness,
    registry: Registry,
}

impl Pages {
    fn page(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match path {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned()),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let missing = self.readiness.missing();
        if missing.is_empty() {
            return text(StatusCode::OK, "ok\n".to_owned());
        }
        text(StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut body = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut body) {
            Ok(()) => answer(StatusCode::OK, prometheus::TEXT_FORMAT, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", body.into_bytes())
}

fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn page(pages: &Pages, path: &str) -> (u16, String) {
        let response = pages.page(&Method::GET, path);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_names_what_is_missing_and_livez_does_not_care() {
        let readiness = Readiness::default();
        let gate = readiness.gate("release cache");
        let pages = Pages { readiness, registry: Registry::new() };
        assert_eq!(page(&pages, "/readyz").await, (503, "release cache: not yet\n".to_owned()));
        assert_eq!(page(&pages, "/livez").await, (200, "ok\n".to_owned()));
        gate.open();
        assert_eq!(page(&pages, "/readyz").await, (200, "ok\n".to_owned()));
        assert_eq!(page(&pages, "/nothing").await.0, 404);
    }

    #[tokio::test]
    async fn metrics_are_in_the_text_format() {
        let registry = Registry::new();
        let counter = prometheus::IntCounter::new("writes_total", "Writes.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc();
        let pages = Pages { readiness: Readiness::default(), registry };
        assert!(page(&pages, "/metrics").await.1.contains("writes_total 1"));
    }
}
