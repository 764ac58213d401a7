//! What the webhook adds to a write: from the bytes of the request to those of the answer, and the record.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has nothing to tell")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use backout_model::{
    admission::{Answer, Decision, Recording, Triage, answer, parse, triage},
    identity::Deployers,
    undo::codec::Encoded,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// As `kubectl apply` sends it for a Deployment of one container with the usual trimmings.
fn deployment(image: &str, version: &str) -> Value {
    let spec = json!({
        "replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "selector": {"matchLabels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "shop"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "shop"},
                         "annotations": {"checksum/config": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}},
            "spec": {"containers": [{
                "name": "web", "image": image, "imagePullPolicy": "IfNotPresent",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": (0..12).map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value of setting {i}")})).collect::<Vec<_>>(),
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}],
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "serviceAccountName": "web", "securityContext": {"runAsNonRoot": true}, "schedulerName": "default-scheduler"}}});
    let owned: Value = (0..12)
        .map(|i| (format!("k:{{\"name\":\"SETTING_{i}\"}}"), json!({".": {}, "f:name": {}, "f:value": {}})))
        .collect();
    let managed = json!({"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}, "f:labels": {".": {}, "f:app.kubernetes.io/name": {}}},
        "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:env": owned, "f:image": {}, "f:ports": {}, "f:resources": {}}}}}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "3b2f6e0a-6a41-4a0e-8f52-1d6c6a1f0a55", "resourceVersion": version, "generation": 7,
            "creationTimestamp": "2026-10-01T12:00:00Z",
            "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "shop", "app.kubernetes.io/version": "1.4.2",
                       "backout.dev/release": "shop", "backout.dev/revision": "6", "backout.dev/undo": "u-0123456789012345678901234567890123456789"},
            "annotations": {"deployment.kubernetes.io/revision": "6", "kubectl.kubernetes.io/last-applied-configuration": spec.to_string()},
            "managedFields": [{"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-10-01T12:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": managed},
                              {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-10-01T12:00:05Z", "fieldsType": "FieldsV1", "subresource": "status", "fieldsV1": {"f:status": {"f:replicas": {}, "f:readyReplicas": {}}}}]},
        "spec": spec,
        "status": {"observedGeneration": 7, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
                   "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability.", "lastUpdateTime": "2026-10-01T12:00:00Z", "lastTransitionTime": "2026-10-01T12:00:00Z"}]}})
}

fn config_map(line: &str) -> Value {
    let lines: Vec<_> = (0..36_000).map(|i| format!("{i}: {line} {}\n", i * 7919 % 10_007)).collect();
    let text = lines.concat();
    let data: Value =
        [("a.conf", &text[..text.len() / 2]), ("b.conf", &text[text.len() / 2..])].into_iter().collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
           "metadata": {"name": "web", "namespace": "shop", "uid": "7f7e", "resourceVersion": "41"}})
}

fn review(plural: &str, old: &Value, new: &Value) -> Vec<u8> {
    let (group, kind) = if plural == "deployments" { ("apps", "Deployment") } else { ("", "ConfigMap") };
    let resource = json!({"group": group, "version": "v1", "resource": plural});
    let kind = json!({"group": group, "version": "v1", "kind": kind});
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "name": "web", "namespace": "shop", "operation": "UPDATE",
        "userInfo": {"username": "alice@example.com", "groups": ["developers", "system:authenticated"]},
        "object": new, "oldObject": old, "dryRun": false,
        "options": {"kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-client-side-apply", "fieldValidation": "Strict"}}})
    .to_string()
    .into_bytes()
}

fn recorded<T>(body: &[u8], look: impl FnOnce(Recording<'_>) -> T) -> T {
    let request = parse(body).unwrap();
    let Triage::Write(write) = triage(&request, &Deployers::default()).unwrap() else {
        panic!("not a write")
    };
    match write.decide(None) {
        Decision::Record(recording) => look(*recording),
        other => panic!("{other:?}"),
    }
}

fn decide(body: &[u8]) -> Vec<u8> {
    recorded(body, |recording| {
        let warning = recording.warning.as_ref().map(|warning| warning.text.as_str());
        let undo = Some(&recording.draft.name);
        answer("705ab4f5", Answer::Allow { patch: recording.patch.as_ref(), warning, undo })
    })
}

fn admission(criterion: &mut Criterion) {
    let bodies = [
        (
            "deployment",
            review("deployments", &deployment("web:1.4.2", "812"), &deployment("web:1.4.3", "812")),
        ),
        (
            "config map of 1 MiB",
            review("configmaps", &config_map("keep-alive is on"), &config_map("keep-alive is off")),
        ),
    ];
    for (name, body) in &bodies {
        let mut group = criterion.benchmark_group(*name);
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function("parse", |bencher| bencher.iter(|| black_box(parse(black_box(body)).unwrap())));
        group.bench_function("decide and answer", |bencher| {
            bencher.iter(|| black_box(decide(black_box(body))));
        });
        recorded(body, |recording| {
            let size = |secret: &Secret| {
                secret.data.iter().flat_map(|data| data.values()).map(|b| b.0.len()).sum::<usize>()
            };
            let Encoded { head, pieces, .. } = recording.draft.encode("backout-system");
            let stored: usize = pieces.iter().chain([&head]).map(size).sum();
            println!("{name}: request {} bytes, record {stored} bytes", body.len());
            group.bench_function("encode", |bencher| {
                bencher.iter(|| black_box(recording.draft.encode("backout-system")));
            });
        });
    }
}

criterion_group!(benches, admission);
criterion_main!(benches);
