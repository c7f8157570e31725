//! Holds: the programs that `run` started, and what they hold. As long as one lives, a version whose value it was given is in
//! use, whatever the provider says.
//!
//! Of several brokers each hears of the programs on its own machine, and only its own kernel knows them. A program is gone by
//! its silence when the broker that heard of it last was there to hear of it; one that is away says nothing of its programs.
//!
//! A program is known by a word that it was given with its keys, which is good for nothing else. It is heard of every few
//! seconds; and where it runs on this machine, the kernel says whether it lives.

use std::fmt::Write as _;

use jiff::Timestamp;
use keywright_core::id::VersionId;
use keywright_core::key::VersionState;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_ledger::{Hold, LedgerError, Listened};

use crate::broker::Broker;
use crate::error::Result;
use crate::receipt::given_out;

/// How often a program is heard of.
pub const AGAIN: Span = Span::from_seconds(2);
/// How old that may be before it is written down anew.
const RENEW: Span = Span::from_seconds(15);
/// How long a program may be silent, while somebody listens, before it counts as gone.
const LAPSE: Span = Span::from_seconds(60);
/// How long a program that nothing is heard of is remembered.
const FORGET: Span = Span::from_seconds(30 * 86_400);

/// A word for a program that is about to be started.
///
/// # Errors
/// When there is no randomness.
pub fn new_word() -> Result<String> {
    Ok(crate::auth::new_word("kwh_")?)
}

/// A value that a program holds, and that is not in force any more.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stale {
    /// The variable.
    pub name: String,
    /// Which version it holds.
    pub version: u64,
    /// Whether that version works still.
    pub works: bool,
}

/// How a program's values stand.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// Whether it was given any.
    pub known: bool,
    /// Those that are not in force any more.
    pub stale: Vec<Stale>,
}

/// Who is about to be given values, for as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its word.
    pub word: String,
    /// Its process, and when that began, as the kernel counts; where it is known.
    pub process: Option<(u64, u64)>,
}

impl Broker {
    /// Programs can be heard of from now on: somebody listens.
    pub fn listens(&self) {
        let _ = self.listening_since.set(self.now());
    }

    /// A program that holds values lives still, or, with `is_over`, has ended.
    ///
    /// # Errors
    /// When the ledger can't be read or written.
    pub async fn hear_of(&self, word: &str, is_over: bool) -> Result<Standing> {
        let id = self.hold_id(word);
        let wanted = id.clone();
        let read = self.ledger.read(move |tx| {
            let holds = tx.hold(&wanted)?;
            let mut stale = Vec::new();
            for hold in &holds {
                let given = given_out(tx, hold.key)?;
                let versions = tx.versions(hold.key)?;
                let held = versions.into_iter().find(|version| version.id == hold.version);
                if let Some(version) = held.filter(|version| given.iter().all(|one| one.id != version.id)) {
                    stale.push(Stale {
                        name: tx.key(hold.key)?.name.to_string(),
                        version: version.number,
                        works: version.state == VersionState::Draining,
                    });
                }
            }
            Ok::<_, LedgerError>((holds, stale))
        });
        let (holds, stale) = read.await?;
        let now = self.now();
        let by = self.hears_as();
        let is_old = holds.iter().any(|hold| RENEW.after(hold.seen_at) <= now || hold.seen_by != by);
        if is_over && !holds.is_empty() {
            self.ledger.write(move |tx| tx.end_hold(&id)).await?;
        } else if is_old {
            self.ledger.write(move |tx| tx.see_hold(&id, by.as_deref())).await?;
        }
        Ok(Standing { known: !holds.is_empty(), stale })
    }

    /// How many programs hold a version and live.
    pub(crate) async fn holders(&self, version: VersionId) -> Result<usize> {
        let read = self.ledger.read(move |tx| {
            let holds = tx.holds_of(version)?;
            let listening = |hold: &Hold| hold.seen_by.as_deref().map_or(Ok(None), |by| tx.listening(by));
            let listened =
                holds.iter().map(listening).collect::<std::result::Result<Vec<_>, LedgerError>>()?;
            Ok::<_, LedgerError>(holds.into_iter().zip(listened).collect::<Vec<_>>())
        });
        let holds = read.await?;
        let (since, now, own) = (self.listening_since.get().copied(), self.now(), self.hears_as());
        let is_there = |(hold, listened): &(Hold, Option<Listened>)| {
            // On a file nobody else hears of any, whatever a database said that the ledger was in before.
            if own.is_none() || hold.seen_by == own {
                lives(hold, since, now, began)
            } else {
                lives_elsewhere(hold, *listened)
            }
        };
        Ok(holds.iter().filter(|hold| is_there(hold)).count())
    }

    /// The name under which programs are heard of; none on a file, where nobody else hears of any.
    pub(crate) fn hears_as(&self) -> Option<String> {
        self.ledger.is_shared().then(|| self.owner.clone())
    }

    /// Tells the other brokers that this one is there to be spoken to, and which programs its kernel knows, heard of or not. The
    /// programs of which no broker is known to have heard, as an earlier Keywright leaves them, are this one's from here on:
    /// somebody has to find out that they ended. Those on another machine are that broker's again once it hears of them.
    pub(crate) async fn tell_listening(&self) -> Result<()> {
        let (Some(since), Some(own)) = (self.listening_since.get().copied(), self.hears_as()) else {
            return Ok(());
        };
        // Times of a clock that is off would say of programs that they are silent.
        if self.refuse_if_forked().is_err() || self.doubts_clock().is_some() {
            return Ok(());
        }
        let name = own.clone();
        let told =
            self.ledger.read(move |tx| tx.listening(&name).map_err(|error: LedgerError| error)).await?;
        let now = self.now();
        let is_fresh = |at: Timestamp| at <= now && now < RENEW.after(at);
        if told.is_some_and(|told| told.since == since && is_fresh(told.until)) {
            return Ok(());
        }
        let written = self.ledger.write(move |tx| {
            // Before it is said for how long this one hears: of what it takes on it has heard nothing yet.
            tx.adopt_holds(&own)?;
            let knows =
                |hold: &Hold| hold.process.is_some_and(|(process, since)| began(process) == Some(since));
            for hold in tx.holds_seen_by(&own)?.iter().filter(|hold| knows(hold)) {
                tx.see_hold(&hold.id, Some(&own))?;
            }
            tx.listened(&own, since)
        });
        Ok(written.await?)
    }

    /// Writes down who is given which versions, in the transaction that says so in the log.
    pub(crate) fn write_holds(
        tx: &keywright_ledger::Tx<'_>,
        id: &str,
        holder: &Holder,
        given: &[(keywright_core::id::KeyId, VersionId)],
        by: Option<&str>,
    ) -> std::result::Result<(), LedgerError> {
        tx.forget_holds(FORGET)?;
        for (key, version) in given {
            tx.add_hold(id, *version, *key, holder.process, by)?;
        }
        Ok(())
    }

    pub(crate) fn hold_id(&self, word: &str) -> String {
        let hash = self.keyring.token_hash(&Secret::new(word.to_owned()));
        hash.iter().fold(String::new(), |mut text, byte| {
            // A text takes whatever it is given.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Whether a program lives: the kernel knows its process, or it was heard of lately. While nobody listens nothing can be heard
/// of it.
fn lives(hold: &Hold, since: Option<Timestamp>, now: Timestamp, began: impl Fn(u64) -> Option<u64>) -> bool {
    let is_there = hold.process.is_some_and(|(process, since)| began(process) == Some(since));
    let is_heard_of = match since {
        Some(since) => LAPSE.after(hold.seen_at.max(since)) > now,
        None => hold.process.is_none(),
    };
    is_there || is_heard_of
}

/// Whether a program on another broker's machine lives: that broker was there for long enough after it heard of the program
/// last, and heard nothing. Whoever's programs nobody knows live.
fn lives_elsewhere(hold: &Hold, listened: Option<Listened>) -> bool {
    listened.is_none_or(|listened| LAPSE.after(hold.seen_at.max(listened.since)) > listened.until)
}

/// When a process began (proc_pid_stat(5), `starttime`): together with its id it is of this process alone. None of one that
/// has ended.
#[must_use]
pub fn began(process: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, and ends with the last parenthesis; the time is the 20th field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use keywright_core::id::{KeyId, VersionId};

    use super::*;

    #[test]
    fn a_program_lives_that_the_kernel_knows_or_that_was_heard_of() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let hold = |process| Hold {
            id: "x".to_owned(),
            version: VersionId::generate(at(0), [1; 10]),
            key: KeyId::generate(at(0), [1; 10]),
            process,
            began_at: at(0),
            seen_at: at(100),
            seen_by: None,
        };
        let began = |process| (process == 7).then_some(70);
        for (process, since, now, wanted) in [
            // Heard of less than a minute ago, or nobody has listened for a minute.
            (None, Some(0), 159, true),
            (None, Some(0), 160, false),
            (None, Some(150), 209, true),
            (None, Some(150), 210, false),
            // Nobody listens.
            (None, None, 100_000, true),
            (Some((8, 80)), None, 101, false),
            // The kernel knows it; or another one that has its number.
            (Some((7, 70)), None, 100_000, true),
            (Some((7, 70)), Some(0), 100_000, true),
            (Some((7, 71)), Some(0), 100_000, false),
            (Some((8, 80)), Some(0), 159, true),
        ] {
            let lives = lives(&hold(process), since.map(at), at(now), began);
            assert_eq!(lives, wanted, "{process:?} {since:?} {now}");
        }
    }

    #[test]
    fn a_process_is_told_by_when_it_began() {
        let own = u64::from(std::process::id());
        assert!(began(own).is_some());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = u64::from(child.id());
        assert!(began(id) >= began(own));
        child.kill().unwrap();
        // Dead, and not collected yet, holds nothing.
        for _ in 0..100 {
            if began(id).is_none() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(began(id), None);
        child.wait().unwrap();
    }
}
