//! Channels, and what each of them has to tell people.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_core::channel::{ChannelKind, Matter, NoticeState, Rules};
use keywright_core::id::{NoticeId, SealedId};
use keywright_core::name::ChannelName;

use super::none_of;
use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json};

/// A way in which people hear that something waits for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredChannel {
    /// The name.
    pub name: ChannelName,
    /// What it goes through.
    pub kind: ChannelKind,
    /// Where it goes, as far as that is no secret.
    pub settings: BTreeMap<String, String>,
    /// When it tells, and how much.
    pub rules: Rules,
    /// What it needs that is a secret, where that is.
    pub credential: Option<SealedId>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it told something last.
    pub told_at: Option<Timestamp>,
    /// When it could not, last.
    pub failed_at: Option<Timestamp>,
    /// How often it could not since it told something.
    pub failures: u64,
    /// Why it could not, last.
    pub trouble: Option<String>,
}

/// Something that one channel has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedNotice {
    /// Its id, by which a receiver knows that it was told before.
    pub id: NoticeId,
    /// Which channel tells it.
    pub channel: ChannelName,
    /// What it is about.
    pub matter: Matter,
    /// The id of that.
    pub about: String,
    /// When that began to wait.
    pub at: Timestamp,
    /// How it stands.
    pub state: NoticeState,
    /// How often it was told.
    pub turn: u64,
    /// How often it was tried in vain since.
    pub tries: u64,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// Since when it is tried in vain.
    pub failing_since: Option<Timestamp>,
    /// When it was told last.
    pub told_at: Option<Timestamp>,
    /// What went wrong last.
    pub trouble: Option<String>,
}

pub(crate) const CHANNELS: Facts = Facts { table: "channels", what: "channel", count: 6, columns: CHANNEL };
const CHANNEL: &str =
    "name, kind, settings, rules, credential, added_at, told_at, failed_at, failures, trouble, mac";
pub(crate) const NOTICES: Facts = Facts { table: "notices", what: "notice", count: 5, columns: NOTICE };
const NOTICE: &str =
    "id, channel, matter, about, at, state, turn, tries, due_at, failing_since, told_at, trouble, mac";

impl ConfiguredChannel {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        CHANNELS.check(tx, row)?;
        Ok(Self {
            name: row.parse(0, "channel name")?,
            kind: row.state(1, ChannelKind::parse)?,
            settings: row.json(2, "channel")?,
            rules: row.json(3, "channel")?,
            credential: row.maybe_parse(4, "sealed value id")?,
            added_at: row.time(5)?,
            told_at: row.maybe_time(6)?,
            failed_at: row.maybe_time(7)?,
            failures: row.count(8)?,
            trouble: row.maybe_text(9)?.map(str::to_owned),
        })
    }
}

impl OwedNotice {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        NOTICES.check(tx, row)?;
        Ok(Self {
            id: row.parse(0, "notice id")?,
            channel: row.parse(1, "channel name")?,
            matter: row.state(2, Matter::parse)?,
            about: row.text(3)?.to_owned(),
            at: row.time(4)?,
            state: row.state(5, NoticeState::parse)?,
            turn: row.count(6)?,
            tries: row.count(7)?,
            due_at: row.time(8)?,
            failing_since: row.maybe_time(9)?,
            told_at: row.maybe_time(10)?,
            trouble: row.maybe_text(11)?.map(str::to_owned),
        })
    }
}

impl Tx<'_> {
    /// The channels, by name.
    ///
    /// # Errors
    /// When the ledger can't be read, or one of them was edited.
    pub fn channels(&self) -> Result<Vec<ConfiguredChannel>> {
        let sql = format!("SELECT {CHANNEL} FROM channels ORDER BY name");
        self.query(&sql, &[])?.iter().map(|row| ConfiguredChannel::read(self, row)).collect()
    }

    /// The channels that are as they were added, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sound_channels(&self) -> Result<Vec<ConfiguredChannel>> {
        let sql = format!("SELECT {CHANNEL} FROM channels ORDER BY name");
        self.sound(&self.query(&sql, &[])?, ConfiguredChannel::read)
    }

    /// One channel.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn channel(&self, name: &ChannelName) -> Result<ConfiguredChannel> {
        let sql = format!("SELECT {CHANNEL} FROM channels WHERE name = $1");
        let row = self.first(&sql, &[Value::text(name)])?;
        row.map(|row| ConfiguredChannel::read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "channel", name: name.to_string() })
    }

    /// Adds a channel, whose credential was sealed in the same transaction where it has one.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_channel(&self, channel: &ConfiguredChannel) -> Result<()> {
        let facts = vec![
            Value::text(&channel.name),
            Value::text(channel.kind),
            json(&channel.settings)?,
            json(&channel.rules)?,
            Value::maybe(channel.credential),
            channel.added_at.into(),
        ];
        let rows = self.execute(
            "INSERT INTO channels (name, kind, settings, rules, credential, added_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            &CHANNELS.with(self, facts, [])?,
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "channel", name: channel.name.to_string() });
        }
        Ok(())
    }

    /// Removes a channel, and what it has not told yet. Its credential is the caller's to erase.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_channel(&self, name: &ChannelName) -> Result<()> {
        if self.execute("DELETE FROM channels WHERE name = $1", &[Value::text(name)])? == 0 {
            return Err(LedgerError::Missing { what: "channel", name: name.to_string() });
        }
        self.execute(
            "UPDATE notices SET state = $2 WHERE channel = $1 AND state = 'owed'",
            &[Value::text(name), Value::text(NoticeState::Over)],
        )?;
        Ok(())
    }

    /// A channel told something.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn channel_told(&self, name: &ChannelName) -> Result<()> {
        self.execute(
            "UPDATE channels SET told_at = $2, failures = 0 WHERE name = $1",
            &[Value::text(name), self.now().into()],
        )?;
        Ok(())
    }

    /// A channel could not tell something.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn channel_failed(&self, name: &ChannelName, trouble: &str) -> Result<()> {
        self.execute(
            "UPDATE channels SET failed_at = $2, failures = failures + 1, trouble = $3 WHERE name = $1",
            &[Value::text(name), self.now().into(), trouble.into()],
        )?;
        Ok(())
    }

    /// The channels whose last tries failed, so many of them or more, and why. Nothing of it is vouched for.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn channels_failing(&self, tries: u64) -> Result<Vec<(String, String)>> {
        let sql = "SELECT name, trouble FROM channels WHERE failures >= $1 ORDER BY name";
        let rows = self.query(sql, &[tries.into()])?;
        rows.iter()
            .map(|row| Ok((row.text(0)?.to_owned(), row.maybe_text(1)?.unwrap_or_default().to_owned())))
            .collect()
    }

    /// How many of the requests that wait there was much to lose with when they were asked, as the inbox is sorted.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_high(&self) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM requests WHERE status = 'pending_approval' AND risk >= 2";
        self.first(sql, &[])?.map_or(Ok(0), |row| row.count(0))
    }

    /// A channel has to tell something, at `due_at` or later. That it has to already is as good.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_notice(
        &self,
        id: NoticeId,
        channel: &ChannelName,
        matter: Matter,
        about: &str,
        due_at: Timestamp,
    ) -> Result<()> {
        let facts =
            vec![Value::text(id), Value::text(channel), Value::text(matter), about.into(), self.now().into()];
        let rest = [Value::text(NoticeState::Owed), due_at.into()];
        self.execute(
            "INSERT INTO notices (id, channel, matter, about, at, state, due_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            &NOTICES.with(self, facts, rest)?,
        )?;
        Ok(())
    }

    /// What has to be told now, the longest due first; nothing of the channels that are busy.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn notices_due(&self, limit: u32, busy: &[ChannelName]) -> Result<Vec<OwedNotice>> {
        let (besides, names) = none_of("channel", busy, 2);
        let sql = format!(
            "SELECT {NOTICE} FROM notices WHERE state = 'owed' AND due_at <= $1{besides} ORDER BY due_at, id"
        );
        let mut parameters = vec![self.now().into()];
        parameters.extend(names);
        self.first_sound(&sql, &parameters, limit, OwedNotice::read)
    }

    /// What was and has to be told about something, by channel.
    ///
    /// # Errors
    /// When the ledger can't be read, or a row was edited.
    pub fn notices_about(&self, about: &str) -> Result<Vec<OwedNotice>> {
        let sql = format!("SELECT {NOTICE} FROM notices WHERE about = $1 ORDER BY channel, matter");
        self.query(&sql, &[about.into()])?.iter().map(|row| OwedNotice::read(self, row)).collect()
    }

    /// It was told; and is told again at `again`, where that is said.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn notice_told(&self, notice: &OwedNotice, again: Option<Timestamp>) -> Result<()> {
        let state = if again.is_some() { NoticeState::Owed } else { NoticeState::Told };
        self.execute(
            "UPDATE notices SET state = $3, turn = turn + 1, tries = 0, due_at = $4, failing_since = NULL, told_at = $5, \
             trouble = NULL WHERE id = $1 AND turn = $2 AND state = 'owed'",
            &[
                Value::text(notice.id),
                notice.turn.into(),
                Value::text(state),
                again.unwrap_or(notice.due_at).into(),
                self.now().into(),
            ],
        )?;
        Ok(())
    }

    /// It could not be told; it is tried again at `due_at`, or given up.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn notice_failed(&self, notice: &OwedNotice, due_at: Option<Timestamp>, trouble: &str) -> Result<()> {
        let state = if due_at.is_some() { NoticeState::Owed } else { NoticeState::GivenUp };
        self.execute(
            "UPDATE notices SET state = $3, tries = tries + 1, due_at = $4, failing_since = COALESCE(failing_since, $5), \
             trouble = $6 WHERE id = $1 AND turn = $2 AND state = 'owed'",
            &[
                Value::text(notice.id),
                notice.turn.into(),
                Value::text(state),
                due_at.unwrap_or(notice.due_at).into(),
                self.now().into(),
                trouble.into(),
            ],
        )?;
        Ok(())
    }

    /// It is told later, because it is quiet now.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn notice_waits(&self, notice: &OwedNotice, due_at: Timestamp) -> Result<()> {
        self.execute(
            "UPDATE notices SET due_at = $2 WHERE id = $1 AND state = 'owed'",
            &[Value::text(notice.id), due_at.into()],
        )?;
        Ok(())
    }

    /// Nothing has to be told any more: what it is about waits no longer.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn notice_over(&self, notice: &OwedNotice) -> Result<()> {
        self.execute(
            "UPDATE notices SET state = $2 WHERE id = $1 AND state = 'owed'",
            &[Value::text(notice.id), Value::text(NoticeState::Over)],
        )?;
        Ok(())
    }
}
