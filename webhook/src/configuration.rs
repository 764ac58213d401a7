//! The webhook's registration with the API server, made of the model's tables.

use std::collections::BTreeMap;

use backout_model::{
    identity::{Deployers, match_conditions, match_conditions_of_cluster},
    names,
};
use k8s_openapi::{
    api::admissionregistration::v1::{
        MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
        WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
};

/// Webhooks run in the order of their configurations' names: late, so as to see what others make of an object.
pub const NAME: &str = "zz-backout";

/// Time for the API server to wait: far more than a record takes, far less than the 34 s of a request.
const TIMEOUT_SECONDS: i32 = 5;

/// The configuration under which the API server calls the webhook in namespace `backout-system`: for objects in
/// namespaces that opted in, and for cluster-scoped ones with the mark of a release.
pub fn configuration(deployers: &Deployers) -> MutatingWebhookConfiguration {
    MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "backout".to_owned())])),
            ..ObjectMeta::default()
        },
        webhooks: Some(vec![
            MutatingWebhook {
                name: "record.backout.dev".to_owned(),
                rules: Some(vec![rule("Namespaced")]),
                namespace_selector: Some(namespaces()),
                match_conditions: Some(match_conditions(deployers)),
                ..entry()
            },
            MutatingWebhook {
                name: "cluster.record.backout.dev".to_owned(),
                rules: Some(vec![rule("Cluster")]),
                match_conditions: Some(match_conditions_of_cluster(deployers)),
                ..entry()
            },
        ]),
    }
}

/// What all entries have in common.
fn entry() -> MutatingWebhook {
    MutatingWebhook {
        admission_review_versions: vec!["v1".to_owned()],
        client_config: WebhookClientConfig {
            service: Some(ServiceReference {
                name: "backout-webhook".to_owned(),
                namespace: "backout-system".to_owned(),
                path: Some("/admit".to_owned()),
                port: Some(443),
            }),
            ..WebhookClientConfig::default()
        },
        match_policy: Some("Equivalent".to_owned()),
        failure_policy: Some("Fail".to_owned()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        side_effects: "NoneOnDryRun".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..MutatingWebhook::default()
    }
}

fn rule(scope: &str) -> RuleWithOperations {
    let strings = |items: &[&str]| Some(items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>());
    RuleWithOperations {
        api_groups: strings(&["*"]),
        api_versions: strings(&["*"]),
        operations: strings(&["CREATE", "UPDATE", "DELETE"]),
        resources: strings(&["*", "*/scale"]),
        scope: Some(scope.to_owned()),
    }
}

fn namespaces() -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(names::ATOMIC.to_owned(), names::ATOMIC_ENABLED.to_owned())])),
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(names::PROTECTED_NAMESPACES.map(str::to_owned).to_vec()),
        }]),
    }
}
