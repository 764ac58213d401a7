//! How the watcher writes: under its own name, and only what is as it was found.

use backout_model::names::FIELD_MANAGER;
use kube::api::{DeleteParams, ObjectMeta, PatchParams, PostParams, Preconditions};

/// A create or replace as our field manager.
pub(crate) fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// A patch as our field manager.
pub(crate) fn patch() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// The deletion of exactly the object that was found.
pub(crate) fn delete(found: ObjectMeta) -> DeleteParams {
    exactly(found.uid, found.resource_version)
}

/// The deletion of an object with this uid and resourceVersion.
pub(crate) fn exactly(uid: Option<String>, resource_version: Option<String>) -> DeleteParams {
    DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..DeleteParams::default() }
}
