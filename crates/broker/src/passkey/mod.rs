//! Passkeys: what an operator approves with in a browser. Enrolled by the passphrase, or by another passkey of theirs; an agent
//! has neither. What is signed is the message of one approval, or of one other deed, so an answer is good for nothing else.

mod acts;
mod batch;
mod check;
mod enrol;
mod entry;
mod offers;
mod signers;
mod standing;
mod touch;

use std::sync::Arc;
use std::time::Duration;

use keywright_core::approval::{Approval, Assertion, Signed, challenge};
use keywright_core::audit::Deed;
use keywright_core::id::{ApprovalId, PasskeyId, short_code};
use keywright_core::name::OperatorName;
use keywright_core::receipt::Receipt;
use keywright_ledger::seal::Keyring;
use keywright_ledger::{GivenGrant, LedgerError, Operator, Passkey, Tx};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use webauthn_rs_core::proto::{
    AllowCredentials, Credential, PublicKeyCredentialRequestOptions, RequestChallengeResponse,
    UserVerificationPolicy,
};

pub use acts::{Act, Done, OnKey};
pub(crate) use check::{ED25519, on_record};
pub use check::{signed_as_said, verifies};
pub use enrol::{Counts, Enrolled};
pub(crate) use entry::Entries;
pub use offers::EACH_SESSION;
use offers::Offer;
pub(crate) use offers::Waiting;
pub(crate) use signers::PUBLIC_KEY;
pub use signers::signed_by_whom_it_says;
pub use standing::{Like, Likes};

use crate::approve::{Given, Less, one};
use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{PASSKEY, Rails};

/// How long the name of a passkey may be, in characters.
const LABEL: usize = 60;
/// How many one operator may have.
const EACH: usize = 20;

/// What a page has an authenticator sign.
#[derive(Debug, Serialize)]
pub struct Challenge {
    /// The approval's id, or the deed's; it comes back with the answer.
    pub id: ApprovalId,
    /// For `navigator.credentials.get`.
    pub options: RequestChallengeResponse,
}

/// A passkey, without what only its check needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PasskeyShown {
    /// Its id.
    pub id: PasskeyId,
    /// Whose it is.
    pub operator: OperatorName,
    /// What they call it.
    pub name: String,
    /// Where it is good.
    pub origin: String,
    /// By which people tell it from another one: `XXXX-XXXX`, shown where it was made and in the terminal.
    pub fingerprint: String,
    /// When it was enrolled.
    pub added_at: jiff::Timestamp,
    /// When it was last used.
    pub used_at: Option<jiff::Timestamp>,
}

/// Who may approve at present, and with what.
pub(crate) struct Signers {
    pub(crate) operators: Vec<Operator>,
    passkeys: Vec<Passkey>,
}

impl Signers {
    /// Whether an approval was signed by the operator that it names.
    pub(crate) fn vouch_for(&self, approval: &Approval) -> bool {
        let Some(operator) = self.operators.iter().find(|one| one.name == approval.operator) else {
            return false;
        };
        match &approval.signature {
            Signed::Key(_) => approval.is_signed_by(&operator.public_key),
            Signed::Passkey(assertion) => {
                self.with(&approval.operator, assertion, &approval.message()).is_ok()
            }
        }
    }

    /// The same as a transaction sees it.
    pub(crate) fn of(
        tx: &Tx<'_>,
        rails: &Rails,
        keyring: &Keyring,
    ) -> std::result::Result<Self, LedgerError> {
        let (operators, passkeys) = (tx.operators(keyring)?, tx.passkeys(keyring)?);
        Ok(Self::among(rails, operators, passkeys))
    }

    fn among(
        rails: &Rails,
        operators: Vec<std::result::Result<Operator, LedgerError>>,
        passkeys: Vec<std::result::Result<Passkey, LedgerError>>,
    ) -> Self {
        let operators = rails.counting(operators);
        let mut passkeys = rails.counting(passkeys);
        passkeys.retain(|passkey| operators.iter().any(|one| one.name == passkey.operator));
        Self { operators, passkeys }
    }

    /// Whether a standing grant was signed by the operator that it names.
    pub(crate) fn vouch_for_grant(&self, given: &GivenGrant) -> bool {
        let grant = &given.grant;
        let Some(operator) = self.operators.iter().find(|one| one.name == grant.operator) else {
            return false;
        };
        match &given.signature {
            Signed::Key(signature) => grant.is_signed_by(&operator.public_key, signature),
            // A touch over several things is good for no grant.
            Signed::Passkey(assertion) => {
                assertion.together.is_empty()
                    && self.with(&grant.operator, assertion, &grant.message()).is_ok()
            }
        }
    }

    /// The operator's passkey that gave an assertion over a message, and its counter.
    fn with(
        &self,
        operator: &OperatorName,
        assertion: &Assertion,
        message: &[u8],
    ) -> Result<(&Passkey, u32)> {
        let refused = |why: String| {
            BrokerError::new(Code::Unauthenticated, format!("the passkey's answer does not count: {why}"))
                .hint("try again; if it stays so, enrol the passkey once more with `keywright passkey add`")
        };
        let mut why = "it is of no passkey of yours".to_owned();
        for passkey in self.passkeys.iter().filter(|passkey| passkey.operator == *operator) {
            let credential: Credential =
                serde_json::from_str(&passkey.credential).map_err(|error| refused(error.to_string()))?;
            match check::is_good(&credential, &passkey.origin, message, assertion) {
                Ok(counter) => return Ok((passkey, counter)),
                // That of another passkey says nothing.
                Err(_) if encoded(&credential) != assertion.credential => {}
                Err(error) => why = error,
            }
        }
        Err(refused(why))
    }
}

/// The id of a credential, as browsers give it.
fn encoded(credential: &Credential) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(credential.cred_id.as_slice())
}

/// By which people tell a passkey from another one: 40 bits of the SHA-256 of its id and its public key.
fn fingerprint(credential: &str) -> String {
    let Ok(credential) = serde_json::from_str::<Credential>(credential) else { return String::new() };
    let key = serde_json::to_string(&credential.cred).unwrap_or_default();
    short_code(&Sha256::digest(format!("keywright/passkey/1\n{}\n{key}", encoded(&credential))), 4)
}

impl Broker {
    /// The passkeys that count.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn passkeys(&self) -> Result<Vec<PasskeyShown>> {
        let shown = |one: Passkey| PasskeyShown {
            fingerprint: fingerprint(&one.credential),
            id: one.id,
            operator: one.operator,
            name: one.label,
            origin: one.origin,
            added_at: one.added_at,
            used_at: one.used_at,
        };
        Ok(self.signers().await?.passkeys.into_iter().map(shown).collect())
    }

    /// Removes a passkey, or one that is held. What was approved with it, and not used yet, counts no more.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn remove_passkey(&self, operator: &Proven, id: &str) -> Result<PasskeyId> {
        operator.deciding()?;
        let id = PasskeyId::parse(id).map_err(BrokerError::invalid)?;
        if let Some(id) = self.refuse_held(id, &operator.caller().who()).await? {
            return Ok(id);
        }
        let whose = self.passkeys().await?.into_iter().find(|one| one.id == id).map(|one| one.operator);
        let (who, keyring) = (operator.caller().who(), Arc::clone(&self.keyring));
        let written = self.ledger.write(move |tx| {
            tx.remove_passkey(id, &keyring)?;
            tx.audit(crate::admin::named(tx.now(), Deed::PasskeyRemove, who, &id.to_string()))
        });
        written.await?;
        // With one that is somebody else's they may have had another link made.
        if let Some(whose) = whose {
            self.waiting.forget(&whose);
        }
        self.rails.went(PASSKEY, &id.to_string());
        Ok(id)
    }

    /// Who may approve at present, and with what.
    pub(crate) async fn signers(&self) -> Result<Signers> {
        let keyring = Arc::clone(&self.keyring);
        let found = self
            .ledger
            .read(move |tx| Ok::<_, LedgerError>((tx.operators(&keyring)?, tx.passkeys(&keyring)?)))
            .await?;
        self.ledger.catch_up().await?;
        Ok(Signers::among(&self.rails, found.0, found.1))
    }

    /// What a page has signed so that an operator approves exactly the plan that it shows.
    ///
    /// # Errors
    /// When the request no longer waits, the plan is not the one that was shown, or the operator has no passkey there.
    pub async fn offer_approval(
        &self,
        operator: &OperatorName,
        origin: &str,
        request: &str,
        shown: &str,
        less: &Less,
    ) -> Result<Challenge> {
        self.refuse_if_forked()?;
        let id = Self::find_request(request)?;
        let (_, waiting) = self.to_approve(operator, id, shown, less).await?;
        let approval = Approval {
            id: ApprovalId::generate(self.now(), entropy()?),
            request: id,
            operator: operator.clone(),
            digest: waiting.digest,
            given_at: self.now(),
            expires_at: waiting.expires_at,
            signature: Signed::Key([0; 64]),
        };
        let challenge = self.challenge(operator, origin, approval.id, &approval.message()).await?;
        self.waiting.offer(approval.id, Offer::Approve(Box::new(approval), less.clone()));
        Ok(challenge)
    }

    /// Approves what was offered, with what the authenticator answered. The offer is used up, whatever comes of it.
    ///
    /// # Errors
    /// When it was not offered to this operator, the answer does not count, or what would happen is not what was shown.
    pub async fn approve_with_passkey(
        self: &Arc<Self>,
        operator: &OperatorName,
        id: &str,
        origin: &str,
        assertion: Assertion,
        wait: Duration,
    ) -> Result<Receipt> {
        let assertion = Assertion { together: Vec::new(), ..assertion };
        self.refuse_if_forked()?;
        let id = ApprovalId::parse(id).map_err(BrokerError::invalid)?;
        let Offer::Approve(mut approval, less) = self.waiting.taken(id)? else { return Err(other_offer()) };
        if approval.operator != *operator {
            return Err(other_offer());
        }
        let signers = self.signers().await?;
        let (passkey, counter) = signers.with(operator, &assertion, &approval.message())?;
        if passkey.origin != origin {
            return Err(other_offer());
        }
        let proof =
            on_record(operator.as_str(), &passkey.credential, origin, &approval.message(), &assertion);
        let used = Some((passkey.id, counter));
        approval.signature = Signed::Passkey(Box::new(assertion));
        let digest = approval.digest.to_string();
        let (asked, waiting) = self.to_approve(operator, approval.request, &digest, &less).await?;
        one(self.give(vec![Given { asked, waiting, approval: *approval, proof }], used, wait).await?)
    }

    /// Nobody signs these any more: whoever they were made for was asked to sign too much since.
    pub fn withdraw_offers(&self, offers: &[ApprovalId]) {
        for id in offers {
            self.waiting.withdraw(*id);
        }
    }

    async fn challenge(
        &self,
        operator: &OperatorName,
        origin: &str,
        id: ApprovalId,
        message: &[u8],
    ) -> Result<Challenge> {
        let passkeys = self.signers().await?.passkeys;
        let own = passkeys.iter().filter(|one| one.operator == *operator && one.origin == origin);
        Ok(Challenge { id, options: options(own, origin, message)? })
    }
}

/// What one of these passkeys is asked to sign.
fn options<'a>(
    passkeys: impl Iterator<Item = &'a Passkey>,
    origin: &str,
    message: &[u8],
) -> Result<RequestChallengeResponse> {
    let mut allowed = Vec::new();
    for passkey in passkeys {
        let credential: Credential =
            serde_json::from_str(&passkey.credential).map_err(|error| unreadable(&error))?;
        allowed.push(AllowCredentials {
            type_: "public-key".to_owned(),
            id: credential.cred_id,
            transports: credential.transports,
        });
    }
    if allowed.is_empty() {
        return Err(BrokerError::new(Code::Conflict, format!("you have no passkey at {origin}"))
            .hint("enrol one with `keywright passkey add`, or approve in the terminal: `keywright review`"));
    }
    let url = url::Url::parse(origin).map_err(BrokerError::invalid)?;
    let timeout = u32::try_from(check::PATIENCE.as_millis()).unwrap_or(u32::MAX);
    let public_key = PublicKeyCredentialRequestOptions {
        challenge: challenge(message).to_vec(),
        timeout: Some(timeout),
        rp_id: url.host_str().unwrap_or_default().to_owned(),
        allow_credentials: allowed,
        user_verification: UserVerificationPolicy::Required,
        hints: None,
        extensions: None,
    };
    Ok(RequestChallengeResponse { public_key, mediation: None })
}

/// A counter that went backwards.
pub(crate) fn copied(error: LedgerError) -> BrokerError {
    match error {
        LedgerError::Conflict { what: "passkey" } => BrokerError::new(
            Code::Unauthenticated,
            "the passkey's counter did not go on: there may be a copy of its authenticator, or it was removed meanwhile",
        )
        .hint("if you did not copy it, remove it with `keywright passkey remove` and enrol another one"),
        other => other.into(),
    }
}

fn other_offer() -> BrokerError {
    BrokerError::new(Code::Unauthenticated, "that is not what you were asked to sign; look again")
}

fn unreadable(error: &serde_json::Error) -> BrokerError {
    BrokerError::new(Code::Internal, format!("a passkey's row can't be read: {error}"))
}
