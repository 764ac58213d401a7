//! What becomes of a request.

use std::{fmt, ops::Deref, pin::Pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::watch;

use super::{Call, Tap};
use crate::process::Process;

/// Asked once for each request.
pub(super) type Rule = Box<dyn FnMut(&Call) -> Fate + Send>;

/// What becomes of a request.
pub enum Fate {
    /// It is forwarded, and the answer passed on.
    Pass,
    /// It never reaches the server; after the action the connection ends without an answer.
    Stop(Act),
    /// It is forwarded; when the server has answered the action runs, and the connection ends without the answer.
    Swallow(Act),
    /// It is forwarded and answered. The action runs when the client has been sent the whole answer: a moment later it
    /// may have begun with its next request.
    Then(Act),
    /// It is forwarded after this time.
    Delay(Duration),
    /// It is forwarded when the gate is open.
    Hold(Gate),
    /// It is forwarded at once, and its answer passed on when the gate is open: by then it may be out of date.
    HoldAnswer(Gate),
    /// The proxy answers by itself.
    Reply(Reply),
    /// It is forwarded; when the server has answered the proxy answers this in its place.
    Instead(Reply),
    /// The connection is reset (TCP RST), the request is not forwarded.
    Reset,
    /// It is a watch, whose events go through this tap.
    Tap(Tap),
}

/// What is done at a certain moment of a request, to its end.
pub struct Act(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Act {
    /// This, on the proxy's own thread.
    pub fn new(act: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(act))
    }

    /// Nothing.
    pub fn none() -> Self {
        Self::new(async {})
    }

    /// Kills a process without a chance to clean up, and waits until it is gone.
    pub fn kill(process: impl Deref<Target = Process> + Send + Sync + 'static) -> Self {
        Self::new(async move {
            if let Err(error) = process.kill9().await {
                eprintln!("{} was not killed: {error:#}", process.name());
            }
        })
    }

    pub(super) async fn run(self) {
        // Of its own: the connection that waits for it may end first.
        let _ = tokio::spawn(self.0).await;
    }

    pub(super) fn into_future(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act")
    }
}

/// What requests, answers or events wait for. All clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everything through that waits, and what comes later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Lets nothing through any more.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What the proxy answers by itself.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// As an API server refuses: a `Status` object with this code and reason.
    pub fn status(code: StatusCode, reason: &str, message: &str) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code.as_u16(),
        });
        Self::body(code, status.to_string())
            .header(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// Any bytes.
    pub fn body(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, headers: HeaderMap::new(), body: body.into() }
    }

    /// With this header, such as `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}
