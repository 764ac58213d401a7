//! One connection of a client, and the one to the server behind it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::stream;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Bytes, Frame, Incoming},
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Mutex,
    time::sleep,
};

use super::{Act, Call, Fate, Outcome, Reply, Shared, Tap, locked, tap::Tapped};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// For the last bytes of an answer to leave for the client.
const ON_ITS_WAY: Duration = Duration::from_millis(2);

/// Serves whoever connects, for as long as the proxy lives.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Out of file descriptors, say: some are free again soon.
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (shared, cut) = (Arc::clone(&shared), locked(&shared.connections).clone());
        tokio::spawn(async move {
            tokio::select! {
                _ended = serve(stream, shared) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Result<()> {
    stream.set_nodelay(true)?;
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire { stream, reset: Arc::clone(&reset) };
    let stream = shared.acceptor.accept(wire).await?;
    let connection = Arc::new(Connection { shared, reset, server: Mutex::new(None) });
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { connection.serve(request).await }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

struct Connection {
    shared: Arc<Shared>,
    /// Whether the client's connection is to end with a reset.
    reset: Arc<AtomicBool>,
    /// Opened with the first request that is forwarded; ends with the client's.
    server: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Connection {
    /// An error ends the connection without an answer.
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.collect().await?.to_bytes());
        let mut call = Call::new(&request);
        let (fate, ticket) = self.shared.decide(&mut call);
        match &fate {
            Fate::Delay(time) => sleep(*time).await,
            Fate::Hold(gate) => gate.passed().await,
            Fate::Stop(_) | Fate::Reset => ticket.note(Outcome::Stopped),
            _ => {}
        }
        let (act, tap) = match fate {
            Fate::Stop(act) => {
                act.run().await;
                bail!("stopped");
            }
            Fate::Reset => {
                self.reset.store(true, Ordering::SeqCst);
                bail!("reset");
            }
            Fate::Reply(reply) => {
                ticket.note(Outcome::Replied(reply.status));
                return Ok(answered(reply));
            }
            Fate::Instead(reply) => {
                self.forward(request).await.inspect_err(|error| ticket.note(failed(error)))?;
                ticket.note(Outcome::Replied(reply.status));
                return Ok(answered(reply));
            }
            Fate::Swallow(act) => {
                let answer = self.forward(request).await;
                ticket.note(match &answer {
                    Ok(answer) => Outcome::Swallowed(answer.status()),
                    Err(error) => Outcome::Failed(format!("{error:#}")),
                });
                act.run().await;
                bail!("swallowed");
            }
            Fate::HoldAnswer(gate) => {
                let answer = self.forward(request).await.inspect_err(|error| ticket.note(failed(error)))?;
                let (head, body) = answer.into_parts();
                // Read now: it is to be as old as it says.
                let body = body.collect().await?.to_bytes();
                gate.passed().await;
                ticket.note(Outcome::Answered(head.status));
                return Ok(Response::from_parts(
                    head,
                    Full::new(body).map_err(|never| match never {}).boxed_unsync(),
                ));
            }
            Fate::Then(act) => (Some(act), None),
            Fate::Tap(tap) => (None, Some(tap)),
            Fate::Pass | Fate::Delay(_) | Fate::Hold(_) => (None, None),
        };
        match self.forward(request).await {
            Ok(answer) => {
                ticket.note(Outcome::Answered(answer.status()));
                Ok(answer.map(|body| passed_on(body, act, tap)))
            }
            Err(error) => {
                ticket.note(failed(&error));
                Err(error)
            }
        }
    }

    /// Requests of one HTTP/1.1 connection come one after the other: a single one to the server serves them all.
    async fn forward(&self, request: Request<Bytes>) -> Result<Response<Incoming>> {
        let mut request = request.map(Full::new);
        // What is said of this connection does not hold for the next.
        strip(request.headers_mut());
        let mut server = self.server.lock().await;
        for attempt in 0..2 {
            if server.as_ref().is_none_or(SendRequest::is_closed) {
                *server = Some(self.connect().await?);
            }
            let sender = server.as_mut().context("just connected")?;
            if sender.ready().await.is_err() {
                *server = None;
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(mut answer) => {
                    strip(answer.headers_mut());
                    return Ok(answer);
                }
                // The server had closed the idle connection: the request was not sent.
                Err(mut unsent) => match unsent.take_message() {
                    Some(again) if attempt == 0 => {
                        *server = None;
                        request = again;
                    }
                    _ => return Err(unsent.into_error().into()),
                },
            }
        }
        Err(anyhow!("the server closes its connections at once"))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let address = *locked(&self.shared.server);
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("no connection to {address}"))?;
        stream.set_nodelay(true)?;
        let stream = self.shared.connector.connect(ServerName::try_from("localhost")?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped and the answer with it.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn answered(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Full::new(reply.body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

fn failed(error: &anyhow::Error) -> Outcome {
    Outcome::Failed(format!("{error:#}"))
}

fn strip(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

fn passed_on(body: Incoming, act: Option<Act>, tap: Option<Tap>) -> Body {
    if let Some(tap) = tap {
        let events = stream::unfold(Tapped::new(body, tap), |mut tapped| async {
            tapped.next().await.map(|bytes| (bytes.map(Frame::data), tapped))
        });
        return StreamBody::new(events).boxed_unsync();
    }
    let Some(act) = act else { return body.boxed_unsync() };
    let afterwards = Afterwards(Some(act));
    let frames = stream::unfold((body, afterwards), |(mut body, afterwards)| async {
        body.frame().await.map(|frame| (frame, (body, afterwards)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Acts when the body that it belongs to has been sent, or has come to nothing.
struct Afterwards(Option<Act>);

impl Drop for Afterwards {
    fn drop(&mut self) {
        if let (Some(act), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                sleep(ON_ITS_WAY).await;
                act.into_future().await;
            });
        }
    }
}

/// A client's connection, which can end with a reset.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A reset says no goodbye.
        if self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
