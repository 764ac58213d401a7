use serde_json::json;

use super::*;
use crate::names;

#[test]
fn the_first_mark_names_the_release_and_the_namespace_is_the_last_resort() {
    let both = json!({"metadata": {"labels": {names::MARK: "mine"}, "annotations": {
        "meta.helm.sh/release-name": "front", "meta.helm.sh/release-namespace": "shop"}}});
    for (object, release) in [
        (both, "shop/mine"),
        (annotated(&json!({names::MARK: "mine"})), "shop/mine"),
        (labelled(&json!({names::MARK: ""})), "shop/shop"),
        (helm("shop"), "shop/front"),
        (helm("other"), "shop/shop"),
        (annotated(&json!({"meta.helm.sh/release-name": "front"})), "shop/shop"),
        (labelled(&json!({"app": "web"})), "shop/shop"),
    ] {
        assert_eq!(Scene { object: object.clone(), ..Scene::default() }.release(), release, "{object}");
    }
    let scene = |object| Scene { resource: "/secrets", object, ..Scene::default() };
    assert_eq!(scene(helm_secret("sh.helm.release.v1.front.v12")).release(), "shop/front");
    assert_eq!(scene(helm_secret("other")).release(), "shop/shop");
}

#[test]
fn helms_secrets_are_told_by_their_name() {
    assert_eq!(helm_release("sh.helm.release.v1.a.v1.b.v10"), Some(("a.v1.b", "10")));
    for name in [
        "sh.helm.release.v1.a",
        "sh.helm.release.v1.a.vx",
        "sh.helm.release.v1.a.v",
        "sh.helm.release.v1..v1",
    ] {
        assert_eq!(helm_release(name), None, "{name}");
    }
}
