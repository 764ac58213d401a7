//! `kubectl backout`, as the real kubectl runs it, by people with and without rights.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod cli {
    mod by_hand;
    mod reading;
}

use std::time::Duration;

use serde_json::Value;
use system_tests::{
    Output, User,
    stories::{Home, Stage},
};

const PATIENCE: Duration = Duration::from_mins(2);
const GOOD: &str = "registry.example/ready:1";
const BAD: &str = "registry.example/missing:2";

async fn stage() -> Stage<'static> {
    Stage::shared().await.unwrap()
}

/// A namespace with a healthy release in it, whose next revisions are held when they fail.
async fn home<'a>(stage: &'a Stage<'a>, name: &str, on_failure: &str) -> Home<'a> {
    let home = stage.home(name).await.unwrap();
    let policy = format!("backout.dev/on-upgrade-failure={on_failure}");
    let annotations = ["backout.dev/settle=2s", "backout.dev/soak=2s", &policy];
    home.admin(&[&["annotate", "namespace", &home.name], &annotations[..]].concat()).await.unwrap();
    apply(&home, GOOD, "hello").await;
    let output = alice(&home, &["status", "--watch", "--timeout=2m"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    home
}

async fn settle(home: &Home<'_>, settle: &str) {
    let annotation = format!("backout.dev/settle={settle}");
    let annotate = ["annotate", "namespace", &home.name, "--overwrite", &annotation];
    home.admin(&annotate).await.unwrap().success().unwrap();
}

async fn apply(home: &Home<'_>, image: &str, greeting: &str) {
    home.apply(&Stage::small(image, greeting).unwrap(), "").await.unwrap();
}

async fn plugin(home: &Home<'_>, user: User<'_>, args: &[&str]) -> Output {
    home.stage.backout().plugin(home.stage.cluster, user, &home.name, args).await.unwrap()
}

/// Alice, who administers the namespace.
async fn alice(home: &Home<'_>, args: &[&str]) -> Output {
    plugin(home, User::Named("alice"), args).await
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

async fn image(home: &Home<'_>) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    home.admin(&["get", "deployment/web", "-o", path]).await.unwrap().success().unwrap().stdout
}

async fn greeting(home: &Home<'_>) -> String {
    let path = "jsonpath={.data.greeting}";
    home.admin(&["get", "configmap/web", "-o", path]).await.unwrap().success().unwrap().stdout
}
