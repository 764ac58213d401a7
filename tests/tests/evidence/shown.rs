//! What the evidence shows, and what it does not.

use backout_model::{
    evidence::{Done, LIMIT, REDACTED},
    release::Phase,
};
use system_tests::{eventually, stories::Home};

use super::ground::{CRASHING, GOOD, LIVES, PATIENCE, app, audited, ends, evidence, ground, kept, secrets};

const OLD: &str = "first-passw0rd";
const NEW: &str = "second-passw0rd";

async fn uid_of_release(home: &Home<'_>) -> String {
    home.release(&home.name).await.unwrap().metadata.uid.unwrap()
}

#[tokio::test]
async fn the_evidence_is_there_before_the_first_restore_and_tells_all_but_the_values_of_secrets() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let home = ground.home("shown").await;
    ground.deadline(&home, "10m").await;
    home.apply(&app(GOOD, OLD), "v1").await.unwrap();
    home.kubectl(&["create", "configmap", "old", "--from-literal=a=b"]).await.unwrap().success().unwrap();
    let first = ends(&home, 1, Phase::Healthy).await;
    assert_eq!((first.evidence, first.evidence_missing), (None, None));

    home.apply(&app(CRASHING, NEW), "v2").await.unwrap();
    home.kubectl(&["create", "configmap", "extra", "--from-literal=a=b"]).await.unwrap().success().unwrap();
    home.kubectl(&["delete", "configmap", "old"]).await.unwrap().success().unwrap();
    ground.deadline(&home, "4s").await;
    let status = ends(&home, 2, Phase::RolledBack).await;
    let (secret, told) = evidence(&home, &status).await;
    let name = format!("backout-evidence-{}-2", home.name);
    assert_eq!(audited(&home).await, [name.as_str()], "{}", kept(&home));
    assert_eq!(status.history[0].evidence.as_deref(), Some(name.as_str()));

    let owner = &secret.metadata.owner_references.as_ref().unwrap()[..];
    assert!(matches!(owner, [owner] if owner.kind == "Release" && owner.name == home.name));
    assert_eq!(owner[0].uid, uid_of_release(&home).await);
    assert_eq!((secret.type_.as_deref(), secret.immutable), (Some("backout.dev/evidence"), Some(true)));

    let failure = status.failure.as_ref().unwrap();
    assert_eq!(
        (told.revision, &told.failure.reason, &told.failure.message),
        (2, &failure.reason, &failure.message)
    );
    assert_eq!(told.failure.object, format!("Deployment {}/web", home.name));
    assert!(
        told.conditions.iter().any(|it| it.object.starts_with("Pod ") && it.type_ == "Ready"),
        "{told:#?}"
    );
    let [container] = &told.containers[..] else { panic!("{told:#?}") };
    assert_eq!((container.container.as_str(), container.image.as_str()), ("web", CRASHING));
    assert_eq!(container.exit_code, Some(1));
    assert!(
        container.restarts > 0 && container.log.is_empty() && container.previous_log.is_empty(),
        "{told:#?}"
    );
    // There is no kubelet.
    assert!(container.missing.iter().all(|it| it.contains("could not be had")), "{told:#?}");
    assert!(!container.missing.is_empty(), "{told:#?}");
    assert!(told.events.iter().all(|event| event.type_ == "Warning" && event.object.starts_with("Pod ")));

    let changed = |object: &str| {
        let found = told.changes.iter().find(|change| change.object == object.replace("NS", &home.name));
        found.unwrap_or_else(|| panic!("{object}: {told:#?}"))
    };
    assert_eq!(changed("ConfigMap NS/extra").operation, Done::Created);
    let web = changed("Deployment NS/web");
    assert_eq!(web.fields.len(), 1, "{told:#?}");
    assert_eq!(web.fields[0].path, "spec.template.spec.containers[web].image");
    assert_eq!(web.fields[0].after.as_deref(), Some(CRASHING));
    let creds = &changed("Secret NS/creds").fields[..];
    assert!(
        matches!(creds, [field] if field.path == "data.password" && field.after.as_deref() == Some(REDACTED))
    );
    let url = changed("ConfigMap NS/settings").fields.iter().find(|field| field.path == "data.url").unwrap();
    assert_eq!(url.after.as_deref(), Some("postgres://web:[redacted]@db/shop"));

    let json = told.json();
    assert!(json.len() <= LIMIT);
    for value in [OLD, NEW, "Zmlyc3QtcGFzc3cwcm", "c2Vjb25kLXBhc3N3MHJk"] {
        assert!(!json.contains(value), "{value}: {json}");
    }
}

#[tokio::test]
async fn evidence_is_no_deployment_its_deletion_is_none_and_it_goes_with_its_release() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let home = ground.home("owned").await;
    for revision in 1..=2 {
        home.apply(&app(CRASHING, &format!("password-{revision}")), "a bad install").await.unwrap();
        let status = ends(&home, revision, Phase::RolledBack).await;
        evidence(&home, &status).await;
    }
    eventually("the records are collected", PATIENCE, async || {
        Ok(home.stage.cluster.record_heads(&home.name).await?.is_empty().then_some(()))
    })
    .await
    .unwrap();
    let [first, second] = [1, 2].map(|revision| format!("backout-evidence-{}-{revision}", home.name));
    home.kubectl(&["delete", "secret", &first]).await.unwrap().success().unwrap();
    // A record would have been written before the deletion was answered.
    assert!(home.stage.cluster.record_heads(&home.name).await.unwrap().is_empty());
    let written = home.stage.cluster.writes().await.unwrap().committed().to("secrets");
    let of_evidence = written.only(|write| {
        write.verb == "create"
            && write.request.as_ref().is_some_and(|it| it.to_string().contains("backout-evidence-"))
    });
    let by_backout: Vec<_> =
        of_evidence.0.iter().filter(|write| write.namespace == "backout-system").collect();
    assert!(by_backout.is_empty(), "{by_backout:#?}");

    assert!(secrets(&home).await.get_opt(&second).await.unwrap().is_some());
    home.kubectl(&["delete", "release", &home.name]).await.unwrap().success().unwrap();
    eventually("the evidence is gone", PATIENCE, async || {
        Ok(secrets(&home).await.get_opt(&second).await?.is_none().then_some(()))
    })
    .await
    .unwrap();
}
