//! Channels: how people hear that something waits for them, when, and what they are told. Never a secret and never a prompt; why
//! it was asked only where the channel says so.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use crate::id::NoticeId;
use crate::key::state;
use crate::name::ChannelName;
use crate::span::Span;
use crate::text::Untrusted;
use crate::verdict::Level;

state!(/// What a channel goes through.
ChannelKind {
    /// A window of the desktop on which the broker runs.
    Desktop = "desktop",
    /// A signed message to an address.
    Webhook = "webhook",
    /// An incoming webhook of Slack.
    Slack = "slack",
    /// A webhook of a channel of Discord.
    Discord = "discord",
    /// A topic of ntfy.
    Ntfy = "ntfy",
    /// Mail.
    Email = "email",
});

impl std::str::FromStr for ChannelKind {
    type Err = NoSuchChannel;
    fn from_str(text: &str) -> Result<Self, NoSuchChannel> {
        Self::parse(text).ok_or(NoSuchChannel)
    }
}

/// A word that is no kind of channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a channel is a `desktop`, `webhook`, `slack`, `discord`, `ntfy` or `email`")]
pub struct NoSuchChannel;

state!(/// What people are told of.
Matter {
    /// A request waits for approval.
    Request = "request.waiting",
    /// A proposed template waits for review.
    Proposal = "proposal.waiting",
    /// A store has the write of a value, and does it once somebody approved it there.
    Write = "write.waiting",
    /// A store still has a value that has to go, and somebody has to approve or reject a change there.
    Removal = "removal.waiting",
    /// A version that was replaced lives longer than it should.
    Late = "version.late",
    /// An operator tries whether the channel works.
    Test = "channel.test",
});

state!(/// How a notice stands.
NoticeState {
    /// It has to be told yet, or told again.
    Owed = "owed",
    /// It was told, and nothing more comes of it.
    Told = "told",
    /// What it is about waits no longer, or the channel is gone.
    Over = "over",
    /// It could not be told for a whole day.
    GivenUp = "given-up",
});

/// When a channel tells, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Only what waits still after so long; at once without.
    pub after: Option<Span>,
    /// Again each so long while it waits; once without.
    pub remind: Option<Span>,
    /// When it says nothing.
    pub quiet: Option<Quiet>,
    /// Whether what is high may pass that.
    pub is_urgent: bool,
    /// Whether it tells why something was asked, in the asker's words.
    pub with_purpose: bool,
}

/// Hours of each day in which nothing is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    from: u16,
    until: u16,
    /// The time zone, by its name in the IANA database.
    pub zone: String,
}

/// Hours that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` are no quiet hours; write them as `22:00-07:00`")]
pub struct QuietError(Untrusted);

impl Quiet {
    /// Reads `22:00-07:00`.
    ///
    /// # Errors
    /// When it is in another form, or begins where it ends.
    pub fn parse(hours: &str, zone: String) -> Result<Self, QuietError> {
        let bad = || QuietError(Untrusted::capped(hours, 40));
        let (from, until) = hours.split_once('-').ok_or_else(bad)?;
        let (from, until) = (minute(from).ok_or_else(bad)?, minute(until).ok_or_else(bad)?);
        if from == until { Err(bad()) } else { Ok(Self { from, until, zone }) }
    }

    /// When the quiet ends that holds at a moment, both as clocks in its zone show it; nothing where it is not quiet.
    #[must_use]
    pub fn ends(&self, local: DateTime) -> Option<DateTime> {
        let now = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let is_quiet = if self.from < self.until {
            (self.from..self.until).contains(&now)
        } else {
            now >= self.from || now < self.until
        };
        if !is_quiet {
            return None;
        }
        let day = if now < self.until { local.date() } else { local.date().tomorrow().ok()? };
        let (hour, minute) = (i8::try_from(self.until / 60).ok()?, i8::try_from(self.until % 60).ok()?);
        Some(day.at(hour, minute, 0, 0))
    }
}

impl std::fmt::Display for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, until) = (self.from, self.until);
        write!(f, "{:02}:{:02}-{:02}:{:02} {}", from / 60, from % 60, until / 60, until % 60, self.zone)
    }
}

/// The minute of the day of `07:30`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| -> Option<u16> {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain { text.parse().ok() } else { None }
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Where people go on from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// A page of the broker's.
    Page(String),
    /// A command.
    Command(String),
}

/// What people are told. There is no room for a secret or a prompt in it. Whatever somebody else wrote is one line, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same however often it is tried.
    pub id: NoticeId,
    /// How often it was told before: a reminder has a number.
    pub turn: u64,
    /// By which channel.
    pub channel: ChannelName,
    /// What it is about.
    pub matter: Matter,
    /// The id of that.
    pub about: String,
    /// Since when it waits.
    pub at: Timestamp,
    /// For how long that is.
    pub waited: Option<Span>,
    /// How much there is to lose.
    pub level: Option<Level>,
    /// What it comes to, in one line, without the level.
    pub line: String,
    /// What else is known, as names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Where to go on.
    pub onward: Option<Onward>,
    /// Why it was asked, in the asker's words.
    pub purpose: Option<Untrusted>,
}

impl Notice {
    /// By which a receiver knows that it was told before. A reminder is another message.
    #[must_use]
    pub fn message_id(&self) -> String {
        match self.turn {
            0 => self.id.to_string(),
            turn => format!("{}-{turn}", self.id),
        }
    }

    /// What happened, in our words.
    #[must_use]
    pub fn heading(&self) -> &'static str {
        match (self.matter, self.turn) {
            (Matter::Request, 0) => "A request waits for approval",
            (Matter::Request, _) => "A request still waits for approval",
            (Matter::Proposal, 0) => "A proposed template waits for review",
            (Matter::Proposal, _) => "A proposed template still waits for review",
            (Matter::Write | Matter::Removal, 0) => "A change waits in a store",
            (Matter::Write | Matter::Removal, _) => "A change still waits in a store",
            (Matter::Late, _) => "An old version lives longer than it should",
            (Matter::Test, _) => "A test of this channel",
        }
    }

    /// The verdict, in one line: `HIGH: new Cloudflare token, ...`.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.level {
            Some(level) => format!("{level}: {}", self.line),
            None => self.line.clone(),
        }
    }

    /// What else is known, as it is shown: `asked by agent bot`.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        let waited = self.waited.map(|span| ("waiting for", lasted(span)));
        self.facts.iter().cloned().chain(waited).collect()
    }
}

/// A span as people say it: `12 minutes`.
#[must_use]
pub fn lasted(span: Span) -> String {
    let of = |size: u64, one: &str| {
        let count = span.seconds() / size;
        match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {one}s")),
        }
    };
    of(86_400, "day")
        .or_else(|| of(3_600, "hour"))
        .or_else(|| of(60, "minute"))
        .unwrap_or_else(|| "less than a minute".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_end_today_or_tomorrow_and_hold_up_to_their_last_minute() {
        let ends = |hours: &str, now: &str| {
            let quiet = Quiet::parse(hours, "Europe/Berlin".to_owned()).unwrap();
            quiet.ends(now.parse().unwrap()).map(|at| at.to_string())
        };
        for (hours, now, end) in [
            ("22:00-07:00", "2026-11-27T21:59:59", None),
            ("22:00-07:00", "2026-11-27T22:00:00", Some("2026-11-28T07:00:00")),
            ("22:00-07:00", "2026-11-30T23:30:00", Some("2026-12-01T07:00:00")),
            ("22:00-07:00", "2026-11-28T06:59:59", Some("2026-11-28T07:00:00")),
            ("22:00-07:00", "2026-11-28T07:00:00", None),
            ("12:30-13:15", "2026-11-28T12:29:00", None),
            ("12:30-13:15", "2026-11-28T13:14:59", Some("2026-11-28T13:15:00")),
            ("12:30-13:15", "2026-11-28T13:15:00", None),
            ("00:00-23:59", "2026-11-28T23:59:10", None),
        ] {
            assert_eq!(ends(hours, now).as_deref(), end, "{hours} {now}");
        }
        let quiet = Quiet::parse("07:05-22:00", "UTC".to_owned()).unwrap();
        assert_eq!(quiet.to_string(), "07:05-22:00 UTC");
    }

    #[test]
    fn hours_in_another_form_are_refused() {
        for bad in
            ["", "22:00", "22-07", "24:00-07:00", "22:60-07:00", "2:00-07:00", "07:00-07:00", "+1:00-02:00"]
        {
            assert!(Quiet::parse(bad, "UTC".to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        for (seconds, said) in [
            (1, "less than a minute"),
            (60, "1 minute"),
            (3_599, "59 minutes"),
            (3_600, "1 hour"),
            (200_000, "2 days"),
        ] {
            assert_eq!(lasted(Span::from_seconds(seconds)), said);
        }
    }
}
