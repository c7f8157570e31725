//! Channels: how people hear that something waits for them. Operators add them, with their signing key; no agent can see or
//! change one. A channel tells, and hears nothing: whoever is told decides at the terminal or on the page.
//!
//! What has to be told is written with what it is about, and told by a broker that runs (`tell`): at least once, with
//! back-off, for a day.

mod look;
mod tell;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use keywright_adapters::channel::{Channel, connect, facts};
use keywright_core::audit::{Deed, Outcome, Record, Stage, Subject};
use keywright_core::channel::{ChannelKind, Matter, Notice, Quiet, Rules};
use keywright_core::id::{NoticeId, SealedId};
use keywright_core::name::ChannelName;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_ledger::{ConfiguredChannel, LedgerError, Tx};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::outside::{not_as_added, owner_of_channel};
use crate::rails::{CHANNEL, FACT, known_as, of_channel};

/// After how many tries in vain in a row a channel counts as one that does not work.
pub const DEAD: u64 = 3;
/// The shortest time between reminders, and the longest that anything is put off.
const SHORTEST: u64 = 60;
const LONGEST: u64 = 7 * 86_400;
/// The longest line of what the other side said that is kept.
const LINE: usize = 300;

/// A channel about to be added.
pub struct NewChannel {
    /// Its name.
    pub name: ChannelName,
    /// What it goes through.
    pub kind: ChannelKind,
    /// Where it goes.
    pub settings: BTreeMap<String, String>,
    /// When it tells.
    pub rules: Rules,
    /// What is secret of that.
    pub credential: Option<Secret>,
}

impl Broker {
    /// Adds a channel. Nothing is sent yet, and it is told of nothing that waits already.
    ///
    /// # Errors
    /// When it can't tell in this way, or what was given holds a credential in the clear.
    pub async fn add_channel(&self, operator: &Proven, new: NewChannel) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        for value in new.settings.values() {
            if self.scrub(value).await? != *value {
                let message = "a setting holds what looks like a credential";
                let takes = facts(new.kind).and_then(|facts| facts.credential).unwrap_or("none");
                return Err(BrokerError::invalid(message)
                    .hint(format!("a channel of this kind takes as its secret: {takes}")));
            }
        }
        check_rules(&new.rules)?;
        let id = SealedId::generate(self.now(), entropy()?);
        let channel = ConfiguredChannel {
            name: new.name,
            kind: new.kind,
            settings: new.settings,
            rules: new.rules,
            credential: new.credential.is_some().then_some(id),
            added_at: self.now(),
            told_at: None,
            failed_at: None,
            failures: 0,
            trouble: None,
        };
        let owner = owner_of_channel(&channel);
        let sealed = new.credential.as_ref().map(|secret| self.keyring.seal(&owner, secret)).transpose()?;
        if let Some(secret) = &new.credential {
            self.secret_came(secret).await?;
        }
        connect(channel.kind, &channel.settings, new.credential.as_ref()).map_err(BrokerError::invalid)?;
        let who = operator.caller().who();
        let (known, digest) = (known_as(CHANNEL, channel.name.as_str()), of_channel(&channel));
        let coming = digest.clone();
        let written = self.ledger.write(move |tx| {
            if let Some(sealed) = &sealed {
                tx.put_sealed(id, &owner, sealed)?;
            }
            tx.add_channel(&channel)?;
            let mut record = Record::new(tx.now(), Deed::ChannelAdd, Stage::Note, who);
            record.subject = subject(&channel.name);
            record.facts.insert("kind".to_owned(), serde_json::json!(channel.kind.as_str()));
            record.facts.insert(FACT.to_owned(), serde_json::json!(coming));
            tx.audit(record)
        });
        written.await?;
        self.rails.coming(&known, &digest);
        Ok(())
    }

    /// The channels, and how they went.
    ///
    /// # Errors
    /// When the ledger can't be read, or one of them was edited.
    pub async fn channels(&self) -> Result<Vec<ConfiguredChannel>> {
        Ok(self.ledger.read(|tx| tx.channels()).await?)
    }

    /// Removes a channel. What it has not told yet it does not tell any more.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_channel(&self, operator: &Proven, name: &ChannelName) -> Result<()> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let (wanted, who) = (name.clone(), operator.caller().who());
        let is_on_record = self.rails.has(CHANNEL).contains(&known_as(CHANNEL, name.as_str()));
        let written = self.ledger.write(move |tx| {
            let found = tx.channel(&wanted);
            match tx.remove_channel(&wanted) {
                // Its row was taken out of the ledger's file.
                Err(LedgerError::Missing { .. }) if is_on_record => {}
                removed => removed?,
            }
            if let Ok(channel) = found {
                tx.erase_sealed(&owner_of_channel(&channel))?;
            }
            let mut record = Record::new(tx.now(), Deed::ChannelRemove, Stage::Note, who);
            record.subject = subject(&wanted);
            tx.audit(record)?;
            Ok::<_, LedgerError>(())
        });
        written.await?;
        self.rails.went(CHANNEL, name.as_str());
        Ok(())
    }

    /// Has a channel tell of nothing, to see whether it can.
    ///
    /// # Errors
    /// When it could not.
    pub async fn test_channel(&self, operator: &Proven, name: &ChannelName) -> Result<String> {
        self.refuse_if_forked()?;
        operator.signing()?;
        let wanted = name.clone();
        let channel = self.ledger.read(move |tx| tx.channel(&wanted)).await?;
        let notice = Notice {
            id: NoticeId::generate(self.now(), entropy()?),
            turn: 0,
            channel: name.clone(),
            matter: Matter::Test,
            about: name.to_string(),
            at: self.now(),
            waited: None,
            level: None,
            line: "nothing waits for you; this channel works".to_owned(),
            facts: vec![("asked by", format!("operator {}", operator.name()))],
            onward: None,
            purpose: None,
        };
        let told = self.tell_through(&channel, &notice).await?;
        let mut record = Record::new(self.now(), Deed::ChannelTell, Stage::Outcome, operator.caller().who());
        record.subject = subject(name);
        record.facts.insert("matter".to_owned(), serde_json::json!(Matter::Test.as_str()));
        record.result = Some(match &told {
            Ok(_) => Outcome::done(),
            Err(why) => Outcome::failed("not-told", Untrusted::capped(why, 500)),
        });
        let (outcome, about) = (told.clone(), name.clone());
        let written = self.ledger.write(move |tx| {
            match &outcome {
                Ok(_) => tx.channel_told(&about)?,
                Err(why) => tx.channel_failed(&about, why)?,
            }
            tx.audit(record)
        });
        written.await?;
        told.map_err(|why| {
            BrokerError::new(Code::Provider, format!("channel `{name}` told nobody: {why}"))
                .hint("nothing was changed; look at the other end, or remove the channel and add it again")
        })
    }

    /// Tells something through a channel, once. What the other side said, or why it was not told: one line, scrubbed.
    async fn tell_through(
        &self,
        channel: &ConfiguredChannel,
        notice: &Notice,
    ) -> Result<std::result::Result<String, String>> {
        self.ledger.catch_up().await?;
        self.rails.check_way(CHANNEL, channel.name.as_str(), &of_channel(channel))?;
        let secret = self.secret_of_channel(channel).await?;
        let way: Box<dyn Channel> =
            connect(channel.kind, &channel.settings, secret.as_ref()).map_err(BrokerError::invalid)?;
        Ok(match way.tell(notice).await {
            Ok(told) => Ok(self.kept(told.0.raw(), LINE).await?.to_string()),
            Err(not_told) => {
                let said = not_told.said.raw();
                let why =
                    if said.is_empty() { not_told.why } else { format!("{}; it said: {said}", not_told.why) };
                Err(self.kept(&why, LINE).await?.to_string())
            }
        })
    }

    async fn secret_of_channel(&self, channel: &ConfiguredChannel) -> Result<Option<Secret>> {
        let Some(id) = channel.credential else { return Ok(None) };
        let (owner, keyring) = (owner_of_channel(channel), std::sync::Arc::clone(&self.keyring));
        let opened = self.ledger.read(move |tx| keyring.open(&owner, &tx.sealed(id)?));
        let what = format!("channel `{}`", channel.name);
        opened.await.map(Some).map_err(|error: LedgerError| not_as_added(&what, error))
    }
}

/// Every channel has to tell of something, from here on, in the transaction in which it comes to wait.
pub(crate) fn owe_notices(tx: &Tx<'_>, matter: Matter, about: &str) -> std::result::Result<(), LedgerError> {
    for channel in tx.sound_channels()? {
        let id = NoticeId::generate(tx.now(), entropy()?);
        let due_at = channel.rules.after.map_or(tx.now(), |after| after.after(tx.now()));
        tx.add_notice(id, &channel.name, matter, about, due_at)?;
    }
    Ok(())
}

/// The channels that do not work, in words.
pub(crate) fn failing(tx: &Tx<'_>) -> std::result::Result<Vec<String>, LedgerError> {
    let line = |(name, why): (String, String)| {
        let name = Untrusted::capped(&name, 80);
        format!("channel `{name}`: {}", Untrusted::capped(&why, LINE))
    };
    Ok(tx.channels_failing(DEAD)?.into_iter().map(line).collect())
}

/// Quiet hours of a time zone, or of this machine's.
///
/// # Errors
/// When the hours are in another form, or nobody here knows the zone.
pub fn quiet(hours: &str, zone: Option<&str>) -> Result<Quiet> {
    let zone = match zone {
        Some(zone) => zone.to_owned(),
        None => own_zone(),
    };
    let quiet = Quiet::parse(hours, zone).map_err(BrokerError::invalid)?;
    zone_of(&quiet).map(|_| quiet)
}

/// The time zone of quiet hours.
fn zone_of(quiet: &Quiet) -> Result<TimeZone> {
    let zone = quiet.zone.as_str();
    if zone == UTC {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(zone).map_err(|_| {
        let shown = Untrusted::capped(zone, 60);
        BrokerError::invalid(format!("this machine knows no time zone `{shown}`")).hint(
            "write it as in the IANA database, as `Europe/Berlin`; it is read from the machine's tzdata",
        )
    })
}

const UTC: &str = "UTC";

/// This machine's time zone, by its name; one that has none counts as UTC.
fn own_zone() -> String {
    let zone = TimeZone::system();
    zone.iana_name().filter(|name| TimeZone::get(name).is_ok()).unwrap_or(UTC).to_owned()
}

fn check_rules(rules: &Rules) -> Result<()> {
    if let Some(quiet) = &rules.quiet {
        zone_of(quiet)?;
    }
    let is_within = |span: Span| (SHORTEST..=LONGEST).contains(&span.seconds());
    for (name, span) in [("--after", rules.after), ("--remind", rules.remind)] {
        if span.is_some_and(|span| !is_within(span)) {
            return Err(BrokerError::invalid(format!("`{name}` takes a minute to seven days")));
        }
    }
    if rules.is_urgent && rules.quiet.is_none() {
        return Err(BrokerError::invalid("`--urgent` passes quiet hours, and there are none")
            .hint("say which with `--quiet 22:00-07:00`"));
    }
    Ok(())
}

fn subject(name: &ChannelName) -> Subject {
    Subject { name: Some(name.to_string()), ..Subject::default() }
}
