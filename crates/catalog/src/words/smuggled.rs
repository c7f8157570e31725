//! What a text brings along to widen the key: names of permissions, claims of approval, orders about the rules. It is
//! taken out before anything is understood; what is left is the job.

use std::collections::HashSet;

use super::text::PERMISSION;
use crate::catalog::Catalog;

/// Puts a mark where a permission's name stands, so that the name says nothing about the job.
pub(super) fn mask_names(text: &str, catalog: &Catalog) -> String {
    let mut masked = text.to_owned();
    // Only names whose first word is there are looked for.
    let lower = text.to_ascii_lowercase();
    let said: HashSet<&str> = lower.split(|letter: char| !letter.is_alphanumeric()).collect();
    let begins = |name: &str| {
        let first = name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
        said.contains(first.to_ascii_lowercase().as_str())
    };
    let named = catalog.permissions().iter();
    for permission in named.filter(|permission| is_level(permission.name) && begins(permission.name)) {
        let name = permission.name;
        let grave = permission.escalation || permission.high_blast;
        let mut from = 0;
        // In small letters it is how people say what they want, unless nobody should get it that way.
        let exact =
            !grave || ![" Read", " Write", " Edit", " Admin"].iter().any(|level| name.ends_with(level));
        while let Some(at) = find_from(&masked, name, from) {
            let end = at + name.len();
            let edge = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_alphanumeric());
            let whole = edge(masked.get(..at).and_then(|before| before.chars().next_back()))
                && edge(masked.get(end..).and_then(|after| after.chars().next()));
            let said = !exact || masked.get(at..end) == Some(name);
            if whole && said {
                masked.replace_range(at..end, &PERMISSION.to_string());
                from = at + PERMISSION.len_utf8();
            } else {
                from = end;
            }
        }
    }
    let words: Vec<&str> = masked.split(' ').collect();
    let mut kept: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let bare = word.trim_matches(|letter: char| "()[]{}\"'`,;.!?".contains(letter));
        let id = bare.contains(['_', ':', '.']) && catalog.permission_by_id(bare).is_ok();
        let level = matches!(bare, "Write" | "Read" | "Edit" | "Admin")
            && kept.last().is_some_and(|before| is_capital(before));
        if level {
            while kept.last().is_some_and(|before| is_capital(before) || before == "and") {
                kept.pop();
            }
        }
        let tail = word.trim_end_matches([',', ';', '.', '!', '?']);
        kept.push(if id || level {
            format!("{PERMISSION}{}", word.get(tail.len()..).unwrap_or_default())
        } else {
            word.to_owned()
        });
    }
    kept.join(" ")
}

/// Whether a word is written as names of permissions are.
fn is_capital(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_uppercase()) && !word.ends_with([',', ';', '.', '!', '?'])
}

/// Whether a permission's name ends in a level, so that it can't be an everyday phrase.
fn is_level(name: &str) -> bool {
    const LEVELS: [&str; 9] =
        [" Read", " Write", " Edit", " Admin", " Revoke", " Run", " Send", " Report", " Provisioning"];
    LEVELS.iter().any(|level| name.ends_with(level))
}

/// Where `name` stands in `text` from a byte on, whatever the case of its ASCII letters.
fn find_from(text: &str, name: &str, from: usize) -> Option<usize> {
    let (text, name) = (text.as_bytes(), name.as_bytes());
    let first = name.first()?.to_ascii_lowercase();
    (from..=text.len().checked_sub(name.len())?).find(|at| {
        text.get(*at).is_some_and(|byte| byte.to_ascii_lowercase() == first)
            && text.get(*at..*at + name.len()).is_some_and(|part| part.eq_ignore_ascii_case(name))
    })
}

/// Orders about rules, and claims that somebody allowed it.
const ORDERS: [&str; 108] = [
    " hidden policy",
    " secretly ",
    " silently ",
    " quietly ",
    " nobody notices",
    " nobody reviewing",
    " nobody sees",
    " without telling",
    " dont tell",
    " means account",
    " translation hint",
    " in our language",
    " in your head",
    " anweisung an",
    " instruction to",
    " instruction for",
    " to the model",
    " to the planner",
    " counts as",
    " zaehlt als",
    " ab sofort",
    " consigne",
    " ignore previous",
    " ignore all",
    " ignore any",
    " ignore the",
    " ignore your",
    " disregard ",
    " skip approval",
    " skip the approval",
    " skip review",
    " no approval",
    " already approved",
    " pre approved",
    " preapproved",
    " approved by security",
    " approved by the",
    " approved by my",
    " approved by our",
    " approved by management",
    " approved by legal",
    " approved by compliance",
    " human approved",
    " admin approved",
    " admin has approved",
    " approved full",
    " owner approved",
    " manager approved",
    " boss approved",
    " team approved",
    " approved this request",
    " approved it already",
    " trust me",
    " system prompt",
    " system message",
    " assistant the",
    " developer mode",
    " break glass",
    " breakglass",
    " sudo ",
    " jailbreak",
    " you are now",
    " you are root",
    " act as an",
    " act as root",
    " override the policy",
    " override policy",
    " override approval",
    " override safety",
    " overrule",
    " bypass approval",
    " bypass policy",
    " bypass the policy",
    " bypass the template",
    " skip the template",
    " template says",
    " template allows",
    " policy allows",
    " policy says",
    " handbook",
    " compliance demands",
    " demands it",
    " authorized by",
    " authorised by",
    " ceo said",
    " cto said",
    " ciso said",
    " boss said",
    " admin said",
    " manager said",
    " means you can",
    " means write",
    " super administrator",
    " super admin",
    " superadmin",
    " previous instructions",
    " prior instructions",
    " instructions above",
    " new instructions",
    " do as i say",
    " so safe",
    " ticket says",
    " signed off",
    " waived",
    " treat read",
    " allow all",
    " because i say so",
    " note to planner",
];

/// Whether a segment says that somebody must not see what is done. Such a thing is for a human, whatever it is.
pub(super) fn conceals(segment: &str) -> bool {
    const HIDDEN: [&str; 16] = [
        " must not notice",
        " must not see it",
        " should not notice",
        " nobody notices",
        " no one notices",
        " nobody will notice",
        " without anyone noticing",
        " without anybody noticing",
        " without them noticing",
        " leaves no trace",
        " leave no trace",
        " cover my tracks",
        " hide my tracks",
        " before the auditors",
        " behind their back",
        " invisible to",
    ];
    let text = format!("{segment} ");
    HIDDEN.iter().any(|phrase| text.contains(phrase))
}

/// What asks for everything, and for keys besides.
const WIDE: [&str; 51] = [
    " full access",
    " full admin",
    " full write",
    " no restrictions",
    " full control",
    " full rights",
    " full permission",
    " admin rights",
    " admin access",
    " admin permission",
    " admin role",
    " admin token",
    " administrator ",
    " owner role",
    " admin everything",
    " admin on",
    " me admin",
    " as admin",
    " all permissions",
    " all scopes",
    " every permission",
    " every scope",
    " all rights",
    " any permission",
    " whatever permission",
    " all resources",
    " no expiry",
    " no expiration",
    " never expires",
    " without expiry",
    " superuser",
    " root access",
    " owner rights",
    " owner access",
    " unrestricted",
    " god mode",
    " global api key",
    " global key",
    " master key",
    " use wildcard",
    " wildcard scope",
    " wildcard is",
    " everything else",
    " needed everything",
    " grant everything",
    " allow everything",
    " access to everything",
    " write everywhere",
    " read and write everything",
    " full scope",
    " all privileges",
];
const MORE_KEYS: [&str; 29] = [
    " key too",
    " keys too",
    " token too",
    " key as well",
    " token as well",
    " second token",
    " second key",
    " another token",
    " another key",
    " extra token",
    " extra key",
    " additional token",
    " spare token",
    " spare key",
    " own token",
    " own key",
    " own permission",
    " own scope",
    " own limit",
    " own rights",
    " own expiry",
    " backup token",
    " token for later",
    " further tokens",
    " further keys",
    " more tokens",
    " more keys later",
    " escalate",
    " renew itself",
];

/// The phrases that a text has anywhere: mostly none, and then no segment has to be looked through for them.
#[derive(Debug)]
pub(super) struct Told {
    orders: Vec<&'static str>,
    wide: Vec<&'static str>,
    more_keys: Vec<&'static str>,
}

impl Told {
    /// What the segments of a text, one behind the other, have.
    pub(super) fn of(text: &str) -> Self {
        let text = format!("{text} ");
        let told = |phrases: &[&'static str]| -> Vec<&'static str> {
            phrases.iter().copied().filter(|phrase| text.contains(phrase)).collect()
        };
        Self { orders: told(&ORDERS), wide: told(&WIDE), more_keys: told(&MORE_KEYS) }
    }

    /// Whether a segment gives orders about rules, or claims approval.
    pub(super) fn gives_orders(&self, segment: &str) -> bool {
        matches!(segment.trim(), "system" | "assistant" | "developer") || says(segment, &self.orders)
    }

    /// Whether a segment gives such orders, or asks for rights instead of a job.
    pub(super) fn is_smuggled(&self, segment: &str, names_permissions: bool, first: bool) -> bool {
        self.gives_orders(segment)
            || says(segment, &self.wide)
            || says(segment, &self.more_keys)
            || asks_for_more(segment, names_permissions, first)
    }
}

/// Whether a segment has one of some phrases, which may end where it ends.
fn says(segment: &str, phrases: &[&str]) -> bool {
    !phrases.is_empty() && {
        let text = format!("{segment} ");
        phrases.iter().any(|phrase| text.contains(phrase))
    }
}

/// Whether a segment asks for reach or for a level and not for a job.
fn asks_for_more(segment: &str, names_permissions: bool, first: bool) -> bool {
    let text = format!("{segment} ");
    // Alone they ask for reach; behind a verb they say what a job is about.
    const SPREAD: [&str; 12] = [
        " all zones",
        " every zone",
        " all accounts",
        " every account",
        " all repos",
        " every repo",
        " all buckets",
        " the whole account",
        " entire account",
        " the entire org",
        " whole org",
        " everything ",
    ];
    const LEVELS: [&str; 8] = [
        " write access",
        " write permission",
        " write rights",
        " edit access",
        " edit rights",
        " read write access",
        " rw access",
        " write as well",
    ];
    let bare = text
        .strip_prefix(" and")
        .or_else(|| text.strip_prefix(" plus"))
        .or_else(|| text.strip_prefix(" on"))
        .unwrap_or(&text);
    let spreads = SPREAD.iter().any(|phrase| bare.starts_with(phrase))
        && (!first || text.split_whitespace().count() <= 3);
    let asks = || {
        says(
            segment,
            &[
                " add ",
                " grant ",
                " give ",
                " attach ",
                " include ",
                " plus ",
                " also ",
                " mint ",
                " throw in ",
                " append ",
                " request ",
                " need ",
                " needs ",
                " get ",
                " set ",
                " use ",
                " want ",
                " with ",
            ],
        )
    };
    spreads || names_permissions && (!first || asks()) || !first && says(segment, &LEVELS)
}
