//! Universal auth: a client id and secret for an access token.

use std::time::{Duration, Instant};

use keywright_core::secret::Secret;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::login::{Login, Logins};
use crate::rest::{Failure, Rest, body};
use crate::store::remote::Held;
use crate::wire::{Auth, Call, Reply};

/// The server, and how to get in.
pub(super) struct Door {
    pub(super) rest: Rest,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) logins: Logins<Secret>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credential<'a> {
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
    /// Sends a call; once more after a new login when the token is not taken (401, which is not a missing permission).
    /// The call says nothing of who calls.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let token = self.logins.current(None, self.log_in()).await?;
        let again = call.clone();
        match self.rest.send(Call { auth: Auth::Bearer(&token), ..call }).await {
            Err(failure) if failure.is_denied_as(401) => {
                let fresh = self.logins.current(Some(&token), self.log_in()).await?;
                self.rest.send(Call { auth: Auth::Bearer(&fresh), ..again }).await
            }
            outcome => outcome,
        }
    }

    /// Shows that the credential works.
    pub(super) async fn log_in_again(&self) -> Result<(), Failure> {
        self.logins.renewed(self.log_in()).await
    }

    /// `POST /api/v1/auth/universal-auth/login`. Sent once: a client secret may be good for a few logins only.
    async fn log_in(&self) -> Result<Login<Secret>, Failure> {
        let Self { client_id, client_secret, .. } = self;
        let credential = Credential { client_id, client_secret: client_secret.expose_secret() };
        let path = vec!["api", "v1", "auth", "universal-auth", "login"];
        let started = Instant::now();
        let call = Call::once(Method::POST, path, Auth::Nobody, body(&credential)?);
        let Granted { access_token, expires_in } = self.rest.json(call).await?;
        let until = started + Duration::from_secs(expires_in.min(86_400)) * 2 / 3;
        Ok(Login { given: access_token.0, until })
    }
}
