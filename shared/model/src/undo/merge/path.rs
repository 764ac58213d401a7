//! Where in an object a field lies, and what kind of list lies there.

use std::fmt;

use serde_json::Value;

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    /// Not at all: the list is one value.
    Atomic,
    /// The items are scalars, each at most once.
    Set,
    /// By the values of these fields.
    Map(&'static [&'static str]),
}

/// The kind of the list at `path`.
pub(super) fn list_kind(path: &Path<'_>) -> ListKind {
    let mut names = path.0.iter().rev().filter_map(|step| match step {
        Step::Field(name) => Some(*name),
        Step::Item(..) => None,
    });
    let field = names.next().unwrap_or_default();
    let parent = names.next().unwrap_or(TOP);
    LIST_KINDS
        .iter()
        .find(|(name, inside, _)| *name == field && inside.is_none_or(|inside| inside == parent))
        .map_or(ListKind::Atomic, |(_, _, kind)| *kind)
}

/// The value that the server gives to a key field that an item lacks.
pub(super) fn key_default(field: &str) -> Option<&'static str> {
    (field == "protocol").then_some("TCP")
}

/// Name of the field, name of the field it lies in (any if absent), kind; the first match counts. After the
/// `x-kubernetes-list-type` and `x-kubernetes-list-map-keys` of the API.
const LIST_KINDS: [(&str, Option<&str>, ListKind); 26] = [
    ("containers", None, ListKind::Map(&["name"])),
    ("initContainers", None, ListKind::Map(&["name"])),
    ("ephemeralContainers", None, ListKind::Map(&["name"])),
    ("volumes", None, ListKind::Map(&["name"])),
    ("env", None, ListKind::Map(&["name"])),
    ("imagePullSecrets", None, ListKind::Map(&["name"])),
    ("volumeMounts", None, ListKind::Map(&["mountPath"])),
    ("volumeDevices", None, ListKind::Map(&["devicePath"])),
    ("ports", Some("containers"), ListKind::Map(&["containerPort", "protocol"])),
    ("ports", Some("initContainers"), ListKind::Map(&["containerPort", "protocol"])),
    ("ports", Some("ephemeralContainers"), ListKind::Map(&["containerPort", "protocol"])),
    // Of a Service; those of a NetworkPolicy lie in `ingress` and `egress` and are atomic.
    ("ports", Some("spec"), ListKind::Map(&["port", "protocol"])),
    ("hostAliases", None, ListKind::Map(&["ip"])),
    ("topologySpreadConstraints", None, ListKind::Map(&["topologyKey", "whenUnsatisfiable"])),
    ("schedulingGates", None, ListKind::Map(&["name"])),
    ("resourceClaims", None, ListKind::Map(&["name"])),
    ("claims", Some("resources"), ListKind::Map(&["name"])),
    // Of a ServiceAccount.
    ("secrets", Some(TOP), ListKind::Map(&["name"])),
    // Of webhook configurations.
    ("webhooks", Some(TOP), ListKind::Map(&["name"])),
    ("matchConditions", None, ListKind::Map(&["name"])),
    // Of admission policies; the `validations` and `mutations` have no key.
    ("variables", Some("spec"), ListKind::Map(&["name"])),
    // Of a CustomResourceDefinition.
    ("versions", Some("spec"), ListKind::Map(&["name"])),
    // Of a Gateway.
    ("listeners", Some("spec"), ListKind::Map(&["name"])),
    ("conditions", None, ListKind::Map(&["type"])),
    ("ownerReferences", Some("metadata"), ListKind::Map(&["uid"])),
    ("finalizers", Some("metadata"), ListKind::Set),
];

/// What a field at the top of the object lies in.
const TOP: &str = "";

/// The way from the top of an object to a field.
#[derive(Default)]
pub(super) struct Path<'a>(Vec<Step<'a>>);

/// One step of a [`Path`].
pub(super) enum Step<'a> {
    /// Into the field of this name.
    Field(&'a str),
    /// Into this item of a list.
    Item(&'a Value, ListKind),
}

impl<'a> Path<'a> {
    pub(super) fn push(&mut self, step: Step<'a>) {
        self.0.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

/// As a person writes it: `spec.ports[port=80,protocol=TCP].name`, `metadata.annotations[example.com/a]`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if name.contains(['.', '/', '[']) => write!(f, "[{name}]")?,
                Step::Field(name) if depth == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Item(item, ListKind::Map(keys)) => write!(f, "[{}]", key_text(item, keys))?,
                Step::Item(item, _) => write!(f, "[{}]", scalar_text(item))?,
            }
        }
        Ok(())
    }
}

fn key_text(item: &Value, keys: &[&str]) -> String {
    let pairs = keys.iter().map(|key| {
        let value = item.get(key).map(scalar_text);
        let value = value.or_else(|| key_default(key).map(str::to_owned)).unwrap_or_default();
        format!("{key}={value}")
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn scalar_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
