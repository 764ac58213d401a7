//! One case for each recording.

use std::time::Duration;

/// A way in which an upgrade goes.
pub(crate) struct Case {
    /// The recording's name.
    pub(crate) name: &'static str,
    /// What the upgrade changes.
    pub(crate) change: Change,
    /// How it must end.
    pub(crate) end: End,
    /// Its own deadline, if not the default one.
    pub(crate) deadline: Option<&'static str>,
}

/// The fields of a container and of a pod, as YAML, over those of a container that rests. `WITHOUT_IT`, `CLOSED` and `BUSY`
/// are images of registries that do not have them, do not give them, and have no time.
pub(crate) enum Change {
    /// The Deployment's template gets these.
    Template { container: &'static str, pod: &'static str },
    /// The Deployment's pods stay well, and a pod of its own comes with these: no Deployment may forbid restarts.
    PodBeside { container: &'static str, pod: &'static str },
}

/// How an upgrade ends.
pub(crate) enum End {
    /// Committed, and left alone.
    Healthy,
    /// Rolled back for this reason, at most so long after the first bad signal; where there are several, for the one that
    /// is found first.
    RolledBack { reasons: &'static [&'static str], within: Duration },
}

const fn bad(name: &'static str, change: Change, reasons: &'static [&'static str], within: u64) -> Case {
    Case {
        name,
        change,
        end: End::RolledBack { reasons, within: Duration::from_secs(within) },
        deadline: None,
    }
}

const fn well(name: &'static str, container: &'static str, pod: &'static str) -> Case {
    Case { name, change: Change::Template { container, pod }, end: End::Healthy, deadline: None }
}

const fn container(container: &'static str) -> Change {
    Change::Template { container, pod: "{}" }
}

const fn pod(pod: &'static str) -> Change {
    Change::Template { container: "{}", pod }
}

/// The longest first, so that they do not come last.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    bad("unschedulable", pod("{nodeSelector: {disk: nosuch}}"), &["Unschedulable"], 320),
    bad("image-not-found", container("{image: 'localhost:1/nosuch:1'}"), &["ImagePullFailed"], 170),
    bad("image-rate-limited", container("{image: 'BUSY'}"), &["ImagePullFailed"], 170),
    well("healthy-after-two-crashes",
        "{args: [crash, /data, '2'], volumeMounts: [{name: data, mountPath: /data}], \
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}",
        "{volumes: [{name: data, emptyDir: {}}]}"),
    well("healthy-slow-start",
        "{args: [serve, 30s], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 2}}", "{}"),
    well("healthy", "{args: [serve, 0s], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 2}}", "{}"),
    Case { deadline: Some("1m"),
        ..bad("never-ready", container("{readinessProbe: {exec: {command: [/nosuch]}, periodSeconds: 2}}"),
            &["NotReadyInTime"], 80) },
    bad("ready-then-fails-at-40s",
        container("{args: [serve, 0s, 40s], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}"),
        &["CrashLoop"], 80),
    bad("crash-exit1", container("{args: [crash]}"), &["CrashLoop"], 75),
    bad("exit0-loop", container("{args: [end]}"), &["CrashLoop"], 75),
    bad("init-crash", pod("{initContainers: [{name: i, image: 'local/app:1', args: [crash]}]}"),
        &["InitContainerFailed"], 75),
    bad("sidecar-crash",
        pod("{initContainers: [{name: i, image: 'local/app:1', args: [crash], restartPolicy: Always}]}"),
        &["CrashLoop"], 75),
    bad("liveness-kill",
        container("{livenessProbe: {tcpSocket: {port: 81}, periodSeconds: 1, failureThreshold: 1}}"),
        &["CrashLoop", "DidNotStayReady"], 60),
    bad("liveness-kill-hard",
        container("{livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 5, failureThreshold: 2}}"),
        &["CrashLoop", "DidNotStayReady"], 60),
    bad("post-start-fail", container("{lifecycle: {postStart: {exec: {command: [/nosuch]}}}}"), &["CrashLoop"], 75),
    bad("oom-killed", container("{args: [hog], resources: {limits: {memory: 32Mi}}}"), &["OutOfMemory"], 45),
    bad("missing-volume",
        Change::Template {
            container: "{volumeMounts: [{name: v, mountPath: /v}]}",
            pod: "{volumes: [{name: v, secret: {secretName: nosuch}}]}",
        },
        &["VolumeNotMounted"], 60),
    bad("image-unauthorized", container("{image: 'CLOSED'}"), &["ImagePullDenied"], 60),
    bad("missing-secret-env",
        container("{env: [{name: P, valueFrom: {secretKeyRef: {name: nosuch, key: p}}}]}"),
        &["BadContainerConfig"], 45),
    bad("missing-key",
        container("{env: [{name: K, valueFrom: {configMapKeyRef: {name: kube-root-ca.crt, key: nokey}}}]}"),
        &["BadContainerConfig"], 45),
    bad("exec-not-found", container("{command: [/nosuch]}"), &["ContainerCannotStart"], 45),
    bad("exec-not-executable", container("{command: [/etc]}"), &["ContainerCannotStart"], 45),
    bad("image-manifest-unknown", container("{image: 'WITHOUT_IT'}"), &["ImageNotFound"], 30),
    bad("invalid-image-name", container("{image: 'UPPER//bad:::x'}"), &["InvalidImageName"], 25),
    bad("never-pull", container("{image: 'local/absent:1', imagePullPolicy: Never}"), &["ImageNotPresent"], 25),
    bad("run-as-non-root", container("{securityContext: {runAsNonRoot: true}}"), &["BadContainerConfig"], 25),
    bad("restart-never-fail",
        Change::PodBeside { container: "{args: [crash]}", pod: "{restartPolicy: Never}" },
        &["PodFailed"], 20),
];
