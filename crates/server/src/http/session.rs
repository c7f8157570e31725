//! Who looks. A session is a word in a cookie; it lets its operator look, for half a day at most, and changes nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use keywright_broker::passkey::EACH_SESSION;
use keywright_core::id::ApprovalId;
use keywright_core::name::OperatorName;
use sha2::{Digest as _, Sha256};

use super::Door;
use crate::answer::Failure;

/// How long one lasts.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// How long one lasts in which nothing is looked at.
const SILENT: Duration = Duration::from_secs(1_800);
const AT_MOST: usize = 64;
/// What a page sends along when nobody asked it to look again.
const BY_ITSELF: &str = "keywright-by-itself";
/// What tells a page's script that there is no session any more, and where the door is.
const DOOR: HeaderName = HeaderName::from_static("keywright-door");
/// So many wrong passphrases in a row have others wait.
const TRIES: u32 = 5;
/// How long they wait.
const WAIT: Duration = Duration::from_secs(30);

struct Session {
    operator: OperatorName,
    begun: Instant,
    seen: Instant,
    /// What it was asked to sign, the oldest first. More than so many push out its own, and nobody else's.
    offers: VecDeque<ApprovalId>,
}

impl Session {
    fn lasts(&self) -> bool {
        self.begun.elapsed() < LONGEST && self.seen.elapsed() < SILENT
    }
}

/// The sessions of a door.
pub(super) struct Sessions {
    /// By the hash of their word: what is in memory opens nothing.
    open: Mutex<HashMap<[u8; 32], Session>>,
    wrong: Mutex<(u32, Option<Instant>)>,
    /// Whoever knocks takes no more than one of the places in which passphrases are stretched.
    pub(super) stretching: tokio::sync::Semaphore,
    is_secure: bool,
    /// The cookie's name.
    name: String,
}

/// Which session a request came with: the hash of its word.
#[derive(Clone, Copy)]
pub(super) struct Which([u8; 32]);

impl Sessions {
    /// Those of the pages at a host: every port of a host gets the cookies of the others, so it has its own name on each.
    /// The prefix has browsers insist on TLS, which there is none of on loopback.
    pub(super) fn new(is_secure: bool, port: Option<u16>) -> Self {
        let name = match port {
            Some(port) if is_secure => format!("__Host-keywright-{port}"),
            None if is_secure => "__Host-keywright".to_owned(),
            Some(port) => format!("keywright-{port}"),
            None => "keywright".to_owned(),
        };
        Self {
            name,
            open: Mutex::default(),
            wrong: Mutex::default(),
            stretching: tokio::sync::Semaphore::new(1),
            is_secure,
        }
    }

    /// Opens one; what to set as the cookie.
    pub(super) fn open(&self, word: &str, operator: OperatorName) -> HeaderValue {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.lasts());
        while open.len() >= AT_MOST {
            let Some(oldest) = open.iter().min_by_key(|(_, one)| one.seen).map(|(hash, _)| *hash) else {
                break;
            };
            open.remove(&oldest);
        }
        let now = Instant::now();
        open.insert(hash(word), Session { operator, begun: now, seen: now, offers: VecDeque::new() });
        self.cookie(word, LONGEST.as_secs())
    }

    /// Ends the one of a request; what to set as the cookie.
    pub(super) fn close(&self, parts: &Parts) -> HeaderValue {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for word in self.words(parts) {
            open.remove(&hash(word));
        }
        self.cookie("", 0)
    }

    fn cookie(&self, word: &str, lasts: u64) -> HeaderValue {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let name = &self.name;
        let text = format!("{name}={word}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts}{secure}");
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The words of all cookies of our name: other programs on this host can set some, too.
    fn words<'a>(&'a self, parts: &'a Parts) -> impl Iterator<Item = &'a str> {
        let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.name).map(|(_, word)| word).take(8)
    }

    /// Whose session a request comes with. What a page asks for by itself does not count as a look: a page that was left open
    /// keeps no session alive.
    fn who(&self, parts: &Parts) -> Option<(OperatorName, Which)> {
        let is_look = !parts.headers.contains_key(BY_ITSELF);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for word in self.words(parts) {
            if let Some(session) = open.get_mut(&hash(word)).filter(|session| session.lasts()) {
                if is_look {
                    session.seen = Instant::now();
                }
                return Some((session.operator.clone(), Which(hash(word))));
            }
        }
        None
    }

    /// A session is asked to sign something; what it was asked before, and can sign no more.
    pub(super) fn offered(&self, Which(session): Which, offer: ApprovalId) -> Vec<ApprovalId> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = open.get_mut(&session) else { return Vec::new() };
        session.offers.push_back(offer);
        let over = session.offers.len().saturating_sub(EACH_SESSION);
        session.offers.drain(..over).collect()
    }

    /// Takes one of the tries that there are, before it is known whether it is right; or says how long there is none.
    pub(super) fn take_try(&self) -> Result<(), Duration> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = wrong.1.map(|since| WAIT.saturating_sub(since.elapsed())).unwrap_or_default();
        if wrong.0 >= TRIES && !waits.is_zero() {
            return Err(waits);
        }
        *wrong = (if wrong.0 >= TRIES { 1 } else { wrong.0 + 1 }, Some(Instant::now()));
        Ok(())
    }

    /// It was right.
    pub(super) fn was_right(&self) {
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner) = (0, None);
    }
}

fn hash(word: &str) -> [u8; 32] {
    Sha256::digest(word.as_bytes()).into()
}

/// An operator with a session. A handler that has one may show; it can change nothing with it.
pub(super) struct Looks(pub(super) OperatorName);

impl FromRequestParts<Arc<Door>> for Looks {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Response> {
        if let Some((name, which)) = door.sessions.who(parts) {
            // They may have been removed since.
            if door.broker.is_operator(&name).await.is_ok() {
                parts.extensions.insert(which);
                return Ok(Self(name));
            }
        }
        if [Method::GET, Method::HEAD].contains(&parts.method) {
            let to = parts.uri.path_and_query().map_or("/", |all| all.as_str());
            let to: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
            return Err(Redirect::to(&format!("/door?to={to}")).into_response());
        }
        let failure =
            Failure::new(keywright_broker::Code::Unauthenticated, "your session is over; come in again");
        let door = [(DOOR, HeaderValue::from_static("/door"))];
        Err((StatusCode::UNAUTHORIZED, door, axum::Json(failure)).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_asks_for_by_itself_keeps_no_session_alive() {
        let sessions = Sessions::new(false, Some(4777));
        sessions.open("word", "ana".parse().unwrap());
        let asked = |by_itself: bool| {
            let mut request = axum::http::Request::builder().header(header::COOKIE, "keywright-4777=word");
            if by_itself {
                request = request.header(BY_ITSELF, "1");
            }
            request.body(()).unwrap().into_parts().0
        };
        let silent_since = |ago: Duration| {
            let then = Instant::now().checked_sub(ago).unwrap();
            let mut open = sessions.open.lock().unwrap();
            open.values_mut().for_each(|session| session.seen = then);
        };
        let still_silent = || {
            let open = sessions.open.lock().unwrap();
            open.values().all(|session| session.seen.elapsed() >= Duration::from_secs(60))
        };
        silent_since(Duration::from_secs(60));
        assert!(sessions.who(&asked(true)).is_some() && still_silent());
        assert!(sessions.who(&asked(false)).is_some() && !still_silent());
        silent_since(SILENT);
        assert!(sessions.who(&asked(true)).is_none(), "the page is told so, and goes to the door");
    }

    #[test]
    fn a_session_that_asks_for_too_much_crowds_out_its_own_offers_only() {
        let sessions = Sessions::new(false, Some(4777));
        let which = |word: &str| Which(hash(word));
        sessions.open("mine", "ana".parse().unwrap());
        sessions.open("stolen", "ana".parse().unwrap());
        let id = |at: u8| ApprovalId::generate(jiff::Timestamp::UNIX_EPOCH, [at; 10]);
        assert_eq!(sessions.offered(which("mine"), id(0)), []);
        let all: Vec<_> = (1..=u8::try_from(EACH_SESSION).unwrap() + 1).map(id).collect();
        let out: Vec<_> = all.iter().flat_map(|one| sessions.offered(which("stolen"), *one)).collect();
        assert_eq!(out, [all[0]]);
        assert_eq!(sessions.offered(which("mine"), id(99)), [], "they keep theirs");
    }
}
