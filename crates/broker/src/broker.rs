//! An unlocked home.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use keywright_core::id::RequestId;
use keywright_core::name::{ConnectionName, OperatorName};
use keywright_core::policy::Policies;
use keywright_core::provider::Provider;
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use keywright_ledger::audit_files::{AuditFiles, Trouble};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{Clock, Heard, Ledger, LedgerError, Slot, Tx};
use tokio::sync::OnceCell;

use crate::auth::Sessions;
use crate::crash::CrashAt;
use crate::error::{BrokerError, Code, Result};
use crate::guesses::Guesses;
use crate::home::{Home, HomeLock};
use crate::limits::Refusals;
use crate::mask::{Known, Made};
use crate::outside::Outside;
use crate::passkey::{Entries, Waiting};
use crate::pay::Paying;
use crate::rails::{POLICY, Rails, of_policy};
use crate::revoke::Unrecorded;
use crate::scheduler::{AT_A_TIME, TICK};
use crate::shared::Held;
use crate::steady::{Steady, SteadyTime, of_kernel};
use crate::verify::Verifying;

/// How to open a broker.
pub struct Options {
    /// The home.
    pub home: Home,
    /// Where the time comes from.
    pub clock: Clock,
    /// How much time passes, whatever the clock is set to.
    pub steady: SteadyTime,
    /// Where a copy of the audit log's head is kept, outside of the home, if anywhere.
    pub witness: Option<std::path::PathBuf>,
    /// How often it looks for what is due by itself.
    pub tick: Duration,
    /// How many sagas it works on at the same time.
    pub at_a_time: u32,
    /// A test's wish to die somewhere.
    pub crash_at: CrashAt,
    /// A test's wish that triggers in the ledger's file run, where they stand in for writes that fail.
    pub has_triggers: bool,
    /// Providers that are there already; those of other connections are built from the ledger when first used.
    pub providers: HashMap<ConnectionName, Arc<dyn Provider>>,
}

impl Options {
    /// The usual: the machine's clock, no failpoint.
    #[must_use]
    pub fn at(home: Home) -> Self {
        Self {
            home,
            clock: Arc::new(Timestamp::now),
            steady: of_kernel(),
            witness: None,
            tick: TICK,
            at_a_time: AT_A_TIME,
            crash_at: CrashAt::nowhere(),
            has_triggers: false,
            providers: HashMap::new(),
        }
    }
}

/// An unlocked home: the ledger, the keys, the adapters. One per home at a time.
pub struct Broker {
    pub(crate) home: Home,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) outside: Outside,
    pub(crate) files: AuditFiles,
    pub(crate) sessions: Sessions,
    pub(crate) guesses: Guesses,
    /// What waits for the touch of a passkey.
    pub(crate) waiting: Waiting,
    pub(crate) entries: Entries,
    /// Where the pages are, as browsers name it, while they are served.
    pub(crate) door: OnceLock<String>,
    pub(crate) tick: Duration,
    pub(crate) at_a_time: u32,
    pub(crate) crash_at: CrashAt,
    pub(crate) rails: Arc<Rails>,
    pub(crate) refusals: Refusals,
    pub(crate) unrecorded: Mutex<Vec<Unrecorded>>,
    pub(crate) paying: Paying,
    pub(crate) steady: Steady,
    /// Held by whoever gives a connection another parent credential.
    pub(crate) renewing: tokio::sync::Mutex<()>,
    /// Why nothing shows whether the audit log is whole.
    pub(crate) lost: RwLock<Option<String>>,
    /// Why nothing but revocations is done: the audit log does not continue what was signed before.
    pub(crate) forked: Arc<RwLock<Option<String>>>,
    /// What of the ledger's schema is not Keywright's.
    pub(crate) foreign: Option<String>,
    /// Why the audit log's files could not be written the last time.
    pub(crate) unsigned: RwLock<Option<String>>,
    pub(crate) verifying: Verifying,
    pub(crate) owner: String,
    /// What of the ledger is leased to this broker.
    pub(crate) held: Held,
    policies: RwLock<Option<(u64, Arc<Policies>)>>,
    // Every secret that this home held since the broker opened it; gathered when first needed.
    known: OnceCell<Arc<Known>>,
    /// The keys among them, and those that other brokers made since.
    pub(crate) made: Arc<Made>,
    /// Since when programs that `run` started can be heard of.
    pub(crate) listening_since: OnceLock<Timestamp>,
    _lock: HomeLock,
}

/// What to do where the log is not the one that was known.
const BEHIND: &str = "keep a copy of the home as evidence and look at `keywright audit verify`; if an older copy was restored on \
                      purpose, `keywright reconcile` says which keys it does not know, and `keywright reconcile \
                      --accept-restore` goes on from it";
/// What to do where nothing says which log was known.
const LOST: &str = "keep a copy of the home as evidence; restore a ledger and HOME/audit of one moment, or, where there are none, \
                    run `keywright audit accept` and `keywright reconcile`; if the ledger is an older copy, `keywright reconcile \
                    --accept-restore` instead";

impl Broker {
    /// Opens a home with the passphrase of any of its operators.
    ///
    /// # Errors
    /// When another process works on the home, the passphrase opens no slot, or the ledger is unreadable.
    pub async fn open(options: Options, passphrase: Secret) -> Result<Arc<Self>> {
        let lock = options.home.lock_existing()?;
        let ledger = Arc::new(options.home.open_ledger(Arc::clone(&options.clock))?);
        let foreign = if options.has_triggers {
            ledger.run_triggers()?;
            None
        } else {
            ledger.foreign().map(str::to_owned)
        };
        let (slot, keyring, _) = unlock(&ledger, None, passphrase).await?;
        let keyring = Arc::new(keyring);
        ledger.unlock(&keyring);
        let witness = options.witness.as_deref();
        let files = AuditFiles::open_witnessed(&options.home.audit(), witness, &keyring)?;
        let (rails, read) = Rails::read(&ledger).await?;
        files.seen(&read)?;
        let (rails, made, forked) = (Arc::new(rails), Arc::default(), Arc::default());
        heed(&ledger, read.size(), (&rails, &made), &forked);
        rails.check_row(&slot.vouched(&keyring)?)?;
        let steady = Steady::new(options.steady, ledger.now());
        let broker = Arc::new(Self {
            outside: Outside::new(
                Arc::clone(&ledger),
                Arc::clone(&keyring),
                Arc::clone(&rails),
                options.providers,
            ),
            owner: options.home.broker_name(ledger.is_shared())?,
            home: options.home,
            ledger,
            keyring,
            files,
            sessions: Sessions::default(),
            guesses: Guesses::default(),
            waiting: Waiting::default(),
            entries: Entries::new()?,
            verifying: Verifying::default(),
            door: OnceLock::new(),
            tick: options.tick,
            at_a_time: options.at_a_time,
            crash_at: options.crash_at,
            rails,
            refusals: Refusals::default(),
            unrecorded: Mutex::default(),
            paying: Paying::default(),
            steady,
            renewing: tokio::sync::Mutex::default(),
            forked,
            lost: RwLock::default(),
            foreign,
            held: Held::default(),
            unsigned: RwLock::default(),
            policies: RwLock::new(None),
            known: OnceCell::new(),
            made,
            listening_since: OnceLock::new(),
            _lock: lock,
        });
        // One broker per home: whatever claimed a saga before is dead, whatever it held in memory is gone. Of brokers with
        // other homes nobody knows that.
        let own = broker.ledger.is_shared().then(|| broker.owner.clone());
        if let Err(error) = broker.ledger.write(move |tx| release(tx, own.as_deref())).await {
            // A full disk, say. The leases run out by themselves, and revocations still go through.
            let error: LedgerError = error;
            tracing::warn!(%error, "sagas of an earlier broker could not be released");
        }
        if let Err(error) = mark_copies(&broker.ledger).await {
            tracing::warn!(%error, "copies of ended versions that an older broker left were not looked for");
        }
        if let Some(why) = broker.files.lost(&broker.ledger).await? {
            tracing::error!(%why, "the audit log is not signed");
            *broker.lost.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
        if let Err(error) = broker.publish_audit().await {
            tracing::error!(message = %error.message, "the audit log can't be published");
        }
        Ok(broker)
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The broker's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ledger.now()
    }

    /// Counts the ledger's commits.
    #[must_use]
    pub fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.ledger.commits()
    }

    /// Brings the audit log's files up to date and signs a new head.
    ///
    /// # Errors
    /// When the files can't be written, or the log does not continue what was signed before.
    pub async fn publish_audit(&self) -> Result<u64> {
        let why = |of: &RwLock<Option<String>>| of.read().unwrap_or_else(PoisonError::into_inner).clone();
        // What was found not to continue does not come to continue; only a start or an operator's word takes that back.
        let published = match why(&self.lost).or_else(|| why(&self.forked)) {
            Some(why) => Err(LedgerError::NotContinued { why }),
            None => self.files.publish(&self.ledger).await,
        };
        // Only a start, or an operator's word, takes that back: what was read from such a log is still in memory. A full
        // disk, on the other hand, says nothing about the log.
        if let Err(LedgerError::NotContinued { why }) = &published {
            *self.forked.write().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        }
        *self.unsigned.write().unwrap_or_else(PoisonError::into_inner) = match &published {
            Ok(_) | Err(LedgerError::NotContinued { .. }) => None,
            Err(error) => Some(error.to_string()),
        };
        Ok(published?)
    }

    /// The log counts as it is now, and so does what it says.
    pub(crate) async fn begin_anew(&self) -> Result<u64> {
        let (rails, read) = Rails::read(&self.ledger).await?;
        self.files.seen(&read)?;
        self.rails.replace(rails);
        heed(&self.ledger, read.size(), (&self.rails, &self.made), &self.forked);
        *self.forked.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.publish_audit().await
    }

    /// Refuses deeds while the audit log does not continue what was signed before (an old copy of the ledger was restored, or
    /// entries were changed), and in a ledger with a schema of somebody else's. Revocations, rejections and everything that only looks go on.
    pub(crate) fn refuse_if_forked(&self) -> Result<()> {
        if let Some(what) = &self.foreign {
            let message = format!("the ledger was changed outside of Keywright: {what}");
            return Err(BrokerError::new(Code::Conflict, message).hint(
                "keep a copy as evidence; with the broker stopped, restore the ledger from a backup or take out what was \
                 put in",
            ));
        }
        match &*self.forked.read().unwrap_or_else(PoisonError::into_inner) {
            None => self.refuse_if_clock_off(),
            Some(why) => {
                Err(BrokerError::new(Code::Conflict, format!("the audit log was cut or changed: {why}"))
                    .hint(if self.is_lost() { LOST } else { BEHIND }))
            }
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The policy in force, compiled once per version.
    pub(crate) async fn policies(&self) -> Result<(u64, Arc<Policies>)> {
        let in_force = self.ledger.read(|tx| tx.policy_version()).await?;
        if let Ok(cached) = self.policies.read()
            && let Some((version, policies)) = cached.as_ref().filter(|(version, _)| *version == in_force)
        {
            return Ok((*version, Arc::clone(policies)));
        }
        let applied = self.ledger.read(|tx| tx.policy()).await?;
        self.ledger.catch_up().await?;
        self.rails.check(POLICY, &of_policy(&applied.source, applied.version))?;
        let compiled = tokio::task::spawn_blocking(move || {
            Policies::stored(&applied.source).map(|p| (applied.version, p))
        });
        let (version, policies) =
            compiled.await.map_err(|e| BrokerError::new(Code::Internal, e.to_string()))?.map_err(|e| {
                BrokerError::new(Code::Internal, format!("the policy in force does not compile: {e}"))
            })?;
        let policies = Arc::new(policies);
        if let Ok(mut cached) = self.policies.write() {
            *cached = Some((version, Arc::clone(&policies)));
        }
        Ok((version, policies))
    }

    /// Free text made safe to keep: known secrets and whatever looks like a credential are masked.
    pub(crate) async fn scrub(&self, text: &str) -> Result<String> {
        if text.is_empty() {
            return Ok(String::new());
        }
        let known = self.known().await?;
        Ok(keywright_hygiene::scrub_text(&known.clean(text)))
    }

    /// Free text as it is kept: scrubbed first and cut then, because a secret that is cut in two is not recognised.
    pub(crate) async fn kept(&self, text: &str, max_chars: usize) -> Result<Untrusted> {
        Ok(Untrusted::capped(&self.scrub(text).await?, max_chars))
    }

    /// Knows one more secret from now on.
    ///
    /// # Errors
    /// When those that there are already can't be read.
    pub(crate) async fn secret_came(&self, secret: &Secret) -> Result<()> {
        self.known().await?.add(secret);
        Ok(())
    }

    /// What the secrets of this home are recognised by.
    pub(crate) async fn known(&self) -> Result<&Arc<Known>> {
        self.known.get_or_try_init(|| async { self.gather_known().await.map(Arc::new) }).await
    }

    ///
    /// # Errors
    /// When it is none.
    pub fn find_request(text: &str) -> Result<RequestId> {
        RequestId::parse(text).map_err(BrokerError::invalid)
    }
}

/// What is wrong with the second place of the log's head, and what that means.
pub(crate) fn told_of(trouble: &Trouble) -> String {
    let Trouble { place, why, is_unread } = trouble;
    let place = place.display();
    if *is_unread {
        format!(
            "whether this home is an older copy is not known, because {place} can't be read: {why}; until it can, no key that \
             the ledger does not know is ended"
        )
    } else {
        format!("the copy of the audit log's head in {place} is behind: {why}")
    }
}

/// Whatever a broker of this home held in its last life is free.
fn release(tx: &Tx<'_>, own: Option<&str>) -> std::result::Result<u64, LedgerError> {
    own.map_or(Ok(()), |own| tx.give_up_leads(own))?;
    tx.release_renewals(own)?;
    tx.release_sagas(own)
}

/// Copies of versions that an older broker ended count as dead. Nobody waits for the look: it holds no turn.
async fn mark_copies(ledger: &Ledger) -> std::result::Result<(), LedgerError> {
    if ledger.scan(|tx| tx.has_unmarked_copies()).await? {
        let marked = ledger.write(|tx| tx.mark_copies()).await?;
        tracing::info!(
            marked,
            "copies of ended versions that an older broker left are looked at from now on"
        );
    }
    Ok(())
}

/// Has what other brokers append to the log count here too: it is told before anything is written that comes after it.
fn heed(
    ledger: &Ledger,
    from: u64,
    (rails, made): (&Arc<Rails>, &Arc<Made>),
    forked: &Arc<RwLock<Option<String>>>,
) {
    let (rails, made, forked) = (Arc::clone(rails), Arc::clone(made), Arc::clone(forked));
    ledger.heed(from, move |heard| match heard {
        Heard::Entry(entry) => {
            rails.follow(entry);
            made.follow(entry);
        }
        Heard::Misfit(why) => {
            tracing::error!(%why, "the audit log does not go on from what this broker knows of it");
            *forked.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
    });
}

impl Home {
    pub(crate) fn lock_existing(&self) -> Result<HomeLock> {
        if !self.exists() {
            return Err(BrokerError::missing(format!(
                "there is no Keywright home at {}",
                self.root().display()
            ))
            .hint("make one with `keywright init`, or name another with --home or KEYWRIGHT_HOME"));
        }
        self.lock()
    }
}

/// Opens a slot with a passphrase: the named operator's, or whichever it fits. The row is not vouched for yet.
pub(crate) async fn unlock(
    ledger: &Ledger,
    operator: Option<&OperatorName>,
    passphrase: Secret,
) -> Result<(Slot, Keyring, ed25519_dalek::SigningKey)> {
    let wanted = operator.cloned();
    let (instance, slots) = ledger
        .read(move |tx| {
            let slots = match &wanted {
                Some(name) => vec![tx.slot(name)?],
                None => tx.slots()?,
            };
            Ok::<_, LedgerError>((tx.instance()?, slots))
        })
        .await?;
    let instance =
        instance.ok_or_else(|| BrokerError::new(Code::Internal, "the ledger was never initialised"))?;
    let named = operator.map(ToString::to_string);
    let work = move || {
        for slot in slots {
            match slot.unlock(&passphrase) {
                Ok(unlocked) => return Ok((slot, unlocked)),
                Err(LedgerError::WrongPassphrase { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Err(LedgerError::WrongPassphrase { operator: named })
    };
    let unlocked = tokio::task::spawn_blocking(work).await;
    let (slot, unlocked) = unlocked.map_err(|e| BrokerError::new(Code::Internal, e.to_string()))??;
    Ok((slot, unlocked.master.keyring(instance), unlocked.signing))
}
