//! The verdict: what a plan comes to, in one line, by rule and not by a model. It is the first thing that whoever has to decide reads,
//! in the terminal and on the page; the plan itself is below it.

use std::cmp::Reverse;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::grant::{Permission, Resource};
use crate::look::doubt;
use crate::name::EnvironmentName;
use crate::plan::Plan;
use crate::span::Span;
use crate::template::Tier;
use crate::text::escaped;

/// More operations than this that change something deserve a look.
const MANY: u32 = 100;
/// As does a life that is longer than this, in days.
const LONG: u64 = 180;
/// The store of files with variables, which is there without being added.
const FILES: &str = "dotenv";
/// Parts of an environment's name that sound like production.
const SOUNDS_LIKE_PRODUCTION: [&str; 3] = ["prod", "prd", "live"];
/// What is production when it is written in pieces. Only whole pieces count, so that `temp-rd` and `up-rodeo` are none.
const IN_PIECES: [&str; 5] = ["prod", "prods", "production", "prd", "live"];

/// How much there is to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It reads, or what it changes is in a sandbox.
    Low,
    /// It changes something.
    Medium,
    /// It reaches production or everything, can make keys, or is not what it looks like.
    High,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        })
    }
}

/// Something that deserves a second look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// The key could make keys, or change what others may.
    Escalation,
    /// The environment or the template is production.
    Production,
    /// It is not confined to single resources.
    Everything,
    /// A permission became wider since somebody looked at it, in words.
    Wider(String),
    /// A name can be taken for another one, in words.
    Looks(String),
    /// It unlocks so many operations that change something.
    Changes(u32),
    /// It lives for so long.
    Lives(Span),
    /// Its value lies in a file, in plain text.
    InPlainText,
}

impl Flag {
    /// How much it weighs.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Escalation | Self::Production | Self::Everything | Self::Wider(_) | Self::Looks(_) => {
                Level::High
            }
            Self::Changes(_) | Self::Lives(_) => Level::Medium,
            Self::InPlainText => Level::Low,
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escalation => f.write_str("this key could make keys or change permissions"),
            Self::Production => f.write_str("production"),
            Self::Everything => f.write_str("it reaches every resource of a kind, not one"),
            Self::Wider(said) => write!(f, "{said}: it may do more than is counted here"),
            Self::Looks(said) => f.write_str(said),
            Self::Changes(count) => write!(f, "it unlocks {count} operations that change things"),
            Self::Lives(span) => write!(f, "it lives for {span}"),
            Self::InPlainText => f.write_str(
                "its value lies in plain text in a file, which whatever runs as the same user can read, agents among it",
            ),
        }
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The worst that there is.
    pub level: Level,
    /// In one line, without the level: `new Cloudflare token, DNS Write on 1 zone, 30 days, dev`.
    pub line: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level, self.line)
    }
}

/// Whether an environment sounds like production, also with digits for letters (`pr0d`), letter by letter (`p-r-o-d`), or in pieces
/// (`eu-p-rod`, `pr_0d-2`).
#[must_use]
pub fn sounds_like_production(environment: &EnvironmentName) -> bool {
    let name = environment.as_str();
    let folded = |one: char, text: &str| -> String {
        let letter = |letter: char| match letter {
            '0' => 'o',
            '1' => one,
            '3' => 'e',
            other => other.to_ascii_lowercase(),
        };
        text.chars().map(letter).collect()
    };
    let parts: Vec<&str> =
        name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let words = |one: char| -> Vec<String> {
        let mut words = Vec::new();
        let mut spelled = String::new();
        for part in &parts {
            if part.chars().nth(1).is_none() {
                spelled.push_str(&folded(one, part));
            } else {
                words.push(std::mem::take(&mut spelled));
                words.push(folded(one, part));
            }
        }
        words.push(spelled);
        words
    };
    let names = [vec![name.to_owned()], words('i'), words('l')].concat();
    if SOUNDS_LIKE_PRODUCTION.iter().any(|word| names.iter().any(|name| name.contains(word))) {
        return true;
    }
    // Which one it is, of several, is no part of the word.
    let is_one = |pieces: &str| {
        let unnumbered = pieces.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut read = [pieces, unnumbered].into_iter().flat_map(|one| [folded('i', one), folded('l', one)]);
        read.any(|one| IN_PIECES.contains(&one.as_str()))
    };
    (0..parts.len()).any(|from| {
        let mut pieces = String::new();
        parts.iter().skip(from).any(|part| {
            pieces.push_str(part);
            is_one(&pieces)
        })
    })
}

/// What deserves a second look in a plan, as far as the plan itself shows it, worst first.
#[must_use]
pub fn flags(plan: &Plan) -> Vec<Flag> {
    let mut flags = Vec::new();
    if !plan.escalation.is_empty() {
        flags.push(Flag::Escalation);
    }
    if plan.tier == Tier::Production || sounds_like_production(&plan.environment) {
        flags.push(Flag::Production);
    }
    if plan.resources.iter().any(|resource| resource.kind.contains("all_")) {
        flags.push(Flag::Everything);
    }
    if plan.mutating > MANY {
        flags.push(Flag::Changes(plan.mutating));
    }
    if plan.ttl.seconds() > LONG * 86_400 {
        flags.push(Flag::Lives(plan.ttl));
    }
    if plan.destinations.iter().any(|one| one.place.store.as_str() == FILES) {
        flags.push(Flag::InPlainText);
    }
    let places: Vec<String> = plan.destinations.iter().map(|one| one.place.to_string()).collect();
    let names = plan.parameters.values().chain(plan.resources.iter().map(|one| &one.name)).chain(&places);
    let mut doubts: Vec<String> = names.filter_map(|name| doubt(name)).collect();
    doubts.sort();
    doubts.dedup();
    flags.extend(doubts.into_iter().map(Flag::Looks));
    flags.sort_by_key(|flag| Reverse(flag.level()));
    flags
}

/// The verdict on a plan with all that is known to deserve a look, what [`flags`] finds among it.
#[must_use]
pub fn verdict(plan: &Plan, flags: &[Flag]) -> Verdict {
    let of_plan = if plan.tier == Tier::Sandbox || (plan.unlocks > 0 && plan.mutating == 0) {
        Level::Low
    } else {
        // Where nobody knows what a permission unlocks, it may change something.
        Level::Medium
    };
    let level = flags.iter().map(Flag::level).chain([of_plan]).max().unwrap_or(of_plan);
    let what = match (&plan.adopts, &plan.rotates) {
        (Some(_), _) => "known",
        (None, Some(_)) => "successor of",
        (None, None) => "new",
    };
    let provider = plan.provider.as_str();
    let line = format!(
        "{what} {} {}, {} on {}, {}, {}",
        name_of(provider),
        noun_of(provider),
        permissions(&plan.permissions),
        resources(&plan.resources),
        days(plan.ttl),
        plan.environment
    );
    Verdict { level, line }
}

/// The names of the first few, and how many there are more.
fn permissions(all: &[Permission]) -> String {
    let name = |permission: &Permission| escaped(&permission.name);
    match all {
        [] => "no permission".to_owned(),
        [one] => name(one),
        [one, two] => format!("{} and {}", name(one), name(two)),
        [one, rest @ ..] => format!("{} and {} more", name(one), rest.len()),
    }
}

/// How many there are of each kind: `1 zone`, `2 zones and 1 account`, `all zones`.
fn resources(all: &[Resource]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for resource in all {
        let kind = resource.kind.rsplit('.').next().unwrap_or(&resource.kind);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let said: Vec<String> = kinds.into_iter().map(|(kind, count)| counted(kind, count)).collect();
    match said.split_last() {
        None => "what the credential reaches".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

fn counted(kind: &str, count: usize) -> String {
    let words = escaped(&kind.replace('_', " "));
    match (words.strip_prefix("all "), count) {
        (Some(kinds), _) => format!("all {kinds}"),
        (None, 1) => format!("1 {words}"),
        (None, _) => match words.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
            Some(stem) => format!("{count} {stem}ies"),
            None => format!("{count} {words}s"),
        },
    }
}

/// `30 days`, `12 hours`; what is no whole number of those, as it is written elsewhere.
fn days(span: Span) -> String {
    let whole = |size: u64, one: &str| {
        let count = span.seconds() / size;
        let is_whole = count > 0 && span.seconds().is_multiple_of(size);
        is_whole.then(|| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") })
    };
    whole(86_400, "day")
        .or_else(|| whole(3_600, "hour"))
        .or_else(|| whole(60, "minute"))
        .unwrap_or_else(|| span.to_string())
}

/// How a vendor writes its own name.
fn name_of(kind: &str) -> String {
    let known = match kind {
        "aws" => "AWS",
        "github" => "GitHub",
        "gitlab" => "GitLab",
        "huggingface" => "Hugging Face",
        "openai" => "OpenAI",
        "sendgrid" => "SendGrid",
        other => {
            let mut letters = other.chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            return first.into_iter().chain(letters).collect();
        }
    };
    known.to_owned()
}

/// What a vendor calls what it makes.
fn noun_of(kind: &str) -> &'static str {
    match kind {
        "aws" => "access key",
        "anthropic" | "openai" | "sendgrid" | "tailscale" => "key",
        _ => "token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_sounds_like_production_however_it_is_written() {
        for name in
            ["production", "eu-prod", "live", "pr0duction", "dev-pr0d", "test-p-r-o-d", "l1ve", "1ive"]
        {
            assert!(sounds_like_production(&name.parse().unwrap()), "{name}");
        }
        for name in [
            "p-rod",
            "pr-od",
            "p_r0d",
            "eu-p-rod",
            "p.rod-eu",
            "pr-od-2",
            "p-r0d2",
            "pro-duct10n",
            "l-ive",
            "1-ive",
            "li.v3",
            "a-p-rod",
            "pr-d",
        ] {
            assert!(sounds_like_production(&name.parse().unwrap()), "{name}");
        }
        for name in [
            "dev",
            "staging",
            "lab",
            "test-1",
            "preview-30",
            "app-rd",
            "temp-rd",
            "cl-ive",
            "up-rodeo",
            "up-rod",
            "p-rodeo",
            "pr-12",
            "deli-very",
            "pr-oduct",
        ] {
            assert!(!sounds_like_production(&name.parse().unwrap()), "{name}");
        }
    }
}
