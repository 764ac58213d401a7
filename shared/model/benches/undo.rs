//! What undoing one record costs, for a Deployment of ordinary size.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot begin fails")]

use std::{hint::black_box, sync::Arc};

use backout_model::{
    names,
    object::{ObjectKey, ObjectRef},
    undo::{
        merge, ownership,
        schema::{Document, Schemas},
    },
};
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Map, Value, json};

fn container(name: &str, tag: &str) -> Value {
    let env: Vec<_> =
        (0..12).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-{n}")})).collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10,
                       "failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1});
    json!({
        "name": name, "image": format!("registry.example.com/shop/{name}:{tag}"), "imagePullPolicy": "IfNotPresent",
        "args": ["--port", "8080", "--log", "info"], "env": env,
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"},
                  {"containerPort": 9090, "name": "metrics", "protocol": "TCP"}],
        "livenessProbe": probe, "readinessProbe": probe,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "config", "mountPath": "/etc/shop"}],
        "securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    })
}

fn owned(names: [&str; 2]) -> Map<String, Value> {
    let fields = ["name", "image", "args", "imagePullPolicy", "livenessProbe", "readinessProbe", "resources"];
    let container: Map<_, _> = fields.iter().map(|field| (format!("f:{field}"), json!({}))).collect();
    names.iter().map(|name| (format!("k:{{\"name\":\"{name}\"}}"), json!(container))).collect()
}

fn deployment(tag: &str, undo: &str, time: &str) -> Value {
    let containers = owned(["app", "proxy"]);
    let managed = json!([{
        "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": time, "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}},
                     "f:spec": {"f:template": {"f:spec": {"f:containers": containers}}}},
    }]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "b1d0d5e4", "resourceVersion": "812", "generation": 3,
            "labels": {"app": "web", names::RELEASE: "shop", names::REVISION: "6", names::UNDO: undo},
            "annotations": {"deployment.kubernetes.io/revision": "3"}, "managedFields": managed,
        },
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [container("app", tag), container("proxy", "2")],
                    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "config", "configMap": {"name": "shop"}}],
                    "serviceAccountName": "web", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                },
            },
        },
        "status": {"replicas": 3, "readyReplicas": 3, "observedGeneration": 3},
    })
}

fn benches(c: &mut Criterion) {
    let before = deployment("6", "u-6", "t1");
    let mut after = deployment("7", "u-7", "t2");
    after["spec"]["template"]["spec"]["containers"][0]["env"][3]["value"] = json!("changed");
    let mut live = after.clone();
    live["spec"]["replicas"] = json!(8);
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("4");
    live["spec"]["template"]["spec"]["containers"][0]["env"][5]["value"] = json!("theirs");

    let document = Document::parse(include_bytes!("../tests/fixtures/openapi/apps_v1.json")).unwrap();
    let mut schemas = Schemas::default();
    schemas.insert("apps/v1".to_owned(), Arc::new(document));
    let key = ObjectKey {
        group: "apps".to_owned(),
        resource: "deployments".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "web".to_owned(),
    };
    let object = ObjectRef { key, version: "v1".to_owned(), kind: "Deployment".to_owned() };
    c.bench_function("three-way undo", |b| {
        b.iter(|| {
            merge::undo(
                black_box(&live),
                black_box(&before),
                black_box(&after),
                schemas.of(black_box(&object)),
            )
        });
    });
    c.bench_function("field ownership", |b| {
        b.iter(|| ownership::restored(black_box(&live), black_box(&before), Some(black_box(&after))));
    });
}

criterion_group!(undo, benches);
criterion_main!(undo);
