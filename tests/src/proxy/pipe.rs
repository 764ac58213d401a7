//! A pipe between a client and a server of any protocol, which can be frozen.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use super::Gate;
use crate::cluster::free_port;

/// Passes bytes on in both directions. Frozen, it goes on taking connections and bytes, and passes on none: to both
/// sides the other one is just silent.
pub struct Pipe {
    port: u16,
    gate: Gate,
    runtime: Option<Runtime>,
}

impl Pipe {
    /// A pipe to a port on the loopback address.
    pub async fn start(server: u16) -> Result<Self> {
        let (port, gate) = (free_port()?, Gate::closed());
        gate.open();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let bound = runtime.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, port))).await?;
        let listener = Arc::new(bound.with_context(|| format!("the pipe cannot listen on port {port}"))?);
        let held = gate.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let gate = held.clone();
                tokio::spawn(async move {
                    gate.passed().await;
                    if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await {
                        both_ways(client, server, &gate).await;
                    }
                });
            }
        });
        Ok(Self { port, gate, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Passes nothing on any more.
    pub fn freeze(&self) {
        self.gate.close();
    }

    /// Passes on what was held back, and what comes.
    pub fn thaw(&self) {
        self.gate.open();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn both_ways(client: TcpStream, server: TcpStream, gate: &Gate) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(one_way(from_client, to_server, gate), one_way(from_server, to_client, gate));
}

async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, gate: &Gate) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        gate.passed().await;
        if to.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
    gate.passed().await;
    let _ = to.shutdown().await;
}
