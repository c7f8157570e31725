//! What was tried, what was found, and how it is told. A line a point in a journal, so that a long siege can be interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::calls::Kind;
use crate::front::Front;
use crate::point::Found;

/// The name of a point, as the journal and `--point` have it: `mint-env/command/sqlite/kill/17`.
pub(crate) fn name(front: Front, kind: Kind, nth: u32) -> String {
    format!("{front}/{}/{nth}", kind.as_str())
}

/// Everything that was found.
#[derive(Default)]
pub(crate) struct Tally {
    journal: Option<File>,
    pub(crate) done: BTreeSet<String>,
    /// Points by front and kind.
    points: BTreeMap<(String, String), u64>,
    sums: BTreeMap<String, u64>,
    /// How long each took, in milliseconds, and which it was.
    recoveries: Vec<(u64, String)>,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// Goes on from a journal, if it is about the same binary.
    pub(crate) fn from_journal(path: &Path, binary: &str) -> std::io::Result<Self> {
        let mut tally = Self::default();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines();
        let goes_on = lines.next() == Some(binary);
        if goes_on {
            for line in lines {
                tally.count(line);
            }
        }
        let mut journal = File::options().create(true).append(true).open(path)?;
        if !goes_on {
            journal.set_len(0)?;
            writeln!(journal, "{binary}")?;
        }
        tally.journal = Some(journal);
        Ok(tally)
    }

    /// Adds a point; one at which nothing happened any more is no crash point, and is looked at all the same.
    pub(crate) fn add(&mut self, front: Front, kind: Kind, nth: u32, found: &Found) {
        let name = name(front, kind, nth);
        let facts = [
            u64::from(found.struck.is_some()),
            u64::from(found.uses.calls),
            u64::from(found.uses.refused),
            found.orphans as u64,
            (found.gaps as u64) + u64::from(found.uses.gaps),
            found.doubles as u64,
            u64::from(found.audit_is_sound),
            u64::try_from(found.recovery.as_millis()).unwrap_or(u64::MAX),
        ];
        let facts = facts.map(|fact| fact.to_string()).join(" ");
        let struck = found.struck.as_deref().unwrap_or("-").replace(' ', ":");
        let wrong = found.wrong.join("; ").replace(['\n', '\t'], " ");
        let verdict = if found.is_clean() { "clean" } else { "FAILED" };
        let line = format!("{name}\t{facts}\t{verdict}\t{struck}\t{wrong}");
        if let Some(journal) = &mut self.journal {
            writeln!(journal, "{line}").ok();
        }
        self.count(&line);
    }

    fn count(&mut self, line: &str) {
        let mut parts = line.split('\t');
        let (Some(name), Some(facts)) = (parts.next(), parts.next()) else { return };
        let facts: Vec<u64> = facts.split(' ').filter_map(|fact| fact.parse().ok()).collect();
        let [struck, calls, refused, orphans, gaps, doubles, sound, recovery] = facts[..] else { return };
        let rest: Vec<&str> = parts.collect();
        if rest.first() != Some(&"clean") {
            self.failures.push(format!(
                "{name}  {} {}",
                facts_in_words(orphans, gaps, doubles, refused),
                rest.join("  ")
            ));
        }
        self.done.insert(name.to_owned());
        let mut path: Vec<&str> = name.split('/').collect();
        path.pop();
        if let Some(kind) = path.pop() {
            *self.points.entry((path.join("/"), kind.to_owned())).or_default() += struck;
        }
        let told = [
            ("runs", 1),
            ("points", struck),
            ("calls", calls),
            ("refused", refused),
            ("orphans", orphans),
            ("gaps", gaps),
            ("doubles", doubles),
            ("sound", sound),
        ];
        for (what, count) in told {
            *self.sums.entry(what.to_owned()).or_default() += count;
        }
        if struck == 1 && recovery > 0 {
            self.recoveries.push((recovery, name.to_owned()));
        }
    }

    fn sum(&self, what: &str) -> u64 {
        self.sums.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn points(&self) -> u64 {
        self.sum("points")
    }

    /// The report.
    pub(crate) fn report(&mut self) -> String {
        let mut text = String::new();
        let _ = write!(text, "{:<28}", "crash points");
        for kind in Kind::ALL {
            let _ = write!(text, "{:>9}", kind.as_str());
        }
        text.push('\n');
        let fronts: BTreeSet<&String> = self.points.keys().map(|(front, _)| front).collect();
        for front in fronts {
            let _ = write!(text, "{front:<28}");
            for kind in Kind::ALL {
                let key = (front.clone(), kind.as_str().to_owned());
                let _ = write!(text, "{:>9}", self.points.get(&key).copied().unwrap_or(0));
            }
            text.push('\n');
        }
        self.recoveries.sort_unstable();
        let times: Vec<u64> = self.recoveries.iter().map(|(took, _)| *took).collect();
        let at = |share: f64| percentile(&times, share);
        let _ = write!(
            text,
            "\n{} crash points in {} runs: {} orphans, {} gaps, {} double mints\n\
             a consumer's calls: {}, refused {}\n\
             audit log verified: {} of {}\n\
             recovery: p50 {} ms, p99 {} ms, max {} ms{}\n",
            self.points(),
            self.sum("runs"),
            self.sum("orphans"),
            self.sum("gaps"),
            self.sum("doubles"),
            self.sum("calls"),
            self.sum("refused"),
            self.sum("sound"),
            self.sum("runs"),
            at(0.5),
            at(0.99),
            at(1.0),
            self.recoveries.last().map_or_else(String::new, |(_, slowest)| format!(" at {slowest}")),
        );
        for failure in &self.failures {
            let _ = writeln!(text, "FAILED  cargo xtask crash --point {failure}");
        }
        text
    }
}

fn facts_in_words(orphans: u64, gaps: u64, doubles: u64, refused: u64) -> String {
    format!("({orphans} orphans, {gaps} gaps, {doubles} double mints, {refused} refused)")
}

/// The value below which this share of the sorted values lies.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list of some thousand"
    )]
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(0)
}

/// What tells one binary from another.
pub(crate) fn build_of(binary: &Path) -> std::io::Result<String> {
    let facts = std::fs::metadata(binary)?;
    let since = facts.modified()?.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(format!("binary {} {}", facts.len(), since.as_millis()))
}

/// Where the journal of a long siege is.
pub(crate) fn journal_beside(binary: &Path) -> PathBuf {
    binary.with_file_name("crash-points.tsv")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::{Deed, Engine, Way};

    const FRONT: Front = Front { deed: Deed::Rotate, way: Way::Broker, engine: Engine::Sqlite };

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| percentile(&values, share)), [100, 198, 200]);
        assert_eq!(percentile(&[7], 0.5), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn a_journal_is_gone_on_with_only_for_the_same_binary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut tally = Tally::from_journal(&path, "binary 1 1").unwrap();
        let clean = Found { struck: Some("write x".to_owned()), audit_is_sound: true, ..Found::default() };
        tally.add(FRONT, Kind::Kill, 3, &clean);
        let orphan = Found {
            struck: Some("write y".to_owned()),
            audit_is_sound: true,
            orphans: 1,
            ..Found::default()
        };
        tally.add(FRONT, Kind::Torn, 4, &orphan);

        let mut again = Tally::from_journal(&path, "binary 1 1").unwrap();
        assert!(again.done.contains("rotate/broker/sqlite/kill/3"));
        assert_eq!((again.points(), again.failures.len()), (2, 1));
        assert!(again.failures[0].starts_with("rotate/broker/sqlite/torn/4"), "{}", again.failures[0]);
        assert!(again.report().contains("1 orphans"));
        assert_eq!(Tally::from_journal(&path, "binary 2 2").unwrap().points(), 0);
    }
}
