//! The door: reads a call, lets faults have their say, and sends (or does not send) the answer.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Query, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::control;
use crate::envelope::{Answer, Payload, Refusal};
use crate::fault::Faults;
use crate::record::{CallLog, CallRecord};
use crate::route;
use crate::spoil::{After, Before, Slowness, Spoiling};
use crate::wire::Peer;
use crate::world::{Call, World};

/// Where the API begins.
pub(crate) const BASE_PATH: &str = "/client/v4";
const CONTROL_PATH: &str = "/_sandbox";
/// The size of the pieces of a trickling body, in bytes.
const TRICKLE: usize = 16;
/// The size of the pieces of a huge body, in bytes.
const HUGE_PIECE: u64 = 64 * 1024;

/// What the handle and the door share.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// How far the sandbox's clock is ahead of the machine's, in milliseconds.
    pub(crate) ahead_ms: AtomicI64,
    /// Turns true when the sandbox stops: ends every wait.
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) control: bool,
    pub(crate) body_limit: usize,
}

/// Everything that changes.
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) faults: Faults,
    pub(crate) calls: CallLog,
}

/// How a call ends.
enum Ending {
    Reply(Box<Answer>, Option<u64>, Slowness),
    Cut,
    Hang,
    Page,
    Huge(u64),
    Redirect(String),
}

/// The parts of a request that outlive its body.
struct Heard {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    authorization: Option<String>,
    content_type: Option<String>,
}

impl Shared {
    /// The state, whatever a panicking test left behind.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sandbox's time.
    pub(crate) fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Ordering::SeqCst));
        let now = Timestamp::now();
        now.checked_add(ahead).unwrap_or(now)
    }

    /// Moves the sandbox's clock forward.
    pub(crate) fn advance_clock(&self, ms: u64) {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        let add = |ahead: i64| Some(ahead.saturating_add(ms));
        // The closure never declines, so this can't fail.
        let _ = self.ahead_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
    }

    /// Waits for a time, or until the sandbox stops.
    async fn pause(&self, time: Duration) {
        let mut stop = self.stop.subscribe();
        // A closed channel means the same as a stop.
        let stopped = async move { stop.wait_for(|stopped| *stopped).await.is_ok() };
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopped => {}
        }
    }
}

/// Serves one request.
pub(crate) async fn serve(shared: Arc<Shared>, peer: Peer, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let heard = Heard {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default(),
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE),
    };
    let Ok(body) = to_bytes(body, shared.body_limit).await else {
        let refusal =
            Refusal::new(413, 1013, format!("a request body has at most {} bytes", shared.body_limit));
        return reply(refusal.into(), None);
    };
    if let Some(path) = heard.path.strip_prefix(CONTROL_PATH).filter(|_| shared.control) {
        let kind = heard.content_type.as_deref();
        let (status, value) = control::answer(&shared, &heard.method, path, kind, &body);
        return json_reply(status, value.to_string());
    }
    let ending = settle(&shared, &peer, &heard, &body);
    finish(&shared, &peer, ending).await
}

/// Takes the connection information that the listener left.
pub(crate) fn peer_of(request: &Request) -> Option<Peer> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.clone())
}

/// Judges a call and does its work, under one lock: calls never interleave.
fn settle(shared: &Shared, peer: &Peer, heard: &Heard, body: &[u8]) -> Ending {
    let below = heard.path.strip_prefix(BASE_PATH).filter(|path| path.starts_with('/'));
    let path = below.unwrap_or(&heard.path);
    let Some(segments) = below.and_then(route::segments) else {
        return Ending::Reply(Box::new(Refusal::no_route(path).into()), None, Slowness::default());
    };
    let mut state = shared.lock();
    let call = Call {
        method: &heard.method,
        path,
        segments: &segments,
        query: &heard.query,
        authorization: heard.authorization.as_deref(),
        content_type: heard.content_type.as_deref(),
        body,
        ip: peer.ip,
        now: shared.now(),
    };
    let faults = state.faults.take(call.method, call.segments);
    let token = state.world.identify(call.authorization);
    let spoiling = Spoiling::of(&faults);
    let ending = spoil(&mut state.world, &call, spoiling);
    state.calls.push(CallRecord {
        number: 0,
        at: call.now,
        method: heard.method.clone(),
        path: path.to_owned(),
        token,
        status: ending.status(),
        faults: faults.iter().map(crate::fault::FaultKind::name).collect(),
    });
    ending
}

fn spoil(world: &mut World, call: &Call<'_>, spoiling: Spoiling) -> Ending {
    let slow = spoiling.slow;
    match spoiling.before {
        Some(Before::Cut) => return Ending::Cut,
        Some(Before::Hang) => return Ending::Hang,
        Some(Before::Redirect(location)) => return Ending::Redirect(location),
        Some(Before::Status(status, retry_after)) => {
            let refusal = Refusal::new(status, if status == 429 { 10_429 } else { 10_500 }, "injected fault");
            return Ending::Reply(Box::new(refusal.into()), retry_after, slow);
        }
        Some(Before::Says(message)) => {
            return Ending::Reply(Box::new(Refusal::invalid(message).into()), None, slow);
        }
        Some(Before::Echo) => return Ending::Reply(Box::new(echo(call, None)), None, slow),
        None => {}
    }
    let answer = world.answer(call, &spoiling.grants).unwrap_or_else(Answer::from);
    match spoiling.after {
        None => Ending::Reply(Box::new(answer), None, slow),
        Some(After::Cut) => Ending::Cut,
        Some(After::Hang) => Ending::Hang,
        Some(After::Page) => Ending::Page,
        Some(After::Huge(bytes)) => Ending::Huge(bytes),
        Some(After::ServerError) => {
            Ending::Reply(Box::new(Refusal::new(500, 10_500, "injected fault").into()), None, slow)
        }
        Some(After::Echo) => Ending::Reply(Box::new(echo(call, answer.shown_value.as_deref())), None, slow),
    }
}

/// An error that quotes what it should not.
fn echo(call: &Call<'_>, value: Option<&str>) -> Answer {
    let bearer = World::bearer(call.authorization).unwrap_or("none");
    let quoted = value.map(|value| format!(" and value `{value}`")).unwrap_or_default();
    Refusal::invalid(format!("the request with token `{bearer}`{quoted} was refused")).into()
}

impl Ending {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Reply(answer, ..) => Some(answer.status),
            Self::Cut | Self::Hang => None,
            Self::Page | Self::Huge(_) => Some(200),
            Self::Redirect(_) => Some(302),
        }
    }
}

async fn finish(shared: &Arc<Shared>, peer: &Peer, ending: Ending) -> Response {
    match ending {
        Ending::Cut => peer.cut(),
        Ending::Hang => {
            shared.pause(Duration::MAX).await;
            peer.cut();
        }
        Ending::Page => return text_reply("text/html", Body::from("<html><body>Welcome!</body></html>")),
        Ending::Huge(bytes) => return text_reply("application/json", huge(bytes)),
        Ending::Redirect(location) => {
            return build(Response::builder().status(302).header(header::LOCATION, location), Body::empty());
        }
        Ending::Reply(answer, retry_after, slow) => {
            if slow.delay_ms > 0 {
                shared.pause(Duration::from_millis(slow.delay_ms)).await;
            }
            let response = reply(*answer, retry_after);
            return if slow.trickle_ms > 0 {
                trickle(shared, response, slow.trickle_ms).await
            } else {
                response
            };
        }
    }
    // Never sent: the connection is cut.
    Response::new(Body::empty())
}

fn reply(answer: Answer, retry_after: Option<u64>) -> Response {
    let (kind, body) = match answer.payload {
        Payload::Json(value) => ("application/json", Body::from(value.to_string())),
        Payload::Bytes(bytes) => ("application/octet-stream", Body::from(bytes)),
    };
    let mut builder = Response::builder().status(answer.status).header(header::CONTENT_TYPE, kind);
    if let Some(seconds) = retry_after {
        builder = builder.header(header::RETRY_AFTER, seconds);
    }
    build(builder, body)
}

fn json_reply(status: u16, body: String) -> Response {
    build(
        Response::builder().status(status).header(header::CONTENT_TYPE, "application/json"),
        Body::from(body),
    )
}

fn text_reply(kind: &str, body: Body) -> Response {
    build(Response::builder().header(header::CONTENT_TYPE, kind), body)
}

fn build(builder: axum::http::response::Builder, body: Body) -> Response {
    builder.body(body).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be built");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// The same response in small pieces with pauses between them; whole, once the sandbox stops.
async fn trickle(shared: &Arc<Shared>, response: Response, pause_ms: u64) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(whole) = to_bytes(body, usize::MAX).await else { return Response::new(Body::empty()) };
    let shared = Arc::clone(shared);
    let pieces = stream::unfold((whole, true), move |(mut rest, first)| {
        let shared = Arc::clone(&shared);
        async move {
            if rest.is_empty() {
                return None;
            }
            if !first {
                shared.pause(Duration::from_millis(pause_ms)).await;
            }
            let piece = rest.split_to(TRICKLE.min(rest.len()));
            Some((Ok::<Bytes, std::io::Error>(piece), (rest, false)))
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// A valid envelope of at least `bytes` bytes, made piece by piece.
fn huge(bytes: u64) -> Body {
    let head =
        stream::iter([Ok(Bytes::from_static(br#"{"success":true,"errors":[],"messages":[],"result":""#))]);
    let filler = Bytes::from(vec![b'a'; usize::try_from(HUGE_PIECE).unwrap_or(0)]);
    let middle = stream::unfold(bytes, move |left| {
        let filler = filler.clone();
        async move {
            let size = left.min(HUGE_PIECE);
            let piece = filler.slice(..usize::try_from(size).ok()?);
            (size > 0).then(|| (Ok::<Bytes, std::io::Error>(piece), left - size))
        }
    });
    let tail = stream::iter([Ok(Bytes::from_static(br#""}"#))]);
    Body::from_stream(futures::StreamExt::chain(futures::StreamExt::chain(head, middle), tail))
}
