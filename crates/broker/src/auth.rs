//! Who calls. Operators prove themselves with their passphrase, or by a short session for everyday verbs;
//! agents and workloads with their token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use keywright_core::audit::{Deed, Record, SignatureRecord, Stage};
use keywright_core::name::OperatorName;
use keywright_core::plan::Principal;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_ledger::seal::random;
use keywright_ledger::{Agent, LedgerError, Workload};
use tokio::sync::Semaphore;

use crate::broker::{Broker, unlock};
use crate::error::{BrokerError, Code, Result};
use crate::record::{Caller, who};

/// An operator who just proved who they are. Only this module makes one.
pub struct Proven {
    name: OperatorName,
    signing: Option<SigningKey>,
    /// A passkey's signature of the one deed that they are let in for.
    assertion: Option<SignatureRecord>,
}

impl Proven {
    /// Who it is.
    #[must_use]
    pub fn name(&self) -> &OperatorName {
        &self.name
    }

    /// The operator as the one who acts.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::plain(Principal::Operator(self.name.clone()))
    }

    /// An operator whose passkey signed the one deed that is about to be done.
    pub(crate) fn by_assertion(name: OperatorName, assertion: SignatureRecord) -> Self {
        Self { name, signing: None, assertion: Some(assertion) }
    }

    /// For what turns something down: the passphrase, or a passkey that signed exactly this. Gives that signature.
    ///
    /// # Errors
    /// When the operator came with a session only.
    pub(crate) fn deciding(&self) -> Result<Option<SignatureRecord>> {
        match &self.assertion {
            Some(assertion) => Ok(Some(assertion.clone())),
            None => self.signing().map(|_| None),
        }
    }

    /// The signing key, which only a passphrase opens. Whatever changes the guard rails needs it.
    ///
    /// # Errors
    /// When the operator came with a session only.
    pub fn signing(&self) -> Result<&SigningKey> {
        self.signing.as_ref().ok_or_else(|| {
            BrokerError::new(Code::Unauthenticated, "this needs your passphrase; a session is not enough")
                .hint("type it at the prompt, or name a file with --passphrase-file")
        })
    }
}

/// Where a call comes from, as the kernel says: a session is good for one terminal session only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Terminal {
    /// The peer's user id.
    pub uid: u32,
    /// The peer's session id (the process id of its terminal session's leader).
    pub session: u32,
    /// When that leader began, in the kernel's ticks: process ids come again.
    pub began: u64,
}

/// Operator sessions: in memory, short, bound to a terminal session.
pub(crate) struct Sessions {
    open: Mutex<HashMap<Terminal, (OperatorName, Timestamp, Instant)>>,
    /// Stretching a passphrase takes 64 MiB; a crowd of guesses must not take it all.
    stretching: Semaphore,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { open: Mutex::default(), stretching: Semaphore::new(2) }
    }
}

const SESSION: u64 = 15 * 60;
/// The same by a clock that nobody sets.
const LONGEST: Duration = Duration::from_secs(SESSION);
const SESSIONS_AT_MOST: usize = 64;

impl Broker {
    /// Lets an operator in by passphrase: the named one, or whoever it fits.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when it fits nobody.
    pub async fn operator(&self, name: Option<&OperatorName>, passphrase: Secret) -> Result<Proven> {
        let _turn = self.sessions.stretching.acquire().await;
        let (slot, _, signing) = match unlock(&self.ledger, name, passphrase).await {
            Ok(unlocked) => unlocked,
            Err(error) if error.code == Code::Unauthenticated => {
                self.note_wrong_passphrase(&error).await;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        // A slot that somebody else put there opens as well, to another master key than this home's.
        let operator = slot.vouched(&self.keyring)?;
        self.ledger.catch_up().await?;
        self.rails.check_row(&operator)?;
        Ok(Proven { name: operator.name, signing: Some(signing), assertion: None })
    }

    /// Opens a session of a quarter of an hour for this terminal session.
    ///
    /// # Errors
    /// When it can't be put on record.
    pub async fn open_session(&self, operator: &Proven, terminal: Terminal) -> Result<Timestamp> {
        operator.signing()?;
        let (who, now) = (who(&operator.caller().principal), self.now());
        self.ledger.write(move |tx| tx.audit(Record::new(now, Deed::SessionOpen, Stage::Note, who))).await?;
        let until = Span::from_seconds(SESSION).after(now);
        if let Ok(mut open) = self.sessions.open.lock() {
            open.retain(|_, (_, until, since)| *until > now && since.elapsed() < LONGEST);
            if open.len() < SESSIONS_AT_MOST {
                open.insert(terminal, (operator.name.clone(), until, Instant::now()));
            }
        }
        Ok(until)
    }

    /// Ends the session of this terminal session.
    pub fn close_session(&self, terminal: Terminal) {
        if let Ok(mut open) = self.sessions.open.lock() {
            open.remove(&terminal);
        }
    }

    /// Lets an operator in by session.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when there is none.
    pub async fn session(&self, terminal: Terminal) -> Result<Proven> {
        let found = self.sessions.open.lock().ok().and_then(|open| open.get(&terminal).cloned());
        let lasts = |until: Timestamp, since: Instant| until > self.now() && since.elapsed() < LONGEST;
        let name = found.filter(|(_, until, since)| lasts(*until, *since)).map(|(name, ..)| name);
        let name = name.ok_or_else(|| {
            BrokerError::new(Code::Unauthenticated, "this needs an operator")
                .hint("give --passphrase-file, or open a session with `keywright login`")
        })?;
        // An operator may have been removed since.
        self.is_operator(&name).await
    }

    /// An operator who proved who they are some time ago: they may look. A door that remembers them says so.
    ///
    /// # Errors
    /// When there is no operator of this name any more.
    pub async fn is_operator(&self, name: &OperatorName) -> Result<Proven> {
        let (name, keyring) = (name.clone(), Arc::clone(&self.keyring));
        let operator = self.ledger.read(move |tx| tx.operator(&name, &keyring)).await?;
        self.ledger.catch_up().await?;
        self.rails.check_row(&operator)?;
        Ok(Proven { name: operator.name, signing: None, assertion: None })
    }

    /// Puts on record that an operator came in at a door that remembers them.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub async fn note_session(&self, operator: &Proven, at: &str) -> Result<()> {
        operator.signing()?;
        let mut record =
            Record::new(self.now(), Deed::SessionOpen, Stage::Note, who(&operator.caller().principal));
        record.facts.insert("at".to_owned(), serde_json::json!(at));
        self.ledger.write(move |tx| tx.audit(record).map(drop)).await?;
        Ok(())
    }

    /// A word for a session that nobody can guess.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new_session_word(&self) -> Result<String> {
        Ok(new_word("kws_")?)
    }

    /// Lets an agent in by its token.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when the token is nobody's, or the row was edited.
    pub async fn agent(&self, token: &Secret) -> Result<Agent> {
        let (hash, keyring) = (self.keyring.token_hash(token), Arc::clone(&self.keyring));
        let found = self.ledger.read(move |tx| tx.agent_by_token(&hash, &keyring)).await?;
        let found = found.ok_or_else(|| unknown_token("agent"))?;
        self.ledger.catch_up().await?;
        self.rails.check_row(&found)?;
        Ok(found)
    }

    /// Lets a workload in by its token.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when the token is nobody's, or the row was edited.
    pub async fn workload(&self, token: &Secret) -> Result<Workload> {
        let (hash, keyring) = (self.keyring.token_hash(token), Arc::clone(&self.keyring));
        let found = self.ledger.read(move |tx| tx.workload_by_token(&hash, &keyring)).await?;
        let found = found.ok_or_else(|| unknown_token("workload"))?;
        self.ledger.catch_up().await?;
        self.rails.check_row(&found)?;
        Ok(found)
    }
}

/// A fresh access token: a prefix that tells what it is, and 256 random bits.
pub(crate) fn new_token(prefix: &str) -> std::result::Result<Secret, LedgerError> {
    let bytes = random::<32>()?;
    Ok(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
}

/// A code that people can type, and nobody can guess within minutes: 60 random bits, in letters and digits that are not taken for
/// others.
pub(crate) fn new_code() -> std::result::Result<String, LedgerError> {
    const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let bytes = random::<12>()?;
    let mut code = String::new();
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 && place % 4 == 0 {
            code.push('-');
        }
        code.extend(LETTERS.get(usize::from(byte % 32)).map(|letter| char::from(*letter)));
    }
    Ok(code)
}

/// A word that nobody can guess, for something that opens nothing.
pub(crate) fn new_word(prefix: &str) -> std::result::Result<String, LedgerError> {
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()?.as_slice())))
}

fn unknown_token(noun: &str) -> BrokerError {
    BrokerError::new(
        Code::Unauthenticated,
        format!("the token belongs to no {noun}; it may have been removed"),
    )
    .hint(format!("have an operator add one: `keywright {noun} add NAME --token-file FILE`"))
}
