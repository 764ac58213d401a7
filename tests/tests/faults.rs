//! The undo log under fire: the control plane killed, writes refused and delayed, watchers that disagree, a log that
//! grows and a database that is full. The promise stays the same: no write without a record, nothing undone by
//! mistake, and what was there before comes back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod faults {
    mod admission;
    mod clocks;
    mod contention;
    mod control_plane;
    mod deployer;
    mod failover;
    mod full;
    mod late;
    mod log;
    mod policies;
    mod policy;
    pub(super) mod route;
    mod watchers;
}

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use backout_model::{
    release::{Phase, ReleaseStatus},
    undo::codec,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _, api::ListParams, core::DynamicObject};
use system_tests::{
    Backout, Cluster, User, backout, demo, eventually, oracle,
    stories::{Home, Quiet, Snapshot, Stage},
    trails::{Trail, trails},
};
use tokio::sync::OnceCell;

/// Longer than anything lasts here.
const PATIENCE: Duration = Duration::from_mins(5);

/// Whether the tests may take their time.
fn everything() -> bool {
    std::env::var_os("BACKOUT_EVERYTHING").is_some()
}

/// A stage on the cluster that all tests share; nothing of it may be killed.
async fn stage() -> Stage<'static> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let (cluster, backout) = Backout::shared().unwrap();
    DEFINED.get_or_try_init(|| prepare(cluster)).await.unwrap();
    on(cluster, backout)
}

/// A cluster with Backout in it is made ready for these tests.
async fn prepare(cluster: &Cluster) -> Result<()> {
    faults::route::be_patient(cluster).await?;
    demo::definitions(cluster).await
}

fn on<'a>(cluster: &'a Cluster, backout: &'a Backout) -> Stage<'a> {
    Stage { cluster, backout: Some(backout), tell: &Quiet, suffix: format!("-{:08x}", rand::random::<u32>()) }
}

/// Settings of a namespace, in the order of their values.
async fn set(home: &Home<'_>, settings: &[(&str, &str)]) {
    let settings: Vec<_> = settings.iter().map(|(key, value)| format!("backout.dev/{key}={value}")).collect();
    let mut args = vec!["annotate", "namespace", home.name.as_str(), "--overwrite"];
    args.extend(settings.iter().map(String::as_str));
    home.admin(&args).await.unwrap().success().unwrap();
}

async fn status(home: &Home<'_>) -> ReleaseStatus {
    home.release(&home.name).await.unwrap().status.unwrap_or_default()
}

/// Waits for this phase of this revision.
async fn reaches(home: &Home<'_>, revision: u64, phase: Phase) -> ReleaseStatus {
    let what = format!("revision {revision} of {} is {}", home.name, phase.as_str());
    let reached = eventually(what, PATIENCE, async || {
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        if status.revision == revision && status.phase == Some(phase) {
            return Ok(Some(status));
        }
        Err(anyhow::anyhow!("{status:#?}"))
    });
    reached.await.unwrap_or_else(|error| panic!("{error:#}\n{}", home.stage.cluster.keep_for_inspection()))
}

/// The end of this revision, which must be this one.
async fn ends(home: &Home<'_>, revision: u64, phase: Phase) -> ReleaseStatus {
    let release = home.end_of(&home.name, revision, PATIENCE).await;
    let status =
        release.unwrap_or_else(|error| panic!("{error:#}\n{}", home.stage.cluster.keep_for_inspection()));
    let status = status.status.unwrap_or_default();
    assert_eq!(
        status.phase,
        Some(phase),
        "{}: {status:#?}\n{}",
        home.name,
        home.stage.cluster.keep_for_inspection()
    );
    status
}

/// The namespace is what it was, but for the uids of what had to be made anew.
async fn is_as_before(home: &Home<'_>, before: &Snapshot, made_anew: &[&str]) {
    let after = Snapshot::take(home).await.unwrap();
    let differences = before.differences(&after, made_anew);
    assert_eq!(differences, [], "{}\n{}", home.name, home.stage.cluster.keep_for_inspection());
}

/// The second revision is rolled back whole: the state, the log and the audit log say so.
async fn goes_back(home: &Home<'_>, before: &Snapshot, made_anew: &[&str]) {
    let end = ends(home, 2, Phase::RolledBack).await;
    assert!(end.unrestored.is_empty(), "{end:#?}");
    is_as_before(home, before, made_anew).await;
    is_collected(home).await;
    is_clean(home).await;
}

/// The watcher wrote nothing in this namespace that breaks a promise.
async fn is_clean(home: &Home<'_>) {
    is_clean_but_for(home, &[]).await;
}

/// Of writes to these objects the audit log does not tell: the API server died when they were stored.
async fn is_clean_but_for(home: &Home<'_>, untold: &[String]) {
    let witness = oracle::witness(home.stage.cluster, &["alice", "bob"]).await.unwrap();
    let here = format!(" {}/", home.name);
    let is_untold = |text: &str| {
        text.ends_with(oracle::UNWRITTEN)
            && untold.iter().any(|name| text.contains(&format!("{here}{name} ")))
    };
    let violations = witness.violations.iter().filter(|text| text.contains(&here) && !is_untold(text));
    let violations: Vec<_> = violations.collect();
    assert_eq!(violations, Vec::<&String>::new(), "{}", home.stage.cluster.keep_for_inspection());
}

/// The trails of the namespace's ConfigMaps through the log, which has no hole.
async fn trails_of(home: &Home<'_>) -> Result<BTreeMap<String, Trail>> {
    let client = home.stage.cluster.client(User::Admin).await?;
    let resource = kube::api::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
    let maps: Api<DynamicObject> = Api::namespaced_with(client, &home.name, &resource);
    let maps = maps.list(&ListParams::default()).await?.items;
    let maps: Result<Vec<_>, _> = maps.iter().map(serde_json::to_value).collect();
    trails(&maps?, &home.stage.cluster.records(&home.name).await?)
}

/// For each ConfigMap how many records of calls since then were stored, collected ones too, by the audit log.
async fn calls(home: &Home<'_>, since: Timestamp) -> BTreeMap<String, usize> {
    let writes =
        home.stage.cluster.writes().await.unwrap().committed().within(backout::NAMESPACE).to("secrets");
    let writes =
        writes.only(|write| write.verb == "create" && write.at.parse::<Timestamp>().unwrap() >= since);
    let mut calls = BTreeMap::new();
    for request in writes.0.into_iter().filter_map(|write| write.request) {
        let secret: Secret = serde_json::from_value(request).unwrap();
        let Ok(header) = codec::decode_header(secret.annotations()) else { continue };
        if header.release.namespace == home.name && header.object.key.resource == "configmaps" {
            *calls.entry(header.object.key.name).or_default() += 1;
        }
    }
    calls
}

/// Waits until the log has no record of this namespace any more.
async fn is_collected(home: &Home<'_>) {
    eventually(format!("the records of {} are collected", home.name), PATIENCE, async || {
        let heads = home.stage.cluster.record_heads(&home.name).await?;
        if heads.is_empty() { Ok(Some(())) } else { Err(anyhow::anyhow!("{} records", heads.len())) }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", home.stage.cluster.keep_for_inspection()));
}
