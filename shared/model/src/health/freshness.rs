//! Whether a failure that an object reports is news, or was there before the revision.
//!
//! A condition such as `ProgressDeadlineExceeded` survives into the next generation: who trusts it declares every
//! rollback to an existing ReplicaSet failed. Times are compared with the state before, never with a clock.

use std::time::Duration;

use serde_json::Value;

use super::facts::{Condition, Facts};
use crate::object::Image;

/// An object, and the same object before the revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    /// The object as it is.
    pub(super) live: Facts<'a>,
    /// The object as it was; absent if the revision created it.
    pub(super) before: Option<Facts<'a>>,
    /// For how long the revision has been under way, if that is known.
    pub(super) age: Option<Duration>,
}

impl<'a> Case<'a> {
    /// Another object that had the name before is no state before.
    pub(super) fn new(live: &'a Value, baseline: Option<&'a Value>) -> Self {
        let same = |before: &&Value| Image(before).uid() == Image(live).uid();
        Self { live: Facts(live), before: baseline.filter(same).map(Facts), age: None }
    }

    /// The same, of a revision that has been under way for so long.
    pub(super) fn aged(self, age: Option<Duration>) -> Self {
        Self { age, ..self }
    }

    /// Whether a condition of the live object speaks of its current spec, and did not say the same before. Asked only
    /// once the controller has seen that spec.
    pub(super) fn is_fresh(&self, condition: Condition<'_>) -> bool {
        let before = self.before.and_then(|before| before.condition(condition.type_()));
        !self.speaks_of_older(condition) && before.is_none_or(|before| !condition.is_same_as(before))
    }

    /// Whether a condition says itself that it is about an older spec.
    pub(super) fn speaks_of_older(&self, condition: Condition<'_>) -> bool {
        match (condition.observed_generation(), self.live.number("/metadata/generation")) {
            (Some(observed), Some(generation)) => observed < generation,
            _ => false,
        }
    }

    /// Whether the revision left the spec as it was.
    pub(super) fn is_unchanged(&self) -> bool {
        self.before.is_some_and(|before| {
            before.number("/metadata/generation") == self.live.number("/metadata/generation")
        })
    }

    /// Whether the revision left what pods are made from as it was, so that there are pods from before.
    pub(super) fn keeps_pods(&self) -> bool {
        self.before
            .is_some_and(|before| before.0.pointer("/spec/template") == self.live.0.pointer("/spec/template"))
    }
}
