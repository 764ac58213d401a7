//! The words for why something failed: stable, for status, events and alerts.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $word;)*

        /// All of them.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

reasons! {
    /// The image reference cannot be parsed.
    INVALID_IMAGE_NAME = "InvalidImageName";
    /// The registry has no such image.
    IMAGE_NOT_FOUND = "ImageNotFound";
    /// The image is not on the node, and the pull policy forbids to fetch it.
    IMAGE_NOT_PRESENT = "ImageNotPresent";
    /// The registry does not give the image to this pod.
    IMAGE_PULL_DENIED = "ImagePullDenied";
    /// The image could not be fetched or unpacked, for another reason.
    IMAGE_PULL_FAILED = "ImagePullFailed";
    /// The image's signature was refused.
    IMAGE_NOT_TRUSTED = "ImageNotTrusted";
    /// A reference or a security setting of a container cannot be satisfied.
    BAD_CONTAINER_CONFIG = "BadContainerConfig";
    /// The runtime cannot create or start a container.
    CONTAINER_CANNOT_START = "ContainerCannotStart";
    /// A container ends again and again.
    CRASH_LOOP = "CrashLoop";
    /// A container needs more memory than it may use.
    OUT_OF_MEMORY = "OutOfMemory";
    /// An init container does not succeed.
    INIT_CONTAINER_FAILED = "InitContainerFailed";
    /// No node takes a pod.
    UNSCHEDULABLE = "Unschedulable";
    /// The volumes of a pod cannot be mounted.
    VOLUME_NOT_MOUNTED = "VolumeNotMounted";
    /// A node cannot make what a pod's containers share, such as its network.
    SANDBOX_NOT_CREATED = "SandboxNotCreated";
    /// Nodes refuse the pods that were given to them.
    REFUSED_BY_NODE = "RefusedByNode";
    /// The API server does not let a controller create pods.
    PODS_REFUSED = "PodsRefused";
    /// It was ready, and did not stay so.
    DID_NOT_STAY_READY = "DidNotStayReady";
    /// A pod ended without success.
    POD_FAILED = "PodFailed";
    /// A job ended without success.
    JOB_FAILED = "JobFailed";
    /// The Deployment controller gave up.
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded";
    /// The Deployment controller cannot create the new ReplicaSet.
    REPLICA_SET_NOT_CREATED = "ReplicaSetNotCreated";
    /// A controller says that it cannot go on.
    STALLED = "Stalled";
    /// A volume claim lost its volume.
    VOLUME_LOST = "VolumeLost";
    /// A custom resource definition was refused.
    DEFINITION_REFUSED = "DefinitionRefused";
    /// An object of the release is gone, and the release did not delete it.
    DISAPPEARED = "Disappeared";
    /// Nothing failed for certain, but the time is up.
    NOT_READY_IN_TIME = "NotReadyInTime";
    /// A person asked for the rollback.
    BY_HAND = "ByHand";
    /// A rule of the Release calls it failed.
    BY_RULE = "FailedByRule";
    /// The client marked its own deploy as failed.
    CLIENT_FAILED = "ClientFailed";
    /// The client stopped in the middle of its deploy.
    CLIENT_GONE = "ClientGone";
}

/// The word itself if it is one of these, and `Other` if not: a bounded value for a metric's label.
pub fn metric_label(reason: &str) -> &'static str {
    ALL.iter().find(|word| **word == reason).copied().unwrap_or(OTHER)
}

/// See [`metric_label`].
pub const OTHER: &str = "Other";
