//! Secrets that look like undo records and are none.

use std::collections::BTreeMap;

use backout_model::{
    names::{self, ReleaseKey, ReleaseName},
    object::{ObjectKey, ObjectRef},
    undo::{Header, Operation},
};
use jiff::SignedDuration;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use system_tests::{Backout, Cluster, TestNamespace, User, backout::NAMESPACE};

use super::super::{healthy, took};

#[tokio::test]
async fn a_record_whose_head_is_garbage_is_reported_and_delays_nobody() {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::atomic(cluster, "garbage head", &[]).await.unwrap();
    let header = serde_json::to_string(&header(ns.name(), Operation::Delete)).unwrap();
    let other = serde_json::to_string(&self::header("other", Operation::Delete)).unwrap();
    let of = |annotations: &[(&str, &str)]| secret(&record_name(), ns.name(), annotations, b"garbage");
    judged_as_if_it_were_not_there(
        cluster,
        &ns,
        &[
            (of(&[]), "it has no annotation backout.dev/header"),
            (of(&[(names::HEADER, "no JSON")]), "its header cannot be read"),
            (of(&[(names::HEADER, "{}")]), "its header cannot be read"),
            (
                secret(&format!("garbage-{}", record_name()), ns.name(), &[(names::HEADER, &header)], b""),
                "its name is not that of a record",
            ),
            (of(&[(names::HEADER, &other)]), "it is of the release other/other"),
            (of(&[(names::HEADER, &header), (names::POSITION, "first")]), "its position"),
            (of(&[(names::HEADER, &header), (names::POSITION, "-1")]), "its position"),
            (of(&[(names::HEADER, &header), (names::POSITION, "99999999999999999999")]), "its position"),
            (of(&[(names::HEADER, &header), (names::POSITION, "18446744073709551615")]), "its position"),
            (of(&[(names::HEADER, &header), (names::PIECES, "1000000")]), "it claims to lie in"),
        ],
    )
    .await;
}

// Of these nothing but the body tells: the header is in order, and no live object contradicts it. (An update of an
// object that never was is aborted, and forgotten like any write that did not commit.)

#[tokio::test]
async fn a_deletion_whose_body_is_garbage_is_reported_and_delays_nobody() {
    garbage_body(Operation::Delete).await;
}

#[tokio::test]
async fn a_creation_whose_body_is_garbage_is_reported_and_delays_nobody() {
    garbage_body(Operation::Create).await;
}

async fn garbage_body(operation: Operation) {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::atomic(cluster, "garbage body", &[]).await.unwrap();
    let header = serde_json::to_string(&header(ns.name(), operation)).unwrap();
    let record = secret(&record_name(), ns.name(), &[(names::HEADER, &header)], b"no gzip");
    judged_as_if_it_were_not_there(cluster, &ns, &[(record, "its body cannot be decompressed")]).await;
}

/// Two namespaces are released, the first with `garbage` in its log: both become healthy in the same time, and the
/// first reports the garbage, a line each, and nothing else.
async fn judged_as_if_it_were_not_there(
    cluster: &Cluster,
    ns: &TestNamespace<'_>,
    garbage: &[(Secret, &str)],
) {
    let other = TestNamespace::atomic(cluster, "no garbage", &[]).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), NAMESPACE);
    for (secret, _) in garbage {
        secrets.create(&PostParams::default(), secret).await.unwrap();
    }
    for ns in [ns, &other] {
        ns.apply(User::Admin, CONFIG_MAP).await.unwrap();
    }
    let (first, second) = tokio::join!(healthy(cluster, ns.name()), healthy(cluster, other.name()));
    let (status, second) = (first.unwrap(), second.unwrap());
    assert_eq!(second.problems, Vec::<String>::new());
    // A write that may still be made delays the end by 10 s and more.
    assert!(took(&status) < took(&second) + SignedDuration::from_secs(9), "{status:#?}\n{second:#?}");
    for (secret, why) in garbage {
        let told = status.problems.iter().find(|problem| problem.contains(&secret.name_any()));
        assert!(told.is_some_and(|told| told.contains(why)), "{why}: {:#?}", status.problems);
    }
    assert_eq!(status.problems.len(), garbage.len(), "{:#?}", status.problems);
    assert_eq!((status.revision, status.history[0].objects), (1, 1), "{status:#?}");
    for (secret, _) in garbage {
        // Left for a person to look at: who knows what it is.
        secrets.delete(&secret.name_any(), &DeleteParams::default()).await.unwrap();
    }
}

const CONFIG_MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {key: value}}";

fn secret(name: &str, ns: &str, annotations: &[(&str, &str)], body: &[u8]) -> Secret {
    let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let labels = [(names::PART, names::PART_HEAD), (names::RELEASE, ns), (names::RELEASE_NAMESPACE, ns)];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(owned(&labels)),
            annotations: Some(owned(annotations)),
            ..ObjectMeta::default()
        },
        type_: Some(names::RECORD_TYPE.to_owned()),
        data: Some(BTreeMap::from([("body".to_owned(), ByteString(body.to_vec()))])),
        ..Secret::default()
    }
}

fn record_name() -> String {
    format!("u-{:032x}{:08x}", rand::random::<u128>(), rand::random::<u32>())
}

/// Of an object that never was.
fn header(ns: &str, operation: Operation) -> Header {
    let known = operation != Operation::Create;
    Header {
        operation,
        object: ObjectRef {
            key: ObjectKey {
                group: String::new(),
                resource: "configmaps".to_owned(),
                namespace: Some(ns.to_owned()),
                name: format!("ghost-{:x}", rand::random::<u32>()),
            },
            version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
        },
        generate_name: None,
        uid: known.then(|| "00000000-0000-4000-8000-000000000000".to_owned()),
        resource_version: known.then(|| "1".to_owned()),
        undo: None,
        replicas: None,
        release: ReleaseKey::new(ns, ReleaseName::from_mark(ns).unwrap()),
        release_uid: None,
        revision: 1,
        begins: false,
        captured: false,
        user: "alice".to_owned(),
        tool: "kubectl".to_owned(),
        request: "garbage".to_owned(),
    }
}
