//! Releases whose containers do not come to run, or do not go on running.

use serde_json::{Value, json};

use super::{UPGRADE, broken_case as case};
use crate::{
    sim::{Case, More},
    stage::{and, app, crash_loop, crashing, installed, pulling, ready, restarted, thing, unready, waits},
};

/// A container whose start fails, as containerd tells it.
fn start_error(second: i64, message: &str) -> Value {
    crash_loop(second, "StartError", 128, message)
}

fn init(second: i64, sidecar: bool) -> Value {
    let mut pod = crashing(second);
    let status = pod["status"]["containerStatuses"][0].take();
    let policy = if sidecar { json!("Always") } else { json!(null) };
    pod["spec"]["initContainers"] = json!([{"name": "app", "restartPolicy": policy}]);
    pod["status"]["initContainerStatuses"] = json!([status]);
    pod["status"]["containerStatuses"] = json!([]);
    pod
}

fn hook(second: i64) -> Value {
    let mut pod = crashing(second);
    pod["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "PostStartHookError", "message": "Exec lifecycle hook ([/nosuch]) failed"}});
    pod["status"]["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"reason": "Completed", "exitCode": 0}});
    pod
}

/// Each row: what it is, what there is to see, why it fails, and between which seconds.
#[rustfmt::skip] // a table reads by its columns
pub(super) fn table() -> Vec<Case> {
    vec![
        case("an image that is not there", |s| app("web", vec![pulling(s, "r.example/shop:9: not found")]), "ImageNotFound", (15, 20)),
        case("an image for another processor", |s| app("web", vec![pulling(s, "no match for platform in manifest: not found")]), "ImageNotFound", (15, 20)),
        case("an image name that is none", |_| waits("InvalidImageName", "couldn't parse image name"), "InvalidImageName", (10, 12)),
        case("an image that may not be pulled", |_| waits("ErrImageNeverPull", "not present"), "ImageNotPresent", (10, 12)),
        case("an image without access", |s| app("web", vec![pulling(s, "401 Unauthorized")]), "ImagePullDenied", (45, 48)),
        case("a registry that limits the rate for long", |s| app("web", vec![pulling(s, "429 Too Many Requests")]), "ImagePullFailed", (150, 152)),
        case("a registry without an address", |s| app("web", vec![pulling(s, "dial tcp: lookup r.example: no such host")]), "ImagePullFailed", (150, 152)),
        case("a pull that fails, and nobody says why", |_| waits("ImagePullBackOff", "Back-off pulling image \"x\""), "ImagePullFailed", (150, 152)),
        case("a registry that is down", |_| waits("RegistryUnavailable", ""), "ImagePullFailed", (150, 152)),
        case("an image whose signature is refused", |_| waits("SignatureValidationFailed", "no signature"), "ImageNotTrusted", (15, 17)),
        case("an image that cannot be read", |_| waits("ImageInspectError", "broken"), "ImagePullFailed", (60, 62)),
        case("an image volume that cannot be mounted", |_| waits("ImageVolumeMountFailed", "broken"), "ImagePullFailed", (60, 62)),
        case("read-only mounts that the node cannot make", |_| waits("RROUnsupported", "no"), "BadContainerConfig", (10, 12)),
        case("a Secret that is not there", |_| waits("CreateContainerConfigError", "secret \"tls\" not found"), "BadContainerConfig", (30, 32)),
        case("a Secret that is not there, although the Certificate of the release is ready after a minute", |s| and(
            waits("CreateContainerConfigError", "secret \"tls\" not found"),
            thing("cert-manager.io", "Certificate", &json!({}), &json!({"conditions": [{"type": "Ready", "status": if s < 60 { "False" } else { "True" }}]}))),
            "BadContainerConfig", (209, 211)),
        case("a key that is not in the ConfigMap", |_| waits("CreateContainerConfigError", "couldn't find key k in ConfigMap shop/c"), "BadContainerConfig", (30, 32)),
        case("a root user where none may be", |_| waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"), "BadContainerConfig", (10, 12)),
        case("a cache that stays behind", |_| waits("CreateContainerConfigError", "failed to sync secret cache: timed out"), "BadContainerConfig", (120, 122)),
        case("a mount that is not possible", |_| waits("CreateContainerError", "invalid mount config: no such file or directory"), "ContainerCannotStart", (20, 22)),
        case("a container that cannot be created", |_| waits("CreateContainerError", "context deadline exceeded"), "ContainerCannotStart", (60, 62)),
        case("a container that its node does not let start", |_| waits("PreStartHookError", "not enough cpus available"), "ContainerCannotStart", (60, 62)),
        case("a pod without a sandbox, as its container tells", |_| waits("CreatePodSandboxError", "no network"), "SandboxNotCreated", (180, 182)),
        case("a command that is not there", |s| app("web", vec![start_error(s, "exec: \"/x\": stat /x: no such file or directory")]), "ContainerCannotStart", (20, 26)),
        case("a command that may not be run", |s| app("web", vec![start_error(s, "exec: \"/tmp\": permission denied")]), "ContainerCannotStart", (20, 26)),
        case("a command for another processor", |s| app("web", vec![start_error(s, "exec /app: exec format error")]), "ContainerCannotStart", (20, 26)),
        case("a container that the runtime cannot start", |s| app("web", vec![start_error(s, "failed to create shim task")]), "ContainerCannotStart", (30, 46)),
        case("exit code 127", |s| app("web", vec![crash_loop(s, "Error", 127, "")]), "ContainerCannotStart", (20, 26)),
        case("out of memory at its start", |s| app("web", vec![crash_loop(s, "OOMKilled", 137, "")]), "OutOfMemory", (20, 26)),
        case("crashes", |s| app("web", vec![crashing(s)]), "CrashLoop", (33, 46)),
        Case { more: More { upgrade: false, ..UPGRADE }, ..case("crashes, at its install", |s| installed(app("web", vec![crashing(s)])), "CrashLoop", (155, 178)) },
        case("crashes, while another Deployment comes up", |s| and(app("web", vec![crashing(s)]), app("database", vec![unready()])), "CrashLoop", (155, 178)),
        case("ends well where it should go on", |s| app("web", vec![crash_loop(s, "Completed", 0, "")]), "CrashLoop", (33, 46)),
        case("an init container that fails", |s| app("web", vec![init(s, false)]), "InitContainerFailed", (33, 46)),
        case("a sidecar that crashes", |s| app("web", vec![init(s, true)]), "CrashLoop", (33, 46)),
        case("a hook after its start that fails", |s| app("web", vec![hook(s)]), "CrashLoop", (33, 46)),
        case("half of its pods crash", |s| app("web", vec![crashing(s), crashing(s), ready(0), ready(0)]), "CrashLoop", (155, 178)),
        case("crashes twice while it soaks", |s| app("web", vec![match s {
            0..40 => ready(0),
            40..42 => crashed_once(),
            42..52 => restarted(42, 1),
            _ => crashed_twice(),
        }]), "CrashLoop", (60, 70)),
        case("is restarted again and again while it soaks", |s| app("web", vec![restarted(0, u64::try_from((s - 10).max(0) / 12).unwrap())]), "DidNotStayReady", (40, 60)),
        case("is not ready for a minute while it soaks", |s| app("web", vec![if s < 40 { ready(0) } else { unready() }]), "DidNotStayReady", (100, 102)),
        case("is ready by turns", |s| app("web", vec![if s % 40 < 20 { ready(0) } else { unready() }]), "DidNotStayReady", (60, 130)),
        case("never becomes ready", |_| app("web", vec![unready()]), "NotReadyInTime", (605, 606)),
    ]
}

fn crashed_once() -> Value {
    crate::scenes::crashed_pod(1)
}

fn crashed_twice() -> Value {
    crate::scenes::crashed_pod(2)
}
