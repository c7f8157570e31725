//! Approvals: one operator's signature over one plan digest; single use, expires.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;

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
    /// Ed25519 over [`Approval::message`].
    pub signature: [u8; 64],
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
    /// The signature is not the operator's.
    #[error("the approval's signature does not verify")]
    Forged,
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
        let mut approval = Self { id, request, operator, digest, given_at, expires_at, signature: [0; 64] };
        approval.signature = key.sign(&approval.message()).to_bytes();
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

    /// Whether it counts for this request and this plan now.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn verify(
        &self,
        request: RequestId,
        digest: &Digest,
        now: Timestamp,
        key: &VerifyingKey,
    ) -> Result<(), ApprovalError> {
        if self.request != request {
            return Err(ApprovalError::OtherRequest);
        }
        if self.digest != *digest {
            return Err(ApprovalError::OtherPlan);
        }
        if now >= self.expires_at || now < self.given_at {
            return Err(ApprovalError::Expired);
        }
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&self.message(), &signature).map_err(|_| ApprovalError::Forged)
    }
}

/// The distinct operators whose approvals count for this request and plan. `key_of` gives the verifying key of
/// an operator who still is one.
#[must_use]
pub fn quorum<'a>(
    approvals: &'a [Approval],
    request: RequestId,
    digest: &Digest,
    now: Timestamp,
    key_of: impl Fn(&OperatorName) -> Option<VerifyingKey>,
) -> BTreeSet<&'a OperatorName> {
    approvals
        .iter()
        .filter(|a| key_of(&a.operator).is_some_and(|key| a.verify(request, digest, now, &key).is_ok()))
        .map(|a| &a.operator)
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
        let verify = |a: &Approval| a.verify(good.request, &digest, at(50), &key.verifying_key());
        assert_eq!(verify(&good), Ok(()));
        let mutations: [fn(&mut Approval); 7] = [
            |a| a.id = ApprovalId::generate(at(2), [2; 10]),
            |a| a.request = RequestId::generate(at(2), [1; 10]),
            |a| a.operator = OperatorName::parse("bo").unwrap(),
            |a| a.digest = Digest::from_hex(&"cd".repeat(32)).unwrap(),
            |a| a.given_at = at(11),
            |a| a.expires_at = at(101),
            |a| a.signature[0] ^= 1,
        ];
        for mutate in mutations {
            let mut bad = good.clone();
            mutate(&mut bad);
            assert!(verify(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            good.verify(good.request, &digest, at(100), &key.verifying_key()),
            Err(ApprovalError::Expired)
        );
        assert_eq!(
            good.verify(good.request, &digest, at(9), &key.verifying_key()),
            Err(ApprovalError::Expired)
        );
    }

    #[test]
    fn one_operator_counts_once() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let digest = Digest::from_hex(&"ab".repeat(32)).unwrap();
        let one = given("ana", digest, &key);
        let twice = [one.clone(), one.clone()];
        let key_of = |_: &OperatorName| Some(key.verifying_key());
        assert_eq!(quorum(&twice, one.request, &digest, at(50), key_of).len(), 1);
        assert_eq!(
            quorum(&twice, one.request, &digest, at(50), |_| None).len(),
            0,
            "a removed operator counts no more"
        );
    }
}
