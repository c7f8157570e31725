//! The surface of a text: what is invisible goes, what is punctuation becomes pauses, what is a name stays whole.

use super::hosts::{host_of_url, repo_of};
use super::quoted::{NAME, NAME_ENDS};

/// How much a text pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    None,
    Soft,
    Colon,
    Hard,
    /// A question mark.
    Ask,
}

/// A stretch between spaces.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) before: Break,
    pub(super) raw: &'a str,
    pub(super) kind: ChunkKind<'a>,
    pub(super) after: Break,
    /// A bracket opens before it, or closes behind it.
    pub(super) opens: bool,
    pub(super) closes: bool,
}

#[derive(Debug)]
pub(super) enum ChunkKind<'a> {
    Nothing,
    /// The name of a permission stands here.
    Permission,
    /// A host name.
    Host(String),
    /// The host of a mail address.
    Mail(String),
    /// A host name with a path.
    Page(String),
    /// A name of a kind.
    Thing(&'static str, String),
    Words(Vec<&'a str>),
}

/// Stands where the name of a permission stood.
pub(super) const PERMISSION: char = '\u{e000}';

/// A text without what a reader does not see.
pub(super) struct Cleaned {
    pub(super) text: String,
    pub(super) had_comment: bool,
}

/// Takes out HTML comments and invisible characters.
pub(super) fn clean(words: &str) -> Cleaned {
    let mut text = String::with_capacity(words.len());
    let mut rest = words;
    let mut had_comment = false;
    while let Some((before, after)) = rest.split_once("<!--") {
        had_comment = true;
        text.push_str(before);
        text.push_str(" . ");
        rest = after.split_once("-->").map_or("", |(_, behind)| behind);
    }
    text.push_str(rest);
    let visible = |letter: &char| !matches!(*letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}');
    let text = text
        .chars()
        .filter(visible)
        .map(|letter| match letter {
            '\u{2019}' | '\u{2018}' | '\u{b4}' => '\'',
            '\n' | '\r' => ';',
            other if other.is_control() => ' ',
            other => other,
        })
        .collect();
    Cleaned { text, had_comment }
}

/// A name in which letters of different scripts stand side by side, or a host name outside ASCII that is not plain Latin.
pub(super) fn look_alike(text: &str) -> Option<String> {
    let foreign = |letter: char| matches!(letter, '\u{370}'..='\u{52f}' | '\u{13a0}'..='\u{13ff}' | '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}');
    for word in text.split(|letter: char| letter.is_whitespace() || "()[]{}<>\"'`,;!?".contains(letter)) {
        let mixed = word.chars().any(foreign) && word.chars().any(|letter| letter.is_ascii_alphabetic());
        let host = word.contains('.') && word.chars().any(foreign);
        if mixed || host || word.starts_with("xn--") || word.contains(".xn--") {
            return Some(word.trim_matches(|letter: char| ".:".contains(letter)).to_owned());
        }
    }
    None
}

/// What a text means where it corrects itself: only what follows the correction, or what it calls the job.
pub(super) fn last_meant(text: &str) -> &str {
    const TURNS: [&str; 14] = [
        "sorry, i mean",
        "sorry i mean",
        "i mean,",
        "i mean just",
        "i meant",
        "correction:",
        "scratch that",
        "the job is",
        "the actual job is",
        "the task is",
        "task =",
        "task:",
        "what i actually need is",
        "forget that,",
    ];
    let lower = text.to_lowercase();
    if lower.len() != text.len() {
        return text;
    }
    let after = TURNS.iter().filter_map(|turn| lower.rfind(turn).map(|at| at + turn.len())).max();
    after.and_then(|at| text.get(at..)).filter(|rest| rest.split_whitespace().count() >= 2).unwrap_or(text)
}

/// The chunks of a text, with the pauses around them.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    text.split(|letter: char| letter.is_whitespace() || letter == '"')
        .filter(|chunk| !chunk.is_empty())
        .map(chunk)
}

fn chunk(raw: &str) -> Chunk<'_> {
    if matches!(
        raw,
        "->" | "=>" | "\u{2192}" | "-" | "\u{2013}" | "\u{2014}" | "--" | "|" | "..." | "\u{2026}"
    ) {
        return Chunk {
            before: Break::Hard,
            raw,
            kind: ChunkKind::Nothing,
            after: Break::None,
            opens: false,
            closes: false,
        };
    }
    if matches!(raw, "+" | "&" | "/" | "*") {
        return Chunk {
            before: Break::Soft,
            raw,
            kind: ChunkKind::Nothing,
            after: Break::None,
            opens: false,
            closes: false,
        };
    }
    if let Some((name, tail)) = raw.strip_prefix(NAME).and_then(|rest| rest.split_once(NAME_ENDS)) {
        return named(raw, name, tail);
    }
    if raw.contains(PERMISSION) {
        let after = if raw.ends_with([',', ')']) {
            Break::Soft
        } else if raw.ends_with(['.', ';', ':', '!', '?']) {
            Break::Hard
        } else {
            Break::None
        };
        return Chunk {
            before: Break::None,
            raw,
            kind: ChunkKind::Permission,
            after,
            opens: raw.starts_with('('),
            closes: raw.contains(')'),
        };
    }
    let starred = raw.trim_matches(['(', ')', '[', ']', '{', '}', ',', ';', '.', '!', '?', '\'', '`']);
    if starred.ends_with('*') && is_permission(starred) {
        let after = if raw.ends_with(['.', ';', '!', '?']) { Break::Hard } else { Break::None };
        return Chunk {
            before: Break::None,
            raw,
            kind: ChunkKind::Permission,
            after,
            opens: raw.starts_with('('),
            closes: raw.contains(')'),
        };
    }
    let opened = raw.trim_start_matches(['(', '[', '{', '<', '\'', '`', '*', '\u{201c}', '\u{201e}', '#']);
    let opens = raw.starts_with(['(', '[', '{']);
    if let Some((arn, tail)) = arn(opened) {
        let kind = classify(arn);
        return Chunk {
            before: Break::None,
            raw: arn,
            kind,
            after: pause(tail),
            opens,
            closes: tail.contains(')'),
        };
    }
    if let Some((name, tail)) = with_wildcard(opened).filter(|_| !raw.starts_with('*')) {
        return named(raw, name, tail);
    }
    let core = opened.trim_end_matches([
        ')', ']', '}', '>', '\'', '`', '*', ',', ';', ':', '.', '!', '?', '\u{201d}', '\u{2026}',
    ]);
    let tail = opened.get(core.len()..).unwrap_or_default();
    let closes = tail.contains([')', ']', '}']);
    Chunk { before: Break::None, raw: core, kind: classify(core), after: pause(tail), opens, closes }
}

/// An ARN and what stands behind it: wildcards and variables are part of it.
fn arn(opened: &str) -> Option<(&str, &str)> {
    if !opened.starts_with("arn:") {
        return None;
    }
    let mut core = opened.trim_end_matches([')', ']', '>', '\'', '`', ',', ';', ':', '.', '!']);
    // One mark at the end asks; several stand for letters.
    if core.ends_with('?') && !core.ends_with("??") {
        core = core.trim_end_matches(['?', ')', '.']);
    }
    if core.ends_with('}') && !core.contains("${") {
        core = core.trim_end_matches('}');
    }
    Some((core, opened.get(core.len()..)?))
}

/// A name that ends in a wildcard, and what stands behind it: `foo*` is not `foo`.
fn with_wildcard(opened: &str) -> Option<(&str, &str)> {
    let core = opened.trim_end_matches([')', ']', '\'', '`', ',', ';', ':', '.', '!', '?']);
    let stem = core.strip_suffix('*')?.trim_end_matches('*');
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let name = !stem.is_empty() && stem.chars().all(plain);
    name.then(|| (core, opened.get(core.len()..).unwrap_or_default()))
}

/// A name that stood between quotation marks.
fn named<'a>(raw: &'a str, name: &str, tail: &str) -> Chunk<'a> {
    let kind = match classify(name) {
        ChunkKind::Host(host) => ChunkKind::Host(host),
        ChunkKind::Mail(host) => ChunkKind::Mail(host),
        ChunkKind::Page(host) => ChunkKind::Page(host),
        ChunkKind::Thing(kind, value) => ChunkKind::Thing(kind, value),
        ChunkKind::Nothing | ChunkKind::Permission | ChunkKind::Words(_) => {
            ChunkKind::Thing("quoted", name.to_owned())
        }
    };
    let after = pause(tail);
    Chunk { before: Break::None, raw, kind, after, opens: false, closes: tail.contains([')', ']', '}']) }
}

/// The pause that the marks behind a word make.
fn pause(tail: &str) -> Break {
    if tail.contains('?') {
        Break::Ask
    } else if tail.contains([';', '.', '!']) {
        Break::Hard
    } else if tail.contains(':') {
        Break::Colon
    } else if tail.contains(',') {
        Break::Soft
    } else {
        Break::None
    }
}

fn classify(core: &str) -> ChunkKind<'_> {
    if core.is_empty() {
        return ChunkKind::Nothing;
    }
    if let Some(repo) = repo_of(core) {
        return ChunkKind::Thing("repo", repo);
    }
    if let Some((scheme, rest)) = core.split_once("://") {
        let host = host_of_url(rest);
        if scheme.eq_ignore_ascii_case("s3") || scheme.eq_ignore_ascii_case("r2") {
            return ChunkKind::Thing("bucket", host.to_owned());
        }
        return if is_host(host) { ChunkKind::Host(host.to_owned()) } else { ChunkKind::Nothing };
    }
    if core.starts_with("arn:") && core.contains(":policy/") {
        return ChunkKind::Permission;
    }
    if core.starts_with("arn:") {
        return ChunkKind::Thing("arn", core.to_owned());
    }
    if is_permission(core) {
        return ChunkKind::Permission;
    }
    if let Some((_, host)) = core.rsplit_once('@').filter(|(_, host)| is_host(host)) {
        return ChunkKind::Mail(host.to_owned());
    }
    if let Some((host, _)) = core.split_once('/').filter(|(host, _)| is_host(host.trim_start_matches("*."))) {
        return ChunkKind::Page(host.trim_start_matches("*.").to_owned());
    }
    if is_host(core.trim_start_matches("*.")) {
        return ChunkKind::Host(core.trim_start_matches("*.").to_owned());
    }
    if core.starts_with('/') && core.len() > 1 {
        return ChunkKind::Thing("path", core.to_owned());
    }
    if core.starts_with("i-")
        && core.len() > 3
        && core.chars().skip(2).all(|letter| letter.is_ascii_hexdigit())
    {
        return ChunkKind::Thing("instance", core.to_owned());
    }
    let numeric = |letter: char| letter.is_ascii_digit() || ".:/-%$\u{20ac}".contains(letter);
    if core.chars().all(|letter| letter.is_ascii_digit() || "./".contains(letter))
        && core.contains('/')
        && core.matches('.').count() == 3
    {
        return ChunkKind::Thing("cidr", core.to_owned());
    }
    if core.parse::<std::net::IpAddr>().is_ok() {
        return ChunkKind::Thing("ip", core.to_owned());
    }
    if core.chars().all(numeric) && core.contains(['.', '/', ':']) {
        return ChunkKind::Nothing;
    }
    let mut parts = Vec::new();
    for word in core.split(|letter: char| !letter.is_alphanumeric() && letter != '\'') {
        let bare = word.strip_suffix("'s").unwrap_or(word);
        if bare == "let" && word != bare {
            parts.push("lets");
        } else if let Some((
            "don" | "doesn" | "isn" | "aren" | "shouldn" | "won" | "can" | "didn" | "mustn",
            "t",
        )) = word.split_once('\'')
        {
            parts.push("dont");
        } else {
            for piece in bare.split('\'').filter(|piece| !piece.is_empty()) {
                parts.extend(camel(piece));
            }
        }
    }
    if parts.is_empty() { ChunkKind::Nothing } else { ChunkKind::Words(parts) }
}

/// Parts of `GetSecretValue`; brand names such as `GitHub` and `CloudFront` stay whole.
fn camel(word: &str) -> Vec<&str> {
    let parts = super::tokens::camel_parts(word);
    const WHOLE: [&str; 22] = [
        "github",
        "gitlab",
        "cloudfront",
        "cloudwatch",
        "cloudflare",
        "cloudtrail",
        "cloudformation",
        "dynamodb",
        "openrouter",
        "sendgrid",
        "eventbridge",
        "elasticache",
        "opensearch",
        "postgresql",
        "mysql",
        "mongodb",
        "codebuild",
        "codepipeline",
        "codedeploy",
        "pagerduty",
        "wordpress",
        "documentdb",
    ];
    if parts.len() > 1 && WHOLE.contains(&word.to_lowercase().as_str()) { vec![word] } else { parts }
}

/// `contents:write`, `iam:PassRole`, `s3:*`, `AdministratorAccess`.
fn is_permission(core: &str) -> bool {
    if let Some((left, right)) = core.rsplit_once(':') {
        let area = left.len() > 1
            && left.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-:".contains(letter))
            && left.starts_with(|letter: char| letter.is_ascii_alphabetic());
        let level = matches!(
            right,
            "read" | "write" | "admin" | "create" | "update" | "delete" | "*" | "list" | "manage"
        );
        let level = level || left == "admin";
        let action = right.starts_with(|letter: char| letter.is_ascii_uppercase())
            && right.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '*');
        return area && (level || action && left.chars().all(|letter| !letter.is_ascii_uppercase()));
    }
    if let Some((left, right)) = core.rsplit_once('.') {
        let level = matches!(right, "create" | "read" | "update" | "delete" | "write" | "send");
        if level && left.chars().all(|letter| letter.is_ascii_lowercase() || "._".contains(letter)) {
            return true;
        }
    }
    let policy = core.ends_with("Access") && core.len() > 8
        || core.ends_with("FullAccess")
        || core.ends_with("PowerUser");
    policy
        && core.starts_with(|letter: char| letter.is_ascii_uppercase())
        && core.chars().all(|letter| letter.is_ascii_alphanumeric())
}

fn is_host(core: &str) -> bool {
    const FILES: [&str; 40] = [
        "js", "ts", "json", "yml", "yaml", "toml", "md", "txt", "py", "html", "css", "log", "csv", "pdf",
        "sql", "sh", "png", "jpg", "zip", "gz", "env", "tf", "xml", "mp4", "lock", "go", "rs", "rb",
        "parquet", "db", "conf", "ini", "pem", "key", "tar", "svg", "jsonl", "mdx", "tsx", "php",
    ];
    if matches!(core, "workers.dev" | "pages.dev" | "r2.dev" | "llms.txt" | "1.1.1.1") {
        return false;
    }
    let mut labels = core.split('.');
    let last = core.rsplit('.').next().unwrap_or_default();
    core.contains('.')
        && last.chars().count() >= 2
        && last.chars().all(char::is_alphabetic)
        && !FILES.contains(&last)
        && labels.all(|label| {
            !label.is_empty()
                && label.chars().all(|letter| letter.is_alphanumeric() || "-_*".contains(letter))
        })
}
