//! Deployers at work while Backout is replaced under them.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use system_tests::{User, stories::Home};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::ground::Ground;

/// Writers side by side, each with an object of its own.
const WRITERS: usize = 8;
/// With fewer writes no such test says anything.
const WRITES: usize = 2000;
/// Replicas that were replaced go on serving for a while.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// Has deployers write into `home` all the time while `change` is made, and some time after it: not one write may fail, or
/// be without a record.
pub(super) async fn no_write_fails_during<T>(
    ground: &Ground,
    home: &Home<'_>,
    change: impl Future<Output = T>,
) -> T {
    let (over, watch) = watch::channel(false);
    let change = async {
        let outcome = change.await;
        sleep(AFTERWARDS).await;
        over.send_replace(true);
        outcome
    };
    let begin = Instant::now();
    let all = stream::iter(0..WRITERS).map(|number| write(home, number, watch.clone()));
    let all = all.buffer_unordered(WRITERS).collect::<Vec<_>>();
    let (outcome, written) = tokio::join!(change, all);
    let seconds = begin.elapsed().as_secs();
    let writes: usize = written.iter().map(|written| written.writes).sum();
    let slowest = written.iter().map(|written| written.slowest).max().unwrap_or_default();
    let failures: Vec<_> = written.into_iter().flat_map(|written| written.failures).collect();
    println!("{writes} writes in {seconds} s, {} failed, the slowest took {slowest:.1?}", failures.len());
    assert_eq!(failures, Vec::<String>::new(), "{}", ground.kept());
    assert!(writes >= WRITES, "only {writes} writes");
    outcome
}

#[derive(Default)]
struct Written {
    writes: usize,
    slowest: Duration,
    failures: Vec<String>,
}

/// Writes one object again and again until it is over, and there were enough.
async fn write(home: &Home<'_>, number: usize, over: watch::Receiver<bool>) -> Written {
    let client = home.stage.cluster.client(User::Named("alice")).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &home.name);
    let name = format!("map-{number}");
    let mut written = Written::default();
    let mut pointer = None;
    while !*over.borrow() || written.writes < WRITES / WRITERS {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
            "data": { "round": written.writes.to_string() } });
        let begin = Instant::now();
        let outcome = maps.patch(&name, &PatchParams::apply("deployer").force(), &Patch::Apply(&map)).await;
        written.slowest = written.slowest.max(begin.elapsed());
        written.writes += 1;
        match outcome {
            Err(error) => written.failures.push(error.to_string()),
            Ok(map) => {
                let now = map.metadata.labels.and_then(|labels| labels.get("backout.dev/undo").cloned());
                if now.is_none() || now == pointer {
                    written.failures.push(format!("{name} was written without a record"));
                }
                pointer = now;
            }
        }
    }
    written
}
