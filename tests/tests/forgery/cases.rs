//! What can be claimed.

use anyhow::Result;
use backout_model::names;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use system_tests::faults::review;

use super::scene::Scene;

/// How a review is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answered {
    /// As any write that is to be recorded.
    Recorded,
    /// As one that is none of Backout's business.
    Passed,
    /// As one that no API server sends.
    Invalid,
}

/// One kind of forgery.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) reviews: fn(&Scene<'_>) -> Vec<Value>,
    /// What the webhook makes of each of them.
    pub(super) answer: Answered,
    /// What the Release says of it after a rollback: the object, and why it was not restored.
    pub(super) told: &'static [(&'static str, &'static str)],
    /// Whether it must be told: what the object may still become is not, and goes after a while.
    pub(super) seems_true: bool,
}

const fn case(name: &'static str, reviews: fn(&Scene<'_>) -> Vec<Value>) -> Case {
    Case { name, reviews, answer: Answered::Recorded, told: &[], seems_true: false }
}

const fn told(case: Case, told: &'static [(&'static str, &'static str)]) -> Case {
    Case { told, seems_true: true, ..case }
}

const NOT_BELIEVED: &str = "is not believed and was left out: the server had stored something else";

pub(super) static CASES: [Case; 19] = [
    told(
        case("ghost", |scene| {
            let ghost = ghost(scene, "ghost");
            vec![created(scene, &ghost), updated(scene, &ghost, &ghost), deleted(scene, &ghost)]
        }),
        &[("ghost", NOT_BELIEVED)],
    ),
    case("invented", |scene| {
        let of = |name| updated(scene, &scene.object(name), &evil(scene.object(name)));
        vec![of("settings"), of("untouched"), of("web"), of("other")]
    }),
    case("deletion", |scene| {
        ["settings", "untouched", "web"].map(|name| deleted(scene, &scene.object(name))).to_vec()
    }),
    told(
        case("deletion-of-another", |scene| {
            let of = |name| deleted(scene, &other_uid(evil(scene.object(name))));
            vec![of("settings"), of("untouched"), of("web")]
        }),
        &[("web", NOT_BELIEVED), ("untouched", NOT_BELIEVED), ("web", NOT_BELIEVED)],
    ),
    case("creation", |scene| {
        ["settings", "untouched", "web", "ca"].map(|name| created(scene, &scene.object(name))).to_vec()
    }),
    Case {
        told: &[("web", NOT_BELIEVED)],
        ..case("scale", |scene| vec![scaled(scene, 5, 1), scaled(scene, 0, 1), scaled(scene, 1, 7)])
    },
    case("unlabelled", |scene| {
        let of = |name| {
            let mut object = scene.object(name);
            object["metadata"]["labels"] = Value::Null;
            updated(scene, &object, &evil(object.clone()))
        };
        vec![of("settings"), of("untouched"), of("web")]
    }),
    // That the Deployment is of a kind that is ready by being there, in a version that is not.
    told(
        case("kind", |scene| {
            let web = scene.object("web");
            let mut reviews = [
                created(scene, &web),
                updated(scene, &web, &evil(web.clone())),
                deleted(scene, &other_uid(web)),
            ];
            for review in &mut reviews {
                review["request"]["kind"]["kind"] = json!("ConfigMap");
                review["request"]["resource"]["version"] = json!("v9");
            }
            reviews.to_vec()
        }),
        &[("web", "is not believed and was left out: ")],
    ),
    // That the release made `untouched`, by a chain that ends at the pointer that it really has.
    case("chain", |scene| {
        let real = scene.object("untouched");
        let link = |label: &str| with_label(real.clone(), names::UNDO, label);
        vec![
            created(scene, &real),
            updated(scene, &link("@0"), &evil(link("@0"))),
            updated(scene, &link("@1"), &evil(link("@1"))),
            updated(scene, &real, &evil(real.clone())),
            updated(scene, &link("@3"), &evil(link("@3"))),
        ]
    }),
    told(
        case("resurrection", |scene| vec![deleted(scene, &scene.object("gone"))]),
        &[("gone", NOT_BELIEVED)],
    ),
    case("other-release", |scene| {
        let others = with_label(scene.object("other"), names::MARK, scene.ns());
        vec![updated(scene, &others, &evil(others.clone())), deleted(scene, &others)]
    }),
    Case {
        answer: Answered::Invalid,
        ..case("other-namespace", |scene| {
            let mut foreign = evil(scene.object("ca"));
            foreign["metadata"]["namespace"] = json!("kube-system");
            vec![created(scene, &foreign), updated(scene, &foreign, &foreign), deleted(scene, &foreign)]
        })
    },
    Case {
        answer: Answered::Passed,
        ..case("cluster-scoped", |scene| {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.ns(),
                "uid": "x", "resourceVersion": "1", "labels": {names::MARK: scene.ns()}}});
            let mut deletion = review("DELETE", "", None, Some(&object));
            deletion["request"]["namespace"] = json!("");
            vec![deletion]
        })
    },
    told(
        case("cluster-scoped-in-a-namespace", |scene| {
            let kinds =
                [("v1", "Node"), ("v1", "PersistentVolume"), ("rbac.authorization.k8s.io/v1", "ClusterRole")];
            let object = |(api_version, kind): (&str, &str)| {
                json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": scene.ns(),
                "uid": "00000000-0000-4000-8000-000000000000", "resourceVersion": "1"}})
            };
            kinds.map(object).iter().flat_map(|it| [created(scene, it), deleted(scene, it)]).collect()
        }),
        &[("beside-", "is not believed and was left out: ")],
    ),
    Case {
        answer: Answered::Invalid,
        ..case("paths", |scene| {
            let names = ["../configmaps/web", "web/status", "web%2f", ".", ".."];
            let mut reviews: Vec<_> = names.into_iter().flat_map(|name| named(scene, name)).collect();
            for plural in ["deployments/web/status?", "../../../apis/apps/v1/deployments", ""] {
                let mut deletion = deleted(scene, &scene.object("settings"));
                deletion["request"]["resource"]["resource"] = json!(plural);
                reviews.push(deletion);
            }
            reviews
        })
    },
    told(
        case("odd-names", |scene| {
            ["web?x=y", "a b", "web,a=b", "#", "web&"]
                .into_iter()
                .flat_map(|name| named(scene, name))
                .collect()
        }),
        &[("web", NOT_BELIEVED), ("a b", NOT_BELIEVED), ("#", NOT_BELIEVED)],
    ),
    told(
        case("resources-that-are-not", |scene| {
            let resources =
                [("", "v1", "nothings"), ("", "v9", "configmaps"), ("evil.example", "v1", "evils")];
            let of = |(group, version, plural): (&str, &str, &str)| {
                let object = other_uid(scene.object("settings"));
                let mut reviews = [created(scene, &object), deleted(scene, &object)];
                for review in &mut reviews {
                    review["request"]["resource"] =
                        json!({"group": group, "version": version, "resource": plural});
                }
                reviews
            };
            resources.into_iter().flat_map(of).collect()
        }),
        &[("web", "is not believed and was left out: ")],
    ),
    told(
        case("helm", |scene| {
            let [failed, pending, last] =
                [("failed", 1), ("pending-upgrade", 2), ("deployed", 99)].map(|(status, version)| {
                    let mut secret = ghost(scene, &format!("sh.helm.release.v1.{}.v{version}", scene.ns()));
                    secret["kind"] = json!("Secret");
                    secret["type"] = json!(names::HELM_SECRET_TYPE);
                    with_label(secret, "status", status)
                });
            vec![
                created(scene, &failed),
                updated(scene, &failed, &evil(failed.clone())),
                created(scene, &pending),
                deleted(scene, &last),
            ]
        }),
        &[("sh.helm.release.v1.", NOT_BELIEVED)],
    ),
    told(
        case("flood", |scene| {
            let all = (0..50).map(|number| ghost(scene, &format!("ghost-{number}")));
            let web = || scene.object("settings");
            all.flat_map(|ghost| {
                let name = ghost["metadata"]["name"].clone();
                let invented = with_label(web(), "flood", name.as_str().unwrap());
                let mut real = evil(invented.clone());
                real["data"]["flood"] = name;
                [
                    created(scene, &ghost),
                    deleted(scene, &ghost),
                    updated(scene, &invented, &real),
                    updated(scene, &web(), &real),
                ]
            })
            .collect()
        }),
        &[("ghost-", NOT_BELIEVED)],
    ),
];

/// What is wrong with which cases; so many at a time that the API server can bear it.
pub(super) async fn wrong<F: Future<Output = Result<()>>>(check: impl Fn(&'static Case) -> F) -> Vec<String> {
    let outcomes = CASES.iter().map(|case| {
        let checked = check(case);
        async { checked.await.map_err(|why| format!("{}: {why:#}", case.name)) }
    });
    let outcomes: Vec<_> = stream::iter(outcomes).buffer_unordered(SIDE_BY_SIDE).collect().await;
    outcomes.into_iter().filter_map(Result::err).collect()
}

const SIDE_BY_SIDE: usize = 10;

fn created(scene: &Scene<'_>, object: &Value) -> Value {
    review("CREATE", scene.ns(), Some(object), None)
}

/// The same revision of the object, with the content that it is said to have had.
fn updated(scene: &Scene<'_>, now: &Value, before: &Value) -> Value {
    let mut after = now.clone();
    after["data"]["forged"] = json!(format!("{:x}", rand::random::<u64>()));
    review("UPDATE", scene.ns(), Some(&after), Some(before))
}

fn deleted(scene: &Scene<'_>, object: &Value) -> Value {
    review("DELETE", scene.ns(), None, Some(object))
}

fn scaled(scene: &Scene<'_>, before: i64, after: i64) -> Value {
    let web = scene.object("web");
    let scale = |replicas: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas}, "metadata": {
            "name": "web", "namespace": scene.ns(), "uid": web["metadata"]["uid"],
            "resourceVersion": web["metadata"]["resourceVersion"]}})
    };
    let mut review = review("UPDATE", scene.ns(), Some(&scale(after)), Some(&scale(before)));
    review["request"]["resource"] = json!({"group": "apps", "version": "v1", "resource": "deployments"});
    review["request"]["subResource"] = json!("scale");
    review
}

/// Every write of an object with this name.
fn named(scene: &Scene<'_>, name: &str) -> [Value; 3] {
    let mut object = other_uid(scene.object("settings"));
    object["metadata"]["name"] = json!(name);
    [created(scene, &object), updated(scene, &object, &object), deleted(scene, &object)]
}

/// An object that never was.
fn ghost(scene: &Scene<'_>, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"evil": "ghost"}, "metadata": {
        "name": name, "namespace": scene.ns(), "uid": "00000000-0000-4000-8000-000000000000",
        "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}})
}

fn evil(mut object: Value) -> Value {
    object["data"] = json!({"evil": "invented"});
    object
}

fn other_uid(mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000001");
    object
}

fn with_label(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"][key] = json!(value);
    object
}
