//! Reading the undo log.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use backout_model::{
    names::{self, RecordName, ReleaseKey},
    object::Position,
    protocol::Spent,
    undo::{
        Header, Record,
        chain::{Entry, Verification},
        codec,
    },
};
use backout_runtime::api::{ApiError, Class, deadline};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, Preconditions},
};

/// A LIST of a release's records: up to some thousands, metadata only.
const LIST: Duration = Duration::from_secs(30);
const CALL: Duration = Duration::from_secs(10);
/// How many links of other releases' records are followed from an object's undo pointer.
const LINKS: usize = 32;

/// The log as it lies in Backout's own namespace.
#[derive(Clone)]
pub(crate) struct Log {
    secrets: Api<Secret>,
}

/// The records of one release at one log position.
pub(crate) struct Found {
    /// In log order.
    pub(crate) entries: Vec<Entry>,
    /// Of an earlier Release of the same name.
    pub(crate) dead: Vec<Spent>,
    /// What cannot be read, a sentence each.
    pub(crate) problems: Vec<String>,
    /// The position of the LIST.
    pub(crate) cut: Position,
}

/// Where an object's undo pointer leads outside of a release's own records.
#[derive(Default)]
pub(crate) struct Links {
    /// Pointers found on the way.
    pub(crate) carried: BTreeSet<RecordName>,
    /// The object's own pointer, if its record does not exist.
    pub(crate) lost: Option<RecordName>,
}

impl Log {
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace) }
    }

    /// All records of a release, by one consistent LIST; `uid` is the Release's.
    pub(crate) async fn of(
        &self,
        key: &ReleaseKey,
        uid: Option<&str>,
        first_seen: &mut HashMap<RecordName, Instant>,
    ) -> Result<Found, ApiError> {
        let selector = format!(
            "{}={},{}={},{}={}",
            names::PART,
            names::PART_HEAD,
            names::RELEASE_NAMESPACE,
            key.namespace,
            names::RELEASE,
            key.name
        );
        let params = ListParams::default().labels(&selector);
        let list = deadline(LIST, format!("LIST undo records of {key}"), self.secrets.list_metadata(&params))
            .await?;
        let cut = list.metadata.resource_version.as_deref().and_then(Position::parse).unwrap_or_default();
        let mut found = Found { entries: Vec::new(), dead: Vec::new(), problems: Vec::new(), cut };
        let now = Instant::now();
        for head in &list.items {
            match entry(head, key, first_seen, now) {
                Ok(entry) if entry.header.release_uid.as_deref().is_some_and(|other| Some(other) != uid) => {
                    found.dead.push(Spent::from(&entry));
                }
                Ok(entry) => found.entries.push(entry),
                Err(why) => found.problems.push(format!(
                    "The undo record {} is ignored, it cannot be read: {why}. Delete the Secret once you know where it \
                     comes from.",
                    head.name_any()
                )),
            }
        }
        found.entries.sort_by_key(|entry| entry.position);
        first_seen.retain(|name, _| found.entries.iter().any(|entry| entry.name == *name));
        Ok(found)
    }

    /// Reads a record with its images, and checks that they are what its name says.
    pub(crate) async fn read(&self, entry: &Entry) -> Result<Result<Record, String>, ApiError> {
        let Some(mut head) = self.get(entry.name.as_str()).await? else {
            return Ok(Err("it does not exist any more".to_owned()));
        };
        let mut body = data(&mut head);
        for index in 0..entry.pieces {
            let name = entry.name.piece(index);
            let Some(mut piece) = self.get(&name).await? else {
                return Ok(Err(format!("its part {name} is missing")));
            };
            body.extend(data(&mut piece));
        }
        Ok(codec::decode(&entry.name, head.annotations(), &body).map_err(|garbage| garbage.to_string()))
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, ApiError> {
        match deadline(CALL, format!("GET undo record {name}"), self.secrets.get(name)).await {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.is(Class::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Follows the undo pointer of an object through records that are not in `known`.
    pub(crate) async fn follow(
        &self,
        pointer: RecordName,
        known: &BTreeSet<RecordName>,
    ) -> Result<Links, ApiError> {
        let mut links = Links::default();
        let mut next = Some(pointer);
        while let Some(pointer) = next.take() {
            if known.contains(&pointer) || links.carried.len() >= LINKS {
                links.carried.insert(pointer);
                break;
            }
            let call = self.secrets.get_metadata(pointer.as_str());
            match deadline(CALL, format!("GET undo record {pointer}"), call).await {
                Ok(head) => next = header(&head).ok().and_then(|header| header.undo),
                Err(error) if error.is(Class::NotFound) => {
                    if links.carried.is_empty() {
                        links.lost = Some(pointer.clone());
                    }
                }
                Err(error) => return Err(error),
            }
            links.carried.insert(pointer);
        }
        Ok(links)
    }

    /// Notes the outcome of the exact-revision check on a record, and its log position, which the note moves.
    pub(crate) async fn note(&self, entry: &Entry, outcome: &Verification) -> Result<(), ApiError> {
        let patch = serde_json::json!({"metadata": {
            "resourceVersion": entry.resource_version,
            "annotations": {names::VERIFIED: outcome.to_string(), names::POSITION: entry.position.to_string()},
        }});
        let params =
            PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(&patch);
        let call = self.secrets.patch_metadata(entry.name.as_str(), &params, &patch);
        deadline(CALL, format!("PATCH undo record {}", entry.name), call).await.map(drop)
    }

    /// Deletes a record: the head first, so that a part of it is never taken for the whole.
    pub(crate) async fn collect(&self, spent: &Spent) -> Result<(), ApiError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: None,
                resource_version: Some(spent.resource_version.clone()),
            }),
            ..DeleteParams::default()
        };
        self.delete(&spent.name, &params).await?;
        for index in 0..spent.pieces {
            self.delete(&format!("{}-{index}", spent.name), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    async fn delete(&self, name: &str, params: &DeleteParams) -> Result<(), ApiError> {
        match deadline(CALL, format!("DELETE undo record {name}"), self.secrets.delete(name, params)).await {
            Err(error) if !error.is(Class::NotFound) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Reads the header of a record's head.
pub(crate) fn header(head: &PartialObjectMeta<Secret>) -> Result<Header, String> {
    codec::decode_header(head.annotations()).map_err(|garbage| garbage.to_string())
}

fn data(secret: &mut Secret) -> Vec<u8> {
    let body = secret.data.as_mut().and_then(|data| data.remove(codec::BODY));
    body.map(|bytes| bytes.0).unwrap_or_default()
}

fn entry(
    head: &PartialObjectMeta<Secret>,
    key: &ReleaseKey,
    first_seen: &mut HashMap<RecordName, Instant>,
    now: Instant,
) -> Result<Entry, String> {
    let name = RecordName::parse(&head.name_any()).ok_or("its name is not that of a record")?;
    let header = header(head)?;
    if header.release != *key {
        return Err(format!("it is of the release {}", header.release));
    }
    let annotation = |key: &str| head.annotations().get(key).map(String::as_str);
    let resource_version = head.resource_version().ok_or("it has no resourceVersion")?;
    let position = annotation(names::POSITION).unwrap_or(&resource_version);
    let pieces = codec::pieces(head.annotations()).map_err(|garbage| garbage.to_string())?;
    Ok(Entry {
        position: Position::parse(position).ok_or("its position is no number")?,
        created: head.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        age: now.saturating_duration_since(*first_seen.entry(name.clone()).or_insert(now)),
        verified: annotation(names::VERIFIED).and_then(Verification::parse),
        name,
        resource_version,
        pieces,
        header,
    })
}
