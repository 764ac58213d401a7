use serde_json::{Value, json};

use super::*;
use crate::{
    names,
    object::{ObjectKey, ObjectRef},
    undo::{
        Operation,
        codec::{self, Draft},
    },
};

fn object() -> ObjectRef {
    let key = ObjectKey {
        group: "admissionregistration.k8s.io".to_owned(),
        resource: "validatingadmissionpolicies".to_owned(),
        namespace: None,
        name: "p".to_owned(),
    };
    ObjectRef { key, version: "v1".to_owned(), kind: "ValidatingAdmissionPolicy".to_owned() }
}

fn policy(version: &str, failure: &str, managers: &[&str]) -> Value {
    let managers: Vec<_> =
        managers.iter().map(|manager| json!({"manager": manager, "time": format!("t{version}")})).collect();
    let annotations = json!({"meta.helm.sh/release-name": "front", "meta.helm.sh/release-namespace": "shop"});
    json!({"metadata": {"name": "p", "uid": "u", "resourceVersion": version, "annotations": annotations,
                        "managedFields": managers}, "spec": {"failurePolicy": failure}})
}

#[test]
fn a_marked_write_is_captured_with_the_states_before_and_after() {
    let (one, two) = (policy("7", "Fail", &["Helm"]), policy("8", "Ignore", &["Helm"]));
    for (before, after, operation, request) in [
        (None, Some(&one), Operation::Create, "u@7"),
        (Some(&one), Some(&two), Operation::Update, "u@8"),
        (Some(&two), None, Operation::Delete, "u@8"),
    ] {
        let captured = capture(&object(), before, after).unwrap();
        let header = &captured.header;
        assert_eq!((header.operation, header.captured, header.request.as_str()), (operation, true, request));
        assert_eq!(header.release.to_string(), "shop/front");
        assert_eq!((header.user.as_str(), header.tool.as_str()), ("unknown", "Helm"));
        assert_eq!(header.uid.as_deref(), Some("u"));
        let image = |image: &Option<Box<serde_json::value::RawValue>>| {
            image.as_ref().map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap())
        };
        assert_eq!((image(&captured.before), image(&captured.after)), (before.cloned(), after.cloned()));
    }
}

#[test]
fn what_is_captured_can_be_read_again() {
    let (one, two) = (policy("7", "Fail", &["Helm"]), policy("8", "Ignore", &["Helm"]));
    for (before, after) in [(None, Some(&one)), (Some(&one), Some(&two)), (Some(&two), None)] {
        let captured = capture(&object(), before, after).unwrap();
        let draft =
            Draft::new(captured.header.clone(), captured.before.as_deref(), captured.after.as_deref());
        let head = draft.encode("backout-system").head;
        let body = &head.data.as_ref().unwrap()[codec::BODY].0;
        let record = codec::decode(&draft.name, head.metadata.annotations.as_ref().unwrap(), body).unwrap();
        assert_eq!((record.body.before.as_ref(), record.body.after.as_ref()), (before, after));
    }
}

#[test]
fn what_is_not_part_of_a_release_or_our_own_is_not_captured() {
    let one = policy("7", "Fail", &["Helm"]);
    let mut unmarked = (one.clone(), policy("8", "Ignore", &["Helm"]));
    for object in [&mut unmarked.0, &mut unmarked.1] {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    let restored = policy("8", "Ignore", &["Helm", names::FIELD_MANAGER]);
    for (before, after) in [
        (Some(&unmarked.0), Some(&unmarked.1)),
        (None, Some(&unmarked.0)),
        (Some(&one), Some(&restored)),
        (None, Some(&restored)),
        // Only owners, versions and status moved.
        (Some(&restored), Some(&policy("9", "Ignore", &["Helm"]))),
        (None, None),
    ] {
        assert!(capture(&object(), before, after).is_none(), "{before:?} {after:?}");
    }
    // What we once left there hides nobody.
    let next = policy("8", "Fail", &["Helm", names::FIELD_MANAGER]);
    let kept = json!({"manager": names::FIELD_MANAGER, "time": "t8"});
    let mut later = policy("9", "Ignore", &["Helm"]);
    later["metadata"]["managedFields"].as_array_mut().unwrap().push(kept);
    assert!(capture(&object(), Some(&next), Some(&later)).is_some());
}
