//! Objects that the failing release creates.

use super::case::{
    Case,
    Step::{Kubectl, Pipe},
    case, play,
};

#[tokio::test]
async fn whatever_creates_an_object_the_object_is_recorded_and_taken_down() {
    play(&CREATED).await;
}

const NAMELESS: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {generateName: made-}, data: {a: b}}";
const MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}";
const ALSO: &[super::case::Step] = &[Kubectl("create configmap old --from-literal=a=b")];

const CREATED: [Case; 4] = [
    case(
        "create",
        ALSO,
        &[
            Kubectl("create configmap new --from-literal=a=b"),
            Kubectl("create secret generic new --from-literal=a=b"),
        ],
    )
    .recorded(&["Create ConfigMap/new", "Create Secret/new"]),
    case("first-install", &[], &[Pipe("apply --server-side -f -", MAP), Kubectl("label configmap a b=c")])
        .recorded(&["Create ConfigMap/a", "Update ConfigMap/a"]),
    case("generate-name", ALSO, &[Pipe("create -f -", NAMELESS), Pipe("create -f -", NAMELESS)])
        .recorded(&["Create ConfigMap/made-", "Create ConfigMap/made-"]),
    case("create-and-delete", ALSO, &[Pipe("apply -f -", MAP), Kubectl("delete configmap a")])
        .recorded(&["Create ConfigMap/a", "Delete ConfigMap/a"]),
];
