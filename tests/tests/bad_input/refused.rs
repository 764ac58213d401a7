//! Writes that the API server refuses after the webhook has recorded them.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::stories::{Snapshot, Stage};

/// The refused write's record names the one before it, and goes once it can no longer commit: in the middle of the
/// rollback.
#[tokio::test]
async fn a_write_that_was_recorded_and_refused_does_not_disturb_the_rollback() {
    let stage = Stage::shared().await.unwrap();
    let home = stage.home("refused").await.unwrap();
    home.apply(&Stage::small("registry.example/ready:1", "hello").unwrap(), "").await.unwrap();
    let healthy = home.end_of(&home.name, 1, Duration::from_mins(1)).await.unwrap().status.unwrap();
    assert_eq!(healthy.phase, Some(Phase::Healthy), "{healthy:#?}");
    let before = Snapshot::take(&home).await.unwrap();

    home.apply(&Stage::small("registry.example/missing:2", "bye").unwrap(), "").await.unwrap();
    for (object, patch) in [
        ("configmap/web", r#"{"data":{"not a key":"x"}}"#),
        ("deployment/web", r#"{"spec":{"replicas":-1}}"#),
    ] {
        let refused = home.kubectl(&["patch", object, "-p", patch]).await.unwrap();
        assert!(refused.stderr.contains("is invalid"), "{refused:?}");
    }
    let rolled_back = home.end_of(&home.name, 2, Duration::from_mins(2)).await.unwrap().status.unwrap();
    assert_eq!(rolled_back.phase, Some(Phase::RolledBack), "{rolled_back:#?}");
    assert_eq!(before.differences(&Snapshot::take(&home).await.unwrap(), &[]), []);
}
