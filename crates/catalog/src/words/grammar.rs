//! What kind of word a word is, and what may stand beside it.

use super::heard::Word;
use super::lexicon::is_noun_too;

pub(super) fn is_past(word: &str) -> bool {
    word.ends_with("ed")
        && !matches!(
            word,
            "logged" | "signed" | "accessed" | "opened" | "connected" | "used" | "visited" | "approved"
        )
        || matches!(word, "did" | "made" | "broke" | "set" | "took" | "put")
}

pub(super) fn is_person(stem: &str) -> bool {
    matches!(
        stem,
        "team"
            | "user"
            | "staff"
            | "employee"
            | "peopl"
            | "dev"
            | "developer"
            | "customer"
            | "colleagu"
            | "member"
            | "partner"
            | "agent"
            | "app"
            | "bot"
            | "pipelin"
            | "script"
            | "job"
            | "cron"
            | "backend"
            | "workflow"
            | "ci"
            | "financ"
            | "accountant"
            | "marketing"
            | "market"
            | "legal"
            | "hr"
            | "boss"
            | "helpdesk"
            | "management"
            | "secur"
            | "security"
            | "compliance"
            | "complianc"
            | "audit"
            | "auditor"
            | "servic"
    )
}

/// Programs and people that do something themselves.
pub(super) fn is_doer(stem: &str) -> bool {
    is_person(stem)
        || matches!(
            stem,
            "script"
                | "job"
                | "cron"
                | "pipelin"
                | "workflow"
                | "ci"
                | "exporter"
                | "scraper"
                | "collector"
                | "daemon"
                | "backend"
                | "frontend"
                | "servic"
                | "tool"
                | "producer"
                | "consumer"
                | "scanner"
                | "watchdog"
                | "crawler"
                | "controller"
                | "operator"
                | "client"
                | "runner"
                | "plugin"
                | "editor"
                | "support"
                | "financ"
                | "marketing"
                | "auditor"
                | "partner"
                | "contractor"
                | "dashboard"
                | "generator"
                | "checker"
                | "reviewer"
                | "importer"
                | "indexer"
                | "helper"
                | "assistant"
                | "llm"
                | "someon"
                | "somebodi"
                | "who"
                | "that"
                | "it"
                | "which"
                | "box"
                | "server"
                | "host"
        )
}

/// Words for the key itself.
pub(super) fn names_key(stem: &str) -> bool {
    matches!(
        stem,
        "token" | "key" | "permission" | "access" | "scop" | "credential" | "right" | "permiss" | "rol"
    )
}

pub(super) fn is_making(stem: &str) -> bool {
    matches!(stem, "creat" | "mak" | "generat" | "issu" | "mint" | "new" | "provision" | "add")
}

/// Words behind which a noun stands.
pub(super) fn before_noun(stem: &str) -> bool {
    matches!(
        stem,
        "their"
            | "its"
            | "by"
            | "of"
            | "for"
            | "with"
            | "from"
            | "in"
            | "on"
            | "at"
            | "per"
            | "the"
            | "a"
            | "an"
            | "our"
            | "my"
            | "this"
            | "thi"
            | "all"
            | "each"
            | "every"
            | "your"
            | "some"
            | "any"
            | "thes"
            | "via"
            | "into"
    )
}

/// Words behind which a verb stands.
pub(super) fn leads_on(stem: &str) -> bool {
    matches!(
        stem,
        "to" | "and"
            | "must"
            | "should"
            | "can"
            | "will"
            | "i"
            | "we"
            | "pleas"
            | "also"
            | "then"
            | "or"
            | "it"
            | "bot"
            | "agent"
            | "job"
            | "script"
            | "that"
            | "let"
            | "could"
            | "may"
            | "need"
            | "want"
            | "wants"
            | "lets"
            | "just"
            | "only"
            | "auto"
            | "automaticalli"
            | "so"
            | "which"
            | "pipelin"
            | "cron"
            | "you"
    )
}

/// `the app start fetches it`: of two verbs side by side the first is a noun, and what ends in `s` is done.
pub(super) fn second_verb(words: &[Word], segment: usize, stem: &str) -> bool {
    let mut before = words.iter().rev().take_while(|word| word.segment == segment);
    !is_noun_too(stem)
        && before.next().is_some_and(|word| !word.kinds.is_empty() && !word.several)
        && before.next().is_some_and(|word| word.kinds.is_empty())
}
