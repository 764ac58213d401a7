//! Backout with rights in one namespace.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, TestNamespace, User, demo, eventually,
    stories::{Quiet, Snapshot, Stage},
};

use crate::shipped;

const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn with_rights_in_one_namespace_it_keeps_its_promise_there_and_does_nothing_elsewhere() {
    let cluster = Cluster::start(Options::default()).await.unwrap();
    let backout = Backout::install(&cluster, BackoutOptions::default()).await.unwrap();
    let stage = Stage { cluster: &cluster, backout: Some(&backout), tell: &Quiet, suffix: String::new() };
    demo::definitions(&cluster).await.unwrap();
    let home = stage.home("shop").await.unwrap();
    home.admin(&["annotate", "namespace", "shop", "backout.dev/soak=2s"]).await.unwrap().success().unwrap();
    backout.reinstall(&cluster, shipped("overlays/namespaced").as_ref()).await.unwrap();
    // A watcher that begins with these rights.
    backout.watcher().restart().await.unwrap();
    backout.wait_ready().await.unwrap();

    let elsewhere = TestNamespace::atomic(&cluster, "elsewhere", &[]).await.unwrap();
    elsewhere.grant("alice").await.unwrap();
    let kubectl = ["create", "configmap", "-n", elsewhere.name(), "-o", "jsonpath={.metadata.labels}"];
    let mut number = 0;
    eventually("the webhook is not asked any more", PATIENCE, async || {
        number += 1;
        let name = format!("map-{number}");
        let args = [&kubectl[..], &[&name]].concat();
        let labels = cluster.kubectl().user(User::Named("alice")).run(&args).await?.success()?.stdout;
        Ok(labels.is_empty().then_some(()))
    })
    .await
    .unwrap();

    let ended = async |revision| {
        let release = home.end_of("shop", revision, PATIENCE).await.unwrap_or_else(|error| {
            panic!("{error:#}\n{}\n{}", backout.watcher().log_tail(30), cluster.keep_for_inspection())
        });
        release.status.unwrap_or_default()
    };
    home.apply(&Stage::small("registry.example/ready:1", "hello").unwrap(), "").await.unwrap();
    assert_eq!(ended(1).await.phase, Some(Phase::Healthy));
    let before = Snapshot::take(&home).await.unwrap();
    // With a deploy that goes wrong it is given its rights once more, under another name: it does not take them back.
    let bindings = std::fs::read_to_string(shipped("components/namespaced/namespaces.yaml")).unwrap();
    let again = bindings.replace("metadata:\n  name: backout-watcher\n", "metadata:\n  name: once-more\n");
    let bad = format!("{}\n---\n{again}", Stage::small("registry.example/missing:2", "bye").unwrap());
    let kubectl = cluster.kubectl().stdin(bad);
    kubectl.run(&["apply", "-n", "shop", "-f", "-"]).await.unwrap().success().unwrap();
    let status = ended(2).await;
    assert_eq!(status.phase, Some(Phase::RolledBack));
    let unrestored: Vec<_> =
        status.unrestored.iter().map(|it| (it.object.name.as_str(), it.reason.as_str())).collect();
    assert_eq!(unrestored, [("once-more", "kept, as its annotation asks")]);
    // It has its time, and all the rights.
    assert!(!status.evidence_missing.unwrap_or_default().contains("forbidden"));
    home.admin(&["delete", "rolebinding", "once-more"]).await.unwrap().success().unwrap();
    assert!(home.claim_same(&before, &[], "").await.unwrap());

    // The other namespace opted in as well.
    let releases = ["get", "releases", "-n", elsewhere.name(), "-o", "name"];
    assert_eq!(cluster.kubectl().run(&releases).await.unwrap().success().unwrap().stdout, "");

    // Nor do its rights keep it from making the webhook's certificate: it is ready when that is done.
    let options = BackoutOptions { manage_certificates: true, ..backout.options().clone() };
    backout.watcher_like(&cluster, "certificates", &options).await.unwrap();
}
