//! Masking: the secrets of this home, wherever somebody pasted one.
//!
//! An agent that found a secret somewhere may put it into any field of a call. Free text is scrubbed before it is kept;
//! but a name is quoted in errors, shown in receipts, kept for good, and sent to a provider. So the doors mask a call as a
//! whole before anything is done with it.
//!
//! What it can't mask: a passphrase, which nobody here knows until it is typed; and a key that lies in another store only,
//! once it is encoded or has other letters right beside it.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use keywright_core::redact::{MASK, Redactor};
use keywright_core::secret::Secret;
use keywright_ledger::StoredEntry;
use keywright_ledger::seal::Keyring;

use crate::broker::Broker;
use crate::error::Result;

/// How many keys are known by their fingerprint, the newest ones.
const MADE_AT_MOST: u32 = 20_000;
/// How long the value of a key can be, in bytes. A shorter one is not told from a word.
const VALUE: std::ops::RangeInclusive<usize> = 16..=512;
/// How many runs of a text, and how many parts of a run, are compared with fingerprints.
const RUNS: usize = 10_000;
const PARTS: usize = 64;

/// What the log calls the fingerprint of a key that was made.
pub(crate) const FINGERPRINT: &str = "fingerprint";

/// The keys that are known by the fingerprint of their value. It is there as soon as the log is listened to: what another broker
/// makes while this one reads the rest is not missed.
#[derive(Default)]
pub(crate) struct Made(RwLock<HashSet<String>>);

impl Made {
    /// Takes in what an entry of another broker's tells.
    pub(crate) fn follow(&self, entry: &StoredEntry) {
        // Most entries are about something else, and not worth being read.
        if !entry.leaf.windows(FINGERPRINT.len()).any(|part| part == FINGERPRINT.as_bytes()) {
            return;
        }
        match entry.entry() {
            Ok(entry) => {
                let print = entry.record().facts.get(FINGERPRINT).and_then(serde_json::Value::as_str);
                self.extend(print.map(str::to_owned));
            }
            Err(error) => tracing::error!(%error, "an entry of the audit log is not believed"),
        }
    }

    fn extend(&self, prints: impl IntoIterator<Item = String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(prints);
    }
}

/// What a home knows its secrets by: those that it keeps by their value, in every encoding; and every key that it made, by
/// the fingerprint of its value, because one that lies in another store is not kept.
pub(crate) struct Known {
    kept: RwLock<Redactor>,
    made: Arc<Made>,
    keyring: Arc<Keyring>,
}

impl Known {
    pub(crate) fn new(kept: Redactor, made: Arc<Made>, keyring: Arc<Keyring>) -> Self {
        Self { kept: RwLock::new(kept), made, keyring }
    }

    /// Knows one more secret from now on.
    pub(crate) fn add(&self, secret: &Secret) {
        self.kept.write().unwrap_or_else(PoisonError::into_inner).add(secret);
        self.made.extend([self.keyring.fingerprint(secret).to_hex()]);
    }

    /// The text without secrets.
    pub(crate) fn clean(&self, text: &str) -> String {
        let text = self.kept.read().unwrap_or_else(PoisonError::into_inner).clean(text);
        let made = self.made.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut clean = String::with_capacity(text.len());
        let mut is_escaped = false;
        for (number, piece) in text.split_inclusive(|c: char| !is_token(c)).enumerate() {
            let run = piece.trim_end_matches(|c: char| !is_token(c));
            let found = if number < RUNS { self.within(&made, run, is_escaped) } else { None };
            match found {
                Some((before, after)) => clean.extend([before, MASK, after]),
                None => clean.push_str(run),
            }
            clean.push_str(piece.get(run.len()..).unwrap_or_default());
            is_escaped = piece.ends_with('\\');
        }
        clean
    }

    /// What stands before and after the value of a key in a run: `CF_TOKEN=` and a full stop, say.
    fn within<'t>(
        &self,
        made: &HashSet<String>,
        run: &'t str,
        is_escaped: bool,
    ) -> Option<(&'t str, &'t str)> {
        parts(run, is_escaped).into_iter().find_map(|(from, to)| {
            let secret = Secret::new(run.get(from..to)?.to_owned());
            let is_ours = made.contains(&self.keyring.fingerprint(&secret).to_hex());
            is_ours.then_some((run.get(..from)?, run.get(to..)?))
        })
    }
}

/// Masks every secret that this home knows, and tokens of ours by their form.
pub struct Mask {
    known: Arc<Known>,
    own: Redactor,
}

impl Mask {
    /// The text without secrets. A name that held one is no name any more, which is what refuses it.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        keywright_hygiene::scrub_tokens(&self.own.clean(&self.known.clean(text)))
    }
}

impl Broker {
    /// The mask for one call. The broker keeps no token, so the caller's own is known by its value for this call only.
    ///
    /// # Errors
    /// When the secrets that the home knows, or what other brokers made until now, can't be read.
    pub async fn mask(&self, token: &Secret) -> Result<Mask> {
        self.ledger.catch_up().await?;
        Ok(Mask { known: Arc::clone(self.known().await?), own: Redactor::new([token]) })
    }

    pub(crate) async fn gather_known(&self) -> Result<Known> {
        let kept = self.outside.known_secrets().await?;
        let made = self.ledger.scan(|tx| tx.fingerprints(MADE_AT_MOST)).await?;
        self.made.extend(made);
        Ok(Known::new(kept, Arc::clone(&self.made), Arc::clone(&self.keyring)))
    }
}

/// The characters of keys. Those that also join a key to other words are the joints.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || is_joint(c)
}

fn is_joint(c: char) -> bool {
    matches!(c, '+' | '/' | '=' | '.' | '~')
}

/// The parts of a run that begin and end at a joint and could be a key, the longest first. After a backslash the run
/// begins with the rest of an escape, as in `\nKEY`, `\x0aKEY` and `\u000aKEY`.
fn parts(run: &str, is_escaped: bool) -> Vec<(usize, usize)> {
    if run.len() < *VALUE.start() {
        return Vec::new();
    }
    let joints: Vec<usize> = run.match_indices(is_joint).map(|(at, _)| at).take(PARTS).collect();
    let escapes: &[usize] = if is_escaped { &[1, 3, 5, 9] } else { &[] };
    let starts = escapes.iter().copied().chain([0]).chain(joints.iter().map(|at| at + 1));
    let ends: Vec<usize> = joints.iter().copied().chain([run.len()]).collect();
    let mut parts: Vec<(usize, usize)> = starts
        .flat_map(|from| ends.iter().map(move |to| (from, *to)))
        .filter(|(from, to)| to > from && VALUE.contains(&(to - from)))
        .collect();
    parts.sort_by_key(|(from, to)| std::cmp::Reverse(to - from));
    parts.truncate(PARTS);
    parts
}

#[cfg(test)]
mod tests {
    use keywright_ledger::seal::MasterKey;

    use super::*;

    fn known(made: &[&str]) -> Known {
        let keyring = Arc::new(MasterKey::generate().unwrap().keyring([7; 16]));
        let print = |value: &&str| keyring.fingerprint(&Secret::new((*value).to_owned())).to_hex();
        let known = Arc::new(Made::default());
        known.extend(made.iter().map(print));
        Known::new(Redactor::default(), known, keyring)
    }

    #[test]
    fn a_key_that_is_kept_nowhere_is_known_by_its_fingerprint() {
        let plain = "Zq3x_9Kd-7Lm2Pw5Rt8Yv1Bn4Cf6Gh0Jk-Sa_EuI";
        let joined = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE==";
        let known = known(&[plain, joined]);
        for value in [plain, joined] {
            for (before, after) in [
                ("", ""),
                ("use ", ", please"),
                ("CF_TOKEN=", ""),
                ("\"", "\""),
                ("see ", "."),
                ("https://x/", "/y"),
                ("ключ:", "\u{202e}"),
                ("{\\n", "\\n}"),
                ("\\u0000", "\\u0000"),
            ] {
                let clean = known.clean(&format!("{before}{value}{after}"));
                assert_eq!(clean, format!("{before}{MASK}{after}"));
            }
        }
    }

    #[test]
    fn what_is_no_key_stays_as_it_is() {
        let known = known(&["Zq3x_9Kd-7Lm2Pw5Rt8Yv1Bn4Cf6Gh0Jk-Sa_EuI"]);
        for text in [
            "",
            "add a TXT record",
            "zone 023e105f4ecef8ad9ca31a8372d0c353",
            "a/b/c=d.e~f".repeat(50).as_str(),
            "é…\n",
        ] {
            assert_eq!(known.clean(text), text);
        }
    }
}
