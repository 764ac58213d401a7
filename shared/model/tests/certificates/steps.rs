//! What is done next, case by case.

use std::time::Duration;

use backout_model::certificates::{
    Authority, Configuration, Fingerprint, Leaf, Observed, Settings, Step, Validity, service_names, step,
};
use jiff::{SignedDuration, Timestamp};

use super::world::{HOUR, World, settings};

/// The steps that a watcher takes until it waits.
fn steps(world: &mut World) -> Vec<&'static str> {
    let looks: Vec<_> = (0..40).filter_map(|_| world.advance(0)).collect();
    looks.iter().map(name).collect()
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::MakeAuthority { .. } => "authority",
        Step::Trust(_) => "trust",
        Step::MakeLeaf { .. } => "leaf",
        Step::Retire { .. } => "retire",
        Step::Wait(_) => "wait",
    }
}

/// In order, and seen so for long.
fn settled() -> World {
    let mut world = World::new(1, &[(0, 0)]);
    world.runs(1200);
    assert!(world.is_in_order());
    world
}

fn issuer(world: &World) -> Fingerprint {
    world.leaf().unwrap().leaf.issuer.clone().unwrap()
}

#[test]
fn from_nothing_everything_is_made_at_once() {
    let mut world = World::new(1, &[(0, 0)]);
    assert_eq!(steps(&mut world), ["authority", "trust", "leaf"]);
    assert!(world.is_in_order());
    assert_eq!(steps(&mut world), [""; 0]);
}

#[test]
fn a_leaf_is_renewed_when_a_third_of_its_time_is_left() {
    let mut world = settled();
    let leaf = world.leaf().unwrap().leaf.clone();
    let renewal = leaf.validity.renewal();
    assert_eq!(renewal.duration_since(leaf.validity.from), leaf.validity.until.duration_since(renewal) * 2);
    let left = u64::try_from(renewal.duration_since(world.now).as_secs()).unwrap();
    world.passes(left - 1);
    assert_eq!(steps(&mut world), [""; 0]);
    world.passes(1);
    assert_eq!(steps(&mut world), ["leaf"]);
    assert_eq!(issuer(&world), leaf.issuer.unwrap());
}

#[test]
fn an_authority_is_succeeded_by_one_that_every_api_server_trusts_before_and_replicas_have_left_after() {
    let mut world = settled();
    let old = issuer(&world);
    // Leaves come and go; the last one is new.
    world.runs(
        u64::try_from(world.authorities()[0].validity.renewal().duration_since(world.now).as_secs()).unwrap()
            - 60,
    );
    world.passes(120);
    let seen = steps(&mut world);
    assert_eq!(
        seen.iter().filter(|name| **name != "leaf").copied().collect::<Vec<_>>(),
        ["authority", "trust"]
    );
    let [new, kept] = world.authorities() else { panic!("{:?}", world.authorities()) };
    let new = new.id.clone();
    assert_eq!(kept.id, old);
    assert!(world.bundles().iter().all(|bundle| *bundle == Some(vec![new.clone(), old.clone()])));
    world.passes(59);
    assert_eq!((steps(&mut world), issuer(&world)), (vec![], old));
    world.passes(1);
    assert_eq!((steps(&mut world), issuer(&world)), (vec!["leaf"], new.clone()));
    // Who has just begun to look is not sure of it, and leaves it as it is.
    world.restart(0);
    assert_eq!(steps(&mut world), [""; 0]);
    world.passes(599);
    assert_eq!(steps(&mut world), [""; 0]);
    world.passes(1);
    assert_eq!(steps(&mut world), ["retire", "trust"]);
    assert!(world.is_in_order());
    assert_eq!(world.authorities()[0].id, new);
}

/// What gets lost, the steps at once, and those of the next half an hour.
type Loss = (fn(&mut World), &'static [&'static str], &'static [&'static str]);

#[test]
fn what_was_lost_is_made_again_step_by_step() {
    let lost: [Loss; 8] = [
        (World::lose_leaf, &["leaf"], &[]),
        (World::garble_leaf, &["leaf"], &[]),
        // The replicas go on serving, and are trusted, until those of the new authority are.
        (World::lose_authorities, &["authority", "trust"], &["leaf", "trust"]),
        (World::lose_key, &["authority", "trust"], &["leaf", "retire", "trust"]),
        // Replicas still hold the leaf that was there.
        (
            |world| (world.lose_authorities(), world.lose_leaf()).1,
            &["authority", "trust"],
            &["leaf", "trust"],
        ),
        (|world| world.trust(|_, bundle| *bundle = None), &["trust"], &[]),
        // Whom to trust for now lies beside the leaf.
        (
            |world| {
                world.lose_authorities();
                world.trust(|_, bundle| *bundle = None);
            },
            &["authority", "trust"],
            &["leaf", "trust"],
        ),
        // Nobody trusts what the replicas hold.
        (
            |world| {
                world.lose_authorities();
                world.lose_leaf();
                world.trust(|_, bundle| *bundle = None);
            },
            &["authority", "trust", "leaf"],
            &[],
        ),
    ];
    for (number, (lose, at_once, later)) in lost.into_iter().enumerate() {
        let mut world = settled();
        lose(&mut world);
        assert_eq!(steps(&mut world), at_once, "{number}");
        assert_eq!(world.refused(), None, "{number}");
        let mut rest = Vec::new();
        for _ in 0..30 {
            world.passes(60);
            rest.extend(steps(&mut world));
        }
        assert_eq!(rest, later, "{number}");
        assert!(world.is_in_order(), "{number}");
    }
}

#[test]
fn a_stranger_in_the_bundles_is_put_out_at_once() {
    let mut world = settled();
    let stranger = world.stranger().id;
    world.trust(|_, bundle| bundle.as_mut().unwrap().push(stranger.clone()));
    assert_eq!(steps(&mut world), ["trust"]);
    assert!(world.is_in_order());
}

#[test]
fn what_was_made_by_hand_is_taken_over_without_a_gap() {
    let mut world = World::new(1, &[(30, 300)]);
    let theirs = world.stranger();
    world.trust(|_, bundle| *bundle = Some(vec![theirs.id.clone()]));
    world.passes(60);
    world.bring(&theirs, settings().names);
    world.passes(600);
    let mut all = Vec::new();
    for _ in 0..30 {
        all.extend(steps(&mut world));
        assert_eq!(world.refused(), None);
        world.passes(60);
    }
    assert_eq!(all, ["authority", "trust", "leaf", "trust"]);
    assert!(world.is_in_order());
}

#[test]
fn a_leaf_of_an_authority_that_nobody_trusts_is_replaced_at_once() {
    let mut world = settled();
    let stranger = world.stranger();
    world.bring(&stranger, settings().names);
    assert_eq!(steps(&mut world), ["leaf"]);
    assert!(world.is_in_order());
}

#[test]
fn a_leaf_that_lacks_a_name_is_replaced_and_one_that_has_more_is_not() {
    let mut world = settled();
    let ours = world.authorities()[0].clone();
    let mut names = settings().names;
    names.insert("webhook.example".to_owned());
    world.bring(&ours, names.clone());
    assert_eq!(steps(&mut world), [""; 0]);
    names.remove("backout-webhook.backout-system.svc");
    world.bring(&ours, names);
    assert_eq!(steps(&mut world), ["leaf"]);
}

#[test]
fn a_leaf_is_not_renewed_by_one_that_ends_no_later() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let lasting = |minutes: i64| Validity {
        from: now - SignedDuration::from_hours(3),
        until: now + SignedDuration::from_mins(minutes),
    };
    // The new authority is not trusted by all yet, the old one is about to end, and so is whatever it signs.
    let authorities = [("new", 600), ("old", 10)].map(|(name, minutes)| Authority {
        id: Fingerprint::of(name.as_bytes()),
        validity: lasting(minutes),
        can_sign: true,
    });
    let ids = authorities.clone().map(|authority| authority.id);
    let seen = |minutes: i64| Observed {
        leaf: Some(Leaf {
            validity: lasting(minutes),
            names: settings().names,
            issuer: Some(ids[1].clone()),
            is_usable: true,
        }),
        leaf_seen_for: Duration::ZERO,
        configuration: Some(Configuration { bundles: vec![Some(ids.to_vec())], seen_for: Duration::ZERO }),
        known: authorities.iter().map(|authority| (authority.id.clone(), authority.validity)).collect(),
        authorities: authorities.to_vec(),
    };
    assert_eq!(name(&step(&seen(10), &settings(), now)), "wait");
    let Step::MakeLeaf { by, validity } = step(&seen(9), &settings(), now) else { panic!("none") };
    assert_eq!((by, validity.until), (ids[1].clone(), lasting(10).until));
}

#[test]
fn certificates_are_backdated_for_clocks_that_are_behind() {
    let now: Timestamp = "2026-01-01T00:00:00.9Z".parse().unwrap();
    for (lasts, from, until) in [
        (24 * HOUR * 30, "2025-12-31T23:00:00Z", "2026-01-31T00:00:00Z"),
        (24 * HOUR * 365, "2025-12-31T23:00:00Z", "2027-01-01T00:00:00Z"),
        (600, "2025-12-31T23:59:00Z", "2026-01-01T00:10:00Z"),
    ] {
        let validity = Validity::lasting(Duration::from_secs(lasts), now);
        assert_eq!(
            (validity.from.to_string(), validity.until.to_string()),
            (from.to_owned(), until.to_owned())
        );
    }
}

#[test]
fn a_service_is_called_by_four_names() {
    let Settings { names, .. } = settings();
    let wanted = ["", ".backout-system", ".backout-system.svc", ".backout-system.svc.cluster.local"];
    assert!(wanted.iter().all(|rest| names.contains(&format!("backout-webhook{rest}"))), "{names:?}");
    assert_eq!(service_names("a", "b").len(), 4);
}
