//! What is sent to the webhook that no API server would send.

use backout_model::names;
use serde_json::{Value, json};
use system_tests::{
    Backout, Output, TestNamespace, User,
    faults::{AdmissionClient, review},
};

#[tokio::test]
async fn each_malformed_request_is_answered_and_the_same_process_goes_on() {
    let (cluster, backout) = Backout::shared().unwrap();
    let client = backout.admission_client(&cluster.authority().ca()).unwrap();
    let pid = backout.webhook().pid();
    let version = json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}});
    let nothing = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"});
    let mut no_object = review("UPDATE", "x", Some(&map("x")), None);
    no_object["request"]["userInfo"]["username"] = json!("bob");
    let mut bomb = review("CREATE", "x", Some(&map("x")), None);
    bomb["request"]["object"]["metadata"]["ownerReferences"] = json!(vec![json!({"": 0}); 100_000]);
    for (body, status, message) in [
        (bytes(&bomb), 400, "metadata.ownerReferences holds more than 1000 objects"),
        (b"no JSON".to_vec(), 400, "backout: the body is no JSON object: "),
        (Vec::new(), 400, "backout: the body is no JSON object: "),
        (vec![0xff, 0xfe], 400, "backout: the body is not UTF-8"),
        (bytes(&nothing), 400, "backout: the AdmissionReview holds no request"),
        (bytes(&version), 400, "only AdmissionReview of admission.k8s.io/v1 is answered"),
        (bytes(&no_object), 400, "backout: the UPDATE brings no oldObject"),
    ] {
        let begin = String::from_utf8_lossy(&body[..body.len().min(30)]).into_owned();
        let answer = client.post("/admit", "application/json", body).await.unwrap();
        assert_eq!(answer.status, status, "{begin}: {}", answer.text());
        assert!(answer.text().contains(message), "{begin}: {}", answer.text());
    }
    assert!(raw(&client, "GET", "/admit", 0).await.starts_with("HTTP/1.1 405 "));
    assert!(raw(&client, "POST", "/mutate", 0).await.starts_with("HTTP/1.1 404 "));
    // Answered by the announced length alone: curl and others then do not send the body at all.
    let too_large = raw(&client, "POST", "/admit", 8 << 20).await;
    assert!(
        too_large.starts_with("HTTP/1.1 413 ") && too_large.contains("the body is too large"),
        "{too_large}"
    );
    sent_all_the_same(&client).await;
    let nonsense = client.raw(b"\x00\x01\x02 nonsense\r\n\r\n").await.unwrap();
    assert!(!String::from_utf8_lossy(&nonsense).contains("200 OK"));

    a_good_one_is_recorded(&client).await;
    assert_eq!((backout.webhook().pid(), backout.webhook().exit()), (pid, None));
}

async fn a_good_one_is_recorded(client: &AdmissionClient) {
    let (cluster, _) = Backout::shared().unwrap();
    let settle = [("backout.dev/settle", "10m")];
    let ns = TestNamespace::atomic(cluster, "good review", &settle).await.unwrap();
    let answer =
        client.review("/admit?timeout=5s", &review("CREATE", ns.name(), Some(&map("good")), None)).await;
    let answer: Value = serde_json::from_slice(&answer.unwrap().body).unwrap();
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    let records = cluster.records(ns.name()).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(answer["response"]["auditAnnotations"]["undo"], records[0].name());
    // And through the API server.
    let created = ["create", "configmap", "real", "-n", ns.name(), "-o", "json"];
    let created: Output = cluster.kubectl().user(User::Admin).run(&created).await.unwrap().success().unwrap();
    assert!(created.stdout.contains(names::UNDO), "{created:?}");
}

/// 8 MiB of which nothing was announced: read no further than the limit, and never taken.
async fn sent_all_the_same(client: &AdmissionClient) {
    let mut request = b"POST /admit HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    request.extend(format!("{:x}\r\n", 8 << 20).bytes());
    request.resize(request.len() + (8 << 20), b' ');
    request.extend(b"\r\n0\r\n\r\n");
    // The server may hang up before it has read it all.
    if let Ok(answer) = client.raw(&request).await {
        let answer = String::from_utf8_lossy(&answer);
        let is_refused = ["HTTP/1.1 413 ", "HTTP/1.1 408 "].iter().any(|it| answer.starts_with(it));
        assert!(answer.is_empty() || is_refused, "{answer}");
    }
}

async fn raw(client: &AdmissionClient, method: &str, path: &str, length: usize) -> String {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    String::from_utf8_lossy(&client.raw(request.as_bytes()).await.unwrap()).into_owned()
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

fn bytes(review: &Value) -> Vec<u8> {
    review.to_string().into_bytes()
}
