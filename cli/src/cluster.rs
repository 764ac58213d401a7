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
    pub(crate) async fn ask(&self, mut release: Release, order: &Order) -> anyhow::Result<Asked> {
        let name = release.name_any();
        let request = format!("{order} id={}", jiff::Timestamp::now().as_nanosecond());
        let until = Instant::now() + ANSWER;
        let mut is_asked = false;
        loop {
            let answer = release.status.as_ref().and_then(|status| status.answer.clone());
            if let Some(answer) = answer.filter(|answer| answer.request == request) {
                return Ok(Asked::Answered(Box::new(release), answer));
            }
            let last = release.annotations().get(names::REQUEST).map(String::as_str);
            if is_asked && last != Some(&request) && *order != Order::Look {
                bail!(
                    "somebody has asked for something else since ({}): what became of this request tell kubectl backout \
                     status and kubectl get events",
                    last.unwrap_or_default()
                );
            }
            if Instant::now() > until {
                bail!(
                    "the watcher has not answered for {} s: is it running? (kubectl get pods -n backout-system)",
                    ANSWER.as_secs()
                );
            }
            if last == Some(&request) || is_open(&release) {
                sleep(POLL).await;
            } else {
                match self.request(&release, &request).await {
                    Ok(()) => is_asked = true,
                    // It was changed meanwhile: somebody may have asked for something.
                    Err(error) if error.is(Class::Conflict) => {}
                    Err(error) if error.is(Class::Forbidden) && *order == Order::Look => {
                        return Ok(Asked::MayNot(Box::new(release)));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(now) = self.get(&name).await? else { bail!("release {name} was deleted") };
            release = now;
        }
    }

    /// Writes the request on the Release as it was seen.
    async fn request(&self, release: &Release, request: &str) -> Result<(), ApiError> {
        let name = release.name_any();
        let patch = Patch::Merge(serde_json::json!({"metadata": {
            "resourceVersion": release.metadata.resource_version,
            "annotations": {names::REQUEST: request},
        }}));
        let params =
            PatchParams { field_manager: Some("kubectl-backout".to_owned()), ..PatchParams::default() };
        let operation = format!("PATCH release {}/{name}", self.namespace);
        deadline(CALL, operation, self.releases().patch_metadata(&name, &params, &patch)).await.map(drop)
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

/// Whether somebody waits for the answer to another request: there is room for one.
fn is_open(release: &Release) -> bool {
    let Some(request) = release.annotations().get(names::REQUEST) else { return false };
    let answer = release.status.as_ref().and_then(|status| status.answer.as_ref());
    !answer.is_some_and(|answer| request.starts_with(&answer.request))
}

fn with_hint(error: ApiError) -> anyhow::Error {
    let missing = error.is(Class::NotFound);
    let error = anyhow::Error::from(error);
    if missing { error.context("this cluster knows no releases: is Backout installed?") } else { error }
}
