//! Kinds with ways of their own.

use super::case::{
    Case, Step,
    Step::{Do, Kubectl, Pipe},
    case, play,
};

#[tokio::test]
async fn secrets_of_every_type_are_changed_and_deleted_and_come_back() {
    play(&SECRETS).await;
}

#[tokio::test]
async fn claims_are_never_taken_down_unasked_and_otherwise_as_any_object() {
    play(&CLAIMS).await;
}

#[tokio::test]
async fn a_job_that_ended_is_not_run_again() {
    play(&JOBS).await;
}

#[tokio::test]
async fn objects_of_many_kinds_are_changed_and_deleted_and_come_back() {
    play(&MANY).await;
}

const TYPES: &str = "
{apiVersion: v1, kind: Secret, metadata: {name: opaque}, stringData: {a: b}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/basic-auth, metadata: {name: basic}, stringData: {username: a, password: b}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/ssh-auth, metadata: {name: ssh}, stringData: {ssh-privatekey: a}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: tls}, stringData: {tls.crt: a, tls.key: b}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/dockerconfigjson, metadata: {name: pull}, stringData: {.dockerconfigjson: '{}'}}
---
{apiVersion: v1, kind: Secret, type: example.com/own, immutable: true, metadata: {name: own}, stringData: {a: b}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: token, annotations: {kubernetes.io/service-account.name: default}}}
";
const KEPT: &[Step] = &[
    Pipe("apply -f -", TYPES),
    Do(|scene| {
        Box::pin(async move {
            scene.until("get secret token -o jsonpath={.data.token}", |token| !token.is_empty()).await
        })
    }),
];
const ALL: &[&str] = &[
    "Secret/basic",
    "Secret/opaque",
    "Secret/own",
    "Secret/pull",
    "Secret/ssh",
    "Secret/tls",
    "Secret/token",
];

const SECRETS: [Case; 3] = [
    case(
        "secrets-changed",
        KEPT,
        &[
            Kubectl(r#"patch secret opaque -p {"stringData":{"a":"c","d":"e"}}"#),
            Kubectl(r#"patch secret basic -p {"stringData":{"password":"c"}}"#),
            Kubectl(r#"patch secret tls -p {"stringData":{"tls.key":"c"}}"#),
            Kubectl("label secret --all x=y"),
        ],
    ),
    case("secrets-deleted", KEPT, &[Kubectl("delete secret --all")]).anew(ALL),
    case(
        "secret-type",
        KEPT,
        &[Kubectl("delete secret ssh"), Kubectl("create secret generic ssh --from-literal=x=y")],
    )
    .recorded(&["Delete Secret/ssh", "Create Secret/ssh"])
    .anew(&["Secret/ssh"]),
];

macro_rules! claim {
    ($name:literal, $annotations:literal) => {
        concat!(
            "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: ",
            $name,
            ", annotations: {",
            $annotations,
            "}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
        )
    };
}
const CLAIMED: &[Step] = &[Pipe("apply -f -", claim!("old", ""))];

const CLAIMS: [Case; 4] = [
    case("claim-created", CLAIMED, &[Pipe("apply -f -", claim!("new", ""))])
        .differs(&["PersistentVolumeClaim/new"])
        .unrestored(&[(
            "PersistentVolumeClaim/new",
            "kept, because it holds data; the annotation backout.dev/on-rollback: delete",
        )]),
    case(
        "claim-created-for-now",
        CLAIMED,
        &[Pipe("apply -f -", claim!("new", "backout.dev/on-rollback: delete"))],
    ),
    case("claim-changed", CLAIMED, &[Kubectl("annotate pvc old a=b"), Kubectl("label pvc old a=b")]),
    case("claim-deleted", CLAIMED, &[Kubectl("delete pvc old")]).anew(&["PersistentVolumeClaim/old"]),
];

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: registry.example/ready}]}}}
";
const SUSPENDED: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: later}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: registry.example/ready}]}}}
";
const RAN: &[Step] = &[Pipe("apply -f -", JOB)];

const JOBS: [Case; 5] = [
    case("job-created", &[Kubectl("create configmap a")], RAN).recorded(&["Create Job/migrate"]),
    case("job-changed", RAN, &[Kubectl(r#"patch job migrate -p {"spec":{"ttlSecondsAfterFinished":900}}"#)])
        .recorded(&["Update Job/migrate"]),
    case("job-deleted", RAN, &[Kubectl("delete job migrate")])
        .recorded(&["Delete Job/migrate"])
        .differs(&["Job/migrate"])
        .unrestored(&[("Job/migrate", "had ended")]),
    case("job-again", RAN, &[Pipe("replace --force -f -", JOB)])
        .recorded(&["Delete Job/migrate", "Create Job/migrate"])
        .differs(&["Job/migrate"])
        .unrestored(&[("Job/migrate", "had ended")]),
    case("job-waiting", &[Pipe("apply -f -", SUSPENDED)], &[Kubectl("delete job later")])
        .anew(&["Job/later"])
        .differs(&[
            "Job/later spec selector matchLabels batch.kubernetes.io/controller-uid",
            "Job/later spec template metadata labels batch.kubernetes.io/controller-uid",
            "Job/later spec template metadata labels controller-uid",
        ]),
];

const OBJECTS: &str = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: NodePort, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a}, spec: {minAvailable: 1, selector: {matchLabels: {app: a}}}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a}, spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {schedule: '0 0 1 1 *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}}
---
{apiVersion: demo.example/v1, kind: Widget, metadata: {name: a}, spec: {colour: green}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}, subjects: [{kind: ServiceAccount, name: a}]}
";
const CHANGED: &str = "
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ClusterIP, ports: [{name: a, port: 80}, {name: b, port: 81}]}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: a}, spec: {maxUnavailable: 1, selector: {matchLabels: {app: b}}}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {minReplicas: 2, maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a}, spec: {rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 81}}}}]}}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {matchLabels: {a: b}}, ingress: [{ports: [{port: 80}, {port: 81}]}]}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: a}, spec: {suspend: true, schedule: '0 0 2 1 *', jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: d, image: x}]}}}}}}
---
{apiVersion: demo.example/v1, kind: Widget, metadata: {name: a, labels: {a: b}}, spec: {colour: red}}
---
{apiVersion: demo.example/v1, kind: Widget, metadata: {name: b}, spec: {colour: red}}
";
const THERE: &[Step] = &[Pipe("apply -f -", OBJECTS)];
const NAMES: &[&str] = &[
    "CronJob/a",
    "HorizontalPodAutoscaler/a",
    "Ingress/a",
    "NetworkPolicy/a",
    "PodDisruptionBudget/a",
    "Service/a",
    "Service/headless",
    "ServiceAccount/a",
    "Widget/a",
];
const RBAC: &str = "restored only when the watcher runs with --restore-rbac";

const MANY: [Case; 4] = [
    case("many-changed", THERE, &[Pipe("apply -f -", CHANGED)]),
    case(
        "many-applied",
        &[Pipe("apply --server-side -f -", OBJECTS)],
        &[Pipe("apply --server-side -f -", CHANGED)],
    )
    .afterwards(&[Pipe("apply --server-side -f -", OBJECTS)]),
    case("many-deleted", THERE, &[Pipe("delete -f -", OBJECTS)])
        .anew(NAMES)
        .differs(&["Role/a", "RoleBinding/a"])
        .unrestored(&[("RoleBinding/a", RBAC), ("Role/a", RBAC)]),
    case("many-created", &[Kubectl("create configmap a")], THERE),
];
