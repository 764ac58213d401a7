//! Objects that the failing release deletes.

use anyhow::Result;
use kube::api::{DeleteParams, ListParams};

use super::case::{
    Case, Step,
    Step::{Do, Kubectl, Pipe},
    case, play,
};
use super::scene::{ALICE, Scene, patient};
use super::updates::DEPLOYED;

#[tokio::test]
async fn each_way_to_delete_an_object_is_recorded_and_the_object_comes_back() {
    play(&DELETED).await;
}

const TWO: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {app: x}}
data: {key: a}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {app: x}}
data: {key: b}
";
const ONE: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: x}}, data: {key: a}}";
/// The members of an `ApplySet` are a release of its name, unless they are said to be of another.
const SET_OF_TWO: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {backout.dev/release-name: set}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {backout.dev/release-name: set}}
";
const SET_OF_ONE: &str =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {backout.dev/release-name: set}}}";
const APPLIED: &[Step] = &[Pipe("apply -f -", TWO)];
const BOTH: &[&str] = &["Delete ConfigMap/a", "Delete ConfigMap/b"];
const MAPS: &[&str] = &["ConfigMap/a", "ConfigMap/b"];

const DELETED: [Case; 11] = [
    case("delete", APPLIED, &[Kubectl("delete configmap a")])
        .recorded(&["Delete ConfigMap/a"])
        .anew(&["ConfigMap/a"])
        .told(&["ConfigMap/a: Created again as it was before the release; its uid is a new one"]),
    case("delete-now", APPLIED, &[Kubectl("delete configmap a b --now --wait=false")])
        .recorded(BOTH)
        .anew(MAPS),
    case("delete-selected", APPLIED, &[Kubectl("delete configmap -l app=x")]).recorded(BOTH).anew(MAPS),
    // One of the cluster's own is among them, which its controller creates again at once.
    case("delete-all", APPLIED, &[Kubectl("delete configmap --all")])
        .recorded(&["Delete ConfigMap/a", "Delete ConfigMap/b", "Delete ConfigMap/kube-root-ca.crt"])
        .anew(&["ConfigMap/a", "ConfigMap/b", "ConfigMap/kube-root-ca.crt"]),
    case("delete-collection", APPLIED, &[Do(|scene| Box::pin(collection(scene)))]).anew(MAPS),
    case("update-and-delete", APPLIED, &[Kubectl("label configmap a b=c"), Kubectl("delete configmap a")])
        .recorded(&["Update ConfigMap/a", "Delete ConfigMap/a"])
        .anew(&["ConfigMap/a"]),
    case("prune", APPLIED, &[Pipe("apply --prune -l app=x --prune-allowlist=core/v1/ConfigMap -f -", ONE)])
        .recorded(&["Delete ConfigMap/b"])
        .anew(&["ConfigMap/b"]),
    case(
        "apply-set",
        &[Pipe("apply --prune --applyset=set -f -", SET_OF_TWO)],
        &[Pipe("apply --prune --applyset=set -f -", SET_OF_ONE)],
    )
    .of("set")
    .anew(&["ConfigMap/b"]),
    case("background", DEPLOYED, &[Kubectl("delete deployment web")]).recorded(WEB).anew(&["Deployment/web"]),
    case("foreground", DEPLOYED, &[Kubectl("delete deployment web --cascade=foreground")])
        .recorded(WEB)
        .anew(&["Deployment/web"]),
    // The pods never notice: the new Deployment adopts what the old one left.
    case("orphan", DEPLOYED, &[Kubectl("delete deployment web --cascade=orphan")])
        .recorded(WEB)
        .anew(&["Deployment/web"])
        .afterwards(&[Do(|scene| Box::pin(one_set(scene)))]),
];

const WEB: &[&str] = &["Delete Deployment/web"];
async fn collection(scene: &Scene) -> Result<()> {
    let maps = scene.api(ALICE, "ConfigMap").await?;
    let selected = ListParams::default().labels("app=x");
    patient("it", async || maps.delete_collection(&DeleteParams::default(), &selected).await).await.map(drop)
}

async fn one_set(scene: &Scene) -> Result<()> {
    let owners = "get replicasets -l app=web -o jsonpath={.items[*].metadata.ownerReferences[*].kind}";
    scene.until(owners, |owners| owners == "Deployment").await
}
