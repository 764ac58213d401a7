//! Who can reach the webhook, and holds on to what it can get.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use system_tests::{Backout, TestNamespace, User, faults::AdmissionClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Below the cap of connections, with some to spare for the API server.
const CONNECTIONS: usize = 900;
/// Half of what the manifest allows the webhook.
const MEMORY: u64 = 256 << 20;

#[tokio::test]
async fn hundreds_of_connections_that_are_held_and_not_used_stop_no_write() {
    let (cluster, backout) = Backout::shared().unwrap();
    let client = backout.admission_client(&cluster.authority().ca()).unwrap();
    let held: Vec<_> = stream::iter(0..CONNECTIONS)
        .map(|_| used_once(&client))
        .buffer_unordered(16)
        .try_collect()
        .await
        .unwrap();
    let open = backout.webhook_metrics().await.unwrap().sum("backout_https_connections_open", &[]);
    assert!(open >= 900.0, "{open}");
    let ns = TestNamespace::atomic(cluster, "held connections", &[]).await.unwrap();
    for name in 0..10 {
        let create = ["create", "configmap", &format!("a-{name}"), "-n", ns.name()];
        cluster.kubectl().user(User::Admin).run(&create).await.unwrap().success().unwrap();
    }
    assert_eq!(cluster.record_heads(ns.name()).await.unwrap().len(), 10);
    let memory = backout.webhook().peak_memory().unwrap();
    assert!(memory < MEMORY, "{memory} bytes");
    println!("{} connections were held, with {} MiB at most", held.len(), memory >> 20);
}

/// A connection that is past the time in which the first request has to come.
async fn used_once(client: &AdmissionClient) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut stream = client.connect().await?;
    stream.write_all(b"GET /admit HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"only POST") {
        anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "the server closed");
    }
    Ok(stream)
}
