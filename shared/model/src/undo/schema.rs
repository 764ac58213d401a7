//! The lists and maps of an API, as the server's OpenAPI v3 document describes them: which are merged by key, and which
//! are one value.
//!
//! What the server does not describe is one value: to merge what cannot be told apart would be a guess. The keywords
//! are those of server-side apply (KEP-555): `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and
//! `x-kubernetes-map-type`.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use crate::object::ObjectRef;

/// The document of one group and version, without what says nothing of lists and maps.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Document {
    #[serde(default)]
    components: Components,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Components {
    #[serde(default)]
    schemas: BTreeMap<String, Definition>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    #[serde(default, rename = "$ref")]
    reference: Option<String>,
    /// A reference with something beside it, such as a default, is written as one of these.
    #[serde(default)]
    all_of: Vec<Self>,
    #[serde(default)]
    properties: BTreeMap<String, Self>,
    #[serde(default)]
    additional_properties: Option<Rest>,
    #[serde(default)]
    items: Option<Box<Self>>,
    #[serde(default)]
    default: Option<Value>,
    #[serde(default, rename = "x-kubernetes-list-type")]
    list_type: Option<String>,
    #[serde(default, rename = "x-kubernetes-list-map-keys")]
    list_map_keys: Vec<String>,
    #[serde(default, rename = "x-kubernetes-map-type")]
    map_type: Option<String>,
    #[serde(default, rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<Gvk>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Rest {
    Schema(Box<Definition>),
    /// True or false, and nothing of what may lie there.
    Any(bool),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Gvk {
    group: String,
    version: String,
    kind: String,
}

impl Document {
    /// Reads what the server answers at `/openapi/v3/apis/GROUP/VERSION`.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    fn kind(&self, object: &ObjectRef) -> Option<&Definition> {
        let is = |gvk: &Gvk| {
            gvk.group == object.key.group && gvk.version == object.version && gvk.kind == object.kind
        };
        self.components.schemas.values().find(|definition| definition.kinds.iter().any(is))
    }

    fn resolve<'a>(&'a self, definition: &'a Definition) -> Option<&'a Definition> {
        let inner = match definition.all_of.as_slice() {
            [one] => one,
            _ => definition,
        };
        match &inner.reference {
            Some(reference) => self.components.schemas.get(reference.rsplit('/').next()?),
            None => Some(inner),
        }
    }
}

/// The documents of the API versions that objects were written in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schemas {
    documents: BTreeMap<String, Arc<Document>>,
    unread: BTreeMap<String, String>,
}

impl Schemas {
    /// Takes in the document of an API version (`apps/v1`).
    pub fn insert(&mut self, api_version: String, document: Arc<Document>) {
        self.documents.insert(api_version, document);
    }

    /// Notes that the document of an API version could not be read, and why: then nothing is known of its lists for
    /// the moment. A version that is neither here nor there is one that the server does not describe.
    pub fn could_not_read(&mut self, api_version: String, why: String) {
        self.unread.insert(api_version, why);
    }

    /// Why the schema of an object is not known for the moment.
    pub fn missing(&self, object: &ObjectRef) -> Option<&str> {
        self.unread.get(&object.api_version()).map(String::as_str)
    }

    /// The schema of an object.
    pub fn of(&self, object: &ObjectRef) -> Schema<'_> {
        let document = self.documents.get(&object.api_version());
        Schema(document.and_then(|document| Some((document.as_ref(), document.kind(object)?))))
    }
}

/// The schema of a field, or of an item of a list, or nothing where the server does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a>(Option<(&'a Document, &'a Definition)>);

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind<'a> {
    /// Not at all: the list is one value.
    Atomic,
    /// The items are scalars, each at most once.
    Set,
    /// By the values of these fields.
    Map(&'a [String]),
}

impl<'a> Schema<'a> {
    /// Of what nobody describes.
    pub const UNKNOWN: Schema<'static> = Schema(None);

    fn step(self, next: impl FnOnce(&'a Definition) -> Option<&'a Definition>) -> Self {
        let step = |(document, definition): (&'a Document, &'a Definition)| {
            Some((document, next(document.resolve(definition)?)?))
        };
        Self(self.0.and_then(step))
    }

    fn resolved(self) -> Option<&'a Definition> {
        self.0.and_then(|(document, definition)| document.resolve(definition))
    }

    /// Of the field with this name.
    pub(super) fn field(self, name: &str) -> Self {
        self.step(|object| {
            object.properties.get(name).or(match &object.additional_properties {
                Some(Rest::Schema(schema)) => Some(schema),
                Some(Rest::Any(_)) | None => None,
            })
        })
    }

    /// Of an item of the list.
    pub(super) fn item(self) -> Self {
        self.step(|list| list.items.as_deref())
    }

    /// What kind of list it is.
    pub(super) fn list_kind(self) -> ListKind<'a> {
        let Some(list) = self.resolved() else { return ListKind::Atomic };
        match list.list_type.as_deref() {
            Some("set") => ListKind::Set,
            Some("map") if !list.list_map_keys.is_empty() => ListKind::Map(&list.list_map_keys),
            _ => ListKind::Atomic,
        }
    }

    /// Whether a map is one value. It says so itself, or whoever refers to it.
    pub(super) fn is_atomic_map(self) -> bool {
        let says = |definition: &Definition| definition.map_type.as_deref() == Some("atomic");
        self.0.is_some_and(|(_, definition)| says(definition)) || self.resolved().is_some_and(says)
    }

    /// The value that the server gives to the field where it is absent.
    pub(super) fn default(self) -> Option<&'a Value> {
        self.0.and_then(|(_, definition)| definition.default.as_ref())
    }
}

#[cfg(test)]
pub(crate) mod tests;
