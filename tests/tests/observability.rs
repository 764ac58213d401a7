//! What those see who run Backout: metrics, alerts, dashboard, logs, readiness.
//!
//! With a real Prometheus, where one can be had: in the `PATH`, or from Debian's package.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod observability {
    pub(super) mod play;
    pub(super) mod queries;
    pub(super) mod table;
}

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use observability::{
    play::Played,
    queries::{alerts, folder, name},
    table,
};
use serde_json::Value;
use system_tests::{
    Backout, Cluster, Process, Spec, User,
    backout::{readiness, scrape_metrics},
    cluster::free_port,
    eventually,
    monitoring::Monitoring,
};

#[test]
fn every_alert_is_valid_and_fires_where_it_should_and_only_there() {
    let monitoring = match Monitoring::find() {
        Ok(monitoring) => monitoring,
        Err(why) => return skip(&format!("{why:#}")),
    };
    let check = monitoring.promtool(&folder(), &["check", "rules", "alerts.yaml"]).unwrap();
    assert!(check.contains(&format!("{} rules found", alerts().unwrap().len())), "{check}");
    monitoring.promtool(&folder(), &["test", "rules", "alerts_test.yaml"]).unwrap();
}

#[test]
fn every_alert_has_a_severity_words_a_way_to_go_and_tests_of_both_kinds() {
    let tests: Value =
        serde_saphyr::from_str(&fs::read_to_string(folder().join("alerts_test.yaml")).unwrap()).unwrap();
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    for alert in alerts().unwrap() {
        let name = name(&alert);
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}");
        for words in ["summary", "description"] {
            assert!(alert["annotations"][words].as_str().is_some_and(|words| words.ends_with('.')), "{name}");
        }
        let anchor = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], anchor, "{name}");
        assert!(runbook.contains(&format!("\n### {name}\n")), "the runbook does not tell of {name}");
        let expected = tests["tests"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|test| test["alert_rule_test"].as_array().unwrap());
        let expected = expected.filter(|test| test["alertname"] == alert["alert"]);
        let fires: BTreeSet<_> =
            expected.map(|test| !test["exp_alerts"].as_array().is_none_or(Vec::is_empty)).collect();
        assert_eq!(fires, BTreeSet::from([false, true]), "{name} is not tested both ways");
    }
}

#[test]
fn the_rules_of_the_operator_are_those_of_the_file() {
    let rules = fs::read_to_string(folder().join("alerts.yaml")).unwrap();
    let (_, groups) = rules.split_once("groups:").unwrap();
    let groups: Vec<_> = format!("groups:{groups}").lines().map(|line| format!("  {line}\n")).collect();
    let resource = format!(
        "# Generated from alerts.yaml; see tests/tests/observability.rs.\n\
         apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: backout\n  \
         labels: {{app.kubernetes.io/part-of: backout}}\nspec:\n{}",
        groups.concat()
    );
    is_or_becomes(&folder().join("prometheus-rule.yaml"), &resource);
}

#[tokio::test]
async fn every_query_of_dashboard_and_alerts_is_answered_by_a_real_prometheus() {
    let played = Played::once().await;
    let seen = match &played.seen {
        Ok(seen) => seen,
        Err(why) => return skip(why),
    };
    let told: BTreeSet<_> = played.families.keys().cloned().collect();
    let lines: Vec<_> = seen.asked.iter().map(|asked| format!("{}\n", asked.line())).collect();
    std::io::stderr().write_all(lines.concat().as_bytes()).unwrap();
    let faults: Vec<_> = seen.asked.iter().filter_map(|asked| asked.fault(&told)).collect();
    assert_eq!(faults, Vec::<String>::new());
    let healthy: Vec<_> = alerts().unwrap().iter().map(|alert| (name(alert), "ok".to_owned())).collect();
    assert_eq!(seen.rules, healthy);
}

/// What does not move here is shown to move elsewhere.
const MOVED_ELSEWHERE: [(&str, &str); 10] = [
    ("backout_build_info", "always 1: runtime, metrics::tests"),
    ("backout_ready", "what_is_missing_is_named_by_readyz_and_by_a_metric"),
    ("backout_releases_stalled", "watcher, standings::tests"),
    ("backout_unrecorded_objects_total", "what passes a webhook that fails open: outages, open"),
    ("backout_watch_interruptions_total", "what_is_missing_is_named_by_readyz_and_by_a_metric"),
    ("backout_watcher_leader", "where watchers are elected: the tests of leaders"),
    ("backout_webhook_admissions_in_flight", "webhook, service::metrics"),
    ("backout_webhook_joins_total", "webhook, service::metrics"),
    ("backout_webhook_unreadable_releases_total", "webhook, service::metrics"),
    ("backout_webhook_watch_interruptions_total", "what_is_missing_is_named_by_readyz_and_by_a_metric"),
];

#[tokio::test]
async fn every_metric_moves_with_what_it_counts() {
    let played = Played::once().await;
    let seen = match &played.seen {
        Ok(seen) => seen,
        Err(why) => return skip(why),
    };
    let elsewhere = |name: &str| MOVED_ELSEWHERE.iter().any(|(other, _)| *other == name);
    let ours = played.families.keys().filter(|name| name.starts_with("backout_"));
    let still: Vec<_> = ours.filter(|name| !seen.moved.contains(*name) && !elsewhere(name)).collect();
    assert_eq!(still, Vec::<&String>::new());
    for name in ["process_cpu_seconds_total", "process_start_time_seconds"] {
        assert!(seen.moved.contains(name), "{name}");
    }
}

#[tokio::test]
async fn the_metrics_keep_the_conventions_of_prometheus() {
    let played = Played::once().await;
    let monitoring = match Monitoring::find() {
        Ok(monitoring) => monitoring,
        Err(why) => return skip(&format!("{why:#}")),
    };
    for page in &played.pages {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(page.as_bytes()).unwrap();
        assert_eq!(monitoring.lint(file.path()).unwrap(), "");
    }
}

#[tokio::test]
async fn the_pods_of_the_manifests_are_scraped_under_the_names_that_alerts_and_dashboard_use() {
    let cluster = Cluster::shared().unwrap();
    let render = async |folder: &str| -> Vec<Value> {
        let path = root().join("manifests").join(folder);
        let kustomize = ["kustomize", path.to_str().unwrap()];
        let rendered = cluster.kubectl().run(&kustomize).await.unwrap().success().unwrap();
        serde_saphyr::from_multiple(&rendered.stdout).unwrap()
    };
    let objects = render("observability").await;
    let mut kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ConfigMap", "PodMonitor", "PrometheusRule"]);
    let monitor = &objects.iter().find(|object| object["kind"] == "PodMonitor").unwrap()["spec"];
    let endpoint = &monitor["podMetricsEndpoints"][0];
    let deployments: Vec<_> =
        render("base").await.into_iter().filter(|object| object["kind"] == "Deployment").collect();
    let jobs: BTreeSet<_> = deployments
        .iter()
        .map(|deployment| {
            let pod = &deployment["spec"]["template"];
            for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(pod["metadata"]["labels"][label], *value);
            }
            let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
            assert!(ports.iter().any(|port| port["name"] == endpoint["port"]), "{ports:?}");
            pod["metadata"]["labels"][monitor["jobLabel"].as_str().unwrap()].as_str().unwrap().to_owned()
        })
        .collect();
    let (_, backout) = Backout::shared().unwrap();
    assert_eq!(jobs, backout.targets().map(|(job, _)| job.to_owned()).into());
}

#[tokio::test]
async fn the_table_of_metrics_is_what_the_processes_tell() {
    const HERE: &str =
        "<!-- generated from here on: BLESS=1 cargo test -p system-tests --test observability -->\n";
    let path = root().join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, _) = text.split_once(HERE).unwrap();
    let table = table::render(&Played::once().await.families);
    is_or_becomes(&path, &format!("{head}{HERE}\n{table}"));
}

#[tokio::test]
async fn the_lines_of_a_revision_are_found_by_one_id_in_both_logs() {
    let played = Played::once().await;
    let [webhook, watcher] = &played.logs;
    let lines = |log: &str| -> Vec<Value> {
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let (webhook, watcher) = (lines(webhook), lines(watcher));
    let of = |log: &[Value], id: &str| -> Vec<Value> {
        log.iter().filter(|line| line["id"] == id).cloned().collect()
    };
    // Where the webhook's cache lagged, the watcher names the write by its record under the right id.
    let strays: Vec<_> = watcher.iter().filter(|line| line["taken_for"].is_string()).collect();
    let written = |id: &str| -> Vec<Value> {
        let stray =
            |line: &Value| strays.iter().find(|stray| stray["undo"] == line["undo"]).map(|it| &it["id"]);
        let is_of = |line: &&Value| {
            line["message"] == "recorded" && *stray(line).unwrap_or_else(|| &line["id"]) == id
        };
        webhook.iter().filter(is_of).cloned().collect()
    };
    let (good, bad) = (format!("{0}/{0}#1", played.shop), format!("{0}/{0}#2", played.shop));
    let phases = |id: &str| -> Vec<_> {
        of(&watcher, id).iter().filter_map(|line| Some(line["phase"].as_str()?.to_owned())).collect()
    };
    let entered = phases(&good);
    assert!(entered.first().is_some_and(|phase| phase == "Open"), "{entered:?}");
    assert!(entered.last().is_some_and(|phase| phase == "Healthy"), "{entered:?}");
    let entered = phases(&bad);
    assert!(entered.ends_with(&["RollingBack".to_owned(), "RolledBack".to_owned()]), "{entered:?}");
    // Whatever was recorded in the namespace is of the one or the other.
    let release = format!("{0}/{0}", played.shop);
    let recorded = webhook.iter().filter(|line| line["message"] == "recorded" && line["release"] == release);
    let (first, second) = (written(&good), written(&bad));
    assert_eq!(first.len() + second.len(), recorded.count());
    let objects =
        |lines: &[Value]| -> BTreeSet<_> { lines.iter().map(|line| line["object"].to_string()).collect() };
    assert_eq!(objects(&first).len(), 7, "{first:?}");
    let objects = objects(&second);
    let restored: Vec<_> =
        of(&watcher, &bad).into_iter().filter(|line| line["message"] == "restore").collect();
    assert!(!restored.is_empty());
    for line in &restored {
        assert!(objects.contains(&line["object"].to_string()), "{line} is of none of {objects:?}");
    }
    assert!(of(&watcher, &bad).iter().any(|line| line["message"] == "evidence"));
    let mut shown = [second, of(&watcher, &bad)].concat();
    shown.sort_by_key(|line| line["timestamp"].to_string());
    let shown: Vec<_> = shown.iter().map(|line| format!("{line}\n")).collect();
    std::io::stderr().write_all(shown.concat().as_bytes()).unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named_by_readyz_and_by_a_metric() {
    let (cluster, backout) = Backout::shared().unwrap();
    for (job, admin) in backout.targets() {
        // Another test starts one of them again.
        let is_ready = async || Ok((readiness(admin).await? == (200, vec!["ok".to_owned()])).then_some(()));
        eventually(format!("{job} is ready"), Duration::from_secs(30), is_ready).await.unwrap();
    }
    let (_webhook, admin) =
        blind(cluster, backout.webhook().spec(), "blind-webhook", "backout-webhook").await;
    misses(admin, &["release cache"]).await;
    counts(admin, "backout_webhook_watch_interruptions_total").await;
    let (_watcher, admin) =
        blind(cluster, backout.watcher().spec(), "blind-watcher", "backout-watcher").await;
    misses(admin, &["namespaces", "records", "releases"]).await;
    counts(admin, "backout_watch_interruptions_total").await;
}

/// A process like another, for which there is no API server; its administrative port.
async fn blind(cluster: &Cluster, like: &Spec, name: &str, account: &str) -> (Process, SocketAddr) {
    let nobody = format!("https://127.0.0.1:{}", free_port().unwrap());
    let account = User::ServiceAccount { ns: "backout-system", name: account };
    let kubeconfig = cluster.kubeconfig_at(account, &nobody).await.unwrap();
    let mut spec =
        Spec { name: name.to_owned(), log: cluster.logs().join(format!("{name}.log")), ..like.clone() };
    spec = spec.env("KUBECONFIG", kubeconfig);
    let mut admin = None;
    for flag in ["--listen", "--admin-listen"] {
        let Some(value) = spec.args.iter().position(|arg| arg == flag).map(|flag| flag + 1) else { continue };
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        spec.args[value] = OsString::from(address.to_string());
        admin = Some(address);
    }
    (Process::spawn(spec).unwrap(), admin.unwrap())
}

async fn misses(admin: SocketAddr, gates: &[&str]) {
    let wanted: Vec<_> = gates.iter().map(|gate| format!("{gate}: ")).collect();
    let told = eventually("it is told why nothing is known", Duration::from_secs(30), async || {
        let (status, lines) = readiness(admin).await?;
        let knows = lines.iter().all(|line| line.contains("onnect"));
        Ok((status == 503 && knows).then_some(lines))
    });
    let told = told.await.unwrap();
    assert_eq!(told.len(), wanted.len(), "{told:?}");
    assert!(told.iter().zip(&wanted).all(|(line, gate)| line.starts_with(gate)), "{told:?}");
    let metrics = scrape_metrics(admin).await.unwrap();
    for gate in gates {
        assert!(
            metrics.text().contains(&format!("backout_ready{{gate=\"{gate}\"}} 0\n")),
            "{}",
            metrics.text()
        );
    }
}

async fn counts(admin: SocketAddr, name: &str) {
    assert!(scrape_metrics(admin).await.unwrap().sum(name, &[]) >= 1.0, "{name}");
}

#[tokio::test]
async fn every_command_of_the_runbook_runs() {
    let shop = &Played::once().await.shop;
    let (cluster, backout) = Backout::shared().unwrap();
    let runbook = fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let blocks = runbook.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let commands: BTreeSet<_> = blocks.flat_map(|(block, _)| block.lines()).collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let named = command.replace("NAMESPACE ", &format!("{shop} ")).replace(" NAME", &format!(" {shop}"));
        let args = arguments(&named);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        assert_eq!(args[0], "kubectl", "{command}");
        let kubectl = cluster.kubectl().env("PATH", backout.path().unwrap());
        let output = kubectl.run(&args[1..]).await.unwrap();
        assert!(output.status.success(), "{named}\n{}{}", output.stdout, output.stderr);
    }
}

/// The words of a line, as a shell splits it that knows single quotes.
fn arguments(line: &str) -> Vec<String> {
    let (mut words, mut quoted, mut word) = (Vec::new(), false, String::new());
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words
}

fn is_or_becomes(path: &Path, wanted: &str) {
    if env::var_os("BLESS").is_some() {
        fs::write(path, wanted).unwrap();
    }
    let found = fs::read_to_string(path).unwrap();
    assert!(found == wanted, "{} differs: BLESS=1 renews it\n{wanted}", path.display());
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn skip(why: &str) {
    let what = "NO PROMETHEUS, SO NEITHER ALERTS NOR DASHBOARD WERE TRIED";
    system_tests::skip(what, &format!("{why}\nOn Debian, as root: apt-get install prometheus"));
}
