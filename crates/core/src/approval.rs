//! Approvals: one operator's signature over one plan digest; single use, expires. An operator signs with the key that their
//! passphrase opens, or with a passkey.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::{ApprovalId, RequestId};
use crate::name::OperatorName;
use crate::plan::Digest;

/// One operator's signature over one plan digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The request it is good for.
    pub request: RequestId,
    /// Who signed.
    pub operator: OperatorName,
    /// What was signed.
    pub digest: Digest,
    /// When it was given.
    pub given_at: Timestamp,
    /// When it stops counting.
    pub expires_at: Timestamp,
    /// Over [`Approval::message`].
    pub signature: Signed,
}

/// How an operator signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// Ed25519 over the message.
    Key([u8; 64]),
    /// A passkey's assertion, whose challenge is [`challenge`] of the message.
    Passkey(Box<Assertion>),
}

/// What an authenticator answered (WebAuthn Level 3, section 5.2.2), as the browser gives it, each field in base64url without
/// padding: complete enough to be checked again by anybody who has the passkey's public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assertion {
    /// The credential's id at its authenticator.
    pub credential: String,
    /// The hash of the relying party's id, flags and counter.
    pub authenticator_data: String,
    /// JSON with challenge and origin.
    pub client_data: String,
    /// Over authenticator data and the SHA-256 of the client data.
    pub signature: String,
    /// Where one touch signed several messages: the SHA-256 of each, in hexadecimal, its own among them. The broker fills it in;
    /// what a browser says of it counts for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<String>,
}

impl Assertion {
    /// The bytes whose [`challenge`] was to be signed, where a message is among them.
    #[must_use]
    pub fn covers(&self, message: &[u8]) -> Option<Vec<u8>> {
        if self.together.is_empty() {
            return Some(message.to_vec());
        }
        self.together.contains(&hashed(message)).then(|| together(&self.together))
    }
}

/// How a message stands among those that are signed together.
#[must_use]
pub fn hashed(message: &[u8]) -> String {
    hex::encode(Sha256::digest(message))
}

/// What one touch signs for several messages.
#[must_use]
pub fn together(hashes: &[String]) -> Vec<u8> {
    format!("keywright/approvals/1\n{}\n", hashes.join("\n")).into_bytes()
}

/// What a passkey is given to sign for a message: nothing random has to be remembered, and what was signed can be checked for as
/// long as the message is known.
#[must_use]
pub fn challenge(message: &[u8]) -> [u8; 32] {
    Sha256::digest(message).into()
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// It covers another plan than the one that is about to happen.
    #[error("the approval was given for another plan; it has to be given again")]
    OtherPlan,
    /// It belongs to another request.
    #[error("the approval belongs to another request")]
    OtherRequest,
    /// Its time is over.
    #[error("the approval has expired; it has to be given again")]
    Expired,
}

impl Approval {
    /// Signs a plan's digest with the operator's own key.
    #[must_use]
    pub fn sign(
        id: ApprovalId,
        request: RequestId,
        operator: OperatorName,
        digest: Digest,
        (given_at, expires_at): (Timestamp, Timestamp),
        key: &SigningKey,
    ) -> Self {
        let unsigned = Signed::Key([0; 64]);
        let mut approval = Self { id, request, operator, digest, given_at, expires_at, signature: unsigned };
        approval.signature = Signed::Key(key.sign(&approval.message()).to_bytes());
        approval
    }

    /// The signed bytes: every field on its own line, so that none can be read as another.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        format!(
            "keywright/approval/1\n{}\n{}\n{}\n{}\n{}\n{}\n",
            self.id, self.request, self.operator, self.digest, self.given_at, self.expires_at
        )
        .into_bytes()
    }

    /// Whether it was given for this request and this plan, and its time is not over. Who gave it is another question.
    ///
    /// # Errors
    /// The reason why it does not count.
    pub fn is_for(&self, request: RequestId, digest: &Digest, now: Timestamp) -> Result<(), ApprovalError> {
        if self.request != request {
            return Err(ApprovalError::OtherRequest);
        }
        if self.digest != *digest {
            return Err(ApprovalError::OtherPlan);
        }
        if now >= self.expires_at || now < self.given_at {
            return Err(ApprovalError::Expired);
        }
        Ok(())
    }

    /// Whether it was signed with this key. A passkey's assertion was not.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        match &self.signature {
            Signed::Key(signature) => {
                key.verify_strict(&self.message(), &Signature::from_bytes(signature)).is_ok()
            }
            Signed::Passkey(_) => false,
        }
    }
}

/// The distinct operators whose approvals count for this request and plan. `is_theirs` tells whether an approval was signed by
/// the operator that it names, who still is one.
#[must_use]
pub fn quorum<'a>(
    approvals: &'a [Approval],
    request: RequestId,
    digest: &Digest,
    now: Timestamp,
    is_theirs: impl Fn(&Approval) -> bool,
) -> BTreeSet<&'a OperatorName> {
    approvals
        .iter()
        .filter(|approval| approval.is_for(request, digest, now).is_ok() && is_theirs(approval))
        .map(|approval| &approval.operator)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn given(operator: &str, digest: Digest, key: &SigningKey) -> Approval {
        let request = RequestId::generate(at(1), [1; 10]);
        let id = ApprovalId::generate(at(1), [2; 10]);
        Approval::sign(id, request, OperatorName::parse(operator).unwrap(), digest, (at(10), at(100)), key)
    }

    #[test]
    fn any_changed_field_voids_an_approval() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let digest = Digest::from_hex(&"ab".repeat(32)).unwrap();
        let good = given("ana", digest, &key);
        let counts = |a: &Approval| {
            a.is_for(good.request, &digest, at(50)).is_ok() && a.is_signed_by(&key.verifying_key())
        };
        assert!(counts(&good));
        let mutations: [fn(&mut Approval); 7] = [
            |a| a.id = ApprovalId::generate(at(2), [2; 10]),
            |a| a.request = RequestId::generate(at(2), [1; 10]),
            |a| a.operator = OperatorName::parse("bo").unwrap(),
            |a| a.digest = Digest::from_hex(&"cd".repeat(32)).unwrap(),
            |a| a.given_at = at(11),
            |a| a.expires_at = at(101),
            |a| {
                if let Signed::Key(signature) = &mut a.signature {
                    signature[0] ^= 1;
                }
            },
        ];
        for mutate in mutations {
            let mut bad = good.clone();
            mutate(&mut bad);
            assert!(!counts(&bad), "{bad:?}");
        }
        assert_eq!(good.is_for(good.request, &digest, at(100)), Err(ApprovalError::Expired));
        assert_eq!(good.is_for(good.request, &digest, at(9)), Err(ApprovalError::Expired));
    }

    #[test]
    fn one_operator_counts_once() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let digest = Digest::from_hex(&"ab".repeat(32)).unwrap();
        let one = given("ana", digest, &key);
        let twice = [one.clone(), one.clone()];
        let is_theirs = |approval: &Approval| approval.is_signed_by(&key.verifying_key());
        assert_eq!(quorum(&twice, one.request, &digest, at(50), is_theirs).len(), 1);
        assert_eq!(
            quorum(&twice, one.request, &digest, at(50), |_| false).len(),
            0,
            "a removed operator counts no more"
        );
    }
}
