//! Admission configurations are written unseen by any webhook: they are watched instead, and recorded after the fact.
//!
//! What changes while no watcher runs is not recorded: the state before it is not known then.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backout_model::{
    admission::{Captured, capture},
    names::{self, ReleaseKey},
    object::{Image, ObjectKey, ObjectRef},
    release::{Phase, Release},
    undo::{Operation, chain::Verification, codec::Draft},
};
use backout_runtime::api::{ApiError, deadline, tried};
use futures::{StreamExt as _, future, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{context::Context, metrics::Watch, sweep::opts_in};

const GROUP: &str = "admissionregistration.k8s.io";
const VERSION: &str = "v1";
const CALL: Duration = Duration::from_secs(10);
/// Between two attempts to record a write, and to find out what there is to watch.
const RETRY: Duration = Duration::from_secs(1);
/// A write that the server keeps refusing to record is given up, with a word in the log.
const ATTEMPTS: u32 = 60;
/// Deletions so soon after a rollback are taken for its own, of which the watch told late.
const OURS_FOR: SignedDuration = SignedDuration::from_secs(30);

/// Watches all admission configurations, forever.
pub(crate) async fn run(context: Arc<Context>, watches: watcher::Config) {
    let kinds = loop {
        match kinds(&context).await {
            Ok(kinds) => break kinds,
            Err(error) => tracing::warn!(%error, "the kinds of admission configurations are not known yet"),
        }
        sleep(RETRY).await;
    };
    let all = kinds.into_iter().map(|kind| follow(&context, kind, watches.clone()));
    future::join_all(all).await;
}

/// What the server has of the group.
async fn kinds(context: &Context) -> Result<Vec<APIResource>, ApiError> {
    let path = format!("/apis/{GROUP}/{VERSION}");
    let list: APIResourceList = context.cluster.get(&path).await?;
    Ok(list.resources.into_iter().filter(|kind| !kind.name.contains('/')).collect())
}

async fn follow(context: &Context, kind: APIResource, watches: watcher::Config) {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.kind,
        plural: kind.name,
    };
    let api: Api<DynamicObject> = Api::all_with(context.cluster.client(), &resource);
    let mut events = std::pin::pin!(watcher(api, watches).default_backoff());
    let mut known = Known { resource, objects: HashMap::new(), listed: None, began: false };
    let mut is_told = false;
    while let Some(event) = events.next().await {
        let changes = match event {
            Ok(event) => {
                is_told &= matches!(event, Event::Init);
                known.changes(event)
            }
            Err(error) => {
                context.metrics.interrupted(Watch::AdmissionConfigurations);
                // Again and again where it lacks the right, as one installed for some namespaces only does.
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, kind = known.resource.kind, "a watch was interrupted");
                }
                continue;
            }
        };
        stream::iter(changes).for_each(|captured| record(context, captured)).await;
    }
}

/// The objects of one kind as they were last seen.
struct Known {
    resource: ApiResource,
    objects: HashMap<String, Value>,
    /// What a list that is under way has shown.
    listed: Option<HashMap<String, Value>>,
    /// Whether anything was seen before: the first list tells of no change.
    began: bool,
}

impl Known {
    /// What an event tells that is to be recorded.
    fn changes(&mut self, event: Event<DynamicObject>) -> Vec<Captured> {
        match event {
            Event::Init => self.listed = Some(HashMap::new()),
            Event::InitApply(object) => {
                if let (Some((name, object)), Some(listed)) = (named(&object), &mut self.listed) {
                    listed.insert(name, object);
                }
            }
            Event::InitDone => return self.is_now(),
            Event::Apply(object) => {
                if let Some((name, after)) = named(&object) {
                    let before = self.objects.insert(name.clone(), after);
                    return self.change(&name, before.as_ref()).into_iter().collect();
                }
            }
            Event::Delete(object) => {
                if let Some((name, last)) = named(&object) {
                    self.objects.remove(&name);
                    return self.change(&name, Some(&last)).into_iter().collect();
                }
            }
        }
        Vec::new()
    }

    /// After a list: what became of each object in the time that was not watched.
    fn is_now(&mut self) -> Vec<Captured> {
        let before = std::mem::replace(&mut self.objects, self.listed.take().unwrap_or_default());
        if !std::mem::replace(&mut self.began, true) {
            return Vec::new();
        }
        let gone = before.keys().filter(|name| !self.objects.contains_key(*name));
        let all = self.objects.keys().chain(gone);
        all.filter_map(|name| self.change(name, before.get(name))).collect()
    }

    fn change(&self, name: &str, before: Option<&Value>) -> Option<Captured> {
        let key = ObjectKey {
            group: self.resource.group.clone(),
            resource: self.resource.plural.clone(),
            namespace: None,
            name: name.to_owned(),
        };
        let object =
            ObjectRef { key, version: self.resource.version.clone(), kind: self.resource.kind.clone() };
        capture(&object, before, self.objects.get(name))
    }
}

fn named(object: &DynamicObject) -> Option<(String, Value)> {
    let value = serde_json::to_value(object).ok()?;
    Some((Image(&value).meta("name")?.to_owned(), value))
}

async fn record(context: &Context, captured: Captured) {
    let object = &captured.header.object;
    if let Err(error) = tried(ATTEMPTS, RETRY, || try_to_record(context, &captured)).await {
        context.metrics.captured(false);
        tracing::error!(%error, %object, release = %captured.header.release, "a write was not recorded");
    }
}

async fn try_to_record(context: &Context, captured: &Captured) -> Result<(), ApiError> {
    let Captured { header, before, after } = captured;
    let key = &header.release;
    let namespace = context.cluster.namespace(&key.namespace).await?;
    if !namespace.is_some_and(|namespace| opts_in(&namespace))
        || (header.operation == Operation::Delete && is_rolled_back(context, key).await?)
    {
        return Ok(());
    }
    let draft = Draft::new(header.clone(), before.as_deref(), after.as_deref());
    let mut encoded = draft.encode(context.log.namespace());
    // Both states are the server's own word.
    let annotations = encoded.head.metadata.annotations.get_or_insert_default();
    annotations.insert(names::VERIFIED.to_owned(), Verification::Verified.to_string());
    context.log.append(&encoded).await?;
    context.metrics.captured(true);
    tracing::info!(undo = %draft.name, object = %header.object, release = %key, "captured");
    Ok(())
}

/// Whether the release is being rolled back, or was just now: then it is we who delete.
async fn is_rolled_back(context: &Context, key: &ReleaseKey) -> Result<bool, ApiError> {
    let releases: Api<Release> = Api::namespaced(context.cluster.client(), &key.namespace);
    let found = deadline(CALL, format!("GET Release {key}"), releases.get_opt(key.name.as_str())).await?;
    let Some(status) = found.and_then(|release| release.status) else { return Ok(false) };
    let ended = status.history.first().and_then(|past| past.ended_at.as_ref());
    Ok(match status.phase {
        Some(Phase::RollingBack) => true,
        Some(Phase::RolledBack) => ended.is_some_and(|at| Timestamp::now().duration_since(at.0) < OURS_FOR),
        _ => false,
    })
}
