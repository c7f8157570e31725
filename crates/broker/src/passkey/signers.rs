//! Who signed, by the log itself: an operator's key and passkeys are on record from the entry on that added them, so that a signature
//! of another key in the same name is found whenever the log is read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use keywright_core::audit::{Deed, Record};

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
}

impl Known {
    fn learn(&mut self, record: &Record) {
        let Some(name) = record.subject.name.clone() else { return };
        let fact = |name: &str| record.facts.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        match record.deed {
            Deed::OperatorAdd => {
                if let Some(key) = fact(PUBLIC_KEY) {
                    self.keys.insert(name, key);
                }
            }
            Deed::OperatorRemove => {
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
    }

    /// Whether the signatures are of keys that the log knows. An operator from before their key was put on record has none there.
    fn knows(&self, record: &Record) -> Result<(), String> {
        use base64::Engine as _;
        for signature in &record.signatures {
            let is_known = match signature.method.as_str() {
                ED25519 => self.keys.get(&signature.by).is_none_or(|key| *key == signature.key),
                WEBAUTHN => {
                    let credential = base64::engine::general_purpose::STANDARD.decode(&signature.key);
                    let credential = credential.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    let is_it = |(operator, known): &(String, String)| {
                        (*operator == signature.by || signature.by == "*")
                            && Some(known) == credential.as_ref()
                    };
                    self.passkeys.values().any(is_it)
                }
                _ => true,
            };
            if !is_known {
                let by = keywright_core::text::escaped(&signature.by);
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
        known.learn(record);
        looked
    }
}
