//! `kubectl` waits for a rollout that is rolled back meanwhile, and reads what became of it.

use backout_model::release::Phase;
use system_tests::{eventually, stories::Stage};

use super::super::PATIENCE;

/// It sees what is there, which is ready again; the Release tells the truth.
#[tokio::test]
async fn kubectl_rollout_status_takes_the_restored_version_for_a_success_and_the_release_does_not() {
    let stage = Stage::shared().await.unwrap();
    let home = stage.home("rollout").await.unwrap();
    home.apply(&Stage::small("registry.example/ready:1", "hello").unwrap(), "").await.unwrap();
    let healthy = home.end_of(&home.name, 1, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(healthy.phase, Some(Phase::Healthy), "{healthy:#?}");
    home.apply(&Stage::small("registry.example/missing:2", "bye").unwrap(), "").await.unwrap();
    let ready = format!("release/{}", home.name);
    // Of the revision before all this is true as well.
    let begun = ["wait", "--for=jsonpath={.status.revision}=2", &ready, "--timeout=1m"];
    home.kubectl(&begun).await.unwrap().success().unwrap();
    let not_yet = ["wait", "--for=condition=Ready", &ready, "--timeout=10s"];
    let at_last = ["wait", "--for=condition=Stalled", &ready, "--timeout=3m"];
    let (rollout, wait_available, wait_release, wait_stalled) = tokio::join!(
        home.kubectl(&["rollout", "status", "deployment/web", "--timeout=3m"]),
        home.kubectl(&["wait", "--for=condition=Available", "deployment/web", "--timeout=3m"]),
        home.kubectl(&not_yet),
        home.kubectl(&at_last),
    );
    let rollout = rollout.unwrap().success().unwrap();
    assert!(rollout.stdout.contains("successfully rolled out"), "{rollout:?}");
    wait_available.unwrap().success().unwrap();
    let release = wait_release.unwrap();
    assert!(!release.status.success(), "{release:?}");
    wait_stalled.unwrap().success().unwrap();
    let end = home.end_of(&home.name, 2, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(end.phase, Some(Phase::RolledBack), "{end:#?}");
}

#[tokio::test]
async fn the_events_of_a_release_tell_of_each_revision_in_its_own_words() {
    let stage = Stage::shared().await.unwrap();
    let home = stage.home("events").await.unwrap();
    home.apply(&Stage::small("registry.example/ready:1", "hello").unwrap(), "").await.unwrap();
    home.end_of(&home.name, 1, PATIENCE).await.unwrap();
    for revision in [2, 3] {
        let image = format!("web=registry.example/missing:{revision}");
        home.kubectl(&["set", "image", "deployment/web", &image]).await.unwrap().success().unwrap();
        home.end_of(&home.name, revision, PATIENCE).await.unwrap();
    }
    let notes = "jsonpath={range .items[?(@.reason==\"RolledBack\")]}{.message}{\"\\n\"}{end}";
    let events =
        async || home.kubectl(&["get", "events", "-o", notes]).await.unwrap().success().unwrap().stdout;
    for revision in [2, 3] {
        let begins = format!("Revision {revision} was rolled back: 1 object. Cause: ");
        let told = eventually(&begins, PATIENCE, async || {
            let events = events().await;
            let of_it: Vec<_> =
                events.lines().filter(|line| line.starts_with(&begins)).map(str::to_owned).collect();
            Ok((!of_it.is_empty()).then_some(of_it))
        });
        let told = told.await.unwrap();
        assert!(told.len() == 1 && told[0].contains(&format!("missing:{revision}")), "{told:?}");
    }
}
