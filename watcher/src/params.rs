//! How the watcher writes: under its own name, and only what is as it was found.

use backout_model::names::FIELD_MANAGER;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::Value;

/// A create or replace as our field manager.
pub(crate) fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// A patch as our field manager.
pub(crate) fn patch() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// A JSON patch of these operations.
pub(crate) fn operations(operations: Value) -> kube::Result<Patch<()>> {
    serde_json::from_value(operations).map(Patch::Json).map_err(kube::Error::SerdeError)
}

/// The deletion of exactly the object that was found.
pub(crate) fn delete(found: ObjectMeta) -> DeleteParams {
    exactly(found.uid, found.resource_version)
}

/// The deletion of an object with this uid and resourceVersion.
pub(crate) fn exactly(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..DeleteParams::default() }
}
