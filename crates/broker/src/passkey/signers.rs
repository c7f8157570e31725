//! Who signed, by the log itself: an operator's key and passkeys are on record from the entry on that added them, so that a signature
//! of another key in the same name is found whenever the log is read.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use keywright_core::audit::{Deed, Principal, Record};
use sha2::{Digest as _, Sha256};

use super::check::{ED25519, WEBAUTHN, signed_as_said};

/// The fact of an operator's entry: their public key, in base64.
pub(crate) const PUBLIC_KEY: &str = "public_key";

/// What the log said so far.
#[derive(Default)]
struct Known {
    /// Each operator's own key.
    keys: HashMap<String, String>,
    /// Passkeys by their id: whose, and the credential.
    passkeys: HashMap<String, (String, String)>,
    /// What was signed so far, each by its digest: every message has an id and a time of its own.
    signed: HashSet<[u8; 32]>,
}

impl Known {
    /// Takes in who signs from here on.
    fn learn(&mut self, record: &Record) -> Result<(), String> {
        let Some(name) = record.subject.name.clone() else { return Ok(()) };
        let fact = |name: &str| record.facts.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        match record.deed {
            Deed::OperatorAdd => {
                if self.keys.contains_key(&name) {
                    let name = keywright_core::text::escaped(&name);
                    return Err(format!("operator `{name}` is added, and was one already"));
                }
                if let Some(key) = fact(PUBLIC_KEY) {
                    self.keys.insert(name, key);
                }
            }
            Deed::OperatorRemove => {
                self.keys.remove(&name);
                self.passkeys.retain(|_, (operator, _)| *operator != name);
            }
            Deed::PasskeyAdd => {
                if let (Some(operator), Some(credential)) = (fact("operator"), fact("credential")) {
                    self.passkeys.insert(name, (operator, credential));
                }
            }
            Deed::PasskeyRemove => drop(self.passkeys.remove(&name)),
            _ => {}
        }
        Ok(())
    }

    /// Whether the signatures are there that an entry has to have, of whom it names, of keys that the log knows, and are not those
    /// of another entry.
    fn knows(&mut self, record: &Record) -> Result<(), String> {
        use base64::Engine as _;
        let is_signed = matches!(record.deed, Deed::ApprovalGive | Deed::GrantAdd | Deed::OperatorTouch);
        match record.signatures.len() {
            0 if is_signed => return Err("nobody signed it".to_owned()),
            0 | 1 => {}
            _ => return Err("more than one person signed it".to_owned()),
        }
        for signature in &record.signatures {
            let by = keywright_core::text::escaped(&signature.by);
            if record.who.kind != Principal::Operator || record.who.name != signature.by {
                let who = keywright_core::text::escaped(&record.who.name);
                return Err(format!("`{by}` signed it, and it is in the name of `{who}`"));
            }
            if !self.signed.insert(Sha256::digest(&signature.over).into()) {
                return Err("what is signed in it was signed in another entry already".to_owned());
            }
            let is_known = match signature.method.as_str() {
                ED25519 => self.keys.get(&signature.by).is_some_and(|key| *key == signature.key),
                WEBAUTHN => {
                    let credential = base64::engine::general_purpose::STANDARD.decode(&signature.key);
                    let credential = credential.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    let is_it = |(operator, known): &(String, String)| {
                        *operator == signature.by && Some(known) == credential.as_ref()
                    };
                    self.passkeys.values().any(is_it)
                }
                _ => true,
            };
            if !is_known {
                return Err(format!("it is signed with a key that is on record as none of `{by}`"));
            }
        }
        Ok(())
    }
}

/// Looks at the entries of a log in their order: what operators signed in each is what it speaks of, verifies, and is of a key that
/// was theirs then. For [`keywright_ledger::audit_files::verify_with`].
pub fn signed_by_whom_it_says() -> impl Fn(&Record) -> Result<(), String> {
    let known = Mutex::new(Known::default());
    move |record| {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = signed_as_said(record).and_then(|()| known.knows(record));
        let learnt = known.learn(record);
        looked.and(learnt)
    }
}
