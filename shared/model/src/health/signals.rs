//! What the state of a container says about the revision: a table, one rule a row, the first that matches holds.
//!
//! Times and counts are proposals checked against recordings of a real kubelet. Where a registry or a kubelet only
//! tells in words what is wrong, the words are matched after all quoted names are taken out of them: an image may be
//! called `denied`.

use std::time::Duration;

use super::{
    class::{Class, after_attempts, crashes, deterministic, reference, threshold},
    containers::{Container, Ending, Role},
    reasons,
};

/// What a container does that a row looks for.
#[derive(Clone, Copy)]
pub(super) enum When {
    /// It waits for one of these reasons.
    Waits(&'static [&'static str]),
    /// A run ended that should not have, in such a way.
    Ended(fn(&Container<'_>, &Ending<'_>) -> bool),
}

use When::{Ended, Waits};

/// One rule.
pub(super) struct Row {
    /// What the rule is called, in fixtures and in memory.
    pub(super) name: &'static str,
    pub(super) when: When,
    /// Groups of words: all of one group must be in the message. None: any message will do.
    pub(super) says: &'static [&'static [&'static str]],
    pub(super) class: Class,
    /// One of [`reasons`].
    pub(super) reason: &'static str,
    /// What the container does, for people. Placeholders: `{image}`, `{message}`, `{exit}`, `{age}`,
    /// `{attempts}`, `{times}`.
    pub(super) tells: &'static str,
}

/// The first row that matches a container; `complaint` is why it waits, as [`plain`] text.
pub(super) fn row_of(container: &Container<'_>, complaint: &str) -> Option<&'static Row> {
    let waits_for = container.waiting().map_or("", |(reason, _)| reason);
    let failed_run = container.failed_run();
    ROWS.iter().find(|row| match row.when {
        Waits(reasons) => reasons.contains(&waits_for) && row.hears(complaint),
        Ended(test) => {
            failed_run.is_some_and(|ending| test(container, &ending) && row.hears(&plain(ending.message, "")))
        }
    })
}

impl Row {
    /// Whether the row is about runs that ended.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.when, Ended(_))
    }

    /// Whether the row is about a container that did not come to run: what its pod's owner does not count.
    pub(super) fn is_before_start(&self) -> bool {
        !self.is_ended() && !matches!(self.class, Class::Crashes { .. })
    }

    fn hears(&self, message: &str) -> bool {
        self.says.is_empty() || self.says.iter().any(|words| words.iter().all(|word| message.contains(word)))
    }
}

/// A message in lower case, without what stands in quotes, and without `name`.
pub(super) fn plain(message: &str, name: &str) -> String {
    let outside: String = message.split('"').step_by(2).collect();
    let outside = if name.is_empty() { outside } else { outside.replace(name, "") };
    outside.to_lowercase()
}

const fn row(
    name: &'static str,
    when: When,
    says: &'static [&'static [&'static str]],
    class: Class,
    reason: &'static str,
    tells: &'static str,
) -> Row {
    Row { name, when, says, class, reason, tells }
}

const PULL: When = Waits(&["ErrImagePull", "ImagePullBackOff"]);
const CONFIG: When = Waits(&["CreateContainerConfigError"]);
const CREATE: When = Waits(&["CreateContainerError"]);
const START: When = Ended(|_, ending| matches!(ending.reason, "StartError" | "ContainerCannotRun"));
const ANY: &[&[&str]] = &[];

/// What a start fails with for as long as image and command are what they are.
const NOT_EXECUTABLE: &[&[&str]] =
    &[&["executable file not found"], &["no such file"], &["exec format error"], &["permission denied"]];

/// Docker Hub calls a private image "not found or access denied": the row for access stands before that for absence,
/// for a pull secret may come late.
const NO_ACCESS: &[&[&str]] = &[
    &["unauthorized"],
    &["forbidden"],
    &["denied"],
    &["no basic auth"],
    &["authentication required"],
    &["authorization failed"],
    &["may require"],
];

const NO_SUCH_IMAGE: &[&[&str]] = &[
    &["not found"],
    &["manifest unknown"],
    &["name unknown"],
    &["repository", "does not exist"],
    &["no match for platform"],
    &["no matching manifest"],
    &["no image found in manifest list"],
    &["invalid reference"],
];

#[rustfmt::skip] // a table reads by its columns
const ROWS: &[Row] = &[
    row("image-name", Waits(&["InvalidImageName"]), ANY, deterministic(10),
        reasons::INVALID_IMAGE_NAME, "has an image name that cannot be parsed: {message}"),
    row("image-never-pulled", Waits(&["ErrImageNeverPull"]), ANY, deterministic(10),
        reasons::IMAGE_NOT_PRESENT, "may not pull image {image}, which is not on the node"),
    // An older kubelet forgets the cause while it backs off: nothing to decide on.
    row("image-unexplained", Waits(&["ImagePullBackOff"]), &[&["back-off pulling image"]], threshold(150),
        reasons::IMAGE_PULL_FAILED, "cannot pull image {image}, for {age}"),
    row("image-denied", PULL, NO_ACCESS, threshold(45),
        reasons::IMAGE_PULL_DENIED, "cannot pull image {image}: access denied for {age}: {message}"),
    row("image-absent", PULL, NO_SUCH_IMAGE, after_attempts(15, 2),
        reasons::IMAGE_NOT_FOUND, "cannot pull image {image}: not found ({attempts} in {age})"),
    row("image-other", PULL, ANY, threshold(150),
        reasons::IMAGE_PULL_FAILED, "cannot pull image {image}, for {age}: {message}"),
    row("image-registry", Waits(&["RegistryUnavailable"]), ANY, threshold(150),
        reasons::IMAGE_PULL_FAILED, "cannot pull image {image}: its registry does not answer for {age}"),
    row("image-signature", Waits(&["SignatureValidationFailed"]), ANY, deterministic(15),
        reasons::IMAGE_NOT_TRUSTED, "may not run image {image}: its signature is not accepted: {message}"),
    row("image-inspect", Waits(&["ImageInspectError"]), ANY, threshold(60),
        reasons::IMAGE_PULL_FAILED, "has an image {image} that cannot be read for {age}: {message}"),
    row("image-volume", Waits(&["ImageVolumeMountFailed"]), ANY, threshold(60),
        reasons::IMAGE_PULL_FAILED, "cannot mount an image as volume for {age}: {message}"),
    row("read-only-mounts", Waits(&["RROUnsupported"]), ANY, deterministic(10),
        reasons::BAD_CONTAINER_CONFIG, "asks for read-only mounts that the node does not support"),

    // The kubelet's cache lags behind: the object may well be there (kubernetes#74755).
    row("config-cache", CONFIG, &[&["failed to sync", "cache"]], threshold(120),
        reasons::BAD_CONTAINER_CONFIG, "cannot be configured for {age}: {message}"),
    row("config-user", CONFIG, &[&["runasnonroot"], &["non-numeric user"]], deterministic(10),
        reasons::BAD_CONTAINER_CONFIG, "may not run as the user of its image: {message}"),
    // What it refers to may be created later in the same apply.
    row("config-reference", CONFIG, &[&["secret", "not found"], &["configmap", "not found"], &["couldn't find key"]],
        reference(30, 150), reasons::BAD_CONTAINER_CONFIG, "cannot be configured for {age}: {message}"),
    row("config-other", CONFIG, ANY, threshold(60),
        reasons::BAD_CONTAINER_CONFIG, "cannot be configured for {age}: {message}"),

    row("create-impossible", CREATE,
        &[&["executable file not found"], &["no such file"], &["invalid mount"], &["permission denied"],
          &["not a directory"]],
        deterministic(20), reasons::CONTAINER_CANNOT_START, "cannot be created: {message}"),
    row("create-other", CREATE, ANY, threshold(60),
        reasons::CONTAINER_CANNOT_START, "cannot be created for {age}: {message}"),

    row("create-by-node", Waits(&["PreCreateHookError", "PreStartHookError"]), ANY, threshold(60),
        reasons::CONTAINER_CANNOT_START, "cannot be created by its node for {age}: {message}"),
    row("sandbox", Waits(&["CreatePodSandboxError"]), ANY, threshold(180),
        reasons::SANDBOX_NOT_CREATED, "gets no sandbox from its node for {age}: {message}"),
    row("teardown",
        Waits(&["KillContainerError", "KillPodSandboxError", "ConfigPodSandboxError", "RemoveContainerError",
                "ResizePodInPlaceError"]),
        ANY, Class::Evidence, reasons::CONTAINER_CANNOT_START, "is in trouble with its node: {message}"),

    // The node lost sight of the container; what became of it nobody knows.
    row("ended-unseen", Ended(|_, ending| ending.reason == "ContainerStatusUnknown"), ANY, Class::Evidence,
        reasons::CRASH_LOOP, "ended unseen by its node"),
    row("ended-for-good", Ended(|container, _| container.restart_policy() == "Never"), ANY, deterministic(0),
        reasons::POD_FAILED, "ended with exit code {exit} and is not restarted: {message}"),
    row("start-impossible", START, NOT_EXECUTABLE, crashes(2, 2),
        reasons::CONTAINER_CANNOT_START, "cannot be started ({attempts} in {age}): {message}"),
    row("start-other", START, ANY, crashes(3, 5),
        reasons::CONTAINER_CANNOT_START, "cannot be started ({attempts} in {age}): {message}"),
    row("exit-not-executable", Ended(|_, ending| matches!(ending.exit_code, 126 | 127)), ANY, crashes(2, 2),
        reasons::CONTAINER_CANNOT_START,
        "cannot run its command ({attempts} in {age}): exit code {exit}: {message}"),
    row("exit-format", Ended(|_, _| true), &[&["exec format error"]], crashes(2, 2),
        reasons::CONTAINER_CANNOT_START,
        "cannot run its command ({attempts} in {age}): exit code {exit}: {message}"),
    row("exit-out-of-memory", Ended(|_, ending| ending.reason == "OOMKilled" && is_soon(ending)), ANY, crashes(2, 2),
        reasons::OUT_OF_MEMORY, "ran out of memory soon after its start, {times} in {age}"),
    row("exit-init", Ended(|container, _| container.role == Role::Init), ANY, crashes(3, 5),
        reasons::INIT_CONTAINER_FAILED, "failed {times} in {age}: exit code {exit}: {message}"),
    row("exit-hook", Waits(&["PostStartHookError"]), ANY, crashes(3, 5),
        reasons::CRASH_LOOP, "was ended {times} in {age}, for its hook after start failed: {message}"),
    row("exit-done", Ended(|_, ending| ending.exit_code == 0), ANY, crashes(3, 5),
        reasons::CRASH_LOOP, "should keep running but ended {times} in {age}, with exit code 0"),
    row("exit-error", Ended(|_, _| true), ANY, crashes(3, 5),
        reasons::CRASH_LOOP, "crashed {times} in {age}: exit code {exit}: {message}"),
];

/// A container that outgrows its memory at once will do so each time; one that takes hours may be lucky.
fn is_soon(ending: &Ending<'_>) -> bool {
    ending.ran_for().is_none_or(|time| time < Duration::from_mins(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{super::containers, *};

    /// By row: the states that it is for, as the kubelet reports them.
    fn samples() -> BTreeMap<String, Vec<Value>> {
        serde_json::from_str(include_str!("../../tests/fixtures/health/rows.json")).unwrap()
    }

    fn pod(sample: &Value) -> Value {
        let list = if sample.get("init").is_some() { "initContainerStatuses" } else { "containerStatuses" };
        json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": sample.get("restartPolicy")},
               "status": {list: [sample]}})
    }

    fn match_row(sample: &Value) -> Option<&'static str> {
        let pod = pod(sample);
        let container = containers::of(&pod).next().unwrap();
        let (_, message) = container.waiting().unwrap_or_default();
        row_of(&container, &plain(message, container.image())).map(|row| row.name)
    }

    #[test]
    fn each_row_matches_its_samples() {
        for (row, samples) in samples() {
            for sample in samples {
                assert_eq!(match_row(&sample), Some(row.as_str()), "{sample:#}");
            }
        }
    }

    #[test]
    fn each_row_has_a_sample() {
        let samples = samples();
        let without: Vec<_> =
            ROWS.iter().map(|row| row.name).filter(|row| !samples.contains_key(*row)).collect();
        assert_eq!(without, Vec::<&str>::new());
    }

    #[test]
    fn names_of_images_are_no_words_of_the_message() {
        let message = "failed to resolve reference \"r/denied:1\": r/denied:1: not found";
        assert_eq!(plain(message, "r/denied:1"), "failed to resolve reference : : not found");
    }

    #[test]
    fn containers_that_run_or_are_done_match_no_row() {
        for sample in [
            json!({"name": "c", "state": {"running": {}}, "restartCount": 9}),
            json!({"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}),
            json!({"name": "c", "init": true, "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}),
            json!({"name": "c", "restartPolicy": "OnFailure", "state": {"terminated": {"reason": "Completed", "exitCode": 0}}}),
        ] {
            assert_eq!(match_row(&sample), None, "{sample}");
        }
    }
}
