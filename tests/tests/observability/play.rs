//! What happens while everything is measured and logged: a good release, a bad upgrade, a refused write, and more.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use backout_model::release::Phase;
use serde_json::{Value, json};
use system_tests::{
    Backout, eventually,
    monitoring::{Monitoring, Prometheus},
    stories::{self, Stage},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::OnceCell};

use super::{
    queries::{self, Asked},
    table::{self, Families},
};

/// What is left of it.
pub(crate) struct Played {
    /// The metrics of the webhook and the watcher, as they were at the start.
    pub(crate) pages: [String; 2],
    /// What they are.
    pub(crate) families: Families,
    /// The logs of the webhook and the watcher.
    pub(crate) logs: [String; 2],
    /// The namespace of the good release and the bad upgrade.
    pub(crate) shop: String,
    /// What Prometheus saw of it, where it can be had.
    pub(crate) seen: Result<Seen, String>,
}

/// What Prometheus saw.
pub(crate) struct Seen {
    /// The answers to what dashboard and alerts ask.
    pub(crate) asked: Vec<Asked>,
    /// The metrics that moved.
    pub(crate) moved: BTreeSet<String>,
    /// The rules, and whether they could be evaluated.
    pub(crate) rules: Vec<(String, String)>,
}

const PATIENCE: Duration = Duration::from_mins(2);

impl Played {
    /// Played once for all tests of this binary.
    pub(crate) async fn once() -> &'static Self {
        static PLAYED: OnceCell<Played> = OnceCell::const_new();
        PLAYED.get_or_try_init(play).await.unwrap()
    }
}

async fn play() -> Result<Played> {
    let start = Instant::now();
    let stage = Stage::shared().await?;
    let (cluster, backout) = Backout::shared()?;
    let pages = [backout.webhook_metrics().await?, backout.watcher_metrics().await?];
    let pages = pages.map(|page| page.text().to_owned());
    let families = table::families(&pages);
    let rules = queries::folder().join("alerts.yaml").canonicalize()?;
    let prometheus = match tokio::task::spawn_blocking(Monitoring::find).await? {
        Ok(monitoring) => Ok(monitoring.start(cluster, &backout.targets(), &rules).await?),
        Err(why) => Err(format!("{why:#}")),
    };
    if let Ok(prometheus) = &prometheus {
        eventually("both are scraped", PATIENCE, async || {
            let scraped = prometheus.query("count(up == 1) == 2").await?;
            Ok((!scraped.is_empty()).then_some(()))
        })
        .await?;
    }
    renew_certificate(backout)?;
    tokio::try_join!(
        shop(&stage),
        kept_claim(&stage),
        captured(&stage, backout),
        strangers(&stage, backout, prometheus.as_ref().ok())
    )?;
    refused_write(&stage).await?;
    eventually("the certificate is read again", PATIENCE, async || {
        let changed = [("outcome", "changed")];
        let reloads = backout.webhook_metrics().await?.sum("backout_tls_certificate_reloads_total", &changed);
        Ok((reloads > 0.0).then_some(()))
    })
    .await?;
    // What is kept of healthy revisions is counted at the start, and then but seldom.
    backout.watcher().restart().await?;
    backout.wait_ready().await?;
    let seen = match &prometheus {
        Ok(prometheus) => Ok(look(&stage, prometheus, &families).await?),
        Err(why) => Err(why.clone()),
    };
    let logs = [backout.webhook(), backout.watcher()].map(|process| fs::read_to_string(process.log()));
    let [webhook, watcher] = logs;
    // To where it is seen although nothing failed.
    let _ = writeln!(std::io::stderr(), "played in {} s", start.elapsed().as_secs());
    let shop = format!("shop{}", stage.suffix);
    Ok(Played { pages, families, logs: [webhook?, watcher?], shop, seen })
}

/// Asks while a write is undecided.
async fn look(stage: &Stage<'_>, prometheus: &Prometheus, families: &Families) -> Result<Seen> {
    let last = stage.home("last").await?;
    last.apply(&config_map("last", "one"), "kubectl apply -f last.yaml").await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
    for awaited in [
        "max(backout_log_oldest_undecided_record_timestamp_seconds) > 0".to_owned(),
        "max(backout_history_bytes) > 0".to_owned(),
        // What was played is scraped from both.
        format!("count(timestamp(up == 1) > {now}) == 2"),
    ] {
        eventually(&awaited, PATIENCE, async || {
            Ok((!prometheus.query(&awaited).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    let asked = queries::ask_all(prometheus).await?;
    let mut moved = BTreeSet::new();
    for (name, family) in families {
        let series = family.series(name);
        let range = format!("max(max_over_time({series}[30m]) - min_over_time({series}[30m])) > 0");
        if !prometheus.query(&range).await?.is_empty() {
            moved.insert(name.clone());
        }
    }
    Ok(Seen { asked, moved, rules: prometheus.rules().await? })
}

/// The good release and the bad upgrade.
async fn shop(stage: &Stage<'_>) -> Result<()> {
    let told = stories::shop(stage).await?;
    ensure!(told.iter().map(|report| report.outcome).eq([Phase::Healthy, Phase::RolledBack]), "{told:?}");
    Ok(())
}

/// A failed install of which something stays: a claim may hold data.
async fn kept_claim(stage: &Stage<'_>) -> Result<()> {
    let home = stage.home("claim").await?;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    let manifest = format!("{claim}\n---\n{}", Stage::small("registry.example/missing:1", "hello")?);
    home.apply(&manifest, "kubectl apply -f claim.yaml").await?;
    let status = home.end_of(&home.name, 1, PATIENCE).await?.status.unwrap_or_default();
    ensure!(status.phase == Some(Phase::RolledBack) && status.unrestored.len() == 1, "{status:#?}");
    Ok(())
}

/// A change of an admission configuration, and a Release that has no name that a release can have.
async fn captured(stage: &Stage<'_>, backout: &Backout) -> Result<()> {
    let home = stage.home("captured").await?;
    let mark = json!({"backout.dev/release-name": home.name, "backout.dev/release-namespace": home.name});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": home.name, "labels": mark},
        "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                     "operations": ["CREATE"], "resources": ["configmaps"]}]},
                 "validations": [{"expression": "true"}]}});
    let release = json!({"apiVersion": "backout.dev/v1alpha1", "kind": "Release",
        "metadata": {"name": "no.label", "namespace": home.name}, "spec": {}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [policy, release]}).to_string();
    stage.cluster.kubectl().stdin(list).run(&["apply", "-f", "-"]).await?.success()?;
    eventually("both are counted", PATIENCE, async || {
        let metrics = backout.watcher_metrics().await?;
        let is_counted = metrics.sum("backout_captures_total", &[("outcome", "ok")]) > 0.0
            && metrics.sum("backout_reconcile_errors_total", &[("class", "name")]) > 0.0;
        Ok(is_counted.then_some(()))
    })
    .await
}

/// Somebody connects and says nothing, and somebody says what is no TLS.
async fn strangers(stage: &Stage<'_>, backout: &Backout, witness: Option<&Prometheus>) -> Result<()> {
    let authority = stage.cluster.authority().ca();
    let silent = backout.admission_client(&authority)?.connect().await?;
    let mut garbled = TcpStream::connect(("127.0.0.1", backout.webhook_port())).await?;
    garbled.write_all(b"good day\r\n\r\n").await?;
    if let Some(prometheus) = witness {
        let opened = "max(max_over_time(backout_https_connections_open[5m]) - min_over_time(backout_https_connections_open[5m])) > 0";
        eventually("the connection is seen", PATIENCE, async || {
            Ok((!prometheus.query(opened).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    drop(silent);
    Ok(())
}

/// The webhook loses its right to store records for a while: a write is refused, and told why.
async fn refused_write(stage: &Stage<'_>) -> Result<()> {
    let home = stage.home("refused").await?;
    let binding = ["rolebinding", "backout-webhook", "-n", "backout-system"];
    let kubectl = async |args: &[&str]| stage.cluster.kubectl().run(args).await?.success();
    let before = kubectl(&[&["get"], &binding[..], &["-o", "json"]].concat()).await?.stdout;
    let mut before: Value = serde_json::from_str(&before)?;
    before["metadata"] = json!({"name": "backout-webhook", "namespace": "backout-system"});
    kubectl(&[&["delete"], &binding[..]].concat()).await?;
    let mut number = 0;
    let mut write = async || {
        number += 1;
        home.apply(&config_map("refused", &number.to_string()), "kubectl apply -f refused.yaml").await
    };
    let refusal = eventually("a write is refused", PATIENCE, async || Ok(write().await.err())).await?;
    let told = format!("{refusal:#}");
    ensure!(told.contains("the undo record of this write could not be stored"), "{told}");
    stage.cluster.kubectl().stdin(before.to_string()).run(&["apply", "-f", "-"]).await?.success()?;
    eventually("writes are admitted again", PATIENCE, async || Ok(write().await.ok())).await
}

/// The same certificate in other words: its file changes.
fn renew_certificate(backout: &Backout) -> Result<()> {
    let args = &backout.webhook().spec().args;
    let flag = args.iter().position(|arg| arg == "--tls-cert").context("no certificate")?;
    let mut file = fs::OpenOptions::new().append(true).open(args.get(flag + 1).context("no certificate")?)?;
    Ok(file.write_all(b"\n")?)
}

fn config_map(name: &str, text: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": text}})
        .to_string()
}
