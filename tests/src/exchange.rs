//! One HTTP request over one connection: nothing is pooled, retried or hidden.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET without TLS.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let request = Request::get(path).header("host", address.to_string()).body(Full::default())?;
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
    send(stream, request).await.with_context(|| format!("GET http://{address}{path}"))
}

/// POST without TLS, to a port of this machine.
pub(crate) async fn post(port: u16, path: &str, body: &serde_json::Value) -> Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let request = Request::post(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::from(serde_json::to_vec(body)?))?;
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
    send(stream, request).await.with_context(|| format!("POST http://{address}{path}"))
}

/// Sends one request over an open connection.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        anyhow::Ok(Answer { status: head.status, headers: head.headers, body })
    };
    timeout(PATIENCE, exchange).await.context("no answer in time")?
}

/// Longer than the longest timeout an API server grants a webhook.
const PATIENCE: Duration = Duration::from_secs(35);
