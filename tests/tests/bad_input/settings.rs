//! Settings that make no sense: refused where there is a schema, reported and ignored where there is none.

use jiff::SignedDuration;
use system_tests::{Backout, TestNamespace, User};

use super::super::{healthy, took};

const ALICE: User<'static> = User::Named("alice");

#[tokio::test]
async fn a_release_that_makes_no_sense_is_refused_with_the_field_and_the_rule() {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::atomic(cluster, "refused settings", &[]).await.unwrap();
    ns.grant("alice").await.unwrap();
    for (spec, field, rule) in [
        ("soak: -5s", "spec.soak", "should match"),
        ("settle: soon", "spec.settle", "should match"),
        ("deadline: ''", "spec.deadline", "should match"),
        (
            "onFailure: {upgrade: Explode}",
            "spec.onFailure.upgrade",
            "supported values: \"Rollback\", \"Hold\", \"Notify\"",
        ),
        ("onFailure: {install: rollback}", "spec.onFailure.install", "Unsupported value: \"rollback\""),
        ("historyLimit: 0", "spec.historyLimit", "should be greater than or equal to 1"),
        ("historyLimit: 101", "spec.historyLimit", "should be less than or equal to 100"),
        ("suspend: maybe", "spec.suspend", "must be of type boolean"),
        ("soaks: 5s", "spec.soaks", "unknown field"),
    ] {
        let manifest = format!(
            "{{apiVersion: backout.dev/v1alpha1, kind: Release, metadata: {{name: shop}}, spec: {{{spec}}}}}"
        );
        let kubectl = cluster.kubectl().user(ALICE).stdin(manifest);
        let output = kubectl.run(&["apply", "-n", ns.name(), "-f", "-"]).await.unwrap();
        assert!(!output.status.success(), "{spec} was taken: {output:?}");
        for word in [field, rule] {
            assert!(output.stderr.contains(word), "{spec} is refused without {word:?}: {}", output.stderr);
        }
    }
    let get = ["get", "release", "shop", "-n", ns.name(), "--ignore-not-found", "-o", "name"];
    assert_eq!(cluster.kubectl().run(&get).await.unwrap().success().unwrap().stdout, "");
}

#[tokio::test]
async fn an_annotation_that_does_not_parse_is_reported_and_the_default_is_used() {
    let (cluster, _) = Backout::shared().unwrap();
    let annotations = [
        ("backout.dev/settle", "-1s"),
        ("backout.dev/soak", "soon"),
        ("backout.dev/on-install-failure", "explode"),
        ("backout.dev/suspend", "perhaps"),
    ];
    let ns = TestNamespace::atomic(cluster, "bad annotations", &annotations).await.unwrap();
    ns.grant("alice").await.unwrap();
    ns.apply(ALICE, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: b}}").await.unwrap();
    let status = healthy(cluster, ns.name()).await.unwrap();

    assert_eq!(status.problems.len(), annotations.len(), "{:#?}", status.problems);
    for ((annotation, text), problem) in annotations.iter().zip(&status.problems) {
        assert!(problem.contains(annotation) && problem.contains(text), "{problem}");
    }
    let took = took(&status);
    // The watcher's flags: 5 s of quiet and 10 s of soak. Stored times have whole seconds.
    assert!(took >= SignedDuration::from_secs(14), "healthy after {took}: the defaults were not used");
}
