//! What people are shown of a failure: short lines, without credentials.

use serde_json::Value;

use super::{
    containers::{self, Container, Ending},
    facts::Facts,
};
use crate::object::Image;

/// How many lines a failure carries.
pub(super) const LINES: usize = 10;
/// How many of them may be about containers; conditions are to have their place.
const CONTAINER_LINES: usize = 7;
/// The longest line, in bytes.
const LINE: usize = 512;
/// The longest text of a container in a line, in bytes: what else the line says is to have its place.
const TEXT: usize = 300;

/// What there is to see about an object and its pods, the most telling first.
pub(super) fn gather(object: Facts<'_>, pods: &[&Value]) -> Vec<String> {
    let unready = pods.iter().filter(|pod| !Facts(pod).is_true("Ready"));
    let others = pods.iter().filter(|pod| Facts(pod).is_true("Ready"));
    let of_containers = unready
        .chain(others)
        .flat_map(|pod| {
            let unscheduled = unscheduled(pod).map(|why| format!("pod {}: {why}", name(pod)));
            unscheduled.into_iter().chain(containers::of(pod).filter_map(|container| line(&container)))
        })
        .take(CONTAINER_LINES);
    let of_conditions = object.conditions().filter(|condition| !condition.is_true()).map(|condition| {
        format!("condition {}={} {}", condition.type_(), condition.status(), condition.verbatim())
    });
    of_containers
        .chain(of_conditions)
        .take(LINES)
        .map(|line| bounded(clean(&line).trim_end(), LINE))
        .collect()
}

/// What keeps a pod from being ready, in a sentence; nothing if it is.
pub(super) fn trouble(pod: &Value) -> Option<String> {
    if Facts(pod).is_true("Ready") {
        return None;
    }
    if let Some(why) = unscheduled(pod) {
        return Some(format!("pod {} {why}", name(pod)));
    }
    containers::of(pod).filter(|container| !container.is_ready()).find_map(|container| {
        let title = container.title();
        if container.is_running() {
            return Some(format!("{title} runs but is not ready"));
        }
        let (reason, message) = container.waiting()?;
        let told =
            if message.is_empty() { reason.to_owned() } else { format!("{reason}: {}", text(message)) };
        Some(format!("{title} waits: {told}"))
    })
}

fn unscheduled(pod: &Value) -> Option<String> {
    let scheduled = Facts(pod).condition("PodScheduled").filter(|condition| condition.is_false())?;
    Some(format!("has no node: {}", text(&scheduled.tells())))
}

fn name(pod: &Value) -> &str {
    Image(pod).meta("name").unwrap_or_default()
}

/// The state of a container that is not simply well.
fn line(container: &Container<'_>) -> Option<String> {
    if container.is_ready() && container.restarts() == 0 {
        return None;
    }
    let mut parts = Vec::new();
    if let Some((reason, message)) = container.waiting_told().filter(|(reason, _)| !reason.is_empty()) {
        parts.push(if message.is_empty() {
            format!("waits, {reason}")
        } else {
            format!("waits, {reason}: {}", text(message))
        });
    } else if container.is_running() {
        parts.push(if container.is_ready() { "runs" } else { "runs but is not ready" }.to_owned());
    }
    if container.restarts() > 0 {
        parts.push(format!("restarts: {}", container.restarts()));
    }
    if let Some(ending) = container.last_ending() {
        parts.push(format!("last ended {}", describe(&ending, container)));
    }
    (!parts.is_empty()).then(|| format!("{}: {}", container.title(), parts.join("; ")))
}

fn describe(ending: &Ending<'_>, container: &Container<'_>) -> String {
    let mut told = format!("with exit code {} ({})", ending.exit_code, ending.reason);
    if let Some(time) = ending.ran_for() {
        told = format!("{told} after {} s", time.as_secs());
    }
    let message = ending.told(container);
    if !message.is_empty() {
        told = format!("{told}: {}", text(message));
    }
    told
}

/// The end of a runtime's message, where the cause is: each of its layers puts its own name before it.
pub(super) fn gist(message: &str) -> &str {
    const LAYERS: [&str; 2] = ["unable to start container process: ", " desc = "];
    const QUOTING: [&str; 2] = ["failed to pull and unpack image \"", "failed to resolve reference \""];
    let mut gist = message;
    for layer in LAYERS {
        gist = gist.rsplit_once(layer).map_or(gist, |(_, rest)| rest);
    }
    for start in QUOTING {
        let rest = gist.strip_prefix(start).and_then(|rest| rest.split_once("\": "));
        gist = rest.map_or(gist, |(_, rest)| rest);
    }
    gist
}

/// A text that a container or a controller wrote, fit to be shown in a sentence.
pub(super) fn text(raw: &str) -> String {
    bounded(&clean(raw), TEXT)
}

/// One line, without what could be a credential in an address.
fn clean(raw: &str) -> String {
    raw.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(without_credentials)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Takes user and query out of an address: registries are called with passwords and tokens in both.
fn without_credentials(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}{query}")
}

/// At most `limit` bytes of `text`; what is cut off is marked.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mark = "…";
    let end = text.floor_char_boundary(limit.saturating_sub(mark.len()));
    format!("{}{mark}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_cause_is_what_the_last_layer_says() {
        for (message, cause) in [
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image \"r/a:1\": failed to resolve reference \"r/a:1\": r/a:1: not found",
                "r/a:1: not found",
            ),
            (
                "failed to create containerd task: runc create failed: unable to start container process: exec: \"/x\": no",
                "exec: \"/x\": no",
            ),
            ("secret \"s\" not found", "secret \"s\" not found"),
        ] {
            assert_eq!(gist(message), cause);
        }
    }

    #[test]
    fn no_credential_in_an_address_is_shown() {
        let raw = "Head \"https://user:pa/ss@r.example/v2/x?account=me&token=t\": refused\n\tby proxy";
        let clean = clean(raw);
        assert!(!clean.contains("token"), "{clean}");
        assert_eq!(
            super::clean("https://user:pass@r.example/v2/x?token=t, or"),
            "https://r.example/v2/x?… or"
        );
        assert!(!super::clean(raw).contains('\n'));
    }

    #[test]
    fn lines_are_few_and_short() {
        let status = |index: usize| {
            json!({"name": format!("c{index}"), "restartCount": 1, "state": {"waiting": {
            "reason": "CrashLoopBackOff", "message": "ä".repeat(5000)}}})
        };
        let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": (0..30).map(status).collect::<Vec<_>>()}});
        let conditions: Vec<_> = (0..30)
            .map(|i| json!({"type": format!("T{i}"), "status": "False", "message": "x".repeat(5000)}))
            .collect();
        let object = json!({"status": {"conditions": conditions}});
        let lines = gather(Facts(&object), &[&pod]);
        assert_eq!(lines.len(), LINES);
        assert!(lines.iter().all(|line| line.len() <= LINE), "{lines:#?}");
        assert!(lines[9].starts_with("condition T2=False"), "{lines:#?}");
    }

    #[test]
    fn a_healthy_container_is_no_evidence() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
        assert_eq!(gather(Facts(&json!({})), &[&pod]), Vec::<String>::new());
        assert_eq!(trouble(&pod), None);
    }
}
