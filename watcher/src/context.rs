//! What the parts of the watcher share.

use backout_model::{release::Policy, rollback::Options};

use crate::{
    cluster::Cluster, events::Events, memory::Memories, metrics::Metrics, records::Log, schemas::Documents,
    standings::Standings,
};

/// What every look at a release needs.
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) log: Log,
    pub(crate) documents: Documents,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) memories: Memories,
    pub(crate) standings: Standings,
    /// The name of the configuration with which the API server calls the webhook.
    pub(crate) registration: String,
    /// The watcher's flags.
    pub(crate) policy: Policy,
    pub(crate) options: Options,
}
