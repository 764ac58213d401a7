//! Alice without kubectl: where she writes so often that starting a client each time would cost too much.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Home, Stage, stage::ALICE};

/// One thing that she does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Server-side apply of this object.
    Apply(Value),
    /// The deletion of an object by kind and name.
    Delete(&'static str, &'static str),
    /// So many replicas, through the subresource, of an object by kind and name.
    Scale(&'static str, &'static str, u32),
}

/// Alice in one namespace, over one connection.
pub struct Deployer {
    client: Client,
    namespace: String,
}

impl Deployer {
    /// A connection of the caller's runtime.
    pub async fn new(home: &Home<'_>) -> Result<Self> {
        let client = home.stage.cluster.client(ALICE).await?;
        Ok(Self { client, namespace: home.name.clone() })
    }

    /// Does one thing after the other, and tries again what is refused; says how often she was.
    pub async fn go(&self, steps: &[Step]) -> Result<u32> {
        let deadline = Instant::now() + PATIENCE;
        let mut refused = 0;
        for step in steps {
            while let Err(error) = self.one(step).await {
                refused += 1;
                if Instant::now() > deadline {
                    bail!("alice was refused {refused} times: {error:#}");
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(refused)
    }

    async fn one(&self, step: &Step) -> Result<()> {
        match step {
            Step::Apply(object) => {
                let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let params = PatchParams::apply("alice").force();
                self.api(text("/kind"))?
                    .patch(text("/metadata/name"), &params, &Patch::Apply(object))
                    .await?;
            }
            Step::Delete(kind, name) => match self.api(kind)?.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => drop(done?),
            },
            Step::Scale(kind, name, replicas) => {
                let scale = json!({ "spec": { "replicas": replicas } });
                let params =
                    PatchParams { field_manager: Some("alice".to_owned()), ..PatchParams::default() };
                self.api(kind)?.patch_scale(name, &params, &Patch::Merge(&scale)).await?;
            }
        }
        Ok(())
    }

    fn api(&self, kind: &str) -> Result<Api<DynamicObject>> {
        let (group, version, plural) = match kind {
            "ServiceAccount" => ("", "v1", "serviceaccounts"),
            "ConfigMap" => ("", "v1", "configmaps"),
            "Secret" => ("", "v1", "secrets"),
            "Service" => ("", "v1", "services"),
            "Deployment" => ("apps", "v1", "deployments"),
            "StatefulSet" => ("apps", "v1", "statefulsets"),
            "Widget" => ("demo.example", "v1", "widgets"),
            other => bail!("no story has a {other}"),
        };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Ok(Api::namespaced_with(self.client.clone(), &self.namespace, &resource))
    }
}

/// Applies the objects of a file of the stories, with some words exchanged.
pub fn manifest(file: &str, words: &[(&str, &str)]) -> Result<Vec<Step>> {
    let mut text =
        std::fs::read_to_string(Stage::file(file)).with_context(|| format!("there is no {file}"))?;
    for (old, new) in words {
        ensure!(text.contains(old), "{file} does not say {old}");
        text = text.replace(old, new);
    }
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    for account in objects.iter_mut().filter(|object| object["kind"] == "ServiceAccount") {
        // One without any field has no owners; the second apply, which changes nothing, gives it some.
        account["automountServiceAccountToken"] = true.into();
    }
    Ok(objects.into_iter().map(Step::Apply).collect())
}

/// A good version of the shop of story 1; odd numbers differ from even ones in four objects.
pub fn good_shop(number: usize) -> Result<Vec<Step>> {
    const ODD: &[(&str, &str)] =
        &[("ready:1", "ready:2"), ("hello", "good day"), ("token: first", "token: 2nd")];
    manifest("shop-v1.yaml", if number.is_multiple_of(2) { &[] } else { ODD })
}

/// The bad version of story 2: an image that does not exist, changed settings, one object more, one fewer.
pub fn bad_shop() -> Result<Vec<Step>> {
    let mut bad = manifest("shop-v2.yaml", &[])?;
    bad.push(Step::Delete("Service", "shop"));
    Ok(bad)
}

const PATIENCE: Duration = Duration::from_mins(1);
