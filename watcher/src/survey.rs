//! Looking for what deployers wrote past the webhook, in all that is in a release's namespace.

use std::{collections::BTreeSet, time::Duration};

use backout_model::{
    health::Live,
    names::ReleaseKey,
    object::{ObjectKey, ObjectRef},
    protocol::{Observed, Survey},
    rollback::Track,
};
use backout_runtime::api::{ApiError, Class, deadline, tried};
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::admissionregistration::v1::MutatingWebhookConfiguration,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    discovery::{ApiGroup, Discovery, Scope, verbs},
};
use serde::Deserialize as _;

use crate::{context::Context, observe::PARALLEL};

const CALL: Duration = Duration::from_secs(10);
/// Of metadata; what is kept of it is little.
const PAGE: u32 = 500;
/// A kind that cannot be listed is left out then: the server behind it may be another one, which is away.
const ATTEMPTS: u32 = 3;
const RETRY: Duration = Duration::from_secs(1);

/// The objects of the release that deployers wrote without a record.
pub(crate) async fn survey(
    context: &Context,
    key: &ReleaseKey,
    observed: &Observed,
) -> Result<Vec<ObjectRef>, ApiError> {
    let Some(survey) = Survey::of(key, observed) else { return Ok(Vec::new()) };
    match registration(context).await {
        Ok(registration) if survey.is_needed(registration.as_ref()) => {}
        Ok(_) => return Ok(Vec::new()),
        // Installed for some namespaces only: who may not know how the webhook fails takes it for closed, as shipped.
        Err(error) if error.is(Class::Forbidden) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let kinds = kinds(context, key, observed).await;
    let survey = &survey;
    let found = stream::iter(kinds).map(|kind| async move { of_kind(context, key, survey, &kind).await });
    let found: Vec<Vec<ObjectRef>> = found.buffered(PARALLEL).collect().await;
    Ok(found.into_iter().flatten().chain(elsewhere(key, survey, observed)).collect())
}

/// What a namespace may hold; where the server does not tell, as when a part of its API is broken, what the revision is of.
async fn kinds(context: &Context, key: &ReleaseKey, observed: &Observed) -> Vec<ApiResource> {
    let discover = || deadline(CALL, "discovery", Discovery::new(context.cluster.client()).run_aggregated());
    match tried(ATTEMPTS, RETRY, discover).await {
        Ok(discovery) => {
            let all = discovery.groups().flat_map(ApiGroup::recommended_resources);
            let listed =
                all.filter(|(_, can)| can.scope == Scope::Namespaced && can.supports_operation(verbs::LIST));
            return listed.map(|(kind, _)| kind).collect();
        }
        Err(error) => tracing::warn!(release = %key, %error, "the kinds of objects cannot be known"),
    }
    let of_revision: BTreeSet<_> = observed
        .tracks
        .iter()
        .map(|Track { object, .. }| (&object.key.group, &object.version, &object.kind, &object.key.resource))
        .collect();
    let known = of_revision.into_iter().map(|(group, version, kind, plural)| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    });
    known.collect()
}

async fn registration(context: &Context) -> Result<Option<MutatingWebhookConfiguration>, ApiError> {
    let all: Api<MutatingWebhookConfiguration> = Api::all(context.cluster.client());
    let name = &context.registration;
    deadline(CALL, format!("GET MutatingWebhookConfiguration {name}"), all.get_opt(name)).await
}

async fn of_kind(
    context: &Context,
    key: &ReleaseKey,
    survey: &Survey<'_>,
    kind: &ApiResource,
) -> Vec<ObjectRef> {
    let found = tried(ATTEMPTS, RETRY, || try_kind(context, key, survey, kind)).await;
    found.unwrap_or_else(|error| {
        tracing::warn!(release = %key, kind = kind.kind, %error,
            "not looked through for what was written without a record");
        Vec::new()
    })
}

async fn try_kind(
    context: &Context,
    key: &ReleaseKey,
    survey: &Survey<'_>,
    kind: &ApiResource,
) -> Result<Vec<ObjectRef>, ApiError> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.cluster.client(), &key.namespace, kind);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let operation = format!("LIST {} of {}", kind.plural, key.namespace);
        let page = deadline(CALL, operation, api.list_metadata(&params)).await?;
        for object in page.items {
            let metadata = object.metadata;
            let key = ObjectKey {
                group: kind.group.clone(),
                resource: kind.plural.clone(),
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone().unwrap_or_default(),
            };
            if survey.is_unrecorded(&key, &metadata) {
                found.push(ObjectRef { key, version: kind.version.clone(), kind: kind.kind.clone() });
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(found);
        }
    }
}

/// Those of the revision's objects that are in no namespace, or in another one.
fn elsewhere(key: &ReleaseKey, survey: &Survey<'_>, observed: &Observed) -> Vec<ObjectRef> {
    let tracks = observed.tracks.iter();
    let tracks = tracks.filter(|track| track.object.key.namespace.as_ref() != Some(&key.namespace));
    let is_unrecorded = |object: &ObjectRef, live: &Live| match live {
        Live::Present(live) => live
            .get("metadata")
            .and_then(|metadata| ObjectMeta::deserialize(metadata).ok())
            .is_some_and(|metadata| survey.is_unrecorded(&object.key, &metadata)),
        Live::Absent | Live::Unreadable(_) => false,
    };
    let found = tracks.filter(|track| is_unrecorded(&track.object, &track.live));
    found.map(|track| track.object.clone()).collect()
}
