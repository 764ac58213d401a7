//! The reusable shell of a Kubernetes service: HTTPS server, TLS, admin port, readiness, shutdown, logs, and calls to
//! the API server that always end.
//!
//! Nothing here knows what the service is for.

pub mod admin;
pub mod api;
pub mod metrics;
pub mod readiness;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
