//! Policies and quotas that refuse what Backout has admitted or wants to write: what was refused is nobody's, and what
//! cannot be restored is told and tried again.

use std::{collections::BTreeSet, time::Duration};

use backout_model::{names, release::Phase};
use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use system_tests::{
    User, eventually, oracle,
    stories::{Home, Stage},
};
use tokio::time::{Instant, sleep};

use super::{
    super::{PATIENCE, ends, goes_back, is_as_before, is_clean, is_collected, set, stage, status},
    deployer::{Deployer, healthy, map_name},
    policy::{forget_policy, policy},
};

#[tokio::test]
async fn what_a_policy_or_a_quota_refuses_after_us_is_collected_and_undoes_nothing() {
    let stage = stage().await;
    let (quiet, open) = tokio::join!(home(&stage, "refused"), home(&stage, "refused-open"));
    let (before, _) = join(healthy(&quiet, 2), healthy(&open, 2)).await;
    let began = status(&quiet).await;
    set(&open, &[("settle", "10m")]).await;
    Deployer::of(&open).await.maps(2, "second").await.unwrap();
    let confirmed = names_of_records(&open).await;
    assert_eq!(confirmed.len(), 2);
    for (home, records) in [(&quiet, 3), (&open, 3 + confirmed.len())] {
        // kube-root-ca.crt and the two.
        quota(home, 3).await;
        policy(home, "!has(object.data) || object.data.value != 'forbidden'").await;
        for (write, told) in [
            (
                &["patch", "configmap", "map-000", "--type=merge", "-p", r#"{"data":{"value":"forbidden"}}"#]
                    [..],
                "not allowed here",
            ),
            (&["create", "configmap", "new", "--from-literal=value=forbidden"], "not allowed here"),
            (&["create", "configmap", "one-too-many"], "exceeded quota"),
        ] {
            let output = home.kubectl(write).await.unwrap();
            println!("{}", output.stderr);
            assert!(!output.status.success() && output.stderr.contains(told), "{write:?}: {output:?}");
        }
        // The intents are in the log, and go when no server can make them come true any more.
        assert_eq!(names_of_records(home).await.len(), records);
    }
    let deadline = Instant::now() + Duration::from_secs(75);
    loop {
        let left = [names_of_records(&quiet).await, names_of_records(&open).await];
        assert!(
            confirmed.iter().all(|name| left[1].contains(name)),
            "collected while it is needed: {left:?}"
        );
        let now = status(&quiet).await;
        assert_eq!((now.phase, now.revision), (Some(Phase::Healthy), began.revision), "{now:#?}");
        if left[0].is_empty() && left[1] == confirmed {
            break;
        }
        assert!(Instant::now() < deadline, "not collected: {left:?}");
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(status(&quiet).await.history, began.history);
    is_as_before(&quiet, &before, &[]).await;
    let writes = stage.cluster.writes().await.unwrap().committed().by(oracle::WATCHER);
    let touched = writes.only(|write| [&quiet.name, &open.name].contains(&&write.namespace));
    let touched = touched.only(|write| !["releases", "events"].contains(&write.resource.as_str()));
    assert!(touched.0.is_empty(), "{touched:#?}");
}

#[tokio::test]
async fn a_restore_that_a_policy_refuses_is_told_tried_again_and_done_when_the_policy_goes() {
    let stage = stage().await;
    let home = stage.home("forbidden").await.unwrap();
    let before = healthy(&home, 5).await;
    policy(&home, FORBIDS_THE_RESTORE).await;
    fails(&home, 5).await;
    stalls(&home, &map_name(0), "not allowed here").await;
    // All others are back: none has to wait for this one.
    for number in 1..5 {
        assert_eq!(value(&home, &map_name(number)).await, "ready:1");
    }
    let pauses = eventually("it is tried three times", PATIENCE, async || {
        Ok(Some(pauses(&home, &map_name(0)).await).filter(|pauses| pauses.len() >= 2))
    })
    .await
    .unwrap();
    println!("pauses between the tries: {pauses:?}");
    // One second, two, four and so on, and what a look takes.
    let mut least = (0_i32..).map(|tries| 2_f64.powi(tries) - 0.1);
    assert!(pauses.iter().all(|pause| Some(*pause) >= least.next()), "{pauses:?}");

    forget_policy(&home).await;
    goes_back(&home, &before, &[]).await;
}

#[tokio::test]
async fn a_rollback_that_a_policy_holds_up_gives_way_to_the_next_good_release() {
    let stage = stage().await;
    let home = stage.home("superseded").await.unwrap();
    healthy(&home, 3).await;
    policy(&home, FORBIDS_THE_RESTORE).await;
    fails(&home, 3).await;
    stalls(&home, &map_name(0), "not allowed here").await;
    let deployer = Deployer::of(&home).await;
    deployer.maps(3, "third").await.unwrap();
    deployer.web("ready:3").await.unwrap();
    let end = ends(&home, 3, Phase::Healthy).await;
    let outcomes: Vec<_> = end.history.iter().map(|past| past.outcome).collect();
    assert_eq!(outcomes, [Phase::Healthy, Phase::Held, Phase::Healthy], "{end:#?}");
    for number in 0..3 {
        assert_eq!(value(&home, &map_name(number)).await, "third");
    }
    is_collected(&home).await;
    is_clean(&home).await;
    forget_policy(&home).await;
}

#[tokio::test]
async fn a_restore_that_a_quota_refuses_is_told_tried_again_and_done_when_there_is_room() {
    let stage = stage().await;
    let home = home(&stage, "crowded").await;
    let before = healthy(&home, 3).await;
    // kube-root-ca.crt and the three.
    quota(&home, 4).await;
    // There is no verdict before its place is taken.
    set(&home, &[("settle", "10m")]).await;
    let deployer = Deployer::of(&home).await;
    deployer.web("missing").await.unwrap();
    deployer.delete_map(&map_name(1)).await.unwrap();
    let others: Api<ConfigMap> =
        Api::namespaced(stage.cluster.client(account(&home)).await.unwrap(), &home.name);
    let squatter = serde_json::from_value(json!({ "metadata": { "name": "squatter" } })).unwrap();
    eventually("somebody else takes its place", PATIENCE, async || {
        Ok(Some(others.create(&PostParams::default(), &squatter).await?))
    })
    .await
    .unwrap();
    set(&home, &[("settle", "2s")]).await;
    stalls(&home, &map_name(1), "exceeded quota").await;
    others.delete("squatter", &DeleteParams::default()).await.unwrap();
    goes_back(&home, &before, &[&format!("ConfigMap/{}", map_name(1))]).await;
}

const FORBIDS_THE_RESTORE: &str =
    "object.metadata.name != 'map-000' || !has(object.data) || object.data.value != 'ready:1'";

/// An upgrade that fails, of all ConfigMaps.
async fn fails(home: &Home<'_>, maps: usize) {
    let deployer = Deployer::of(home).await;
    deployer.web("missing").await.unwrap();
    deployer.maps(maps, "second").await.unwrap();
}

/// Waits until the Release is Stalled by this ConfigMap, and says why.
async fn stalls(home: &Home<'_>, map: &str, why: &str) {
    let status = eventually(format!("{} is stalled", home.name), PATIENCE, async || {
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        let stalled = status.conditions.iter().any(|it| it.type_ == "Stalled" && it.status == "True");
        if stalled { Ok(Some(status)) } else { Err(anyhow::anyhow!("{status:#?}")) }
    })
    .await
    .unwrap();
    assert_eq!(status.phase, Some(Phase::RollingBack));
    let stalled = status.conditions.iter().find(|it| it.type_ == "Stalled").unwrap();
    assert!(stalled.message.contains(map) && stalled.message.contains(why), "{stalled:#?}");
    let [left] = &*status.unrestored else { panic!("not this one alone: {status:#?}") };
    assert_eq!((left.object.kind.as_str(), left.object.name.as_str()), ("ConfigMap", map));
    assert!(left.reason.contains(why) && left.reason.contains("tried again"), "{left:?}");
}

/// The seconds between the watcher's tries to restore a ConfigMap.
async fn pauses(home: &Home<'_>, map: &str) -> Vec<f64> {
    let writes = home.stage.cluster.writes().await.unwrap().by(oracle::WATCHER).within(&home.name);
    let tries = writes.only(|write| write.name == map && write.code >= 400);
    let at: Vec<Timestamp> = tries.0.iter().map(|write| write.at.parse().unwrap()).collect();
    at.windows(2).map(|two| two[1].duration_since(two[0]).as_secs_f64()).collect()
}

/// A namespace that opted in, with an administrator that is no deployer: its own service account.
async fn home<'a>(stage: &'a Stage<'a>, name: &str) -> Home<'a> {
    let home = stage.bystander(name).await.unwrap();
    stage.cluster.grant(&account(&home).name(), "cluster-admin", &home.name).await.unwrap();
    let opt_in = format!("{}={}", names::ATOMIC, names::ATOMIC_ENABLED);
    home.admin(&["label", "namespace", &home.name, &opt_in]).await.unwrap().success().unwrap();
    home
}

fn account<'a>(home: &'a Home<'_>) -> User<'a> {
    User::ServiceAccount { ns: &home.name, name: "default" }
}

/// Allows only so many ConfigMaps in the namespace; there are as many.
async fn quota(home: &Home<'_>, maps: usize) {
    let client = home.stage.cluster.client(account(home)).await.unwrap();
    let quotas: Api<ResourceQuota> = Api::namespaced(client, &home.name);
    let hard = json!({ "count/configmaps": maps.to_string() });
    let quota = json!({ "metadata": { "name": "maps" }, "spec": { "hard": hard } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    eventually("the quota is counted", PATIENCE, async || {
        let used = quotas.get("maps").await?.status.and_then(|status| status.used);
        Ok(used.filter(|used| used["count/configmaps"].0 == maps.to_string()))
    })
    .await
    .unwrap();
}

async fn names_of_records(home: &Home<'_>) -> BTreeSet<String> {
    let heads = home.stage.cluster.record_heads(&home.name).await.unwrap();
    heads.iter().map(ResourceExt::name_any).collect()
}

async fn value(home: &Home<'_>, map: &str) -> String {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let map = Api::<ConfigMap>::namespaced(client, &home.name).get(map).await.unwrap();
    map.data.unwrap().remove("value").unwrap()
}
