//! What is recorded, what passes, and what is refused.

use serde_json::{Value, value::RawValue};

use super::{
    fence::{self, Stance},
    patch::Patch,
    possible,
    request::{Invalid, Request},
    sketch::Sketch,
    warning::Warning,
};
use crate::{
    identity::{Belongs, Deployers, Exempt, Facts, Verb},
    names::ReleaseKey,
    object::{Image, ObjectKey, ObjectRef},
    release::{Phase, Release},
    undo::{Header, Operation, Replicas, codec::Draft},
};

/// What a request turns out to be.
#[derive(Debug)]
pub enum Triage<'a> {
    /// Nothing to record, whatever state its release is in.
    Pass(Pass),
    /// A deployer's write that its marks place in a release of another namespace: only if the deployer may join it.
    Join(Box<Joining<'a>>),
    /// A deployer's write: to be decided with what is known of its release.
    Write(Box<Write<'a>>),
}

/// Why a write is allowed without a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// See [`Exempt`].
    Exempt(Exempt),
    /// The object lies in no namespace, and no release takes it in.
    ClusterScoped,
    /// A subresource other than `scale`, or no write.
    OtherOperation,
    /// It states a resourceVersion that is not the object's: the server will refuse it.
    CannotCommit,
    /// It changes nothing that a rollback would restore.
    NoChange,
}

impl Pass {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Exempt(Exempt::DryRun),
        Self::Exempt(Exempt::Resource),
        Self::Exempt(Exempt::Component),
        Self::Exempt(Exempt::Controlled),
        Self::Exempt(Exempt::NotDeployer),
        Self::ClusterScoped,
        Self::OtherOperation,
        Self::CannotCommit,
        Self::NoChange,
    ];

    /// A bounded value for a metric's label.
    pub fn metric_label(self) -> &'static str {
        match self {
            Self::Exempt(Exempt::DryRun) => "dry_run",
            Self::Exempt(Exempt::Resource) => "excluded_resource",
            Self::Exempt(Exempt::Component) => "component",
            Self::Exempt(Exempt::Controlled) => "controlled",
            Self::Exempt(Exempt::NotDeployer) => "not_deployer",
            Self::ClusterScoped => "cluster_scoped",
            Self::OtherOperation => "other_operation",
            Self::CannotCommit => "cannot_commit",
            Self::NoChange => "no_change",
        }
    }
}

/// A deployer's write.
#[derive(Debug)]
pub struct Write<'a> {
    request: &'a Request<'a>,
    verb: Verb,
    release: ReleaseKey,
    old: Option<Sketch<'a>>,
    new: Option<Sketch<'a>>,
}

/// What to do with a deployer's write.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Allow it, unrecorded.
    Pass {
        /// Why there is nothing to record.
        why: Pass,
        /// Gives the object the tags back that it had.
        patch: Option<Patch>,
    },
    /// Allow it once the record is durable.
    Record(Box<Recording<'a>>),
    /// Refuse it.
    Refuse {
        /// Why.
        message: String,
    },
}

/// A write to be recorded.
#[derive(Debug)]
pub struct Recording<'a> {
    /// The record.
    pub draft: Draft<'a>,
    /// Tags the object; a deletion or a scale has nothing to tag.
    pub patch: Option<Patch>,
    /// For the deployer, if this write begins a revision.
    pub warning: Option<Warning>,
    /// The client's next transaction begins with this write while a fence is still up: it may be allowed only once
    /// the fence is down, which the record brings about.
    pub knocks: bool,
}

/// Sorts out what is not to be recorded.
pub fn triage<'a>(request: &'a Request<'a>, deployers: &Deployers) -> Result<Triage<'a>, Invalid> {
    let scale = request.sub_resource == "scale";
    let verb = match request.operation.as_ref() {
        "CREATE" if !scale => Verb::Create,
        "UPDATE" => Verb::Update,
        "DELETE" if !scale => Verb::Delete,
        _ => return Ok(Triage::Pass(Pass::OtherOperation)),
    };
    if !scale && !request.sub_resource.is_empty() {
        return Ok(Triage::Pass(Pass::OtherOperation));
    }
    let new = (verb != Verb::Delete).then(|| sketch(request, request.object, "object")).transpose()?;
    let old = (verb != Verb::Create).then(|| sketch(request, request.old_object, "oldObject")).transpose()?;
    possible::check(request, old.iter().chain(&new).map(Sketch::image))?;
    let Belongs { join, own } = match belongs(request, verb, old.as_ref(), new.as_ref(), deployers) {
        Ok(belongs) => belongs,
        Err(exempt) => return Ok(Triage::Pass(Pass::Exempt(exempt))),
    };
    if cannot_commit(old.as_ref(), new.as_ref()) {
        return Ok(Triage::Pass(Pass::CannotCommit));
    }
    let write = |release| Write { request, verb, release, old, new };
    Ok(match (join, own) {
        (Some(join), own) => Triage::Join(Box::new(Joining { write: write(join), own })),
        (None, Some(own)) => Triage::Write(Box::new(write(own))),
        (None, None) => Triage::Pass(Pass::ClusterScoped),
    })
}

fn belongs(
    request: &Request<'_>,
    verb: Verb,
    old: Option<&Sketch<'_>>,
    new: Option<&Sketch<'_>>,
    deployers: &Deployers,
) -> Result<Belongs, Exempt> {
    let facts = Facts {
        verb,
        group: &request.resource.group,
        resource: &request.resource.plural,
        namespace: &request.namespace,
        user: &request.user_info.username,
        groups: &request.user_info.groups,
        field_manager: request.field_manager(),
        dry_run: request.dry_run == Some(true),
        object: new.or(old).map_or(Image(&Value::Null), Sketch::image),
        old: if verb == Verb::Update { old.map(Sketch::image) } else { None },
    };
    facts.concern(deployers)?;
    Ok(facts.belongs())
}

fn sketch<'a>(
    request: &Request<'_>,
    raw: Option<&'a RawValue>,
    field: &'static str,
) -> Result<Sketch<'a>, Invalid> {
    let raw = raw.ok_or_else(|| Invalid::NoObject { operation: request.operation.to_string(), field })?;
    Sketch::read(raw).map_err(|source| Invalid::Object { field, source })
}

/// The server compares resourceVersions after admission, with the very object that it showed us.
fn cannot_commit(old: Option<&Sketch<'_>>, new: Option<&Sketch<'_>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return false;
    };
    let stated = new.image().resource_version().filter(|version| !version.is_empty());
    stated.is_some() && stated != old.image().resource_version()
}

/// A write that is to be part of a release in another namespace than its object.
#[derive(Debug)]
pub struct Joining<'a> {
    write: Write<'a>,
    own: Option<ReleaseKey>,
}

impl<'a> Joining<'a> {
    /// The release that is to be joined: the deployer must be allowed the verb `join` on it, and its namespace must
    /// have opted in.
    pub fn release(&self) -> &ReleaseKey {
        &self.write.release
    }

    /// Goes on once it is known whether it may be: otherwise one tenant could make another's release fail.
    pub fn answered(self, granted: bool) -> Result<Write<'a>, Pass> {
        match self.own {
            _ if granted => Ok(self.write),
            Some(own) => Ok(Write { release: own, ..self.write }),
            None => Err(Pass::ClusterScoped),
        }
    }
}

impl<'a> Write<'a> {
    /// The release that the write belongs to.
    pub fn release(&self) -> &ReleaseKey {
        &self.release
    }

    /// Whether a cached `release` is too old to decide with: a cache may lag behind a fence either way. Helm's own
    /// records are rare and must not slip by; and nobody is refused because of a fence that is down already.
    pub fn needs_live_release(&self, release: Option<&Release>) -> bool {
        fence::is_helm_secret(self.request, self.name()) || self.stance(release) != Stance::Open
    }

    /// Whether the fence of the release refuses it.
    pub fn is_fenced(&self, release: Option<&Release>) -> bool {
        self.stance(release) == Stance::Shut
    }

    /// Decides, by what is known of the release.
    pub fn decide(self, release: Option<&Release>) -> Decision<'a> {
        let stance = self.stance(release);
        if stance == Stance::Shut {
            let fence = release.and_then(|r| r.status.as_ref()?.fence.as_ref());
            return Decision::Refuse { message: fence.map(|f| f.message.clone()).unwrap_or_default() };
        }
        if let Some(why) = self.no_change() {
            let patch = match (&self.old, &self.new) {
                (Some(old), Some(new)) if !self.is_scale() => Patch::untouched(new.image(), old.image()),
                _ => None,
            };
            return Decision::Pass { why, patch };
        }
        Decision::Record(Box::new(self.record(release, stance == Stance::Knock)))
    }

    fn stance(&self, release: Option<&Release>) -> Stance {
        let fence = release.and_then(|release| release.status.as_ref()?.fence.as_ref());
        let old = self.old.as_ref().map(Sketch::image);
        let prunes = fence::prunes(self.request, self.verb, self.name(), old);
        fence::stance(fence, self.request, self.begins(), prunes)
    }

    fn begins(&self) -> bool {
        fence::begins(self.request, self.verb, self.name(), self.new.as_ref().map(Sketch::image))
    }

    fn no_change(&self) -> Option<Pass> {
        let (old, new) = (self.old.as_ref()?, self.new.as_ref()?);
        let same = if self.is_scale() { old.replicas() == new.replicas() } else { old.same_content(new) };
        same.then_some(Pass::NoChange)
    }

    fn record(self, release: Option<&Release>, knocks: bool) -> Recording<'a> {
        let status = release.and_then(|release| release.status.as_ref());
        let revision = status.map_or(1, crate::release::ReleaseStatus::revision_of_next_write);
        let is_first = !status.and_then(|status| status.phase).is_some_and(Phase::is_undecided);
        let warning = is_first.then(|| Warning::new(&self.release, revision, release));
        let header = self.header(release, revision, is_first);
        let before = self.request.old_object.filter(|_| self.old.is_some());
        let after = self.request.object.filter(|_| self.new.is_some());
        let draft = Draft::new(header, before, after);
        let patch = self
            .new
            .filter(|_| self.request.sub_resource.is_empty())
            .and_then(|new| Patch::tag(new.image(), &self.release, revision, &draft.name));
        Recording { draft, patch, warning, knocks }
    }

    /// A write that begins a revision leaves open to which incarnation of the release it belongs: the cache may still
    /// hold one that was deleted a moment ago, and to delete a Release is to commit what belongs to it.
    fn header(&self, release: Option<&Release>, revision: u64, is_first: bool) -> Header {
        let operation = self.operation();
        let old = self.old.as_ref().map(Sketch::image);
        let text = |field: &str| old.and_then(|old| old.meta(field)).map(str::to_owned);
        let replicas = match (operation, &self.old, &self.new) {
            (Operation::Scale, Some(old), Some(new)) => {
                Some(Replicas { before: old.replicas(), after: new.replicas() })
            }
            _ => None,
        };
        let object = self.object();
        let generate_name = self.new.as_ref().filter(|_| object.key.name.is_empty());
        Header {
            operation,
            generate_name: generate_name.and_then(|new| new.image().meta("generateName")).map(str::to_owned),
            object,
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            undo: old.and_then(Image::undo),
            replicas,
            release: self.release.clone(),
            release_uid: release.filter(|_| !is_first).and_then(|release| release.metadata.uid.clone()),
            revision,
            begins: self.begins(),
            captured: false,
            user: self.request.user_info.username.to_string(),
            tool: self.request.field_manager().to_owned(),
            request: self.request.uid.to_string(),
        }
    }

    fn operation(&self) -> Operation {
        match self.verb {
            _ if self.is_scale() => Operation::Scale,
            Verb::Create => Operation::Create,
            Verb::Update => Operation::Update,
            Verb::Delete => Operation::Delete,
        }
    }

    fn object(&self) -> ObjectRef {
        let Request { resource, kind, .. } = self.request;
        let kind = if self.is_scale() { scaled_kind(&resource.plural) } else { kind.kind.as_ref() };
        ObjectRef {
            key: ObjectKey {
                group: resource.group.to_string(),
                resource: resource.plural.to_string(),
                namespace: Some(self.request.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
                name: self.name().to_owned(),
            },
            version: resource.version.to_string(),
            kind: kind.to_owned(),
        }
    }

    /// The object's own name: that of the request is empty for a deletecollection.
    fn name(&self) -> &str {
        let object = self.new.as_ref().or(self.old.as_ref());
        object.and_then(|object| object.image().meta("name")).unwrap_or_default()
    }

    fn is_scale(&self) -> bool {
        !self.request.sub_resource.is_empty()
    }
}

/// The kind behind a `scale` subresource, which shows only `Scale`; empty where only discovery could tell.
fn scaled_kind(resource: &str) -> &'static str {
    match resource {
        "deployments" => "Deployment",
        "replicasets" => "ReplicaSet",
        "replicationcontrollers" => "ReplicationController",
        "statefulsets" => "StatefulSet",
        _ => "",
    }
}
