//! Changes of objects in place.

use anyhow::Result;
use kube::api::PostParams;
use serde_json::json;

use super::case::{
    Case, Step,
    Step::{By, Controller, Do, Fails, Kubectl, Pipe},
    case, play,
};
use super::scene::{ALICE, BOB, Scene, again, patient};

#[tokio::test]
async fn each_way_to_change_an_object_is_recorded_and_undone() {
    play(&CHANGES).await;
}

#[tokio::test]
async fn each_way_to_apply_an_object_is_recorded_and_undone_with_its_field_owners() {
    play(&APPLIES).await;
}

#[tokio::test]
async fn each_way_to_change_a_deployment_is_recorded_and_undone() {
    play(&DEPLOYMENTS).await;
}

const MAP: &str =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: a}}, data: {key: old, other: same}}";
const CHANGED: &str =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {tier: b}}, data: {key: new, more: x}}";
const APPLIED: &[Step] = &[Pipe("apply -f -", MAP)];
const ONCE: &[&str] = &["Update ConfigMap/a"];

const CHANGES: [Case; 10] = [
    case("put", APPLIED, &[Do(|scene| Box::pin(put(scene)))]).recorded(ONCE),
    case("replace", APPLIED, &[Pipe("replace -f -", CHANGED)]).recorded(ONCE),
    case("patch-json", APPLIED, &[Kubectl(PATCH_JSON)]).recorded(ONCE),
    case("patch-merge", APPLIED, &[Kubectl(PATCH_MERGE)]).recorded(ONCE),
    case(
        "patch-strategic",
        APPLIED,
        &[Kubectl(r#"patch configmap a --type=strategic -p {"data":{"key":"new"}}"#)],
    )
    .recorded(ONCE),
    case("edit", APPLIED, &[Do(|scene| Box::pin(edit(scene)))]).recorded(ONCE),
    case("label", APPLIED, &[Kubectl("label --overwrite configmap a app- tier=b")]).recorded(ONCE),
    case("annotate", APPLIED, &[Kubectl("annotate configmap a example.com/why=because")]).recorded(ONCE),
    case(
        "label-all",
        &[Pipe("apply -f -", MAP), Kubectl("create configmap b --from-literal=a=b")],
        &[Kubectl("label configmap --all=true tier=b")],
    )
    .recorded(&["Update ConfigMap/a", "Update ConfigMap/b", "Update ConfigMap/kube-root-ca.crt"]),
    case(
        "several",
        APPLIED,
        &[
            Kubectl("label configmap a one=1"),
            By(BOB, "apply --server-side --force-conflicts -f -", BOBS),
            Controller("ConfigMap/a", r#"{"metadata": {"annotations": {"example.com/seen": "1"}}}"#),
            Pipe("apply --server-side --force-conflicts -f -", CHANGED),
            By(BOB, "annotate configmap a by=bob", ""),
            Controller("ConfigMap/a", r#"{"metadata": {"annotations": {"example.com/seen": "2"}}}"#),
            Kubectl(r#"patch configmap a --type=merge -p {"data":{"key":"last"}}"#),
        ],
    )
    .recorded(&["Update ConfigMap/a"; 6])
    .differs(&["ConfigMap/a metadata annotations example.com/seen", "ConfigMap/a metadata managedFields"]),
];

const PATCH_JSON: &str = concat!(
    r#"patch configmap a --type=json -p [{"op":"replace","path":"/data/key","value":"new"},"#,
    r#"{"op":"remove","path":"/data/other"}]"#
);
const PATCH_MERGE: &str =
    r#"patch configmap a --type=merge -p {"data":{"key":null,"more":"x"},"metadata":{"labels":null}}"#;
const BOBS: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {key: of bob, bob: '1'}}";

async fn put(scene: &Scene) -> Result<()> {
    let maps = scene.api(ALICE, "ConfigMap").await?;
    let mut map = maps.get("a").await?;
    map.data = json!({"data": {"key": "new"}});
    patient("it", async || maps.replace("a", &PostParams::default(), &map).await).await.map(drop)
}

async fn edit(scene: &Scene) -> Result<()> {
    let editor = scene.home.stage.cluster.dir().join("editor.sh");
    std::fs::write(&editor, "sed -i 's/key: old/key: new/' \"$1\"\n")?;
    let output = again(async || {
        let kubectl = scene.home.stage.cluster.kubectl().user(ALICE);
        let kubectl = kubectl.env("KUBE_EDITOR", format!("sh {}", editor.display()));
        kubectl.run(&["-n", &scene.home.name, "edit", "configmap", "a"]).await
    });
    output.await?.success().map(drop)
}

const APPLIES: [Case; 7] = [
    case("client-side", APPLIED, &[Pipe("apply -f -", CHANGED)]).recorded(ONCE),
    case(
        "server-side",
        &[Pipe("apply --server-side -f -", MAP)],
        &[Pipe("apply --server-side -f -", CHANGED)],
    )
    .recorded(ONCE)
    .afterwards(&[Pipe("apply --server-side -f -", CHANGED)]),
    case(
        "conflict",
        &[Pipe("apply --server-side -f -", MAP)],
        &[
            Fails("apply --server-side --field-manager=other -f -", CHANGED, "conflict"),
            Pipe("apply --server-side --field-manager=other --force-conflicts -f -", CHANGED),
        ],
    )
    .recorded(ONCE)
    .afterwards(&[
        Pipe("apply --server-side -f -", CHANGED),
        Fails("apply --server-side --field-manager=other -f -", MAP, "conflict"),
    ]),
    case(
        "shared",
        &[Pipe("apply --server-side -f -", MAP), Pipe("apply --server-side --field-manager=other -f -", MAP)],
        &[Pipe("apply --server-side --force-conflicts -f -", CHANGED)],
    )
    .afterwards(&[Fails("apply --server-side -f -", CHANGED, "other")]),
    // A move of fields from one manager to another without a change of content leaves no record: it stays.
    case("to-server-side", APPLIED, &[Pipe("apply --server-side -f -", CHANGED)])
        .differs(&["ConfigMap/a metadata managedFields"])
        .afterwards(&[Pipe("apply --server-side -f -", CHANGED)]),
    case("to-client-side", &[Pipe("apply --server-side -f -", MAP)], &[Pipe("apply -f -", CHANGED)])
        .afterwards(&[Pipe("apply --server-side -f -", CHANGED)]),
    case(
        "there-and-back",
        APPLIED,
        &[
            Pipe("apply --server-side -f -", CHANGED),
            Pipe("apply --server-side=false -f -", MAP),
            Pipe("apply --server-side -f -", CHANGED),
        ],
    )
    .differs(&["ConfigMap/a metadata managedFields"])
    .afterwards(&[Pipe("apply --server-side -f -", CHANGED), Pipe("apply -f -", MAP)]),
];

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'registry.example/ready:1', env: [{name: A, value: a}]}]}
";
pub(super) const DEPLOYED: &[Step] = &[Pipe("apply -f -", DEPLOYMENT)];
const WEB: &[&str] = &["Update Deployment/web"];

const DEPLOYMENTS: [Case; 8] = [
    // A scale does not show who owned the replicas: nobody does afterwards, and so nobody is in the way.
    case("scale", DEPLOYED, &[Kubectl("scale deployment/web --replicas=5")])
        .recorded(&["Scale Deployment/web"])
        .differs(&["Deployment/web metadata managedFields"])
        .afterwards(&[Pipe("apply --server-side -f -", DEPLOYMENT)]),
    case(
        "scale-twice",
        DEPLOYED,
        &[
            Kubectl("scale deployment/web --replicas=0"),
            Kubectl("annotate deployment/web a=b"),
            Kubectl("scale deployment/web --replicas=3"),
        ],
    )
    .recorded(&["Scale Deployment/web", "Update Deployment/web", "Scale Deployment/web"])
    .differs(&["Deployment/web metadata managedFields"]),
    case("set-image", DEPLOYED, &[Kubectl("set image deployment/web web=registry.example/missing:2")])
        .recorded(WEB),
    case("set-env", DEPLOYED, &[Kubectl("set env deployment/web A=z B=b")]).recorded(WEB),
    case(
        "set-resources",
        DEPLOYED,
        &[Kubectl("set resources deployment/web --limits=cpu=200m --requests=cpu=100m")],
    )
    .recorded(WEB),
    case(
        "rollout-undo",
        &[
            Pipe("apply -f -", DEPLOYMENT),
            Kubectl("rollout status deployment/web --timeout=60s"),
            Kubectl("set image deployment/web web=registry.example/ready:2"),
            Kubectl("annotate deployment/web kubernetes.io/change-cause=second"),
        ],
        &[Kubectl("rollout undo deployment/web")],
    )
    .recorded(WEB),
    case("rollout-restart", DEPLOYED, &[Kubectl("rollout restart deployment/web")]).recorded(WEB),
    case("rollout-pause", DEPLOYED, &[Kubectl("rollout pause deployment/web")]).recorded(WEB),
];
