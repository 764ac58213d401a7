use serde_json::{Value, json};

use super::*;
use crate::release::{Fence, Phase};

fn helm_secret(operation: &str, old: &Value, new: &Value) -> Value {
    let mut review = review(operation, old, new);
    review["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "Secret"});
    review["request"]["resource"] = json!({"group": "", "version": "v1", "resource": "secrets"});
    review["request"]["name"] = json!("sh.helm.release.v1.front.v2");
    review["request"]["options"] = json!({"kind": "CreateOptions"});
    review
}

fn secret(status: &str) -> Value {
    json!({"type": "helm.sh/release.v1", "metadata": {"name": "sh.helm.release.v1.front.v2", "namespace": "shop",
           "labels": {"status": status}}})
}

fn fenced() -> Release {
    let fence = Fence {
        revision: 2,
        user: "alice".to_owned(),
        message: "revision 2 was rolled back".to_owned(),
        ..Fence::default()
    };
    release(ReleaseStatus {
        fence: Some(fence),
        revision: 2,
        phase: Some(Phase::RolledBack),
        ..Default::default()
    })
}

#[test]
fn a_fence_refuses_the_client_that_was_aborted_and_nobody_else() {
    let refused = |tool: &str, user: &str| {
        let mut write = update(&deployment(&json!({}), 1), &deployment(&json!({}), 2));
        write["request"]["options"]["fieldManager"] = json!(tool);
        write["request"]["userInfo"]["username"] = json!(user);
        decide(&write, Some(&fenced()), |decision| match decision {
            Decision::Refuse { message } => Some(message),
            _ => None,
        })
    };
    for tool in ["", "helm", "Helm", "helm-4", "terraform-provider-helm_v3"] {
        assert_eq!(refused(tool, "alice").as_deref(), Some("revision 2 was rolled back"), "{tool}");
    }
    assert_eq!(refused("kubectl-edit", "alice"), None);
    assert_eq!(refused("helm", "bob"), None);
}

#[test]
fn a_fenced_client_may_knock_with_its_next_transaction_but_not_end_the_last_one() {
    let knock = helm_secret("CREATE", &Value::Null, &secret("pending-upgrade"));
    recording(&knock, Some(&fenced()), |recording| {
        assert!(recording.knocks);
        assert_eq!(recording.draft.header.release.to_string(), "shop/front");
    });
    recording(&knock, None, |recording| assert!(!recording.knocks));
    for (operation, new) in [("UPDATE", secret("deployed")), ("DELETE", Value::Null)] {
        let write = helm_secret(operation, &secret("pending-upgrade"), &new);
        decide(&write, Some(&fenced()), |decision| assert!(matches!(decision, Decision::Refuse { .. })));
    }
}

#[test]
fn helms_own_records_and_fenced_writes_need_the_live_release() {
    let needs_live = |review: &Value, release: Option<&Release>| {
        let body = review.to_string();
        let request = parse(body.as_bytes()).unwrap();
        let Triage::Write(write) = triage(&request, &Deployers::default()).unwrap() else { panic!() };
        write.needs_live_release(release)
    };
    let mut write = update(&deployment(&json!({}), 1), &deployment(&json!({}), 2));
    assert!(!needs_live(&write, None) && !needs_live(&write, Some(&fenced())));
    write["request"]["options"]["fieldManager"] = json!("helm");
    assert!(needs_live(&write, Some(&fenced())) && !needs_live(&write, None));
    assert!(needs_live(&helm_secret("UPDATE", &secret("pending-upgrade"), &secret("deployed")), None));
}
