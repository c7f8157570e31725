//! How a passkey comes to be: with a code that an operator's terminal or page tells, and that is typed where the authenticator is.
//!
//! Whoever reads a code first can use it first. A terminal therefore has what is made held here until its operator says that their
//! browser shows the same fingerprint: what is held approves nothing, is on record, and is gone after five minutes or with the broker.

use std::sync::Arc;

use keywright_core::audit::{Deed, Record, Who};
use keywright_core::id::PasskeyId;
use serde::{Deserialize, Serialize};
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, CreationChallengeResponse, Credential, RegisterPublicKeyCredential,
    UserVerificationPolicy,
};

use super::offers::Invitation;
use super::{EACH, LABEL, PasskeyShown, check, fingerprint, unreadable};
use crate::admin::{named, vouched};
use crate::auth::{Proven, new_code};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::rails::{PASSKEY, known_as};

/// From when on a passkey counts that is made with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Once it is made.
    #[default]
    AtOnce,
    /// Once its operator said that it is the one that their browser shows.
    Compared,
}

/// A passkey that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolled {
    /// What was made.
    pub passkey: PasskeyShown,
    /// Whether it counts only once its operator said that it is theirs.
    pub held: bool,
}

/// A passkey that does not count yet.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) shown: PasskeyShown,
    credential: String,
}

impl Broker {
    /// A word with which an operator's browser may make one passkey, within five minutes, and from when on that counts.
    ///
    /// # Errors
    /// When the operator came with a session only, or has too many.
    pub async fn invite_passkey(&self, operator: &Proven, label: &str, counts: Counts) -> Result<String> {
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
        let (operator, label) = (operator.name().clone(), label.to_owned());
        let invitation = Invitation { operator, label, counts, begun: None };
        self.waiting.invite(&word, invitation);
        Ok(word)
    }

    /// What a page at an origin has an authenticator make, for somebody with a word.
    ///
    /// # Errors
    /// When the word is not good, or browsers have no passkeys there.
    pub async fn begin_passkey(&self, word: &str, origin: &str) -> Result<CreationChallengeResponse> {
        let (operator, label) = match self.waiting.invited(word) {
            Ok(invited) => invited,
            Err(error) => return Err(self.why_not_good(word, error).await),
        };
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

    /// Enrols what the authenticator made, or holds it for its operator's word. The code is used up, whatever comes of it.
    ///
    /// # Errors
    /// When the code is not good, or the answer is not one to what was asked.
    pub async fn add_passkey(
        &self,
        word: &str,
        origin: &str,
        answer: &RegisterPublicKeyCredential,
    ) -> Result<Enrolled> {
        self.refuse_if_forked()?;
        let invitation = match self.waiting.end(word) {
            Ok(invitation) => invitation,
            Err(error) => return Err(self.why_not_good(word, error).await),
        };
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
        let shown = PasskeyShown {
            id: PasskeyId::generate(self.now(), entropy()?),
            operator: invitation.operator,
            name: invitation.label,
            fingerprint: fingerprint(&credential),
            origin: origin.to_owned(),
            added_at: self.now(),
            used_at: None,
        };
        let one = Held { shown: shown.clone(), credential };
        let held = invitation.counts == Counts::Compared;
        if held {
            // Nobody holds it without a trace.
            let record = told(self.now(), Deed::PasskeyHold, crate::record::system(), &shown);
            self.ledger.write(move |tx| tx.audit(record)).await?;
            self.waiting.hold(one);
        } else {
            self.enrol(one).await?;
        }
        self.waiting.used(word, shown.id);
        Ok(Enrolled { passkey: shown, held })
    }

    /// Why a code is not good, for whoever typed it: what was made with it, where that is known, and whether it approves.
    async fn why_not_good(&self, word: &str, unknown: BrokerError) -> BrokerError {
        let Some(id) = self.waiting.made_with(word) else { return unknown };
        let Ok(passkeys) = self.passkeys().await else { return unknown };
        let is_it = |one: &PasskeyShown| one.id == id;
        let (what, hint) = if self.waiting.held().iter().any(is_it) {
            let no = "answer no where you had the code made, or say";
            (
                "what was made with it is held: nobody can approve with it yet",
                format!("if you did not make it, {no} `keywright passkey remove {id}`"),
            )
        } else if passkeys.iter().any(is_it) {
            let now = "somebody else can approve as you now";
            (
                "the passkey that was made with it counts",
                format!("if you did not make it, {now}: `keywright passkey remove {id}`"),
            )
        } else {
            let another = "have another one made: `keywright passkey add`".to_owned();
            ("what was made with it is there no more: nobody can approve with it", another)
        };
        let message = format!("this code is not good: it was used, and {what}");
        BrokerError::new(Code::Unauthenticated, message).hint(hint)
    }

    /// From here on it counts.
    async fn enrol(&self, Held { shown, credential }: Held) -> Result<()> {
        let (keyring, rails) = (Arc::clone(&self.keyring), Arc::clone(&self.rails));
        let who = crate::record::who(&keywright_core::plan::Principal::Operator(shown.operator.clone()));
        let written = self.ledger.write(move |tx| {
            // Whoever was removed since the link was made enrols nothing.
            tx.operator(&shown.operator, &keyring)?;
            let PasskeyShown { id, operator, name, origin, .. } = &shown;
            let mac = tx.add_passkey(*id, operator, name, origin, &credential, &keyring)?.to_string();
            rails.coming(&known_as(PASSKEY, &id.to_string()), &mac);
            let mut record = vouched(tx.now(), Deed::PasskeyAdd, who, &id.to_string(), &mac);
            for (fact, value) in [
                ("operator", operator.as_str()),
                ("label", name),
                ("origin", origin),
                ("credential", &credential),
            ] {
                record.facts.insert(fact.to_owned(), serde_json::json!(value));
            }
            tx.audit(record)
        });
        written.await?;
        Ok(())
    }

    /// The passkeys that wait for the word of whoever had their codes made.
    #[must_use]
    pub fn held_passkeys(&self) -> Vec<PasskeyShown> {
        self.waiting.held()
    }

    /// Whoever had the code made says that what was made with it is theirs: it counts.
    ///
    /// # Errors
    /// When nothing of theirs is held under this id (any more).
    pub async fn keep_passkey(&self, operator: &Proven, id: &str) -> Result<PasskeyShown> {
        operator.deciding()?;
        self.refuse_if_forked()?;
        let id = PasskeyId::parse(id).map_err(BrokerError::invalid)?;
        let held = self.waiting.kept(id, operator.name()).ok_or_else(|| {
            BrokerError::new(Code::NotFound, format!("no passkey `{id}` waits for your word (any more)"))
                .hint("make one: `keywright passkey add`")
        })?;
        let shown = held.shown.clone();
        self.enrol(held).await?;
        Ok(shown)
    }

    /// It is not: what was held is let go, and on record. Nothing where none is held under this id.
    pub(super) async fn refuse_held(&self, id: PasskeyId, who: &Who) -> Result<Option<PasskeyId>> {
        let Some(held) = self.waiting.let_go(id) else { return Ok(None) };
        self.waiting.forget(&held.shown.operator);
        let record = told(self.now(), Deed::PasskeyRefuse, who.clone(), &held.shown);
        self.ledger.write(move |tx| tx.audit(record)).await?;
        Ok(Some(id))
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
    ) -> Result<Enrolled> {
        let answer: RegisterPublicKeyCredential = serde_json::from_value(answer)
            .map_err(|_| BrokerError::invalid("that is not what an authenticator makes"))?;
        self.add_passkey(word, origin, &answer).await
    }
}

/// An entry about what was made with a code, and does not count.
fn told(now: jiff::Timestamp, deed: Deed, who: Who, shown: &PasskeyShown) -> Record {
    let PasskeyShown { id, operator, name, origin, fingerprint, .. } = shown;
    let mut record = named(now, deed, who, &id.to_string());
    for (fact, value) in
        [("operator", operator.as_str()), ("label", name), ("origin", origin), ("fingerprint", fingerprint)]
    {
        record.facts.insert(fact.to_owned(), serde_json::json!(value));
    }
    record
}
