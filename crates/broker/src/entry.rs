//! One entry of the audit log as people read it: in words, with what was signed, and whether that checks out.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keywright_core::audit::{Entry, EntryId, SignatureRecord};
use keywright_ledger::{AuditFilter, LedgerError, Passkey};

use crate::blocks::Tone;
use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::passkey::{signed_as_said, verifies};
use crate::timeline::told;

/// An entry, with what can be said about it.
#[derive(Debug, Clone)]
pub struct EntryShown {
    /// The entry.
    pub entry: Entry,
    /// What happened, in our words.
    pub what: String,
    /// What it means.
    pub tone: Tone,
    /// Why, or how it failed, in somebody else's words.
    pub said: Option<String>,
    /// Who signed it, each for themselves.
    pub signatures: Vec<Signing>,
    /// Why the ledger's row is not as this home wrote it.
    pub edited: Option<String>,
    /// Why what was signed is not what the entry speaks of, or does not verify.
    pub unsound: Option<String>,
    /// Its bytes, as they are in the signed log.
    pub raw: String,
}

/// A signature of an entry.
#[derive(Debug, Clone)]
pub struct Signing {
    /// Who signed, as it says.
    pub by: String,
    /// How: `a passkey`, `a signing key`.
    pub with: String,
    /// What its owner calls the passkey, where it still counts.
    pub passkey: Option<String>,
    /// The origin of the page.
    pub origin: Option<String>,
    /// Whether the authenticator verified the person: a PIN, a fingerprint, a face.
    pub is_verified: Option<bool>,
    /// How often the authenticator says that it had signed.
    pub counter: Option<u32>,
    /// How many requests the one touch was for.
    pub together: usize,
    /// What was signed, word for word.
    pub text: String,
    /// Why it does not verify with the key beside it.
    pub wrong: Option<String>,
}

impl Broker {
    /// One entry of the log.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn entry(&self, id: EntryId) -> Result<EntryShown> {
        let filter = AuditFilter { from: id.0, limit: 1, ..AuditFilter::default() };
        let read = self.ledger.read(move |tx| {
            let found = tx.audit_entries(&filter)?.into_iter().next().filter(|one| one.number == id.0);
            Ok::<_, LedgerError>(found.map(|one| {
                let edited = tx.check_entry(&one).err().map(|error| error.to_string());
                (one, edited)
            }))
        });
        let Some((stored, edited)) = read.await? else {
            return Err(BrokerError::missing(format!("the log has no entry `{id}`"))
                .hint("the newest are on the page of the audit log"));
        };
        let entry = stored.entry().map_err(BrokerError::from)?;
        let passkeys = self.all_passkeys().await?;
        let record = entry.record();
        let (what, tone) = told(&entry);
        Ok(EntryShown {
            said: crate::timeline::said(record),
            signatures: record.signatures.iter().map(|one| signing(one, &passkeys)).collect(),
            unsound: signed_as_said(record).err(),
            raw: String::from_utf8_lossy(&stored.leaf).into_owned(),
            what,
            tone,
            edited,
            entry,
        })
    }

    /// What the owner of a passkey calls it with which something was signed, where it still counts.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn passkey_names(&self, signatures: &[SignatureRecord]) -> Result<Vec<Option<String>>> {
        let passkeys = self.all_passkeys().await?;
        Ok(signatures.iter().map(|one| named(one, &passkeys)).collect())
    }

    async fn all_passkeys(&self) -> Result<Vec<Passkey>> {
        let keyring = std::sync::Arc::clone(&self.keyring);
        let found = self.ledger.read(move |tx| tx.passkeys(&keyring)).await?;
        Ok(self.rails.counting(found))
    }
}

/// The name of the passkey beside a signature.
fn named(signature: &SignatureRecord, passkeys: &[Passkey]) -> Option<String> {
    let credential = STANDARD.decode(&signature.key).ok()?;
    let known = passkeys.iter().find(|one| one.credential.as_bytes() == credential.as_slice())?;
    Some(known.label.clone())
}

fn signing(signature: &SignatureRecord, passkeys: &[Passkey]) -> Signing {
    // Authenticator data: 32 bytes of the relying party's hash, a byte of flags, four of the counter (WebAuthn Level 3, section 6.1).
    let data = signature.with.get("authenticator_data");
    let data = data.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
    let counter = data.get(33..37).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let is_passkey = signature.method == "webauthn";
    let text = STANDARD.decode(&signature.over).unwrap_or_default();
    Signing {
        by: signature.by.clone(),
        with: match signature.method.as_str() {
            "webauthn" => "a passkey".to_owned(),
            "ed25519" => "their signing key, unlocked by the passphrase".to_owned(),
            other => other.to_owned(),
        },
        passkey: named(signature, passkeys).filter(|_| is_passkey),
        origin: signature.with.get("origin").cloned(),
        is_verified: data.get(32).filter(|_| is_passkey).map(|flags| flags & 0b100 != 0),
        counter: counter.filter(|_| is_passkey),
        together: signature.with.get("together").map_or(0, |all| all.split(' ').count()),
        text: String::from_utf8_lossy(&text).into_owned(),
        wrong: verifies(signature).err(),
    }
}
