use serde_json::{Value, json};

use super::*;
use crate::undo::Operation;

/// Alice creates an object that Helm says is part of the release `front` in `other`.
fn foreign(namespace: &str) -> Value {
    let mut new = deployment(&json!({}), 1);
    let annotations =
        json!({"meta.helm.sh/release-name": "front", "meta.helm.sh/release-namespace": "other"});
    new["metadata"] = json!({"name": "web", "annotations": annotations});
    let mut review = review("CREATE", &Value::Null, &new);
    review["request"]["namespace"] = json!(namespace);
    review
}

/// What comes of `review` once it is known whether Alice may join.
fn answered(review: &Value, granted: bool) -> Result<(String, Option<String>), Pass> {
    let body = review.to_string();
    let request = parse(body.as_bytes()).unwrap();
    let Triage::Join(joining) = triage(&request, &Deployers::default()).unwrap() else { panic!("{review}") };
    assert_eq!(joining.release().to_string(), "other/front");
    let write = joining.answered(granted)?;
    let Decision::Record(recording) = write.decide(None) else { panic!("{review}") };
    let header = &recording.draft.header;
    assert_eq!(header.operation, Operation::Create);
    Ok((header.release.to_string(), header.object.key.namespace.clone()))
}

#[test]
fn who_may_join_a_release_of_another_namespace_writes_as_part_of_it() {
    let part = ("other/front".to_owned(), Some("shop".to_owned()));
    assert_eq!(answered(&foreign("shop"), true), Ok(part));
    assert_eq!(answered(&foreign(""), true), Ok(("other/front".to_owned(), None)));
}

#[test]
fn who_may_not_stays_in_the_objects_own_namespace_or_outside() {
    let part = ("shop/shop".to_owned(), Some("shop".to_owned()));
    assert_eq!(answered(&foreign("shop"), false), Ok(part));
    assert_eq!(answered(&foreign(""), false), Err(Pass::ClusterScoped));
}

#[test]
fn what_else_an_authenticator_says_of_a_user_is_passed_on() {
    let mut review = foreign("shop");
    review["request"]["userInfo"] = json!({"username": "alice", "uid": "7", "extra": {"scopes": ["a", "b"]}});
    let body = review.to_string();
    let user = parse(body.as_bytes()).unwrap().user_info;
    assert_eq!((user.uid.as_ref(), user.extra()["scopes"].len()), ("7", 2));
}
