//! The way back over objects that a rollback has made again since: other uids, the same objects.

use std::collections::BTreeMap;

use backout_model::release::Phase;
use serde_json::json;

use super::world::{FOREVER, World, ask, data, failed_job, helm, history, listed};

use Phase::{Healthy, RolledBack};

#[test]
fn the_way_back_undoes_an_object_that_a_rollback_has_made_again() {
    let mut world = World::new();
    world.packs = Some(BTreeMap::new());
    world.deploy("ConfigMap", "a", data("one"));
    world.deploy("ConfigMap", "b", data("one"));
    world.run(200, || FOREVER);
    let first = world.state();
    world.deploy("ConfigMap", "b", data("two"));
    world.run(200, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2));
    // A deploy that deletes `b` fails: it is created again, with another uid.
    world.deploy("ConfigMap", "b", None);
    world.deploy("Job", "migrate", failed_job());
    world.run(200, || FOREVER);
    assert_eq!((world.status.phase, world.text("b")), (Some(RolledBack), json!("two")));
    ask(&mut world, "rollback to=1");
    assert_eq!(world.status.unrestored, []);
    assert_eq!(world.state(), first);
}

#[test]
fn the_way_back_goes_on_over_what_the_way_back_has_made_again() {
    let mut world = World::new();
    world.packs = Some(BTreeMap::new());
    for content in [data("one"), data("two"), None] {
        world.deploy("ConfigMap", "b", content);
        world.run(200, || FOREVER);
    }
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 3));
    ask(&mut world, "rollback to=2");
    assert_eq!(world.text("b"), json!("two"));
    ask(&mut world, "rollback to=1");
    assert_eq!(world.status.unrestored, []);
    assert_eq!(world.text("b"), json!("one"));
}

#[test]
fn the_way_back_leaves_helm_a_deployed_version() {
    let mut world = World::new();
    world.packs = Some(BTreeMap::new());
    world.by.1 = "helm";
    helm(&mut world, 1, "deployed");
    world.deploy("ConfigMap", "a", data("one"));
    world.run(200, || FOREVER);
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("ConfigMap", "a", data("two"));
    helm(&mut world, 1, "superseded");
    helm(&mut world, 2, "deployed");
    world.run(200, || FOREVER);
    assert_eq!((world.status.phase, world.status.revision), (Some(Healthy), 2));
    // An uninstall by mistake, rolled back by hand.
    world.deploy("ConfigMap", "a", None);
    for version in ["v1", "v2"] {
        world.deploy("Secret", &format!("sh.helm.release.v1.web.{version}"), None);
    }
    world.run(3, || FOREVER);
    ask(&mut world, "rollback");
    assert_eq!(world.status.phase, Some(RolledBack));
    assert_eq!(history(&world), listed(&[("v1", "superseded"), ("v2", "deployed")]));
    ask(&mut world, "rollback to=1");
    assert_eq!(world.status.phase, Some(RolledBack), "{:?}", world.status.answer);
    assert_eq!(history(&world), listed(&[("v1", "deployed")]), "{:#?}", world.status.unrestored);
}
