//! Backout itself in the cluster: the shipped manifests, the real binaries, their real permissions.

mod binaries;
mod manifests;
mod metrics;

use std::{
    env,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use backout_model::names;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::runtime::Builder;

use self::binaries::Binaries;
pub(crate) use self::binaries::{cargo_build, target_dir, workspace_root};
pub use self::metrics::Metrics;
use crate::{
    certs::Pair,
    cluster::{Cluster, User, free_port},
    exchange,
    faults::AdmissionClient,
    namespace::TestNamespace,
    process::{Process, Spec},
    tools::Output,
    wait::eventually,
};

/// Backout's own namespace.
pub const NAMESPACE: &str = "backout-system";

/// How Backout is to run.
#[derive(Clone, Debug)]
pub struct BackoutOptions {
    /// Further arguments of the webhook.
    pub webhook_args: Vec<String>,
    /// Further arguments of the watcher.
    pub watcher_args: Vec<String>,
    /// Whether a watcher works only while it holds the Lease. Without, several work side by side.
    pub leader_elect: bool,
    /// What is added to the watcher's environment.
    pub watcher_env: Vec<(String, OsString)>,
    /// What both log, in the syntax of `RUST_LOG`.
    pub log: String,
    /// The kustomization to install.
    pub manifests: PathBuf,
    /// Where the webhook finds the API server, if not at its own URL: behind a proxy, say.
    pub webhook_server: Option<String>,
    /// Where the watcher finds the API server, if not at its own URL.
    pub watcher_server: Option<String>,
    /// Where the webhook listens, if the test has to know before.
    pub webhook_port: Option<u16>,
    /// Where the API server finds the webhook, if not where that listens: at a proxy's port, say.
    pub webhook_called_at: Option<u16>,
    /// Whether the watcher makes the webhook's certificate and makes it known to the API server; otherwise it is one of
    /// the cluster's authority.
    pub manage_certificates: bool,
    /// Where the webhook finds its certificate then: it is started when that is there, as a pod waits for its volume.
    pub webhook_certificate: Option<Pair>,
}

impl Default for BackoutOptions {
    fn default() -> Self {
        Self {
            webhook_args: Vec::new(),
            watcher_args: ["--soak", "10s"].map(str::to_owned).to_vec(),
            leader_elect: false,
            watcher_env: Vec::new(),
            log: "info,kube=warn".to_owned(),
            manifests: workspace_root().join("manifests/base"),
            webhook_server: None,
            watcher_server: None,
            webhook_port: None,
            webhook_called_at: None,
            manage_certificates: false,
            webhook_certificate: None,
        }
    }
}

/// Running Backout. Dropping it ends the processes; the manifests stay in the cluster.
pub struct Backout {
    webhook: Process,
    watcher: Process,
    webhook_port: u16,
    webhook_admin: SocketAddr,
    watcher_admin: SocketAddr,
    binaries: Binaries,
    options: BackoutOptions,
}

impl Backout {
    /// Backout with the default options in the shared cluster, started at the first call.
    pub fn shared() -> Result<(&'static Cluster, &'static Self)> {
        Self::shared_with(BackoutOptions::default())
    }

    /// The same with other options: those of the first call count.
    pub fn shared_with(options: BackoutOptions) -> Result<(&'static Cluster, &'static Self)> {
        let cluster = Cluster::shared()?;
        let started = SHARED.get_or_init(|| {
            let start = || -> Result<Self> {
                let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
                runtime.block_on(Self::install(cluster, options))
            };
            // On a thread of its own: the caller's may belong to a runtime, which must not be blocked by another.
            let joined = thread::scope(|scope| scope.spawn(start).join());
            joined.unwrap_or_else(|_| Err(anyhow!("it panicked"))).map_err(|error| format!("{error:#}"))
        });
        match started {
            Ok(backout) => Ok((cluster, backout)),
            Err(error) => Err(anyhow!("Backout did not start: {error}")),
        }
    }

    /// Installs the manifests, starts the binaries, and waits until the API server calls the webhook.
    pub async fn install(cluster: &Cluster, options: BackoutOptions) -> Result<Self> {
        let binaries =
            tokio::task::spawn_blocking(Binaries::build).await.context("the build was interrupted")??;
        let webhook_port = options.webhook_port.map_or_else(free_port, Ok)?;
        let (webhook_admin, watcher_admin) = (local(free_port()?), local(free_port()?));
        let called_at = options.webhook_called_at.unwrap_or(webhook_port);
        let authority = (!options.manage_certificates).then(|| cluster.authority().ca_pem());
        manifests::install(cluster, &options.manifests, called_at, authority.as_deref()).await?;
        let ports = (webhook_port, webhook_admin);
        let watcher = watcher(cluster, &binaries, &options, "watcher", watcher_admin).await?;
        let webhook = webhook(cluster, &binaries, &options, "webhook", ports).await?;
        let backout =
            Self { webhook, watcher, webhook_port, webhook_admin, watcher_admin, binaries, options };
        backout.wait_ready().await?;
        backout.wait_called(cluster).await?;
        Ok(backout)
    }

    /// Applies other manifests over those that it was installed with.
    pub async fn reinstall(&self, cluster: &Cluster, manifests: &Path) -> Result<()> {
        let called_at = self.options.webhook_called_at.unwrap_or(self.webhook_port);
        let authority = (!self.options.manage_certificates).then(|| cluster.authority().ca_pem());
        manifests::install(cluster, manifests, called_at, authority.as_deref()).await
    }

    /// `kubectl backout` as this user, in this namespace.
    pub async fn plugin(&self, cluster: &Cluster, user: User<'_>, ns: &str, args: &[&str]) -> Result<Output> {
        let args = [&["backout"], args, &["-n", ns]].concat();
        cluster.kubectl().user(user).env("PATH", self.path()?).run(&args).await
    }

    /// Where the plugin, and what completes it, are found.
    pub fn path(&self) -> Result<PathBuf> {
        let own = [self.binaries.plugins.clone(), workspace_root().join("cli")];
        let system = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(own.into_iter().chain(env::split_paths(&system)))?.into())
    }

    /// The webhook's process.
    pub fn webhook(&self) -> &Process {
        &self.webhook
    }

    /// The watcher's process.
    pub fn watcher(&self) -> &Process {
        &self.watcher
    }

    /// One more watcher, with the same arguments and its own log.
    pub async fn another_watcher(&self, cluster: &Cluster, name: &str) -> Result<(Process, SocketAddr)> {
        self.watcher_like(cluster, name, &self.options).await
    }

    /// One more watcher, by options of its own: with other arguments, or behind a proxy.
    pub async fn watcher_like(
        &self,
        cluster: &Cluster,
        name: &str,
        options: &BackoutOptions,
    ) -> Result<(Process, SocketAddr)> {
        let admin = local(free_port()?);
        let process = watcher(cluster, &self.binaries, options, name, admin).await?;
        ready(&process, admin).await?;
        Ok((process, admin))
    }

    /// One more webhook, by options of its own, and the port where it listens. Nobody calls it yet.
    pub async fn webhook_like(
        &self,
        cluster: &Cluster,
        name: &str,
        options: &BackoutOptions,
    ) -> Result<(Process, u16)> {
        let (port, admin) = (free_port()?, local(free_port()?));
        let process = webhook(cluster, &self.binaries, options, name, (port, admin)).await?;
        ready(&process, admin).await?;
        Ok((process, port))
    }

    /// Where the webhook listens.
    pub fn webhook_port(&self) -> u16 {
        self.webhook_port
    }

    /// How it was started; change a copy of it to start a variant.
    pub fn options(&self) -> &BackoutOptions {
        &self.options
    }

    /// Waits until both processes call themselves ready; again after a restart.
    pub async fn wait_ready(&self) -> Result<()> {
        ready(&self.webhook, self.webhook_admin).await?;
        ready(&self.watcher, self.watcher_admin).await
    }

    /// Where the webhook and the watcher serve their metrics, with the job that each is to a monitoring system.
    pub fn targets(&self) -> [(&'static str, SocketAddr); 2] {
        [("backout-webhook", self.webhook_admin), ("backout-watcher", self.watcher_admin)]
    }

    /// What the webhook counted.
    pub async fn webhook_metrics(&self) -> Result<Metrics> {
        scrape_metrics(self.webhook_admin).await
    }

    /// What the watcher counted.
    pub async fn watcher_metrics(&self) -> Result<Metrics> {
        scrape_metrics(self.watcher_admin).await
    }

    /// Speaks to the webhook without the API server.
    pub fn admission_client(&self, authority: &Path) -> Result<AdmissionClient> {
        AdmissionClient::new(self.webhook_port, authority, None)
    }

    async fn wait_called(&self, cluster: &Cluster) -> Result<()> {
        let called = called(cluster).await;
        called.with_context(|| format!("the webhook's log ends with\n{}", self.webhook.log_tail(15)))
    }
}

/// Waits until the API server calls the webhook: it needs a moment to read a new configuration, and until then writes pass
/// unrecorded.
pub async fn called(cluster: &Cluster) -> Result<()> {
    let probe = TestNamespace::atomic(cluster, "probe", &[]).await?;
    let objects: Api<ConfigMap> = Api::namespaced(cluster.client(User::Admin).await?, probe.name());
    recorded(&objects, Duration::from_mins(1)).await
}

/// Writes until a write is recorded.
pub(crate) async fn recorded(objects: &Api<ConfigMap>, patience: Duration) -> Result<()> {
    let object = ConfigMap {
        metadata: ObjectMeta { generate_name: Some("probe-".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    eventually("a write to a namespace that opted in is recorded", patience, async || {
        let created = objects.create(&PostParams::default(), &object).await?;
        Ok(created.metadata.labels.unwrap_or_default().contains_key(names::UNDO).then_some(()))
    })
    .await
}

/// Reads a process's metrics from its administrative port.
pub async fn scrape_metrics(admin: SocketAddr) -> Result<Metrics> {
    let answer = exchange::get(admin, "/metrics").await?;
    if !answer.status.is_success() {
        bail!("http://{admin}/metrics answers {}", answer.status);
    }
    Ok(Metrics::new(answer.text()))
}

/// What a process says that is asked whether it is ready: the status, and the lines.
pub async fn readiness(admin: SocketAddr) -> Result<(u16, Vec<String>)> {
    let answer = exchange::get(admin, "/readyz").await?;
    Ok((answer.status.as_u16(), answer.text().lines().map(str::to_owned).collect()))
}

async fn webhook(
    cluster: &Cluster,
    binaries: &Binaries,
    options: &BackoutOptions,
    name: &str,
    (port, admin): (u16, SocketAddr),
) -> Result<Process> {
    let pair = if let Some(pair) = &options.webhook_certificate {
        there(pair).await?
    } else {
        let names = ["127.0.0.1", "localhost", "backout-webhook.backout-system.svc"];
        cluster.authority().server("backout-webhook", &names)?
    };
    let server = options.webhook_server.as_deref();
    let spec = spec(cluster, name, &binaries.webhook, "backout-webhook", server).await?;
    let spec = spec.env("BACKOUT_LOG", &options.log);
    let spec = spec.args(["--listen", &local(port).to_string(), "--admin-listen", &admin.to_string()]);
    let spec = spec.arg_pair("--tls-cert", &pair.cert).arg_pair("--tls-key", &pair.key);
    Process::spawn(spec.args(["--namespace", NAMESPACE]).args(&options.webhook_args))
}

async fn watcher(
    cluster: &Cluster,
    binaries: &Binaries,
    options: &BackoutOptions,
    name: &str,
    admin: SocketAddr,
) -> Result<Process> {
    let server = options.watcher_server.as_deref();
    let spec = spec(cluster, name, &binaries.watcher, "backout-watcher", server).await?;
    let spec = spec.env("BACKOUT_LOG", &options.log);
    let spec = options.watcher_env.iter().fold(spec, |spec, (variable, value)| spec.env(variable, value));
    let spec = spec.args(["--admin-listen", &admin.to_string(), "--namespace", NAMESPACE]);
    let spec = spec.args([&format!("--leader-elect={}", options.leader_elect), "--identity", name]);
    let spec = spec.args([format!("--manage-certificates={}", options.manage_certificates)]);
    Process::spawn(spec.args(&options.watcher_args))
}

/// The pair, once its files are there.
async fn there(pair: &Pair) -> Result<Pair> {
    eventually("the webhook's certificate is there", Duration::from_mins(1), async || {
        Ok((pair.cert.exists() && pair.key.exists()).then(|| pair.clone()))
    })
    .await
}

async fn spec(
    cluster: &Cluster,
    name: &str,
    program: &Path,
    account: &str,
    server: Option<&str>,
) -> Result<Spec> {
    let user = User::ServiceAccount { ns: NAMESPACE, name: account };
    let kubeconfig = cluster.kubeconfig_at(user, server.unwrap_or(&cluster.url())).await?;
    let log = cluster.logs().join(format!("{name}.log"));
    Ok(Spec::new(name, program, log).env("KUBECONFIG", kubeconfig))
}

async fn ready(process: &Process, admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let answer = exchange::get(admin, "/readyz").await;
        if answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
            return Ok(());
        }
        if process.exit().is_some() || Instant::now() > deadline {
            let said = answer.map_or_else(|error| format!("{error:#}"), |answer| answer.text());
            bail!("{} is not ready: {said}\n{}", process.name(), process.log_tail(15));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Never dropped: the guards end the processes.
static SHARED: OnceLock<Result<Backout, String>> = OnceLock::new();
