//! The webhook between an API server that calls it and one that stores its records, both made up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

#[cfg(test)]
mod fake;
mod service {
    mod metrics;
}

use std::time::{Duration, Instant};

use backout_model::{names, undo::codec};
use fake::{Behaviour, World, decoded, review};
use serde_json::{Value, json};

fn config_map(data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": data},
           "metadata": {"name": "c", "namespace": "shop", "uid": "u", "resourceVersion": "7"}})
}

fn update() -> Value {
    review("UPDATE", &config_map("1"), &config_map("2"))
}

/// The mark of Helm's own upgrade, which begins.
fn helms_upgrade() -> Value {
    let secret = |status: &str| {
        json!({"type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.front.v2", "namespace": "shop",
               "labels": {"status": status}}})
    };
    let mut write = review("UPDATE", &secret("pending-upgrade"), &secret("deployed"));
    write["request"]["resource"]["resource"] = json!("secrets");
    write
}

#[tokio::test]
async fn a_write_is_allowed_once_its_record_is_stored() {
    let world = World::start(Behaviour::Stores).await;
    let (status, answer) = world.admit(&update()).await;
    assert_eq!(
        (status, &answer["response"]["allowed"], &answer["response"]["uid"]),
        (200, &json!(true), &json!("r-1"))
    );
    let stored = world.stored();
    let [head] = stored.as_slice() else { panic!("{stored:?}") };
    let name = head.metadata.name.as_deref().unwrap();
    assert!(decoded(&answer).as_array().unwrap().iter().any(|op| op["value"].to_string().contains(name)));
    let annotations = head.metadata.annotations.as_ref().unwrap();
    let body = &head.data.as_ref().unwrap()[codec::BODY].0;
    let name = names::RecordName::parse(name).unwrap();
    let record = codec::decode(&name, annotations, body).unwrap();
    assert_eq!((record.body.before, record.body.after), (Some(config_map("1")), Some(config_map("2"))));
}

#[tokio::test]
async fn the_deployer_is_told_once_per_revision() {
    let world = World::start(Behaviour::Stores).await;
    let warnings = |answer: Value| answer["response"]["warnings"].as_array().map_or(0, Vec::len);
    assert_eq!(warnings(world.admit(&update()).await.1), 1);
    assert_eq!(warnings(world.admit(&update()).await.1), 0);
}

#[tokio::test]
async fn the_pieces_of_a_large_record_are_stored_before_its_head() {
    let world = World::start(Behaviour::Stores).await;
    let mut state = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + u8::try_from(state >> 58).unwrap())
    })
    .filter(|c| *c != '\\')
    .take(2_900_000)
    .collect();
    let (status, _) = world.admit(&review("UPDATE", &config_map("1"), &config_map(&noise))).await;
    assert_eq!(status, 200);
    let parts: Vec<_> =
        world.stored().iter().map(|s| s.metadata.labels.as_ref().unwrap()[names::PART].clone()).collect();
    assert!(parts.len() > 2, "{parts:?}");
    assert_eq!(parts.iter().position(|part| part == names::PART_HEAD), Some(parts.len() - 1), "{parts:?}");
}

#[tokio::test]
async fn a_record_that_is_there_already_is_as_good_as_stored() {
    let world = World::start(Behaviour::Has).await;
    assert_eq!(world.admit(&update()).await.0, 200);
}

#[tokio::test]
async fn a_hiccup_of_the_api_server_is_survived() {
    let world = World::start(Behaviour::FailsOnce).await;
    assert_eq!(world.admit(&update()).await.0, 200);
    assert_eq!(world.stored().len(), 1);
}

#[tokio::test]
async fn without_a_record_the_answer_is_an_error_that_says_so() {
    let world = World::start(Behaviour::Forbids).await;
    let (status, answer) = world.admit(&update()).await;
    assert_eq!((status, &answer["kind"]), (500, &json!("Status")));
    let message = answer["message"].as_str().unwrap();
    assert!(message.starts_with("backout: the undo record of this write could not be stored ("), "{message}");
    assert!(message.contains("nothing was changed"), "{message}");
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_costs_no_more_than_the_timeout() {
    let world = World::start(Behaviour::Hangs).await;
    let start = Instant::now();
    let (status, answer) = world.post("/admit?timeout=1s", update().to_string().as_bytes()).await;
    assert_eq!(status, 500, "{answer}");
    // By default it takes nearly ten.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_is_not_to_be_recorded_is_not() {
    let world = World::start(Behaviour::Stores).await;
    let mut dry_run = update();
    dry_run["request"]["dryRun"] = json!(true);
    for review in [dry_run, review("UPDATE", &config_map("1"), &config_map("1"))] {
        let (status, answer) = world.admit(&review).await;
        assert_eq!((status, &answer["response"]), (200, &json!({"uid": "r-1", "allowed": true})));
    }
    assert_eq!(world.stored().len(), 0);
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_the_reason() {
    let world = World::start(Behaviour::Stores).await;
    let large = vec![b'x'; (7 << 20) + 1];
    for (path, body, status, reason) in [
        ("/admit", b"{".to_vec(), 400, "no JSON object"),
        ("/admit", b"{\"kind\":\"Pod\"}".to_vec(), 400, "only AdmissionReview of admission.k8s.io/v1"),
        ("/", b"{}".to_vec(), 404, "/admit"),
        ("/admit", large, 413, "too large"),
    ] {
        let (actual, answer) = world.post(path, &body).await;
        assert_eq!(actual, status, "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
}

#[tokio::test]
async fn a_fence_that_only_the_api_server_knows_of_stops_helms_own_record() {
    let world = World::start(Behaviour::Stores).await;
    world.fence(Some(json!({"revision": 2, "user": "alice", "message": "rolled back"})));
    let write = helms_upgrade();
    let (_, answer) = world.admit(&write).await;
    assert_eq!(answer["response"]["status"]["message"], "rolled back");
    world.fence(None);
    let (_, answer) = world.admit(&write).await;
    assert_eq!(answer["response"]["allowed"], true);
}

#[tokio::test]
async fn a_client_that_knocks_is_let_in_when_the_fence_comes_down() {
    let world = World::start(Behaviour::Stores).await;
    world.fence(Some(json!({"revision": 2, "user": "alice", "message": "rolled back"})));
    let secret = json!({"type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.front.v3", "namespace": "shop"}});
    let mut write = review("CREATE", &Value::Null, &secret);
    write["request"]["resource"]["resource"] = json!("secrets");
    let body = write.to_string();
    let (status, refused) = world.post("/admit?timeout=3s", body.as_bytes()).await;
    assert_eq!(status, 200);
    assert!(refused.contains("Try again in a few seconds"), "{refused}");
    let knock = world.post("/admit?timeout=5s", body.as_bytes());
    let opening = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.fence(None);
    };
    let ((_, answer), ()) = tokio::join!(knock, opening);
    assert!(answer.contains("\"allowed\":true"), "{answer}");
}
