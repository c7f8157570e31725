//! Universal auth: a client id and secret for an access token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright_core::secret::Secret;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::rest::{Failure, Rest, body};
use crate::store::remote::Held;
use crate::wire::{Auth, Call, Reply};

/// The server, and how to get in.
pub(super) struct Door {
    rest: Rest,
    client_id: String,
    client_secret: Secret,
    session: Mutex<Option<Session>>,
}

#[derive(Clone)]
struct Session {
    token: Arc<Secret>,
    /// When it is time for another.
    due: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Login<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Granted {
    access_token: Held,
    /// Seconds.
    expires_in: u64,
}

impl Door {
    pub(super) fn new(rest: Rest, client_id: String, client_secret: Secret) -> Self {
        Self { rest, client_id, client_secret, session: Mutex::new(None) }
    }

    /// Sends a call; once more after a new login when the token is not taken (401, which is not a missing permission).
    /// `call` says nothing of who calls.
    pub(super) async fn send<'a>(&self, call: impl Fn() -> Call<'a>) -> Result<Reply, Failure> {
        let session = self.session(None).await?;
        match self.as_(&session, call()).await {
            Err(failure) if failure.is_denied_as(401) => {
                let fresh = self.session(Some(&session)).await?;
                self.as_(&fresh, call()).await
            }
            outcome => outcome,
        }
    }

    /// Shows that the credential works.
    pub(super) async fn log_in_again(&self) -> Result<(), Failure> {
        let fresh = self.log_in().await?;
        *self.session.lock().await = Some(fresh);
        Ok(())
    }

    async fn as_(&self, session: &Session, call: Call<'_>) -> Result<Reply, Failure> {
        self.rest.send(Call { auth: Auth::Bearer(&session.token), ..call }).await
    }

    /// The access token to call with, unless it is the one that was not taken.
    async fn session(&self, dead: Option<&Session>) -> Result<Session, Failure> {
        let mut held = self.session.lock().await;
        let usable = |session: &&Session| {
            Instant::now() < session.due && dead.is_none_or(|dead| !Arc::ptr_eq(&dead.token, &session.token))
        };
        if let Some(session) = held.as_ref().filter(usable) {
            return Ok(session.clone());
        }
        let fresh = self.log_in().await?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// `POST /api/v1/auth/universal-auth/login`. Sent once: a client secret may be good for a few logins only.
    async fn log_in(&self) -> Result<Session, Failure> {
        let login = Login { client_id: &self.client_id, client_secret: self.client_secret.expose_secret() };
        let path = vec!["api", "v1", "auth", "universal-auth", "login"];
        let started = Instant::now();
        let call = Call::once(Method::POST, path, Auth::Nobody, body(&login)?);
        let Granted { access_token, expires_in } = self.rest.json(call).await?;
        let due = started + Duration::from_secs(expires_in.min(86_400)) * 2 / 3;
        Ok(Session { token: Arc::new(access_token.0), due })
    }
}
