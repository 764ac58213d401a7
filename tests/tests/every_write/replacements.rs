//! Objects that the failing release replaces by others of the same name.

use anyhow::{Context as _, Result};
use serde_json::json;
use system_tests::User;

use super::case::{
    Case, Step,
    Step::{Do, Kubectl, Pipe},
    case, play,
};
use super::scene::{ALICE, Scene};

#[tokio::test]
async fn an_object_that_was_replaced_by_another_comes_back() {
    play(&REPLACED).await;
}

const OLD: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {key: old}}";
const NEW: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {key: new}}";
const CONSTANT: &str =
    "{apiVersion: v1, kind: ConfigMap, immutable: true, metadata: {name: a}, data: {key: old}}";
const CHANGED: &str =
    "{apiVersion: v1, kind: ConfigMap, immutable: true, metadata: {name: a}, data: {key: new}}";
const MAP: &[&str] = &["ConfigMap/a"];
const TWICE: &[&str] = &["Delete ConfigMap/a", "Create ConfigMap/a"];
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
";
const SERVED: &[Step] = &[Pipe("apply -f -", SERVICE)];

const REPLACED: [Case; 9] = [
    case("again", &[Pipe("apply -f -", OLD)], &[Kubectl("delete configmap a"), Pipe("apply -f -", NEW)])
        .recorded(TWICE)
        .anew(MAP),
    case("again-and-changed", &[Pipe("apply -f -", OLD)], &[
        Kubectl("delete configmap a"),
        Pipe("apply --server-side -f -", OLD),
        Kubectl("delete configmap a"),
        Pipe("apply -f -", NEW),
        Kubectl("label configmap a b=c"),
    ]).anew(MAP),
    case("replace-force", &[Pipe("apply -f -", OLD)], &[Pipe("replace --force -f -", NEW)]).recorded(TWICE).anew(MAP),
    case("immutable", &[Pipe("apply -f -", CONSTANT)], &[Pipe("replace --force -f -", CHANGED)])
        .recorded(TWICE)
        .anew(MAP),
    // There is no way back from immutable but by a new object.
    case("made-immutable", &[Pipe("apply -f -", OLD)], &[Pipe("apply -f -", CHANGED)])
        .recorded(&["Update ConfigMap/a"])
        .anew(MAP),
    case("helm-force", &[Do(|scene| Box::pin(install(scene)))], &[Do(|scene| Box::pin(force(scene)))]).of("web"),
    case("service", SERVED, &[Kubectl("delete service web"), Pipe("apply -f -", SERVICE)])
        .recorded(&["Delete Service/web", "Create Service/web"])
        .anew(&["Service/web"]),
    case("service-type", SERVED, &[
        Kubectl(r#"patch service web --type=merge -p {"spec":{"type":"ExternalName","externalName":"x.example"}}"#),
    ]).recorded(&["Update Service/web"]),
    case("address-taken", SERVED, &[Do(|scene| Box::pin(take_address(scene)))])
        .anew(&["Service/web"])
        .differs(&["Service/web spec clusterIP", "Service/web spec clusterIPs"])
        .unrestored(&[("Service/web", "could not be had again: it has others now")]),
];

async fn install(scene: &Scene) -> Result<()> {
    scene.home.helm(&["install", "web", "./web"]).await?.success().map(drop)
}

async fn force(scene: &Scene) -> Result<()> {
    let upgrade =
        ["upgrade", "web", "./web", "--force-replace", "--server-side=false", "--set", "greeting=bye"];
    scene.home.helm(&upgrade).await?.success().map(drop)
}

/// The Service is deleted, and another one gets its address.
async fn take_address(scene: &Scene) -> Result<()> {
    let services = scene.api(ALICE, "Service").await?;
    let address = services.get("web").await?.data["spec"]["clusterIP"].clone();
    scene.all(&[Kubectl("delete service web")]).await?;
    let thief = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": scene.home.name},
        "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    let elsewhere = scene.home.stage.cluster.kubectl().user(User::Admin).stdin(thief.to_string());
    elsewhere
        .run(&["-n", "default", "create", "-f", "-"])
        .await?
        .success()
        .context("the address is not free")?;
    Ok(())
}
