//! Reviews that no API server sent: what they claim counts for nothing.

use super::world::{FOREVER, World, bad_upgrade, healthy, key};
use backout_model::{
    object::Image,
    release::Phase::{Healthy, Held, RolledBack},
};

/// Claims that the release made `a`, as it is there, in a chain that ends at the pointer that `a` really has.
fn claim_to_have_made(world: &mut World, version: &str) {
    let real = &world.objects[&key("ConfigMap", "a")];
    let (uid, pointer) = (Image(real).uid().unwrap().to_owned(), Image(real).undo());
    let made = world.forge("a", None, None);
    let found = world.forge("a", Some((&uid, version)), Some(&made));
    world.forge("a", Some((&uid, version)), Some(&found));
    let end = world.forge("a", Some((&uid, version)), pointer.as_ref());
    world.forge("a", Some((&uid, version)), Some(&end));
}

/// Claims that an object was made and found that never was.
fn claim_a_ghost(world: &mut World, version: &str) {
    let made = world.forge("ghost", None, None);
    let found = world.forge("ghost", Some(("u", version)), Some(&made));
    world.forge("ghost", Some(("u", version)), Some(&found));
}

#[test]
fn an_object_that_was_only_claimed_to_be_made_by_the_release_is_not_taken_down() {
    let mut world = healthy();
    let before = world.state();
    claim_to_have_made(&mut world, "5");
    claim_a_ghost(&mut world, "5");
    world.run(700, || FOREVER);
    assert_eq!((world.status.phase, world.phases.as_slice()), (Some(Healthy), &[][..]));
    assert_eq!((world.state(), world.written.as_slice(), world.records()), (before, &[][..], 0));
}

#[test]
fn a_bad_upgrade_beside_claims_is_rolled_back_and_nothing_else() {
    let mut world = healthy();
    let before = world.state();
    claim_to_have_made(&mut world, "5");
    claim_a_ghost(&mut world, "5");
    bad_upgrade(&mut world);
    claim_to_have_made(&mut world, "5");
    claim_a_ghost(&mut world, "5");
    world.run(700, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack), "{:#?}", world.status);
    assert_eq!(world.state(), before);
    assert_eq!(world.records(), 0);
}

/// Otherwise what fails would be called deleted, and the release healthy.
#[test]
fn an_object_that_fails_is_not_excused_by_the_claim_that_another_one_was_deleted() {
    let mut world = healthy();
    let before = world.state();
    bad_upgrade(&mut world);
    world.forge_deletion("Job", "migrate");
    world.forge_deletion("ConfigMap", "a");
    world.run(700, || FOREVER);
    assert_eq!(world.status.phase, Some(RolledBack), "{:#?}", world.status);
    let told: Vec<_> = world.status.unrestored.iter().map(|it| it.object.name.as_str()).collect();
    assert_eq!(told, ["a", "migrate"]);
    assert_eq!((world.state(), world.records()), (before, 0));
}

/// Then a rollback is held: that much is in their power, where the webhook does not authenticate its callers.
#[test]
fn claims_of_a_time_that_the_server_has_forgotten_fail_no_release_and_delete_nothing() {
    let mut world = healthy();
    let before = world.state();
    world.history.clear();
    claim_to_have_made(&mut world, "5");
    claim_a_ghost(&mut world, "5");
    world.run(700, || FOREVER);
    assert!(matches!(world.status.phase, Some(Healthy)), "{:#?}", world.status);
    assert_eq!((world.state(), world.written.as_slice()), (before, &[][..]));

    let mut world = healthy();
    bad_upgrade(&mut world);
    world.history.clear();
    claim_to_have_made(&mut world, "5");
    claim_a_ghost(&mut world, "5");
    world.run(700, || FOREVER);
    assert_eq!((world.status.phase, world.written.as_slice()), (Some(Held), &[][..]));
}

#[test]
fn what_a_record_found_counts_once_the_server_bears_it_out() {
    for looks_between in [true, false] {
        let mut world = healthy();
        let before = world.state();
        bad_upgrade(&mut world);
        world.deploy("ConfigMap", "d", Some(serde_json::json!({"data": {"text": "new"}})));
        if looks_between {
            world.look(FOREVER);
        }
        // Only the record of its deletion tells that it was written before.
        world.deploy("ConfigMap", "a", None);
        world.deploy("ConfigMap", "d", None);
        world.run(700, || FOREVER);
        assert_eq!(world.status.phase, Some(RolledBack), "{:#?}", world.status);
        assert_eq!(world.state(), before);
        assert_eq!(world.records(), 0);
    }
}

/// Records go when their revision is committed: the pointers of healthy objects lead nowhere.
#[test]
fn a_claim_that_does_not_know_the_pointer_of_an_object_holds_no_rollback_of_others() {
    for (kind, version) in [("update", "5"), ("creation", "")] {
        let mut world = healthy();
        let before = world.state();
        let uid = Image(&world.objects[&key("ConfigMap", "b")]).uid().unwrap().to_owned();
        world.forge("b", (kind == "update").then_some((uid.as_str(), version)), None);
        world.deploy("ConfigMap", "a", super::world::data("two"));
        world.deploy("Job", "migrate", super::world::failed_job());
        world.run(700, || FOREVER);
        assert_eq!(world.status.phase, Some(RolledBack), "{kind}: {:#?}", world.status.held);
        assert_eq!((world.state(), world.records()), (before, 0));
    }
}
