//! The server as its clients see it: both protocols, every limit, a new certificate, and the end.

#[cfg(test)]
mod client;
#[cfg(test)]
mod running;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use backout_runtime::{
    server::Limits,
    tls::{Files, Tls},
};
use client::{Authority, Http2, connect, http1, http2, read_all};
use http::Request;
use prometheus::Registry;
use running::{BODY_LIMIT, quick, start};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

#[tokio::test]
async fn http1_and_http2_are_answered_alike() {
    let running = start(Limits::default(), false).await;
    let (status, _, body) = http1(&running, "/", b"hello").await;
    assert_eq!((status, body.as_str()), (200, "5"));
    assert_eq!(http2(&running, b"hello").await, (200, "5".to_owned()));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_announcement_and_by_its_bytes() {
    let running = start(Limits::default(), false).await;
    assert_eq!(http1(&running, "/", &vec![b'x'; BODY_LIMIT]).await.0, 200);
    assert_eq!(http1(&running, "/", &vec![b'x'; BODY_LIMIT + 1]).await.0, 413);
    assert_eq!(http2(&running, &vec![b'x'; BODY_LIMIT + 1]).await.0, 413);
    let mut stream = connect(&running, None, b"http/1.1").await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", BODY_LIMIT + 1, "x".repeat(BODY_LIMIT + 1));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    let answer = read_all(&mut stream, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let running = start(quick(), false).await;
    let start = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", running.port)).await.unwrap();
    assert_eq!(read_all(&mut silent, b"").await, "");
    let mut idle = connect(&running, None, b"http/1.1").await.unwrap();
    assert_eq!(read_all(&mut idle, b"POST / HTTP/1.1\r\nHost:").await, "");
    assert!(start.elapsed() < Duration::from_secs(9));
}

#[tokio::test]
async fn who_sends_its_headers_byte_by_byte_is_not_waited_for() {
    let running = start(quick(), false).await;
    let mut slow = connect(&running, None, b"http/1.1").await.unwrap();
    let close = Instant::now() + Duration::from_secs(9);
    let mut trickle = std::iter::once(&b"POST / HTTP/1.1\r\n"[..]).chain(std::iter::repeat(&b"A: b\r\n"[..]));
    while slow.write_all(trickle.next().unwrap()).await.is_ok() && slow.flush().await.is_ok() {
        assert!(Instant::now() < close);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_in_both_protocols() {
    let running = start(Limits::default(), false).await;
    let mut stream = connect(&running, None, b"http/1.1").await.unwrap();
    let many = "A: b\r\n".repeat(200);
    let answer = read_all(&mut stream, format!("POST / HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut stream = connect(&running, None, b"http/1.1").await.unwrap();
    let long = "a".repeat(1 << 20);
    let answer = read_all(&mut stream, format!("POST / HTTP/1.1\r\nA: {long}\r\n\r\n").as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut client = Http2::connect(&running).await;
    let request = Request::post("https://localhost/").header("a", "a".repeat(64 << 10));
    assert!(client.send(request).await.is_none_or(|status| status == 431));
    assert_eq!(http1(&running, "/", b"").await.0, 200);
}

#[tokio::test]
async fn an_http2_connection_is_closed_when_no_request_has_come_for_long_and_not_during_one() {
    let running = start(quick(), false).await;
    let mut client = Http2::connect(&running).await;
    // Longer than both limits together: it answers the server's pings meanwhile.
    assert_eq!(client.send(Request::post("https://localhost/slower")).await, Some(200));
    assert_eq!(client.send(Request::post("https://localhost/")).await, Some(200));
    tokio::time::timeout(Duration::from_secs(20), client.closed()).await.unwrap();
}

#[tokio::test]
async fn connections_over_the_cap_wait_until_one_is_free() {
    let running = start(Limits { connections: 1, ..Limits::default() }, false).await;
    let first = connect(&running, None, b"http/1.1").await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(200), http1(&running, "/", b"")).await;
    assert!(second.is_err());
    drop(first);
    assert_eq!(http1(&running, "/", b"").await.0, 200);
}

#[tokio::test]
async fn where_all_connections_are_taken_those_that_are_not_used_make_room_and_no_other() {
    let running = start(Limits { connections: 3, ..Limits::default() }, false).await;
    let silent = TcpStream::connect(("127.0.0.1", running.port)).await.unwrap();
    let mut unused = connect(&running, None, b"http/1.1").await.unwrap();
    let mut used = connect(&running, None, b"http/1.1").await.unwrap();
    // Longer than it takes to be asked to make room.
    let long = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n".repeat(9)
        + "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let long = tokio::spawn(async move { read_all(&mut used, long.as_bytes()).await });
    for _ in 0..2 {
        let served = tokio::time::timeout(Duration::from_secs(20), http1(&running, "/", b"")).await;
        assert_eq!(served.unwrap().0, 200);
    }
    assert_eq!(read_all(&mut unused, b"").await, "");
    drop(silent);
    let answers = long.await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 10, "{answers}");
}

#[tokio::test]
async fn a_drain_keeps_serving_closes_connections_and_finishes_what_is_under_way() {
    let running = start(quick(), false).await;
    assert!(!http1(&running, "/", b"").await.1.contains("connection: close"));
    let mut slow = connect(&running, None, b"http/1.1").await.unwrap();
    let request =
        tokio::spawn(async move { read_all(&mut slow, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.drain.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(running.readiness.missing(), ["shutting down"]);
    let (status, head, _) = http1(&running, "/", b"").await;
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    let answer = request.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert!(running.serving.await.unwrap());
    assert!(TcpStream::connect(("127.0.0.1", running.port)).await.is_err());
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_served() {
    let running = start(Limits::default(), true).await;
    let pair = running.authority.client("apiserver");
    let mut known = connect(&running, Some(&pair), b"http/1.1").await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(read_all(&mut known, request).await.starts_with("HTTP/1.1 200"));
    let stranger = Authority::new().client("apiserver");
    for pair in [None, Some(&stranger)] {
        // With TLS 1.3 the client learns of the refusal only when it reads.
        if let Ok(mut stream) = connect(&running, pair, b"http/1.1").await {
            assert_eq!(read_all(&mut stream, request).await, "");
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_never() {
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    authority.write_server(dir.path(), "first");
    let tls = Tls::load(files(dir.path()), &Registry::new()).unwrap();
    let before = Arc::as_ptr(tls.acceptor().config());
    let changed = || Arc::as_ptr(tls.acceptor().config()) != before;
    tls.refresh();
    assert!(!changed());
    std::fs::write(dir.path().join("tls.key"), "garbage").unwrap();
    tls.refresh();
    assert!(!changed());
    authority.write_server(dir.path(), "second");
    tls.refresh();
    assert!(changed());
}

#[test]
fn files_that_do_not_fit_together_are_an_error_at_the_start() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new();
    authority.write_server(dir.path(), "a");
    authority.write_server(other.path(), "b");
    std::fs::copy(other.path().join("tls.key"), dir.path().join("tls.key")).unwrap();
    assert!(Tls::load(files(dir.path()), &Registry::new()).is_err());
    std::fs::remove_file(dir.path().join("tls.crt")).unwrap();
    let error = Tls::load(files(dir.path()), &Registry::new()).err().unwrap();
    assert!(error.to_string().ends_with("tls.crt cannot be read"), "{error}");
}

fn files(dir: &Path) -> Files {
    Files { certificate: dir.join("tls.crt"), key: dir.join("tls.key"), client_ca: None }
}
