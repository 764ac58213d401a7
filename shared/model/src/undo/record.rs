//! What one admitted write changed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    names::{RecordName, ReleaseKey},
    object::ObjectRef,
};

/// What the write did to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// The object was not there before.
    Create,
    /// The object was changed in place.
    Update,
    /// Somebody asked for the object's deletion.
    Delete,
    /// The replicas were set through the `scale` subresource.
    Scale,
}

impl Operation {
    /// Whether the write leaves its record's name on the object as the undo pointer: there is nothing to tag in a
    /// deletion, and a scale does not reach the labels.
    pub fn leaves_pointer(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }
}

/// The part of a record that is enough to order, confirm and select it; readable without the images.
///
/// It lies in an annotation of the record's head, as JSON, so that the watcher follows the log by metadata alone. The
/// time of the write is the Secret's creationTimestamp, its log position the Secret's resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// What the write did.
    pub operation: Operation,
    /// The object; its name is empty where the server generates it. For [`Operation::Scale`] the scaled object.
    pub object: ObjectRef,
    /// `metadata.generateName` of an object without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    /// `uid` of the object before the write; absent for [`Operation::Create`], unless the write was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// `resourceVersion` of the object before the write; absent for [`Operation::Create`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// The undo pointer of the object before the write: the previous link of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<RecordName>,
    /// What [`Operation::Scale`] changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// The release the write belongs to.
    pub release: ReleaseKey,
    /// `uid` of that `Release`, if the webhook knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_uid: Option<String>,
    /// The revision as the webhook knew it: a hint.
    pub revision: u64,
    /// The client begins a transaction of its own with this write: see [`crate::admission`] on the fence.
    #[serde(default, skip_serializing_if = "is_false")]
    pub begins: bool,
    /// The watcher recorded the write after the fact, from what it saw of the server: no webhook is shown such writes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub captured: bool,
    /// The user who wrote.
    pub user: String,
    /// The field manager of the request; empty where it brought none.
    pub tool: String,
    /// `uid` of the `AdmissionRequest`: makes every call's record a fresh one, so that its position lies after the call.
    pub request: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The replicas before and after a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// `spec.replicas` before the write.
    pub before: i64,
    /// `spec.replicas` as admitted.
    pub after: i64,
}

/// The images of a record: the object as stored before the write, and as admitted.
///
/// For [`Operation::Scale`] these are the `Scale` objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// Absent for [`Operation::Create`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Absent for [`Operation::Delete`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl Body {
    /// About how many bytes the images take in memory.
    pub fn weight(&self) -> usize {
        fn of(value: &Value) -> usize {
            let inner = match value {
                Value::String(text) => text.len(),
                Value::Array(list) => list.iter().map(of).sum(),
                Value::Object(map) => map.iter().map(|(key, value)| key.len() + of(value)).sum(),
                _ => 0,
            };
            inner + size_of::<Value>()
        }
        [&self.before, &self.after].into_iter().flatten().map(of).sum()
    }
}

/// A record read back whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The digest of its content.
    pub name: RecordName,
    /// What is known without the images.
    pub header: Header,
    /// The images.
    pub body: Body,
}
