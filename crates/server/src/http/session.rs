//! Who looks. A session is a word in a cookie; it lets its operator look, for half a day at most, and changes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use keywright_core::name::OperatorName;
use sha2::{Digest as _, Sha256};

use super::Door;
use crate::answer::Failure;

/// How long one lasts.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);
/// How long one lasts in which nothing is looked at.
const SILENT: Duration = Duration::from_secs(3_600);
const AT_MOST: usize = 64;
/// So many wrong passphrases in a row have others wait.
const TRIES: u32 = 5;
/// How long they wait.
const WAIT: Duration = Duration::from_secs(30);

struct Session {
    operator: OperatorName,
    begun: Instant,
    seen: Instant,
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
    is_secure: bool,
}

impl Sessions {
    pub(super) fn new(is_secure: bool) -> Self {
        Self { open: Mutex::default(), wrong: Mutex::default(), is_secure }
    }

    /// The cookie's name. The prefix has browsers insist on TLS, which there is none of on loopback.
    fn name(&self) -> &'static str {
        if self.is_secure { "__Host-keywright" } else { "keywright" }
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
        open.insert(hash(word), Session { operator, begun: Instant::now(), seen: Instant::now() });
        self.cookie(word, LONGEST.as_secs())
    }

    /// Ends the one of a request; what to set as the cookie.
    pub(super) fn close(&self, parts: &Parts) -> HeaderValue {
        if let Some(word) = self.word(parts) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(word));
        }
        self.cookie("", 0)
    }

    fn cookie(&self, word: &str, lasts: u64) -> HeaderValue {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let name = self.name();
        let text = format!("{name}={word}; Path=/; HttpOnly; SameSite=Strict; Max-Age={lasts}{secure}");
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn word<'a>(&self, parts: &'a Parts) -> Option<&'a str> {
        let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.name()).map(|(_, word)| word)
    }

    fn who(&self, parts: &Parts) -> Option<OperatorName> {
        let word = hash(self.word(parts)?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get_mut(&word).filter(|session| session.lasts())?;
        session.seen = Instant::now();
        Some(session.operator.clone())
    }

    /// Whether a passphrase may be tried now.
    pub(super) fn may_try(&self) -> Result<(), Duration> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = wrong.1.map(|since| WAIT.saturating_sub(since.elapsed())).unwrap_or_default();
        if wrong.0 >= TRIES && !waits.is_zero() { Err(waits) } else { Ok(()) }
    }

    /// What came of it.
    pub(super) fn tried(&self, is_right: bool) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        *wrong = if is_right { (0, None) } else { (wrong.0.saturating_add(1), Some(Instant::now())) };
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
        if let Some(name) = door.sessions.who(parts) {
            // They may have been removed since.
            if door.broker.is_operator(&name).await.is_ok() {
                return Ok(Self(name));
            }
        }
        if parts.method == Method::GET {
            let to: String = url::form_urlencoded::byte_serialize(parts.uri.path().as_bytes()).collect();
            return Err(Redirect::to(&format!("/door?to={to}")).into_response());
        }
        let failure =
            Failure::new(keywright_broker::Code::Unauthenticated, "your session is over; come in again");
        Err((StatusCode::UNAUTHORIZED, axum::Json(failure)).into_response())
    }
}
