//! A real cluster for Backout's tests and demo: control plane, simulated nodes, clients, faults, witnesses.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use system_tests::{Backout, BackoutOptions, Cluster, User};
//!
//! let cluster = Cluster::shared()?;
//! cluster.kubectl().user(User::Named("alice")).run(&["get", "pods"]).await?;
//! # Ok(())
//! # }
//! ```

pub mod audit;
pub mod backout;
pub mod certs;
pub mod cluster;
pub mod components;
pub mod demo;
mod exchange;
pub mod faults;
pub mod guard;
pub mod images;
pub mod monitoring;
pub mod mount;
pub mod namespace;
pub mod node;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod records;
pub mod site;
pub mod skew;
mod skip;
pub mod stories;
pub mod tools;
pub mod trails;
mod wait;

pub use backout::{Backout, BackoutOptions};
pub use cluster::{Cluster, Options, User};
pub use components::{Component, Components};
pub use namespace::TestNamespace;
pub use node::Node;
pub use process::{Exit, Process, Spec};
pub use site::Site;
pub use skip::skip;
pub use tools::Output;
pub use wait::eventually;
