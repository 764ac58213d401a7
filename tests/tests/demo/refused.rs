//! What the demo refuses before it has made anything.

use std::time::Duration;

use clap::Parser as _;
use system_tests::{Cluster, Exit, Options, User, demo::Args, eventually};

use super::abroad::{Abroad, MINE, NOBODY, WRONG};

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_rule() {
    for (args, told) in [
        (&["--context", ""][..], "a value is required for '--context <NAME>'"),
        (&["--context", "a", "--keep"], "'--context <NAME>' cannot be used with '--keep'"),
        (&["--image", "ready=pause"], "--context <NAME>"),
        (&["--context", "a", "--image", "pause"], "it must be MEANING=IMAGE"),
        (&["--context", "a", "--image", "ready=a b"], "the image must be a name such as"),
    ] {
        let refused = Args::try_parse_from([&["demo"], args].concat()).unwrap_err().to_string();
        assert!(refused.contains(told), "{args:?}: {refused}");
    }
}

#[tokio::test]
async fn where_backout_is_not_installed_it_says_what_to_do_and_writes_nothing() {
    let cluster = Cluster::start(Options { nodes: 1, ..Options::default() }).await.unwrap();
    let abroad = Abroad::of(&cluster).await;
    let before = written(&cluster).await;
    for (context, told) in [
        ("nowhere", "your kubeconfig has no context \"nowhere\". It has: mine, nobody, wrong."),
        (WRONG, "the server of the context \"wrong\", https://127.0.0.1:1, does not answer."),
        (
            NOBODY,
            "may not get mutatingwebhookconfigurations zz-backout, nor get deployments, nor create namespaces",
        ),
        (MINE, "Backout is not installed there: the cluster knows no releases.backout.dev."),
        (MINE, "    kubectl apply -k manifests/base --context 'mine'"),
    ] {
        let ended = abroad.demo(&["--context", context]).await;
        assert_eq!(ended.exit, Exit::Code(1), "{}", ended.printed);
        assert!(ended.printed.starts_with("\nThe demo failed: "), "{}", ended.printed);
        assert!(ended.printed.contains(told), "not told: {told}\n{}", ended.printed);
    }
    assert_eq!(written(&cluster).await, before);
    abroad.kubeconfig_is_untouched();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn what_it_would_make_is_left_alone_where_it_is_there_already() {
    let abroad = Abroad::alone().await;
    let kubectl = async |args: &[&str]| abroad.cluster.kubectl().run(args).await.unwrap().success().unwrap();
    kubectl(&["create", "clusterrole", "widgets-admin", "--verb=get", "--resource=pods"]).await;
    let before = (abroad.inventory().await, written(abroad.cluster).await);
    let ended = abroad.demo(&["--context", MINE]).await;
    assert_eq!(ended.exit, Exit::Code(1), "{}", ended.printed);
    let told = "what the demo makes is there already: clusterrole widgets-admin.";
    assert!(ended.printed.contains(told), "{}", ended.printed);
    assert_eq!((abroad.inventory().await, written(abroad.cluster).await), before);
    kubectl(&["delete", "clusterrole", "widgets-admin"]).await;
}

#[tokio::test]
async fn where_no_pod_of_backout_is_available_it_says_how_to_find_out_why() {
    let abroad = Abroad::alone().await;
    let scale = async |replicas: &str| {
        let scale = ["-n", "backout-system", "scale", "deployment/backout-watcher", replicas];
        abroad.cluster.kubectl().run(&scale).await.unwrap().success().unwrap();
        let status =
            ["-n", "backout-system", "rollout", "status", "deployment/backout-watcher", "--timeout=2m"];
        abroad.cluster.kubectl().run(&status).await.unwrap().success().unwrap();
    };
    scale("--replicas=0").await;
    let available = [
        "-n",
        "backout-system",
        "get",
        "deployment/backout-watcher",
        "-o",
        "jsonpath={.status.availableReplicas}",
    ];
    eventually("none is available", Duration::from_mins(2), async || {
        Ok(abroad.cluster.kubectl().run(&available).await?.success()?.stdout.is_empty().then_some(()))
    })
    .await
    .unwrap();
    let ended = abroad.demo(&["--context", MINE]).await;
    scale("--replicas=1").await;
    assert_eq!(ended.exit, Exit::Code(1), "{}", ended.printed);
    for told in [
        "no pod of backout-watcher is available.",
        "kubectl --context 'mine' -n backout-system rollout status deployment/backout-watcher",
    ] {
        assert!(ended.printed.contains(told), "not told: {told}\n{}", ended.printed);
    }
}

/// How often the two users have written anything, but for questions about rights.
async fn written(cluster: &Cluster) -> usize {
    let users = [User::Admin, User::Named("nobody")].map(|user| user.name());
    let writes = cluster.writes().await.unwrap().committed();
    writes.only(|write| users.contains(&write.user) && write.resource != "selfsubjectaccessreviews").0.len()
}
