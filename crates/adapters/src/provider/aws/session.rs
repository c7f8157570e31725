//! Sessions: `AssumeRole` with a session policy.

use jiff::{SignedDuration, Timestamp};
use keywright_core::grant::Grant;
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::provider::{Minted, ProviderError};

use super::{Aws, KIND, document, unknown, unsupported};
use crate::aws::Element;
use crate::rest::{Failure, Proof};

/// A session lasts a quarter of an hour at least, and half a day at most; many roles allow an hour. Within that, its
/// policy ends it to the second.
const SHORTEST: i64 = 900;
const LONGEST: i64 = 43_200;
/// How far the clocks may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(15);
pub(super) const NEEDS: &str = "`sts:AssumeRole`, `sts:TagSession` and `sts:SetSourceIdentity` on the role, and a trust policy that lets the parent";

/// What a session may do that is only meant to show that one can be made.
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

impl Aws {
    pub(super) async fn assume(
        &self,
        role: &str,
        policy: &str,
        grant: &Grant,
        plan: &Plan,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        let now = Timestamp::now();
        let end = grant.expires_at.unwrap_or(now);
        let seconds = end.as_second().saturating_sub(now.as_second());
        if seconds <= 0 || seconds > LONGEST {
            return Err(unsupported(
                "a session lasts 12 hours at most; ask for a shorter life, or use a connection with `mode=user`"
                    .to_owned(),
            ));
        }
        let seconds = seconds.max(SHORTEST);
        let (who, request) = (plan.principal.name(), plan.request.to_string());
        let answer = self.session(role, marker.as_str(), policy, seconds, who, Some(&request)).await;
        let made = answer.map_err(|failure| match failure.proof {
            Proof::Nothing => unknown(failure.of_provider(KIND, "such role", NEEDS).to_string()),
            // In the documented words; there is no list in which to look.
            Proof::Claimed | Proof::NotDone => refused(failure),
        })?;
        self.minted(&made, marker, now, seconds)
    }

    /// Nothing can be read back, so that the answer is looked at here: the session is ours, and ends when it should.
    fn minted(
        &self,
        made: &Element,
        marker: &Marker,
        now: Timestamp,
        seconds: i64,
    ) -> Result<Minted, ProviderError> {
        let odd = |why: &str| unknown(format!("a session was made, but {why}"));
        let credentials = made.child("Credentials").ok_or_else(|| odd("the answer holds no key"))?;
        let ends: Option<Timestamp> = credentials.text("Expiration").and_then(|text| text.parse().ok());
        let ends = ends.ok_or_else(|| odd("the answer does not say when it ends"))?;
        let off = ends.duration_since(now) - SignedDuration::from_secs(seconds);
        if off.abs() > SKEW {
            return Err(odd("it ends at another time than was asked for, or the clocks are far apart"));
        }
        let is_named = |arn: &str| arn.ends_with(&format!("/{marker}"));
        if !made.text("AssumedRoleUser/Arn").is_some_and(is_named) {
            return Err(odd("it has another name than the marker"));
        }
        let document =
            document(credentials, Some(ends)).ok_or_else(|| odd("the answer holds no usable key"))?;
        let provider_key_id = document.access_key_id.clone();
        let secret = document.into_secret().map_err(|_| odd("its key can't be written down"))?;
        Ok(Minted { provider_key_id, secret })
    }

    /// Whether a session can be made, shown by one that may do nothing.
    pub(super) async fn can_assume(&self, role: &str) -> Result<(), ProviderError> {
        let made = self.session(role, "keywright-check", NOTHING, SHORTEST, "keywright", None).await;
        made.map(drop).map_err(refused)
    }

    async fn session(
        &self,
        role: &str,
        name: &str,
        policy: &str,
        seconds: i64,
        who: &str,
        request: Option<&str>,
    ) -> Result<Element, Failure> {
        let (seconds, request) = (seconds.to_string(), request.unwrap_or("none"));
        // 2 to 64 characters.
        let source = if who.len() < 2 { "keywright" } else { who.get(..64).unwrap_or(who) };
        self.sts
            .once(
                "AssumeRole",
                &[
                    ("RoleArn", role),
                    ("RoleSessionName", name),
                    ("Policy", policy),
                    ("DurationSeconds", &seconds),
                    ("SourceIdentity", source),
                    ("Tags.member.1.Key", "keywright:who"),
                    ("Tags.member.1.Value", who),
                    ("Tags.member.2.Key", "keywright:request"),
                    ("Tags.member.2.Value", request),
                ],
            )
            .await
    }
}

fn refused(failure: Failure) -> ProviderError {
    let hint = match failure.code() {
        Some("ValidationError") => {
            Some("the role may allow no session as long as that (its maximum session duration)")
        }
        Some("PackedPolicyTooLarge") => Some("take permissions or networks out of the template"),
        Some("RegionDisabledException") => Some("enable STS in the connection's region"),
        _ => None,
    };
    match failure.of_provider(KIND, "such role", NEEDS) {
        ProviderError::Refused { provider, code, message, .. } => {
            ProviderError::Refused { provider, code, message, hint: hint.map(str::to_owned) }
        }
        other => other,
    }
}
