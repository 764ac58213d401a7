//! Starts the processes of a cluster, each with what it needs, and waits until it is of use.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{Cluster, Options, free_port, users, workdir::WorkDir};
use crate::{
    certs::{Authority, Pair, TokenKey},
    components::{Component, Components},
    process::{Process, Spec},
};

pub(super) async fn start(options: &Options, components: Components) -> Result<Cluster> {
    let dir = WorkDir::create(options.keep)?;
    let authority = Authority::create(dir.path().join("pki"))?;
    let builder = Builder { options, components: &components, authority: &authority, dir: &dir };
    match builder.start().await {
        Ok(started) => Ok(Cluster {
            kwok: started.kwok,
            scheduler: started.scheduler,
            controller_manager: started.controller_manager,
            apiserver: started.apiserver,
            etcd: started.etcd,
            apiserver_port: started.apiserver_port,
            etcd_port: started.etcd_port,
            authority,
            components,
            minting: Mutex::new(()),
            dir,
        }),
        Err(error) => {
            dir.keep();
            Err(error.context(format!(
                "the cluster did not start; logs are in {}\n{}",
                dir.logs().display(),
                dir.log_tails(15)
            )))
        }
    }
}

struct Builder<'a> {
    options: &'a Options,
    components: &'a Components,
    authority: &'a Authority,
    dir: &'a WorkDir,
}

struct Started {
    etcd: Process,
    apiserver: Process,
    controller_manager: Process,
    scheduler: Process,
    kwok: Process,
    apiserver_port: u16,
    etcd_port: u16,
}

struct Servers {
    etcd: Process,
    apiserver: Process,
    apiserver_port: u16,
    etcd_port: u16,
    client: Client,
}

impl Builder<'_> {
    async fn start(&self) -> Result<Started> {
        let server_cert = self.authority.server("kube-apiserver", APISERVER_NAMES)?;
        let token_key = self.authority.token_key()?;
        let servers = self.servers(&server_cert, &token_key).await?;
        let Servers { etcd, apiserver, apiserver_port, etcd_port, client } = servers;

        let url = format!("https://127.0.0.1:{apiserver_port}");
        let kubeconfig =
            |user, group| users::component_kubeconfig(self.dir.path(), &url, self.authority, user, group);
        let controller_manager =
            self.controller_manager(&kubeconfig("system:kube-controller-manager", None)?, &token_key)?;
        let scheduler = self.scheduler(&kubeconfig("system:kube-scheduler", None)?)?;
        let kwok = self.kwok(&kubeconfig("kwok", Some("system:masters"))?)?;
        self.nodes(client, &[&controller_manager, &scheduler, &kwok]).await?;
        Ok(Started { etcd, apiserver, controller_manager, scheduler, kwok, apiserver_port, etcd_port })
    }

    /// etcd and the API server, again with other ports if someone else was faster.
    async fn servers(&self, cert: &Pair, token_key: &TokenKey) -> Result<Servers> {
        for _ in 0..5 {
            let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
            let etcd = self.etcd(etcd_port, peer_port)?;
            let apiserver = self.apiserver(port, etcd_port, cert, token_key)?;
            let url = format!("https://127.0.0.1:{port}");
            let admin = users::component_kubeconfig(
                self.dir.path(),
                &url,
                self.authority,
                "admin",
                Some("system:masters"),
            )?;
            let client = users::client_from(&admin).await?;
            match ready(&client, &[&etcd, &apiserver]).await {
                Ok(()) => {
                    return Ok(Servers { etcd, apiserver, apiserver_port: port, etcd_port, client });
                }
                Err(_) if port_taken(&etcd) || port_taken(&apiserver) => {
                    for process in [etcd, apiserver] {
                        process.kill9().await?;
                        fs::remove_file(process.log())?;
                    }
                    let _ = fs::remove_dir_all(self.dir.path().join("etcd"));
                }
                Err(error) => return Err(error),
            }
        }
        bail!("the ports were taken by others again and again")
    }

    fn spec(&self, component: Component) -> Spec {
        let log = self.dir.logs().join(format!("{}.log", component.name()));
        // A home of its own: nothing may read or write the user's.
        Spec::new(component.name(), &self.components.path(component), log).env("HOME", self.dir.path())
    }

    fn etcd(&self, port: u16, peer_port: u16) -> Result<Process> {
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
        let spec = self.spec(Component::Etcd).args([
            "--name=test",
            &format!("--data-dir={}", self.dir.path().join("etcd").display()),
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=test={peer}"),
            "--log-level=warn",
        ]);
        Process::spawn(spec.args(&self.options.etcd_args))
    }

    fn apiserver(&self, port: u16, etcd_port: u16, cert: &Pair, token_key: &TokenKey) -> Result<Process> {
        let policy = self.dir.path().join("audit-policy.yaml");
        fs::write(&policy, include_str!("audit-policy.yaml"))?;
        let audit_log = self.dir.logs().join("audit.jsonl");
        let spec = self.spec(Component::KubeApiserver).args([
            &format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--external-hostname=localhost",
            &format!("--secure-port={port}"),
            &format!("--tls-cert-file={}", cert.cert.display()),
            &format!("--tls-private-key-file={}", cert.key.display()),
            &format!("--client-ca-file={}", self.authority.ca().display()),
            &format!("--service-account-key-file={}", token_key.public.display()),
            &format!("--service-account-signing-key-file={}", token_key.private.display()),
            "--service-account-issuer=https://kubernetes.default.svc",
            // So many that an address which is free for a moment is not given to the Service of a test beside.
            "--service-cluster-ip-range=10.0.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            &format!("--audit-policy-file={}", policy.display()),
            &format!("--audit-log-path={}", audit_log.display()),
            // In megabytes: never rotated, the log is read from its beginning.
            "--audit-log-maxsize=100000",
        ]);
        let spec = if self.options.real_node { self.asking_kubelets(spec)? } else { spec };
        Process::spawn(spec.args(&self.options.apiserver_args))
    }

    fn asking_kubelets(&self, spec: Spec) -> Result<Spec> {
        let client = self.authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
        Ok(spec
            .arg_pair("--kubelet-client-certificate", &client.cert)
            .arg_pair("--kubelet-client-key", &client.key)
            .args(["--kubelet-preferred-address-types=Hostname"]))
    }

    fn controller_manager(&self, kubeconfig: &Path, token_key: &TokenKey) -> Result<Process> {
        let spec = self.spec(Component::KubeControllerManager).args([
            &format!("--kubeconfig={}", kubeconfig.display()),
            "--use-service-account-credentials=true",
            &format!("--service-account-private-key-file={}", token_key.private.display()),
            &format!("--root-ca-file={}", self.authority.ca().display()),
            "--secure-port=0",
            "--leader-elect=false",
            // All tests share it: with the default of 20 each would wait for the others.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]);
        // Simulated nodes never die: one that is silent waits for an API server that was away, or for its turn on a busy
        // machine. Its pods must not become unready for that.
        let patient = (!self.options.real_node).then_some("--node-monitor-grace-period=10m");
        Process::spawn(spec.args(patient))
    }

    fn scheduler(&self, kubeconfig: &Path) -> Result<Process> {
        Process::spawn(self.spec(Component::KubeScheduler).args([
            &format!("--kubeconfig={}", kubeconfig.display()),
            "--secure-port=0",
            "--leader-elect=false",
        ]))
    }

    fn kwok(&self, kubeconfig: &Path) -> Result<Process> {
        let stages = self.dir.path().join("stages.yaml");
        fs::write(&stages, STAGES.join("\n---\n"))?;
        Process::spawn(self.spec(Component::Kwok).args([
            &format!("--kubeconfig={}", kubeconfig.display()),
            &format!("--config={}", stages.display()),
            &format!("--manage-nodes-with-annotation-selector={FAKE_NODE}=fake"),
            // Beside a real node they are taken for dead when they are silent for 50 s.
            "--node-lease-duration-seconds=40",
        ]))
    }

    async fn nodes(&self, client: Client, alive: &[&Process]) -> Result<()> {
        let nodes: Api<Node> = Api::all(client);
        for number in 0..self.options.nodes {
            let node = serde_json::from_value(json!({ "metadata": {
                "name": format!("kwok-{number}"),
                "annotations": { FAKE_NODE: "fake" },
                "labels": { "type": "kwok", "kubernetes.io/hostname": format!("kwok-{number}") },
            }}))?;
            nodes.create(&PostParams::default(), &node).await?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready =
                nodes.list(&ListParams::default()).await?.iter().filter(|node| is_usable(node)).count();
            if ready == self.options.nodes {
                return Ok(());
            }
            all_alive(alive)?;
            ensure!(Instant::now() < deadline, "{ready} of {} nodes are ready", self.options.nodes);
            sleep(POLL).await;
        }
    }
}

/// Ready, and free of the taint that new nodes carry.
pub(crate) fn is_usable(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready && taints.is_none_or(Vec::is_empty)
}

pub(super) async fn ready(client: &Client, alive: &[&Process]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        let Err(error) = client.request_text(request).await else {
            return Ok(());
        };
        all_alive(alive)?;
        if Instant::now() > deadline {
            return Err(error).context("the API server is not ready");
        }
        sleep(POLL).await;
    }
}

fn all_alive(processes: &[&Process]) -> Result<()> {
    match processes.iter().find(|process| process.exit().is_some()) {
        Some(dead) => bail!("{} ended: {}", dead.name(), dead.log_tail(3)),
        None => Ok(()),
    }
}

fn port_taken(process: &Process) -> bool {
    process.exit().is_some() && process.log_tail(50).contains("address already in use")
}

const APISERVER_NAMES: &[&str] = &["localhost", "127.0.0.1", "::1", "10.0.0.1", "kubernetes.default.svc"];

const FAKE_NODE: &str = "kwok.x-k8s.io/node";

const STAGES: &[&str] = &[
    include_str!("../../stages/lifecycle.yaml"),
    include_str!("../../stages/ready.yaml"),
    include_str!("../../stages/image.yaml"),
    include_str!("../../stages/start.yaml"),
    include_str!("../../stages/crash.yaml"),
];

/// Long, for the machine may be busy with something else.
const PATIENCE: Duration = Duration::from_mins(2);

const POLL: Duration = Duration::from_millis(100);
