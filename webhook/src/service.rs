//! HTTP: which requests are taken, how large they may be and how long they may last.

use std::{sync::Arc, time::Duration};

use backout_model::release::duration;
use backout_runtime::server::{BodyError, read_body};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use crate::{
    metrics::{Metrics, outcome},
    review::{ReviewError, Reviewer},
};

/// Two objects of at most 3 MiB each, which is what the API server takes, and 1 MiB for all the rest.
const BODY_LIMIT: usize = 7 << 20;

/// What all requests under way may hold together, in units of 1 KiB. Of each there are up to five copies: the body,
/// what is parsed of it, the compressed record, its base64 and the request that stores it. So 320 MiB at
/// worst of what an API server sends; thousands of labels of one letter take more.
const BUDGET: u32 = 64 << 10;

/// What the smallest request is charged, so that there are at most 2048 at a time.
const SMALLEST: usize = 32 << 10;

/// The API server waits 10 s if the configuration does not say otherwise, and 30 s at most.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// See [`DEFAULT_TIMEOUT`].
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A body is there as soon as its headers, or its sender only means to keep its share of [`BUDGET`].
const ARRIVES: Duration = Duration::from_secs(3);

/// To answer before the API server gives up, with a message rather than a closed connection.
const MARGIN: Duration = Duration::from_millis(400);

/// Takes admission requests.
pub struct Service {
    reviewer: Reviewer,
    metrics: Metrics,
    budget: Semaphore,
}

impl Service {
    /// A service that is idle.
    pub fn new(reviewer: Reviewer, metrics: Metrics) -> Self {
        let budget = Semaphore::new(usize::try_from(BUDGET).unwrap_or(Semaphore::MAX_PERMITS));
        Self { reviewer, metrics, budget }
    }

    /// Answers one request.
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let start = Instant::now();
        let _under_way = self.metrics.under_way();
        let (outcome, response) = self.admit(request, start).await;
        self.metrics.answered(outcome, start.elapsed());
        response
    }

    async fn admit(
        &self,
        request: Request<Incoming>,
        start: Instant,
    ) -> (&'static str, Response<Full<Bytes>>) {
        let (head, body) = request.into_parts();
        if head.uri.path() != "/admit" {
            return (outcome::INVALID, text(StatusCode::NOT_FOUND, "there is only /admit"));
        }
        if head.method != Method::POST {
            return (outcome::INVALID, text(StatusCode::METHOD_NOT_ALLOWED, "only POST"));
        }
        let Some(_share) = self.share(head.headers.get(header::CONTENT_LENGTH)) else {
            return (outcome::OVERLOAD, overload());
        };
        let until = start + timeout(&head.uri).saturating_sub(MARGIN);
        let arrives_until = until.min(start + ARRIVES);
        let body = match timeout_at(arrives_until, read_body(&head.headers, body, BODY_LIMIT)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error @ BodyError::TooLarge)) => {
                return (outcome::TOO_LARGE, text(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()));
            }
            Ok(Err(error @ BodyError::Broken(_))) => {
                return (outcome::INVALID, text(StatusCode::BAD_REQUEST, &error.to_string()));
            }
            Err(_) => {
                return (outcome::SLOW, text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"));
            }
        };
        match self.reviewer.review(&body, until).await {
            Ok(reviewed) => (reviewed.outcome, json(reviewed.body)),
            Err(error @ ReviewError::Invalid(_)) => {
                tracing::warn!(%error, "a request that cannot be answered");
                (outcome::INVALID, text(StatusCode::BAD_REQUEST, &error.to_string()))
            }
            // No refusal, but a failure: what it means for the write is for the configuration to say.
            Err(error) => {
                if !matches!(error, ReviewError::NotRecorded(_)) {
                    tracing::error!(%error, "a write could not be decided");
                }
                (outcome::FAILED, failure(&error))
            }
        }
    }

    fn share(&self, length: Option<&HeaderValue>) -> Option<SemaphorePermit<'_>> {
        let announced = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let charged = announced.unwrap_or(BODY_LIMIT).clamp(SMALLEST, BODY_LIMIT);
        self.budget.try_acquire_many(u32::try_from(charged >> 10).ok()?).ok()
    }
}

/// `timeout=5s`, which the API server appends to the URL.
fn timeout(uri: &Uri) -> Duration {
    let mut pairs = uri.query().unwrap_or_default().split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix("timeout="));
    value.and_then(|value| duration(value).ok()).unwrap_or(DEFAULT_TIMEOUT).min(LONGEST_TIMEOUT)
}

/// The API server tries again after a second, within its own timeout.
fn overload() -> Response<Full<Bytes>> {
    let mut response = text(
        StatusCode::TOO_MANY_REQUESTS,
        "backout: the webhook has too many requests under way; try again",
    );
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// As a Kubernetes `Status`, of which the API server passes on the message alone.
fn failure(error: &ReviewError) -> Response<Full<Bytes>> {
    let code = StatusCode::INTERNAL_SERVER_ERROR;
    let status = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code.as_u16(), "reason": "InternalError", "message": error.to_string(),
    });
    respond(code, "application/json", status.to_string().into_bytes())
}

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "application/json", body)
}

fn text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", message.as_bytes().to_vec())
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_answer_is_what_the_api_server_says_it_waits() {
        for (uri, seconds) in [
            ("/admit?timeout=5s", 5),
            ("/admit?x=y&timeout=1s", 1),
            ("/admit", 10),
            ("/admit?timeout=soon", 10),
            ("/admit?timeout=-5s", 10),
            ("/admit?timeout=1h", 30),
            ("/admit?timeout=1s-2s", 10),
            ("/admit?timeout=99999999999999999999h", 10),
        ] {
            assert_eq!(timeout(&uri.parse().unwrap()), Duration::from_secs(seconds), "{uri}");
        }
    }

    #[test]
    fn an_overload_asks_to_come_again() {
        let response = overload();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
