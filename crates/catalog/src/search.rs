//! Plain words to permissions and operations: BM25 over short names, with the words that people use instead of the
//! vendor's. No model, no network; the same query always gives the same order.

use std::collections::HashMap;

/// Words of a query beyond these are not read.
const LONGEST_QUERY: usize = 32;

/// BM25: how fast a repeated word stops counting, and how much a long name is held against it.
const SATURATION: f32 = 1.2;
const LENGTH_WEIGHT: f32 = 0.6;

/// A word that the vendor spells otherwise counts less than the vendor's own.
const SYNONYM_WEIGHT: f32 = 0.7;

/// An index over documents that are lists of tokens. Impacts are computed when it is built.
#[derive(Debug)]
pub(crate) struct Index {
    documents: usize,
    postings: HashMap<String, Vec<(usize, f32)>>,
}

impl Index {
    /// Builds the index; a document is known by its position.
    pub(crate) fn of(documents: impl Iterator<Item = Vec<String>>) -> Self {
        let mut counts: HashMap<String, Vec<(usize, f32)>> = HashMap::new();
        let mut lengths: Vec<f32> = Vec::new();
        for (position, tokens) in documents.enumerate() {
            lengths.push(0.0);
            for token in tokens {
                if let Some(length) = lengths.last_mut() {
                    *length += 1.0;
                }
                let list = counts.entry(token).or_default();
                match list.last_mut() {
                    Some((last, count)) if *last == position => *count += 1.0,
                    _ => list.push((position, 1.0)),
                }
            }
        }
        let documents = lengths.len().max(1) as f32;
        let average = (lengths.iter().sum::<f32>() / documents).max(1.0);
        for list in counts.values_mut() {
            let found = list.len() as f32;
            let rarity = (1.0 + (documents - found + 0.5) / (found + 0.5)).ln();
            for (position, count) in list {
                let length = lengths.get(*position).copied().unwrap_or(average);
                let damping = SATURATION * (1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * length / average);
                *count = rarity * *count * (SATURATION + 1.0) / (*count + damping);
            }
        }
        Self { documents: lengths.len(), postings: counts }
    }

    /// The documents that answer the query, best first; equal scores keep the order of the documents. At most `limit`, and
    /// those that are as good as the last of them.
    pub(crate) fn search(&self, query: &str, limit: usize) -> Vec<(usize, f32)> {
        let mut scores = Scores::over(self.documents);
        let mut of_word = Scores::over(self.documents);
        for word in words(query).filter(|word| !is_noise(word)).take(LONGEST_QUERY) {
            self.best_of(&word, &mut of_word);
            for (position, impact) in of_word.drain() {
                scores.add(position, impact);
            }
        }
        let mut ranked: Vec<(usize, f32)> = scores.drain().collect();
        if let Some(last) = limit.checked_sub(1).filter(|last| *last < ranked.len()) {
            let (_, (_, least), _) = ranked.select_nth_unstable_by(last, |a, b| b.1.total_cmp(&a.1));
            let least = *least;
            ranked.retain(|(_, score)| *score >= least);
        }
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }

    /// What one word of the query is worth in each document: itself, or the best of its synonyms.
    fn best_of(&self, word: &str, best: &mut Scores) {
        let synonyms = synonyms(word).iter().map(|synonym| (*synonym, SYNONYM_WEIGHT));
        for (token, weight) in std::iter::once((word, 1.0)).chain(synonyms) {
            for (position, impact) in self.postings.get(token).into_iter().flatten() {
                best.raise(*position, impact * weight);
            }
        }
    }
}

/// A score for each document, most of them none.
struct Scores {
    of: Vec<f32>,
    touched: Vec<usize>,
}

impl Scores {
    fn over(documents: usize) -> Self {
        Self { of: vec![0.0; documents], touched: Vec::new() }
    }

    fn add(&mut self, position: usize, score: f32) {
        if let Some(slot) = self.of.get_mut(position) {
            if *slot == 0.0 {
                self.touched.push(position);
            }
            *slot += score;
        }
    }

    fn raise(&mut self, position: usize, score: f32) {
        if let Some(slot) = self.of.get_mut(position) {
            if *slot == 0.0 {
                self.touched.push(position);
            }
            *slot = slot.max(score);
        }
    }

    /// Takes the scores out.
    fn drain(&mut self) -> impl Iterator<Item = (usize, f32)> {
        let Self { of, touched } = self;
        touched.drain(..).filter_map(|position| Some((position, std::mem::take(of.get_mut(position)?))))
    }
}

/// The tokens of a text: lower case, split at punctuation and at `camelCase`, plurals cut.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .flat_map(camel_parts)
        .map(|word| singular(&word.to_lowercase()))
}

fn camel_parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut after_lower = false;
    for (at, letter) in word.char_indices() {
        if letter.is_uppercase() && after_lower {
            parts.extend(word.get(start..at));
            start = at;
        }
        after_lower = letter.is_lowercase();
    }
    parts.extend(word.get(start..).filter(|rest| !rest.is_empty()));
    parts
}

fn singular(word: &str) -> String {
    if word.len() <= 3 || word.ends_with("ss") {
        return word.to_owned();
    }
    match word.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => word.strip_suffix('s').unwrap_or(word).to_owned(),
    }
}

fn is_noise(word: &str) -> bool {
    let noise = [
        "a",
        "all",
        "an",
        "and",
        "any",
        "can",
        "for",
        "from",
        "i",
        "in",
        "it",
        "key",
        "me",
        "my",
        "need",
        "of",
        "on",
        "one",
        "or",
        "our",
        "permission",
        "please",
        "some",
        "that",
        "the",
        "this",
        "to",
        "token",
        "want",
        "with",
    ];
    noise.contains(&word)
}

/// What the vendor calls what people say. Tokens as [`words`] makes them.
fn synonyms(word: &str) -> &'static [&'static str] {
    match word {
        "add" | "change" | "create" | "delete" | "edit" | "manage" | "modify" | "put" | "remove" | "set"
        | "update" | "upload" => &["write", "edit"],
        "fetch" | "get" | "list" | "see" | "show" | "view" | "look" => &["read"],
        "clear" | "flush" | "invalidate" | "bust" => &["purge", "cache"],
        "cdn" => &["cache"],
        "record" | "cname" | "txt" | "mx" | "nameserver" => &["dns"],
        "acme" => &["dns", "write"],
        "subdomain" | "hostname" => &["dns"],
        "domain" => &["zone", "dns"],
        "keyvalue" | "namespace" => &["kv"],
        "bucket" | "object" | "s3" => &["r2", "bucket", "storage"],
        "r2" => &["storage"],
        "database" | "sql" | "sqlite" => &["d1"],
        "postgre" | "postgresql" | "mysql" => &["hyperdrive"],
        "deploy" | "publish" => &["script", "page", "write"],
        "function" | "serverless" | "script" => &["worker", "script"],
        "website" | "site" | "frontend" => &["page"],
        "cert" | "tls" => &["ssl", "certificate"],
        "waf" => &["firewall"],
        "block" | "ban" => &["firewall", "waf", "write"],
        "redirect" => &["url"],
        "captcha" => &["turnstile"],
        "cloudflared" | "argo" => &["tunnel"],
        "metric" | "stat" | "statistic" | "traffic" => &["analytic"],
        "vector" | "embedding" => &["vectorize"],
        "llm" | "model" | "inference" | "gpt" => &["ai"],
        "video" => &["stream"],
        "picture" | "photo" => &["image"],
        "sso" | "login" | "zerotrust" => &["access"],
        "balancer" | "balancing" | "failover" | "origin" => &["balancer", "balancing", "pool"],
        "message" | "producer" | "consumer" => &["queue"],
        "mail" => &["email"],
        "browser" | "screenshot" | "puppeteer" => &["rendering"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_singular_and_split() {
        let tokens: Vec<String> = words("Access: Apps and Policies, listZones/dns_records (WAF)").collect();
        let expected = "access app and policy list zone dns record waf";
        assert_eq!(tokens.join(" "), expected);
    }

    #[test]
    fn a_synonym_counts_less_than_the_word_itself() {
        let index = Index::of([vec!["purge".to_owned()], vec!["flush".to_owned()]].into_iter());
        let ranked: Vec<usize> = index.search("flush", 9).into_iter().map(|(position, _)| position).collect();
        assert_eq!(ranked, [1, 0]);
    }

    #[test]
    fn a_word_that_nothing_has_finds_nothing() {
        let index = Index::of([vec!["purge".to_owned()]].into_iter());
        assert_eq!(index.search("the zebra, please", 9), []);
        assert_eq!(index.search("", 9), []);
    }
}
