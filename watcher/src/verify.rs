//! The exact-revision check: what a record claims an object was, the server must have stored itself.

use backout_model::{
    object::{Image, ObjectRef},
    undo::{
        Operation, Record,
        chain::{Entry, Verification},
    },
};
use backout_runtime::api::{ApiError, Class};
use serde_json::Value;

use crate::cluster::Cluster;

/// Compares the before-image of `record` with what the server had stored when the record was made. An error means that
/// nothing was learnt.
///
/// A write that commits is compared with the very revision that the webhook was shown: the object has it still at the
/// record's own position. That is recent, where the object's last write may be long forgotten; and a state that once
/// was, and was not any more, bears nothing out.
pub(crate) async fn verify(
    cluster: &Cluster,
    entry: &Entry,
    record: &Record,
) -> Result<Verification, ApiError> {
    let claimed = record.header.resource_version.as_deref();
    let creates = record.header.operation == Operation::Create;
    let Some(claimed) = claimed.or_else(|| creates.then_some("")) else {
        return Ok(Verification::Refuted("it names no revision of the object".to_owned()));
    };
    let object = &record.header.object;
    let stored = match cluster.at(object, &entry.position.to_string()).await {
        Ok(stored) => stored,
        Err(error) if error.is(Class::Gone) => {
            return Ok(Verification::Unverified(format!(
                "the server has forgotten revision {}",
                entry.position
            )));
        }
        // A kind that is gone, or never was: the server does not know such a state.
        Err(error) if error.is(Class::NotFound) || error.is(Class::Rejected) => {
            return Ok(Verification::Refuted(error.message));
        }
        Err(error) => return Err(error),
    };
    if creates {
        return Ok(match stored {
            None => Verification::Verified,
            Some(_) => Verification::Refuted("the object was there when it was made".to_owned()),
        });
    }
    let agree = stored.as_ref().is_some_and(|stored| {
        Image(stored).resource_version() == Some(claimed) && agrees(stored, record, object)
    });
    tracing::debug!(record = %entry.name, agree, "compared a before-image with the server's history");
    Ok(if agree {
        Verification::Verified
    } else {
        Verification::Refuted(format!(
            "the server had stored something else than revision {claimed} with this content when it was made"
        ))
    })
}

fn agrees(stored: &Value, record: &Record, object: &ObjectRef) -> bool {
    match (record.header.operation, record.header.replicas) {
        (Operation::Scale, Some(replicas)) => {
            Image(stored).uid() == record.header.uid.as_deref()
                && stored.pointer("/spec/replicas").and_then(Value::as_i64) == Some(replicas.before)
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
