//! Telling: what is due, through each channel in a lane of its own. One that hangs holds up nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keywright_core::audit::{Deed, Outcome, Record, Stage, Subject};
use keywright_core::channel::{Matter, Notice, Rules};
use keywright_core::name::ChannelName;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_core::verdict::Level;
use keywright_ledger::{ConfiguredChannel, LedgerError, OwedNotice};

use super::zone_of;
use crate::broker::Broker;
use crate::clock::back_off;
use crate::error::Result;
use crate::lanes::Lanes;
use crate::rails::{CHANNEL, known_as};
use crate::record::system;

/// How much is taken up at a time.
const AT_A_TIME: u32 = 64;
/// The longest pause between tries, in seconds.
const LONGEST_PAUSE: u64 = 1_800;
/// For how long something is tried in vain before it is given up.
const PATIENCE: Span = Span::from_seconds(86_400);
/// A moment of quiet that has just ended is over by then, whatever the clocks of the place were set to.
const A_MINUTE: Span = Span::from_seconds(60);

/// What becomes of a notice that is due.
enum Due {
    /// It is told, by this channel.
    Told(Box<ConfiguredChannel>, Box<Notice>),
    /// It is quiet until then.
    Quiet(Timestamp),
    /// Nothing waits any more, or nobody is there to tell it.
    Over,
}

impl Broker {
    /// Tells what is due, and waits until each channel has answered or taken too long. Returns how much there was.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn tell_channels(self: &Arc<Self>) -> Result<usize> {
        let mut lanes = Lanes::new();
        let count = self.begin_notices(&mut lanes).await?;
        while lanes.freed().await {}
        Ok(count)
    }

    /// Begins to tell what is due, where the lane of its channel is free.
    pub(crate) async fn begin_notices(self: &Arc<Self>, lanes: &mut Lanes<ChannelName>) -> Result<usize> {
        if self.refuse_if_forked().is_err() {
            return Ok(0);
        }
        lanes.tidy();
        let busy = lanes.busy();
        let due = self.ledger.read(move |tx| tx.notices_due(AT_A_TIME, &busy)).await?;
        let count = due.len();
        let mut by_channel: BTreeMap<ChannelName, Vec<OwedNotice>> = BTreeMap::new();
        for notice in due {
            by_channel.entry(notice.channel.clone()).or_default().push(notice);
        }
        for (channel, notices) in by_channel {
            let broker = Arc::clone(self);
            lanes.spawn(channel, async move {
                for owed in notices {
                    if let Err(error) = broker.settle_notice(&owed).await {
                        tracing::warn!(channel = %owed.channel, message = %error.message, "what a channel has to tell could not be looked at");
                        return;
                    }
                }
            });
        }
        Ok(count)
    }

    async fn settle_notice(&self, owed: &OwedNotice) -> Result<()> {
        // What can't be looked at, because its row was edited or the channel's, is tried again like what can't be told; that
        // says nothing of the channel.
        let (told, rules) = match self.due(owed).await {
            Ok(Due::Over) => {
                let owed = owed.clone();
                return Ok(self.ledger.write(move |tx| tx.notice_over(&owed)).await?);
            }
            Ok(Due::Quiet(until)) => {
                let owed = owed.clone();
                return Ok(self.ledger.write(move |tx| tx.notice_waits(&owed, until)).await?);
            }
            Ok(Due::Told(channel, notice)) => {
                let told = match self.tell_through(&channel, &notice).await {
                    Ok(told) => told,
                    Err(error) => Err(error.message),
                };
                // Told, and not yet on record: it is told again, under the same id.
                self.crash_at.reached("notify.sent");
                (told, Some(channel.rules))
            }
            Err(error) => (Err(error.message), None),
        };
        let (owed, now) = (owed.clone(), self.now());
        let written = self.ledger.write(move |tx| {
            let mut record = record_of(tx.now(), &owed);
            match told {
                Ok(_) => {
                    tx.channel_told(&owed.channel)?;
                    tx.notice_told(&owed, again(&owed, rules.as_ref(), now))?;
                    // That something was told is on record; each reminder is not.
                    if owed.turn > 0 {
                        return Ok(());
                    }
                    record.result = Some(Outcome::done());
                }
                Err(why) => {
                    if rules.is_some() {
                        tx.channel_failed(&owed.channel, &why)?;
                    }
                    let is_over = owed.failing_since.is_some_and(|since| PATIENCE.after(since) <= now);
                    let due_at = (!is_over).then(|| back_off(owed.tries + 2, LONGEST_PAUSE, now));
                    tx.notice_failed(&owed, due_at, &why)?;
                    // The same trouble over and over is one entry.
                    if owed.trouble.as_ref() == Some(&why) && !is_over {
                        return Ok(());
                    }
                    record.facts.insert("given_up".to_owned(), serde_json::json!(is_over));
                    record.result = Some(Outcome::failed("not-told", Untrusted::capped(&why, 500)));
                }
            }
            tx.audit(record).map(drop)
        });
        written.await.map_err(|error: LedgerError| error.into())
    }

    async fn due(&self, owed: &OwedNotice) -> Result<Due> {
        let name = owed.channel.clone();
        let channel = match self.ledger.read(move |tx| tx.channel(&name)).await {
            Ok(channel) => channel,
            // One that the log has, and the ledger has not, was taken out by somebody else: it is looked for until
            // somebody removes it or puts it back.
            Err(LedgerError::Missing { .. })
                if !self.rails.has(CHANNEL).contains(&known_as(CHANNEL, owed.channel.as_str())) =>
            {
                return Ok(Due::Over);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(notice) = self.notice_of(owed, &channel.rules).await? else { return Ok(Due::Over) };
        match self.quiet_until(&channel.rules, notice.level)? {
            Some(until) => Ok(Due::Quiet(until)),
            None => Ok(Due::Told(Box::new(channel), Box::new(notice))),
        }
    }

    /// When the quiet of a channel ends, where it is quiet and what is told may not pass that.
    fn quiet_until(&self, rules: &Rules, level: Option<Level>) -> Result<Option<Timestamp>> {
        let Some(quiet) = rules.quiet.as_ref() else { return Ok(None) };
        if rules.is_urgent && level == Some(Level::High) {
            return Ok(None);
        }
        let (zone, now) = (zone_of(quiet)?, self.now());
        let Some(end) = quiet.ends(zone.to_datetime(now)) else { return Ok(None) };
        let end = zone.to_timestamp(end).unwrap_or(now);
        Ok(Some(end.max(A_MINUTE.after(now))))
    }
}

/// When it is told again: what people have to decide, while they have not.
fn again(owed: &OwedNotice, rules: Option<&Rules>, now: Timestamp) -> Option<Timestamp> {
    let is_asked = !matches!(owed.matter, Matter::Late | Matter::Test);
    let every = rules.and_then(|rules| rules.remind).filter(|_| is_asked)?;
    Some(every.after(now))
}

fn record_of(at: Timestamp, owed: &OwedNotice) -> Record {
    let mut record = Record::new(at, Deed::ChannelTell, Stage::Outcome, system());
    record.subject = Subject { name: Some(owed.channel.to_string()), ..Subject::default() };
    match owed.matter {
        Matter::Late => record.subject.version = Some(owed.about.clone()),
        Matter::Write | Matter::Removal => {
            record.facts.insert("placement".to_owned(), serde_json::json!(owed.about));
        }
        _ => record.subject.request = Some(owed.about.clone()),
    }
    record.facts.insert("matter".to_owned(), serde_json::json!(owed.matter.as_str()));
    record.facts.insert("id".to_owned(), serde_json::json!(owed.id.to_string()));
    record
}
