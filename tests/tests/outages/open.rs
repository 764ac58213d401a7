//! A webhook that fails open: deployers go on while it is away, and what they wrote then is known.

use std::{path::Path, time::Duration};

use backout_model::release::{Phase, ReleaseStatus, Subject};
use system_tests::{
    User, eventually,
    stories::{Home, Snapshot, Stage},
};

const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn where_the_webhook_fails_open_what_passed_it_is_told_and_nothing_is_undone_by_half() {
    let (stage, _alone) = super::super::stage().await;
    reinstall(&stage, "overlays/ignore").await;
    let home = stage.home("open").await.unwrap();
    let small = Stage::small("registry.example/ready:1", "hello").unwrap();
    home.apply(&small, "kubectl apply -f small.yaml").await.unwrap();
    assert_eq!(end(&home, 1).await.phase, Some(Phase::Healthy));

    ok(&home, &["set", "image", "deployment/web", "web=registry.example/missing:1"]).await;
    stage.backout().webhook().kill9().await.unwrap();
    ok(&home, &["create", "configmap", "late", "--from-literal=a=b"]).await;
    ok(&home, &["annotate", "configmap", "untouched", "note=late"]).await;
    let failed = end(&home, 2).await;
    assert_eq!(failed.phase, Some(Phase::Held), "{failed:#?}");
    assert_eq!(names(&failed.unrecorded), ["ConfigMap late", "ConfigMap untouched"]);
    assert!(failed.message.contains("without an undo record (and so was 1 more, "), "{}", failed.message);
    assert_eq!(image(&home).await, "registry.example/missing:1");
    println!("{}", failed.message);

    stage.backout().webhook().restart().await.unwrap();
    stage.backout().wait_ready().await.unwrap();
    let before = Snapshot::take(&home).await.unwrap();
    let plugin =
        stage.backout().plugin(stage.cluster, User::Named("alice"), &home.name, &["rollback"]).await.unwrap();
    println!("{}{}", plugin.stdout, plugin.stderr);
    let undone = eventually("the rest is undone, as was asked", PATIENCE, async || {
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        Ok((status.phase == Some(Phase::RolledBack)).then_some(status))
    });
    let undone = undone.await.unwrap();
    assert_eq!(image(&home).await, "registry.example/ready:1");
    let after = Snapshot::take(&home).await.unwrap();
    let others =
        before.differences(&after, &[]).into_iter().filter(|it| !it.at.starts_with("Deployment/web "));
    assert_eq!(others.collect::<Vec<_>>(), []);
    let unrestored: Vec<_> = undone.unrestored.iter().map(|it| it.object.clone()).collect();
    assert_eq!(names(&unrestored), ["ConfigMap late", "ConfigMap untouched"]);

    // What is healthy stays, and yet people are told. What came before the first record by more than the settle is another
    // attempt: the webhook is back sooner.
    let settle = ["annotate", "namespace", &home.name, "backout.dev/settle=30s"];
    home.admin(&settle).await.unwrap().success().unwrap();
    stage.backout().webhook().kill9().await.unwrap();
    ok(&home, &["annotate", "configmap", "late", "note=again"]).await;
    stage.backout().webhook().restart().await.unwrap();
    stage.backout().wait_ready().await.unwrap();
    ok(&home, &["annotate", "configmap", "untouched", "note=recorded", "--overwrite"]).await;
    let healthy = end(&home, 3).await;
    assert_eq!(
        (healthy.phase, names(&healthy.unrecorded)),
        (Some(Phase::Healthy), vec!["ConfigMap late".to_owned()])
    );
    eventually("all three are counted", PATIENCE, async || {
        let found = stage.backout().watcher_metrics().await?.sum("backout_unrecorded_objects_total", &[]);
        if found >= 3.0 { Ok(Some(())) } else { Err(anyhow::anyhow!("{found}")) }
    })
    .await
    .unwrap();
    reinstall(&stage, "base").await;
}

async fn reinstall(stage: &Stage<'_>, manifests: &str) {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(manifests);
    stage.backout().reinstall(stage.cluster, &manifests).await.unwrap();
    system_tests::backout::called(stage.cluster).await.unwrap();
}

async fn end(home: &Home<'_>, revision: u64) -> ReleaseStatus {
    home.end_of(&home.name, revision, PATIENCE).await.unwrap().status.unwrap()
}

async fn ok(home: &Home<'_>, args: &[&str]) {
    home.kubectl(args).await.unwrap().success().unwrap();
}

async fn image(home: &Home<'_>) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    let kubectl = home.stage.cluster.kubectl().user(User::Admin);
    let output = kubectl.run(&["-n", &home.name, "get", "deployment", "web", "-o", path]).await;
    output.unwrap().success().unwrap().stdout
}

fn names(subjects: &[Subject]) -> Vec<String> {
    let mut names: Vec<_> = subjects.iter().map(|it| format!("{} {}", it.kind, it.name)).collect();
    names.sort();
    names
}
