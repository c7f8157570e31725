//! Whether a token works: `GET .../tokens/verify`, sent with the token itself.

use std::time::{Duration, Instant};

use keywright_core::provider::ProviderError;
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;

use super::envelope::{About, Failure, is_denied};
use super::shapes::Verified;
use super::{Cloudflare, KIND};
use crate::provider::another_key;
use crate::wire::jittered;

/// The wait after the first refusal; it doubles up to the second.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The bearer is known, but not from this address.
const WRONG_PLACE: i64 = 9109;

impl Cloudflare {
    /// Verifies the token until it works or the time is up. A fresh token may be unknown to some of the provider's
    /// servers for a while.
    pub(super) async fn wait_until_works(&self, secret: &Secret, id: &str) -> Result<(), ProviderError> {
        let started = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let failure = match self.verify(secret).await {
                Ok(verified) => return works(&verified, id),
                // A key that is confined to other networks than ours says so; saying so proves that it is known.
                Err(failure) if is_wrong_place(&failure) => return Ok(()),
                Err(failure) => failure,
            };
            let left = self.probe_for.saturating_sub(started.elapsed());
            // Asked to slow down, the wire has waited already; asking on would only make it worse.
            let throttled = matches!(failure.error, ProviderError::Throttled { .. });
            let may_pass = is_denied(&failure) || (failure.error.is_transient() && !throttled);
            if !may_pass || left.is_zero() {
                return Err(failure.into());
            }
            tokio::time::sleep(jittered(wait).min(left)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What the provider says about a token to the token itself.
    pub(super) async fn verify(&self, secret: &Secret) -> Result<Verified, Failure> {
        let about = About { what: "token", needs: "an active token of the same owner" };
        self.api.show_as(secret, self.owner.tokens_and("verify"), about).await
    }
}

fn works(verified: &Verified, id: &str) -> Result<(), ProviderError> {
    if verified.id != id {
        return Err(another_key(KIND, "the secret belongs to another token"));
    }
    if verified.status != "active" {
        let message = Untrusted::capped(&format!("the token is {}", verified.status), 80);
        return Err(ProviderError::Refused { provider: KIND, code: None, message, hint: None });
    }
    Ok(())
}

fn is_wrong_place(failure: &Failure) -> bool {
    let says_place = match &failure.error {
        ProviderError::Unauthorized { message, .. } => message.raw().contains("from location"),
        _ => false,
    };
    failure.code == Some(WRONG_PLACE) && says_place
}
