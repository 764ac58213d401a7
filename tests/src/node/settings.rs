//! The files by which containerd, the network of the pods and the kubelet are set up.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::Result;
use serde_json::json;

use super::{image, leftovers, requirements};
use crate::cluster::free_port;

/// The address of the bridge, and with it the pods' network.
pub(super) const GATEWAY: &str = "10.199.44.1/24";

/// The same without its network.
pub(super) const GATEWAY_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 199, 44, 1);

/// The pods' network.
pub(super) const SUBNET: &str = "10.199.44.0/24";

pub(super) fn write(dir: &Path, authority: &Path) -> Result<()> {
    let networks = dir.join("networks");
    fs::create_dir_all(&networks)?;
    let network = json!({ "cniVersion": "0.4.0", "name": "node", "plugins": [{
        "type": "bridge",
        "bridge": leftovers::BRIDGE,
        "isGateway": false,
        "ipMasq": false,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": SUBNET }]],
            // To Services, which are addresses of no network.
            "routes": [{ "dst": "0.0.0.0/0" }] },
    }]});
    fs::write(networks.join("node.conflist"), network.to_string())?;
    fs::write(dir.join("containerd.toml"), containerd(&networks))?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": free_port()?,
        "healthzPort": 0,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": { "anonymous": { "enabled": false }, "x509": { "clientCAFile": authority } },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", leftovers::CONTROL_GROUP),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "resolvConf": "",
        // Nobody answers there, but without an address the kubelet warns of each pod.
        "clusterDNS": ["10.0.0.10"],
        "clusterDomain": "cluster.local",
        "makeIPTablesUtilChains": false,
        "localStorageCapacityIsolation": false,
        "evictionHard": {},
    });
    Ok(fs::write(dir.join("kubelet.json"), kubelet.to_string())?)
}

/// Where `CAP_SYS_RESOURCE` is missing runc dies unless scores are restricted; not every file system bears overlays.
fn containerd(networks: &Path) -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{networks}"
"#,
        pause = image::PAUSE,
        plugins = requirements::plugins().unwrap_or_default().display(),
        networks = networks.display(),
    )
}
