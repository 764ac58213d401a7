//! The API server killed in the middle of a bad upgrade: everyone waits for it, nobody else dies of it.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::stories::Snapshot;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn an_api_server_that_dies_during_a_bad_upgrade_delays_the_rollback_and_no_more() {
    let (stage, _alone) = super::super::stage().await;
    let home = stage.home("restarted").await.unwrap();
    home.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await.unwrap().success().unwrap();
    let healthy = home.end_of(&home.name, 1, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(healthy.phase, Some(Phase::Healthy), "{healthy:#?}");
    let before = Snapshot::take(&home).await.unwrap();
    let (webhook, watcher) = (stage.backout.webhook(), stage.backout.watcher());
    let pids = (webhook.pid(), watcher.pid());

    home.kubectl(&["apply", "-f", "./shop-v2.yaml"]).await.unwrap().success().unwrap();
    home.kubectl(&["delete", "service/shop"]).await.unwrap().success().unwrap();
    sleep(Duration::from_secs(3)).await;
    stage.cluster.apiserver().kill9().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    stage.cluster.apiserver().restart().await.unwrap();
    stage.cluster.wait_ready().await.unwrap();

    let end = home.end_of(&home.name, 2, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(end.phase, Some(Phase::RolledBack), "{end:#?}");
    assert_eq!(before.differences(&Snapshot::take(&home).await.unwrap(), &["Service/shop"]), []);
    assert_eq!((webhook.exit(), watcher.exit()), (None, None));
    assert_eq!((webhook.pid(), watcher.pid()), pids);
}
