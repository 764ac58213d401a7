//! Securing the evidence about a failed revision, before anything is restored: in 5 s at most, and whatever happens.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use backout_model::{
    evidence::{self, Findings, IMAGES, LOG_LINES, LogOf, SecretKey, Wanted, stored},
    health::Live,
    names::{self, RecordName, ReleaseKey},
    object::{ObjectKey, ObjectRef},
    protocol::Observed,
    release::Release,
    undo::{Record, chain::Entry},
};
use backout_runtime::api::{ApiError, Class, deadline};
use futures::{AsyncReadExt as _, StreamExt as _, future, stream};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{ListParams, LogParams},
    core::Request,
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{context::Context, observe::PARALLEL, params, perform::entry};

/// For everything.
const ALL: Duration = Duration::from_secs(5);
/// For all that is read, side by side.
const READS: Duration = Duration::from_secs(3);
/// For one read: what does not answer is to be told by its name.
const READ: Duration = Duration::from_millis(2800);
/// Reads side by side of what may be large.
const LARGE: usize = 4;
/// Until a Secret is created anew that the server did not take.
const AGAIN: Duration = Duration::from_millis(300);
/// The most bytes of a log that are read: [`LOG_LINES`] of any sensible length.
const LOG: i64 = 256 << 10;

/// Gathers the evidence and stores it; the name of its Secret, or why there is none.
pub(crate) async fn secure(
    context: &Context,
    key: &ReleaseKey,
    release: &Release,
    observed: &Observed,
) -> Result<String, String> {
    let end = Instant::now() + ALL;
    let outcome = match timeout_at(end, gather_and_store(context, key, observed)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("it could not be stored within {} s", ALL.as_secs())),
    };
    context.metrics.secured(outcome.is_ok());
    let id = key.revision(observed.status.revision);
    match &outcome {
        Ok(secret) => {
            tracing::info!(%id, release = %key, %secret, "evidence");
            let limit = observed.policy.history_limit;
            let pruned = timeout_at(end, prune(context, key, release, limit)).await;
            if let Ok(Err(error)) = pruned {
                tracing::warn!(%id, release = %key, %error, "old evidence could not be deleted");
            }
        }
        Err(why) => tracing::warn!(%id, release = %key, %why, "there is no evidence"),
    }
    outcome
}

async fn gather_and_store(
    context: &Context,
    key: &ReleaseKey,
    observed: &Observed,
) -> Result<String, String> {
    let uid = observed.uid.as_deref().ok_or("the Release has no uid")?;
    let wanted = evidence::wanted(observed);
    let found = read(context, observed, &wanted).await;
    let evidence = evidence::evidence(key, observed, &wanted, &found);
    let secret = stored::secret(key, uid, &Release::api_version(&()), &evidence);
    store(context, uid, &secret, evidence.revision).await
}

/// Reads what is wanted: what is not there in time is left out.
pub(crate) async fn read(context: &Context, observed: &Observed, wanted: &Wanted) -> Findings {
    let records = wanted.records.iter().filter_map(|name| entry(observed, name)).collect::<Vec<_>>();
    let (logs, secrets, events, records) = tokio::join!(
        each(wanted.logs.iter(), |log| logged(context, log)),
        each(wanted.secrets.iter(), |key| secret(context, key)),
        each(wanted.namespaces.iter(), |namespace| {
            context.cluster.all("/api/v1", namespace, "events", "type=Warning")
        }),
        read_records(context, records),
    );
    let logs = logs.into_iter().map(|(log, text)| (log.clone(), text));
    let secrets = secrets.into_iter().map(|(key, secret)| (key.clone(), secret));
    let events = events.into_iter().map(|(namespace, events)| (namespace.clone(), events));
    Findings { logs: logs.collect(), secrets: secrets.collect(), events: events.collect(), records }
}

/// Reads all of a kind; what is not there in time is left out.
async fn each<'a, K: 'a, T, R>(
    keys: impl Iterator<Item = &'a K>,
    read: impl Fn(&'a K) -> R,
) -> Vec<(&'a K, Result<T, String>)>
where
    R: Future<Output = Result<T, ApiError>>,
{
    let read = |key| {
        let read = read(key);
        async move {
            match tokio::time::timeout(READ, read).await {
                Ok(read) => (key, read.map_err(|error| error.message)),
                Err(_) => (key, Err(format!("no answer within {} ms", READ.as_millis()))),
            }
        }
    };
    let reads = keys.map(read).collect::<Vec<_>>();
    stream::iter(reads).buffer_unordered(PARALLEL).take_until(sleep(READS)).collect().await
}

/// Reads records, the first of them if they are too large for all.
async fn read_records(
    context: &Context,
    entries: Vec<&Entry>,
) -> BTreeMap<RecordName, Result<Record, String>> {
    let read = async |entry: &Entry| {
        let read = context.log.read(entry).await.map_err(|error| error.message);
        (entry.name.clone(), read.and_then(|read| read))
    };
    let reads = entries.into_iter().map(read).collect::<Vec<_>>();
    let mut room = IMAGES;
    let fits = |(_, read): &(RecordName, Result<Record, String>)| {
        room = room.saturating_sub(read.as_ref().map_or(0, |record| record.body.weight()));
        future::ready(room > 0)
    };
    stream::iter(reads).buffer_unordered(LARGE).take_until(sleep(READS)).take_while(fits).collect().await
}

async fn logged(context: &Context, log: &LogOf) -> Result<String, ApiError> {
    let params = LogParams {
        container: Some(log.container.clone()),
        previous: log.previous,
        tail_lines: i64::try_from(LOG_LINES).ok(),
        limit_bytes: Some(LOG),
        ..LogParams::default()
    };
    let pods = Request::new(format!("/api/v1/namespaces/{}/pods", log.namespace));
    let request = pods.logs(&log.pod, &params);
    let read = async {
        let client = context.cluster.client();
        let stream = client.request_stream(request.map_err(kube::Error::BuildRequest)?).await?;
        let mut bytes = Vec::new();
        pin!(stream).read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    deadline(READ, format!("GET {log}"), read).await
}

async fn secret(
    context: &Context,
    (namespace, name): &SecretKey,
) -> Result<Option<serde_json::Value>, ApiError> {
    let key = ObjectKey {
        group: String::new(),
        resource: "secrets".to_owned(),
        namespace: Some(namespace.clone()),
        name: name.clone(),
    };
    let object = ObjectRef { key, version: "v1".to_owned(), kind: "Secret".to_owned() };
    match context.cluster.live(&object).await {
        Live::Present(secret) => Ok(Some(secret)),
        Live::Absent => Ok(None),
        Live::Unreadable(message) => {
            Err(ApiError { operation: format!("GET {object}").into(), class: Class::Rejected, message })
        }
    }
}

/// Creates the Secret. One that is there already is of a watcher that died here, or of another one.
async fn store(context: &Context, uid: &str, secret: &Secret, revision: u64) -> Result<String, String> {
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(context.cluster.client(), &namespace);
    let name = secret.name_any();
    loop {
        match deadline(ALL, "POST Secret", secrets.create(&params::post(), secret)).await {
            Ok(_) => return Ok(name),
            Err(error) if error.is(Class::AlreadyExists) => {}
            Err(error) if error.may_pass() => {
                sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.message),
        }
        let found =
            deadline(ALL, "GET Secret", secrets.get_metadata(&name)).await.map_err(|it| it.message)?;
        if stored::revision_of(&found.metadata, uid) != Some(revision) {
            return Err(format!("Secret {name} is there already, and is something else"));
        }
        // Stored by a watcher that died over it; but an earlier failure of the revision is not what this is about.
        if stored::decided_at(&found.metadata) == stored::decided_at(&secret.metadata) {
            return Ok(name);
        }
        remove(&secrets, found.metadata).await.map_err(|error| error.message)?;
    }
}

/// Deletes a Secret as it was seen; one that is gone already, or another by now, is no error.
pub(crate) async fn remove(secrets: &Api<Secret>, seen: ObjectMeta) -> Result<(), ApiError> {
    let name = seen.name.clone().unwrap_or_default();
    let params = params::delete(seen);
    match deadline(ALL, format!("DELETE Secret {name}"), secrets.delete(&name, &params)).await {
        Err(error) if !error.is(Class::NotFound) && !error.is(Class::Conflict) => Err(error),
        _ => Ok(()),
    }
}

/// Deletes the evidence about older revisions than `limit`.
async fn prune(context: &Context, key: &ReleaseKey, release: &Release, limit: usize) -> Result<(), ApiError> {
    let secrets: Api<Secret> = Api::namespaced(context.cluster.client(), &key.namespace);
    let uid = release.metadata.uid.as_deref().unwrap_or_default();
    let params = ListParams::default()
        .labels(&format!("{}={}", names::RELEASE, key.name))
        .fields(&format!("type={}", names::EVIDENCE_TYPE));
    let list = deadline(ALL, "LIST evidence", secrets.list_metadata(&params)).await?;
    let metadata = list.items.into_iter().map(|item| item.metadata);
    let mut stored: Vec<_> = metadata.filter_map(|it| Some((stored::revision_of(&it, uid)?, it))).collect();
    stored.sort_by_key(|(revision, _)| std::cmp::Reverse(*revision));
    for (_, metadata) in stored.into_iter().skip(limit) {
        remove(&secrets, metadata).await?;
    }
    Ok(())
}
