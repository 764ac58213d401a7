//! Whatever is posted: an answer or an error; what is to be recorded can be read back, and its patch applies.
#![no_main]

use std::collections::BTreeMap;

use backout_fuzz::Bytes;
use backout_model::{
    admission::{Answer, Decision, Triage, answer, parse, triage},
    identity::Deployers,
    undo::codec,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    if *how == b'{' {
        return review(data);
    }
    let mut bytes = Bytes(rest);
    let operation = ["CREATE", "UPDATE", "DELETE", "CONNECT"][usize::from(how % 4)];
    let old = if how & 4 == 0 || operation == "CREATE" { Value::Null } else { bytes.object() };
    let new = if operation == "DELETE" { Value::Null } else { bytes.object() };
    let resource = ["things", "secrets", "configmaps", "deployments"][usize::from(how >> 3 & 3)];
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r", "operation": operation, "namespace": "n", "name": "c",
        "subResource": if how & 64 == 0 { "" } else { "scale" },
        "kind": {"group": "", "version": "v1", "kind": "Thing"},
        "resource": {"group": "", "version": "v1", "resource": resource},
        "userInfo": {"username": "alice", "groups": [bytes.text()]}, "object": new, "oldObject": old,
        "options": {"fieldManager": bytes.text()}}});
    review(body.to_string().as_bytes());
});

fn review(body: &[u8]) {
    let Ok(request) = parse(body) else { return };
    let write = match triage(&request, &Deployers::default()) {
        Ok(Triage::Write(write)) => *write,
        Ok(Triage::Join(joining)) => match joining.answered(body.len() % 2 == 0) {
            Ok(write) => write,
            Err(_) => return,
        },
        Ok(Triage::Pass(_)) | Err(_) => return,
    };
    let object = request.object.map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
    let (patch, undo) = match write.decide(None) {
        Decision::Refuse { .. } => panic!("refused without a fence"),
        Decision::Pass { patch, .. } => (patch, None),
        Decision::Record(recording) => {
            let encoded = recording.draft.encode("backout-system");
            let annotations: BTreeMap<_, _> = encoded.head.metadata.annotations.unwrap_or_default();
            let parts = if encoded.pieces.is_empty() {
                vec![encoded.head.data]
            } else {
                encoded.pieces.into_iter().map(|piece| piece.data).collect()
            };
            let body: Vec<u8> =
                parts.into_iter().flatten().flat_map(|data| data[codec::BODY].0.clone()).collect();
            let record = codec::decode(&encoded.name, &annotations, &body);
            match record {
                Ok(record) => assert_eq!(record.header, recording.draft.header),
                // Nested deeper than any JSON that is read as a whole.
                Err(codec::Garbage::Body(error)) if error.to_string().contains("recursion limit") => {}
                Err(error) => panic!("recorded, and not to be read: {error}"),
            }
            (recording.patch, Some(recording.draft.name))
        }
    };
    let allow = Answer::Allow { patch: patch.as_ref(), warning: None, undo: undo.as_ref() };
    let answered = answer(&request.uid, allow);
    assert!(answered.len() <= 4096 + 8 * body.len(), "{} bytes for {}", answered.len(), body.len());
    serde_json::from_slice::<Value>(&answered).unwrap();
    if let (Some(patch), Some(object)) = (patch, object) {
        let operations: json_patch::Patch = serde_json::from_slice(patch.as_bytes()).unwrap();
        let mut patched = object;
        json_patch::patch(&mut patched, &operations).unwrap();
        let once = patched.clone();
        json_patch::patch(&mut patched, &operations).unwrap();
        assert_eq!(patched, once);
    }
}
