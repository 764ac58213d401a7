//! Values of Secrets, in every place and form.

use backout_model::evidence::{REDACTED, Redactor};
use serde_json::json;

use crate::scene::{NOW, Scene, crashing, log_of, secret};

const VALUE: &str = "hunter2-\"x\"&y";
/// With none, one and two other bytes before it, and the same after it.
const ENCODED: [&str; 3] = ["aHVudGVyMi0ieCImeQ", "h1bnRlcjItIngiJn", "odW50ZXIyLSJ4Iiz5"];

#[test]
fn a_value_is_found_in_every_form_in_which_it_is_written() {
    let mut redactor = Redactor::default();
    redactor.add(VALUE.as_bytes());
    let quoted = json!(VALUE).to_string();
    for text in [
        format!("password is {VALUE}."),
        format!("{{\"password\":{quoted}}}"),
        "postgres://u:hunter2-%22x%22%26y@db".to_owned(),
        format!("data: {}==", ENCODED[0]),
        format!("two {VALUE}{VALUE} of them"),
    ] {
        let told = redactor.whole(&text);
        assert!(told.contains(REDACTED) && !told.contains("hunter"), "{text}: {told}");
    }
    // A part of a longer text in base64, as in a header for basic authentication.
    for before in ["", "u", "us", "use", "user"] {
        let text = format!("{before}{VALUE}+and more");
        let encoded = serde_json::to_value(k8s_openapi::ByteString(text.into_bytes())).unwrap();
        let told = redactor.whole(encoded.as_str().unwrap());
        assert!(told.contains(REDACTED), "{before}: {told}");
    }
    assert_eq!(redactor.whole("hunter of 2 things"), "hunter of 2 things");
}

#[test]
fn a_value_that_is_cut_off_at_either_end_of_a_text_is_found() {
    let mut redactor = Redactor::default();
    redactor.add(b"correct horse battery");
    for (text, told) in [
        ("battery: is what I said", "[redacted]: is what I said"),
        ("horse battery", "[redacted]"),
        ("it was correct ho", "it was [redacted]"),
        ("ect horse bat", "[redacted]"),
        ("horses and batteries", "horses and batteries"),
    ] {
        assert_eq!(redactor.cut(text), told);
    }
}

#[test]
fn parts_of_a_value_that_are_secrets_themselves_are_found() {
    let mut redactor = Redactor::default();
    redactor.add(b"-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n");
    redactor.add(br#"{"auths": {"registry": {"password": "tr0ub4dor&3"}}, "port": 5432}"#);
    redactor.add(b"host: db\npassword: \"s3cr3t-in-file\"\n");
    let text = "at 5432 of db: kqhkiG9w0BAQEF tr0ub4dor&3 s3cr3t-in-file";
    assert_eq!(redactor.whole(text), "at 5432 of db: [redacted] [redacted] [redacted]");
}

#[test]
fn no_value_is_shown_wherever_it_appears() {
    let mut scene = Scene::new();
    let env =
        json!({"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "used", "key": "password"}}}]});
    scene.crashes(
        crashing("p", "could not log in with used-value", env),
        "try used-value\ntry old-value\ntry new-value",
    );
    scene
        .found
        .secrets
        .insert(("shop".to_owned(), "used".to_owned()), Ok(Some(secret("used", "used-value"))));
    scene.wrote("Secret", "own", &[(Some(secret("own", "old-value")), Some(secret("own", "new-value")))]);
    scene.wrote("Secret", "gone", &[(Some(secret("gone", "gone-value")), None)]);
    scene.warns("p", "Liveness probe failed: new-value is wrong", NOW);
    scene.seen.status.failure.as_mut().unwrap().message = "exited: gone-value".to_owned();
    let tracks = &mut scene.seen.tracks;
    let web = tracks.iter_mut().find(|track| track.object.kind == "Deployment").unwrap();
    let name = web.entries[0].name.clone();
    let record = scene.found.records.get_mut(&name).unwrap().as_mut().unwrap();
    record.body.after.as_mut().unwrap()["metadata"]["annotations"] =
        json!({"note": "the password is old-value"});
    let told = scene.evidence();
    let json = told.json();
    for value in ["used-value", "old-value", "new-value", "gone-value"] {
        assert!(!json.contains(value), "{value}: {told:#?}");
    }
    assert_eq!(told.containers[0].previous_log, ["try [redacted]"; 3]);
    assert_eq!(told.failure.message, "exited: [redacted]");
}

#[test]
fn what_a_pod_says_is_left_out_if_a_secret_that_it_uses_could_not_be_read() {
    let env = || json!({"envFrom": [{"secretRef": {"name": "used"}}]});
    let key = ("shop".to_owned(), "used".to_owned());
    let log = log_of("p", true);
    // Forbidden, late, too large, and one of which an earlier state is not known.
    for case in 0..4 {
        let mut scene = Scene::new();
        scene.crashes(crashing("p", "last words", env()), "log");
        match case {
            0 => _ = scene.found.secrets.insert(key.clone(), Err("forbidden".to_owned())),
            1 => {}
            2 => {
                let large = secret("used", &"x".repeat(100_000));
                scene.found.secrets.insert(key.clone(), Ok(Some(large)));
            }
            _ => {
                scene.wrote(
                    "Secret",
                    "used",
                    &[(Some(secret("used", "older")), Some(secret("used", "newer")))],
                );
                let name = scene.seen.tracks[1].entries[0].name.clone();
                scene.found.records.insert(name, Err("no answer".to_owned()));
            }
        }
        let told = scene.evidence();
        let container = &told.containers[0];
        assert!(
            container.missing[0].starts_with("what it says is left out: it uses Secret shop/used"),
            "{case}: {told:?}"
        );
        assert_eq!((container.previous_log.len(), container.termination_message.as_str()), (0, ""), "{case}");
        assert_eq!((container.exit_code, container.reason.as_str()), (Some(3), "CrashLoopBackOff"));
    }
    let mut scene = Scene::new();
    scene.crashes(crashing("p", "last words", env()), "log");
    // That there is none is known for certain, and often the very cause.
    scene.found.secrets.insert(key, Ok(None));
    assert_eq!(scene.evidence().containers[0].previous_log, ["log"]);
    assert!(scene.found.logs.contains_key(&log));
}
