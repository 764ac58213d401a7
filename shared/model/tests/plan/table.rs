//! The rows of the table: what was before, what is there, what is done.

use super::story::*;
use backout_model::{
    health::Live,
    names::{self},
    object::Image,
    rollback::{Track, Write},
};
use serde_json::json;

#[test]
fn what_the_release_created_is_deleted_as_it_is_now() {
    let story = Story::map().created(map("", 0, None, "new")).now(map("u1", 15, Some(1), "new"));
    assert_eq!(story.write(), deletion("u1", "15", false));
}

#[test]
fn what_the_release_created_and_is_gone_or_anothers_is_left_alone() {
    let story = Story::map().created(map("", 0, None, "new"));
    story.is_done();
    story.now(map("theirs", 90, None, "other")).is_done();
}

#[test]
fn what_the_release_changed_is_undone_on_what_is_there() {
    let mut live = map("u1", 20, Some(1), "two");
    live["metadata"]["annotations"] = json!({"theirs": "stays"});
    let story =
        Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two")).now(live.clone());
    let Write::Update { body, overridden } = story.write() else { panic!() };
    assert_eq!(overridden, Vec::<String>::new());
    let mut wanted = map("u1", 20, Some(9), "one");
    wanted["metadata"]["annotations"] = live["metadata"]["annotations"].clone();
    assert_eq!(body, wanted, "with the uid and resourceVersion of the live object");
}

#[test]
fn after_the_put_the_owners_are_restored_and_then_it_is_done() {
    let mut live = map("u1", 21, Some(9), "one");
    let owners = live["metadata"]["managedFields"].clone();
    live["metadata"]["managedFields"][0]["manager"] = json!(names::FIELD_MANAGER);
    let story = Story::map().updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"));
    let story = story.now(live);
    assert_eq!(story.write(), Write::Own { resource_version: "21".into(), managed_fields: owners });
    story.now(map("u1", 22, Some(9), "one")).is_done();
}

#[test]
fn what_the_release_deleted_is_created_from_its_image() {
    let mut image = map("u1", 5, Some(9), "one");
    image["status"] = json!({"seen": true});
    let Write::Create { body } = Story::map().deleted(image).write() else { panic!() };
    let mut wanted = map("u1", 5, Some(9), "one");
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
        wanted["metadata"].as_object_mut().unwrap().remove(field);
    }
    assert_eq!(body, wanted);
}

#[test]
fn what_the_release_changed_before_it_deleted_it_comes_back_unchanged() {
    let story = Story::map()
        .updated(map("u1", 5, Some(9), "one"), map("u1", 5, Some(9), "two"))
        .deleted(map("u1", 12, Some(1), "two"));
    let Write::Create { body } = story.write() else { panic!() };
    assert_eq!(body["data"], json!({"text": "one"}));
    assert_eq!(Image(&body).undo(), Some(record(9)));
}

#[test]
fn what_the_release_replaced_is_deleted_and_then_created_from_the_old_image() {
    let story = Story::map().deleted(map("u1", 5, Some(9), "one")).created(map("", 0, None, "another"));
    let there = story.now(map("u2", 25, Some(2), "another"));
    assert_eq!(there.write(), deletion("u2", "25", true));
    let gone = Story { track: Track { live: Live::Absent, ..there.track }, ..there };
    assert!(matches!(gone.write(), Write::Create { .. }));
    gone.now(map("u3", 30, Some(9), "one")).is_done();
}
