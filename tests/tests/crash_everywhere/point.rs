//! Where in the life of a revision a request is made.

use std::{collections::HashMap, fmt};

use backout_model::names;
use serde_json::Value;
use system_tests::{backout::NAMESPACE, proxy::Call};

/// Between whom a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Site {
    /// The watcher and the API server.
    Watcher,
    /// The webhook and the API server.
    Webhook,
    /// The API server and the webhook.
    Review,
}

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the request is forwarded.
    Before,
    /// After it was forwarded, and before it is answered.
    Between,
    /// After it was answered.
    After,
}

pub(crate) const MOMENTS: [Moment; 3] = [Moment::Before, Moment::Between, Moment::After];

/// One request of a scenario. Requests of a live system are never quite the same twice: the n-th of its kind since the
/// phase of the Release was last set is the same place in the life of a revision, however often others were made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Point {
    pub(crate) site: Site,
    /// The phase that was set last, and how often it was.
    epoch: (String, u32),
    /// Verb and resource; of a Release's status the phase that it sets, too.
    kind: String,
    nth: u32,
    pub(crate) is_write: bool,
}

impl Point {
    /// When in the life of a revision it is.
    pub(crate) fn time(&self) -> String {
        format!("{:?} {} {}", self.site, self.epoch.0, self.epoch.1)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, times) = &self.epoch;
        write!(f, "{:?}: {phase} {times}: {} {}", self.site, self.kind, self.nth)
    }
}

/// A request that a process makes when it starts, of no namespace: the n-th of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Start {
    kind: String,
    nth: u32,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its {} {}", self.kind, self.nth)
    }
}

/// Counts the requests of a process that concern no namespace.
#[derive(Default)]
pub(crate) struct StartCounter(HashMap<String, u32>);

impl StartCounter {
    pub(crate) fn count(&mut self, call: &Call) -> Start {
        let nth = self.0.entry(call.kind()).or_default();
        *nth += 1;
        Start { kind: call.kind(), nth: *nth }
    }
}

/// Counts the requests that concern one namespace.
#[derive(Default)]
pub(crate) struct Counter {
    epoch: (String, u32),
    phases: HashMap<String, u32>,
    kinds: HashMap<(Site, String), u32>,
}

impl Counter {
    /// The place of this request, which is the next one.
    pub(crate) fn count(&mut self, site: Site, call: &Call) -> Point {
        let phase = (site == Site::Watcher && call.kind() == STATUS).then(|| phase_of(call)).flatten();
        let kind = match &phase {
            Some(phase) => format!("{STATUS} {phase}"),
            None => call.kind(),
        };
        let nth = self.kinds.entry((site, kind.clone())).or_default();
        *nth += 1;
        // What the webhook does depends on no phase.
        let epoch = if site == Site::Watcher { self.epoch.clone() } else { Default::default() };
        let point = Point { site, epoch, kind, nth: *nth, is_write: call.is_write() };
        if let Some(phase) = phase.filter(|phase| *phase != self.epoch.0) {
            let times = self.phases.entry(phase.clone()).or_default();
            *times += 1;
            self.epoch = (phase, *times);
            // What the webhook does is not the watcher's to count.
            self.kinds.retain(|(site, _), _| *site != Site::Watcher);
        }
        point
    }
}

const STATUS: &str = "update releases/status";

fn phase_of(call: &Call) -> Option<String> {
    let release: Value = serde_json::from_slice(&call.body).ok()?;
    release.pointer("/status/phase")?.as_str().map(str::to_owned)
}

/// Which namespace a request concerns. Records are known by their names, once the webhook has sent them.
pub(crate) fn namespace_of(site: Site, call: &Call, records: &mut HashMap<String, String>) -> Option<String> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer)?.as_str().map(str::to_owned);
    match site {
        Site::Review => text(&serde_json::from_slice(&call.body).ok()?, "/request/namespace"),
        Site::Webhook if call.kind() == "create secrets" => {
            let secret: Value = serde_json::from_slice(&call.body).ok()?;
            let label = format!("/metadata/labels/{}", names::RELEASE_NAMESPACE.replace('/', "~1"));
            let namespace = text(&secret, &label)?;
            records.insert(text(&secret, "/metadata/name")?, namespace.clone());
            Some(namespace)
        }
        _ if call.namespace() == Some(NAMESPACE) => match call.name() {
            Some(name) => records.get(name).cloned(),
            None => selected(&call.query),
        },
        _ if call.resource() == "namespaces" => call.name().map(str::to_owned),
        _ => call.namespace().map(str::to_owned),
    }
}

/// The namespace in the label selector of a list of records.
fn selected(query: &str) -> Option<String> {
    let label = format!("{}%3D", names::RELEASE_NAMESPACE.replace('/', "%2F"));
    let (_, rest) = query.split_once(&label)?;
    Some(rest.split(['%', '&']).next()?.to_owned())
}
