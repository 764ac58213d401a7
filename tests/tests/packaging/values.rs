//! The chart's values: told in its README, held to by its schema. After a change of values.yaml:
//! `BLESS=1 cargo test -p system-tests --test packaging values`.

use std::{collections::BTreeSet, env, fs};

use serde_json::{Value, json};
use system_tests::Cluster;

use crate::{helm, rendered, shipped, templated};

/// A value as values.yaml has it.
struct Told {
    path: String,
    default: String,
    comment: String,
}

/// All values of values.yaml: maps are written in blocks, and all else on the line of its key.
fn told() -> Vec<Told> {
    let text = fs::read_to_string(shipped("chart/backout/values.yaml")).unwrap();
    let (mut above, mut comment, mut told) = (Vec::<&str>::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let content = line.trim_start();
        let depth = (line.len() - content.len()) / 2;
        if let Some(said) = content.strip_prefix("# ") {
            comment.push(said);
            continue;
        }
        if let Some((key, default)) = content.split_once(':') {
            above.truncate(depth);
            above.push(key);
            if !default.is_empty() {
                let path = above.join(".");
                told.push(Told { path, default: default.trim().to_owned(), comment: comment.join(" ") });
            }
        }
        comment.clear();
    }
    told
}

#[test]
fn the_readme_of_the_chart_tells_each_value_its_default_and_its_meaning() {
    let path = shipped("chart/backout/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- values -->\n", "<!-- end of values -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let told = told();
    let silent: Vec<_> =
        told.iter().filter(|value| value.comment.is_empty()).map(|value| &value.path).collect();
    assert_eq!(silent, Vec::<&String>::new());
    assert!(told.len() > 30, "{}", told.len());
    let row = |Told { path, default, comment }: &Told| format!("| `{path}` | `{default}` | {comment} |\n");
    let rows = told.iter().map(row).collect::<Vec<_>>().concat();
    let wanted = format!("{before}{begin}| value | default | |\n|---|---|---|\n{rows}{end}{after}");
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == wanted, "{path} is out of date: BLESS=1");
}

#[test]
fn the_schema_knows_the_values_that_there_are_and_no_others() {
    let schema = fs::read_to_string(shipped("chart/backout/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let mut known = BTreeSet::new();
    leaves(&schema, &schema, "", &mut known);
    // Helm's own, for charts that this one is part of.
    assert!(known.remove("global"));
    // One value, in parts that Kubernetes gives it.
    for part in ["webhook.resources", "watcher.resources"] {
        known.retain(|path| !path.starts_with(&format!("{part}.")));
        known.insert(part.to_owned());
    }
    let told: BTreeSet<_> = told().into_iter().map(|value| value.path).collect();
    assert_eq!(known, told);
}

/// The paths of a schema below which nothing is named any more.
fn leaves(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
    let target = schema["$ref"].as_str().map_or(schema, |at| root.pointer(&at[1..]).unwrap());
    let Some(properties) = target["properties"].as_object() else {
        found.insert(path.to_owned());
        return;
    };
    assert_eq!(target["additionalProperties"], false, "{path} takes whatever it is given");
    for (name, property) in properties {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        leaves(property, root, &below, found);
    }
}

/// A value, another one than its default, and what has to be set with it.
type Otherwise = (&'static str, Value, &'static [&'static str]);

/// All values.
fn otherwise() -> Vec<Otherwise> {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    vec![
        ("images.registry", json!("registry.example"), &[]),
        ("images.pullPolicy", json!("Always"), &[]),
        ("images.pullSecrets", json!(["pull"]), &[]),
        ("webhook.replicas", json!(4), &[]),
        ("webhook.image.repository", json!("other"), &[]),
        ("webhook.image.tag", json!("other"), &[]),
        ("webhook.image.digest", json!(digest), &[]),
        ("webhook.resources", json!({"limits": {"memory": "1Gi"}}), &[]),
        ("webhook.spread", json!("DoNotSchedule"), &[]),
        ("webhook.podDisruptionBudget.enabled", json!(false), &[]),
        ("webhook.podDisruptionBudget.minAvailable", json!(2), &["--set=webhook.replicas=3"]),
        ("webhook.failurePolicy", json!("Ignore"), &[]),
        ("webhook.deployers", json!(["ci:deployer"]), &[]),
        ("webhook.extraArgs", json!(["--log=debug"]), &[]),
        ("watcher.replicas", json!(4), &[]),
        ("watcher.image.repository", json!("other"), &[]),
        ("watcher.image.tag", json!("other"), &[]),
        ("watcher.image.digest", json!(digest), &[]),
        ("watcher.resources", json!({"limits": {"memory": "1Gi"}}), &[]),
        ("watcher.podDisruptionBudget.enabled", json!(false), &[]),
        ("watcher.podDisruptionBudget.minAvailable", json!(2), &["--set=watcher.replicas=3"]),
        ("watcher.settle", json!("7s"), &[]),
        ("watcher.deadline", json!("20m"), &[]),
        ("watcher.soak", json!("5m"), &[]),
        ("watcher.onInstallFailure", json!("Hold"), &[]),
        ("watcher.onUpgradeFailure", json!("Notify"), &[]),
        ("watcher.keepFailingPod", json!("1h30m"), &[]),
        ("watcher.restoreRbac", json!(true), &[]),
        ("watcher.extraArgs", json!(["--workers=32"]), &[]),
        ("certificates.mode", json!("cert-manager"), &[]),
        ("namespaces", json!(["shop"]), &[]),
        ("priorityClassName", json!("other"), &[]),
        ("nodeSelector", json!({"role": "platform"}), &[]),
        ("tolerations", json!([{"key": "platform", "operator": "Exists"}]), &[]),
        ("networkPolicies.enabled", json!(false), &[]),
        ("networkPolicies.apiServerPorts", json!([8443]), &[]),
        ("flowControl.enabled", json!(false), &[]),
        ("crds.install", json!(false), &[]),
    ]
}

#[tokio::test]
async fn each_value_makes_a_difference() {
    let cluster = Cluster::shared().unwrap();
    let otherwise = otherwise();
    let paths: Vec<_> = otherwise.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(paths, told().into_iter().map(|value| value.path).collect::<Vec<_>>());
    let base = &rendered(cluster).await[0].templated;
    for (path, value, with) in otherwise {
        let before = if with.is_empty() { base.clone() } else { templated(cluster, &[], with).await };
        let set = format!("{path}={value}");
        let after = templated(cluster, &[], &[with, &["--set-json", &set]].concat()).await;
        assert_ne!(before, after, "{path} changes nothing");
    }
}

/// What is refused, and what the message has to say: where, and what is wrong with it.
const WRONG: [(&str, &[&str]); 22] = [
    ("webhok.replicas=2", &["'webhok' not allowed"]),
    ("webhook.replica=2", &["/webhook", "'replica' not allowed"]),
    ("webhook.replicas=0", &["/webhook/replicas", "minimum: got 0, want 1"]),
    ("watcher.replicas=two", &["/watcher/replicas", "got string, want integer"]),
    ("webhook.failurePolicy=fail", &["/webhook/failurePolicy", "must be one of 'Fail', 'Ignore'"]),
    ("webhook.spread=Always", &["/webhook/spread", "'ScheduleAnyway', 'DoNotSchedule'"]),
    ("webhook.deployers={deployer}", &["/webhook/deployers/0", "does not match pattern"]),
    ("webhook.deployers=ci:deployer", &["/webhook/deployers", "got string, want array"]),
    ("webhook.extraArgs={grace}", &["/webhook/extraArgs/0", "does not match pattern '^--[a-z]'"]),
    ("webhook.image.tag=a:b", &["/webhook/image/tag", "does not match pattern"]),
    ("webhook.image.digest=sha256:12", &["/webhook/image/digest", "does not match pattern"]),
    ("watcher.resources.request.cpu=1", &["/watcher/resources", "'request' not allowed"]),
    ("watcher.settle=5", &["/watcher/settle", "got number, want string"]),
    ("watcher.deadline=ten minutes", &["/watcher/deadline", "does not match pattern"]),
    ("watcher.onUpgradeFailure=rollback", &["/watcher/onUpgradeFailure", "'Rollback', 'Hold', 'Notify'"]),
    ("watcher.restoreRbac=please", &["/watcher/restoreRbac", "got string, want boolean"]),
    ("certificates.mode=manual", &["/certificates/mode", "'self-managed', 'cert-manager'"]),
    ("namespaces={Shop}", &["/namespaces/0", "does not match pattern"]),
    ("namespaces={backout-system}", &["/namespaces/0", "'not' failed"]),
    ("networkPolicies.apiServerPorts={0}", &["/networkPolicies/apiServerPorts/0", "got 0, want 1"]),
    ("webhook.replicas=1", &["webhook.podDisruptionBudget.minAvailable is 1, with 1 replicas", "Set more"]),
    ("watcher.podDisruptionBudget.minAvailable=2", &["watcher.podDisruptionBudget.minAvailable is 2"]),
];

#[tokio::test]
async fn wrong_values_are_refused_by_a_message_that_tells_where_and_why() {
    let cluster = Cluster::shared().unwrap();
    let mut unhelpful = Vec::new();
    for (wrong, words) in WRONG {
        let output = helm(cluster, "template", &[], &["--set", wrong]).await;
        let helps = words.iter().all(|words| output.stderr.contains(words));
        if output.status.success() || !helps {
            unhelpful.push(format!("{wrong}: {}", output.stderr));
        }
    }
    assert!(unhelpful.is_empty(), "{}", unhelpful.join("\n"));
}
