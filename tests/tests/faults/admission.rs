//! What goes wrong between the API server and the webhook: the deployer is told, no write lacks its record, and a record
//! whose write was refused is nobody's.

use std::ops::RangeInclusive;

use backout_model::{names, release::Phase};
use futures::future::join_all;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use system_tests::{
    BackoutOptions, User, eventually,
    proxy::{Act, Call, Fate, Gate, Proxy, Reply, Tap},
    stories::{Home, Snapshot},
};

use super::{
    super::{
        PATIENCE, calls, ends, goes_back, is_as_before, is_clean, is_collected, set, stage, status, trails_of,
    },
    deployer::Deployer,
    route::{answer, home_through, json_body, request},
};

/// What becomes of the first call for an object, what the deployer reads, and how many records there are in the end.
struct Fault {
    name: &'static str,
    fate: fn(&Call, &Gate) -> Fate,
    told: &'static [&'static str],
    records: RangeInclusive<usize>,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "late",
        fate: |_, gate| Fate::HoldAnswer(gate.clone()),
        told: &["failed calling webhook \"record.backout.dev\"", "exceeded"],
        records: 2..=2,
    },
    Fault {
        name: "reset-before",
        fate: |_, _| Fate::Reset,
        told: &["failed calling webhook \"record.backout.dev\"", "connection reset by peer"],
        records: 1..=1,
    },
    Fault {
        name: "cut-before",
        fate: |_, _| Fate::Stop(Act::none()),
        told: &["failed calling webhook \"record.backout.dev\"", "EOF"],
        records: 1..=1,
    },
    Fault {
        name: "cut-after",
        fate: |_, _| Fate::Swallow(Act::none()),
        told: &["failed calling webhook \"record.backout.dev\"", "EOF"],
        records: 2..=2,
    },
    Fault {
        name: "garbage",
        fate: |_, _| Fate::Instead(json_body(StatusCode::OK, "{]")),
        told: &["failed calling webhook \"record.backout.dev\"", "json parse error"],
        records: 2..=2,
    },
    Fault {
        name: "other-kind",
        fate: |_, _| Fate::Instead(json_body(StatusCode::OK, r#"{"apiVersion":"v1","kind":"Pod"}"#)),
        told: &["failed calling webhook \"record.backout.dev\""],
        records: 2..=2,
    },
    Fault {
        name: "other-uid",
        fate: |_, _| Fate::Instead(answer(&json!("somebody-elses"), None)),
        told: &["failed calling webhook \"record.backout.dev\"", "response.uid"],
        records: 2..=2,
    },
    Fault {
        name: "error-500",
        fate: |_, _| Fate::Instead(failure(StatusCode::INTERNAL_SERVER_ERROR)),
        told: &["failed calling webhook \"record.backout.dev\"", "out of order"],
        records: 2..=2,
    },
    Fault {
        name: "error-429",
        fate: |_, _| Fate::Instead(failure(StatusCode::TOO_MANY_REQUESTS)),
        told: &["failed calling webhook \"record.backout.dev\"", "out of order"],
        records: 2..=2,
    },
    // The API server tries again by itself, under the same uid: the record is there already, unless the webhook has heard
    // of another revision meanwhile.
    Fault {
        name: "retry-500",
        fate: |_, _| {
            Fate::Instead(failure(StatusCode::INTERNAL_SERVER_ERROR).header(header::RETRY_AFTER, SECOND))
        },
        told: &[],
        records: 1..=2,
    },
    Fault {
        name: "retry-429",
        fate: |_, _| {
            Fate::Instead(failure(StatusCode::TOO_MANY_REQUESTS).header(header::RETRY_AFTER, SECOND))
        },
        told: &[],
        records: 1..=2,
    },
];

const SECOND: HeaderValue = HeaderValue::from_static("1");
/// In seconds: what the API server waits for the webhook here.
const TIMEOUT: u32 = 20;

fn failure(code: StatusCode) -> Reply {
    Reply::status(code, "InternalError", "out of order")
}

#[tokio::test]
async fn a_call_that_goes_wrong_refuses_the_write_and_leaves_nothing_behind() {
    let stage = stage().await;
    let proxy = through_proxy(&stage).await;
    let home = home_through(&stage, "calls", &[(&proxy, "true")], TIMEOUT).await;
    let before = healthy(&home, FAULTS.iter().map(|fault| fault.name)).await;
    let begin = Timestamp::now();
    set(&home, &[("settle", "10m")]).await;
    let gate = Gate::closed();
    once_for_each(&proxy, &gate);

    join_all(FAULTS.iter().map(|fault| meets(&home, fault))).await;
    gate.open();
    let calls = calls(&home, begin).await;
    for Fault { name, records, .. } in FAULTS {
        assert!(records.contains(&calls[*name]), "{} records of {name}", calls[*name]);
    }
    no_write_without_record(&home, begin).await;
    assert_eq!(status(&home).await.revision, 2);

    Deployer::of(&home).await.web("missing").await.unwrap();
    set(&home, &[("settle", "2s")]).await;
    goes_back(&home, &before, &[]).await;
}

/// The first call for each object meets its fault; all others pass.
fn once_for_each(proxy: &Proxy, gate: &Gate) {
    let gate = gate.clone();
    let mut met = std::collections::BTreeSet::new();
    proxy.rule(move |call| {
        let name = request(call)["name"].as_str().unwrap_or_default().to_owned();
        match FAULTS.iter().find(|fault| fault.name == name) {
            Some(fault) if met.insert(name) => (fault.fate)(call, &gate),
            _ => Fate::Pass,
        }
    });
}

/// The deployer is told, nothing is changed, and the next try works.
async fn meets(home: &Home<'_>, fault: &Fault) {
    let (name, value) = (fault.name, r#"{"data":{"value":"second"}}"#);
    let write = ["patch", "configmap", name, "--type=merge", "-p", value];
    let output = home.kubectl(&write).await.unwrap();
    println!("{name}: {}", output.stderr);
    if fault.told.is_empty() {
        output.success().unwrap();
        return;
    }
    assert!(!output.status.success(), "{name} was not refused");
    for words in fault.told {
        assert!(output.stderr.contains(words), "{name} does not tell {words:?}: {}", output.stderr);
    }
    let untouched = map(home, name).await;
    assert_eq!(untouched.data.unwrap()["value"], "first", "{name}");
    home.kubectl(&write).await.unwrap().success().unwrap();
    assert_eq!(map(home, name).await.data.unwrap()["value"], "second", "{name}");
}

#[tokio::test]
async fn a_webhook_with_an_expired_certificate_is_told_of_and_gets_no_write_through() {
    let stage = stage().await;
    let names = ["127.0.0.1", "localhost"];
    let expired = stage.cluster.authority().expired_server("expired", &names).unwrap();
    let webhook = format!("https://127.0.0.1:{}", stage.backout().webhook_port());
    let (good, bad) =
        tokio::join!(through_proxy(&stage), Proxy::with_certificate(stage.cluster, &webhook, &expired));
    let bad = bad.unwrap();
    // One of two replicas was forgotten when the certificates were changed.
    let ways = [(&good, "request.name != 'through-the-old'")];
    let home = home_through(&stage, "expired", &ways, TIMEOUT).await;
    let before = healthy(&home, ["through-the-new"].into_iter()).await;
    let begin = Timestamp::now();
    set(&home, &[("settle", "10m")]).await;
    redirect(&home, &bad).await;
    let mut tries = 0;
    let refused = eventually("the API server calls the other", PATIENCE, async || {
        // Of its own name each: the deletion may be what is refused first.
        tries += 1;
        let name = format!("refused-{tries}");
        let output = home.kubectl(&["create", "configmap", &name]).await?;
        home.kubectl(&["delete", "configmap", &name, "--ignore-not-found"]).await?;
        Ok((!output.status.success()).then_some(output.stderr))
    })
    .await
    .unwrap();
    println!("{refused}");
    for words in
        ["failed calling webhook \"record.backout.dev\"", "certificate has expired or is not yet valid"]
    {
        assert!(refused.contains(words), "{refused}");
    }
    assert!(bad.journal().is_empty());
    redirect(&home, &good).await;
    eventually("the API server calls the good one", PATIENCE, async || {
        Ok(home.kubectl(&["create", "configmap", "accepted"]).await?.status.success().then_some(()))
    })
    .await
    .unwrap();
    no_write_without_record(&home, begin).await;
    Deployer::of(&home).await.web("missing").await.unwrap();
    set(&home, &[("settle", "2s")]).await;
    ends(&home, 2, Phase::RolledBack).await;
    is_as_before(&home, &before, &[]).await;
    is_clean(&home).await;
}

/// Lets the API server call the webhook of this namespace somewhere else.
async fn redirect(home: &Home<'_>, proxy: &Proxy) {
    let name = format!("zz-backout-0-{}", home.name);
    let patch = json!([{ "op": "replace", "path": "/webhooks/0/clientConfig/url",
        "value": format!("{}/admit", proxy.url()) }]);
    let patch = ["patch", "mutatingwebhookconfiguration", &name, "--type=json", "-p", &patch.to_string()];
    home.admin(&patch).await.unwrap().success().unwrap();
}

#[tokio::test]
async fn a_webhook_that_is_behind_writes_old_hints_and_the_release_ends_right() {
    let stage = stage().await;
    let behind = Proxy::start(stage.cluster, &stage.cluster.url()).await.unwrap();
    let gate = Gate::closed();
    let held = gate.clone();
    behind.rule(move |call| if call.is_watch() { Fate::Tap(Tap::held(&held)) } else { Fate::Pass });
    let options = BackoutOptions { webhook_server: Some(behind.url()), ..stage.backout().options().clone() };
    let (_old, port) = stage.backout().webhook_like(stage.cluster, "webhook-behind", &options).await.unwrap();
    let old = Proxy::start(stage.cluster, &format!("https://127.0.0.1:{port}")).await.unwrap();
    let new = through_proxy(&stage).await;
    let ways = [(&new, "request.name.matches('.*[02468]$')"), (&old, "!request.name.matches('.*[02468]$')")];
    let home = home_through(&stage, "behind", &ways, 30).await;
    let names: Vec<_> = (0..20).map(|number| format!("map-{number}")).collect();
    let before = healthy(&home, names.iter().map(String::as_str)).await;
    let begin = Timestamp::now();

    set(&home, &[("settle", "10m")]).await;
    let deployer = Deployer::of(&home).await;
    for value in ["second", "third"] {
        for written in join_all(names.iter().map(|name| deployer.map(name, value))).await {
            let map = written.unwrap();
            let is_new = map.name_any().ends_with(['0', '2', '4', '6', '8']);
            let revision = if is_new { "2" } else { "1" };
            // Its first write made the Release's second revision known to one of them.
            assert!(value == "second" || map.labels()[names::REVISION] == revision, "{map:?}");
        }
        // The next one finds the revision begun.
        eventually("the second revision is open", PATIENCE, async || {
            Ok((home.release(&home.name).await?.status.unwrap_or_default().revision == 2).then_some(()))
        })
        .await
        .unwrap();
    }
    no_write_without_record(&home, begin).await;
    deployer.web("missing").await.unwrap();
    set(&home, &[("settle", "2s")]).await;
    let end = ends(&home, 2, Phase::RolledBack).await;
    assert_eq!(
        end.history.iter().map(|past| past.outcome).collect::<Vec<_>>(),
        [Phase::RolledBack, Phase::Healthy]
    );
    is_as_before(&home, &before, &[]).await;
    is_collected(&home).await;
    is_clean(&home).await;
    gate.open();
}

/// A proxy to the webhook that is installed.
async fn through_proxy(stage: &system_tests::stories::Stage<'_>) -> Proxy {
    let webhook = format!("https://127.0.0.1:{}", stage.backout().webhook_port());
    Proxy::start(stage.cluster, &webhook).await.unwrap()
}

/// A first revision with these ConfigMaps that is healthy, and its records gone; what it looks like.
async fn healthy<'a>(home: &Home<'_>, maps: impl Iterator<Item = &'a str>) -> Snapshot {
    set(home, &[("settle", "2s"), ("soak", "1s")]).await;
    let deployer = Deployer::of(home).await;
    deployer.web("ready:1").await.unwrap();
    for written in join_all(maps.map(|name| deployer.map(name, "first"))).await {
        written.unwrap();
    }
    ends(home, 1, Phase::Healthy).await;
    is_collected(home).await;
    Snapshot::take(home).await.unwrap()
}

async fn map(home: &Home<'_>, name: &str) -> ConfigMap {
    let maps: Api<ConfigMap> =
        Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name);
    maps.get(name).await.unwrap()
}

/// As many records on the trails of the objects as writes of them that were committed since then, by the audit log.
async fn no_write_without_record(home: &Home<'_>, since: Timestamp) {
    let trails = trails_of(home).await.unwrap_or_else(|why| panic!("{why:#}"));
    let recorded: usize = trails.values().map(|trail| trail.records.len()).sum();
    let writes = home.stage.cluster.writes().await.unwrap().committed().by(User::Named("alice"));
    let writes = writes
        .within(&home.name)
        .to("configmaps")
        .only(|write| trails.contains_key(&write.name) && write.at.parse::<Timestamp>().unwrap() >= since);
    assert_eq!(recorded, writes.0.len(), "{trails:#?}");
}
