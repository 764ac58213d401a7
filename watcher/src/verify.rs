//! The exact-revision check: what a record claims an object was, the server must have stored itself.

use backout_model::{
    object::{ObjectRef, Position},
    undo::{
        Operation, Record,
        chain::{Entry, Verification},
    },
};
use backout_runtime::api::{ApiError, Class};
use serde_json::Value;

use crate::cluster::Cluster;

/// Compares the before-image of `record` with the server's own history. An error means that nothing was learnt.
pub(crate) async fn verify(
    cluster: &Cluster,
    entry: &Entry,
    record: &Record,
) -> Result<Verification, ApiError> {
    let Some(resource_version) = &record.header.resource_version else {
        return Ok(Verification::Refuted("it names no revision of the object".to_owned()));
    };
    // The server would wait for such a revision, and nobody can have seen it.
    if Position::parse(resource_version).is_none_or(|revision| revision > entry.position) {
        return Ok(Verification::Refuted(format!(
            "it is older than the revision {resource_version} it names"
        )));
    }
    let object = &record.header.object;
    let stored = match cluster.at(object, resource_version).await {
        Ok(stored) => stored,
        Err(error) if error.is(Class::Gone) => {
            return Ok(Verification::Unverified(format!(
                "the server has forgotten revision {resource_version}"
            )));
        }
        // A kind that is gone, an RV from the future: the server does not know such a state.
        Err(error) if error.is(Class::NotFound) || error.is(Class::Rejected) => {
            return Ok(Verification::Refuted(error.message));
        }
        Err(error) => return Err(error),
    };
    let agree = stored.as_ref().is_some_and(|stored| agrees(stored, record, object));
    tracing::debug!(record = %entry.name, agree, "compared a before-image with the server's history");
    Ok(if agree {
        Verification::Verified
    } else {
        Verification::Refuted(format!("the server had stored something else at revision {resource_version}"))
    })
}

fn agrees(stored: &Value, record: &Record, object: &ObjectRef) -> bool {
    match (record.header.operation, record.header.replicas) {
        (Operation::Scale, Some(replicas)) => {
            stored.pointer("/spec/replicas").and_then(Value::as_i64) == Some(replicas.before)
        }
        _ => record.body.before.as_ref().is_some_and(|before| {
            let mut before = before.clone();
            if let Some(fields) = before.as_object_mut() {
                fields.insert("apiVersion".to_owned(), object.api_version().into());
                fields.insert("kind".to_owned(), object.kind.clone().into());
            }
            before == *stored
        }),
    }
}
