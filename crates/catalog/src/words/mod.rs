//! Plain words to a plan: the words name things and deeds, the knowledge files say which operations those are, and the
//! solver finds the least permissions. Offline, without a model, the same answer every time.
//!
//! Words are untrusted. They choose among jobs that the knowledge files know; they never add a permission. What a text
//! brings along to widen the key (names of permissions, claims of approval, orders about rules) is taken out before it
//! is understood.

mod answer;
mod asked;
mod bare;
mod choose;
mod clauses;
mod deeds;
mod find;
mod foreign;
mod grammar;
mod guess;
mod hear;
mod heard;
mod hosts;
mod knowledge;
mod leaning;
mod least;
mod lexicon;
mod opinion;
mod quoted;
mod relative;
mod reported;
mod resources;
mod scope;
mod shapes;
mod smuggled;
mod spelling;
mod stance;
mod text;
mod tokens;

use std::sync::OnceLock;

pub use answer::{Answer, Candidate, Status};
pub use asked::{Asked, asked};
pub use guess::plan_any;

use crate::catalog::Catalog;
use crate::permission::Permission;
use bare::{asks_for_key, only_names, says_something};
use choose::{Choice, Chosen, Trust, choose};
use hear::{Heard, hear};
use knowledge::{Kind, Knowledge};
use leaning::leaning;
use opinion::Opinion;
use scope::placed;
use shapes::Shapes;
use stance::changes;

/// A longer text is not a job but a document; nothing is read of it, for half a text may mean the opposite.
const LONGEST: usize = 4000;

/// A text that leans so far asks for a change, though no verb says so.
const LEANS_TO_CHANGE: f32 = 1.0;

/// How many candidates an answer holds.
const CANDIDATES: usize = 3;

/// One provider's knowledge file.
struct Book {
    provider: &'static str,
    text: &'static str,
    read: OnceLock<Knowledge>,
    shapes: OnceLock<Shapes>,
    opinion: OnceLock<Opinion>,
}

impl Book {
    const fn new(provider: &'static str, text: &'static str) -> Self {
        Self { provider, text, read: OnceLock::new(), shapes: OnceLock::new(), opinion: OnceLock::new() }
    }
}

static BOOKS: [Book; 7] = [
    Book::new("aws", include_str!("../../../../catalogs/aws.words")),
    Book::new("cloudflare", include_str!("../../../../catalogs/cloudflare.words")),
    Book::new("digitalocean", include_str!("../../../../catalogs/digitalocean.words")),
    Book::new("github", include_str!("../../../../catalogs/github.words")),
    Book::new("openrouter", include_str!("../../../../catalogs/openrouter.words")),
    Book::new("sendgrid", include_str!("../../../../catalogs/sendgrid.words")),
    Book::new("tailscale", include_str!("../../../../catalogs/tailscale.words")),
];

/// Plans a job that is described in plain words.
#[must_use]
pub fn plan<'catalog>(words: &str, catalog: &'catalog Catalog) -> Answer<'catalog> {
    let mut answer = Answer::nothing(catalog.provider());
    if words.len() > LONGEST {
        answer.status = Status::Refused;
        answer.refused =
            Some(format!("the text is longer than {LONGEST} bytes: say the job in a few sentences"));
        return answer;
    }
    let Some(book) = BOOKS.iter().find(|book| book.provider == catalog.provider()) else {
        answer.question = Some(format!("which operations of {} does the job call?", catalog.provider()));
        return answer;
    };
    Planner { catalog, book }.plan(words, answer)
}

struct Planner<'catalog> {
    catalog: &'catalog Catalog,
    book: &'static Book,
}

impl<'catalog> Planner<'catalog> {
    fn knowledge(&self) -> &'static Knowledge {
        self.book.read.get_or_init(|| Knowledge::parse(self.book.text))
    }

    fn shapes(&self) -> &'static Shapes {
        self.book.shapes.get_or_init(|| Shapes::of(self.catalog))
    }

    fn opinion(&self) -> &'static Opinion {
        self.book.opinion.get_or_init(|| Opinion::of(self.knowledge(), self.shapes(), self.catalog))
    }

    /// Takes what explains the words far better than what the rules chose.
    fn reconsider(&self, heard: &Heard, choice: &mut Choice) {
        let chosen: Vec<usize> = choice.wanted.iter().map(|chosen| chosen.topic).collect();
        let opinion = self.opinion();
        let scores = opinion.scores(heard, &choice.scores());
        let meaning =
            |topic| choice.meaning(topic, &opinion.words_for(topic, heard), heard, self.knowledge());
        let chosen = match opinion.instead(&scores, heard, self.knowledge(), &chosen) {
            Some(topic) => {
                let instead = meaning(topic);
                choice.near.clear();
                choice.wanted = vec![instead];
                vec![topic]
            }
            None => chosen,
        };
        let meaning =
            |topic| choice.meaning(topic, &opinion.words_for(topic, heard), heard, self.knowledge());
        let others: Vec<Chosen> =
            opinion.others(&scores, self.knowledge(), &chosen).into_iter().map(meaning).collect();
        choice.near.extend(others);
        choice.doubtful = opinion.doubts(&scores, heard, &choice.scores(), &chosen);
    }

    fn plan(&self, words: &str, mut answer: Answer<'catalog>) -> Answer<'catalog> {
        let knowledge = self.knowledge();
        let mut heard = hear(words, self.catalog, knowledge, false);
        answer.resources.clone_from(&heard.resources);
        if heard.segments.iter().any(|segment| smuggled::conceals(&segment.text)) {
            refuse(&mut answer, "somebody is not to see what is done: a human has to decide that");
            return answer;
        }
        let mut choice = choose(&heard, knowledge, Trust::Work);
        self.reconsider(&heard, &mut choice);
        if choice.wanted.is_empty() {
            // Then it is about keys.
            for word in &mut heard.words {
                word.meta = false;
            }
            choice = choose(&heard, knowledge, Trust::Jobs);
        }
        let mut second = false;
        if choice.wanted.is_empty() && heard.smuggles {
            second = true;
            choice = choose(&heard, knowledge, Trust::All);
            if choice.wanted.is_empty() && !heard.segments.iter().any(|segment| segment.orders) {
                let named = hear(words, self.catalog, knowledge, true);
                choice = choose(&named, knowledge, Trust::All);
            }
        }
        if let Some(either) = self.said_barely(&heard) {
            for meant in either {
                self.candidate_by(meant, &heard, &mut answer);
            }
            if answer.candidates.len() > 1 {
                self.offer(&mut answer);
                return answer;
            }
            answer.candidates.clear();
        }
        self.settle(&heard, &choice, second, &mut answer);
        if let Some(name) = &heard.look_alike {
            answer.doubt(name);
        }
        answer
    }

    /// What the words may mean if they say no more than a name that several things have.
    fn said_barely(&self, heard: &Heard) -> Option<&[&'static str]> {
        if heard.look_alike.is_some() || heard.has_numbers || heard.words.iter().any(|word| word.negated) {
            return None;
        }
        let known = |with_keys: bool| {
            let content = bare::content(heard, with_keys);
            let known = self.knowledge().bare.iter();
            known.filter(|(said, _)| *said == content).map(|(_, either)| either.as_slice()).next_back()
        };
        known(true).or_else(|| known(false).filter(|_| !bare::does(heard)))
    }

    /// Adds what the verbs of the text do with a thing, or the job that a label names.
    fn candidate_by(&self, meant: &str, heard: &Heard, answer: &mut Answer<'catalog>) {
        if meant.contains('.') {
            return self.candidate(meant, heard, answer);
        }
        let mut marks = bare::marks(heard);
        if marks.is_empty() {
            let topic = self.knowledge().topic(meant).and_then(|topic| self.knowledge().topics.get(topic));
            let first = topic.and_then(|topic| topic.deeds.first());
            marks.push(if first.is_some_and(|deed| deed.reads) { "r" } else { "c" });
        }
        for mark in marks {
            self.candidate(&format!("{meant}.{mark}"), heard, answer);
        }
    }

    /// Turns what was chosen into an answer.
    fn settle(&self, heard: &Heard, choice: &Choice, second: bool, answer: &mut Answer<'catalog>) {
        let knowledge = self.knowledge();
        let Some(first) = choice.wanted.first() else {
            if heard.smuggles {
                refuse(answer, "the words ask for rights, not for a job: say what the key is used for");
            } else {
                answer.question = Some("which product is it about, and what is done with it?".to_owned());
                self.nearest(heard, answer);
            }
            return;
        };
        let either =
            knowledge.topics.get(first.topic).map_or(&[] as &[&str], |topic| topic.either.as_slice());
        if !either.is_empty() {
            if second {
                refuse(answer, "the words ask for rights, not for a job: say what the key is used for");
                return;
            }
            for meant in either {
                self.candidate(meant, heard, answer);
            }
            self.offer(answer);
            return;
        }
        if choice.wanted.len() == 1
            && first.bare
            && (only_names(heard)
                && (asks_for_key(heard) || bare::is_bare(heard) && self.is_collection(first.topic))
                || self.writes_unsaid(first, heard))
        {
            self.either_way(first.topic, heard, answer);
            if answer.candidates.len() > 1 {
                self.offer(answer);
                return;
            }
            answer.candidates.clear();
        }
        let leader = choice.wanted.iter().map(|chosen| chosen.at).min().unwrap_or_default();
        let (wanted, left): (Vec<Chosen>, Vec<Chosen>) = choice.wanted.iter().cloned().partition(|chosen| {
            chosen.at == leader || !self.is_grave(&self.candidate_of(std::slice::from_ref(chosen)))
        });
        let mut planned = self.candidate_of(&wanted);
        let placed = placed(self.catalog.provider(), &planned.operations, heard, self.shapes());
        let moved = placed != planned.operations;
        if moved {
            let least = least::of(self.catalog, &placed, &[]);
            planned.permissions = least.map(|least| least.permissions).unwrap_or_default();
            planned.operations = placed;
        }
        if self.is_grave(&planned) && !(first.sure && (first.words > 1 || says_something(heard))) {
            answer.question = Some(format!("is it about {}?", planned.why));
            return;
        }
        if second && (self.is_grave(&planned) || self.can_escalate(first.topic)) {
            refuse(answer, "the words ask for rights, not for a job: say what the key is used for");
            return;
        }
        for near in &choice.near {
            let other = self.candidate_of(std::slice::from_ref(near));
            let known = answer.candidates.iter().any(|known| known.permissions == other.permissions);
            let new = !other.permissions.is_empty()
                && other.permissions != planned.permissions
                && !known
                && !self.is_grave(&other);
            if new && answer.candidates.len() + 1 < CANDIDATES {
                answer.candidates.push(other);
            }
        }
        if choice.wanted.len() == 1 && !changes(heard) && !heard.read_only && answer.candidates.is_empty() {
            // Without a verb it may as well be the other way.
            self.either_way(first.topic, heard, answer);
            answer
                .candidates
                .retain(|other| other.permissions != planned.permissions && !self.is_grave(other));
            answer.candidates.truncate(CANDIDATES - 1);
        }
        if choice.doubtful && !moved && !answer.candidates.is_empty() && self.writes(first) {
            answer.candidates.insert(0, planned);
            return self.offer(answer);
        }
        match least::of(self.catalog, &planned.operations, &heard.resources) {
            Ok(least) => {
                answer.take(least);
            }
            Err(_) if planned.operations.is_empty() => {
                answer.question = Some(format!(
                    "nothing is known about the operations of {}: which does the job call?",
                    planned.why
                ));
                return;
            }
            Err(error) => {
                answer.question = Some(format!("{error}: which permission should it be?"));
                answer.operations = planned.operations;
                return;
            }
        }
        if !left.is_empty() {
            answer.refused = Some(format!("{}: ask for it alone", self.candidate_of(&left).why));
        } else if heard.smuggles {
            answer.refused = Some(
                "names of permissions, and words about rules and approvals, were not followed".to_owned(),
            );
        } else if heard.left_out {
            answer.refused = Some(
                "what the text only quotes, or says that somebody else says, was not followed".to_owned(),
            );
        }
    }

    fn writes(&self, chosen: &Chosen) -> bool {
        let topic = self.knowledge().topics.get(chosen.topic);
        let writes =
            |deed: &usize| topic.is_some_and(|topic| topic.deeds.get(*deed).is_some_and(|deed| !deed.reads));
        chosen.deeds.iter().any(writes)
    }

    /// Whether something would be changed though the text says no more than its name: no verb, and nothing else that is
    /// understood.
    fn writes_unsaid(&self, chosen: &Chosen, heard: &Heard) -> bool {
        let beside = |at: usize, word: &hear::Word| !chosen.acts.contains(&at) && word.stem != "ahost";
        if leaning(heard, beside) > LEANS_TO_CHANGE {
            return false;
        }
        let wanted = self.is_collection(chosen.topic) || !bare::wants(heard);
        let said = bare::does(heard) || bare::orders(heard);
        let barely = wanted && !bare::says_more(heard, &chosen.acts);
        self.writes(chosen) && !said && (barely || heard.foreign || bare::only_hosts(heard, &chosen.acts))
    }

    /// Whether a plan can make keys, or one slip with it costs the account: such a thing is never a by-the-way.
    fn is_grave(&self, planned: &Candidate<'catalog>) -> bool {
        planned.permissions.iter().any(|one| one.escalation || one.high_blast)
    }

    /// Whether there are several of a thing, that come and go: a setting is only ever turned on or off.
    fn is_collection(&self, topic: usize) -> bool {
        let deeds =
            self.knowledge().topics.get(topic).map_or(&[] as &[knowledge::Deed], |topic| &topic.deeds);
        let can = |kind: Kind| deeds.iter().any(|deed| deed.kinds == [kind] && !deed.operations.is_empty());
        can(Kind::Create) && can(Kind::Delete)
    }

    /// Whether anything that is done to a thing makes keys or costs the account.
    fn can_escalate(&self, topic: usize) -> bool {
        let deeds = self.knowledge().topics.get(topic).map_or(0, |topic| topic.deeds.len());
        (0..deeds).any(|deed| {
            self.is_grave(&self.candidate_of(&[Chosen {
                topic,
                deeds: vec![deed],
                score: 0.0,
                at: 0,
                words: 0,
                bare: false,
                acts: std::collections::BTreeSet::new(),
                sure: true,
            }]))
        })
    }

    /// Adds what reads a thing, and what makes and changes it.
    fn either_way(&self, topic: usize, heard: &Heard, answer: &mut Answer<'catalog>) {
        let id = self.knowledge().topics.get(topic).map_or("", |topic| topic.id);
        for kind in ["r", "c", "u"] {
            self.candidate(&format!("{id}.{kind}"), heard, answer);
        }
    }

    /// Offers what the words may mean; where only one thing is left, that is meant.
    fn offer(&self, answer: &mut Answer<'catalog>) {
        answer.status = Status::Candidates;
        answer.question = Some("which of these is meant?".to_owned());
        if answer.candidates.len() == 1
            && let Some(only) = answer.candidates.pop()
            && let Ok(least) = least::of(self.catalog, &only.operations, &answer.resources)
        {
            answer.take(least);
            answer.question = None;
        }
    }

    fn candidate_of(&self, wanted: &[Chosen]) -> Candidate<'catalog> {
        let knowledge = self.knowledge();
        let mut operations: Vec<String> = Vec::new();
        let mut why = Vec::new();
        for chosen in wanted {
            let Some(topic) = knowledge.topics.get(chosen.topic) else { continue };
            why.push(topic.id.replace('-', " "));
            for deed in chosen.deeds.iter().filter_map(|deed| topic.deeds.get(*deed)) {
                for operation in self.shapes().of_deed(deed) {
                    if !operations.contains(&operation) {
                        operations.push(operation);
                    }
                }
            }
        }
        let permissions: Vec<&'catalog Permission> =
            least::of(self.catalog, &operations, &[]).map(|least| least.permissions).unwrap_or_default();
        Candidate { operations, permissions, why: why.join(" and ") }
    }

    /// What `topic.kind` or `topic.label` of an ambiguous topic stands for.
    fn meant(&self, meant: &str) -> Option<Candidate<'catalog>> {
        let (topic, deed) = self.deed_meant(meant)?;
        Some(self.candidate_of(&[Chosen {
            topic,
            deeds: vec![deed],
            score: 0.0,
            at: 0,
            words: 0,
            bare: false,
            acts: std::collections::BTreeSet::new(),
            sure: true,
        }]))
    }

    fn deed_meant(&self, meant: &str) -> Option<(usize, usize)> {
        let knowledge = self.knowledge();
        let (id, mark) = meant.split_once('.')?;
        let topic = knowledge.topic(id)?;
        let deeds = &knowledge.topics.get(topic)?.deeds;
        let kind = match mark {
            "r" => Some(Kind::Read),
            "c" | "w" => Some(Kind::Create),
            "d" => Some(Kind::Delete),
            "u" => Some(Kind::Update),
            _ => None,
        };
        let deed = match kind {
            None => deeds.iter().position(|deed| deed.label == mark),
            Some(kind) => deeds
                .iter()
                .position(|deed| deed.kinds.contains(&kind))
                .or_else(|| deeds.iter().position(|deed| deed.reads != kind.writes())),
        };
        Some((topic, deed?))
    }

    /// Adds one of the things that an ambiguous topic may mean.
    fn candidate(&self, meant: &str, heard: &Heard, answer: &mut Answer<'catalog>) {
        let Some((topic, deed)) = self.deed_meant(meant) else { return };
        let reads = self
            .knowledge()
            .topics
            .get(topic)
            .and_then(|known| known.deeds.get(deed))
            .is_some_and(|deed| deed.reads);
        let Some(candidate) = self.meant(meant).filter(|_| reads || !heard.read_only) else { return };
        let new = !candidate.permissions.is_empty()
            && answer.candidates.iter().all(|known| known.permissions != candidate.permissions);
        if new && answer.candidates.len() < CANDIDATES {
            answer.candidates.push(candidate);
        }
    }
}

fn refuse(answer: &mut Answer<'_>, why: &str) {
    answer.status = Status::Refused;
    answer.refused = Some(why.to_owned());
}

#[cfg(test)]
mod tests;
