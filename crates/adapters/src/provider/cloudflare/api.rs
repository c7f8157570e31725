//! The calls, as this adapter makes them.

use keywright_core::provider::{Ended, Minted, ProviderError};
use keywright_core::secret::Secret;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::KIND;
use super::create::Created;
use super::envelope::{About, Answer, Failure, confirm, open, throttled};
use super::resource::is_id;
use super::shapes::CreatedToken;
use crate::wire::{Call, Fault, Reply, Scrub, Wire};

/// The largest answer to a list, in bytes: a page of 50 tokens with many policies, or all permission groups.
const LIST_BODY: usize = 8 << 20;

/// The API with the parent's credential.
pub(super) struct Api {
    wire: Wire,
    parent: Secret,
    scrub: Scrub,
}

impl Api {
    pub(super) fn new(wire: Wire, parent: Secret) -> Self {
        let scrub = Scrub::new([&parent], is_id);
        Self { wire, parent, scrub }
    }

    /// Whether everything stays on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.wire.is_loopback()
    }

    /// Reads something as the parent.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: Vec<&str>,
        query: Vec<(&'static str, String)>,
        about: About,
    ) -> Result<Answer<T>, Failure> {
        let call = Call { query, max_body: Some(LIST_BODY), ..Call::get(path, &self.parent) };
        self.exchange(call, &self.scrub, about).await
    }

    /// Reads something as the parent and is content with the result.
    pub(super) async fn show<T: DeserializeOwned>(
        &self,
        path: Vec<&str>,
        about: About,
    ) -> Result<T, Failure> {
        Ok(self.get(path, Vec::new(), about).await?.result)
    }

    /// Reads something with another token.
    pub(super) async fn show_as<T: DeserializeOwned>(
        &self,
        secret: &Secret,
        path: Vec<&str>,
        about: About,
    ) -> Result<T, Failure> {
        let scrub = Scrub::new([&self.parent, secret], is_id);
        Ok(self.exchange(Call::get(path, secret), &scrub, about).await?.result)
    }

    /// Ends something, or says that it is not there.
    pub(super) async fn delete(
        &self,
        path: Vec<&str>,
        what: &'static str,
        needs: &'static str,
    ) -> Result<Ended, ProviderError> {
        // The API's document asks for a JSON body on these deletes, an empty one.
        let body = Some(b"{}".to_vec().into());
        let reply = self.send(Call { body, ..Call::delete(path, &self.parent) }).await?;
        match confirm(&reply, &self.scrub, About { what, needs }).map_err(ProviderError::from) {
            Ok(()) => Ok(Ended::Taken),
            Err(ProviderError::NotFound { .. }) if reply.is_repeated => Ok(Ended::MaybeTaken),
            Err(ProviderError::NotFound { .. }) => Ok(Ended::NotFound),
            Err(error) => Err(error),
        }
    }

    /// Replaces something. Sent once: between a lost answer and a second try, somebody else may have changed it.
    pub(super) async fn replace<T: DeserializeOwned>(
        &self,
        path: Vec<&str>,
        body: &impl Serialize,
        about: About,
    ) -> Result<T, ProviderError> {
        let call = Call::once(Method::PUT, path, &self.parent, json(body)?);
        Ok(self.exchange(call, &self.scrub, about).await?.result)
    }

    /// Creates a token: sent once. The failure says what it proves about the token.
    pub(super) async fn create(
        &self,
        path: Vec<&str>,
        token: Created<'_, impl Serialize>,
        needs: &'static str,
    ) -> Result<Minted, Failure> {
        let call = Call::once(Method::POST, path, &self.parent, json(token.body)?);
        let about = About { what: "such account", needs };
        let created: CreatedToken = self.exchange(call, &self.scrub, about).await?.result;
        if !is_id(&created.id) || created.value.is_empty() {
            return Err(Failure::garbled("it holds no usable id and value".to_owned()));
        }
        if created.name != token.name {
            // The id is known, so the key is not lost; only a sweep by marker would miss it.
            tracing::warn!(key = %created.id, "the provider stored another name than the marker");
        }
        Ok(Minted { provider_key_id: created.id, secret: created.value.into() })
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        scrub: &Scrub,
        about: About,
    ) -> Result<Answer<T>, Failure> {
        open(&self.send(call).await?, scrub, about)
    }

    async fn send(&self, call: Call<'_>) -> Result<Reply, Failure> {
        self.wire.send(call).await.map_err(|fault| match fault {
            Fault::Closed { left } => Failure::not_sent(throttled(Some(left))),
            Fault::NotSent { why } => Failure::not_sent(ProviderError::Unreachable { provider: KIND, why }),
            Fault::TooLarge { .. } | Fault::Redirected { .. } => Failure::garbled(fault.to_string()),
            other => ProviderError::Unavailable { provider: KIND, why: other.to_string() }.into(),
        })
    }
}

fn json(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let why = "it can't be written as JSON".to_owned();
    let unsupported = |_| Failure::not_sent(ProviderError::Unsupported { provider: KIND, why });
    serde_json::to_vec(body).map(Zeroizing::new).map_err(unsupported)
}
