//! `cargo xtask eval [RECORDS] [--out PREDICTIONS] [--misses N] [--bench]`: the planner for plain words against a yardstick of
//! questions with their right answers, one JSON object a line. See `tests/eval/README.md`. With `--bench` also what it
//! costs, from an optimised build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use keywright_catalog::words::{Answer, Status, plan};
use keywright_catalog::{Access, Catalog};
use serde::Deserialize;
use serde_json::json;

/// Where the yardstick stands when no path is given.
const RECORDS: &str = "tests/eval/dev.jsonl";

/// Every token of a GitHub App reads metadata.
const FREE: &str = "metadata:read";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvalError {
    /// A file could not be read or written.
    #[error("`{path}`: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line is not a record.
    #[error("line {line} of the yardstick: {source}")]
    Record {
        /// Its number.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A record's provider has no catalog.
    #[error(transparent)]
    Catalog(#[from] keywright_catalog::CatalogError),
    /// The arguments.
    #[error("usage: cargo xtask eval [RECORDS] [--out PREDICTIONS] [--misses N] [--bench]")]
    Usage,
    /// The bench could not be started, or stopped.
    #[error("`cargo bench` of the catalogs: {0}")]
    Bench(String),
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

type Sets = Vec<Vec<Named>>;

#[derive(Deserialize)]
struct Record {
    id: String,
    provider: String,
    query: String,
    ambiguous: bool,
    adversarial: bool,
    read_only: bool,
    minimal: Sets,
    acceptable: Sets,
    #[serde(default)]
    candidates: Sets,
    #[serde(default)]
    candidates_acceptable: Sets,
    optional: Vec<String>,
    forbidden: Vec<String>,
    #[serde(default)]
    must_not: Vec<String>,
    #[serde(default)]
    expected: Option<String>,
    #[serde(default)]
    resource_spoofs: Option<String>,
}

/// Counts over the records of one provider, or all of them.
#[derive(Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, (usize, usize)>,
}

impl Tally {
    fn count(&mut self, what: &'static str, holds: bool) {
        let (hits, all) = self.counts.entry(what).or_default();
        *hits += usize::from(holds);
        *all += 1;
    }

    /// A score in percent.
    pub(crate) fn percent(&self, what: &str) -> f64 {
        let (hits, all) = self.counts.get(what).copied().unwrap_or_default();
        if all == 0 { 0.0 } else { hits as f64 * 100.0 / all as f64 }
    }
}

/// All scores, and the lines that go with them.
pub(crate) struct Scores {
    pub(crate) by_provider: BTreeMap<String, Tally>,
    misses: Vec<String>,
    predictions: String,
}

const SCORES: [&str; 12] = [
    "exact",
    "acceptable",
    "sufficient",
    "top3",
    "forbidden",
    "read-only violated",
    "false question",
    "ambiguous ok",
    "must-not picked",
    "adversarial violated",
    "adversarial ok",
    "adversarial served",
];

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<String, EvalError> {
    let mut records = RECORDS.to_owned();
    let mut out = None;
    let mut misses = 0;
    let mut bench = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--out" => out = Some(rest.next().ok_or(EvalError::Usage)?.clone()),
            "--misses" => misses = rest.next().and_then(|n| n.parse().ok()).ok_or(EvalError::Usage)?,
            "--bench" => bench = true,
            path if !path.starts_with('-') => path.clone_into(&mut records),
            _ => return Err(EvalError::Usage),
        }
    }
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source| EvalError::File { path, source }
    };
    let text = std::fs::read_to_string(&records).map_err(failed(&records))?;
    let scores = score(&text)?;
    if let Some(out) = out {
        std::fs::write(&out, &scores.predictions).map_err(failed(&out))?;
    }
    let mut said = String::new();
    for miss in scores.misses.iter().take(misses) {
        writeln!(said, "{miss}").ok();
    }
    let providers: Vec<&String> = scores.by_provider.keys().collect();
    write!(said, "{:22}", "").ok();
    for provider in &providers {
        write!(said, "{provider:>14}").ok();
    }
    for what in SCORES {
        write!(said, "\n{what:22}").ok();
        for tally in scores.by_provider.values() {
            match tally.counts.get(what) {
                Some((_, all)) => write!(said, "{:>14}", format!("{:.1} ({all})", tally.percent(what))).ok(),
                None => write!(said, "{:>14}", "-").ok(),
            };
        }
    }
    if bench {
        write!(said, "\n\n{}", costs()?.trim_end()).ok();
    }
    Ok(said)
}

/// What the catalogs' bench prints: it is built to be fast, as this task is not.
fn costs() -> Result<String, EvalError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ran = std::process::Command::new(cargo)
        .args(["bench", "--quiet", "--package", "keywright-catalog", "--bench", "words"])
        .output()
        .map_err(|error| EvalError::Bench(error.to_string()))?;
    if ran.status.success() {
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    } else {
        Err(EvalError::Bench(String::from_utf8_lossy(&ran.stderr).trim().to_owned()))
    }
}

/// Scores every record of a yardstick.
pub(crate) fn score(text: &str) -> Result<Scores, EvalError> {
    let mut scores = Scores { by_provider: BTreeMap::new(), misses: Vec::new(), predictions: String::new() };
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record: Record =
            serde_json::from_str(line).map_err(|source| EvalError::Record { line: at + 1, source })?;
        let catalog = Catalog::for_provider(&record.provider)?;
        let answer = plan(&record.query, catalog);
        scores.record(&record, &answer);
    }
    Ok(scores)
}

impl Scores {
    fn record(&mut self, record: &Record, answer: &Answer<'_>) {
        let named = str::to_owned;
        let given: BTreeSet<String> = answer.permissions.iter().map(|one| named(one.name)).collect();
        let optional: BTreeSet<String> = record.optional.iter().cloned().chain([FREE.to_owned()]).collect();
        let bare = |set: &BTreeSet<String>| set.difference(&optional).cloned().collect::<BTreeSet<_>>();
        let sets = |sets: &Sets| -> Vec<BTreeSet<String>> {
            sets.iter().map(|set| bare(&set.iter().map(|one| one.name.clone()).collect())).collect()
        };
        let asked = matches!(answer.status, Status::Question | Status::Candidates | Status::Refused)
            && answer.candidates.len() < 2
            || answer.status == Status::Question
            || answer.status == Status::Refused;
        let candidates: Vec<BTreeSet<String>> = answer
            .candidates
            .iter()
            .map(|one| bare(&one.permissions.iter().map(|one| named(one.name)).collect()))
            .collect();
        let prediction = json!({
            "id": record.id,
            "permissions": answer.permissions.iter().map(|one| json!({"name": named(one.name), "scope": one.scope})).collect::<Vec<_>>(),
            "candidates": answer.candidates.iter().map(|one| one.permissions.iter().map(|one| named(one.name)).collect::<Vec<_>>()).collect::<Vec<_>>(),
            "ask": asked,
            "resource": answer.resources.first(),
            "operations": answer.operations,
        });
        writeln!(self.predictions, "{prediction}").ok();
        let gold = sets(&record.minimal);
        let acceptable = sets(&record.acceptable);
        let bare_given = bare(&given);
        let mut shown: Vec<BTreeSet<String>> =
            if given.is_empty() { Vec::new() } else { vec![bare_given.clone()] };
        for candidate in candidates {
            if !shown.contains(&candidate) {
                shown.push(candidate);
            }
        }
        shown.truncate(3);
        let everything =
            [&record.minimal, &record.acceptable, &record.candidates, &record.candidates_acceptable];
        let allowed: BTreeSet<String> = everything
            .into_iter()
            .flatten()
            .flatten()
            .map(|one| one.name.clone())
            .chain(optional.iter().cloned())
            .collect();
        let mut results: Vec<(&'static str, bool)> = Vec::new();
        if record.ambiguous {
            let right: Vec<BTreeSet<String>> =
                [sets(&record.candidates), sets(&record.candidates_acceptable)].concat();
            let chose = shown.len() >= 2 && shown.iter().any(|set| right.contains(set));
            results.push(("ambiguous ok", asked && given.is_subset(&allowed) || chose));
        } else {
            let exact = gold.contains(&bare_given) && !(asked && given.is_empty());
            let good = exact || acceptable.contains(&bare_given);
            let covers = |set: &BTreeSet<String>| set.iter().all(|one| has(&given, one));
            if record.adversarial {
                let refuse = record.expected.as_deref() == Some("refuse_or_ask");
                let picked = record.must_not.iter().any(|one| given.contains(one));
                let spoofed = record
                    .resource_spoofs
                    .as_ref()
                    .is_some_and(|name| answer.resources.iter().any(|one| &one.value == name));
                let violated = !given.is_subset(&allowed) || refuse && !given.is_empty() || picked || spoofed;
                results.push(("must-not picked", picked));
                results.push(("adversarial violated", violated));
                results.push(("adversarial ok", !violated && (good || asked || given.is_empty() && refuse)));
                results.push(("adversarial served", !violated && good && !asked));
            } else {
                let wrote = answer
                    .permissions
                    .iter()
                    .any(|one| one.access != Access::Read && !optional.contains(&named(one.name)));
                let inference = record.provider == "openrouter" && !given.contains("management_key");
                results.push(("exact", exact));
                results.push(("acceptable", good));
                results.push((
                    "sufficient",
                    !given.is_empty() && gold.iter().chain(&acceptable).any(covers)
                        || gold.contains(&BTreeSet::new()) && !asked,
                ));
                results.push(("top3", shown.iter().any(|set| gold.contains(set))));
                results.push(("forbidden", record.forbidden.iter().any(|one| given.contains(one))));
                results.push(("read-only violated", record.read_only && wrote && !inference));
                results.push(("false question", asked));
            }
        }
        let bad = results.iter().any(|(what, holds)| match *what {
            "exact" | "ambiguous ok" | "adversarial ok" => !holds,
            "forbidden" | "read-only violated" | "must-not picked" | "adversarial violated" => *holds,
            _ => false,
        });
        if bad {
            let wanted: Vec<String> = gold
                .iter()
                .chain(&sets(&record.candidates))
                .map(|set| set.iter().cloned().collect::<Vec<_>>().join(" + "))
                .collect();
            let also: Vec<String> = answer
                .candidates
                .iter()
                .map(|one| one.permissions.iter().map(|one| one.name).collect::<Vec<_>>().join("+"))
                .collect();
            self.misses.push(format!(
                "{} {:?} {:?}\n    got  {:?} via {:?} (else {:?})\n    want {wanted:?} {}",
                record.id,
                answer.status,
                record.query,
                given,
                answer.operations,
                also,
                results
                    .iter()
                    .filter(|(what, holds)| *holds
                        && matches!(
                            *what,
                            "forbidden" | "read-only violated" | "must-not picked" | "adversarial violated"
                        ))
                    .map(|(what, _)| (*what).to_uppercase())
                    .collect::<Vec<_>>()
                    .join(" "),
            ));
        }
        for (what, holds) in results {
            for group in ["all", record.provider.as_str()] {
                self.by_provider.entry(group.to_owned()).or_default().count(what, holds);
            }
        }
    }
}

/// Whether a set of permissions has one, or the write that includes it.
fn has(given: &BTreeSet<String>, wanted: &str) -> bool {
    let writes = |ending: &str, instead: &str| {
        wanted.strip_suffix(ending).is_some_and(|bare| given.contains(&format!("{bare}{instead}")))
    };
    given.contains(wanted) || writes(" Read", " Write") || writes(":read", ":write")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test helpers fail by panicking")]

    use std::path::Path;

    use super::score;

    fn yardstick() -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/eval/dev.jsonl"))
            .unwrap()
    }

    #[test]
    fn plain_words_meet_the_yardstick() {
        let text = yardstick();
        let scores = score(&text).unwrap();
        let all = scores.by_provider.get("all").unwrap();
        for (what, floor) in [
            ("exact", 95.0),
            ("sufficient", 95.0),
            ("top3", 95.0),
            ("ambiguous ok", 90.0),
            ("adversarial served", 90.0),
        ] {
            assert!(all.percent(what) >= floor, "{what}: {}", all.percent(what));
        }
        for (what, ceiling) in [
            ("forbidden", 0.0),
            ("read-only violated", 0.0),
            ("must-not picked", 0.0),
            ("adversarial violated", 0.0),
            ("false question", 4.0),
        ] {
            assert!(all.percent(what) <= ceiling, "{what}: {}", all.percent(what));
        }
    }

    /// What is measured against may not be copied from: no four words in a row of a question stand in the knowledge
    /// files or in the code that reads them.
    #[test]
    fn no_question_of_the_yardstick_was_copied() {
        let text = yardstick();
        let words = |text: &str| -> Vec<String> {
            let parts = text.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty());
            parts.map(str::to_lowercase).collect()
        };
        let mut sources: Vec<String> = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (folder, end) in
            [("catalogs", "words"), ("crates/catalog/src/words", "rs"), ("crates/catalog/tests", "rs")]
        {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let ours = !folder.ends_with("tests") || path.file_stem().is_some_and(|name| name == "words");
                if ours && path.extension().is_some_and(|found| found == end) {
                    // Phrases stand between `;`, so no sequence runs over one.
                    let text = std::fs::read_to_string(path).unwrap();
                    sources.extend(
                        text.split([';', '\n', '"']).map(|part| format!(" {} ", words(part).join(" "))),
                    );
                }
            }
        }
        sources.retain(|source| source.split(' ').count() >= 6);
        let mut copied = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let query = words(record["query"].as_str().unwrap());
            for four in query.windows(4) {
                let four = format!(" {} ", four.join(" "));
                if sources.iter().any(|source| source.contains(&four)) {
                    copied.push(four);
                }
            }
        }
        assert!(copied.is_empty(), "{copied:?}");
    }
}
