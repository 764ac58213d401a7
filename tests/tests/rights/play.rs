//! All that takes a right, once.

use std::time::Duration;

use backout_model::{names, release::Phase};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use system_tests::{
    Backout, BackoutOptions, Cluster, User, backout, eventually,
    mount::Mount,
    stories::{Home, Quiet, Stage},
};

/// Longer than anything lasts here.
const PATIENCE: Duration = Duration::from_mins(2);
const GOOD: &str = "registry.example/ready:1";
const CRASHING: &str = "registry.example/crash:2";

/// Where it was played.
pub(crate) struct Play {
    pub(crate) cluster: &'static Cluster,
    _mount: Mount,
}

/// Plays it all: with a certificate of the watcher's own making, and with a Lease.
pub(crate) async fn play() -> Play {
    let cluster = Cluster::shared().unwrap();
    let mount =
        Mount::start(cluster, backout::NAMESPACE, "backout-webhook-tls", Duration::ZERO).await.unwrap();
    let mut options = BackoutOptions {
        leader_elect: true,
        manage_certificates: true,
        webhook_certificate: Some(mount.pair()),
        ..BackoutOptions::default()
    };
    // Admission configurations are restored only where that is asked for.
    options.watcher_args.extend(["--webhook-name", "127.0.0.1", "--restore-rbac"].map(str::to_owned));
    let (_, backout) = Backout::shared_with(options).unwrap();
    let stage = Stage { cluster, backout: Some(backout), tell: &Quiet, suffix: String::new() };
    tokio::join!(one_namespace(&stage), more_than_one_namespace(&stage), helm_waits(&stage));
    a_certificate_is_damaged(cluster).await;
    // The Lease is given back.
    backout.watcher().terminate().await.unwrap();
    Play { cluster, _mount: mount }
}

async fn home<'a>(stage: &'a Stage<'a>, name: &str) -> Home<'a> {
    let home = stage.bystander(name).await.unwrap();
    wants(&home, &["settle=3s", "soak=2s", "keep-failing-pod=5s"]).await;
    let opt_in = format!("{}={}", names::ATOMIC, names::ATOMIC_ENABLED);
    home.admin(&["label", "namespace", &home.name, &opt_in]).await.unwrap().success().unwrap();
    home
}

async fn wants(home: &Home<'_>, policy: &[&str]) {
    let annotations: Vec<_> = policy.iter().map(|it| format!("backout.dev/{it}")).collect();
    let annotate = ["annotate", "--overwrite", "namespace", &home.name];
    let annotate: Vec<_> = annotate.into_iter().chain(annotations.iter().map(String::as_str)).collect();
    home.admin(&annotate).await.unwrap().success().unwrap();
}

async fn ended(home: &Home<'_>, revision: u64, phase: Phase) {
    release_ended(home, &home.name, revision, phase).await;
}

async fn release_ended(home: &Home<'_>, release: &str, revision: u64, phase: Phase) {
    let release = home.end_of(release, revision, PATIENCE).await.unwrap();
    let status = release.status.unwrap_or_default();
    assert_eq!(status.phase, Some(phase), "{status:#?}\n{}", home.stage.cluster.keep_for_inspection());
    // Or why there is none: it has its time.
    let is_told = status.evidence.is_some() || status.evidence_missing.is_some();
    assert_eq!(is_told, phase == Phase::RolledBack, "{status:#?}");
}

/// A good install, two bad upgrades with evidence, a pod that is kept, a `diff`, and the end of the Release.
async fn one_namespace(stage: &Stage<'_>) {
    let home = home(stage, "shop").await;
    home.apply(&Stage::small(GOOD, "hello").unwrap(), "").await.unwrap();
    ended(&home, 1, Phase::Healthy).await;
    // The soak is long for the three commands to be one revision.
    wants(&home, &["deadline=4s", "soak=30s"]).await;
    for revision in [2, 3] {
        home.kubectl(&["delete", "configmap", "untouched"]).await.unwrap().success().unwrap();
        home.kubectl(&["create", "configmap", "added"]).await.unwrap().success().unwrap();
        let bad = Stage::small(CRASHING, "bye").unwrap().replace("untouched", "another");
        home.apply(&bad, "").await.unwrap();
        ended(&home, revision, Phase::RolledBack).await;
    }
    let ask = async |what| {
        stage.backout().plugin(stage.cluster, User::Named("alice"), &home.name, &[what]).await.unwrap()
    };
    assert!(ask("diff").await.success().unwrap().stdout.contains("data.greeting"));
    for _ in 0..2 {
        // What is told of a revision again is noted on the first Event.
        let refused = ask("hold").await;
        assert!(refused.stderr.contains("there is nothing to hold"), "{refused:?}");
    }
    eventually("the pod's time is over", PATIENCE, async || {
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        Ok(status.aside.is_none().then_some(()))
    })
    .await
    .unwrap();
    home.admin(&["delete", "release", &home.name]).await.unwrap().success().unwrap();
    wants(&home, &["soak=2s"]).await;
    home.kubectl(&["create", "configmap", "begins-anew"]).await.unwrap().success().unwrap();
    ended(&home, 1, Phase::Healthy).await;
}

/// A client that waits for an upgrade that fails: before it may begin again the webhook asks for the Release itself.
async fn helm_waits(stage: &Stage<'_>) {
    let home = home(stage, "charts").await;
    home.helm(&["install", "web", "./web"]).await.unwrap().success().unwrap();
    release_ended(&home, "web", 1, Phase::Healthy).await;
    // One that crashes is ready for a moment, which Helm takes for success.
    let image = "image=registry.example/missing:2";
    let waited = home.helm(&["upgrade", "web", "./web", "--wait", "--set", image]).await.unwrap();
    assert!(!waited.status.success(), "{waited:?}");
    release_ended(&home, "web", 2, Phase::RolledBack).await;
    eventually("the fence is down", PATIENCE, async || {
        let next = home.helm(&["upgrade", "web", "./web", "--set", "greeting=hi"]).await?;
        if next.stderr.contains("Try again in a few seconds") {
            return Ok(None);
        }
        next.success().map(Some)
    })
    .await
    .unwrap();
    release_ended(&home, "web", 3, Phase::Healthy).await;
}

/// The watcher makes another one in its place.
async fn a_certificate_is_damaged(cluster: &Cluster) {
    let secrets: Api<Secret> =
        Api::namespaced(cluster.client(User::Admin).await.unwrap(), backout::NAMESPACE);
    let certificate = async || -> anyhow::Result<Vec<u8>> {
        let data = secrets.get("backout-webhook-tls").await?.data.unwrap_or_default();
        Ok(data.get("tls.crt").map(|bytes| bytes.0.clone()).unwrap_or_default())
    };
    let before = certificate().await.unwrap();
    let garbage = Patch::Merge(json!({"data": {"tls.key": "Z2FyYmFnZQ=="}}));
    secrets.patch("backout-webhook-tls", &PatchParams::default(), &garbage).await.unwrap();
    eventually("there is another certificate", PATIENCE, async || {
        Ok((certificate().await? != before).then_some(()))
    })
    .await
    .unwrap();
}

/// A release with an object of another namespace, and an admission configuration, both changed and put back.
async fn more_than_one_namespace(stage: &Stage<'_>) {
    let (front, back) = (home(stage, "front").await, home(stage, "back").await);
    may_write_policies(&front).await;
    apply(&front, &[map(&back, "one"), policy(&front, "one")]).await;
    ended(&front, 1, Phase::Healthy).await;
    wants(&front, &["deadline=4s"]).await;
    apply(&front, &[map(&back, "two"), policy(&front, "two"), broken(&front)]).await;
    ended(&front, 2, Phase::RolledBack).await;
    let text = back.admin(&["get", "configmap/ours", "-o", "jsonpath={.data.text}"]).await.unwrap();
    assert_eq!(text.success().unwrap().stdout, "one");
    let message = "jsonpath={.spec.validations[0].message}";
    let get = ["get", "validatingadmissionpolicy/ours", "-o", message];
    assert_eq!(front.admin(&get).await.unwrap().success().unwrap().stdout, "one");
}

fn mark(home: &Home<'_>) -> Value {
    json!({"backout.dev/release-name": home.name, "backout.dev/release-namespace": home.name})
}

fn map(home: &Home<'_>, text: &str) -> Value {
    let labels = json!({"backout.dev/release-name": "front", "backout.dev/release-namespace": "front"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text},
           "metadata": {"name": "ours", "namespace": home.name, "labels": labels}})
}

/// A policy that never refuses anything.
fn policy(home: &Home<'_>, message: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
           "metadata": {"name": "ours", "labels": mark(home)},
           "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                        "operations": ["CREATE"], "resources": ["configmaps"]}]},
                    "validations": [{"expression": "true", "message": message}]}})
}

fn broken(home: &Home<'_>) -> Value {
    let labels = json!({"app": "broken"});
    let container = json!({"name": "c", "image": CRASHING});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "broken", "namespace": home.name},
           "spec": {"selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}})
}

async fn apply(home: &Home<'_>, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let kubectl = home.stage.cluster.kubectl().user(User::Named("alice")).stdin(list);
    kubectl.run(&["apply", "-f", "-"]).await.unwrap().success().unwrap();
}

async fn may_write_policies(home: &Home<'_>) {
    let create = ["create", "clusterrole", "policies", "--verb=*", "--resource=validatingadmissionpolicies"];
    home.stage.cluster.kubectl().run(&create).await.unwrap().success().unwrap();
    let bind = ["create", "clusterrolebinding", "policies", "--clusterrole=policies", "--user=alice"];
    home.stage.cluster.kubectl().run(&bind).await.unwrap().success().unwrap();
    eventually("alice may", PATIENCE, async || {
        let may = home.kubectl(&["auth", "can-i", "create", "validatingadmissionpolicies"]).await?;
        Ok(may.stdout.starts_with("yes").then_some(()))
    })
    .await
    .unwrap();
}
