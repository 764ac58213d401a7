//! Somebody has a deploy held while Helm waits for it.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::{
    User, eventually,
    stories::{Home, Snapshot, Stage},
};
use tokio::time::sleep;

use super::{
    super::{PATIENCE, audited, history, next_works, status, told, turn},
    hooks::{end, run},
    waiting::{BAD, installed, is_as_before},
};

#[tokio::test]
async fn what_somebody_holds_stays_as_it_is_when_helm_gives_up_on_it_and_goes_back_by_hand() {
    let stage = Stage::shared().await.unwrap();
    let home = installed(&stage, "held").await.unwrap();
    let before = Snapshot::take(&home).await.unwrap();
    let upgrade = ["upgrade", "web", "./web", "--set", BAD, "--wait", "--timeout=20s"];
    let (output, ()) = tokio::join!(home.helm(&upgrade), hold(&home));
    assert!(!output.unwrap().status.success(), "helm took it for a success");
    assert_eq!(told(&history(&home).await.unwrap()), "1 deployed, 2 failed");
    stays(&home).await;
    goes_back(&home, &before).await;
    next_works(&home, false).await.unwrap();
}

#[tokio::test]
async fn what_somebody_holds_before_helm_has_written_it_stays_as_it_is_when_helm_has_and_goes_back_by_hand() {
    let _turn = turn().await;
    let stage = Stage::shared().await.unwrap();
    let home = stage.home("held-early").await.unwrap();
    let (installed, _) = run(&home, "install", "one", &[("migrate", 0), ("smoke", 0)], 1).await.unwrap();
    assert_eq!(installed.phase, Some(Phase::Healthy), "{installed:#?}");
    let before = Snapshot::take(&home).await.unwrap();
    let upgrade = ["upgrade", "web", "./hooked", "--set", "greeting=two", "--timeout=2m"];
    let (output, ()) = tokio::join!(home.helm(&upgrade), async {
        // Helm waits for the hook before it writes anything else.
        hold(&home).await;
        for hook in ["migrate", "smoke"] {
            end(&home, hook, 0).await.unwrap();
        }
    });
    output.unwrap().success().unwrap();
    assert_eq!(told(&history(&home).await.unwrap()), "1 superseded, 2 deployed");
    stays(&home).await;
    goes_back(&home, &before).await;
}

async fn hold(home: &Home<'_>) {
    eventually("the upgrade is seen", PATIENCE, async || {
        Ok((status(home).await?.revision == 2).then_some(()))
    })
    .await
    .unwrap();
    by_hand(home, "hold", "revision 2 is left as it is").await;
}

/// For longer than any verdict on it takes.
async fn stays(home: &Home<'_>) {
    let deployed = Snapshot::take(home).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let held = status(home).await.unwrap();
    assert_eq!((held.phase, held.revision), (Some(Phase::Held), 2), "{held:#?}");
    assert_eq!(deployed.differences(&Snapshot::take(home).await.unwrap(), &[]), []);
}

async fn goes_back(home: &Home<'_>, before: &Snapshot) {
    by_hand(home, "rollback", "revision 2 is rolled back").await;
    let end = home.end_of("web", 2, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(end.phase, Some(Phase::RolledBack), "{end:#?}");
    is_as_before(home, before, true).await.unwrap();
    assert_eq!(told(&history(home).await.unwrap()), "1 deployed");
    audited(home).await.unwrap();
}

async fn by_hand(home: &Home<'_>, verb: &str, answer: &str) {
    let alice = User::Named("alice");
    let output = home.stage.backout().plugin(home.stage.cluster, alice, &home.name, &[verb, "web"]).await;
    let told = output.unwrap().success().unwrap().stdout;
    assert!(told.contains(answer), "{told}");
}
