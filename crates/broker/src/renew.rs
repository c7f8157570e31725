//! A parent credential's successor, step by step. Every step is on record before the next one begins, so that whoever comes
//! after a crash goes on from there:
//!
//! | found | what is known | what is done |
//! |---|---|---|
//! | sent | a successor may exist whose secret nobody has | it is looked for and ended; the parent stays |
//! | sealed | the successor's secret is here | tried, compared, switched to; or given up |
//! | undoing | the successor is not taken | it is ended with the parent's credential |
//! | switched | the connection works with the successor | the one before it is switched off, then ended with the successor, once nobody else here works with it |
//!
//! INVARIANT: nothing is ended that the connection lives by, and the parent lives until the successor has done everything
//! that a connection does.
//!
//! Of several brokers one works on it, by a lease that is prolonged meanwhile; whoever lost it writes nothing. The parent before ends
//! when no call of another broker can be under way that began with it: each looks at the row before its next one.

use std::convert::Infallible;
use std::sync::Arc;

use keywright_core::audit::{Outcome, Stage};
use keywright_core::id::{AttemptId, SealedId};
use keywright_core::marker::Marker;
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Minted, Provider, ProviderError, RenewsParent, Switched};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_ledger::{Connection, LedgerError, ParentRenewal, RenewalPhase, Tx};

use crate::borrowed;
use crate::broker::Broker;
use crate::clock::{back_off, entropy};
use crate::error::{BrokerError, Code, Result};
use crate::outside::{connect, not_as_added};
use crate::parent::{of_renewal, swap};
use crate::record::{failed, system};
use crate::shared::{LEASE, RENEW};

/// The longest pause between tries of one step, in seconds.
const LONGEST_PAUSE: u64 = 600;
/// The pause between looks for a successor of which no answer came.
const LOOK_AGAIN: u64 = 60;
/// The longest that a call of another broker goes on with the parent before.
const LONGEST_CALL: Span = Span::from_seconds(LEASE);
/// How long a command waits for what still holds the parent before.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a sealed successor is bound to: its attempt, whose row says of which connection it is.
pub(crate) fn owner(id: AttemptId) -> String {
    format!("parent:{id}")
}

/// A successor whose secret is here.
struct Successor {
    id: String,
    secret: Secret,
}

impl Broker {
    /// Goes on with every one that is due.
    pub(crate) async fn renew_due(self: &Arc<Self>) -> Result<usize> {
        if self.refuse_if_forked().is_err() {
            return Ok(0);
        }
        // Whoever holds it is at work on one just now.
        let Ok(_one_at_a_time) = self.renewing.try_lock() else { return Ok(0) };
        let due = self.ledger.read(|tx| tx.renewals_due()).await?;
        let count = due.len();
        for renewal in due {
            let id = renewal.id;
            // Another broker may have been quicker.
            let Some(renewal) = self.claim_renewal(id).await? else { continue };
            if let Err(error) = self.drive_slowly(renewal).await {
                tracing::warn!(attempt = %id, message = %error.message, "a parent credential's successor waits");
            }
        }
        Ok(count)
    }

    /// How long a claim lasts. Where nobody else works on the ledger, `renewing` says who works on one.
    pub(crate) fn renewal_lease(&self) -> Span {
        if self.ledger.is_shared() { self.lease() } else { Span::from_seconds(0) }
    }

    pub(crate) async fn claim_renewal(&self, id: AttemptId) -> Result<Option<ParentRenewal>> {
        let (owner, lease) = (self.owner.clone(), self.renewal_lease());
        Ok(self.ledger.write(move |tx| tx.claim_renewal(id, &owner, lease)).await?)
    }

    /// Claims what is under way for a connection, if anything is.
    ///
    /// # Errors
    /// [`Code::Conflict`] when another broker works on it.
    pub(crate) async fn claim_under_way(&self, name: &ConnectionName) -> Result<Option<ParentRenewal>> {
        let of = name.clone();
        let Some(under_way) = self.ledger.read(move |tx| tx.renewal_of(&of)).await? else { return Ok(None) };
        let claimed = self.claim_renewal(under_way.id).await?;
        claimed.map(Some).ok_or_else(|| {
            let message =
                format!("another broker is giving connection `{name}` another parent credential just now");
            BrokerError::new(Code::Conflict, message)
                .hint("`keywright status` says when that is over; then try it again")
        })
    }

    /// Does some work under a lease that is prolonged meanwhile.
    pub(crate) async fn while_leased<T>(&self, renewal: &ParentRenewal, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.keep_renewal(renewal) => match never {},
        }
    }

    async fn keep_renewal(&self, renewal: &ParentRenewal) -> Infallible {
        loop {
            tokio::time::sleep(RENEW).await;
            let (kept, lease) = (renewal.clone(), self.renewal_lease());
            let kept = self.ledger.write(move |tx| tx.keep_renewal(&kept, lease)).await;
            if let Err(error) = kept {
                let error: LedgerError = error;
                tracing::warn!(attempt = %renewal.id, %error, "the lease of a parent's successor was not prolonged");
            }
        }
    }

    /// As [`Broker::drive_slowly`], waiting a moment for what still holds the parent before.
    pub(crate) async fn drive(self: &Arc<Self>, renewal: ParentRenewal) -> Result<ParentRenewal> {
        let began = std::time::Instant::now();
        let mut now = renewal;
        loop {
            match self.drive_slowly(now.clone()).await {
                Err(error) if error.code == Code::TryAgain && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    let Some(again) = self.claim_renewal(now.id).await? else { return Err(error) };
                    now = again;
                }
                Err(error) => {
                    let id = now.id;
                    let now = self.ledger.read(move |tx| tx.renewal(id)).await?.unwrap_or(now);
                    // In force is in force: that the one before is still owed is no failure.
                    return if now.phase == RenewalPhase::Switched { Ok(now) } else { Err(error) };
                }
                Ok(over) => return Ok(over),
            }
        }
    }

    /// Does step after step of one that was claimed until it is over, or one fails: that one is tried again later.
    pub(crate) async fn drive_slowly(self: &Arc<Self>, renewal: ParentRenewal) -> Result<ParentRenewal> {
        self.while_leased(&renewal, self.steps_of(renewal.clone())).await
    }

    async fn steps_of(self: &Arc<Self>, renewal: ParentRenewal) -> Result<ParentRenewal> {
        let (mut now, fence) = (renewal.clone(), renewal.fence);
        while !now.phase.is_over() {
            if let Err(error) = self.renewal_step(&now).await {
                let pause = match error.code {
                    Code::TryAgain => Span::from_seconds(1).after(self.now()),
                    _ if now.phase == RenewalPhase::Sent => Span::from_seconds(LOOK_AGAIN).after(self.now()),
                    _ => back_off(now.tries, LONGEST_PAUSE, self.now()),
                };
                let (postponing, until) = (now, error.not_before(pause, self.now()));
                let said = error.message.clone();
                self.ledger.write(move |tx| tx.postpone_renewal(&postponing, until, &said)).await?;
                return Err(error);
            }
            let id = now.id;
            let next = self.ledger.read(move |tx| tx.renewal(id)).await?;
            now = next.ok_or_else(|| BrokerError::new(Code::Internal, "a parent's successor has no row"))?;
            if now.fence != fence {
                return Err(LedgerError::Conflict { what: "parent's successor" }.into());
            }
        }
        Ok(now)
    }

    async fn renewal_step(self: &Arc<Self>, now: &ParentRenewal) -> Result<()> {
        match now.phase {
            RenewalPhase::Sent => self.look_for_successor(now).await,
            RenewalPhase::Sealed => self.take_successor(now).await,
            RenewalPhase::Undoing => self.end_successor(now).await,
            RenewalPhase::Switched => self.end_parent(now).await,
            RenewalPhase::Done | RenewalPhase::Failed => Ok(()),
        }
    }

    pub(crate) async fn seal_successor(
        &self,
        renewal: &ParentRenewal,
        minted: &Minted,
    ) -> Result<ParentRenewal> {
        let both = Secret::new(format!("{}\n{}", minted.provider_key_id, minted.secret.expose_secret()));
        let (id, owner) = (SealedId::generate(self.now(), entropy()?), owner(renewal.id));
        let sealed = self.keyring.seal(&owner, &both)?;
        let (sealing, provider_key_id) = (renewal.clone(), minted.provider_key_id.clone());
        let written = self.ledger.write(move |tx| {
            tx.put_sealed(id, &owner, &sealed)?;
            let mut record = of_renewal(tx, &sealing, Stage::Note, system());
            record.facts.insert("provider_key_id".to_owned(), serde_json::json!(provider_key_id));
            tx.audit(record)?;
            tx.move_renewal(&sealing, RenewalPhase::Sealed, None)
        });
        written.await?;
        Ok(ParentRenewal { phase: RenewalPhase::Sealed, ..renewal.clone() })
    }

    async fn open_successor(&self, now: &ParentRenewal) -> Result<(Connection, Successor)> {
        let (name, owner, keyring) = (now.connection.clone(), owner(now.id), Arc::clone(&self.keyring));
        let opened = self.ledger.read(move |tx| {
            let connection = tx.connection(&name)?;
            let sealed = tx.sealed_of(&owner)?;
            let sealed = sealed.ok_or(LedgerError::Missing { what: "sealed value", name: owner.clone() })?;
            Ok((keyring.open(&owner, &sealed)?, connection))
        });
        let what = format!("the successor of connection `{}`", now.connection);
        let (both, connection) = opened.await.map_err(|error: LedgerError| not_as_added(&what, error))?;
        let (id, secret) = both.expose_secret().split_once('\n').unwrap_or_default();
        let successor = Successor { id: id.to_owned(), secret: Secret::new(secret.to_owned()) };
        Ok((connection, successor))
    }

    /// Whether a successor is there of which no answer came.
    pub(crate) async fn is_something_left(&self, now: &ParentRenewal) -> Result<bool> {
        let provider = self.outside.provider(&now.connection).await?;
        Ok(!left_by(provider.as_ref(), now).await?.is_empty())
    }

    async fn look_for_successor(&self, now: &ParentRenewal) -> Result<()> {
        let provider = self.outside.provider(&now.connection).await?;
        let mut left = left_by(provider.as_ref(), now).await?;
        for id in std::mem::take(&mut left) {
            // Nobody has the secret of what this attempt may have made: what somebody here works with is another one.
            if self.lent(now, &id).await?.is_none() {
                self.end_other(now, able(provider.as_ref())?, &id).await?;
                left.push(id);
            }
        }
        let late = provider.facts().longest_late_delivery;
        let until = late.after(now.sent_at);
        // Where the clock was ahead when it was sent, the looks count, which are some time apart.
        let may_come = match now.sent_at > self.now() {
            true => now.tries * LOOK_AGAIN < late.seconds(),
            false => self.now() < until,
        };
        if left.is_empty() && may_come {
            let message = format!("no answer came to a create; a successor is looked for until {until}");
            return Err(BrokerError { transient: true, ..BrokerError::new(Code::Provider, message) });
        }
        let why = "no answer came when a successor was made; whatever came of it is gone";
        self.fail_renewal(now, &BrokerError::new(Code::Provider, why)).await
    }

    /// Everything that has to hold before the connection works with it.
    async fn take_successor(&self, now: &ParentRenewal) -> Result<()> {
        let (connection, successor) = self.open_successor(now).await?;
        let coming = self.seal_coming(&connection, &successor.secret)?;
        if let Some(why) = self.flaw(now, &connection, successor).await? {
            let undoing = now.clone();
            let moved =
                self.ledger.write(move |tx| tx.move_renewal(&undoing, RenewalPhase::Undoing, Some(&why)));
            return Ok(moved.await?);
        }
        self.crash_at.reached("parent.proved");
        let (taking, rails, keyring) = (now.clone(), Arc::clone(&self.rails), Arc::clone(&self.keyring));
        let id = SealedId::generate(self.now(), entropy()?);
        let written = self.ledger.write(move |tx| {
            tx.move_renewal(&taking, RenewalPhase::Switched, None)?;
            tx.erase_sealed(&owner(taking.id))?;
            borrowed::remember(tx, &keyring, &taking, &connection, id)?;
            let record = of_renewal(tx, &taking, Stage::Note, system());
            swap(tx, &connection, &coming, record, &rails)
        });
        let (known, digest) = written.await?;
        self.rails.came(&known, &digest);
        self.outside.forget_provider(&now.connection);
        self.crash_at.reached("parent.switched");
        Ok(())
    }

    /// Why a successor is not taken; none when it is equal to the parent and does what a connection needs.
    async fn flaw(
        &self,
        now: &ParentRenewal,
        connection: &Connection,
        successor: Successor,
    ) -> Result<Option<String>> {
        let Successor { id, secret } = successor;
        let parent = self.outside.provider(&now.connection).await?;
        if let Some(why) = settled(able(parent.as_ref())?.tried(&secret, &id).await)?.err() {
            return Ok(Some(format!("the successor does not work: {why}")));
        }
        let fresh = connect(connection, secret)?;
        if let Some(why) = settled(fresh.check().await)?.err() {
            return Ok(Some(format!("the successor does not do what a parent has to: {why}")));
        }
        match settled(fresh.own_key_id().await)? {
            Ok(own) if own.as_ref().is_none_or(|own| *own == id) => {}
            Ok(_) => return Ok(Some("what was made belongs to another credential".to_owned())),
            Err(why) => return Ok(Some(why)),
        }
        let differ = able(fresh.as_ref())?.differences(&now.parent.id, &id).await?;
        Ok((!differ.is_empty())
            .then(|| format!("the successor differs from the parent: {}", differ.join(", "))))
    }

    async fn end_successor(&self, now: &ParentRenewal) -> Result<()> {
        let (_, successor) = self.open_successor(now).await?;
        let provider = self.outside.provider(&now.connection).await?;
        self.end_other(now, able(provider.as_ref())?, &successor.id).await?;
        let why = now.trouble.clone().unwrap_or_else(|| "the successor was not taken".to_owned());
        self.fail_renewal(now, &BrokerError::new(Code::Provider, why)).await
    }

    /// The parent before goes, by the word of its successor.
    async fn end_parent(&self, now: &ParentRenewal) -> Result<()> {
        if self.outside.is_held(&now.connection).await? {
            let message = "something under way still works with the parent credential before";
            return Err(BrokerError::new(Code::TryAgain, message));
        }
        self.refuse_while_others_use(now).await?;
        let provider = self.outside.provider(&now.connection).await?;
        let renewing = able(provider.as_ref())?;
        let before = now.parent.id.as_str();
        if renewing.own().await? == before {
            // An operator went back to it.
            let staying = now.clone();
            return Ok(self.ledger.write(move |tx| stays(tx, &staying)).await?);
        }
        if !renewing.is_gone(before).await? {
            self.still_renews(now).await?;
            self.refuse_lent(now, before).await?;
            let off = renewing.switch_off(before).await?;
            self.crash_at.reached("parent.disabled");
            // Now nothing but the successor is left; where that does not do, or somebody has come to need the one before, it is
            // wanted back.
            if let (Switched::Off, Err(error)) = (off, self.does_without(now, provider.as_ref()).await) {
                renewing.switch_on(before).await?;
                return Err(error);
            }
            if let Err(error) = self.end_other(now, renewing, before).await {
                if off == Switched::Off && self.lent(now, before).await?.is_some() {
                    renewing.switch_on(before).await?;
                }
                return Err(error);
            }
        }
        self.crash_at.reached("parent.ended");
        let ending = now.clone();
        let written = self.ledger.write(move |tx| {
            borrowed::forget(tx, &ending)?;
            let mut record = of_renewal(tx, &ending, Stage::Outcome, system());
            record.result = Some(Outcome::done());
            tx.audit(record)?;
            tx.move_renewal(&ending, RenewalPhase::Done, None)
        });
        Ok(written.await?)
    }

    /// That the connection works while the parent before is off, and nobody else here works with that one.
    async fn does_without(&self, now: &ParentRenewal, provider: &dyn Provider) -> Result<()> {
        provider.check().await?;
        self.refuse_lent(now, &now.parent.id).await
    }

    /// What another broker began with the parent before is not seen from here. Its next call looks at the row; so the longest call
    /// is waited for.
    async fn refuse_while_others_use(&self, now: &ParentRenewal) -> Result<()> {
        if !self.ledger.is_shared() {
            return Ok(());
        }
        let of = now.clone();
        match self.ledger.read(move |tx| tx.parent_used_until(&of, LONGEST_CALL)).await? {
            None => Ok(()),
            Some(until) => {
                let message = format!(
                    "other brokers may still work with the parent credential before; it ends after {until}, by itself"
                );
                let left = u64::try_from(until.duration_since(self.now()).as_secs()).unwrap_or(0);
                let retry_after = Some(Span::from_seconds(left + 1));
                Err(BrokerError { retry_after, ..BrokerError::new(Code::Provider, message) })
            }
        }
    }

    async fn still_renews(&self, now: &ParentRenewal) -> Result<()> {
        let of = now.clone();
        Ok(self.ledger.read(move |tx| tx.still_renews(&of)).await?)
    }

    /// Ends a credential, and looks whether it is so. Never the one that the connection lives by, whatever a row says, and none that
    /// another connection or a store works with.
    async fn end_other(&self, now: &ParentRenewal, renewing: &dyn RenewsParent, id: &str) -> Result<()> {
        if renewing.own().await? == id {
            let message = "the connection lives by the credential that was to end; it stays";
            return Err(BrokerError::new(Code::Conflict, message));
        }
        self.refuse_lent(now, id).await?;
        self.still_renews(now).await?;
        gone(renewing, id).await
    }

    /// Ends what was made after somebody else took over, who knows nothing of it. Where that fails it is looked for.
    pub(crate) async fn end_late(&self, renewal: &ParentRenewal, id: &str) {
        let ended = async {
            let provider = self.outside.provider(&renewal.connection).await?;
            let renewing = able(provider.as_ref())?;
            if renewing.own().await? == id { Ok(()) } else { gone(renewing, id).await }
        };
        if let Err(error) = ended.await {
            tracing::warn!(attempt = %renewal.id, message = %error.message, "a parent's successor may be left");
        }
    }
}

/// The one before is what the connection lives by again: it does not end.
pub(crate) fn stays(tx: &Tx<'_>, renewal: &ParentRenewal) -> std::result::Result<(), LedgerError> {
    let why = "an operator gave the connection the parent before again; it stays";
    borrowed::forget(tx, renewal)?;
    let mut record = of_renewal(tx, renewal, Stage::Outcome, system());
    record.result = Some(failed(&BrokerError::new(Code::Conflict, why)));
    tx.audit(record)?;
    tx.move_renewal(renewal, RenewalPhase::Done, Some(why))
}

/// The id of what a connection lives by, where its provider says.
pub(crate) async fn own_id(provider: &dyn Provider) -> std::result::Result<Option<String>, ProviderError> {
    match provider.renewing() {
        Some(renewing) => renewing.own().await.map(Some),
        None => provider.own_key_id().await,
    }
}

fn able(provider: &dyn Provider) -> Result<&dyn RenewsParent> {
    let kind = provider.facts().kind;
    provider.renewing().ok_or_else(|| {
        BrokerError::new(
            Code::Unsupported,
            format!("{kind} makes no parent credentials for this connection any more"),
        )
    })
}

async fn left_by(provider: &dyn Provider, now: &ParentRenewal) -> Result<Vec<String>> {
    let marker = Marker::from_ledger(now.marker.clone());
    Ok(able(provider)?.left_by(&now.parent, &marker, now.sent_at).await?)
}

/// Ends one, and looks whether it is so.
async fn gone(renewing: &dyn RenewsParent, id: &str) -> Result<()> {
    renewing.end(id).await?;
    if renewing.is_gone(id).await? {
        return Ok(());
    }
    let message = "the provider says that a credential ended, and shows it all the same; it is tried again";
    Err(BrokerError { transient: true, ..BrokerError::new(Code::Provider, message) })
}

/// What may be otherwise later is an error; what the provider means is an answer.
fn settled<T>(answer: std::result::Result<T, ProviderError>) -> Result<std::result::Result<T, String>> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(error) => Ok(Err(error.to_string())),
    }
}
