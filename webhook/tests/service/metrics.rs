//! Each of the webhook's metrics moves with what it counts, and with nothing else.

use std::time::Duration;

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use crate::{
    config_map,
    fake::{Behaviour, World, review},
    helms_upgrade, update,
};

/// All outcomes, and how often each was counted.
fn outcomes(world: &World) -> Vec<(&'static str, f64)> {
    let all =
        ["recorded", "fenced", "failed", "overload", "invalid", "too_large", "slow", "no_change", "dry_run"];
    let counted = |outcome| (outcome, world.counted(&format!("admissions_total{{outcome=\"{outcome}\"}}")));
    all.into_iter().map(counted).filter(|(_, count)| *count > 0.0).collect()
}

#[tokio::test]
async fn a_recorded_write_is_counted_with_its_record_its_bytes_and_its_time() {
    let world = World::start(Behaviour::Stores).await;
    world.admit(&update()).await;
    assert_eq!(outcomes(&world), [("recorded", 1.0)]);
    assert_eq!(world.counted("records_total{operation=\"update\"}"), 1.0);
    assert_eq!(world.counted("records_total{operation=\"delete\"}"), 0.0);
    assert!(world.counted("record_bytes_total") > 100.0);
    assert_eq!(world.counted("admission_seconds_count"), 1.0);
    assert_eq!(world.counted("admissions_in_flight"), 0.0);
}

#[tokio::test]
async fn a_write_that_passes_and_one_that_is_none_are_counted_apart() {
    let world = World::start(Behaviour::Stores).await;
    world.admit(&review("UPDATE", &config_map("1"), &config_map("1"))).await;
    let mut dry_run = update();
    dry_run["request"]["dryRun"] = json!(true);
    world.admit(&dry_run).await;
    world.post("/admit", b"{").await;
    world.post("/admit", &vec![b'x'; (7 << 20) + 1]).await;
    assert_eq!(
        outcomes(&world),
        [("invalid", 1.0), ("too_large", 1.0), ("no_change", 1.0), ("dry_run", 1.0)]
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_is_counted_by_the_class_of_the_error() {
    let world = World::start(Behaviour::Forbids).await;
    world.admit(&update()).await;
    assert_eq!(outcomes(&world), [("failed", 1.0)]);
    assert_eq!(world.counted("record_failures_total{class=\"forbidden\"}"), 1.0);
}

#[tokio::test]
async fn a_write_that_a_fence_refuses_is_counted_as_fenced() {
    let world = World::start(Behaviour::Stores).await;
    world.fence(Some(json!({"revision": 2, "user": "alice", "message": "rolled back"})));
    world.admit(&helms_upgrade()).await;
    assert_eq!(outcomes(&world), [("fenced", 1.0)]);
}

#[tokio::test]
async fn who_is_let_into_a_release_of_another_namespace_is_counted() {
    let world = World::start(Behaviour::Stores).await;
    let mut object = config_map("2");
    object["metadata"]["annotations"] =
        json!({"backout.dev/release-name": "front", "backout.dev/release-namespace": "other"});
    world.admit(&review("UPDATE", &config_map("1"), &object)).await;
    assert_eq!(world.counted("joins_total{answer=\"granted\"}"), 1.0);
    assert_eq!(world.counted("joins_total{answer=\"denied\"}"), 0.0);
}

#[tokio::test]
async fn too_many_requests_at_a_time_are_counted_as_overload_until_those_under_way_are_over() {
    let world = World::start(Behaviour::Stores).await;
    loop {
        let begin = Instant::now();
        let under_way = without_bodies(&world, 12).await;
        in_flight(&world, 9.0).await;
        let there = world.counted("admissions_in_flight");
        let status = world.post("/admit", &vec![b' '; 7 << 20]).await.0;
        drop(under_way);
        in_flight(&world, 0.0).await;
        // A body that has not come after 3 s is given up.
        if begin.elapsed() < Duration::from_secs(3) {
            assert_eq!((there, status), (9.0, 429));
            break;
        }
    }
    assert!(world.counted("admissions_total{outcome=\"overload\"}") >= 1.0);
    assert_eq!(world.post("/admit", &vec![b' '; 7 << 20]).await.0, 400);
}

/// Requests that each take the share of the largest body, and bring none of it.
async fn without_bodies(world: &World, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port())).await.unwrap();
        let head = format!("POST /admit HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 7 << 20);
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

/// Waits for so many, for no longer than 10 s.
async fn in_flight(world: &World, count: f64) {
    let until = Instant::now() + Duration::from_secs(10);
    while (world.counted("admissions_in_flight") - count).abs() > 0.5 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_release_that_cannot_be_read_is_counted_and_keeps_nothing_from_being_ready() {
    let world = World::start(Behaviour::Stores).await;
    let until = Instant::now() + Duration::from_secs(10);
    while !world.readiness.is_ready() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(world.readiness.is_ready());
    assert_eq!(world.counted("unreadable_releases_total"), 1.0);
}

#[tokio::test]
async fn a_webhook_that_may_not_see_the_releases_says_so_and_counts_it() {
    let world = World::start(Behaviour::HidesReleases).await;
    let until = Instant::now() + Duration::from_secs(10);
    while world.counted("watch_interruptions_total") < 1.0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let missing = world.readiness.missing().join("\n");
    assert!(missing.starts_with("release cache: ") && missing.contains("Forbidden"), "{missing}");
}
