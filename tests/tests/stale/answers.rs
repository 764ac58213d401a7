//! Answers that are old when they arrive: a look at a release that began before the deployer's fix, and ends after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use backout_model::release::Phase;
use futures::future::join_all;
use serde_json::Value;
use system_tests::{
    eventually,
    proxy::{Call, Fate, Gate},
    stories::{Deployer, Home, Snapshot, Step, bad_shop, good_shop},
};
use tokio::time::{Instant, sleep_until};

use super::super::{PATIENCE, annotate, arena, healthy, log_is_empty, status};

/// The reads that a verdict rests on.
const READS: [&str; 5] = ["get releases", "list secrets", "get deployments", "list pods", "list replicasets"];
const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_verdict_on_answers_that_are_out_of_date_undoes_nothing_of_the_fix() {
    let (arena, _alone) = arena().await;
    let stage = arena.stage();
    let names: Vec<_> = READS.iter().map(|read| read.replace(' ', "-")).collect();
    let (homes, model) =
        tokio::join!(join_all(names.iter().map(|name| healthy(&stage, name))), healthy(&stage, "model"));
    fix(&model).await;
    let model = Snapshot::take(&model).await.unwrap().neutral(&model.name);

    let held: HashMap<_, _> =
        homes.iter().zip(READS).map(|(home, read)| (home.name.clone(), Held::new(read))).collect();
    let held = Arc::new(Mutex::new(held));
    let shared = Arc::clone(&held);
    arena.proxy.rule(move |call| {
        let mut held = shared.lock().unwrap();
        held.iter_mut().find_map(|(namespace, held)| held.fate(namespace, call)).unwrap_or(Fate::Pass)
    });
    let fixes = join_all(homes.iter().map(async |home| {
        let deadline = format!("backout.dev/deadline={}s", DEADLINE.as_secs());
        annotate(home, &["namespace", &home.name], &deadline).await;
        Deployer::new(home).await.unwrap().go(&bad_shop().unwrap()).await.unwrap();
        let gate = eventually("an answer is held", PATIENCE, async || {
            Ok(held.lock().unwrap().get(&home.name).and_then(|held| held.gate.clone()))
        });
        let (since, gate) = gate.await.unwrap();
        annotate(home, &["namespace", &home.name], "backout.dev/deadline-").await;
        fix(home).await;
        let fixed = Snapshot::take(home).await.unwrap();
        sleep_until(since + DEADLINE).await;
        gate.open();
        fixed
    }))
    .await;

    for (home, fix) in homes.iter().zip(&fixes) {
        eventually(format!("{} is healthy", home.name), PATIENCE, async || {
            let status = status(home).await;
            Ok((status.revision >= 2 && status.phase == Some(Phase::Healthy)).then_some(()))
        })
        .await
        .unwrap_or_else(|why| panic!("{why:#}\n{}", arena.cluster.keep_for_inspection()));
        log_is_empty(home).await;
        let (status, after) = (status(home).await, Snapshot::take(home).await.unwrap());
        let outcomes: Vec<_> = status.history.iter().map(|past| past.outcome).collect();
        println!("{}: {outcomes:?}", home.name);
        assert_eq!(fix.differences(&after, &[]), [], "{}: {status:#?}", home.name);
        assert_eq!(model.differences(&after.neutral(&home.name), &[]), [], "{}: {status:#?}", home.name);
    }
}

/// Alice's fix: everything as it is in the next good version.
async fn fix(home: &Home<'_>) {
    let mut good = good_shop(1).unwrap();
    good.push(Step::Delete("ConfigMap", "shop-banner"));
    Deployer::new(home).await.unwrap().go(&good).await.unwrap();
}

/// The one answer that is held until the deadline has passed.
struct Held {
    read: &'static str,
    sealed: Option<Instant>,
    gate: Option<(Instant, Gate)>,
}

impl Held {
    fn new(read: &'static str) -> Self {
        Self { read, sealed: None, gate: None }
    }

    fn fate(&mut self, namespace: &str, call: &Call) -> Option<Fate> {
        let concerns = call.namespace() == Some(namespace) || call.query.contains(namespace);
        if !concerns || self.gate.is_some() {
            return None;
        }
        if call.kind() == "update releases/status" && phase(call).as_deref() == Some("Progressing") {
            self.sealed.get_or_insert_with(Instant::now);
        }
        let sealed = self.sealed.filter(|sealed| sealed.elapsed() > DEADLINE / 2)?;
        if call.kind() != self.read {
            return None;
        }
        let gate = Gate::closed();
        self.gate = Some((sealed, gate.clone()));
        Some(Fate::HoldAnswer(gate))
    }
}

fn phase(call: &Call) -> Option<String> {
    let release: Value = serde_json::from_slice(&call.body).ok()?;
    release.pointer("/status/phase")?.as_str().map(str::to_owned)
}
