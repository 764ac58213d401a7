//! Alice, who writes what she has to, and tries again what is refused.

use std::time::Duration;

use anyhow::{Result, bail};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::Value;
use system_tests::{
    User,
    stories::{Home, Stage},
};
use tokio::time::{Instant, sleep};

/// One thing that she does.
pub(crate) enum Step {
    Apply(Value),
    Delete(&'static str, &'static str),
}

/// Alice in one namespace.
pub(crate) struct Deployer {
    client: Client,
    namespace: String,
}

impl Deployer {
    pub(crate) async fn new(home: &Home<'_>) -> Result<Self> {
        let client = home.stage.cluster.client(User::Named("alice")).await?;
        Ok(Self { client, namespace: home.name.clone() })
    }

    /// Does one thing after the other; says how often she was refused.
    pub(crate) async fn go(&self, steps: &[Step]) -> Result<u32> {
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

    async fn one(&self, step: &Step) -> kube::Result<()> {
        match step {
            Step::Apply(object) => {
                let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                let params = PatchParams::apply("alice").force();
                self.api(text("/kind"))
                    .patch(text("/metadata/name"), &params, &Patch::Apply(object))
                    .await
                    .map(drop)
            }
            Step::Delete(kind, name) => match self.api(kind).delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                done => done.map(drop),
            },
        }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (group, version, plural) = match kind {
            "ServiceAccount" => ("", "v1", "serviceaccounts"),
            "ConfigMap" => ("", "v1", "configmaps"),
            "Secret" => ("", "v1", "secrets"),
            "Service" => ("", "v1", "services"),
            "Deployment" => ("apps", "v1", "deployments"),
            "StatefulSet" => ("apps", "v1", "statefulsets"),
            "Widget" => ("demo.example", "v1", "widgets"),
            other => panic!("no story has a {other}"),
        };
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}

/// The objects of a file of the stories, with some words exchanged.
pub(crate) fn manifest(file: &str, words: &[(&str, &str)]) -> Vec<Step> {
    let mut text = std::fs::read_to_string(Stage::file(file)).unwrap();
    for (old, new) in words {
        assert!(text.contains(old), "{file} does not say {old}");
        text = text.replace(old, new);
    }
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for account in objects.iter_mut().filter(|object| object["kind"] == "ServiceAccount") {
        // One without any field has no owners; the second apply, which changes nothing, gives it some.
        account["automountServiceAccountToken"] = true.into();
    }
    objects.into_iter().map(Step::Apply).collect()
}

const PATIENCE: Duration = Duration::from_mins(1);
