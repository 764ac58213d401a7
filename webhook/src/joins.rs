//! Whether a deployer may make an object part of a release in another namespace.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backout_model::{
    admission::UserInfo,
    names::{self, ReleaseKey},
};
use backout_runtime::api::{ApiError, deadline};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Namespace,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

/// How long an answer holds: a deploy asks the same for each of its objects.
const HOLDS: Duration = Duration::from_secs(10);

/// More answers than this are not kept.
const KEPT: usize = 1024;

/// Asks the API server, and keeps its answers for a while.
pub struct Joins {
    client: Client,
    answers: Mutex<HashMap<Question, (bool, Instant)>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Question {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    release: ReleaseKey,
}

impl Joins {
    /// Nothing is asked yet.
    pub fn new(client: Client) -> Self {
        Self { client, answers: Mutex::default() }
    }

    /// Whether the namespace of `release` has opted in, and `user` may use the verb `join` on the release.
    pub async fn allowed(
        &self,
        user: &UserInfo<'_>,
        release: &ReleaseKey,
        until: Instant,
    ) -> Result<bool, ApiError> {
        let question = Question {
            user: user.username.to_string(),
            uid: user.uid.to_string(),
            groups: user.groups.iter().map(ToString::to_string).collect(),
            extra: user.extra(),
            release: release.clone(),
        };
        let now = Instant::now();
        let known =
            self.answers().get(&question).filter(|(_, asked)| now - *asked < HOLDS).map(|(may, _)| *may);
        if let Some(may) = known {
            return Ok(may);
        }
        let (may, opted_in) =
            tokio::try_join!(self.may(&question, until), self.has_opted_in(&release.namespace, until))?;
        let mut answers = self.answers();
        if answers.len() >= KEPT {
            answers.clear();
        }
        answers.insert(question, (may && opted_in, now));
        Ok(may && opted_in)
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, HashMap<Question, (bool, Instant)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn may(&self, question: &Question, until: Instant) -> Result<bool, ApiError> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(question.user.clone()),
                uid: Some(question.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(question.groups.clone()),
                extra: Some(question.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("join".to_owned()),
                    group: Some(names::GROUP.to_owned()),
                    resource: Some("releases".to_owned()),
                    namespace: Some(question.release.namespace.clone()),
                    name: Some(question.release.name.to_string()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let asked = api.create(&params, &review);
        let answer =
            deadline(left(until), format!("SubjectAccessReview join {}", question.release), asked).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn has_opted_in(&self, namespace: &str, until: Instant) -> Result<bool, ApiError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let asked = api.get_metadata_opt(namespace);
        let found = deadline(left(until), format!("GET namespace {namespace}"), asked).await?;
        let labels = found.and_then(|found| found.metadata.labels).unwrap_or_default();
        Ok(labels.get(names::ATOMIC).is_some_and(|value| value == names::ATOMIC_ENABLED))
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
