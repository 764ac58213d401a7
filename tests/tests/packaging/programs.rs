//! The arguments in the manifests are those that the programs take.

use std::time::Duration;

use clap::Parser as _;
use serde_json::Value;
use system_tests::Cluster;

use crate::{Rendered, named, rendered, templated};

/// Every value that becomes an argument, set to something.
const ALL_SET: [&str; 9] = [
    "--set=webhook.deployers={ci:deployer}",
    "--set=webhook.extraArgs={--log=debug,--grace=20s}",
    "--set=watcher.settle=7s,watcher.deadline=1h30m",
    "--set=watcher.soak=1.5m",
    "--set=watcher.onInstallFailure=Hold",
    "--set=watcher.onUpgradeFailure=Notify",
    "--set=watcher.keepFailingPod=30m",
    "--set=watcher.restoreRbac=true",
    "--set=watcher.extraArgs={--workers=32}",
];

#[tokio::test]
async fn the_programs_understand_the_arguments_of_the_manifests() {
    let cluster = Cluster::shared().unwrap();
    for Rendered { folder, kustomized, templated } in rendered(cluster).await {
        understood(folder, kustomized);
        understood(folder, templated);
    }
}

#[tokio::test]
async fn each_setting_of_the_values_reaches_the_programs() {
    let cluster = Cluster::shared().unwrap();
    let (webhook, watcher) = understood("all values", &templated(cluster, &[], &ALL_SET).await);
    assert_eq!(webhook.deployers, ["ci:deployer"]);
    assert_eq!((webhook.log.as_str(), webhook.grace), ("debug", Duration::from_secs(20)));
    let seconds = [watcher.settle, watcher.deadline, watcher.soak, watcher.keep_failing_pod]
        .map(|duration| duration.as_secs());
    assert_eq!(seconds, [7, 5400, 90, 1800]);
    let actions = (watcher.on_install_failure, watcher.on_upgrade_failure);
    assert_eq!(format!("{actions:?}"), "(Hold, Notify)");
    assert!(watcher.restore_rbac && watcher.manage_certificates);
    assert_eq!(watcher.workers, 32);
}

/// What the webhook and the watcher make of their arguments.
fn understood(what: &str, objects: &[Value]) -> (backout_webhook::Args, backout_watcher::Args) {
    let args = |name: &str| -> Vec<String> {
        let is_it = |object: &&Value| named(object) == format!("Deployment backout-system/{name}");
        let deployment = objects.iter().find(is_it).unwrap();
        let args = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        let args = args.iter().map(|arg| arg.as_str().unwrap().to_owned());
        [name.to_owned()].into_iter().chain(args).collect()
    };
    let webhook = backout_webhook::Args::try_parse_from(args("backout-webhook"));
    let watcher = backout_watcher::Args::try_parse_from(args("backout-watcher"));
    match (webhook, watcher) {
        (Ok(webhook), Ok(watcher)) => (webhook, watcher),
        (Err(error), _) | (_, Err(error)) => panic!("{what}: {error}"),
    }
}
