//! The stories of people with kubectl.

use anyhow::{Context, Result, ensure};
use backout_model::{
    health::reasons,
    names,
    release::{Phase, Release},
};
use jiff::Timestamp;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::{Report, Snapshot, Stage, measure, stage::Home};
use crate::{Site, User, eventually};

/// A good release of seven objects, then a bad upgrade of it.
pub async fn shop<C: Site>(stage: &Stage<'_, C>) -> Result<[Report; 2]> {
    let home = stage.home("shop").await?;
    let release = home.name.clone();
    stage.tell.title("1. A good release: seven objects, applied with kubectl");
    home.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await?.success()?;
    let healthy = home.end_of(&release, 1, home.patience()).await?;
    let untouched = untouched_but_for_labels(&home).await?;
    let first = report("good-release", &healthy, untouched, (None, None))?;
    ensure!(first.outcome == Phase::Healthy && first.objects == 7 && untouched, "{first:?}");
    let else_nothing = "; in their namespace Backout wrote nothing else but the Release";
    let else_nothing = stage.cluster.audited().map_or("", |_| else_nothing);
    stage.tell.claim(&format!("healthy: 7 objects carry the labels of revision 1{else_nothing}"));

    stage.tell.title(
        "2. A bad upgrade: an image that does not exist, changed settings, one object more, one fewer",
    );
    let before = Snapshot::take(&home).await?;
    let (rolled_back, failure) = measure::with_first_failure(&home, async {
        home.kubectl(&["apply", "-f", "./shop-v2.yaml"]).await?.success()?;
        home.kubectl(&["delete", "service/shop"]).await?.success()?;
        home.end_of(&release, 2, home.patience()).await
    })
    .await?;
    let same = home
        .claim_same(
            &before,
            &["Service/shop"],
            "every object equals its state before, field ownership included; the new one is gone, the deleted one is back",
        )
        .await?;
    failed_by(&rolled_back, reasons::IMAGE_NOT_FOUND)?;
    let second = report("bad-upgrade", &rolled_back, same, measured(&home, failure, &rolled_back).await?)?;
    ensure!(second.outcome == Phase::RolledBack, "{second:?}");
    Ok([first, second])
}

/// Every object of the release carries the three labels; the watcher wrote nothing in the namespace but the Release, where
/// one can know.
async fn untouched_but_for_labels<C: Site>(home: &Home<'_, C>) -> Result<bool> {
    let state = Snapshot::take(home).await?;
    let tagged = state.0.values().filter(|object| {
        let labels = &object["metadata"]["labels"];
        labels[names::RELEASE] == json!(home.name)
            && labels[names::REVISION] == "1"
            && labels[names::UNDO].is_string()
    });
    let writes = measure::audited(home).await?.unwrap_or_default();
    Ok(tagged.count() == 7 && writes.is_empty())
}

/// A first install that cannot start.
pub async fn failed_install<C: Site>(stage: &Stage<'_, C>) -> Result<Report> {
    let home = stage.home("first").await?;
    let release = home.name.clone();
    stage.tell.title("3. A first install whose program is not in its image, applied server-side");
    let before = Snapshot::take(&home).await?;
    let (torn_down, failure) = measure::with_first_failure(&home, async {
        home.kubectl(&["apply", "--server-side", "-f", "./first.yaml"]).await?.success()?;
        home.end_of(&release, 1, home.patience()).await
    })
    .await?;
    let same = home.claim_same(&before, &[], "nothing is left but the Release with its history").await?;
    let history = torn_down.status.as_ref().map(|status| status.history.len()).unwrap_or_default();
    ensure!(history == 1, "the history has {history} entries");
    failed_by(&torn_down, reasons::CONTAINER_CANNOT_START)?;
    let report = report("failed-install", &torn_down, same, measured(&home, failure, &torn_down).await?)?;
    ensure!(report.outcome == Phase::RolledBack, "{report:?}");
    Ok(report)
}

/// An autoscaler at work while a bad release is live.
pub async fn autoscaler<C: Site>(stage: &Stage<'_, C>) -> Result<Report> {
    let home = stage.home("queue").await?;
    let release = home.name.clone();
    stage.tell.title("5. An autoscaler changes the replicas while a bad release is live");
    let manifest = std::fs::read_to_string(stage.cluster.setting().files.join("scaled.yaml"))?;
    let of_image = |image: &str| manifest.replace("IMAGE", image);
    home.apply(&of_image("registry.example/ready:1"), "kubectl apply -f queue-v1.yaml").await?;
    home.end_of(&release, 1, home.patience()).await?;
    let mut before = Snapshot::take(&home).await?;
    let (rolled_back, failure) = measure::with_first_failure(&home, async {
        home.apply(&of_image("registry.example/missing:2"), "kubectl apply -f queue-v2.yaml").await?;
        scale(&home, 5).await?;
        home.end_of(&release, 2, home.patience()).await
    })
    .await?;
    scaled_alone(before.0.get_mut("Deployment/queue").context("no Deployment")?)?;
    let claim = "the autoscaler's 5 replicas are kept; everything else is as it was before";
    let same = home.claim_same(&before, &[], claim).await?;
    failed_by(&rolled_back, reasons::IMAGE_NOT_FOUND)?;
    let report = report("autoscaler", &rolled_back, same, measured(&home, failure, &rolled_back).await?)?;
    ensure!(report.outcome == Phase::RolledBack, "{report:?}");
    Ok(report)
}

/// What the autoscaler alone would have made of the Deployment.
fn scaled_alone(deployment: &mut Value) -> Result<()> {
    let replicas = deployment.pointer_mut("/spec/replicas").context("no replicas")?;
    ensure!(*replicas == 2, "the replicas were not 2 before");
    *replicas = json!(5);
    let entries = deployment.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    let entries = entries.context("no field owners")?;
    for spec in entries.iter_mut().filter_map(|entry| entry.pointer_mut("/fieldsV1/f:spec")?.as_object_mut())
    {
        spec.remove("f:replicas");
    }
    entries.push(
        json!({"manager": AUTOSCALER, "operation": "Update", "apiVersion": "apps/v1", "subresource": "scale",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}),
    );
    entries.sort_by_key(Value::to_string);
    Ok(())
}

/// The autoscaler's field manager.
const AUTOSCALER: &str = "horizontal-pod-autoscaler";

/// As the horizontal pod autoscaler does it: its own account, through the scale subresource.
async fn scale<C: Site>(home: &Home<'_, C>, replicas: i32) -> Result<()> {
    let user = User::ServiceAccount { ns: "kube-system", name: AUTOSCALER };
    let client = home.stage.cluster.client(user).await?;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client, &home.name);
    home.stage.tell.event(&format!("the autoscaler sets deployment/queue to {replicas} replicas"));
    let params = PostParams { field_manager: Some(AUTOSCALER.to_owned()), ..PostParams::default() };
    // A conflict with the Deployment's controller is met by trying again, as autoscalers do.
    eventually("the autoscaler scales", home.patience(), async || {
        let mut scale = deployments.get_scale("queue").await?;
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        Ok(Some(deployments.replace_scale("queue", &params, &scale).await?))
    })
    .await
    .map(drop)
}

/// The seconds from the first failing pod to the first restoring write, and from there to the last, as far as one can know.
pub(super) async fn measured<C: Site>(
    home: &Home<'_, C>,
    failure: Option<Timestamp>,
    release: &Release,
) -> Result<Seconds> {
    let Some(writes) = measure::audited(home).await? else {
        if let Some(seconds) = measure::told(release) {
            let told =
                format!("by the Release's times, from the verdict to the last restored object {seconds} s");
            home.stage.tell.event(&told);
        }
        return Ok((None, None));
    };
    let seconds = measure::seconds(&writes, failure)?;
    if let (Some(detect), Some(restore)) = seconds {
        home.stage.tell.event(&format!(
            "from the first failing pod to the first restoring write {detect:.1} s, from there to the last {restore:.1} s"
        ));
    }
    Ok(seconds)
}

/// The story told of this cause, and the revision failed by it.
pub(super) fn failed_by(release: &Release, reason: &str) -> Result<()> {
    let past = release.status.as_ref().and_then(|status| status.history.first());
    let failure = past.and_then(|past| past.failure.as_ref()).context("the revision has not failed")?;
    ensure!(
        failure.reason == reason,
        "the story tells of {reason}, but it was {}: {}",
        failure.reason,
        failure.message
    );
    Ok(())
}

type Seconds = (Option<f64>, Option<f64>);

pub(super) fn report(
    story: &'static str,
    release: &Release,
    exact: bool,
    (detect_seconds, restore_seconds): Seconds,
) -> Result<Report> {
    let status = release.status.as_ref().context("the Release has no status")?;
    let past = status.history.first().context("the Release has no history")?;
    ensure!(status.unrestored.is_empty(), "not everything was restored: {:?}", status.unrestored);
    Ok(Report { story, outcome: past.outcome, objects: past.objects, detect_seconds, restore_seconds, exact })
}
