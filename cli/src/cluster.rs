//! The cluster and the releases in it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use backout_model::{
    evidence::{Evidence, stored},
    names,
    release::{Answer, Order, Release},
};
use backout_runtime::api::{self, ApiError, Class, deadline};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::{Instant, sleep};

use crate::args::Connection;

const CALL: Duration = Duration::from_secs(10);
/// How long the watcher may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a release may take to be there after the first apply.
const BIRTH: Duration = Duration::from_secs(7);
const POLL: Duration = Duration::from_millis(200);

/// The releases of one namespace.
pub(crate) struct Cluster {
    client: Client,
    pub(crate) namespace: String,
}

/// What became of a request.
pub(crate) enum Asked {
    Answered(Box<Release>, Answer),
    /// The user may not ask: what is there may be older than the user's last apply.
    MayNot(Box<Release>),
}

impl Cluster {
    pub(crate) async fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let options = KubeConfigOptions {
            context: connection.context.clone(),
            cluster: connection.cluster.clone(),
            user: connection.user.clone(),
        };
        let config = match &connection.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let mut config = match config {
            Ok(config) => config,
            // In a pod there is none, and none is needed.
            Err(error) => Config::incluster().map_err(|_| error).context("cannot read the kubeconfig")?,
        };
        if connection.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&connection.impersonate);
            config.auth_info.impersonate_groups =
                Some(connection.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
        }
        let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: api::client(config)?, namespace })
    }

    fn releases(&self) -> Api<Release> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn all(&self) -> Result<Vec<Release>, ApiError> {
        let (releases, params) = (self.releases(), ListParams::default());
        let operation = format!("LIST releases in {}", self.namespace);
        deadline(CALL, operation, releases.list(&params)).await.map(|list| list.items)
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Release>, ApiError> {
        let operation = format!("GET release {}/{name}", self.namespace);
        deadline(CALL, operation, self.releases().get_opt(name)).await
    }

    /// The release that is meant: the one that is named; else that of plain applies; else the only one. One that is
    /// being made is waited for.
    pub(crate) async fn find(&self, name: Option<&str>) -> anyhow::Result<Release> {
        let until = Instant::now() + BIRTH;
        loop {
            let mut all = self.all().await.map_err(with_hint)?;
            let wanted = name.unwrap_or(&self.namespace);
            if let Some(index) = all.iter().position(|release| release.name_any() == wanted) {
                return Ok(all.swap_remove(index));
            }
            if all.len() == 1 && name.is_none() {
                return Ok(all.remove(0));
            }
            if Instant::now() < until && (name.is_some() || all.is_empty()) {
                sleep(POLL).await;
                continue;
            }
            let names: Vec<_> = all.iter().map(ResourceExt::name_any).collect();
            match (name, names.is_empty()) {
                (Some(name), false) => {
                    bail!("there is no release {name} in {}; there are: {}", self.namespace, names.join(", "))
                }
                (None, false) => {
                    bail!("there are several releases in {}, name one: {}", self.namespace, names.join(", "))
                }
                (_, true) => bail!(
                    "there is no release in namespace {0}: nothing was deployed since it was opted in, or it is not opted in \
                     (kubectl label namespace {0} {1}={2})",
                    self.namespace,
                    names::ATOMIC,
                    names::ATOMIC_ENABLED
                ),
            }
        }
    }

    /// Asks the watcher, and waits for its answer: what is then reported includes every write before.
    pub(crate) async fn ask(&self, release: Release, order: &Order) -> anyhow::Result<Asked> {
        let name = release.name_any();
        let request = format!("{order} id={}", jiff::Timestamp::now().as_nanosecond());
        let annotations = serde_json::json!({names::REQUEST: &request});
        let patch = Patch::Merge(serde_json::json!({"metadata": {"annotations": annotations}}));
        let params =
            PatchParams { field_manager: Some("kubectl-backout".to_owned()), ..PatchParams::default() };
        let operation = format!("PATCH release {}/{name}", self.namespace);
        let releases = self.releases();
        let call = releases.patch_metadata(&name, &params, &patch);
        match deadline(CALL, operation, call).await {
            Ok(_) => {}
            Err(error) if error.is(Class::Forbidden) && *order == Order::Look => {
                return Ok(Asked::MayNot(Box::new(release)));
            }
            Err(error) => return Err(error.into()),
        }
        let until = Instant::now() + ANSWER;
        loop {
            let Some(release) = self.get(&name).await? else { bail!("release {name} was deleted") };
            let answer = release.status.as_ref().and_then(|status| status.answer.clone());
            if let Some(answer) = answer.filter(|answer| answer.request == request) {
                return Ok(Asked::Answered(Box::new(release), answer));
            }
            if Instant::now() > until {
                bail!(
                    "the watcher has not answered for {} s: is it running? (kubectl get pods -n backout-system)",
                    ANSWER.as_secs()
                );
            }
            sleep(POLL).await;
        }
    }

    /// The evidence about a revision.
    pub(crate) async fn evidence(&self, secret: &str) -> anyhow::Result<Evidence> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let operation = format!("GET secret {}/{secret}", self.namespace);
        let found = deadline(CALL, operation, secrets.get(secret)).await?;
        let json = found.data.and_then(|mut data| data.remove(stored::KEY)).unwrap_or_default().0;
        serde_json::from_slice(&json).with_context(|| format!("the secret {secret} cannot be read"))
    }
}

fn with_hint(error: ApiError) -> anyhow::Error {
    let missing = error.is(Class::NotFound);
    let error = anyhow::Error::from(error);
    if missing { error.context("this cluster knows no releases: is Backout installed?") } else { error }
}
