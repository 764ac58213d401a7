use serde_json::{Value, json};

use super::*;

#[test]
fn an_answer_carries_patch_and_its_type_together() {
    let patch =
        recording(&review("CREATE", &Value::Null, &deployment(&json!({}), 1)), None, |r| r.patch.unwrap());
    let allow = answer("r-1", Answer::Allow { patch: Some(&patch), warning: Some("careful"), undo: None });
    let allow: Value = serde_json::from_slice(&allow).unwrap();
    assert_eq!(allow["response"]["uid"], "r-1");
    assert_eq!(allow["response"]["patchType"], "JSONPatch");
    assert_eq!(allow["response"]["warnings"], json!(["careful"]));
    let bare = answer("r-1", Answer::Allow { patch: None, warning: None, undo: None });
    assert_eq!(
        serde_json::from_slice::<Value>(&bare).unwrap(),
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "r-1", "allowed": true}})
    );
    let deny = answer("r-1", Answer::Deny { message: "no" });
    let deny: Value = serde_json::from_slice(&deny).unwrap();
    assert_eq!(
        deny["response"],
        json!({"uid": "r-1", "allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "no"}})
    );
}

#[test]
fn a_body_that_cannot_be_answered_says_what_is_wrong_with_it() {
    let mut old_version = update(&json!({}), &json!({}));
    old_version["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let mut no_uid = update(&json!({}), &json!({}));
    no_uid["request"]["uid"] = json!("");
    let mut no_kind = update(&json!({}), &json!({}));
    no_kind["request"]["kind"] = json!(7);
    for (body, message) in [
        ("{".to_owned(), "no JSON object"),
        ("7".to_owned(), "no JSON object"),
        (old_version.to_string(), "admission.k8s.io/v1beta1"),
        (
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).to_string(),
            "holds no request",
        ),
        (no_uid.to_string(), "has no uid"),
        (no_kind.to_string(), "the request cannot be read"),
    ] {
        let error = parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!(matches!(parse(b"\xff"), Err(Invalid::Encoding)));
}

#[test]
fn an_operation_without_its_object_is_invalid() {
    for (operation, field) in [("CREATE", "object"), ("UPDATE", "object"), ("DELETE", "oldObject")] {
        let body = review(operation, &Value::Null, &Value::Null).to_string();
        let request = parse(body.as_bytes()).unwrap();
        let error = triage(&request, &Deployers::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("the {operation} brings no {field}"));
    }
    let body = review("CREATE", &Value::Null, &json!([1])).to_string();
    let request = parse(body.as_bytes()).unwrap();
    assert!(matches!(triage(&request, &Deployers::default()), Err(Invalid::Object { field: "object", .. })));
}

#[test]
fn metadata_that_would_take_far_more_memory_than_text_is_invalid() {
    let with = |field: &str, value: Value| {
        let mut object = deployment(&json!({}), 1);
        object["metadata"][field] = value;
        let body = review("CREATE", &Value::Null, &object).to_string();
        triage(&parse(body.as_bytes()).unwrap(), &Deployers::default())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let bomb = || Value::Array(vec![json!({"": 0}); 2000]);
    for field in ["ownerReferences", "finalizers", "anything"] {
        let error = with(field, bomb()).unwrap_err();
        assert!(error.contains(&format!("metadata.{field} holds more than 1000 objects")), "{error}");
    }
    for field in ["labels", "annotations"] {
        assert!(with(field, json!({"a": bomb()})).unwrap_err().contains("expected a string"));
    }
    // These are many, and no content.
    assert_eq!(with("managedFields", bomb()), Ok(()));
    assert_eq!(with("annotations", json!({"applied": bomb().to_string()})), Ok(()));
}

#[test]
fn a_request_about_an_object_that_cannot_be_is_invalid() {
    let with = |pointer: &str, value: &str| {
        let mut review = update(&deployment(&json!({}), 1), &deployment(&json!({}), 2));
        *review.pointer_mut(pointer).unwrap() = json!(value);
        let body = review.to_string();
        triage(&parse(body.as_bytes()).unwrap(), &Deployers::default())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    for (pointer, value, wrong) in [
        ("/request/resource/group", "apps/v1", "API group"),
        ("/request/resource/version", "", "API version"),
        ("/request/resource/version", "v1/..", "API version"),
        ("/request/resource/resource", "", "resource"),
        ("/request/resource/resource", "deployments/web", "resource"),
        ("/request/resource/resource", "deployments?", "resource"),
        ("/request/namespace", "shop/..", "namespace"),
        ("/request/namespace", "other", "second namespace"),
        ("/request/object/metadata/namespace", "other", "second namespace"),
        ("/request/object/metadata/name", "other", "second name"),
        ("/request/oldObject/metadata/name", "..", "name"),
        ("/request/oldObject/metadata/name", "web/status", "name"),
        ("/request/oldObject/metadata/name", "web%2f", "name"),
        ("/request/oldObject/metadata/name", "web\n", "name"),
    ] {
        let error = with(pointer, value).unwrap_err();
        assert!(
            error.starts_with(&format!("the {wrong} ")) && error.ends_with("cannot be an object's"),
            "{error}"
        );
    }
    assert_eq!(with("/request/resource/group", "a-b.example"), Ok(()));
    assert_eq!(with("/request/resource/resource", "a-b1"), Ok(()));
}
