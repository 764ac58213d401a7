//! To delete a Release is to keep what it holds: also where the watcher that knew it is dead.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::stories::Snapshot;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_release_that_was_deleted_is_forgotten_by_a_new_watcher_too() {
    let (stage, _alone) = super::super::stage().await;
    let home = stage.home("forgotten").await.unwrap();
    home.admin(&["annotate", "namespace", &home.name, "backout.dev/on-install-failure=Hold"]).await.unwrap();
    home.kubectl(&["create", "deployment", "web", "--image=registry.example/missing:1"]).await.unwrap();
    let held = home.end_of(&home.name, 1, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(held.phase, Some(Phase::Held), "{held:#?}");
    let before = Snapshot::take(&home).await.unwrap();

    stage.backout().watcher().kill9().await.unwrap();
    home.kubectl(&["delete", "release", &home.name]).await.unwrap().success().unwrap();
    home.admin(&["annotate", "namespace", &home.name, "backout.dev/on-install-failure-"]).await.unwrap();
    stage.backout().watcher().restart().await.unwrap();
    stage.backout().wait_ready().await.unwrap();
    // Longer than a revision that was taken up again would need to fail and be taken down.
    sleep(Duration::from_secs(25)).await;
    let releases = home.admin(&["get", "releases", "-o", "name"]).await.unwrap().success().unwrap();
    assert_eq!(releases.stdout, "");
    assert_eq!(before.differences(&Snapshot::take(&home).await.unwrap(), &[]), []);
}
