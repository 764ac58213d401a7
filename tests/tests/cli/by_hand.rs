//! What people do by hand.

use backout_model::release::Phase;
use jiff::Timestamp;
use system_tests::{eventually, stories::Snapshot};

use crate::*;

async fn answer(home: &Home<'_>, args: &[&str]) -> String {
    let output = alice(home, args).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    output.stdout
}

async fn ended(home: &Home<'_>, revision: u64, phase: Phase) {
    let release = home.end_of(&home.name, revision, PATIENCE).await.unwrap();
    assert_eq!(release.status.as_ref().unwrap().phase, Some(phase), "{:#?}", release.status);
}

/// When the verdict fell that the evidence is about: the last one.
async fn failure_with_evidence(home: &Home<'_>) -> Timestamp {
    let secret = eventually("the evidence is stored", PATIENCE, async || {
        Ok(home.release(&home.name).await?.status.unwrap_or_default().evidence)
    });
    let path = r"jsonpath={.metadata.annotations.backout\.dev/decided-at}";
    let secret = home.kubectl(&["get", "secret", &secret.await.unwrap(), "-o", path]).await.unwrap();
    let status = home.release(&home.name).await.unwrap().status.unwrap();
    let decided = status.decided_at.unwrap().0;
    assert_eq!(secret.success().unwrap().stdout, decided.to_string());
    decided
}

#[tokio::test]
async fn of_a_held_revision_one_object_goes_back_and_then_the_rest() {
    let stage = stage().await;
    let home = home(&stage, "only", "Hold").await;
    apply(&home, BAD, "bye").await;
    ended(&home, 2, Phase::Held).await;
    assert_eq!((image(&home).await.as_str(), greeting(&home).await.as_str()), (BAD, "bye"));

    let told = answer(&home, &["rollback", "--only", "configmap/web"]).await;
    assert!(told.contains("of revision 2 configmap/web go back, the rest is held"), "{told}");
    ended(&home, 2, Phase::Held).await;
    assert_eq!((image(&home).await.as_str(), greeting(&home).await.as_str()), (BAD, "hello"));

    let told = answer(&home, &["rollback"]).await;
    assert!(told.contains("revision 2 is rolled back"), "{told}");
    ended(&home, 2, Phase::RolledBack).await;
    assert_eq!((image(&home).await.as_str(), greeting(&home).await.as_str()), (GOOD, "hello"));
}

#[tokio::test]
async fn what_was_mended_in_place_is_healthy_once_it_is_judged_again() {
    let stage = stage().await;
    let home = home(&stage, "resume", "Hold").await;
    apply(&home, BAD, "bye").await;
    ended(&home, 2, Phase::Held).await;
    let first = failure_with_evidence(&home).await;
    let told = answer(&home, &["resume"]).await;
    assert!(told.contains("revision 2 is judged again"), "{told}");
    ended(&home, 2, Phase::Held).await;
    assert!(failure_with_evidence(&home).await > first);
    let patch = format!(
        r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"web","image":"{GOOD}"}}]}}}}}}}}"#
    );
    home.kubectl(&["patch", "deployment", "web", "-p", &patch]).await.unwrap().success().unwrap();
    ended(&home, 3, Phase::Healthy).await;
    let output = alice(&home, &["resume"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        output.stderr.contains("refused: there is nothing to resume: revision 3 is Healthy"),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_revision_that_is_held_in_time_is_not_rolled_back_and_a_rollback_by_hand_undoes_it() {
    let stage = stage().await;
    let home = home(&stage, "hold", "Rollback").await;
    settle(&home, "10m").await;
    apply(&home, GOOD, "bye").await;
    let told = answer(&home, &["hold"]).await;
    assert!(told.contains("revision 2 is left as it is"), "{told}");
    ended(&home, 2, Phase::Held).await;
    assert_eq!(greeting(&home).await, "bye");
    answer(&home, &["rollback"]).await;
    ended(&home, 2, Phase::RolledBack).await;
    assert_eq!(greeting(&home).await, "hello");
    let release = home.release(&home.name).await.unwrap();
    assert_eq!(release.status.unwrap().failure.unwrap().reason, "ByHand");
}

#[tokio::test]
async fn all_goes_back_to_the_state_of_an_older_healthy_revision() {
    let stage = stage().await;
    let home = home(&stage, "back", "Rollback").await;
    let first = Snapshot::take(&home).await.unwrap();
    for (revision, words) in [(2, "second"), (3, "third")] {
        apply(&home, GOOD, words).await;
        ended(&home, revision, Phase::Healthy).await;
    }
    settle(&home, "10m").await;
    home.kubectl(&["delete", "configmap", "untouched"]).await.unwrap().success().unwrap();
    home.kubectl(&["create", "configmap", "more"]).await.unwrap().success().unwrap();
    settle(&home, "2s").await;
    ended(&home, 4, Phase::Healthy).await;
    let output = alice(&home, &["rollback"]).await;
    assert!(output.stderr.contains("say which revision: 3, 2 and 1"), "{output:?}");

    let told = answer(&home, &["rollback", "--to", "1"]).await;
    assert!(told.contains("all goes back to the state of revision 1, as revision 5"), "{told}");
    ended(&home, 5, Phase::RolledBack).await;
    let made_anew = ["ConfigMap/untouched"];
    assert!(home.claim_same(&first, &made_anew, "").await.unwrap());
    eventually("it is over", PATIENCE, async || {
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        Ok((status.healthy_revision == Some(1)).then_some(()))
    })
    .await
    .unwrap();
    let output = alice(&home, &["history"]).await.success().unwrap();
    println!("{}", output.stdout);
    assert_eq!(output.stdout.matches("Healthy, undone later").count(), 3, "{output:?}");

    apply(&home, BAD, "sixth").await;
    ended(&home, 6, Phase::RolledBack).await;
    assert!(home.claim_same(&first, &made_anew, "").await.unwrap());
}
