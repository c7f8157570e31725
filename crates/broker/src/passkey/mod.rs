//! Passkeys: what an operator approves with in a browser. Enrolled by the passphrase, or by another passkey of theirs; an agent
//! has neither. What is signed is the message of one approval, or of one other deed, so an answer is good for nothing else.

mod acts;
mod batch;
mod check;
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
    AllowCredentials, AttestationConveyancePreference, CreationChallengeResponse, Credential,
    PublicKeyCredentialRequestOptions, RegisterPublicKeyCredential, RequestChallengeResponse,
    UserVerificationPolicy,
};

pub use acts::{Act, Done, OnKey};
pub(crate) use check::{ED25519, on_record};
pub use check::{signed_as_said, verifies};
pub(crate) use offers::Waiting;
use offers::{Invitation, Offer};
pub(crate) use signers::PUBLIC_KEY;
pub use signers::signed_by_whom_it_says;
pub use standing::{Like, Likes};

use crate::admin::vouched;
use crate::approve::{Given, Less, one};
use crate::auth::{Proven, new_code};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{PASSKEY, Rails, known_as};

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
    /// A word with which an operator's browser may enrol one passkey, within five minutes.
    ///
    /// # Errors
    /// When the operator came with a session only, or has too many.
    pub async fn invite_passkey(&self, operator: &Proven, label: &str) -> Result<String> {
        operator.deciding()?;
        self.refuse_if_forked()?;
        let label = label.trim();
        let is_plain =
            !label.is_empty() && label.chars().count() <= LABEL && label.chars().all(|c| !c.is_control());
        if !is_plain || keywright_core::text::escaped(label) != label {
            return Err(BrokerError::invalid(format!("a passkey's name has 1 to {LABEL} plain characters")));
        }
        let mine = self.passkeys().await?.into_iter().filter(|one| one.operator == *operator.name()).count();
        if mine >= EACH {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("you have {mine} passkeys, which is the most"),
            )
            .hint("remove one first: `keywright passkey list`"));
        }
        let word = new_code()?;
        let invitation =
            Invitation { operator: operator.name().clone(), label: label.to_owned(), begun: None };
        self.waiting.invite(&word, invitation);
        Ok(word)
    }

    /// What a page at an origin has an authenticator make, for somebody with a word.
    ///
    /// # Errors
    /// When the word is not good, or browsers have no passkeys there.
    pub async fn begin_passkey(&self, word: &str, origin: &str) -> Result<CreationChallengeResponse> {
        let (operator, label) = self.waiting.invited(word)?;
        let party = check::party(origin).map_err(|why| BrokerError::new(Code::Conflict, why))?;
        let mut known = Vec::new();
        for passkey in self.signers().await?.passkeys {
            if passkey.operator == operator && passkey.origin == origin {
                let credential: Credential =
                    serde_json::from_str(&passkey.credential).map_err(|error| unreadable(&error))?;
                known.push(credential.cred_id);
            }
        }
        // An authenticator keeps one passkey for a handle at a host, and other homes are at the same host.
        let handle = keywright_ledger::seal::random::<32>()?;
        let shown = format!("{operator} ({label})");
        let builder = party
            .new_challenge_register_builder(handle.as_slice(), operator.as_str(), &shown)
            .map_err(|error| BrokerError::invalid(error.to_string()))?
            .attestation(AttestationConveyancePreference::None)
            .user_verification_policy(UserVerificationPolicy::Required)
            .exclude_credentials(Some(known));
        let (options, state) = party
            .generate_challenge_register(builder)
            .map_err(|error| BrokerError::new(Code::Internal, error.to_string()))?;
        self.waiting.begin(word, origin, state)?;
        Ok(options)
    }

    /// Enrols what the authenticator made. The word is used up, whatever comes of it.
    ///
    /// # Errors
    /// When the word is not good, or the answer is not one to what was asked.
    pub async fn add_passkey(
        &self,
        word: &str,
        origin: &str,
        answer: &RegisterPublicKeyCredential,
    ) -> Result<PasskeyShown> {
        self.refuse_if_forked()?;
        let invitation = self.waiting.end(word)?;
        let (_, state) = invitation.begun.filter(|(begun_at, _)| begun_at == origin).ok_or_else(|| {
            BrokerError::new(Code::Conflict, "nothing was begun with this link at this page")
        })?;
        let party = check::party(origin).map_err(|why| BrokerError::new(Code::Conflict, why))?;
        let made = party.register_credential(answer, &state, None).map_err(|error| {
            BrokerError::new(Code::Unauthenticated, format!("the passkey was not enrolled: {error}"))
                .hint("have another link made: `keywright passkey add`")
        })?;
        if !made.user_verified {
            return Err(BrokerError::new(
                Code::Unauthenticated,
                "the authenticator did not verify who touched it; use one with a PIN, a fingerprint or a face",
            ));
        }
        let credential = serde_json::to_string(&made).map_err(|error| unreadable(&error))?;
        let id = PasskeyId::generate(self.now(), entropy()?);
        let (operator, label) = (invitation.operator, invitation.label);
        let shown = PasskeyShown {
            id,
            operator: operator.clone(),
            name: label.clone(),
            fingerprint: fingerprint(&credential),
            origin: origin.to_owned(),
            added_at: self.now(),
            used_at: None,
        };
        let (keyring, rails) = (Arc::clone(&self.keyring), Arc::clone(&self.rails));
        let who = crate::record::who(&keywright_core::plan::Principal::Operator(operator.clone()));
        let origin = origin.to_owned();
        let written = self.ledger.write(move |tx| {
            // Whoever was removed since the link was made enrols nothing.
            tx.operator(&operator, &keyring)?;
            let mac = tx.add_passkey(id, &operator, &label, &origin, &credential, &keyring)?.to_string();
            rails.coming(&known_as(PASSKEY, &id.to_string()), &mac);
            let mut record = vouched(tx.now(), Deed::PasskeyAdd, who, &id.to_string(), &mac);
            for (name, value) in [("operator", operator.as_str()), ("label", &label), ("origin", &origin)] {
                record.facts.insert(name.to_owned(), serde_json::json!(value));
            }
            record.facts.insert("credential".to_owned(), serde_json::json!(credential));
            tx.audit(record)
        });
        written.await?;
        Ok(shown)
    }

    /// As [`Broker::add_passkey`], with the answer as a browser sends it (WebAuthn Level 3, section 5.1,
    /// `RegistrationResponseJSON`).
    ///
    /// # Errors
    /// As there, and when it is no such answer.
    pub async fn add_passkey_as_sent(
        &self,
        word: &str,
        origin: &str,
        answer: serde_json::Value,
    ) -> Result<PasskeyShown> {
        let answer: RegisterPublicKeyCredential = serde_json::from_value(answer)
            .map_err(|_| BrokerError::invalid("that is not what an authenticator makes"))?;
        self.add_passkey(word, origin, &answer).await
    }

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

    /// Removes a passkey. What was approved with it, and not used yet, counts no more.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn remove_passkey(&self, operator: &Proven, id: &str) -> Result<PasskeyId> {
        operator.deciding()?;
        let id = PasskeyId::parse(id).map_err(BrokerError::invalid)?;
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
