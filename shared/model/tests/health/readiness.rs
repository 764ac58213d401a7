//! Readiness, kind by kind: what each rule lets through and what it holds back.

use backout_model::health::readiness;
use serde_json::{Value, json};

use crate::scenes::{check, condition, of, reason_of};

#[test]
fn deployments() {
    let available = condition("Available", "True", "MinimumReplicasAvailable");
    let settled = condition("Progressing", "True", "NewReplicaSetAvailable");
    let status = |replicas, updated, available_replicas, ready, conditions: &[&Value]| {
        json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": updated,
               "availableReplicas": available_replicas, "readyReplicas": ready, "conditions": conditions})
    };
    let spec = json!({"replicas": 2});
    let limited = json!({"replicas": 2, "progressDeadlineSeconds": 600});
    let all: &[&Value] = &[&settled, &available];
    check(
        "apps/v1",
        "Deployment",
        &[
            (limited.clone(), status(2, 2, 2, 2, all), "Current"),
            (spec.clone(), status(2, 2, 2, 2, &[&available]), "Current"),
            (json!({"replicas": 0}), json!({"observedGeneration": 1, "conditions": [&available]}), "Current"),
            (json!({}), status(1, 1, 1, 1, &[&available]), "Current"),
            (json!({"paused": true}), json!({"observedGeneration": 1}), "Suspended"),
            (spec.clone(), json!({}), "LessReplicas"),
            (spec.clone(), status(2, 1, 2, 2, all), "LessUpdated"),
            (spec.clone(), status(3, 2, 2, 2, all), "ExtraPods"),
            (spec.clone(), status(2, 2, 1, 2, all), "LessAvailable"),
            (spec.clone(), status(2, 2, 2, 1, all), "LessReady"),
            (limited, status(2, 2, 2, 2, &[&available]), "ReplicaSetNotAvailable"),
            (spec.clone(), status(2, 2, 2, 2, &[&settled]), "DeploymentNotAvailable"),
            (
                spec.clone(),
                status(2, 1, 1, 1, &[&condition("Progressing", "False", "ProgressDeadlineExceeded")]),
                "ProgressDeadlineExceeded",
            ),
            (
                spec,
                status(2, 1, 1, 1, &[&condition("Progressing", "False", "ReplicaSetCreateError")]),
                "ReplicaSetNotCreated",
            ),
        ],
    );
}

#[test]
fn replica_sets() {
    let status = |labelled, available, ready, replicas, failure| {
        json!({"observedGeneration": 1, "fullyLabeledReplicas": labelled, "availableReplicas": available,
               "readyReplicas": ready, "replicas": replicas,
               "conditions": [condition("ReplicaFailure", failure, "FailedCreate")]})
    };
    let spec = json!({"replicas": 2});
    check(
        "apps/v1",
        "ReplicaSet",
        &[
            (spec.clone(), status(2, 2, 2, 2, "False"), "Current"),
            (spec.clone(), json!({}), "LessLabelled"),
            (spec.clone(), status(2, 1, 2, 2, "False"), "LessAvailable"),
            (spec.clone(), status(2, 2, 1, 2, "False"), "LessReady"),
            (spec.clone(), status(2, 2, 2, 3, "False"), "ExtraPods"),
            (spec, status(2, 2, 2, 2, "True"), "ReplicaFailure"),
        ],
    );
}

#[test]
fn stateful_sets() {
    let status = |replicas, ready, updated, available| {
        json!({"observedGeneration": 1, "replicas": replicas, "readyReplicas": ready, "updatedReplicas": updated,
               "availableReplicas": available})
    };
    let spec = json!({"replicas": 4});
    let part =
        |partition| json!({"replicas": 4, "updateStrategy": {"rollingUpdate": {"partition": partition}}});
    check(
        "apps/v1",
        "StatefulSet",
        &[
            (spec.clone(), status(4, 4, 4, 0), "Current"),
            (part(3), status(4, 4, 1, 0), "Current"),
            (part(9), status(4, 4, 0, 0), "Current"),
            (json!({"updateStrategy": {"type": "OnDelete"}}), json!({}), "Current"),
            (spec.clone(), json!({}), "NoObservedGeneration"),
            (spec.clone(), status(3, 3, 3, 0), "LessReplicas"),
            (spec.clone(), status(4, 3, 4, 0), "LessReady"),
            (spec.clone(), status(5, 5, 4, 0), "ExtraPods"),
            (spec, status(4, 4, 3, 0), "PartitionRollout"),
            (part(2), status(4, 4, 1, 0), "PartitionRollout"),
            (json!({"replicas": 1, "minReadySeconds": 10}), status(1, 1, 1, 0), "LessAvailable"),
        ],
    );
}

#[test]
fn daemon_sets() {
    let status = |current, updated, available, ready| {
        json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": current,
               "updatedNumberScheduled": updated, "numberAvailable": available, "numberReady": ready})
    };
    check(
        "apps/v1",
        "DaemonSet",
        &[
            (json!({}), status(2, 2, 2, 2), "Current"),
            (json!({"updateStrategy": {"type": "OnDelete"}}), json!({}), "Current"),
            (json!({}), json!({}), "NoObservedGeneration"),
            (json!({}), json!({"observedGeneration": 1}), "NoDesiredNumber"),
            (json!({}), status(1, 2, 2, 2), "LessCurrent"),
            (json!({}), status(2, 1, 2, 2), "LessUpdated"),
            (json!({}), status(2, 2, 1, 2), "LessAvailable"),
            (json!({}), status(2, 2, 2, 1), "LessReady"),
        ],
    );
}

#[test]
fn pods() {
    let ready = json!([condition("Ready", "True", "")]);
    check(
        "v1",
        "Pod",
        &[
            (json!({}), json!({}), "PodNotObserved"),
            (json!({}), json!({"phase": "Pending"}), "PodPending"),
            (json!({}), json!({"phase": "Running"}), "PodRunningNotReady"),
            (json!({}), json!({"phase": "Running", "conditions": ready}), "Current"),
            (json!({}), json!({"phase": "Succeeded"}), "Current"),
            (json!({}), json!({"phase": "Failed", "reason": "Evicted"}), "PodFailed"),
            (json!({}), json!({"phase": "Dreaming"}), "Unknown"),
        ],
    );
}

#[test]
fn jobs() {
    let with =
        |type_| json!({"startTime": "2026-11-22T22:00:00Z", "conditions": [condition(type_, "True", "Why")]});
    check(
        "batch/v1",
        "Job",
        &[
            (json!({}), json!({}), "JobNotStarted"),
            (json!({}), json!({"startTime": "2026-11-22T22:00:00Z", "active": 1}), "JobInProgress"),
            (json!({}), with("Complete"), "Current"),
            (json!({}), with("Failed"), "JobFailed"),
            (json!({}), with("FailureTarget"), "JobFailed"),
            (json!({"suspend": true}), json!({}), "Suspended"),
        ],
    );
}

#[test]
fn volume_claims() {
    let phase = |phase: &str| json!({"phase": phase});
    check(
        "v1",
        "PersistentVolumeClaim",
        &[
            (json!({}), json!({}), "NotBound"),
            (json!({}), phase("Pending"), "NotBound"),
            (json!({}), phase("Bound"), "Current"),
            (json!({}), phase("Lost"), "VolumeLost"),
        ],
    );
}

#[test]
fn services() {
    let balanced = json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"});
    check(
        "v1",
        "Service",
        &[
            (json!({"type": "ClusterIP"}), json!({}), "Current"),
            (json!({"type": "ExternalName"}), json!({}), "Current"),
            (json!({"type": "LoadBalancer"}), json!({}), "NoIPAssigned"),
            (balanced.clone(), json!({"loadBalancer": {}}), "Current"),
        ],
    );
    let before = of("v1", "Service", &balanced, &json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}));
    let now = of("v1", "Service", &balanced, &json!({"loadBalancer": {}}));
    assert_eq!(reason_of(&readiness(&now, Some(&before))), "NoIngressAssigned");
}

#[test]
fn definitions() {
    let with = |conditions: &[Value]| json!({"conditions": conditions});
    let accepted = condition("NamesAccepted", "True", "NoConflicts");
    check(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &[
            (json!({}), json!({}), "Installing"),
            (
                json!({}),
                with(&[accepted.clone(), condition("Established", "False", "Installing")]),
                "Installing",
            ),
            (
                json!({}),
                with(&[accepted.clone(), condition("Established", "False", "NotAccepted")]),
                "DefinitionRefused",
            ),
            (json!({}), with(&[condition("NamesAccepted", "False", "Conflict")]), "DefinitionRefused"),
            (
                json!({}),
                with(&[accepted, condition("Established", "True", "InitialNamesAccepted")]),
                "Current",
            ),
        ],
    );
}
