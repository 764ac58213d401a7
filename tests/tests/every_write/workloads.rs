//! Workloads whose pods do not follow a restored spec by themselves.

use anyhow::Result;

use super::case::{
    Case,
    Step::{self, Do, Kubectl, Pipe},
    case, play,
};
use super::scene::Scene;

#[tokio::test]
async fn a_workload_that_is_stuck_on_a_bad_pod_gets_its_good_pods_back() {
    play(&WORKLOADS).await;
}

macro_rules! workload {
    ($kind:literal, $spec:literal) => {
        &[Pipe(
            "apply -f -",
            concat!(
                "
apiVersion: apps/v1
kind: ",
                $kind,
                "
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'registry.example/ready:1'}]}
",
                $spec
            ),
        )]
    };
}

const STATEFUL: &[Step] = &[Kubectl("set image statefulset/web web=registry.example/missing:2"), Do(BAD)];
const BAD: super::case::Act = |scene| Box::pin(bad_pod(scene));
const GOOD: &[Step] = &[Do(|scene| Box::pin(good_pods(scene)))];

const WORKLOADS: [Case; 7] = [
    case("ordered", workload!("StatefulSet", "  replicas: 2"), STATEFUL).afterwards(GOOD),
    case("parallel", workload!("StatefulSet", "  replicas: 3\n  podManagementPolicy: Parallel"), STATEFUL)
        .afterwards(GOOD),
    case(
        "partition",
        workload!("StatefulSet", "  replicas: 3\n  updateStrategy: {rollingUpdate: {partition: 2}}"),
        STATEFUL,
    )
    .afterwards(GOOD),
    case(
        "on-delete",
        workload!("StatefulSet", "  replicas: 2\n  updateStrategy: {type: OnDelete}"),
        &[
            Kubectl("set image statefulset/web web=registry.example/missing:2"),
            // Where the pod is there again too soon, kubectl would wait for the deletion of the new one.
            Kubectl("delete pod web-1 --wait=false"),
            Do(BAD),
        ],
    )
    .afterwards(GOOD),
    case(
        "daemons",
        workload!("DaemonSet", ""),
        &[Kubectl("set image daemonset/web web=registry.example/missing:2"), Do(BAD)],
    )
    .differs(COUNTED)
    .afterwards(GOOD),
    case(
        "daemons-on-delete",
        workload!("DaemonSet", "  updateStrategy: {type: OnDelete}"),
        &[
            Kubectl("set image daemonset/web web=registry.example/missing:2"),
            Kubectl("delete pod -l app=web --field-selector=spec.nodeName=kwok-0"),
            Do(BAD),
        ],
    )
    .differs(COUNTED)
    .afterwards(GOOD),
    case(
        "deployment",
        workload!("Deployment", "  replicas: 2"),
        &[Kubectl("set image deployment/web web=registry.example/missing:2"), Do(BAD)],
    )
    .afterwards(GOOD),
];

/// The server counts the changes of a DaemonSet's template.
const COUNTED: &[&str] = &["DaemonSet/web metadata annotations deprecated.daemonset.template.generation"];

const IMAGES: &str = "get pods -l app=web -o jsonpath={.items[*].spec.containers[*].image}";

async fn bad_pod(scene: &Scene) -> Result<()> {
    scene.until(IMAGES, |images| images.contains("missing:2")).await
}

async fn good_pods(scene: &Scene) -> Result<()> {
    scene.until(IMAGES, |images| !images.is_empty() && !images.contains("missing:2")).await?;
    let ready = "get pods -l app=web -o jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
    scene.until(ready, |ready| ready.contains("True") && !ready.contains("False")).await
}
