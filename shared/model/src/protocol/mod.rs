//! The life of a revision: `step(&Observed, now) -> Decision`, one pure function.
//!
//! ```text
//! Open ── quiet, nothing pending ──▶ Progressing ── all ready ──▶ Soaking ── stayed ready ──▶ Healthy
//!   │ ▲                                 │   a new record: Open again   │ failed
//!   │ └─────────────────────────────────┴──────────────────────────────┤
//!   │                            failed, or the deadline passed        ▼
//!   └── failed while a client still waits ──────────────────▶ RollingBack ──▶ RolledBack  (or Held, Notified)
//! ```
//!
//! # Guarantees
//!
//! - `step` is total and deterministic.
//! - A decision either changes the phase or restores objects, never both: what is about to be done is stored first.
//! - Nothing is restored before the status says where the evidence is, or why there is none.
//! - Each effect carries its precondition, so that doing it twice, or late, does nothing.
//! - After any prefix of the effects, observing and stepping again goes on to the same end.

mod aside;
mod client;
mod clock;
mod decision;
mod evidence;
mod fence;
mod log;
mod milestone;
mod observed;
mod orders;
mod report;
mod restored;
mod soak;
mod step;
mod undoing;
mod unrecorded;

pub use aside::{detachment, pod as aside_pod};
pub use clock::BLIND_AFTER;
pub use decision::{Decision, Effect, Notice, Wake};
pub use log::VERIFY_AFTER;
pub use milestone::{Milestone, milestones, newcomers, strays};
pub use observed::{Observed, Pack, Refusal, Spent, Watched};
pub use step::step;
pub use unrecorded::{Survey, Unrecorded};
