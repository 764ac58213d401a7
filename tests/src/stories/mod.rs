//! What Backout does for its users, as stories with the real clients: the demo tells them, the tests check them.
//!
//! Every claim that a story makes is checked against the API server before it is told.

mod deployer;
mod helm;
mod kubectl;
mod measure;
mod neutral;
mod snapshot;
mod stage;
mod tell;

pub use deployer::{Deployer, Step, bad_shop, good_shop, manifest};
pub use helm::helm;
pub use kubectl::{autoscaler, failed_install, shop};
pub use measure::restoring_writes;
pub use snapshot::{Difference, Snapshot};
pub use stage::{Home, Stage};
pub use tell::{Quiet, Screen, Tell};

use backout_model::release::Phase;
use serde::Serialize;

/// How a story ended.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub story: &'static str,
    /// The phase that the revision ended in.
    pub outcome: Phase,
    /// How many objects the revision had written.
    pub objects: u64,
    /// From the first failing pod to the first restoring write.
    pub detect_seconds: Option<f64>,
    /// From the first restoring write to the last.
    pub restore_seconds: Option<f64>,
    /// Whether every object is as it was before, field ownership included; of a healthy revision, as it was deployed.
    pub exact: bool,
}
