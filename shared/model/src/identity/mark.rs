//! The marks on objects that name a release.

use super::{Facts, Verb};
use crate::{names, object::Image};

/// One way to mark an object.
pub(super) enum Mark {
    /// A label or an annotation with the name of a release in the object's own namespace.
    Key(&'static str),
    /// Two annotations with the name and the namespace of a release. Another namespace than the object's does not
    /// count: one tenant could make another's release fail.
    Annotations { name: &'static str, namespace: &'static str },
    /// The Secret in which Helm keeps a revision of a release.
    HelmSecret,
}

/// First match wins.
pub(super) const MARKS: [Mark; 3] = [
    // What a person says outright.
    Mark::Key(names::MARK),
    // What Helm puts on every object of a release.
    Mark::Annotations { name: "meta.helm.sh/release-name", namespace: "meta.helm.sh/release-namespace" },
    // Helm's own record belongs to the transaction that it describes.
    Mark::HelmSecret,
];

impl Mark {
    /// What the mark on `object` says, if it is there.
    pub(super) fn name<'a>(&self, facts: &Facts<'_>, object: Image<'a>) -> Option<&'a str> {
        let name = match self {
            Self::Key(key) => object.label(key).or_else(|| object.annotation(key)),
            Self::Annotations { name, namespace } => object
                .annotation(name)
                .filter(|_| object.annotation(namespace).unwrap_or_default() == facts.namespace),
            Self::HelmSecret => helm_secret(facts, object),
        };
        name.filter(|name| !name.is_empty())
    }

    /// Whether the write brings the mark: a new object has it, or an object has it now. A controller that changes
    /// something else in a marked object is not a deployer for that; but only Helm writes Helm's Secrets.
    pub(super) fn brought(&self, facts: &Facts<'_>) -> bool {
        let name = self.name(facts, facts.object);
        let before = facts.old.and_then(|old| self.name(facts, old));
        name.is_some() && (self.always() || facts.verb != Verb::Update || name != before)
    }

    /// [`Self::brought`] in CEL, for an object that is there under `object`.
    pub(super) fn cel(&self, object: &str) -> String {
        let (name, before) = (self.cel_name(object), self.cel_name("oldObject"));
        if self.always() {
            return format!("{name} != ''");
        }
        format!("[{name}].exists(name, name != '' && (request.operation != 'UPDATE' || name != {before}))")
    }

    fn always(&self) -> bool {
        matches!(self, Self::HelmSecret)
    }

    /// [`Self::name`] in CEL: empty where there is none.
    fn cel_name(&self, object: &str) -> String {
        match self {
            Self::Key(key) => {
                format!("{}.orValue({}.orValue(''))", cel_label(object, key), cel_annotation(object, key))
            }
            Self::Annotations { name, namespace } => format!(
                "({}.orValue('') == request.?namespace.orValue('') ? {}.orValue('') : '')",
                cel_annotation(object, namespace),
                cel_annotation(object, name),
            ),
            Self::HelmSecret => format!(
                "(request.resource.group == '' && request.resource.resource == 'secrets' \
                 && {object}.?type.orValue('') == '{kind}' \
                 && {object}.metadata.?name.orValue('').matches('^{prefix}.+[.]v[0-9]+$') \
                 ? {object}.metadata.name : '')",
                kind = names::HELM_SECRET_TYPE,
                prefix = names::HELM_SECRET_PREFIX.replace('.', "[.]"),
            ),
        }
    }
}

/// The optional value of a label in CEL.
pub(super) fn cel_label(object: &str, key: &str) -> String {
    format!("{object}.metadata.?labels[?'{key}']")
}

fn cel_annotation(object: &str, key: &str) -> String {
    format!("{object}.metadata.?annotations[?'{key}']")
}

fn helm_secret<'a>(facts: &Facts<'_>, object: Image<'a>) -> Option<&'a str> {
    let is_secret = facts.group.is_empty() && facts.resource == "secrets";
    let kind = object.0.get("type").and_then(serde_json::Value::as_str);
    if !is_secret || kind != Some(names::HELM_SECRET_TYPE) {
        return None;
    }
    helm_release(object.meta("name")?).map(|(name, _)| name)
}

/// Takes the name of one of Helm's release Secrets apart: the release, and Helm's own number of its revision.
pub fn helm_release(secret: &str) -> Option<(&str, &str)> {
    let (name, revision) = secret.strip_prefix(names::HELM_SECRET_PREFIX)?.rsplit_once(".v")?;
    let number = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit());
    (number && !name.is_empty()).then_some((name, revision))
}
