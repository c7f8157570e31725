//! Creating a token: `POST .../tokens`, sent once.
//!
//! What a bad answer means depends on what it proves. A refusal at the door (401, 403, 404, 429, in the provider's own
//! envelope) comes before any work, so nothing was made. Every other refusal is only a claim, and so is a 401 or 403 in any
//! other form: a proxy may have lost the true answer, or the provider may have failed after it made the token. Such a claim
//! is believed when no token carries the marker. Whatever is left open is [`ProviderError::OutcomeUnknown`].

use keywright_core::grant::Grant;
use keywright_core::marker::Marker;
use keywright_core::provider::{Listing, Minted, ProviderError};
use serde::Serialize;

use super::envelope::{Failure, Proof, is_denied};
use super::{Cloudflare, KIND, ask};

/// A token to be made: what it is called, and the whole body.
pub(super) struct Created<'a, T> {
    pub(super) name: &'a str,
    pub(super) body: &'a T,
}

impl Cloudflare {
    /// What [`keywright_core::provider::Provider::mint`] does once it has seen the proof.
    pub(super) async fn create(&self, grant: &Grant, marker: &Marker) -> Result<Minted, ProviderError> {
        let body = ask::create_body(grant, marker)?;
        self.create_named(Created { name: body.name, body: &body }, marker).await
    }

    /// The same with a body that is there already, whose name starts with the marker.
    pub(super) async fn create_named(
        &self,
        token: Created<'_, impl Serialize>,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        match self.api.create(self.owner.tokens(), token, self.owner.write_permission()).await {
            Ok(minted) => Ok(minted),
            Err(failure) => Err(match failure.proof {
                Proof::NotDone => refused(failure.error),
                Proof::Claimed => self.believed(failure, marker).await,
                Proof::Nothing => unknown(why(failure.error)),
            }),
        }
    }

    /// The refusal, if no token carries the marker.
    async fn believed(&self, claim: Failure, marker: &Marker) -> ProviderError {
        let denied = is_denied(&claim);
        match self.list_tokens(Listing::Marked).await {
            // As its start, in case that the provider added to the name.
            Ok(listed) if listed.iter().any(|token| token.label.raw().starts_with(marker.as_str())) => {
                unknown(format!("{}, but a key with this attempt's marker exists", claim.error))
            }
            Ok(_) => refused(claim.error),
            // A credential that is good for nothing has made nothing either.
            Err(ProviderError::Unauthorized { .. }) if denied => claim.error,
            Err(error) => unknown(format!("{}, and whether that is so can't be seen: {error}", claim.error)),
        }
    }
}

/// The provider publishes no code for "no more tokens", so its words have to do.
fn refused(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Refused { message, .. } if is_about_quota(message.raw()) => {
            ProviderError::QuotaExhausted { provider: KIND, message }
        }
        error => error,
    }
}

fn is_about_quota(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let about_tokens = message.contains("token");
    about_tokens && ["limit", "quota", "maximum", "too many"].iter().any(|word| message.contains(word))
}

/// The cause alone: that the provider failed is said already.
fn why(error: ProviderError) -> String {
    match error {
        ProviderError::Unavailable { why, .. }
        | ProviderError::Unreachable { why, .. }
        | ProviderError::Garbled { why, .. } => why,
        ProviderError::Throttled { .. } => "status 429".to_owned(),
        other => other.to_string(),
    }
}

fn unknown(why: String) -> ProviderError {
    ProviderError::OutcomeUnknown { provider: KIND, why }
}
