//! Services on a real node: kube-proxy, and a way for pods to the API server, which listens on a loopback address.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::oneshot,
};

use super::{NAME, requirements, settings};
use crate::{
    cluster::{Cluster, User, free_port},
    components::{Component, Components},
    process::{Process, Spec},
    wait::eventually,
};

/// Running Services. Dropping them removes their rules from this machine's packet filter.
pub struct Services {
    proxy: Option<Process>,
    // Its end ends the forwarder.
    _forwarder: oneshot::Sender<()>,
    program: PathBuf,
    config: PathBuf,
}

impl Services {
    /// Starts them on a node that has joined.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let components = tokio::task::spawn_blocking(|| Components::build(&[Component::KubeProxy]))
            .await
            .context("building kube-proxy was interrupted")??;
        let (forwarder, address) = forward(cluster)?;
        publish(cluster, address).await?;
        let config = cluster.dir().join("kube-proxy.json");
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "bindAddress": "127.0.0.1",
            "metricsBindAddress": format!("127.0.0.1:{}", free_port()?),
            "healthzBindAddress": format!("127.0.0.1:{}", free_port()?),
            "hostnameOverride": NAME,
            "clientConnection": { "kubeconfig": cluster.kubeconfig(User::Admin).await? },
            "mode": "iptables",
            "clusterCIDR": settings::SUBNET,
            // The addresses of pods are known on this machine alone.
            "iptables": { "masqueradeAll": true },
            // Not ours to set.
            "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        });
        fs::write(&config, settings.to_string())?;
        let program = components.path(Component::KubeProxy);
        let spec = Spec::new("kube-proxy", &program, cluster.logs().join("kube-proxy.log"))
            .arg_pair("--config", &config)
            .env("PATH", requirements::search_path());
        let services = Self { proxy: Some(Process::spawn(spec)?), _forwarder: forwarder, program, config };
        services.usable(cluster).await?;
        Ok(services)
    }

    async fn usable(&self, cluster: &Cluster) -> Result<()> {
        let services: Api<Service> = Api::namespaced(cluster.client(User::Admin).await?, "default");
        let service = services.get("kubernetes").await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("no address")?;
        eventually("the API server answers at its Service", Duration::from_mins(1), async || {
            Ok(TcpStream::connect((address.as_str(), 443)).await.ok())
        })
        .await
        .map(drop)
        .with_context(|| self.proxy.as_ref().map(|proxy| proxy.log_tail(15)).unwrap_or_default())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.proxy = None;
        let mut cleanup = Command::new(&self.program);
        cleanup.arg("--cleanup").arg("--config").arg(&self.config).env("PATH", requirements::search_path());
        // Whatever it says: there is nobody to tell.
        let _ = cleanup.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Takes what pods send to the bridge to the API server, on a thread of its own: the caller's runtime may be that of the first
/// of several tests.
fn forward(cluster: &Cluster) -> Result<(oneshot::Sender<()>, SocketAddr)> {
    let listener = std::net::TcpListener::bind((settings::GATEWAY_ADDRESS, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let port: u16 = cluster.url().rsplit(':').next().unwrap_or_default().parse()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    thread::Builder::new().name("forwarder".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                served = serve(listener, port) => served,
                _ = stopped => Ok(()),
            }
        })
    })?;
    Ok((stop, address))
}

async fn serve(listener: std::net::TcpListener, port: u16) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (mut from, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await {
                // Either side may hang up.
                let _ = copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

/// Tells the cluster where its API server is.
async fn publish(cluster: &Cluster, address: SocketAddr) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(User::Admin).await?, "default");
    let slice = serde_json::from_value(json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address.ip()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": address.port(), "protocol": "TCP" }],
    }))?;
    slices.create(&PostParams::default(), &slice).await.map(drop).context("cannot publish the API server")
}
