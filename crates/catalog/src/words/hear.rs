//! What a text says: words in segments, with what is denied, named, merely mentioned, or only there to widen the key.

use super::foreign::{forbids_abroad, is_english, mostly_unknown};
use super::grammar::{before_noun, is_doer, is_making, is_past, is_person, leads_on, names_key, second_verb};
use super::hosts::zone_of;
use super::knowledge::{Kind, Knowledge};
use super::leaning::{leaning, learn};
use super::lexicon::{
    is_noun_too, is_small, joins, names_next, opens_as_verb, opens_aside, opens_context, verb, verb_first,
};
use super::quoted::own_words;
use super::relative;
use super::resources::{Mention, kept};
use super::smuggled::{Told, mask_names};
use super::spelling::known_as;
use super::stance::{
    carry, deny, describe, exists, forbids_writes, only_looks, place, says_read_only, set_aside,
};
use super::text::{self, Break, Chunk, ChunkKind};
use super::tokens::stem;
use crate::catalog::Catalog;
use crate::solve::Resource;

pub(super) use super::heard::{Heard, Segment, Word};

/// Hears a text with one provider's words.
pub(super) fn hear(words: &str, catalog: &Catalog, knowledge: &Knowledge, keep_names: bool) -> Heard {
    let provider = catalog.provider();
    let own = own_words(words, catalog);
    let cleaned = text::clean(&own.text);
    let mut heard = Heard { look_alike: text::look_alike(&cleaned.text), ..Heard::default() };
    let meant = text::last_meant(&cleaned.text);
    let masked = if keep_names { meant.to_owned() } else { mask_names(meant, catalog) };
    let mut hearing = Hearing {
        heard: &mut heard,
        provider,
        knowledge,
        sentence: 0,
        broken: true,
        bracket: false,
        last_named: None,
    };
    // Two ARNs in a list are two.
    let masked = masked.replace(",arn:", ", arn:");
    for chunk in text::chunks(&masked) {
        hearing.chunk(&chunk, keep_names);
    }
    let comment = cleaned.had_comment;
    deny(&mut heard);
    exists(&mut heard);
    describe(&mut heard);
    place(&mut heard);
    relative::describe(&mut heard);
    learn(&mut heard);
    carry(&mut heard, |word| word.number.is_some_and(|number| knowledge.alone.contains(&number)));
    let told = Told::of(&heard.segments.iter().map(|segment| segment.text.as_str()).collect::<String>());
    for (at, segment) in heard.segments.iter_mut().enumerate() {
        segment.smuggles = told.is_smuggled(&segment.text, segment.names_permissions, at == 0);
        segment.orders = told.gives_orders(&segment.text);
    }
    // `approved by security` stands in two segments.
    for at in 1..heard.segments.len() {
        let (before, rest) = heard.segments.split_at_mut(at);
        if let (Some(one), Some(other)) = (before.last_mut(), rest.first_mut())
            && one.sentence == other.sentence
            && told.gives_orders(&format!("{}{}", one.text, other.text))
        {
            for segment in [one, other] {
                // The job may stand beside it.
                let alone = segment.text.split_whitespace().count() <= 3;
                segment.smuggles |= alone;
                segment.orders |= alone;
            }
        }
    }
    heard.resources = kept(&heard);
    heard.read_only = says_read_only(&heard) || forbids_writes(&own.reported) || forbids_abroad(words);
    heard.foreign = !is_english(words) && mostly_unknown(&heard);
    heard.left_out = own.left_out;
    set_aside(&mut heard);
    heard.leaning = leaning(&heard, |_, _| true);
    heard.looks = only_looks(&heard);
    heard.has_numbers = meant.contains(|letter: char| letter.is_ascii_digit());
    heard.smuggles =
        comment || heard.segments.iter().any(|segment| segment.smuggles || segment.names_permissions);
    heard
}

struct Hearing<'a> {
    heard: &'a mut Heard,
    provider: &'a str,
    knowledge: &'a Knowledge,
    sentence: usize,
    /// The next word begins a segment.
    broken: bool,
    /// Inside brackets.
    bracket: bool,
    /// The kind of thing whose name may come next.
    last_named: Option<&'static str>,
}

impl Hearing<'_> {
    fn chunk(&mut self, chunk: &Chunk<'_>, keep_names: bool) {
        if chunk.opens {
            self.broken = true;
            self.bracket = true;
        }
        self.pause(chunk.before);
        match &chunk.kind {
            ChunkKind::Nothing => {}
            ChunkKind::Permission => {
                let segment = self.segment();
                if let Some(segment) = self.heard.segments.get_mut(segment) {
                    segment.names_permissions = true;
                }
            }
            ChunkKind::Host(name) => {
                if self.provider == "aws" && self.last_named == Some("bucket") {
                    self.resource("bucket", name.clone());
                } else {
                    self.host(name, false);
                }
                self.word("ahost", false);
            }
            ChunkKind::Mail(name) => {
                // Whoever mails somebody changes nothing here.
                if let Some(word) = self.heard.words.last_mut().filter(|word| word.stem == "email") {
                    word.kinds = &[];
                }
                self.host(name, true);
                self.word("ahost", false);
            }
            ChunkKind::Page(name) => {
                self.host(name, false);
                self.word("ahost", false);
                self.word("apath", false);
            }
            ChunkKind::Thing("ip", _) => self.word("anip", false),
            ChunkKind::Thing("cidr", value) => {
                self.resource("cidr", value.clone());
                self.word("acidr", false);
            }
            // What was quoted is a name, and only of a thing whose kind was said is more known.
            ChunkKind::Thing("quoted", value) => match self.last_named.take() {
                Some(kind) if !value.is_empty() => {
                    self.resource(kind, value.clone());
                    self.word(kind, true);
                    self.last_named = None;
                }
                _ => self.word("aname", true),
            },
            ChunkKind::Thing("repo", value) if self.provider == "github" => self.repo(value),
            ChunkKind::Thing("repo", _) => self.word("aname", true),
            ChunkKind::Thing(kind, value) => {
                let kind = self.last_named.take().filter(|_| *kind == "name").unwrap_or(kind);
                self.resource(kind, value.clone());
                self.word(kind, true);
            }
            ChunkKind::Words(parts) => self.parts(parts, chunk.raw, keep_names),
        }
        if chunk.closes {
            self.broken = true;
            self.bracket = false;
        }
        self.pause(chunk.after);
    }

    fn parts(&mut self, parts: &[&str], raw: &str, keep_names: bool) {
        let known = |part: &&str| {
            let stem = stem(&part.to_lowercase());
            self.knowledge.number(&stem).is_some() || !verb(&stem).is_empty() || is_small(&stem)
        };
        let compound = parts.len() > 1 && raw.contains(['-', '_', '/', '.']);
        let all_known = parts.iter().all(known);
        let name = self.last_named.filter(|_| if compound { !keep_names } else { !all_known });
        let strange = compound && !all_known && raw.contains(|letter: char| letter.is_ascii_digit());
        let shouted = raw.contains('_')
            && raw.chars().all(|letter| letter.is_ascii_uppercase() || !letter.is_alphabetic());
        if self.provider == "github" && raw.matches('/').count() == 1 && !all_known {
            self.repo(raw.strip_suffix(".git").unwrap_or(raw));
            return;
        }
        if let Some(kind) = name.or_else(|| (strange || shouted).then_some("name")) {
            self.resource(kind, raw.to_owned());
            self.word(raw, true);
            let secret =
                ["TOKEN", "SECRET", "KEY", "PASSWORD", "CREDENTIALS"].iter().any(|end| raw.ends_with(end));
            if shouted && secret && !raw.starts_with("CLOUDFLARE") {
                self.word("asecret", false);
            }
            self.last_named = None;
            return;
        }
        for part in parts {
            match self.glued(part) {
                Some((one, other)) => {
                    self.word(one, false);
                    self.word(other, false);
                }
                None => self.word(part, false),
            }
        }
    }

    /// Two known words that are written as one (`waitingroom`).
    fn glued<'b>(&self, word: &'b str) -> Option<(&'b str, &'b str)> {
        let lower = word.to_lowercase();
        let known = |part: &str| self.knowledge.number(&stem(part)).is_some();
        if !(8..=20).contains(&word.len())
            || !word.is_ascii()
            || known(&lower)
            || !verb(&stem(&lower)).is_empty()
        {
            return None;
        }
        (4..=word.len() - 4)
            .rev()
            .find(|at| {
                let (one, other) = lower.split_at(*at);
                known(one) && known(other) && !is_small(&stem(one)) && !is_small(&stem(other))
            })
            .map(|at| word.split_at(at))
    }

    fn word(&mut self, text: &str, named: bool) {
        let lower = text.to_lowercase();
        // `a token for dns` is about dns.
        if matches!(lower.as_str(), "for" | "to" | "with" | "that" | "which") && self.asks_for_key() {
        } else if opens_aside(&lower) {
            self.broken = true;
        } else if joins(&lower) {
            self.broken = true;
            if matches!(lower.as_str(), "but") {
                self.last_named = None;
            }
        } else if opens_context(&lower) && !self.follows_verb(&lower) {
            self.broken = true;
        }
        let apart = !self.follows_verb(&lower);
        let segment = self.segment();
        if let Some(current) = self.heard.segments.get_mut(segment) {
            if current.text.is_empty() {
                current.aside = opens_aside(&lower);
                current.context = opens_context(&lower) && apart;
            }
            current.text.push(' ');
            current.text.push_str(&lower);
        }
        let stem = stem(&lower);
        // `who deleted it` asks the audit log.
        if let Some(who) = self.heard.words.last_mut().filter(|word| word.stem == "who" && is_past(&lower)) {
            who.number = self.knowledge.number("awho");
            who.trust = 1.0;
        }
        self.last_named = match lower.as_str() {
            "named" | "called" | "name" | "id" => self.last_named.or(Some("name")),
            "the" | "a" | "our" | "my" => self.last_named,
            _ => names_next(&stem),
        };
        let stem = if stem == "request" && self.heard.words.last().is_some_and(|word| word.stem == "pull") {
            self.heard.words.pop();
            "pr".to_owned()
        } else {
            stem
        };
        let (stem, number, trust) =
            if named { (stem, None, 0.0) } else { known_as(&lower, stem, self.knowledge) };
        let asks = matches!(lower.as_str(), "what" | "which" | "who" | "how");
        let first = self.heard.words.last().is_none_or(|word| word.segment != segment);
        // `managed` describes a thing; `what` asks only where it begins.
        let describes = matches!(lower.as_str(), "managed" | "hosted" | "shared")
            || matches!(
                lower.as_str(),
                "monitoring" | "logging" | "tracking" | "scanning" | "testing" | "hosting"
            ) && !first;
        // `the security team wants` is who asks, not what about.
        if matches!(
            stem.as_str(),
            "want" | "need" | "must" | "should" | "ask" | "can" | "may" | "will" | "ha"
        ) && let Some(before) = self.heard.words.last_mut().filter(|word| is_person(&word.stem))
        {
            before.number = None;
        }
        // `which turn keys` turns nothing.
        let asks_which =
            self.heard.words.iter().rev().take_while(|word| word.segment == segment).count() == 1;
        // `find that request` requests nothing.
        let points = self
            .heard
            .words
            .iter()
            .rev()
            .nth(1)
            .is_some_and(|word| word.segment == segment && !word.kinds.is_empty());
        let leads = self.heard.words.last().is_none_or(|word| {
            let asking = asks_which && matches!(word.stem.as_str(), "which" | "what" | "whos");
            let leads_on = leads_on(&word.stem) && !(points && word.stem == "that");
            let goes_on = word.leads && word.small && !before_noun(&word.stem);
            word.segment != segment || !asking && (leads_on || goes_on)
        });
        // `post the log of the build` reads the log.
        if matches!(
            stem.as_str(),
            "log" | "list" | "status" | "report" | "summari" | "number" | "statistic" | "count" | "digest"
        ) && let Some(word) = self
            .heard
            .words
            .iter_mut()
            .rev()
            .find(|word| !matches!(word.stem.as_str(), "the" | "a" | "our" | "us"))
            && matches!(word.stem.as_str(), "post" | "send" | "email" | "print")
            && !word.kinds.is_empty()
        {
            word.kinds = &[Kind::Read];
        }
        let several = lower.ends_with('s');
        // `the install script downloads it`: the script does the second, not the first.
        let does = several
            && !verb(&stem).is_empty()
            && (self.heard.words.last().is_some_and(|word| is_doer(&word.stem) && word.segment == segment)
                || second_verb(&self.heard.words, segment, &stem));
        // `read the workflow runs` runs none.
        let mut own = self.heard.words.iter().rev().take_while(|word| word.segment == segment);
        let ordered = own.any(|word| {
            word.leads && !word.several && word.kinds == [Kind::Read] && !is_noun_too(&word.stem)
        });
        let does = does && !ordered;
        if does {
            for word in self.heard.words.iter_mut().filter(|word| word.segment == segment) {
                word.kinds = &[];
            }
        }
        let leads = leads || does;
        let after_that = self.heard.words.last().is_some_and(|word| {
            word.segment == segment
                && matches!(word.stem.as_str(), "that" | "which" | "about" | "to" | "soon" | "will" | "they")
                || word.segment == segment && !is_small(&word.stem) && word.kinds.is_empty()
        });
        // `running instances`, `the configured alerts`; but `it must be turned on`.
        let passive = self.heard.words.last().is_some_and(|word| {
            matches!(
                word.stem.as_str(),
                "be" | "is" | "are" | "get" | "been" | "wa" | "was" | "wer" | "being"
            )
        });
        let participle = lower.ends_with("ing") || lower.ends_with("ed") && !passive;
        // No order ends in `ed`: `configured alerts` are looked at.
        let past = lower.ends_with("ed")
            && !passive
            && !matches!(lower.as_str(), "embed" | "feed" | "seed" | "shed" | "need");
        let goes_on = (!leads || past) && participle && verb(&stem).iter().any(|kind| kind.writes());
        // `addresses that take part`: how they are, not what is to be done.
        let mut before = self.heard.words.iter().rev();
        let relative = before.next().is_some_and(|word| word.stem == "that" && word.segment == segment)
            && before
                .next()
                .is_some_and(|word| word.several && word.kinds.is_empty() && !is_doer(&word.stem));
        let kinds = match verb(&stem) {
            kinds if does => kinds,
            _ if relative => &[],
            _ if named || describes || goes_on || asks && !first => &[],
            [] if leads && !several => verb_first(&stem),
            kinds => kinds,
        };
        self.heard.words.push(Word {
            small: is_small(&stem),
            noun_too: is_noun_too(&stem),
            opens: opens_as_verb(&stem),
            stem,
            names_repo: false,
            after_that,
            done: lower.ends_with("ed"),
            describes: goes_on,
            number,
            trust,
            segment,
            negated: false,
            named,
            kinds,
            leads,
            several: several && !does,
            long: lower.len() >= 4,
            meta: false,
        });
    }

    /// It says `repo`, if less than the word does.
    fn repo(&mut self, name: &str) {
        self.resource("repo", name.to_owned());
        self.word("repo", true);
        if let Some(word) = self.heard.words.last_mut() {
            word.number = self.knowledge.number("repo");
            word.trust = 0.5;
            word.names_repo = true;
        }
    }

    /// A host says its zone, which is a guess where it is not the host itself.
    fn host(&mut self, name: &str, by_mail: bool) {
        let zone = zone_of(name);
        if let Some(zone) = &zone {
            self.mention("zone", zone.clone(), by_mail);
        }
        if zone.as_deref() != Some(name) && !by_mail {
            self.mention("host", name.to_owned(), by_mail);
        }
    }

    fn resource(&mut self, kind: &'static str, value: String) {
        self.mention(kind, value, false);
    }

    fn mention(&mut self, kind: &'static str, value: String, by_mail: bool) {
        let resource = Resource { kind: kind.to_owned(), value };
        self.heard.mentions.push(Mention { at: self.heard.words.len(), resource, by_mail });
    }

    fn pause(&mut self, pause: Break) {
        match pause {
            Break::None => {}
            Break::Soft => {
                self.broken = true;
                self.last_named = None;
            }
            Break::Colon | Break::Hard | Break::Ask => {
                if pause == Break::Ask {
                    self.ask();
                }
                if pause == Break::Colon {
                    self.head();
                }
                self.broken = true;
                self.sentence += 1;
                self.last_named = None;
            }
        }
    }

    /// The sentence that ends is a question.
    fn ask(&mut self) {
        let sentence = self.sentence;
        for segment in self.heard.segments.iter_mut().filter(|segment| segment.sentence == sentence) {
            segment.question = true;
        }
    }

    /// `read from it`: what is read, not where something else comes from.
    fn follows_verb(&self, lower: &str) -> bool {
        lower == "from"
            && !self.broken
            && self.heard.words.last().is_some_and(|word| !word.kinds.is_empty() && word.leads)
    }

    /// Whether the words so far only say that a key is wanted; then they are marked.
    fn asks_for_key(&mut self) -> bool {
        let mut last = self.heard.words.iter_mut().rev();
        let one = |word: &&mut Word| !word.several || !matches!(word.stem.as_str(), "key" | "token");
        let Some(word) = last.next().filter(|word| names_key(&word.stem)).filter(one) else { return false };
        let mut before: Vec<&mut Word> = last.take(5).collect();
        let api = before.first().is_some_and(|word| word.stem == "api");
        let plain = before.get(usize::from(api)).is_none_or(|word| {
            is_small(&word.stem) && !matches!(word.stem.as_str(), "servic" | "user" | "app" | "team")
                || is_making(&word.stem)
        });
        if plain {
            word.meta = true;
            for word in before.iter_mut().filter(|word| word.stem == "api" || is_making(&word.stem)) {
                word.meta = true;
            }
        }
        plain
    }

    /// The segment before a colon says what the rest is about, unless it already does something.
    fn head(&mut self) {
        let Some(last) = self.heard.segments.len().checked_sub(1) else { return };
        let acts = self.heard.own(last).any(|(_, word)| !word.kinds.is_empty());
        if let Some(segment) = self.heard.segments.get_mut(last) {
            segment.heading = !acts;
            segment.before_colon = true;
            let of_keys = segment.text.contains(" permission") || segment.text.contains(" scope");
            for word in self.heard.words.iter_mut().filter(|word| of_keys && word.segment == last) {
                word.meta = true;
            }
        }
    }

    fn segment(&mut self) -> usize {
        if self.broken || self.heard.segments.is_empty() {
            self.broken = false;
            self.heard.segments.push(Segment {
                sentence: self.sentence,
                bracketed: self.bracket,
                ..Segment::default()
            });
        }
        self.heard.segments.len() - 1
    }
}
