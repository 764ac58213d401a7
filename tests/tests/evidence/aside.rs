//! A pod that is kept for a person to look into, while everything else goes back.

use std::time::Duration;

use backout_model::{names, release::Phase};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use system_tests::{User, eventually, stories::Snapshot};

use super::ground::{CRASHING, GOOD, LIVES, PATIENCE, app, audited, ends, ground, kept};

const SERVICE: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, publishNotReadyAddresses: true, ports: [{port: 80}]}
";

#[tokio::test]
async fn one_failing_pod_runs_on_out_of_its_workload_and_services_until_its_time_is_over() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let home = ground.home("aside").await;
    let keep = ["annotate", "namespace", &home.name, "backout.dev/keep-failing-pod=25s"];
    home.admin(&keep).await.unwrap().success().unwrap();
    ground.deadline(&home, "10m").await;
    home.apply(&format!("{}---{SERVICE}", app(GOOD, "password-1")), "a good install").await.unwrap();
    ends(&home, 1, Phase::Healthy).await;
    let before = Snapshot::take(&home).await.unwrap();
    ground.deadline(&home, "4s").await;
    home.apply(&app(CRASHING, "password-1"), "a bad upgrade").await.unwrap();
    let status = ends(&home, 2, Phase::RolledBack).await;

    let aside = status.aside.clone().unwrap_or_else(|| panic!("{status:#?}\n{}", kept(&home)));
    assert_eq!((aside.revision, aside.namespace.as_str()), (2, home.name.as_str()));
    let pods: Api<Pod> = Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name);
    let pod = pods.get(&aside.pod).await.unwrap();
    let alone = pods.list(&ListParams::default().labels(names::ASIDE)).await.unwrap().items;
    assert_eq!(alone.len(), 1, "{alone:#?}");
    assert_eq!((pod.uid(), pod.metadata.deletion_timestamp.is_none()), (Some(aside.uid.clone()), true));
    let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone());
    assert_eq!(image.as_deref(), Some(CRASHING));
    let labels: Vec<_> = pod.labels().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [(names::ASIDE, home.name.as_str())]);
    let owners: Vec<_> =
        pod.owner_references().iter().map(|owner| (&*owner.kind, owner.controller)).collect();
    assert_eq!(owners, [("Release", None)]);
    let get = ["get", "endpointslices", "-o", "yaml"];
    eventually("it is out of its Service", PATIENCE, async || {
        Ok((!home.admin(&get).await?.success()?.stdout.contains(&aside.pod)).then_some(()))
    })
    .await
    .unwrap();
    let differences = before.differences(&Snapshot::take(&home).await.unwrap(), &[]);
    assert!(differences.is_empty(), "{differences:#?}");

    eventually("its time is over", PATIENCE, async || {
        let forgotten = home.release(&home.name).await?.status.unwrap_or_default().aside.is_none();
        Ok((pods.get_opt(&aside.pod).await?.is_none() && forgotten).then_some(()))
    })
    .await
    .unwrap();
    assert!(jiff::Timestamp::now() >= aside.until.0, "it was deleted too soon");
    assert_eq!(ends(&home, 2, Phase::RolledBack).await.aside, None);
    audited(&home).await;
}

/// Longer than a pod is kept here, and shorter than a person would wait.
#[tokio::test]
async fn a_pod_that_is_kept_goes_with_its_release() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let home = ground.home("aside-owned").await;
    let keep = ["annotate", "namespace", &home.name, "backout.dev/keep-failing-pod=1h"];
    home.admin(&keep).await.unwrap().success().unwrap();
    home.apply(&app(CRASHING, "password-1"), "a bad install").await.unwrap();
    let status = ends(&home, 1, Phase::RolledBack).await;
    let aside = status.aside.clone().unwrap_or_else(|| panic!("{status:#?}\n{}", kept(&home)));
    let pods: Api<Pod> = Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name);
    assert_eq!(pods.get(&aside.pod).await.unwrap().uid(), Some(aside.uid));
    // What the rollback deletes is gone in a moment; what it must not delete is there still.
    eventually("the others are gone", Duration::from_mins(2), async || {
        let left = pods.list(&ListParams::default()).await?.items;
        Ok((left.len() == 1 && left[0].name_any() == aside.pod).then_some(()))
    })
    .await
    .unwrap();
    home.admin(&["delete", "release", &home.name]).await.unwrap().success().unwrap();
    eventually("it is gone, too", PATIENCE, async || {
        Ok(pods.get_opt(&aside.pod).await?.is_none().then_some(()))
    })
    .await
    .unwrap();
}
