//! The door: a passkey lets its operator look. What it signs is made anew from the id that comes back with the answer, so that
//! nothing is kept for whoever only knocks, and nobody who knocks a thousand times takes anything from others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use keywright_core::approval::Assertion;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::id::ApprovalId;
use keywright_core::name::OperatorName;
use keywright_core::plan::Principal;
use keywright_core::span::Span;
use keywright_ledger::Passkey;
use keywright_ledger::seal::random;
use sha2::Sha256;
use webauthn_rs_core::proto::Credential;

use super::acts::message;
use super::check::on_record;
use super::offers::{OFFER, gone};
use super::{Challenge, copied, encoded, options, other_offer};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Result};
use crate::record::who;

/// How many bytes of an id say that it was made here: the last ones.
const TAG: usize = 6;

/// What this broker asks passkeys to sign that let somebody in.
pub(crate) struct Entries {
    /// As long as a block of the hash, as RFC 2104 has it.
    key: [u8; 64],
    /// Those that let somebody in, until they would be too old: each is good once.
    used: Mutex<HashMap<ApprovalId, Timestamp>>,
}

impl Entries {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { key: *random::<64>()?, used: Mutex::default() })
    }

    /// An id that only this broker makes, and only for this origin.
    fn make(&self, origin: &str, now: Timestamp) -> Result<ApprovalId> {
        let mut bytes = entropy()?;
        let tag = self.tag(origin, &ApprovalId::generate(now, bytes));
        for (byte, of_tag) in bytes.iter_mut().rev().zip(tag.iter().rev()) {
            *byte = *of_tag;
        }
        Ok(ApprovalId::generate(now, bytes))
    }

    /// Over all of an id but the tag itself, and where it is good.
    fn tag(&self, origin: &str, id: &ApprovalId) -> [u8; TAG] {
        let mut mac = Hmac::<Sha256>::new(&self.key.into());
        let bytes = id.as_bytes();
        mac.update(bytes.split_last_chunk::<TAG>().map_or(&bytes[..], |(before, _)| before));
        mac.update(origin.as_bytes());
        let whole = mac.finalize().into_bytes();
        whole.first_chunk::<TAG>().copied().unwrap_or_default()
    }

    /// When an id was made here for this origin, where it is not too old.
    fn made_at(&self, origin: &str, id: &ApprovalId, now: Timestamp) -> Option<Timestamp> {
        let is_ours = id.as_bytes().ends_with(&self.tag(origin, id));
        id.made_at().filter(|at| is_ours && *at <= now && now < lasts(*at))
    }

    /// Whether this is the first time that an id lets somebody in.
    fn use_up(&self, id: ApprovalId, made_at: Timestamp, now: Timestamp) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, until| now < *until);
        used.insert(id, lasts(made_at)).is_none()
    }
}

fn lasts(made_at: Timestamp) -> Timestamp {
    Span::from_seconds(OFFER.as_secs()).after(made_at)
}

impl Broker {
    /// What a page has signed by whoever wants to look. It names nobody: whose passkey answers is who comes in.
    ///
    /// # Errors
    /// When nobody has a passkey there.
    pub async fn offer_entry(&self, origin: &str) -> Result<Challenge> {
        let id = self.entries.make(origin, self.now())?;
        let message = asks(id, origin, id.made_at().unwrap_or_default());
        let passkeys = self.signers().await?.passkeys;
        let options = options(passkeys.iter().filter(|one| one.origin == origin), origin, &message)?;
        Ok(Challenge { id, options })
    }

    /// Lets an operator look, by what the authenticator answered.
    ///
    /// # Errors
    /// When the answer does not count.
    pub async fn enter_with_passkey(
        &self,
        id: &str,
        origin: &str,
        assertion: &Assertion,
    ) -> Result<OperatorName> {
        let id = ApprovalId::parse(id).map_err(BrokerError::invalid)?;
        let made_at = self.entries.made_at(origin, &id, self.now()).ok_or_else(gone)?;
        let message = asks(id, origin, made_at);
        let signers = self.signers().await?;
        let whose = signers.passkeys.iter().find(|one| is_of(one, &assertion.credential));
        let operator = whose.map(|one| one.operator.clone()).ok_or_else(other_offer)?;
        let (passkey, counter) = signers.with(&operator, assertion, &message)?;
        if passkey.origin != origin {
            return Err(other_offer());
        }
        if !self.entries.use_up(id, made_at, self.now()) {
            return Err(gone());
        }
        let proof = on_record(operator.as_str(), &passkey.credential, origin, &message, assertion);
        let mut record = Record::new(
            self.now(),
            Deed::SessionOpen,
            Stage::Note,
            who(&Principal::Operator(operator.clone())),
        );
        record.facts.insert("at".to_owned(), serde_json::json!(origin));
        record.signatures.push(proof);
        let used = passkey.id;
        let written = self.ledger.write(move |tx| {
            tx.use_passkey(used, counter)?;
            tx.audit(record)
        });
        written.await.map_err(copied)?;
        Ok(operator)
    }
}

/// What is signed by whoever wants to look.
fn asks(id: ApprovalId, origin: &str, made_at: Timestamp) -> Vec<u8> {
    message(id, Deed::SessionOpen, (origin, &serde_json::json!(["enter", ""])), "*", made_at)
}

/// Whether a passkey has this id at its authenticator.
fn is_of(passkey: &Passkey, credential: &str) -> bool {
    serde_json::from_str(&passkey.credential).is_ok_and(|own: Credential| encoded(&own) == credential)
}
