//! Calls to the API server: one client, and a deadline and a classified error for every call.

use std::{borrow::Cow, future::Future, sync::OnceLock, time::Duration};

use kube::{Client, Config, core::Status};
use prometheus::{Histogram, IntCounterVec, Registry};
use tokio::time::Instant;

use crate::{metrics, telemetry::Chain};

/// Time to open a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a watch lasts, in seconds, until the server ends it and a new one begins: a cache behind a connection that
/// died unnoticed is no older than this, and the 5 s for which kube then still waits.
pub const WATCH_SECONDS: u32 = 45;
/// No call has an answer that is silent for longer.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Time to hand a request to the kernel.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for the cluster that the environment names: a kubeconfig, or the pod's service account.
pub async fn connect() -> Result<Client, ConnectError> {
    client(Config::infer().await.map_err(|e| ConnectError::Config(e.into()))?)
}

/// A client for `config`, without hidden retries: the callers know what may be tried again, and until when.
pub fn client(mut config: Config) -> Result<Client, ConnectError> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|e| ConnectError::Client(e.into()))
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account.
    #[error("there is no usable configuration of a cluster")]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// The configuration cannot be used.
    #[error("the configuration of the cluster cannot be used")]
    Client(#[source] Box<kube::Error>),
}

/// Waits for `call`, but not longer than `limit`; `operation` names it in the error, such as `GET shop/web`.
pub async fn deadline<T>(
    limit: Duration,
    operation: impl Into<Cow<'static, str>>,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let start = Instant::now();
    let outcome = match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ApiError::new(operation, error)),
        Err(_) => Err(ApiError {
            operation: operation.into(),
            class: Class::Timeout,
            message: format!("no answer within {} ms", limit.as_millis()),
        }),
    };
    if let Some(calls) = CALLS.get() {
        let label = outcome.as_ref().map_or_else(|error| error.class.metric_label(), |_| OK);
        calls.total.with_label_values(&[label]).inc();
        calls.seconds.observe(start.elapsed().as_secs_f64());
    }
    outcome
}

/// Makes a call so many times at the most, with a pause between, for as long as what goes wrong may pass.
pub async fn tried<T, F>(attempts: u32, pause: Duration, mut call: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    for _ in 1..attempts {
        match call().await {
            Err(error) if error.may_pass() => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    call().await
}

/// What is counted of calls: by the process, for calls are made everywhere.
static CALLS: OnceLock<Calls> = OnceLock::new();

struct Calls {
    total: IntCounterVec,
    seconds: Histogram,
}

/// From a read of what the API server has in memory to the longest deadline.
const CALL_BUCKETS: [f64; 9] = [0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// The outcome of a call that did not fail, as a metric's label.
pub const OK: &str = "ok";

/// Counts all calls with a deadline from now on. Only the first registry of a process gets them.
pub fn register(registry: &Registry) -> prometheus::Result<()> {
    let labels = &[("outcome", &outcomes()[..])];
    let help = "Calls to the API server, by outcome; watches are not among them.";
    let total = metrics::counters(registry, "backout_api_calls_total", help, labels)?;
    let help = "Time of calls to the API server.";
    let seconds = metrics::histogram(registry, "backout_api_call_seconds", help, &CALL_BUCKETS)?;
    let _first_or_not = CALLS.set(Calls { total, seconds });
    Ok(())
}

/// The outcomes of a call, as a metric's label.
pub fn outcomes() -> Vec<&'static str> {
    [OK].into_iter().chain(Class::ALL.map(Class::metric_label)).collect()
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct ApiError {
    /// What was attempted.
    pub operation: Cow<'static, str>,
    /// What may be done about it.
    pub class: Class,
    /// What the server, or the connection to it, said.
    pub message: String,
}

impl ApiError {
    /// Classifies what kube reports.
    pub fn new(operation: impl Into<Cow<'static, str>>, error: kube::Error) -> Self {
        let (class, message) = match error {
            kube::Error::Api(status) => (Class::of(&status), sentence(*status)),
            kube::Error::SerdeError(error) => {
                (Class::Rejected, format!("the answer cannot be read: {error}"))
            }
            kube::Error::BuildRequest(error) => (Class::Rejected, error.to_string()),
            kube::Error::HttpError(error) => (Class::Rejected, error.to_string()),
            other => (Class::Transient, Chain(&other).to_string()),
        };
        Self { operation: operation.into(), class, message }
    }

    /// Whether the error is of this class.
    pub fn is(&self, class: Class) -> bool {
        self.class == class
    }

    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self.class, Class::Transient | Class::Timeout)
    }
}

/// What a failed call means to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 404: the object, its namespace or its kind is not there.
    NotFound,
    /// 409 on a create.
    AlreadyExists,
    /// 409: a uid or resourceVersion is not the expected one.
    Conflict,
    /// 401 or 403, also by quota or another webhook.
    Forbidden,
    /// 410: the resourceVersion is compacted.
    Gone,
    /// The object does not fit: too large for the server or for etcd.
    TooLarge,
    /// Anything else that the same call would meet again: invalid, not acceptable, not supported.
    Rejected,
    /// Overload, restart, broken connection: nothing is known to have happened, it may work later.
    Transient,
    /// No answer in time: it may or may not have happened.
    Timeout,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Forbidden,
        Self::Gone,
        Self::TooLarge,
        Self::Rejected,
        Self::Transient,
        Self::Timeout,
    ];

    fn of(status: &Status) -> Self {
        match status.code {
            // etcd's and gRPC's limits come through as internal errors.
            500 if TOO_LARGE.iter().any(|text| status.message.contains(text)) => Self::TooLarge,
            404 => Self::NotFound,
            409 if status.reason == "AlreadyExists" => Self::AlreadyExists,
            409 => Self::Conflict,
            401 | 403 => Self::Forbidden,
            410 => Self::Gone,
            413 => Self::TooLarge,
            504 => Self::Timeout,
            429 | 500.. => Self::Transient,
            _ => Self::Rejected,
        }
    }

    /// A bounded value for a metric's label.
    pub fn metric_label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
            Self::Transient => "transient",
            Self::Timeout => "timeout",
        }
    }
}

const TOO_LARGE: [&str; 2] = ["etcdserver: request is too large", "trying to send message larger than max"];

fn sentence(status: Status) -> String {
    match (status.message.is_empty(), status.reason.is_empty()) {
        (false, _) => status.message,
        (true, false) => status.reason,
        (true, true) => format!("the server answered {}", status.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: u16, reason: &str, message: &str) -> ApiError {
        ApiError::new("GET x", kube::Error::Api(Status::failure(message, reason).with_code(code).boxed()))
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_so_many_times_and_nothing_else_is() {
        for (code, reason, succeeds_at, calls) in [
            (500, "InternalError", 1, 1),
            (500, "InternalError", 2, 2),
            (500, "InternalError", 9, 3),
            (403, "Forbidden", 2, 1),
        ] {
            let mut made = 0;
            let outcome = tried(3, Duration::ZERO, || {
                made += 1;
                let outcome = if made == succeeds_at { Ok(()) } else { Err(failed(code, reason, "")) };
                async { outcome }
            });
            assert_eq!(outcome.await.is_ok(), succeeds_at == calls, "{code} {succeeds_at}");
            assert_eq!(made, calls, "{code} {succeeds_at}");
        }
    }

    #[test]
    fn every_status_falls_into_the_class_of_its_remedy() {
        for (code, reason, message, class) in [
            (404, "NotFound", "", Class::NotFound),
            (409, "AlreadyExists", "", Class::AlreadyExists),
            (409, "Conflict", "", Class::Conflict),
            (401, "Unauthorized", "", Class::Forbidden),
            (403, "Forbidden", "", Class::Forbidden),
            (410, "Expired", "", Class::Gone),
            (413, "RequestEntityTooLarge", "", Class::TooLarge),
            (500, "InternalError", "etcdserver: request is too large", Class::TooLarge),
            (422, "Invalid", "", Class::Rejected),
            (400, "BadRequest", "", Class::Rejected),
            (429, "TooManyRequests", "", Class::Transient),
            (500, "InternalError", "etcdserver: leader changed", Class::Transient),
            (503, "ServiceUnavailable", "", Class::Transient),
            (504, "Timeout", "", Class::Timeout),
        ] {
            assert_eq!(failed(code, reason, message).class, class, "{code} {reason}");
        }
    }

    #[test]
    fn an_error_names_the_operation_and_what_the_server_said() {
        assert_eq!(failed(404, "NotFound", "web not found").to_string(), "GET x: web not found");
        assert_eq!(failed(503, "", "").to_string(), "GET x: the server answered 503");
    }

    #[tokio::test]
    async fn each_call_is_counted_by_its_outcome() {
        let registry = Registry::new();
        register(&registry).unwrap();
        let calls = |outcome| CALLS.get().unwrap().total.with_label_values(&[outcome]).get();
        let before = (calls("ok"), calls("conflict"));
        deadline(Duration::from_secs(1), "GET x", async { Ok(()) }).await.unwrap();
        let conflict = Status::failure("", "Conflict").with_code(409).boxed();
        let lost =
            deadline(Duration::from_secs(1), "PUT x", async { Err::<(), _>(kube::Error::Api(conflict)) });
        lost.await.unwrap_err();
        assert_eq!((calls("ok"), calls("conflict")), (before.0 + 1, before.1 + 1));
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("backout_api_call_seconds_count"), "{text}");
    }

    #[tokio::test]
    async fn a_call_without_answer_ends_at_its_deadline() {
        let call = std::future::pending::<kube::Result<()>>();
        let error = deadline(Duration::from_millis(25), "LIST pods", call).await.unwrap_err();
        assert_eq!(error.class, Class::Timeout);
        assert_eq!(error.to_string(), "LIST pods: no answer within 25 ms");
        assert!(error.may_pass());
    }
}
