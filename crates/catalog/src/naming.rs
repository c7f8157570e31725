//! Which provider a text names: as the place of the job (`at aws`, `in our openai account`), as what the thing is of (`list github
//! issues`), or by the way (`the record that GitHub wants`).

use crate::built_in::every;

/// What people call providers, in small letters; each name stands for itself besides.
const ALIASES: [(&str, &str); 16] = [
    ("amazon web services", "aws"),
    ("cloud flare", "cloudflare"),
    ("digital ocean", "digitalocean"),
    ("google cloud", "gcp"),
    ("google cloud platform", "gcp"),
    ("git hub", "github"),
    ("gh", "github"),
    ("github.com", "github"),
    ("gitlab.com", "gitlab"),
    ("hugging face", "huggingface"),
    ("hf", "huggingface"),
    ("open ai", "openai"),
    ("open router", "openrouter"),
    ("send grid", "sendgrid"),
    ("twilio sendgrid", "sendgrid"),
    ("tail scale", "tailscale"),
];

/// The most words that a name has.
const WORDS: usize = 3;

/// Words between a preposition and the name.
const BETWEEN: &str = "a an the our my your their his her its this that company team personal own main new old existing prod production \
staging dev development test live same entire whole";

/// Prepositions that say where.
const WHERE: &str = "at on in within inside under via through using into onto";

/// Prepositions that say something else: what comes, goes or is compared.
const ELSEWHERE: &str = "for from to by with of off like unlike as than against toward towards and or nor vs versus not no without except \
besides which who whose";

/// What a vendor does, by which it is somebody in the text and not the place.
const DOES: &str = "wants want needs need asks ask asked wanted requires require required expects expected gave gives sent sends told tells \
said says calls will can should may must is was has does did uses used provides provided shows showed generated issued";

/// What stands in one vendor's settings for another.
const ABOUT: &str =
    "txt verification verify verified validation challenge cname mx dns spf dkim ip ips ranges";

/// What holds a vendor's things.
const HOLDERS: &str =
    "account accounts org organisation organization orgs console dashboard tenant project workspace side";

/// How a text names a provider; the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It is mentioned: what it wants, or what is like there.
    ByTheWay,
    /// Something is of it.
    Of,
    /// It is where the job is.
    Place,
}

/// The providers with a catalog that a text names, in the order of the text, each with the strongest way.
#[must_use]
pub fn named(text: &str) -> Vec<(&'static str, How)> {
    let words: Vec<Word> = text.split_whitespace().map(Word::of).collect();
    let mut found: Vec<(&'static str, How)> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let Some((provider, length)) = name_at(&words, at) else {
            at += 1;
            continue;
        };
        let how = how(&words, at, at + length);
        match found.iter_mut().find(|(known, _)| *known == provider) {
            Some((_, known)) => *known = how.max(*known),
            None => found.push((provider, how)),
        }
        at += length;
    }
    found
}

/// The providers that a job is at by its words: those that are named as its place, else those that something is of.
#[must_use]
pub fn meant(text: &str) -> Vec<&'static str> {
    let named = named(text);
    let of = |wanted: How| -> Vec<&'static str> {
        named.iter().filter(|(_, how)| *how == wanted).map(|(provider, _)| *provider).collect()
    };
    let places = of(How::Place);
    if places.is_empty() { of(How::Of) } else { places }
}

/// A word without the signs around it.
struct Word {
    lower: String,
    /// It belongs to somebody: `github's`.
    owns: bool,
    /// A sign behind it ends what is said.
    ends: bool,
    /// A colon stands behind it.
    colon: bool,
}

impl Word {
    fn of(chunk: &str) -> Self {
        let inner = chunk.trim_start_matches(['(', '[', '{', '"', '\'', '`', '*', '<']);
        let bare = inner.trim_end_matches(|sign: char| !sign.is_alphanumeric());
        let behind = inner.get(bare.len()..).unwrap_or_default();
        let lower = bare.to_lowercase();
        let owned = lower.strip_suffix("'s").or_else(|| lower.strip_suffix("\u{2019}s"));
        Self {
            owns: owned.is_some() || behind.starts_with(['\'', '\u{2019}']) && lower.ends_with('s'),
            ends: behind.contains(['.', ',', ';', ':', '!', '?', ')', ']']),
            colon: behind.starts_with(':'),
            lower: owned.unwrap_or(&lower).to_owned(),
        }
    }
}

/// The provider whose name begins at a word, and how many words it has.
fn name_at(words: &[Word], at: usize) -> Option<(&'static str, usize)> {
    (1..=WORDS).rev().find_map(|length| {
        let window = words.get(at..at + length)?;
        let joined = window.split_last()?.1.iter().all(|word| !word.ends && !word.owns);
        let text: Vec<&str> = window.iter().map(|word| word.lower.as_str()).collect();
        let text = text.join(" ");
        let alias = ALIASES.iter().find(|(alias, _)| *alias == text).map(|(_, provider)| *provider);
        let own = || every().map(|one| one.provider).find(|provider| *provider == text);
        Some((alias.or_else(own).filter(|_| joined)?, length))
    })
}

fn how(words: &[Word], start: usize, end: usize) -> How {
    let holds = |list: &str, word: &str| list.split_ascii_whitespace().any(|one| one == word);
    let last = words.get(end - 1);
    let next = words.get(end).filter(|_| last.is_some_and(|word| !word.ends)).map(|word| word.lower.as_str());
    let mut before = words.get(..start).unwrap_or_default().iter().rev().take_while(|word| !word.ends);
    let lead = before.by_ref().find(|word| !holds(BETWEEN, &word.lower)).map(|word| word.lower.as_str());
    let denied = before.next().is_some_and(|word| {
        matches!(word.lower.as_str(), "not" | "never" | "no" | "isn't" | "than" | "as" | "like" | "unlike")
    });
    let next = next.unwrap_or_default();
    if holds(DOES, next) || holds(ABOUT, next) || denied {
        return How::ByTheWay;
    }
    let holder = holds(HOLDERS, next);
    match lead {
        Some("not" | "no" | "without" | "except" | "unlike" | "like" | "than") => How::ByTheWay,
        _ if holder => How::Place,
        Some(lead) if holds(WHERE, lead) => How::Place,
        Some(lead) if holds(ELSEWHERE, lead) => How::ByTheWay,
        _ if last.is_some_and(|word| word.owns) => How::ByTheWay,
        None if start == 0 && last.is_some_and(|word| word.colon) => How::Place,
        _ => How::Of,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_named_as_a_place_or_by_the_way() {
        for (text, expected) in [
            ("list the buckets at aws", &[("aws", How::Place)][..]),
            ("add a deploy key on GitHub.", &[("github", How::Place)]),
            ("read usage in our OpenAI account", &[("openai", How::Place)]),
            ("what does the company aws account cost", &[("aws", How::Place)]),
            ("AWS: start the instances", &[("aws", How::Place)]),
            ("push into the Hugging Face org", &[("huggingface", How::Place)]),
            ("a vm on Google Cloud Platform", &[("gcp", How::Place)]),
            ("resize droplets in Digital Ocean", &[("digitalocean", How::Place)]),
            ("list github issues", &[("github", How::Of)]),
            ("add the TXT record that GitHub wants for example.com", &[("github", How::ByTheWay)]),
            ("add the github verification record", &[("github", How::ByTheWay)]),
            ("allow GitHub's webhook addresses", &[("github", How::ByTheWay)]),
            ("import the zone from aws", &[("aws", How::ByTheWay)]),
            ("purge the cache, not on aws", &[("aws", How::ByTheWay)]),
            (
                "move records from aws to our zone at cloudflare",
                &[("aws", How::ByTheWay), ("cloudflare", How::Place)],
            ),
            ("the record for github, and then an issue on github", &[("github", How::Place)]),
            // Whole words only, and no vendor without a catalog.
            ("point awsome.example.com to my-github-pages", &[]),
            ("the CNAME to acme.github.io", &[]),
            ("deploy on vercel", &[]),
            ("the record google wants", &[]),
            ("", &[]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_meant_is_where_the_job_is() {
        for (text, expected) in [
            ("move github secrets into our aws account", &["aws"][..]),
            ("list github issues", &["github"]),
            ("the record that github wants", &[]),
            ("copy what is on aws and what is on github", &["aws", "github"]),
        ] {
            assert_eq!(meant(text), expected, "{text}");
        }
    }
}
