//! What others have changed meanwhile survives, and the deployer's next apply meets no conflict.

use super::case::{
    Case, Step,
    Step::{Controller, Fails, Manager, Pipe},
    case, play,
};

#[tokio::test]
async fn what_others_changed_meanwhile_survives_a_rollback_and_is_in_nobodys_way() {
    play(&SURVIVING).await;
}

#[tokio::test]
async fn where_others_changed_what_the_release_changed_the_state_before_wins_and_that_is_told() {
    play(&CONTESTED).await;
}

macro_rules! web {
    ($image:literal, $more:literal, $annotations:literal) => {
        concat!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {",
            $annotations,
            "}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: registry.example/",
            $image,
            "
",
            $more
        )
    };
}

const OLD: &str = web!("ready:1", "        env: [{name: A, value: a}]\n", "");
/// The bad version touches each list that others add to.
const NEW: &str = web!(
    "missing:2",
    "        env: [{name: A, value: b}, {name: B, value: b}]
        ports: [{containerPort: 80}]
        volumeMounts: [{name: own, mountPath: /own}]
      - {name: helper, image: registry.example/ready}
      volumes: [{name: own, emptyDir: {}}]
",
    "own: new"
);
const BEFORE: &[Step] = &[Pipe("apply --server-side -f -", OLD)];
const CHANGE: &[Step] = &[Pipe("apply --server-side -f -", NEW)];
/// Without --force-conflicts, after the rollback.
const AGAIN: &[Step] = &[Pipe("apply --server-side -f -", OLD), Pipe("apply --server-side -f -", NEW)];

const OWNERS: &str = "Deployment/web metadata managedFields";
const CONTAINERS: &str = "Deployment/web spec template spec containers";

const SURVIVING: [Case; 12] = [
    case("replicas", BEFORE, CHANGE)
        .meanwhile(&[Controller("Deployment/web", r#"{"spec": {"replicas": 4}}"#)])
        .differs(&[OWNERS, "Deployment/web spec replicas"])
        .afterwards(AGAIN),
    case("annotation", BEFORE, CHANGE)
        .meanwhile(&[Controller("Deployment/web", r#"{"metadata": {"annotations": {"example.com/seen": "yes"}}}"#)])
        .differs(&["Deployment/web metadata annotations", OWNERS])
        .afterwards(AGAIN),
    case("label-of-others", BEFORE, CHANGE)
        .meanwhile(&[Manager("labeller", "Deployment/web", r#"{"metadata": {"labels": {"team": "red"}}}"#)])
        .differs(&["Deployment/web metadata labels team", OWNERS])
        .afterwards(AGAIN),
    case("sidecar", BEFORE, CHANGE)
        .meanwhile(&[Manager("mesh", "Deployment/web",
            r#"{"spec": {"template": {"spec": {"containers": [{"name": "mesh", "image": "registry.example/ready:9"}]}}}}"#)])
        .differs(&[OWNERS, CONTAINERS])
        .afterwards(AGAIN),
    case("variable", BEFORE, CHANGE)
        .meanwhile(&[Manager("tracing", "Deployment/web",
            r#"{"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "TRACE", "value": "1"}]}]}}}}"#)])
        .differs(&[OWNERS, CONTAINERS])
        .afterwards(AGAIN),
    case("port", BEFORE, CHANGE)
        .meanwhile(&[Manager("metrics", "Deployment/web",
            r#"{"spec": {"template": {"spec": {"containers": [{"name": "web", "ports": [{"containerPort": 9090, "protocol": "TCP"}]}]}}}}"#)])
        .differs(&[OWNERS, CONTAINERS])
        .afterwards(AGAIN),
    case("volume", BEFORE, CHANGE)
        .meanwhile(&[Manager("vault", "Deployment/web",
            r#"{"spec": {"template": {"spec": {"volumes": [{"name": "vault", "emptyDir": {}}], "containers": [{"name": "web", "volumeMounts": [{"name": "vault", "mountPath": "/vault"}]}]}}}}"#)])
        .differs(&[OWNERS, CONTAINERS, "Deployment/web spec template spec volumes"])
        .afterwards(AGAIN),
    case("authority-in-secret", &[Pipe("apply --server-side -f -", SECRET)], &[Pipe("apply --server-side -f -", CHANGED_SECRET)])
        .meanwhile(&[Manager("cert-manager-cainjector", "Secret/a", r#"{"data": {"ca.crt": "Y2E="}}"#)])
        .differs(&["Secret/a data ca.crt", "Secret/a metadata managedFields"])
        .afterwards(&[Pipe("apply --server-side -f -", SECRET)]),
    case("authority-in-resource", &[Pipe("apply --server-side -f -", WIDGET)], &[Pipe("apply --server-side -f -", CHANGED_WIDGET)])
        .meanwhile(&[Controller("Widget/a", r#"{"spec": {"caBundle": "Y2E="}}"#)])
        .differs(&["Widget/a metadata managedFields", "Widget/a spec caBundle"])
        .afterwards(&[Pipe("apply --server-side -f -", WIDGET)]),
    case("finalizer", &[Pipe("apply --server-side -f -", WIDGET)], &[Pipe("apply --server-side -f -", CHANGED_WIDGET)])
        .meanwhile(&[Controller("Widget/a", r#"{"metadata": {"finalizers": ["example.com/held"]}}"#)])
        .differs(&["Widget/a metadata finalizers", "Widget/a metadata managedFields"])
        .afterwards(&[
            Pipe("apply --server-side -f -", WIDGET),
            Controller("Widget/a", r#"{"metadata": {"finalizers": null}}"#),
        ]),
    case("owner", &[Pipe("apply --server-side -f -", WIDGET)], &[Pipe("apply --server-side -f -", CHANGED_WIDGET)])
        .meanwhile(&[Step::Do(|scene| Box::pin(super::hurdles::adopt(scene, "Widget/a")))])
        .differs(&["Widget/a metadata managedFields", "Widget/a metadata ownerReferences"])
        .afterwards(&[Pipe("apply --server-side -f -", WIDGET)]),
    // Whoever took the fields that the release left alone keeps them.
    case("taken-over", &[Pipe("apply --server-side -f -", SECRET)], &[Pipe("apply --server-side -f -", CHANGED_SECRET)])
        .meanwhile(&[Manager("rotator", "Secret/a", r#"{"data": {"kept": "cm90YXRlZA=="}}"#)])
        .differs(&["Secret/a data kept", "Secret/a metadata managedFields"])
        .afterwards(&[Fails("apply --server-side -f -", SECRET, "rotator")]),
];

const SECRET: &str = "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {kept: YQ==, key: YQ==}}";
const CHANGED_SECRET: &str =
    "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {kept: YQ==, key: Yg==, new: Yg==}}";
const WIDGET: &str =
    "{apiVersion: demo.example/v1, kind: Widget, metadata: {name: a}, spec: {colour: green}}";
const CHANGED_WIDGET: &str =
    "{apiVersion: demo.example/v1, kind: Widget, metadata: {name: a, labels: {a: b}}, spec: {colour: red}}";

const CONTESTED: [Case; 2] = [
    case("contested", &[Pipe("apply --server-side -f -", WIDGET)], &[Pipe("apply --server-side -f -", CHANGED_WIDGET)])
        .meanwhile(&[Controller("Widget/a", r#"{"spec": {"colour": "blue"}}"#)])
        .told(&["Widget/a: Rolled back fields that were changed by someone else too, after the release had changed them: spec.colour"])
        .afterwards(&[Pipe("apply --server-side -f -", WIDGET)]),
    case("contested-by-force", BEFORE, CHANGE)
        .meanwhile(&[Manager("other", "Deployment/web",
            r#"{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.example/ready:7"}]}}}}"#)])
        .differs(&[OWNERS])
    .told(&["Deployment/web: Rolled back fields that were changed by someone else too, after the release had changed them: spec.template.spec.containers[name=web].image"])
        .afterwards(AGAIN),
];
