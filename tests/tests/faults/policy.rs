//! A policy of the cluster's own that refuses writes.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use system_tests::{User, eventually, stories::Home};

use super::super::PATIENCE;

/// Allows only ConfigMaps for which this CEL expression holds in the namespace, from now on.
pub(crate) async fn policy(home: &Home<'_>, expression: &str) {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let rules = json!([{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE", "UPDATE"] }]);
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
        "metadata": { "name": home.name },
        "spec": { "failurePolicy": "Fail", "matchConstraints": { "resourceRules": rules },
            "validations": [{ "expression": expression, "message": "not allowed here" },
                // To be seen by a dry run: whether the policy is known yet.
                { "expression": "object.metadata.name != 'probe'", "message": "not allowed here" }] },
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &policy).await.unwrap();
    let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
        "metadata": { "name": home.name },
        "spec": { "policyName": home.name, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": home.name } } } },
    }))
    .unwrap();
    Api::all(client).create(&PostParams::default(), &binding).await.unwrap();
    eventually("the policy is in force", PATIENCE, async || {
        let output = home.admin(&["create", "configmap", "probe", "--dry-run=server"]).await?;
        Ok(output.stderr.contains("not allowed here").then_some(()))
    })
    .await
    .unwrap();
}

/// Allows everything again.
pub(crate) async fn forget_policy(home: &Home<'_>) {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings.delete(&home.name, &DeleteParams::default()).await.unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client);
    policies.delete(&home.name, &DeleteParams::default()).await.unwrap();
}
