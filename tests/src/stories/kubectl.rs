//! The stories of people with kubectl.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backout_model::{
    names,
    release::{Phase, Release},
};
use kube::{Api, api::PostParams};
use serde_json::json;

use super::{Report, Snapshot, Stage, measure, stage::Home};
use crate::{User, eventually};

const PATIENCE: Duration = Duration::from_mins(2);

/// A good release of seven objects, then a bad upgrade of it.
pub async fn shop(stage: &Stage<'_>) -> Result<[Report; 2]> {
    let home = stage.home("shop").await?;
    let release = home.name.clone();
    stage.tell.title("1. A good release: seven objects, applied with kubectl");
    home.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await?.success()?;
    let healthy = home.end_of(&release, 1, PATIENCE).await?;
    let first = report("good-release", &healthy, None, None)?;
    ensure!(first.outcome == Phase::Healthy && first.objects == 7, "{first:?}");
    untouched_but_for_labels(&home).await?;
    stage.tell.claim(
        "healthy: 7 objects carry the labels of revision 1; Backout wrote nothing else but the Release",
    );

    stage.tell.title(
        "2. A bad upgrade: an image that does not exist, changed settings, one object more, one fewer",
    );
    let before = Snapshot::take(&home).await?;
    let (rolled_back, failure) = measure::with_first_failure(&home, async {
        home.kubectl(&["apply", "-f", "./shop-v2.yaml"]).await?.success()?;
        home.kubectl(&["delete", "service/shop"]).await?.success()?;
        home.end_of(&release, 2, PATIENCE).await
    })
    .await?;
    home.claim_same(
        &before,
        &["Service/shop"],
        "every object equals its state before, field ownership included; the new one is gone, the deleted one is back",
    )
    .await?;
    let (detect, restore) = measure::seconds(&home, failure).await?;
    tell_seconds(stage, detect, restore);
    let second = report("bad-upgrade", &rolled_back, detect, restore)?;
    ensure!(second.outcome == Phase::RolledBack, "{second:?}");
    Ok([first, second])
}

/// Every object of the release carries the three labels; the watcher wrote nothing in the namespace but the Release.
async fn untouched_but_for_labels(home: &Home<'_>) -> Result<()> {
    let state = Snapshot::take(home).await?;
    let tagged = state.0.values().filter(|object| {
        let labels = &object["metadata"]["labels"];
        labels[names::RELEASE] == json!(home.name)
            && labels[names::REVISION] == "1"
            && labels[names::UNDO].is_string()
    });
    ensure!(tagged.count() == 7, "not all objects are tagged");
    let writes = measure::restoring_writes(home).await?;
    ensure!(writes.is_empty(), "the watcher wrote {writes:?}");
    Ok(())
}

/// A first install that cannot start.
pub async fn failed_install(stage: &Stage<'_>) -> Result<Report> {
    let home = stage.home("first").await?;
    let release = home.name.clone();
    stage.tell.title("3. A first install whose program is not in its image, applied server-side");
    let before = Snapshot::take(&home).await?;
    let (torn_down, failure) = measure::with_first_failure(&home, async {
        home.kubectl(&["apply", "--server-side", "-f", "./first.yaml"]).await?.success()?;
        home.end_of(&release, 1, PATIENCE).await
    })
    .await?;
    home.claim_same(&before, &[], "nothing is left but the Release with its history").await?;
    let history = torn_down.status.as_ref().map(|status| status.history.len()).unwrap_or_default();
    ensure!(history == 1, "the history has {history} entries");
    let (detect, restore) = measure::seconds(&home, failure).await?;
    tell_seconds(stage, detect, restore);
    let report = report("failed-install", &torn_down, detect, restore)?;
    ensure!(report.outcome == Phase::RolledBack, "{report:?}");
    Ok(report)
}

/// An autoscaler at work while a bad release is live.
pub async fn autoscaler(stage: &Stage<'_>) -> Result<Report> {
    let home = stage.home("queue").await?;
    let release = home.name.clone();
    stage.tell.title("5. An autoscaler changes the replicas while a bad release is live");
    let manifest = std::fs::read_to_string(Stage::file("scaled.yaml"))?;
    let of_image = |image: &str| manifest.replace("IMAGE", image);
    home.apply(&of_image("registry.example/ready:1"), "kubectl apply -f queue-v1.yaml").await?;
    home.end_of(&release, 1, PATIENCE).await?;
    let mut before = Snapshot::take(&home).await?;
    let (rolled_back, failure) = measure::with_first_failure(&home, async {
        home.apply(&of_image("registry.example/missing:2"), "kubectl apply -f queue-v2.yaml").await?;
        scale(&home, 5).await?;
        home.end_of(&release, 2, PATIENCE).await
    })
    .await?;
    let deployment = before.0.get_mut("Deployment/queue").context("no Deployment")?;
    ensure!(deployment["spec"]["replicas"] == 2, "the replicas were not 2 before");
    let after = Snapshot::take(&home).await?;
    let differences = before.differences(&after, &[]);
    let kept: Vec<_> = differences.iter().map(|difference| difference.at.as_str()).collect();
    let only_replicas = differences.iter().all(|difference| {
        difference.at == "Deployment/queue spec replicas" && difference.after == 5
            || difference.at == "Deployment/queue metadata managedFields"
    });
    ensure!(only_replicas && kept.contains(&"Deployment/queue spec replicas"), "{differences:#?}");
    stage.tell.claim("the autoscaler's 5 replicas are kept; everything else is as it was before");
    let (detect, restore) = measure::seconds(&home, failure).await?;
    tell_seconds(stage, detect, restore);
    let report = report("autoscaler", &rolled_back, detect, restore)?;
    ensure!(report.outcome == Phase::RolledBack, "{report:?}");
    Ok(report)
}

/// As the horizontal pod autoscaler does it: its own account, through the scale subresource.
async fn scale(home: &Home<'_>, replicas: i32) -> Result<()> {
    let user = User::ServiceAccount { ns: "kube-system", name: "horizontal-pod-autoscaler" };
    let client = home.stage.cluster.client(user).await?;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client, &home.name);
    home.stage.tell.event(&format!("the autoscaler sets deployment/queue to {replicas} replicas"));
    // A conflict with the Deployment's controller is met by trying again, as autoscalers do.
    eventually("the autoscaler scales", PATIENCE, async || {
        let mut scale = deployments.get_scale("queue").await?;
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        Ok(Some(deployments.replace_scale("queue", &PostParams::default(), &scale).await?))
    })
    .await
    .map(drop)
}

pub(super) fn tell_seconds(stage: &Stage<'_>, detect: Option<f64>, restore: Option<f64>) {
    if let (Some(detect), Some(restore)) = (detect, restore) {
        stage.tell.event(&format!(
            "from the first failing pod to the first restoring write {detect:.1} s, from there to the last {restore:.1} s"
        ));
    }
}

pub(super) fn report(
    story: &'static str,
    release: &Release,
    detect: Option<f64>,
    restore: Option<f64>,
) -> Result<Report> {
    let status = release.status.as_ref().context("the Release has no status")?;
    let past = status.history.first().context("the Release has no history")?;
    ensure!(status.unrestored.is_empty(), "not everything was restored: {:?}", status.unrestored);
    Ok(Report {
        story,
        outcome: past.outcome,
        objects: past.objects,
        detect_seconds: detect,
        restore_seconds: restore,
        exact: true,
    })
}
