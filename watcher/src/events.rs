//! Kubernetes Events: best effort, and never in the way of the work.

use std::time::Duration;

use backout_model::{names::ReleaseKey, object::ObjectRef, protocol::Notice, release::Release};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource as _, ResourceExt as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::metrics::Metrics;

const CALL: Duration = Duration::from_secs(3);
/// The apiserver's limit for the note of an Event (events/v1 validation).
const NOTE: usize = 1024;

/// Publishes what people are to be told.
pub(crate) struct Events {
    recorder: Recorder,
    metrics: Metrics,
}

impl Events {
    pub(crate) fn new(client: Client, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: "backout-watcher".to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter), metrics }
    }

    /// Publishes notices about a revision, all at once; a failure is logged only.
    pub(crate) async fn publish(
        &self,
        key: &ReleaseKey,
        release: &Release,
        revision: u64,
        notices: Vec<Notice>,
    ) {
        join_all(notices.into_iter().map(|notice| self.publish_one(key, release, revision, notice))).await;
    }

    async fn publish_one(&self, key: &ReleaseKey, release: &Release, revision: u64, notice: Notice) {
        let about = notice.about.as_ref().map_or_else(|| this(release), reference);
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.to_owned(),
            note: Some(notice.message.chars().take(NOTE).collect()),
            // Events that differ in nothing but their text are told as one, in the words of the first.
            action: format!("JudgeRevision{revision}"),
            secondary: notice.about.is_some().then(|| this(release)),
        };
        let published = tokio::time::timeout(CALL, self.recorder.publish(&event, &about)).await;
        self.metrics.told(matches!(published, Ok(Ok(()))));
        match published {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(release = %key, %error, "an Event could not be published"),
            Err(_) => tracing::warn!(release = %key, "an Event could not be published in time"),
        }
    }
}

fn this(release: &Release) -> ObjectReference {
    ObjectReference { namespace: release.namespace(), ..release.object_ref(&()) }
}

fn reference(object: &ObjectRef) -> ObjectReference {
    ObjectReference {
        api_version: Some(object.api_version()),
        kind: Some(object.kind.clone()),
        namespace: object.key.namespace.clone(),
        name: Some(object.key.name.clone()),
        ..ObjectReference::default()
    }
}
