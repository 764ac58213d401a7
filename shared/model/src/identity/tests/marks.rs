use serde_json::{Value, json};

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
        (helm("kube-system"), "shop/shop"),
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

#[test]
fn every_tool_has_its_own_mark() {
    let flux = |kind: &str, namespace: &str| {
        let key = |field: &str| format!("{kind}.toolkit.fluxcd.io/{field}");
        labelled(&json!({key("name"): "front", key("namespace"): namespace}))
    };
    let hook = |labels: &Value| json!({"metadata": {"labels": labels, "annotations": {"helm.sh/hook": "pre-upgrade"}}});
    let instance = || labelled(&json!({"app.kubernetes.io/instance": "front"}));
    for (object, tool, release) in [
        (flux("helm", "shop"), "", "shop/front"),
        (flux("kustomize", "shop"), "", "shop/front"),
        (labelled(&json!({"kustomize.toolkit.fluxcd.io/name": "front"})), "", "shop/shop"),
        (
            annotated(&json!({"argocd.argoproj.io/tracking-id": "front:apps/Deployment:shop/web"})),
            "",
            "shop/front",
        ),
        (labelled(&json!({"argocd.argoproj.io/instance": "front"})), "", "shop/front"),
        (instance(), "argocd-controller", "shop/front"),
        (instance(), "kubectl", "shop/shop"),
        (hook(&json!({"app.kubernetes.io/instance": "front"})), "helm", "shop/front"),
        // A deletion does not tell the tool.
        (hook(&json!({"app.kubernetes.io/instance": "front"})), "", "shop/front"),
        (hook(&json!({"app": "front"})), "helm", "shop/shop"),
        (labelled(&json!({"kapp.k14s.io/app": "1700000000"})), "kapp", "shop/1700000000"),
        (labelled(&json!({"applyset.kubernetes.io/part-of": "applyset-x-v1"})), "", "shop/applyset-x-v1"),
    ] {
        assert_eq!(Scene { object: object.clone(), tool, ..Scene::default() }.release(), release, "{object}");
    }
}

#[test]
fn a_release_in_another_namespace_must_be_joined_or_the_next_mark_inside_counts() {
    let key = |text: &str| {
        let (namespace, name) = text.split_once('/')?;
        Some(ReleaseKey::new(namespace, ReleaseName::from_mark(name)?))
    };
    let ours = |namespace: &str| labelled(&json!({names::MARK: "mine", names::RELEASE_NAMESPACE: namespace}));
    let kapp_too = json!({"metadata": {"labels": {"kapp.k14s.io/app": "inside"}, "annotations": {
        "meta.helm.sh/release-name": "front", "meta.helm.sh/release-namespace": "other"}}});
    for (namespace, object, join, own) in [
        ("shop", helm("other"), "other/front", "shop/shop"),
        ("shop", ours("other"), "other/mine", "shop/shop"),
        ("shop", ours("shop"), "", "shop/mine"),
        ("shop", kapp_too.clone(), "other/front", "shop/inside"),
        ("", helm("other"), "other/front", ""),
        ("", ours("other"), "other/mine", ""),
        ("", helm("kube-system"), "", ""),
        ("", ours("backout-system"), "", ""),
        // Nothing says where.
        ("", labelled(&json!({names::MARK: "mine"})), "", ""),
        ("", labelled(&json!({"kapp.k14s.io/app": "inside"})), "", ""),
        ("", kapp_too, "other/front", ""),
    ] {
        let belongs = Scene { namespace, object: object.clone(), ..Scene::default() }.belongs();
        assert_eq!(belongs, Belongs { join: key(join), own: key(own) }, "{namespace:?} {object}");
    }
    // Without its mark a cluster-scoped object would leave its release unseen.
    let update = Scene {
        verb: Verb::Update,
        namespace: "",
        object: labelled(&json!({})),
        old: Some(ours("other")),
        ..Scene::default()
    };
    assert_eq!(update.belongs(), Belongs { join: key("other/mine"), own: None });
}
