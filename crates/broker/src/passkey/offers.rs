//! What waits for a touch: links to enrol with, and deeds that a page is about to have signed. In memory only: each is good for
//! minutes, and once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use keywright_core::approval::Approval;
use keywright_core::id::{ApprovalId, PasskeyId};
use keywright_core::name::OperatorName;
use keywright_core::standing::StandingGrant;
use sha2::{Digest as _, Sha256};
use webauthn_rs_core::proto::RegistrationState;

use super::PasskeyShown;
use super::acts::Acting;
use super::enrol::{Counts, Held};
use crate::approve::Less;
use crate::error::{BrokerError, Code, Result};

/// How long a link to enrol with is good.
pub(crate) const LINK: Duration = Duration::from_secs(300);
/// How long a deed that was offered may be signed.
pub(crate) const OFFER: Duration = Duration::from_secs(300);
/// How long it is known of a code what was made with it.
const USED: Duration = Duration::from_secs(3_600);
/// More than this wait at no time; the oldest go first. The pages let each session have fewer ([`EACH_SESSION`]), so that one crowds out
/// nobody else.
const AT_MOST: usize = 4_096;

/// So many offers a session of the pages may have at a time.
pub const EACH_SESSION: usize = 32;

/// A link to enrol with.
pub(crate) struct Invitation {
    pub(crate) operator: OperatorName,
    pub(crate) label: String,
    pub(crate) counts: Counts,
    /// What the page was given to have made, and where.
    pub(crate) begun: Option<(String, RegistrationState)>,
}

/// A deed as it will be signed.
pub(crate) enum Offer {
    /// An approval, all but its signature, and what is cut off before.
    Approve(Box<Approval>, Less),
    /// Several approvals, all but their signatures, by one touch.
    Together(Vec<Approval>),
    /// A standing grant, all but its signature.
    Grant(Box<StandingGrant>),
    /// Another deed.
    Act(Box<Acting>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    invitations: Mutex<HashMap<[u8; 32], (Invitation, Instant)>>,
    offers: Mutex<HashMap<ApprovalId, (Offer, Instant)>>,
    held: Mutex<HashMap<PasskeyId, (Held, Instant)>>,
    /// What was made with which code.
    used: Mutex<HashMap<[u8; 32], (PasskeyId, Instant)>>,
}

impl Waiting {
    pub(crate) fn invite(&self, word: &str, invitation: Invitation) {
        insert(&self.invitations, hash(word), invitation, LINK);
    }

    /// Whose link it is; it stays good.
    pub(crate) fn invited(&self, word: &str) -> Result<(OperatorName, String)> {
        let all = self.invitations.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(&hash(word)).filter(|(_, since)| since.elapsed() < LINK);
        let (invitation, _) = found.ok_or_else(no_link)?;
        Ok((invitation.operator.clone(), invitation.label.clone()))
    }

    /// Remembers what the page was given.
    pub(crate) fn begin(&self, word: &str, origin: &str, state: RegistrationState) -> Result<()> {
        let mut all = self.invitations.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get_mut(&hash(word)).filter(|(_, since)| since.elapsed() < LINK);
        let (invitation, _) = found.ok_or_else(no_link)?;
        invitation.begun = Some((origin.to_owned(), state));
        Ok(())
    }

    /// Ends every link of an operator.
    pub(crate) fn forget(&self, operator: &OperatorName) {
        let mut all = self.invitations.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (invitation, _)| invitation.operator != *operator);
    }

    /// Takes the link, whatever comes of it.
    pub(crate) fn end(&self, word: &str) -> Result<Invitation> {
        take(&self.invitations, &hash(word), LINK).ok_or_else(no_link)
    }

    /// This was made with a code.
    pub(super) fn used(&self, word: &str, id: PasskeyId) {
        insert(&self.used, hash(word), id, USED);
    }

    /// What was made with a code, as far as that is known.
    pub(super) fn made_with(&self, word: &str) -> Option<PasskeyId> {
        let all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&hash(word)).filter(|(_, since)| since.elapsed() < USED).map(|(id, _)| *id)
    }

    /// Keeps what was made with a code until its operator said whether it is theirs.
    pub(super) fn hold(&self, held: Held) {
        insert(&self.held, held.shown.id, held, LINK);
    }

    /// What is held, in the order in which it was made.
    pub(super) fn held(&self) -> Vec<PasskeyShown> {
        let all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting = all.values().filter(|(_, since)| since.elapsed() < LINK);
        let mut shown: Vec<_> = lasting.map(|(one, _)| one.shown.clone()).collect();
        shown.sort_by_key(|one| one.id);
        shown
    }

    /// Takes what is held for this operator.
    pub(super) fn kept(&self, id: PasskeyId, operator: &OperatorName) -> Option<Held> {
        let is_theirs = self.held().iter().any(|one| one.id == id && one.operator == *operator);
        if is_theirs { self.let_go(id) } else { None }
    }

    /// Takes what is held, whoever it is for.
    pub(super) fn let_go(&self, id: PasskeyId) -> Option<Held> {
        take(&self.held, &id, LINK)
    }

    pub(crate) fn offer(&self, id: ApprovalId, offer: Offer) {
        insert(&self.offers, id, offer, OFFER);
    }

    /// Lets an offer go that was crowded out.
    pub(crate) fn withdraw(&self, id: ApprovalId) {
        drop(take(&self.offers, &id, OFFER));
    }

    /// Whether an approval was offered under this id.
    pub(crate) fn is_approval(&self, id: ApprovalId) -> bool {
        let all = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(all.get(&id), Some((Offer::Approve(..), _)))
    }

    /// Whether several approvals were.
    pub(crate) fn is_batch(&self, id: ApprovalId) -> bool {
        let all = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(all.get(&id), Some((Offer::Together(_), _)))
    }

    /// Whether a standing grant was.
    pub(crate) fn is_grant(&self, id: ApprovalId) -> bool {
        let all = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(all.get(&id), Some((Offer::Grant(_), _)))
    }

    /// Takes an offer, whatever comes of it: no answer is tried twice.
    pub(crate) fn taken(&self, id: ApprovalId) -> Result<Offer> {
        take(&self.offers, &id, OFFER).ok_or_else(gone)
    }
}

fn insert<K: std::hash::Hash + Eq + Copy, V>(
    all: &Mutex<HashMap<K, (V, Instant)>>,
    key: K,
    value: V,
    lasts: Duration,
) {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, (_, since)| since.elapsed() < lasts);
    while all.len() >= AT_MOST {
        let Some(oldest) = all.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| *key) else {
            break;
        };
        all.remove(&oldest);
    }
    all.insert(key, (value, Instant::now()));
}

fn take<K: std::hash::Hash + Eq, V>(
    all: &Mutex<HashMap<K, (V, Instant)>>,
    key: &K,
    lasts: Duration,
) -> Option<V> {
    let taken = all.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    taken.filter(|(_, since)| since.elapsed() < lasts).map(|(value, _)| value)
}

fn hash(word: &str) -> [u8; 32] {
    // As people type it.
    let plain: String =
        word.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    Sha256::digest(plain.as_bytes()).into()
}

pub(super) fn gone() -> BrokerError {
    BrokerError::new(Code::Conflict, "this was signed already, or too long ago; look again")
        .hint("load the page once more, and do it there")
}

fn no_link() -> BrokerError {
    BrokerError::new(
        Code::Unauthenticated,
        "this code is not good: it is another one, was used, or is older than five minutes",
    )
    .hint(
        "have another one made: `keywright passkey add`; if it was used and that was not you, remove what was made with it: \
         `keywright passkey list`",
    )
}
