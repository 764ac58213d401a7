//! What must hold on a cluster before the demo makes anything there, and what to do where it does not.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        apps::v1::Deployment,
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        core::v1::{ConfigMap, Namespace},
        rbac::v1::ClusterRole,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::{
    abroad::{NAMESPACES, by_hand},
    foreign::{Foreign, RUN},
};
use crate::{Site, User, backout, eventually, images::PROGRAMS, stories::Stage};

/// What the demo does as the context's user: verb, group, resource, namespace, name.
const RIGHTS: [(&str, &str, &str, &str, &str); 14] = [
    ("get", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "zz-backout"),
    ("get", "apps", "deployments", backout::NAMESPACE, ""),
    ("create", "", "namespaces", "", ""),
    ("delete", "", "namespaces", "", ""),
    ("create", "apiextensions.k8s.io", "customresourcedefinitions", "", ""),
    ("delete", "apiextensions.k8s.io", "customresourcedefinitions", "", ""),
    ("create", "rbac.authorization.k8s.io", "clusterroles", "", ""),
    ("delete", "rbac.authorization.k8s.io", "clusterroles", "", ""),
    ("create", "rbac.authorization.k8s.io", "rolebindings", "", ""),
    ("list", "", "pods", "", ""),
    ("list", "", "secrets", "", ""),
    ("get", "backout.dev", "releases", "", ""),
    ("impersonate", "", "users", "", "alice"),
    ("impersonate", "", "serviceaccounts", "kube-system", "horizontal-pod-autoscaler"),
];

/// The longest that a server may think about whether it is there.
const ANSWER: Duration = Duration::from_secs(20);

/// How long writes may pass unrecorded after the namespace opted in, and the watcher may need to see them.
const NOTICE: Duration = Duration::from_secs(45);

/// Asks for all that can be known without making anything.
pub(super) async fn check(site: &Foreign) -> Result<()> {
    let client = site.client(User::Admin).await;
    let client =
        client.with_context(|| format!("the context {:?} of your kubeconfig is of no use", site.context))?;
    answers(site, &client).await?;
    may(site, &client).await?;
    installed(site, &client).await?;
    free(site, &client).await
}

async fn answers(site: &Foreign, client: &Client) -> Result<()> {
    let answer = match timeout(ANSWER, client.apiserver_version()).await {
        Ok(answer) => answer.map(drop).map_err(anyhow::Error::from),
        Err(_) => Err(anyhow!("no answer within {ANSWER:?}")),
    };
    answer.with_context(|| {
        format!(
            "the server of the context {:?}, {}, does not answer. Is it up, and can this machine reach it?\n\
             `kubectl --context '{}' version` must work",
            site.context, site.server, site.context
        )
    })
}

async fn may(site: &Foreign, client: &Client) -> Result<()> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut lacks = Vec::new();
    for (verb, group, resource, ns, name) in RIGHTS {
        let some = |text: &str| Some(text.to_owned());
        let attributes = ResourceAttributes {
            verb: some(verb),
            group: some(group),
            resource: some(resource),
            namespace: some(ns),
            name: some(name),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer =
            answer.with_context(|| format!("the user of the context {:?} is not let in", site.context))?;
        if !answer.status.is_some_and(|status| status.allowed) {
            lacks.push(format!("{verb} {resource} {name}").trim_end().to_owned());
        }
    }
    ensure!(
        lacks.is_empty(),
        "the user of the context {:?} may not {}.\nThe demo needs the rights of an administrator, such as those of the \
         ClusterRole cluster-admin",
        site.context,
        lacks.join(", nor ")
    );
    Ok(())
}

async fn installed(site: &Foreign, client: &Client) -> Result<()> {
    const INSTALL: &str = "Install it as the README says:\n    kubectl apply -k manifests/base";
    let missing = |what: String| anyhow!("{what}\n{INSTALL} --context '{}'", site.context);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    if definitions.get_opt("releases.backout.dev").await?.is_none() {
        return Err(missing(
            "Backout is not installed there: the cluster knows no releases.backout.dev.".to_owned(),
        ));
    }
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    if configurations.get_opt("zz-backout").await?.is_none() {
        let what = "Backout is not asked there: there is no mutatingwebhookconfiguration zz-backout.";
        return Err(missing(what.to_owned()));
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), backout::NAMESPACE);
    for name in PROGRAMS {
        let Some(deployment) = deployments.get_opt(name).await? else {
            return Err(missing(format!("there is no deployment {name} in {}.", backout::NAMESPACE)));
        };
        let status = deployment.status.unwrap_or_default();
        let available = status.available_replicas.unwrap_or_default();
        if available == 0 {
            bail!(
                "no pod of {name} is available. Wait until one is, or find out why not:\n    \
                 kubectl --context '{context}' -n {ns} rollout status deployment/{name}\n    \
                 kubectl --context '{context}' -n {ns} describe pods",
                context = site.context,
                ns = backout::NAMESPACE,
            );
        }
    }
    Ok(())
}

/// Nothing that the demo is going to make is there, and is somebody else's.
async fn free(site: &Foreign, client: &Client) -> Result<()> {
    let mut there = Vec::new();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in NAMESPACES.map(|name| format!("{name}-{}", site.run)) {
        there.extend(namespaces.get_opt(&name).await?.map(|_| format!("namespace {name}")));
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = definitions.get_opt("widgets.demo.example").await?;
    there.extend(definition.map(|_| "customresourcedefinition widgets.demo.example".to_owned()));
    let roles: Api<ClusterRole> = Api::all(client.clone());
    there.extend(roles.get_opt("widgets-admin").await?.map(|_| "clusterrole widgets-admin".to_owned()));
    ensure!(
        there.is_empty(),
        "what the demo makes is there already: {}. If another demo is under way on this cluster, wait for its end; \
         if one was killed, remove what is left of it:\n{}\nWhat stays then is not the demo's, which cannot play beside it",
        there.join(", "),
        by_hand(site, RUN)
    );
    Ok(())
}

/// Tries out whether alice's writes are recorded, and whether the watcher sees them.
pub(super) async fn asked(stage: &Stage<'_, Foreign>) -> Result<()> {
    let site = stage.cluster;
    let home = stage.home("probe").await?;
    let objects: Api<ConfigMap> = Api::namespaced(site.client(User::Named("alice")).await?, &home.name);
    let logs = |program: &str| {
        let ns = backout::NAMESPACE;
        format!(
            "Look at its log:\n    kubectl --context '{}' -n {ns} logs deployment/{program}\n",
            site.context
        )
    };
    backout::recorded(&objects, NOTICE).await.with_context(|| {
        format!("the webhook is not asked, or does not answer. {}", logs("backout-webhook"))
    })?;
    eventually("there is a Release of it", NOTICE, async || {
        Ok(home.release(&home.name).await?.status.filter(|status| status.revision > 0).map(drop))
    })
    .await
    .with_context(|| {
        format!("the watcher does not work, or not for all namespaces. {}", logs("backout-watcher"))
    })
}
