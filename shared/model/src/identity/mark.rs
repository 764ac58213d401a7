//! The marks on objects that name a release.

use super::{Facts, Verb};
use crate::{names, object::Image};

/// One way to mark an object.
pub(super) struct Mark {
    /// Where the name of the release stands.
    name: Place,
    /// Where its namespace stands.
    namespace: Namespace,
}

/// Where a mark stands.
enum Place {
    Label(&'static str),
    Annotation(&'static str),
    /// A label, or else an annotation.
    Either(&'static str),
    /// What stands before the first colon of an annotation.
    Head(&'static str),
    /// A label that counts only where this tool writes it, by the beginning of its field manager in lower case.
    LabelBy(&'static str, &'static str),
    /// A label that counts only where this annotation stands, too.
    LabelWith(&'static str, &'static str),
    /// The name of the Secret in which Helm keeps a revision of a release, in the way Helm names it.
    HelmSecret,
}

/// In which namespace the release is that a mark names.
enum Namespace {
    /// In the object's own.
    Own,
    /// In the one that stands there, or else in the object's own.
    At(Place),
    /// In the one that stands there; without it the mark does not count.
    Only(Place),
}

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) name: &'a str,
    /// Empty for the object's own.
    pub(super) namespace: &'a str,
}

/// First match wins.
pub(super) const MARKS: [Mark; 11] = [
    // What a person says outright.
    Mark {
        name: Place::Either(names::MARK),
        namespace: Namespace::At(Place::Either(names::RELEASE_NAMESPACE)),
    },
    // What Helm puts on every object of a release.
    Mark {
        name: Place::Annotation("meta.helm.sh/release-name"),
        namespace: Namespace::Only(Place::Annotation("meta.helm.sh/release-namespace")),
    },
    // Helm's own record belongs to the transaction that it describes.
    Mark { name: Place::HelmSecret, namespace: Namespace::Own },
    Mark {
        name: Place::Label("helm.toolkit.fluxcd.io/name"),
        namespace: Namespace::Only(Place::Label("helm.toolkit.fluxcd.io/namespace")),
    },
    Mark {
        name: Place::Label("kustomize.toolkit.fluxcd.io/name"),
        namespace: Namespace::Only(Place::Label("kustomize.toolkit.fluxcd.io/namespace")),
    },
    // Argo CD names applications, which may reach into many namespaces: in each they are a release of their own.
    Mark { name: Place::Head("argocd.argoproj.io/tracking-id"), namespace: Namespace::Own },
    Mark { name: Place::Label("argocd.argoproj.io/instance"), namespace: Namespace::Own },
    Mark { name: Place::LabelBy("app.kubernetes.io/instance", "argocd"), namespace: Namespace::Own },
    Mark { name: Place::Label("kapp.k14s.io/app"), namespace: Namespace::Own },
    // KEP-3659.
    Mark { name: Place::Label("applyset.kubernetes.io/part-of"), namespace: Namespace::Own },
    // Helm puts nothing of its own on hooks; but charts name the release so (helm.sh, Chart Best Practices, Labels).
    Mark { name: Place::LabelWith("app.kubernetes.io/instance", "helm.sh/hook"), namespace: Namespace::Own },
];

impl Mark {
    /// What the mark on `object` says, if it is there.
    pub(super) fn says<'a>(&self, facts: &Facts<'_>, object: Image<'a>) -> Option<Said<'a>> {
        let name = self.name.read(facts, object)?;
        let namespace = match &self.namespace {
            Namespace::Own => "",
            Namespace::At(place) => place.read(facts, object).unwrap_or_default(),
            Namespace::Only(place) => place.read(facts, object)?,
        };
        Some(Said { name, namespace })
    }

    /// Whether the write brings the mark: a new object has it, or an object has it now. A controller that changes
    /// something else in a marked object is not a deployer for that; but only Helm writes Helm's Secrets.
    pub(super) fn brought(&self, facts: &Facts<'_>) -> bool {
        let name = |object| self.says(facts, object).map(|said| said.name);
        let (now, before) = (name(facts.object), facts.old.and_then(name));
        now.is_some() && (self.always() || facts.verb != Verb::Update || now != before)
    }

    /// [`Self::brought`] in CEL, for an object that is there under `object`.
    pub(super) fn cel(&self, object: &str) -> String {
        let (name, before) = (self.cel_name(object), self.cel_name("oldObject"));
        if self.always() {
            return format!("{name} != ''");
        }
        format!("[{name}].exists(name, name != '' && (request.operation != 'UPDATE' || name != {before}))")
    }

    /// In CEL: whether the mark on `object` names a release in a namespace in which there can be one. `None` if it never
    /// names one: such a mark does not count where the object has none.
    pub(super) fn cel_elsewhere(&self, object: &str, not_in: &str) -> Option<String> {
        match &self.namespace {
            Namespace::Own => None,
            Namespace::At(place) | Namespace::Only(place) => {
                let (name, namespace) = (self.name.cel(object), place.cel(object));
                Some(format!("({name} != '' && !({namespace} in {not_in}))"))
            }
        }
    }

    fn always(&self) -> bool {
        matches!(self.name, Place::HelmSecret)
    }

    /// The name that the mark says, in CEL: empty where it does not count.
    fn cel_name(&self, object: &str) -> String {
        let name = self.name.cel(object);
        match &self.namespace {
            Namespace::Own | Namespace::At(_) => name,
            Namespace::Only(place) => format!("({} != '' ? {name} : '')", place.cel(object)),
        }
    }
}

impl Place {
    fn read<'a>(&self, facts: &Facts<'_>, object: Image<'a>) -> Option<&'a str> {
        let text = match self {
            Self::Label(key) => object.label(key),
            Self::Annotation(key) => object.annotation(key),
            Self::Either(key) => object.label(key).or_else(|| object.annotation(key)),
            Self::Head(key) => object.annotation(key).and_then(|text| text.split(':').next()),
            Self::LabelBy(key, tool) => {
                object.label(key).filter(|_| facts.field_manager.to_ascii_lowercase().starts_with(tool))
            }
            Self::LabelWith(key, annotation) => object.annotation(annotation).and_then(|_| object.label(key)),
            Self::HelmSecret => helm_secret(facts, object),
        };
        text.filter(|text| !text.is_empty())
    }

    /// [`Self::read`] in CEL: empty where there is nothing.
    fn cel(&self, object: &str) -> String {
        match self {
            Self::Label(key) => format!("{}.orValue('')", cel_label(object, key)),
            Self::Annotation(key) => format!("{}.orValue('')", cel_annotation(object, key)),
            Self::Either(key) => {
                format!("{}.orValue({}.orValue(''))", cel_label(object, key), cel_annotation(object, key))
            }
            Self::Head(key) => format!("{}.orValue('').split(':')[0]", cel_annotation(object, key)),
            Self::LabelBy(key, tool) => format!(
                "({}.startsWith('{tool}') ? {}.orValue('') : '')",
                super::condition::TOOL,
                cel_label(object, key)
            ),
            Self::LabelWith(key, annotation) => format!(
                "({}.hasValue() ? {}.orValue('') : '')",
                cel_annotation(object, annotation),
                cel_label(object, key)
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

/// Whether a write may be Helm's, by its field manager: Helm takes the name of its program, or of the one it is built into
/// (`helm-controller`, `terraform-provider-helm`), and none for its release Secrets.
pub fn is_helm(field_manager: &str) -> bool {
    field_manager.is_empty() || field_manager.to_ascii_lowercase().contains("helm")
}

/// Takes the name of one of Helm's release Secrets apart: the release, and Helm's own number of its revision.
pub fn helm_release(secret: &str) -> Option<(&str, &str)> {
    let (name, revision) = secret.strip_prefix(names::HELM_SECRET_PREFIX)?.rsplit_once(".v")?;
    let number = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit());
    (number && !name.is_empty()).then_some((name, revision))
}
