//! The words for why something failed: stable, for status, events and alerts.

/// The image reference cannot be parsed.
pub const INVALID_IMAGE_NAME: &str = "InvalidImageName";
/// The registry has no such image.
pub const IMAGE_NOT_FOUND: &str = "ImageNotFound";
/// The image is not on the node, and the pull policy forbids to fetch it.
pub const IMAGE_NOT_PRESENT: &str = "ImageNotPresent";
/// The registry does not give the image to this pod.
pub const IMAGE_PULL_DENIED: &str = "ImagePullDenied";
/// The image could not be fetched or unpacked, for another reason.
pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
/// The image's signature was refused.
pub const IMAGE_NOT_TRUSTED: &str = "ImageNotTrusted";
/// A reference or a security setting of a container cannot be satisfied.
pub const BAD_CONTAINER_CONFIG: &str = "BadContainerConfig";
/// The runtime cannot create or start a container.
pub const CONTAINER_CANNOT_START: &str = "ContainerCannotStart";
/// A container ends again and again.
pub const CRASH_LOOP: &str = "CrashLoop";
/// A container needs more memory than it may use.
pub const OUT_OF_MEMORY: &str = "OutOfMemory";
/// An init container does not succeed.
pub const INIT_CONTAINER_FAILED: &str = "InitContainerFailed";
/// No node takes a pod.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// The volumes of a pod cannot be mounted.
pub const VOLUME_NOT_MOUNTED: &str = "VolumeNotMounted";
/// A node cannot make what a pod's containers share, such as its network.
pub const SANDBOX_NOT_CREATED: &str = "SandboxNotCreated";
/// Nodes refuse the pods that were given to them.
pub const REFUSED_BY_NODE: &str = "RefusedByNode";
/// The API server does not let a controller create pods.
pub const PODS_REFUSED: &str = "PodsRefused";
/// It was ready, and did not stay so.
pub const DID_NOT_STAY_READY: &str = "DidNotStayReady";
/// A pod ended without success.
pub const POD_FAILED: &str = "PodFailed";
/// A job ended without success.
pub const JOB_FAILED: &str = "JobFailed";
/// The Deployment controller gave up.
pub const PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
/// The Deployment controller cannot create the new ReplicaSet.
pub const REPLICA_SET_NOT_CREATED: &str = "ReplicaSetNotCreated";
/// A controller says that it cannot go on.
pub const STALLED: &str = "Stalled";
/// A volume claim lost its volume.
pub const VOLUME_LOST: &str = "VolumeLost";
/// A custom resource definition was refused.
pub const DEFINITION_REFUSED: &str = "DefinitionRefused";
/// An object of the release is gone, and the release did not delete it.
pub const DISAPPEARED: &str = "Disappeared";
/// Nothing failed for certain, but the time is up.
pub const NOT_READY_IN_TIME: &str = "NotReadyInTime";
/// A person asked for the rollback.
pub const BY_HAND: &str = "ByHand";
/// A rule of the Release calls it failed.
pub const BY_RULE: &str = "FailedByRule";
/// The client marked its own deploy as failed.
pub const CLIENT_FAILED: &str = "ClientFailed";
/// The client stopped in the middle of its deploy.
pub const CLIENT_GONE: &str = "ClientGone";
