//! The conditions under which a write is a deployer's, each in Rust and in CEL.

use k8s_openapi::api::admissionregistration::v1::MatchCondition;

use super::{Deployers, Facts, SERVICE_ACCOUNT, Verb, mark};
use crate::names;

/// Why a write does not concern Backout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exempt {
    /// Nothing is to be stored.
    DryRun,
    /// Such objects are never part of a deployment.
    Resource,
    /// The write is the cluster's own, or Backout's.
    Component,
    /// The object follows from another one.
    Controlled,
    /// The write is of an application or an operator at its work.
    NotDeployer,
}

/// One row: all must hold.
pub(super) struct Condition {
    name: &'static str,
    exempt: Exempt,
    holds: fn(&Facts<'_>, &Deployers) -> bool,
    cel: fn(&Deployers) -> String,
}

/// Cheapest and most selective first; the API server stops at the first that is false.
pub(super) const CONDITIONS: [Condition; 5] = [
    // `kubectl diff` must not see our labels move.
    Condition {
        name: "not-a-dry-run",
        exempt: Exempt::DryRun,
        holds: |facts, _| !facts.dry_run,
        cel: |_| "!request.?dryRun.orValue(false)".to_owned(),
    },
    Condition {
        name: "not-an-excluded-resource",
        exempt: Exempt::Resource,
        holds: |facts, _| {
            !GROUPS.contains(&facts.group)
                && !RESOURCES.contains(&format!("{}/{}", facts.group, facts.resource).as_str())
        },
        cel: |_| {
            format!(
                "!(request.resource.group in {} \
                 || request.resource.group + '/' + request.resource.resource in {})",
                list(&GROUPS),
                list(&RESOURCES),
            )
        },
    },
    Condition {
        name: "not-a-component",
        exempt: Exempt::Component,
        holds: |facts, _| {
            !USERS.contains(&facts.user)
                && !USER_PREFIXES.iter().any(|prefix| facts.user.starts_with(prefix))
                && !facts.groups.iter().any(|group| group == NODES)
        },
        cel: |_| {
            format!(
                "!({USER} in {} || {}.exists(p, {USER}.startsWith(p)) \
                 || '{NODES}' in request.userInfo.?groups.orValue([]))",
                list(&USERS),
                list(&USER_PREFIXES),
            )
        },
    },
    // ReplicaSets, the Pods of workloads, the Secrets of operators: undone with what they follow from.
    Condition {
        name: "not-controlled",
        exempt: Exempt::Controlled,
        holds: |facts, _| !is_controlled(facts),
        cel: |_| {
            format!(
                "!({BEFORE}).metadata.?ownerReferences.orValue([]).exists(r, r.?controller.orValue(false))"
            )
        },
    },
    Condition {
        name: "by-a-deployer",
        exempt: Exempt::NotDeployer,
        holds: is_deployer,
        cel: cel_is_deployer,
    },
];

impl Condition {
    pub(super) fn check(&self, facts: &Facts<'_>, deployers: &Deployers) -> Result<(), Exempt> {
        if (self.holds)(facts, deployers) { Ok(()) } else { Err(self.exempt) }
    }

    pub(super) fn render(&self, deployers: &Deployers) -> MatchCondition {
        MatchCondition { name: self.name.to_owned(), expression: (self.cel)(deployers) }
    }
}

const USER: &str = "request.userInfo.?username.orValue('')";
pub(super) const TOOL: &str = "request.?options.?fieldManager.orValue('').lowerAscii()";
const OBJECT: &str = "request.operation == 'DELETE' ? oldObject : object";
const BEFORE: &str = "request.operation == 'CREATE' ? object : oldObject";

/// Groups of which nothing is recorded: questions, heartbeats and Backout's own kinds.
const GROUPS: [&str; 6] = [
    "authentication.k8s.io",
    "authorization.k8s.io",
    "coordination.k8s.io",
    "events.k8s.io",
    "metrics.k8s.io",
    names::GROUP,
];

/// Resources of which nothing is recorded, as `GROUP/RESOURCE`: what only the cluster itself has a use for. Namespaces
/// are there because the API server takes them for objects in themselves.
const RESOURCES: [&str; 5] =
    ["/bindings", "/endpoints", "/events", "/namespaces", "discovery.k8s.io/endpointslices"];

/// Users that are parts of the cluster or of Backout. `system:admin` is a person.
const USERS: [&str; 7] = [
    "system:apiserver",
    "system:cloud-controller-manager",
    "system:kube-controller-manager",
    "system:kube-proxy",
    "system:kube-scheduler",
    "system:serviceaccount:backout-system:backout-watcher",
    "system:serviceaccount:backout-system:backout-webhook",
];

/// Nodes, and the controllers of the cluster under their own names.
const USER_PREFIXES: [&str; 2] = ["system:node:", "system:serviceaccount:kube-system:"];

const NODES: &str = "system:nodes";

/// Field managers of deploy tools, in lower case.
const TOOLS: [&str; 9] = [
    "argocd-application-controller",
    "argocd-controller",
    "helm",
    "helm-controller",
    "kustomize-controller",
    "nelm",
    "skaffold",
    "tilt",
    "werf",
];

/// Beginnings of field managers of deploy tools, in lower case.
const TOOL_PREFIXES: [&str; 9] =
    ["ansible", "flux", "kapp", "kluctl", "kubectl", "opentofu", "pulumi", "terraform", "timoni"];

/// As it was before the write: nobody is to hide a change by naming a controller with it.
fn is_controlled(facts: &Facts<'_>) -> bool {
    let before = facts.old.unwrap_or(facts.object);
    let owners = || before.0.get("metadata")?.get("ownerReferences")?.as_array();
    owners().is_some_and(|owners| owners.iter().any(|o| o.get("controller") == Some(&true.into())))
}

fn is_deployer(facts: &Facts<'_>, deployers: &Deployers) -> bool {
    let tool = facts.field_manager.to_ascii_lowercase();
    !facts.user.starts_with(SERVICE_ACCOUNT)
        || TOOLS.contains(&tool.as_str())
        || TOOL_PREFIXES.iter().any(|prefix| tool.starts_with(prefix))
        || (facts.verb == Verb::Delete && facts.object.label(names::UNDO).is_some())
        || deployers.accounts.iter().any(|account| account == facts.user)
        || mark::MARKS.iter().any(|mark| mark.brought(facts))
}

/// [`is_deployer`] in CEL, where the only way to give a value a name is to look for it in a list of one.
fn cel_is_deployer(deployers: &Deployers) -> String {
    let mut ways = vec![
        format!("!{USER}.startsWith('{SERVICE_ACCOUNT}')"),
        format!(
            "[{TOOL}].exists(tool, tool in {} || {}.exists(p, tool.startsWith(p)))",
            list(&TOOLS),
            list(&TOOL_PREFIXES),
        ),
        format!(
            "(request.operation == 'DELETE' && {}.hasValue())",
            mark::cel_label("oldObject", names::UNDO)
        ),
    ];
    if !deployers.accounts.is_empty() {
        ways.push(format!("{USER} in {}", list(&deployers.accounts)));
    }
    ways.extend(mark::MARKS.iter().map(|mark| format!("[{OBJECT}].exists(o, {})", mark.cel("o"))));
    ways.join("\n|| ")
}

/// That an object without a namespace brings, or brought, the mark of a release in a namespace that may opt in.
pub(super) fn marked() -> MatchCondition {
    let not_in = list(&[[""].as_slice(), &names::PROTECTED_NAMESPACES].concat());
    let ways = mark::MARKS.iter().filter_map(|mark| mark.cel_elsewhere("o", &not_in));
    let ways = ways.map(|way| format!("[object, oldObject].exists(o, o != null && {way})"));
    MatchCondition { name: "marked".to_owned(), expression: ways.collect::<Vec<_>>().join("\n|| ") }
}

/// A list of strings in CEL. None of them holds a quote or a backslash: they are constants here, or checked by
/// [`Deployers::new`].
fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<_> = items.iter().map(|item| format!("'{}'", item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}
