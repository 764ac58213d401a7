//! Objects that were last written longer ago than the server remembers: most of those that an upgrade changes.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::stories::Snapshot;

const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn an_upgrade_of_objects_that_are_older_than_the_servers_memory_is_rolled_back_too() {
    let (stage, _alone) = super::super::stage().await;
    let home = stage.home("old").await.unwrap();
    home.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await.unwrap().success().unwrap();
    let healthy = home.end_of(&home.name, 1, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(healthy.phase, Some(Phase::Healthy), "{healthy:#?}");
    let before = Snapshot::take(&home).await.unwrap();
    // Any write, so that what was written before is not the present state.
    home.admin(&["annotate", "namespace", &home.name, "later=1"]).await.unwrap().success().unwrap();
    stage.cluster.forget_history().await.unwrap();

    home.kubectl(&["apply", "-f", "./shop-v2.yaml"]).await.unwrap().success().unwrap();
    home.kubectl(&["delete", "service/shop"]).await.unwrap().success().unwrap();
    let end = home.end_of(&home.name, 2, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(end.phase, Some(Phase::RolledBack), "{end:#?}");
    assert_eq!(before.differences(&Snapshot::take(&home).await.unwrap(), &["Service/shop"]), []);
}
