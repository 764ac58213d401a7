//! Which evidence there is, and for how long.

use backout_model::release::Phase;
use kube::{ResourceExt, api::ListParams};

use super::ground::{LIVES, MISSING, app, audited, ends, evidence, ground, secrets};

#[tokio::test]
async fn what_is_held_has_evidence_too_and_no_more_is_kept_than_the_history_limit_says() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let home = ground.home("held").await;
    let release = format!(
        "{{apiVersion: backout.dev/v1alpha1, kind: Release, metadata: {{name: {}}}, \
         spec: {{historyLimit: 2, onFailure: {{install: Hold}}}}}}",
        home.name
    );
    home.apply(&release, "a policy").await.unwrap();
    for revision in 1..=3 {
        home.apply(&app(MISSING, &format!("password-{revision}")), "a bad install").await.unwrap();
        ends(&home, revision, Phase::Held).await;
        let status = system_tests::eventually("there is evidence", super::ground::PATIENCE, async || {
            let status = home.release(&home.name).await?.status.unwrap_or_default();
            Ok(Some(status).filter(|status| status.evidence.is_some()))
        })
        .await
        .unwrap();
        let (_, told) = evidence(&home, &status).await;
        assert_eq!(
            (told.revision, status.history[0].evidence.as_ref()),
            (revision, status.evidence.as_ref())
        );
        assert_eq!(status.revision, revision);
        // It never ran: nobody has to be asked what it said.
        assert!(told.containers.iter().all(|it| it.missing.is_empty()), "{told:#?}");
        assert!(
            told.containers.iter().any(|it| it.message.contains("not found") && it.image == MISSING),
            "{told:#?}"
        );
    }
    let names = [1, 2, 3].map(|revision| format!("backout-evidence-{}-{revision}", home.name));
    assert_eq!(audited(&home).await, names);
    let of_type = ListParams::default().fields("type=backout.dev/evidence");
    let kept: Vec<_> =
        secrets(&home).await.list(&of_type).await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(kept, names[1..]);
}
