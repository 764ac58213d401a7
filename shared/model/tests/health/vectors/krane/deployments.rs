//! What krane's annotations, generations and deadlines make of a Deployment.

use backout_model::health::Scene;
use serde_json::{Value, json};

use super::{super::Row, rollout};
use crate::{
    scenes::never_pulled,
    stage::{app, changed, live, ready, sized, unready},
};

const ROLLOUT: &str = "krane.shopify.io/required-rollout";

fn annotated(scene: Scene, key: &str, value: &str) -> Scene {
    changed(scene, |scene| live(scene)["metadata"]["annotations"][key] = json!(value))
}

/// One of three pods is ready, and krane is to be content with so much of the rollout.
fn third(rollout: &str, unavailable: Option<Value>) -> Scene {
    let scene = annotated(sized("web", 3, vec![ready(0), unready(), unready()]), ROLLOUT, rollout);
    changed(scene, |scene| {
        if let Some(unavailable) = unavailable {
            live(scene)["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": unavailable}});
        }
    })
}

/// The controller has given up after so many seconds, of ten that it is given.
fn given_up(age: u64) -> Scene {
    changed(rollout(0, 2, 2, "ProgressDeadlineExceeded", age), |scene| {
        let live = live(scene);
        live["spec"]["progressDeadlineSeconds"] = json!(10);
        live["metadata"]["annotations"]["krane.shopify.io/timeout-override"] = json!("15S");
        live["metadata"]["annotations"]["backout.dev/deadline"] = json!("15s");
    })
}

const ALL: &str = "a revision is ready with all its pods: no annotation makes it content with less";
const NOT_MINE: &str = "the judge tells what has failed; the policy's deadline tells what takes too long";
const FINAL: &str = "a deadline waits for what may still come, not for what its controller has given up";

/// What, krane's verdict, the scene, ours after 30 s, and why it differs.
///
/// No counterpart: what krane's own annotation may say is checked before anything is deployed (five cases).
#[rustfmt::skip] // a table reads by its columns
pub(super) fn table() -> Vec<Row> {
    let done = || rollout(2, 2, 2, "NewReplicaSetAvailable", 0);
    let half = |age| rollout(1, 2, 2, "ReplicaSetUpdated", age);
    vec![
        ("deployment: whose rollout need not be waited for", "Ready", third("none", None), "Waiting", ALL),
        ("deployment: whose rollout need not be waited for, without a replica set", "Waiting",
            changed(annotated(done(), ROLLOUT, "none"), |scene| scene.replica_sets.clear()), "Ready",
            "its controller has counted the new pods of this very spec"),
        ("deployment: as many are missing as may be", "Ready", third("maxUnavailable", Some(json!(2))), "Waiting", ALL),
        ("deployment: more are missing than may be", "Waiting", third("maxUnavailable", Some(json!(1))), "Waiting", ""),
        ("deployment: a third is there that is asked for", "Ready", third("33%", None), "Waiting", ALL),
        ("deployment: more than a third is asked for", "Waiting", third("34%", None), "Waiting", ""),
        ("deployment: as many in a hundred are missing as may be", "Ready",
            third("maxUnavailable", Some(json!("67%"))), "Waiting", ALL),
        ("deployment: more in a hundred are missing than may be", "Waiting",
            third("maxUnavailable", Some(json!("66%"))), "Waiting", ""),
        ("deployment: done, with an annotation that cannot be read", "Error", annotated(done(), "backout.dev/health", "bad"),
            "Ready", "it is told as a warning, and changes nothing"),
        ("deployment: all pods fail before its controller has seen the change", "Waiting",
            changed(app("web", vec![never_pulled(), never_pulled()]), |scene| {
                live(scene)["metadata"]["generation"] = json!(3);
            }), "Waiting", ""),
        ("deployment: krane's deadline is reached", "Waiting", half(420), "Waiting", ""),
        ("deployment: krane's deadline has passed", "Failed", half(421), "Waiting", NOT_MINE),
        ("deployment: given up within the deadline that it asks for", "Waiting", given_up(11),
            "Failed ProgressDeadlineExceeded", FINAL),
        ("deployment: given up after the deadline that it asks for", "Failed", given_up(16),
            "Failed ProgressDeadlineExceeded", ""),
    ]
}
