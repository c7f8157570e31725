//! Who is calling: a token, or a token from an `AppRole` login, kept alive.
//!
//! A token is renewed once two thirds of its time are over, by the next call. A 403 may mean that the token has ended or
//! that its policy does not allow the call, so the token is asked about itself; only one that is dead is replaced, once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright_core::secret::Secret;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::rest::{Cause, Failure, Proof, Rest, body, parse};
use crate::store::remote::Held;
use crate::wire::{Auth, Call, Repeat, Reply};

/// A call below `/v1`.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: Vec<&'a str>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    pub(super) repeat: Repeat,
}

/// The server, and how to get in.
pub(super) struct Door {
    pub(super) rest: Rest,
    pub(super) namespace: Option<String>,
    pub(super) role: Option<Role>,
    pub(super) session: Mutex<Option<Session>>,
}

/// An `AppRole`.
pub(super) struct Role {
    pub(super) mount: String,
    pub(super) role_id: String,
    pub(super) secret_id: Secret,
}

/// A token and what is known of its end.
#[derive(Clone)]
pub(super) struct Session {
    token: Arc<Secret>,
    /// `None` until it was asked for.
    lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    since: Instant,
    /// Zero for a token without an end, or one that nothing is known of.
    ttl: Duration,
    renewable: bool,
}

#[derive(Serialize)]
struct Login<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    auth: Grant,
}

#[derive(Deserialize)]
struct Grant {
    client_token: Held,
    #[serde(flatten)]
    term: Term,
}

#[derive(Deserialize)]
struct Renewed {
    auth: Term,
}

#[derive(Deserialize)]
struct Looked {
    data: Term,
}

/// Some answers call it `lease_duration`, some `ttl`; in seconds.
#[derive(Deserialize)]
struct Term {
    #[serde(alias = "ttl", default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

impl Lease {
    const UNKNOWN: Duration = Duration::ZERO;

    fn of(term: &Term, since: Instant) -> Self {
        Self { since, ttl: Duration::from_secs(term.lease_duration), renewable: term.renewable }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.renewable && !self.ttl.is_zero() && now.saturating_duration_since(self.since) >= self.ttl * 2 / 3
    }
}

impl Session {
    /// A token that an operator gave.
    pub(super) fn given(token: Secret) -> Self {
        Self { token: Arc::new(token), lease: None }
    }
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: Vec<&'a str>) -> Self {
        Self { method: Method::GET, path, query: Vec::new(), body: None, repeat: Repeat::Safe }
    }

    pub(super) fn post(path: Vec<&'a str>, body: Zeroizing<Vec<u8>>, repeat: Repeat) -> Self {
        Self { method: Method::POST, path, query: Vec::new(), body: Some(body), repeat }
    }

    fn call<'b>(&'b self, namespace: Option<&String>, auth: Auth<'b>) -> Call<'b> {
        let path = ["v1"].into_iter().chain(self.path.iter().copied()).collect();
        let mut call = match (&self.body, self.repeat) {
            (None, _) => Call::get(path, auth),
            (Some(body), Repeat::Safe) => Call::again(self.method.clone(), path, auth, body.clone()),
            (Some(body), Repeat::Never) => Call::once(self.method.clone(), path, auth, body.clone()),
        };
        call.query.clone_from(&self.query);
        call.headers.push(("x-vault-request", "true".to_owned()));
        call.headers.extend(namespace.map(|name| ("x-vault-namespace", name.clone())));
        call
    }
}

impl Door {
    /// Sends a call; once more after a new login, when the token turns out to be dead.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Reply, Failure> {
        let session = self.session().await?;
        match self.as_(&session, ask).await {
            Err(failure) if failure.is_denied() && self.role.is_some() => {
                if self.look_up(&session).await.is_ok_and(|lease| lease.is_some()) {
                    return Err(failure);
                }
                let fresh = self.replace(&session).await?;
                self.as_(&fresh, ask).await
            }
            outcome => outcome,
        }
    }

    /// Whether the credential works at all.
    pub(super) async fn is_alive(&self) -> Result<(), Failure> {
        let _: Looked = parse(&self.send(&Ask::get(vec!["auth", "token", "lookup-self"])).await?)?;
        Ok(())
    }

    async fn as_(&self, session: &Session, ask: &Ask<'_>) -> Result<Reply, Failure> {
        let auth = Auth::Header("x-vault-token", &session.token);
        self.rest.send(ask.call(self.namespace.as_ref(), auth)).await
    }

    /// The token to call with, renewed when it is time to.
    async fn session(&self) -> Result<Session, Failure> {
        let mut held = self.session.lock().await;
        // It stays where it is meanwhile: whoever stops waiting for us must not lose it.
        let mut session = match held.as_ref() {
            Some(session) => session.clone(),
            None => self.log_in().await?,
        };
        if session.lease.is_none() {
            let unknown = Lease { since: Instant::now(), ttl: Lease::UNKNOWN, renewable: false };
            // A token that may not look at itself still works.
            session.lease = Some(self.look_up(&session).await.ok().flatten().unwrap_or(unknown));
        }
        if session.lease.is_some_and(|lease| lease.is_due(Instant::now())) {
            match self.renew(&session).await {
                Ok(lease) => session.lease = Some(lease),
                Err(failure) if failure.is_denied() && self.role.is_some() => session = self.log_in().await?,
                Err(failure) => tracing::warn!(cause = ?failure.cause, "Vault did not renew the token"),
            }
        }
        *held = Some(session.clone());
        Ok(session)
    }

    /// A new login in place of a session, unless somebody was faster.
    async fn replace(&self, dead: &Session) -> Result<Session, Failure> {
        let mut held = self.session.lock().await;
        match held.as_ref().filter(|session| !Arc::ptr_eq(&session.token, &dead.token)) {
            Some(session) => Ok(session.clone()),
            None => {
                *held = None;
                let session = self.log_in().await?;
                *held = Some(session.clone());
                Ok(session)
            }
        }
    }

    /// `POST /v1/auth/approle/login`. Sent once: a SecretID may be good for a few logins only.
    async fn log_in(&self) -> Result<Session, Failure> {
        let Some(role) = &self.role else {
            let cause = Cause::Unavailable("there is no token to call with".to_owned());
            return Err(Failure { cause, proof: Proof::NotDone });
        };
        let login = Login { role_id: &role.role_id, secret_id: role.secret_id.expose_secret() };
        let mut path = vec!["auth"];
        path.extend(role.mount.split('/'));
        path.push("login");
        let ask = Ask::post(path, body(&login)?, Repeat::Never);
        let since = Instant::now();
        let outcome = self.rest.json(ask.call(self.namespace.as_ref(), Auth::Nobody)).await;
        let granted: Granted = outcome.map_err(|failure| match failure.cause {
            // Vault says 400 to a wrong RoleID or SecretID, or one that is used up.
            Cause::Refused { status, code, message } => {
                Failure { cause: Cause::Denied { status, code, message }, proof: Proof::NotDone }
            }
            _ => failure,
        })?;
        let Grant { client_token, term } = granted.auth;
        Ok(Session { token: Arc::new(client_token.0), lease: Some(Lease::of(&term, since)) })
    }

    /// What the token says about itself; `Ok(None)` when it is dead or may not say.
    async fn look_up(&self, session: &Session) -> Result<Option<Lease>, Failure> {
        let since = Instant::now();
        match self.as_(session, &Ask::get(vec!["auth", "token", "lookup-self"])).await {
            Ok(reply) => Ok(Some(Lease::of(&parse::<Looked>(&reply)?.data, since))),
            Err(failure) if failure.is_denied() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn renew(&self, session: &Session) -> Result<Lease, Failure> {
        let since = Instant::now();
        let ask =
            Ask::post(vec!["auth", "token", "renew-self"], Zeroizing::new(b"{}".to_vec()), Repeat::Safe);
        let renewed: Renewed = parse(&self.as_(session, &ask).await?)?;
        Ok(Lease::of(&renewed.auth, since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_after_two_thirds_of_its_time() {
        let since = Instant::now();
        let lease = |ttl, renewable| Lease { since, ttl: Duration::from_secs(ttl), renewable };
        for (lease, after, due) in [
            (lease(90, true), 59, false),
            (lease(90, true), 60, true),
            (lease(90, true), 900, true),
            (lease(90, false), 900, false),
            (lease(0, true), 900, false),
        ] {
            assert_eq!(lease.is_due(since + Duration::from_secs(after)), due, "{lease:?} {after}");
        }
    }
}
