//! A healthy release, and somebody who forges reviews about it.

use anyhow::{Context, Result, bail, ensure};
use backout_model::{
    names,
    release::{Phase, ReleaseStatus},
};
use serde_json::{Value, json};
use system_tests::{
    eventually,
    faults::AdmissionClient,
    oracle,
    stories::{Home, Snapshot, Stage},
};

use super::{
    super::PATIENCE,
    cases::{Answered, Case},
};

/// What the forger knows: everything, as it is and as it was.
pub(super) struct Scene<'a> {
    pub(super) home: Home<'a>,
    pub(super) before: Snapshot,
    /// The last one before anything was forged.
    pub(super) revision: u64,
    client: AdmissionClient,
    objects: Vec<(&'static str, Value)>,
}

const OBJECTS: [(&str, &str); 6] = [
    ("web", "apis/apps/v1/namespaces/NS/deployments/web"),
    ("settings", "api/v1/namespaces/NS/configmaps/web"),
    ("untouched", "api/v1/namespaces/NS/configmaps/untouched"),
    ("other", "api/v1/namespaces/NS/configmaps/other"),
    ("ca", "api/v1/namespaces/NS/configmaps/kube-root-ca.crt"),
    ("gone", "api/v1/namespaces/NS/configmaps/gone"),
];

/// Of another release, and of this one, but deleted again before it was healthy.
const MORE: &str = "
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other, labels: {backout.dev/release-name: other}}
data: {a: b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: gone}
data: {a: b}
";

impl<'a> Scene<'a> {
    pub(super) async fn healthy(stage: &'a Stage<'a>, name: &str) -> Result<Self> {
        let home = stage.home(name).await?;
        applied(&home, &(Stage::small("registry.example/ready:1", "hello")? + MORE)).await?;
        let mut objects = Vec::new();
        for (name, path) in OBJECTS {
            let path = format!("/{}", path.replace("NS", &home.name));
            let printed = home.admin(&["get", "--raw", &path]).await?.success()?.stdout;
            objects.push((name, serde_json::from_str(&printed)?));
        }
        eventually("it is deleted", PATIENCE, async || {
            let args = ["delete", "configmap", "gone", "--ignore-not-found"];
            home.kubectl(&args).await?.success().map(Some)
        })
        .await?;
        let client = stage.backout().admission_client(&stage.cluster.authority().ca())?;
        let mut scene = Self { home, before: Snapshot::default(), revision: 0, client, objects };
        // Both releases: of the last of them the cluster hears a little later.
        scene.log_is_empty().await?;
        let releases = [scene.ns().to_owned(), "other".to_owned()];
        for release in releases {
            let healthy = eventually(format!("{release} is healthy"), PATIENCE, async || {
                let status = scene.home.release(&release).await?.status.unwrap_or_default();
                Ok((status.phase == Some(Phase::Healthy)).then_some(status))
            })
            .await?;
            scene.revision = scene.revision.max(healthy.revision);
        }
        scene.before = Snapshot::take(&scene.home).await?;
        scene.refresh().await?;
        Ok(scene)
    }

    /// Reads again what is there.
    async fn refresh(&mut self) -> Result<()> {
        for ((_, object), (_, path)) in self.objects.iter_mut().zip(OBJECTS) {
            let path = format!("/{}", path.replace("NS", &self.home.name));
            if let Ok(found) = self.home.admin(&["get", "--raw", &path]).await?.success() {
                *object = serde_json::from_str(&found.stdout)?;
            }
        }
        Ok(())
    }

    /// One of [`OBJECTS`], as the server has it now.
    pub(super) fn object(&self, name: &str) -> Value {
        let found = self.objects.iter().find(|(other, _)| *other == name);
        found.map(|(_, object)| object.clone()).unwrap()
    }

    pub(super) fn ns(&self) -> &str {
        &self.home.name
    }

    /// Posts what the case invents, as things stand now. Where a review says `@0`, it means the record of the first.
    pub(super) async fn forge(&mut self, case: &Case) -> Result<()> {
        self.refresh().await?;
        let mut records: Vec<String> = Vec::new();
        for mut review in (case.reviews)(self) {
            for side in ["object", "oldObject"] {
                let pointer = format!("/request/{side}/metadata/labels/{}", names::UNDO.replace('/', "~1"));
                if let Some(link) = review.pointer_mut(&pointer)
                    && let Some(index) = link.as_str().and_then(|link| link.strip_prefix('@'))
                {
                    let index: usize = index.parse()?;
                    *link = json!(records.get(index).context("no such record")?);
                }
            }
            let (answered, undo) = self.post(&review).await?;
            ensure!(answered == case.answer, "{review} is answered as {answered:?}");
            records.extend(undo);
        }
        Ok(())
    }

    /// As an API server would, again where the webhook could not store its record in time.
    async fn post(&self, review: &Value) -> Result<(Answered, Option<String>)> {
        eventually("the review is answered", PATIENCE, async || {
            let answer = self.client.review("/admit?timeout=5s", review).await?;
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let undo = body["response"]["auditAnnotations"]["undo"].as_str().map(str::to_owned);
            let answered = match (answer.status.as_u16(), &undo) {
                (200, Some(_)) => Answered::Recorded,
                (200, None) if body["response"]["allowed"] == true => Answered::Passed,
                (400, _) => Answered::Invalid,
                _ => bail!("{review} is answered {}: {}", answer.status, answer.text()),
            };
            Ok(Some((answered, undo)))
        })
        .await
    }

    /// A version whose image does not exist.
    pub(super) async fn upgrade(&self) -> Result<()> {
        applied(&self.home, &Stage::small("registry.example/missing:2", "bye")?).await
    }

    pub(super) async fn status(&self) -> Result<ReleaseStatus> {
        Ok(self.home.release(&self.home.name).await?.status.unwrap_or_default())
    }

    /// Waits until no record is left: what no object bears out goes after the longest time that a write may take.
    pub(super) async fn log_is_empty(&self) -> Result<()> {
        eventually(format!("the log of {} is empty", self.ns()), PATIENCE, async || {
            let heads = self.home.stage.cluster.record_heads(self.ns()).await?;
            Ok(heads.is_empty().then_some(()))
        })
        .await
    }

    /// The objects that the watcher wrote in the namespace; fails if it wrote one that no deployer had written.
    pub(super) async fn restored(&self) -> Result<Vec<String>> {
        let witness = oracle::witness(self.home.stage.cluster, &["alice"]).await?;
        let violations: Vec<_> = witness.violations.iter().filter(|what| what.contains(self.ns())).collect();
        ensure!(violations.is_empty(), "{violations:#?}");
        Ok(witness.restores.get(self.ns()).cloned().unwrap_or_default())
    }

    pub(super) async fn is_as_before(&self) -> Result<()> {
        let differences = self.before.differences(&Snapshot::take(&self.home).await?, &[]);
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(())
    }
}

/// Where so much goes on side by side the webhook's time may be over before its record is stored.
async fn applied(home: &Home<'_>, manifest: &str) -> Result<()> {
    eventually("it is applied", PATIENCE, async || home.apply(manifest, "").await.map(Some)).await
}
