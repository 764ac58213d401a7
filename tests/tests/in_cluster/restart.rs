//! Replicas that go and come under load, of this version and of another.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::{
    eventually, images,
    stories::{Snapshot, Stage},
};

use super::{ground::Ground, load::no_write_fails_during};

const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_write() {
    let Some(ground) = Ground::alone().await else { return };
    let stage = ground.stage();
    let home = stage.home("restarted").await.unwrap();
    no_write_fails_during(&ground, &home, async {
        for program in images::PROGRAMS {
            ground.own(&["rollout", "restart", &format!("deployment/{program}")]).await.unwrap();
            ground.rolls_out(program).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_under_load_and_the_way_back_from_it_fail_no_write_and_forget_no_release() {
    let Some(ground) = Ground::alone().await else { return };
    let stage = ground.stage();
    let (home, judged) = (stage.home("upgraded").await.unwrap(), stage.home("judged").await.unwrap());
    let good = Stage::small("registry.example/ready:1", "hello").unwrap();
    let bad = Stage::small("registry.example/missing:2", "bye").unwrap();
    judged.apply(&good, "kubectl apply -f small.yaml").await.unwrap();
    judged.end_of(&judged.name, 1, PATIENCE).await.unwrap();
    let before = Snapshot::take(&judged).await.unwrap();

    no_write_fails_during(&ground, &home, async {
        for (revision, overlay, version, webhooks) in
            [(2, "overlays/ha", "0.2.0", 3), (3, "base", "0.1.0", 2)]
        {
            judged.apply(&bad, "kubectl apply -f small.yaml").await.unwrap();
            ground.apply(overlay, version).await.unwrap();
            let ready = "jsonpath={.status.updatedReplicas} {.status.readyReplicas}";
            eventually("the webhooks are ready", PATIENCE, async || {
                let webhook = ground.own(&["get", "deployment", "backout-webhook", "-o", ready]).await?;
                Ok((webhook == format!("{webhooks} {webhooks}")).then_some(()))
            })
            .await
            .unwrap();
            let versions = "jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/version}";
            let running = ["get", "pods", "--field-selector=status.phase=Running", "-o", versions];
            let running = ground.own(&running).await.unwrap();
            assert!(running.split(' ').any(|it| it == version), "{running}");
            let end = judged.end_of(&judged.name, revision, PATIENCE).await.unwrap();
            assert_eq!(end.status.unwrap().phase, Some(Phase::RolledBack));
        }
    })
    .await;
    assert_eq!(before.differences(&Snapshot::take(&judged).await.unwrap(), &[]), []);
}
