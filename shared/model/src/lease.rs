//! Which of several watchers works: the one that holds the Lease.
//!
//! Safety never rests on it, for every write is compared and swapped; it keeps the others from doing the same work again.
//! As in client-go's leaderelection, no clock of another machine is trusted: a Lease has run out when it was seen unchanged
//! for its whole time, by the one clock of who looks.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};

/// The name of the Lease, in Backout's namespace.
pub const NAME: &str = "backout-watcher";
/// For how long a Lease holds that is not renewed: others take it over no sooner.
pub const DURATION: Duration = Duration::from_secs(12);
/// Who could not renew it for so long stops working; the rest of [`DURATION`] is for what is under way.
pub const GIVE_UP: Duration = Duration::from_secs(8);
/// How often it is renewed, or looked at by who waits for it.
pub const PERIOD: Duration = Duration::from_secs(2);

/// The Lease to write so that `me` holds it; `None` where somebody else does. `found` is the one that is there, seen as it
/// is for `unchanged`; its resourceVersion is the precondition of the write.
pub fn claim(found: Option<&Lease>, me: &str, unchanged: Duration, now: Timestamp) -> Option<Lease> {
    let spec = found.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let is_mine = holder == me;
    if !is_mine && !holder.is_empty() && unchanged < time_of(&spec) {
        return None;
    }
    let now = Some(MicroTime(now));
    let transitions = spec.lease_transitions.unwrap_or_default();
    Some(Lease {
        metadata: found.map_or_else(new, |lease| lease.metadata.clone()),
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if is_mine { spec.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if is_mine || found.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }),
    })
}

/// The same Lease, given back: the next one need not wait.
pub fn released(held: &Lease, now: Timestamp) -> Lease {
    let spec = held.spec.clone().unwrap_or_default();
    let spec = LeaseSpec {
        holder_identity: None,
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..spec
    };
    Lease { spec: Some(spec), ..held.clone() }
}

/// For how long the Lease was taken; one that does not say holds for ours.
fn time_of(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(DURATION, Duration::from_secs)
}

fn new() -> ObjectMeta {
    ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn spec(lease: &Lease) -> LeaseSpec {
        lease.spec.clone().unwrap()
    }

    fn held() -> Lease {
        let mut lease = claim(None, "a", Duration::ZERO, at(0)).unwrap();
        lease.metadata.resource_version = Some("7".to_owned());
        lease
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken() {
        let made = held();
        assert_eq!(made.metadata.name.as_deref(), Some(NAME));
        let expected = LeaseSpec {
            holder_identity: Some("a".to_owned()),
            lease_duration_seconds: Some(12),
            acquire_time: Some(MicroTime(at(0))),
            renew_time: Some(MicroTime(at(0))),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        };
        assert_eq!(spec(&made), expected);
        let free = released(&made, at(5));
        let taken = claim(Some(&free), "b", Duration::ZERO, at(6)).unwrap();
        assert_eq!(taken.metadata, made.metadata, "it is compared and swapped");
        let expected = LeaseSpec {
            holder_identity: Some("b".to_owned()),
            acquire_time: Some(MicroTime(at(6))),
            renew_time: Some(MicroTime(at(6))),
            lease_transitions: Some(1),
            ..expected
        };
        assert_eq!(spec(&taken), expected);
    }

    #[test]
    fn who_holds_it_renews_it() {
        let renewed = spec(&claim(Some(&held()), "a", Duration::ZERO, at(9)).unwrap());
        let expected = LeaseSpec { renew_time: Some(MicroTime(at(9))), ..spec(&held()) };
        assert_eq!(renewed, expected);
    }

    #[test]
    fn a_lease_of_somebody_else_is_taken_once_it_was_seen_unchanged_for_its_time_whatever_any_clock_says() {
        for clock in [-9_000, 0, 9_000] {
            let claim = |unchanged| claim(Some(&held()), "b", unchanged, at(clock));
            assert_eq!(claim(DURATION.mul_f64(0.999)), None);
            assert_eq!(spec(&claim(DURATION).unwrap()).holder_identity.as_deref(), Some("b"));
        }
    }

    #[test]
    fn a_lease_that_does_not_say_for_how_long_is_held_for_our_time() {
        for seconds in [None, Some(-5)] {
            let mut lease = held();
            lease.spec.as_mut().unwrap().lease_duration_seconds = seconds;
            assert_eq!(claim(Some(&lease), "b", DURATION / 2, at(0)), None);
            assert!(claim(Some(&lease), "b", DURATION, at(0)).is_some());
        }
    }

    #[test]
    fn who_cannot_renew_it_stops_before_anybody_takes_it_over() {
        assert!(GIVE_UP + PERIOD < DURATION);
    }
}
