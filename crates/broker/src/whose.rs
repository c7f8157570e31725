//! At which provider a job is: the one that was said, that its words or its calls name, or that has a connection. An answer is never
//! for another one than the words name without saying so.

use keywright_adapters::provider;
use keywright_catalog::built_in::BUILT_IN;
use keywright_catalog::called::provider_called;
use keywright_catalog::naming;
use keywright_catalog::{Catalog, CatalogError};

use crate::error::{BrokerError, Result};
use crate::find::Plain;

/// A provider's kind and its catalog.
pub(crate) type Named = (&'static str, &'static Catalog);

/// Where an answer may come from.
pub(crate) enum Whose {
    /// From one of these, with what has to be said about the choice.
    Of(Vec<Named>, Option<String>),
    /// The ask fits several, and says not which.
    Either(Vec<&'static str>),
}

impl Whose {
    fn one(kind: &str, note: Option<String>) -> Result<Self> {
        Ok(Self::Of(vec![catalog(kind)?], note))
    }
}

/// The providers that have a connection; nothing is known of them without a broker, and there is no choice before the first one.
pub(crate) enum Connected {
    /// Nobody can say.
    Unknown,
    /// These.
    To(Vec<String>),
}

impl Connected {
    fn has(&self, kind: &str) -> bool {
        matches!(self, Self::To(kinds) if kinds.iter().any(|one| one == kind))
    }

    /// The catalogs that an answer comes from where nothing says the provider: before all others of no use, those that have a
    /// connection; all of them where there is none yet.
    fn catalogs(&self) -> Result<Vec<Named>> {
        let all = all()?;
        let connected: Vec<Named> = all.iter().copied().filter(|(kind, _)| self.has(kind)).collect();
        Ok(if connected.is_empty() { all } else { connected })
    }

    /// What has to be said of an answer for a provider that the ask names.
    fn note(&self, kind: &str) -> Option<String> {
        match self {
            Self::Unknown => {
                Some(format!("this is for `{kind}`, which is named; say the provider if that is not meant"))
            }
            Self::To(_) if self.has(kind) => None,
            Self::To(_) if provider::facts_of(kind).is_none_or(|facts| facts.no_mint.is_some()) => {
                Some(format!("this is for `{kind}`, which is named; this version makes no keys there"))
            }
            Self::To(_) => Some(format!(
                "this is for `{kind}`, which is named, and there is no connection to it: an operator adds one with `keywright \
                 provider add {kind} --name NAME`"
            )),
        }
    }
}

/// The provider of a job.
///
/// # Errors
/// When there is no catalog for the provider that was said, or no catalog knows an operation.
pub(crate) fn whose(plain: &Plain, connected: &Connected) -> Result<Whose> {
    let words = plain.intent.as_deref().unwrap_or_default();
    if let Some(said) = plain.provider.as_deref() {
        return Whose::one(said, other_than_said(said, words));
    }
    if !plain.operations.is_empty() {
        return of_operations(plain, connected);
    }
    match naming::meant(words).as_slice() {
        [] => Ok(Whose::Of(connected.catalogs()?, None)),
        [one] => Whose::one(one, connected.note(one)),
        several => match several.iter().filter(|kind| connected.has(kind)).collect::<Vec<_>>().as_slice() {
            [one] => {
                let others: Vec<&str> = several.iter().copied().filter(|kind| kind != *one).collect();
                Whose::one(
                    one,
                    Some(format!(
                        "this is for `{one}`, which is connected; the words name {} too",
                        quoted(&others)
                    )),
                )
            }
            _ => Ok(Whose::Either(several.to_vec())),
        },
    }
}

/// Where words are searched: what they name, else what is connected.
///
/// # Errors
/// When there is no catalog for the provider that was said.
pub(crate) fn searched(
    words: &str,
    said: Option<&str>,
    connected: &Connected,
) -> Result<(Vec<Named>, Option<String>)> {
    if let Some(said) = said {
        return Ok((vec![catalog(said)?], other_than_said(said, words)));
    }
    let named = naming::meant(words);
    match named.as_slice() {
        [] => Ok((connected.catalogs()?, None)),
        several => {
            let notes: Vec<String> = several.iter().filter_map(|kind| connected.note(kind)).collect();
            let catalogs = several.iter().map(|kind| catalog(kind)).collect::<Result<_>>()?;
            Ok((catalogs, (!notes.is_empty()).then(|| notes.join("; "))))
        }
    }
}

/// What has to be said of an answer for a provider when the words only mention another one by the way, or none that is connected.
pub(crate) fn note_on(provider: &str, words: &str, connected: &Connected) -> Option<String> {
    let named: Vec<&str> = naming::named(words).into_iter().map(|(kind, _)| kind).collect();
    if provider.is_empty() || named.contains(&provider) {
        return None;
    }
    if !named.is_empty() {
        return Some(format!(
            "this is for `{provider}`, though the words name {}: say the provider if that is not meant",
            quoted(&named)
        ));
    }
    let is_unconnected =
        matches!(connected, Connected::To(kinds) if !kinds.is_empty()) && !connected.has(provider);
    is_unconnected.then(|| format!("this is for `{provider}`, to which there is no connection"))
}

/// A provider was said, and the words are about others.
fn other_than_said(said: &str, words: &str) -> Option<String> {
    let meant = naming::meant(words);
    let is_named = naming::named(words).iter().any(|(kind, _)| *kind == said);
    (!meant.is_empty() && !is_named)
        .then(|| format!("this is for `{said}`, as was said, though the words name {}", quoted(&meant)))
}

/// The catalogs that know most of the operations, as they are written before what only fits.
fn of_operations(plain: &Plain, connected: &Connected) -> Result<Whose> {
    let mut hosts: Vec<&'static str> =
        plain.operations.iter().filter_map(|one| provider_called(one)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    match hosts.as_slice() {
        [] => {}
        [one] => {
            return Whose::one(one, connected.note(one).filter(|_| matches!(connected, Connected::To(_))));
        }
        several => return Ok(Whose::Either(several.to_vec())),
    }
    let own = connected.catalogs()?;
    let named = naming::meant(plain.intent.as_deref().unwrap_or_default());
    for (catalogs, is_own) in [(own, true), (all()?, false)] {
        for count in [exact, fitting] {
            let counts: Vec<(usize, Named)> = catalogs
                .iter()
                .map(|named| (plain.operations.iter().filter(|one| count(named.1, one)).count(), *named))
                .collect();
            let most = counts.iter().map(|(count, _)| *count).max().unwrap_or_default();
            let mut best: Vec<Named> = counts
                .into_iter()
                .filter(|(count, _)| *count == most && most > 0)
                .map(|(_, named)| named)
                .collect();
            if best.iter().any(|(kind, _)| named.contains(kind)) {
                best.retain(|(kind, _)| named.contains(kind));
            }
            match best.as_slice() {
                [] => {}
                [one] => {
                    let note = connected.note(one.0).filter(|_| !is_own);
                    return Ok(Whose::Of(vec![*one], note));
                }
                several => return Ok(Whose::Either(several.iter().map(|(kind, _)| *kind).collect())),
            }
        }
    }
    // Of one catalog, it says itself what is wrong.
    let own = connected.catalogs()?;
    Ok(Whose::Of(own, None))
}

fn exact(catalog: &Catalog, operation: &str) -> bool {
    catalog.operation(operation).is_ok()
}

fn fitting(catalog: &Catalog, operation: &str) -> bool {
    matches!(catalog.called(operation), Ok(_) | Err(CatalogError::AmbiguousCall { .. }))
}

fn catalog(kind: &str) -> Result<Named> {
    let catalog = Catalog::for_provider(kind).map_err(BrokerError::invalid)?;
    Ok((catalog.provider(), catalog))
}

fn all() -> Result<Vec<Named>> {
    BUILT_IN.iter().map(|b| b.catalog().map(|c| (c.provider(), c)).map_err(BrokerError::invalid)).collect()
}

/// Names one after the other.
pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_words(words: &str) -> Plain {
        Plain { intent: Some(words.to_owned()), ..Plain::default() }
    }

    fn of_operations(names: &[&str]) -> Plain {
        Plain { operations: names.iter().map(|name| (*name).to_owned()).collect(), ..Plain::default() }
    }

    /// The providers, and what is said about them.
    fn chosen(plain: &Plain, connected: &Connected) -> (Vec<&'static str>, String) {
        match whose(plain, connected).unwrap() {
            Whose::Of(all, note) => (all.iter().map(|(kind, _)| *kind).collect(), note.unwrap_or_default()),
            Whose::Either(kinds) => (kinds, "which?".to_owned()),
        }
    }

    #[test]
    fn an_ask_is_for_the_provider_that_it_names_or_that_knows_its_operations() {
        let cloudflare = Connected::To(vec!["cloudflare".to_owned()]);
        let both = Connected::To(vec!["cloudflare".to_owned(), "openai".to_owned()]);
        let said = |provider: &str, words| Plain { provider: Some(provider.to_owned()), ..of_words(words) };
        for (plain, connected, kinds, note) in [
            (of_words("purge the cache"), &cloudflare, vec!["cloudflare"], ""),
            (of_words("list the buckets at aws"), &cloudflare, vec!["aws"], "no connection to it"),
            (of_words("start a vm in gcp"), &cloudflare, vec!["gcp"], "makes no keys there"),
            (of_words("list buckets at cloudflare"), &cloudflare, vec!["cloudflare"], ""),
            (of_words("list the buckets at aws"), &Connected::Unknown, vec!["aws"], "which is named"),
            (
                of_words("what is on aws and on cloudflare"),
                &cloudflare,
                vec!["cloudflare"],
                "the words name `aws` too",
            ),
            (of_words("what is on aws and on github"), &cloudflare, vec!["aws", "github"], "which?"),
            (
                said("cloudflare", "list the buckets at aws"),
                &cloudflare,
                vec!["cloudflare"],
                "though the words name `aws`",
            ),
            (said("cloudflare", "the record for aws, at cloudflare"), &cloudflare, vec!["cloudflare"], ""),
            (
                of_operations(&["POST /zones/{zone_id}/dns_records"]),
                &Connected::Unknown,
                vec!["cloudflare"],
                "",
            ),
            (
                of_operations(&["get /repos/acme/web/issues?state=open"]),
                &Connected::Unknown,
                vec!["github"],
                "",
            ),
            (
                of_operations(&["get /repos/acme/web/issues?state=open"]),
                &cloudflare,
                vec!["github"],
                "no connection to it",
            ),
            (
                of_operations(&["GET https://api.github.com/repos/a/b/issues"]),
                &cloudflare,
                vec!["github"],
                "no connection to it",
            ),
            (of_operations(&["POST /chat/completions"]), &both, vec!["openai"], ""),
            (
                of_operations(&["POST /chat/completions"]),
                &Connected::Unknown,
                vec!["openai", "openrouter"],
                "which?",
            ),
            (
                of_operations(&["GET https://api.github.com/user", "GET https://api.openai.com/v1/models"]),
                &both,
                vec!["github", "openai"],
                "which?",
            ),
        ] {
            let (of, said) = chosen(&plain, connected);
            assert_eq!(of, kinds, "{plain:?}: {said}");
            assert!(if note.is_empty() { said.is_empty() } else { said.contains(note) }, "{plain:?}: {said}");
        }
    }

    #[test]
    fn an_answer_for_another_provider_than_the_words_name_says_so() {
        let cloudflare = Connected::To(vec!["cloudflare".to_owned()]);
        let wants = "add the TXT record that GitHub wants for example.com";
        assert!(
            note_on("cloudflare", wants, &cloudflare).unwrap().contains("though the words name `github`")
        );
        assert_eq!(note_on("github", wants, &cloudflare), None);
        assert_eq!(note_on("cloudflare", "purge the cache", &cloudflare), None);
        assert!(note_on("sendgrid", "list the bounces", &cloudflare).unwrap().contains("no connection"));
        assert_eq!(note_on("sendgrid", "list the bounces", &Connected::Unknown), None);
    }
}
