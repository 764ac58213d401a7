//! What changes nothing leaves nothing, and is shown nothing of ours.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use system_tests::Output;

use super::super::{ALICE, api, kubectl, log, namespace};

#[tokio::test]
async fn diffs_and_dry_runs_see_no_label_move_and_leave_no_record() {
    let (cluster, ns) = namespace("dry runs").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let write = |value: &str| std::fs::write(path, CONFIG_MAP.replace("VALUE", value)).unwrap();
    write("1");
    kubectl(&ns, ALICE, &["apply", "-f", path]).await.success().unwrap();
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let before = maps.get("a").await.unwrap();

    let unchanged = kubectl(&ns, ALICE, &["diff", "-f", path]).await;
    assert_eq!((unchanged.status.code(), unchanged.stdout.as_str()), (Some(0), ""), "{unchanged:?}");
    write("2");
    for diff in [&["diff", "-f", path][..], &["diff", "--server-side", "--force-conflicts", "-f", path]] {
        let changed = kubectl(&ns, ALICE, diff).await;
        assert_eq!(changed.status.code(), Some(1), "{changed:?}");
        let moved: Vec<_> = changed.stdout.lines().filter(|line| line.contains("backout.dev")).collect();
        // Lines of context begin with a space.
        assert!(moved.iter().all(|line| line.starts_with(' ')), "{changed:?}");
        assert!(changed.stdout.contains("+  key: \"2\""), "{changed:?}");
    }
    for dry_run in [
        &["apply", "-f", path, "--dry-run=server", "-o", "yaml"][..],
        &["create", "configmap", "new", "--dry-run=server", "-o", "yaml"],
        &["label", "configmap", "a", "x=y", "--dry-run=server", "-o", "yaml"],
        &["delete", "configmap", "a", "--dry-run=server"],
    ] {
        let output: Output = kubectl(&ns, ALICE, dry_run).await.success().unwrap();
        assert!(!output.stderr.contains("backout"), "{output:?}");
        assert!(!dry_run.contains(&"create") || !output.stdout.contains("backout.dev"), "{output:?}");
    }
    assert_eq!(log(cluster, &ns).await.len(), 1);
    assert_eq!(maps.get("a").await.unwrap(), before);
}

#[tokio::test]
async fn an_apply_that_changes_nothing_leaves_no_record_and_no_new_version() {
    let (cluster, ns) = namespace("no-op applies").await;
    let manifest = CONFIG_MAP.replace("VALUE", "1");
    ns.apply(ALICE, &manifest).await.unwrap();
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let first = maps.get("a").await.unwrap();
    ns.apply(ALICE, &manifest).await.unwrap();
    let nothing = Patch::Merge(json!({"data": {"key": "1"}}));
    maps.patch("a", &PatchParams::default(), &nothing).await.unwrap();
    assert_eq!(maps.get("a").await.unwrap(), first);
    assert_eq!(log(cluster, &ns).await.len(), 1);

    // The first server-side apply takes ownership, which is no content; the second does nothing at all.
    let apply = async || {
        let ours = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "1"}}));
        maps.patch("a", &PatchParams::apply("owner"), &ours).await.unwrap()
    };
    let owned = apply().await;
    assert_eq!(apply().await, owned);
    assert_eq!(owned.metadata.labels, first.metadata.labels);
    assert_eq!(log(cluster, &ns).await.len(), 1);
}

const CONFIG_MAP: &str =
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: a}}, data: {key: 'VALUE'}}";
