//! Clients of the server, and the authority that both trust.

use std::{io, path::Path, sync::Arc};

use http::{Request, request::Builder};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Bytes,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::running::Running;

/// Signs the certificates of a test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Pair {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `tls.crt`, `tls.key` and `ca.crt`.
    pub(crate) fn write_server(&self, dir: &Path, name: &str) {
        let names = vec!["localhost".to_owned(), name.to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("ca.crt"), self.0.pem()).unwrap();
    }

    pub(crate) fn client(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        Pair { certificate, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }
}

/// A connection that offers one protocol.
pub(crate) async fn connect(
    running: &Running,
    pair: Option<&Pair>,
    protocol: &[u8],
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(running.authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match pair {
        Some(pair) => {
            builder.with_client_auth_cert(vec![pair.certificate.clone()], pair.key.clone_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", running.port)).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Sends `request`, and reads until the server closes; what was read before an error counts.
pub(crate) async fn read_all(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> String {
    let mut answer = Vec::new();
    if stream.write_all(request).await.is_ok() {
        stream.read_to_end(&mut answer).await.ok();
    }
    String::from_utf8(answer).unwrap()
}

/// Status, head and body of the answer.
pub(crate) async fn http1(running: &Running, path: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = connect(running, None, b"http/1.1").await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.ok();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, head.to_owned(), body.to_owned());
        }
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{text}");
    }
}

/// A client of one HTTP/2 connection, which answers pings.
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Http2 {
    pub(crate) async fn connect(running: &Running) -> Self {
        let stream = connect(running, None, b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(async { drop(connection.await) });
        Self { sender, driver }
    }

    /// The status of the answer, if there is one.
    pub(crate) async fn send(&mut self, request: Builder) -> Option<u16> {
        let answer = self.sender.send_request(request.body(Full::default()).unwrap()).await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    /// Resolves when the server has closed the connection.
    pub(crate) async fn closed(self) {
        self.driver.await.unwrap();
        drop(self.sender);
    }
}

/// Status and body of the answer.
pub(crate) async fn http2(running: &Running, body: &[u8]) -> (u16, String) {
    let mut client = Http2::connect(running).await;
    let body = Full::new(Bytes::copy_from_slice(body));
    let request = Request::post("https://localhost/").body(body).unwrap();
    let response = client.sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    client.driver.abort();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
