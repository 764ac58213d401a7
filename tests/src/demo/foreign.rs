//! A cluster that somebody else runs, by a context of the user's kubeconfig, which is only read.
//!
//! # Guarantees
//! Clients get a kubeconfig that knows of this context alone, whatever the user's current one is, by then or later.
//! All that is made bears one label, or lies in a namespace that does.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use backout_model::names;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::Images;
use crate::{
    Cluster, Output, User, certs,
    cluster::WorkDir,
    components::{Component, Components},
    site::{self, Setting, Site},
    tools,
};

/// The label of all that the demo makes; its value is the run's.
pub(super) const RUN: &str = "demo.example/run";

/// What bears it.
pub(super) const MADE: &str = "namespaces,clusterroles,customresourcedefinitions";

/// The policy of the demo's namespaces: its stories do not depend on the watcher's flags.
const POLICY: [(&str, &str); 7] = [
    (names::POLICY_SETTLE, "5s"),
    (names::POLICY_DEADLINE, "5m"),
    (names::POLICY_SOAK, "10s"),
    (names::POLICY_ON_INSTALL_FAILURE, "Rollback"),
    (names::POLICY_ON_UPGRADE_FAILURE, "Rollback"),
    (names::POLICY_KEEP_FAILING_POD, "0s"),
    (names::POLICY_SUSPEND, "false"),
];

/// The cluster of a context.
pub(super) struct Foreign {
    /// The context's name.
    pub(super) context: String,
    /// The URL of its API server.
    pub(super) server: String,
    /// The name of this run.
    pub(super) run: String,
    /// The kubeconfig with this context alone.
    config: Value,
    components: Components,
    dir: WorkDir,
    setting: Setting,
}

impl Foreign {
    /// Reads the kubeconfig; nobody is asked anything yet.
    pub(super) async fn find(context: &str, images: Images) -> Result<Self> {
        let clients = [Component::Kubectl, Component::Helm];
        let components = tokio::task::spawn_blocking(move || Components::build(&clients))
            .await
            .context("building the clients was interrupted")??;
        let config = alone(&components, context).await?;
        let text = |pointer| config.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let server = text("/clusters/0/cluster/server").context("the context's cluster has no server")?;
        let dir = WorkDir::create(false)?;
        let files = dir.path().join("stories");
        translated(&site::files(), &files, &images)?;
        let run = format!("{:08x}", rand::random::<u32>());
        let setting = Setting {
            files,
            images,
            labels: BTreeMap::from([(RUN.to_owned(), run.clone())]),
            annotations: POLICY.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            patience: Duration::from_mins(8),
            sooner_than_helm: Duration::from_mins(4),
            notice: Duration::from_secs(2),
        };
        Ok(Self { context: context.to_owned(), server, run, config, components, dir, setting })
    }
}

impl Site for Foreign {
    fn components(&self) -> &Components {
        &self.components
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The home stays the user's: programs that fetch credentials look there.
    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("KUBECACHEDIR", self.dir().join("home/kube")), ("KUBERC", "off".into())]
    }

    async fn kubeconfig(&self, user: User<'_>) -> Result<PathBuf> {
        let path = self.dir().join("kubeconfigs").join(certs::file_name(&user.name()));
        if !path.exists() {
            fs::create_dir_all(path.with_file_name(""))?;
            certs::write_private(&path, &played(self.config.clone(), user)?.to_string())?;
        }
        Ok(path)
    }

    async fn client(&self, user: User<'_>) -> Result<Client> {
        // A second installation is an error that changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(user).await?)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.read_timeout = Some(Duration::from_secs(30));
        Ok(Client::try_from(config)?)
    }

    fn setting(&self) -> &Setting {
        &self.setting
    }

    fn audited(&self) -> Option<&Cluster> {
        None
    }
}

/// The user's kubeconfig without all that is not of this context.
async fn alone(components: &Components, context: &str) -> Result<Value> {
    let kubectl = async |args: &[&str]| -> Result<Output> {
        let env = [("KUBERC", OsStr::new("off"))];
        tools::run(&components.path(Component::Kubectl), args, env, None).await
    };
    let names = kubectl(&["config", "get-contexts", "--output=name"]).await?.success()?.stdout;
    if !names.lines().any(|name| name == context) {
        let names = names.lines().collect::<Vec<_>>().join(", ");
        let there =
            if names.is_empty() { "It has none at all.".to_owned() } else { format!("It has: {names}.") };
        bail!(
            "your kubeconfig has no context {context:?}. {there}\n\
             Name one of them, or the right file in KUBECONFIG (else it is ~/.kube/config)."
        );
    }
    let of_context = format!("--context={context}");
    let view = ["config", "view", "--raw", "--flatten", "--minify", "--output=json", &of_context];
    let config: Value = serde_json::from_str(&kubectl(&view).await?.success()?.stdout)?;
    let contexts = config["contexts"].as_array().map_or(0, Vec::len);
    ensure!(
        config["current-context"] == context && contexts == 1,
        "kubectl did not tell the context {context:?} from the others"
    );
    Ok(config)
}

/// A copy of the stories' files with the images that stand for theirs.
fn translated(from: &Path, to: &Path, images: &Images) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            translated(&entry.path(), &copy, images)?;
        } else {
            fs::write(copy, images.translate(&fs::read_to_string(entry.path())?))?;
        }
    }
    Ok(())
}

/// The kubeconfig for this user, whom the context's own user plays.
fn played(mut config: Value, user: User<'_>) -> Result<Value> {
    let credentials = config.pointer_mut("/users/0/user").and_then(Value::as_object_mut);
    let credentials = credentials.context("the context names no user")?;
    match user {
        User::Admin => {}
        User::Named(_) | User::ServiceAccount { .. } => {
            credentials.retain(|field, _| !field.starts_with("as-"));
            credentials.insert("as".to_owned(), json!(user.name()));
        }
        User::Node(_) => bail!("nobody plays a node on a cluster of others"),
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_played_is_impersonated_alone_and_the_administrator_is_the_contexts_user() {
        let of = |user: Value| json!({"users": [{"name": "me", "user": user}], "contexts": []});
        let mine = of(json!({"token": "t", "as": "root", "as-groups": ["a"], "as-uid": "1"}));
        let play = |user| played(mine.clone(), user).unwrap();
        assert_eq!(play(User::Admin), mine);
        assert_eq!(play(User::Named("alice")), of(json!({"token": "t", "as": "alice"})));
        let autoscaler = User::ServiceAccount { ns: "a", name: "b" };
        assert_eq!(play(autoscaler), of(json!({"token": "t", "as": "system:serviceaccount:a:b"})));
        assert!(played(mine.clone(), User::Node("a")).is_err());
        assert!(played(json!({"users": null}), User::Admin).is_err());
    }
}
