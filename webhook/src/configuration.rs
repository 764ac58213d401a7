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

const LABELS: [(&str, &str); 3] =
    [("app.kubernetes.io/name", "backout-webhook"), ("app.kubernetes.io/component", "webhook"), PART_OF];
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "backout");

/// Time for the API server to wait: far more than a record takes, far less than the 34 s of a request.
const TIMEOUT_SECONDS: i32 = 5;

/// The configuration under which the API server calls the webhook in namespace `backout-system`: for objects in
/// namespaces that opted in, and for cluster-scoped ones with the mark of a release.
pub fn configuration(deployers: &Deployers) -> MutatingWebhookConfiguration {
    MutatingWebhookConfiguration {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            labels: Some(LABELS.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()),
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
                object_selector: Some(of_others()),
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

/// Backout's own objects may bear the mark of whatever deploys it: they have to be mended while it is down.
fn of_others() -> LabelSelector {
    LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: PART_OF.0.to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(vec![PART_OF.1.to_owned()]),
        }]),
        ..LabelSelector::default()
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
