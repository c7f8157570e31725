//! What is done where no knowledge file says enough: the operations themselves are searched, and a provider is guessed.

use std::collections::BTreeSet;

use super::answer::{Answer, Candidate, Status};
use super::choose::{Trust, choose};
use super::hear::{Heard, hear};
use super::knowledge::Kind;
use super::lexicon::{is_small, verb};
use super::tokens::stems;
use super::{BOOKS, CANDIDATES, LONGEST, Planner, least, plan};
use crate::catalog::Catalog;
use crate::operation::Operation;

/// How many operations are looked at.
const LOOKED_AT: usize = 40;

/// How much better the best provider has to fit than the next one.
const CLEARLY: f32 = 1.35;

/// Plans a job without being told the provider: the one whose words fit clearly best, or a question.
#[must_use]
pub fn plan_any(words: &str) -> Answer<'static> {
    let mut fits: Vec<(f32, &'static Catalog)> = Vec::new();
    if words.len() <= LONGEST {
        let said: BTreeSet<String> = stems(words).into_iter().collect();
        for book in &BOOKS {
            let Ok(catalog) = Catalog::for_provider(book.provider) else { continue };
            if names_of(book.provider).split_ascii_whitespace().any(|name| said.contains(name)) {
                return plan(words, catalog);
            }
            let planner = Planner { catalog, book };
            let heard = hear(words, catalog, planner.knowledge(), false);
            let choice = choose(&heard, planner.knowledge(), Trust::Work);
            if let Some(first) = choice.wanted.first() {
                fits.push((first.score, catalog));
            }
        }
    }
    fits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut fits = fits.into_iter();
    match (fits.next(), fits.next()) {
        (Some((best, catalog)), next) if next.is_none_or(|(other, _)| best >= other * CLEARLY) => {
            plan(words, catalog)
        }
        _ => Answer { question: Some("which provider is it about?".to_owned()), ..Answer::nothing("") },
    }
}

/// Stems that name a provider, or something that only it has.
fn names_of(provider: &str) -> &'static str {
    match provider {
        "aws" => {
            "aw amazon s3 ec2 rds ecs ec eks ecr sqs sns iam kms cloudwatch dynamodb cloudfront route53 fargat sagemaker bedrock"
        }
        "cloudflare" => "cloudflar wrangler r2 turnstil zaraz hyperdriv vectoriz cloudflared warp",
        "digitalocean" => "digitalocean droplet dok doctl docr",
        "github" => "github gh dependabot codeql copilot codespac",
        "openrouter" => "openrouter",
        "sendgrid" => "sendgrid twilio",
        "tailscale" => "tailscal tailnet magicdn",
        _ => "",
    }
}

impl<'catalog> Planner<'catalog> {
    /// The operations that share most words with the text: one that has them all is the plan, others are offered.
    pub(super) fn nearest(&self, heard: &Heard, answer: &mut Answer<'catalog>) {
        let said: Vec<&str> = heard
            .words
            .iter()
            .filter(|word| !word.negated && !word.named && !is_small(&word.stem))
            .filter(|word| heard.segments.get(word.segment).is_some_and(|segment| !segment.smuggles))
            .map(|word| word.stem.as_str())
            .collect();
        let things: BTreeSet<&str> = said.iter().copied().filter(|stem| verb(stem).is_empty()).collect();
        if things.is_empty() || things.len() > 8 {
            return;
        }
        let asks = heard.words.iter().any(|word| word.kinds == [Kind::Read])
            || heard.segments.iter().any(|segment| segment.question);
        let reads = asks || said.iter().any(|stem| verb(stem).iter().any(|kind| !kind.writes()));
        let writes = said.iter().any(|stem| verb(stem).iter().any(|kind| kind.writes()));
        let found = self.catalog.operations(&said.join(" "), LOOKED_AT);
        let mut best: Vec<(usize, Candidate<'catalog>)> = Vec::new();
        for operation in found.iter().map(|found| found.item).filter(|operation| !operation.deprecated) {
            let of = words_of(operation);
            let shared = things.iter().filter(|thing| of.contains(**thing)).count();
            let fits = self.changes(operation) == (writes && !heard.read_only);
            if shared == 0 || !fits && (reads || writes || heard.read_only) {
                continue;
            }
            let name = operation.to_string();
            let Ok(least) = least::of(self.catalog, std::slice::from_ref(&name), &[]) else { continue };
            let grave = least.permissions.iter().any(|one| one.escalation || one.high_blast);
            let known = best.iter().any(|(_, known)| known.permissions == least.permissions);
            if !grave && !known {
                best.push((
                    shared,
                    Candidate { operations: least.operations, permissions: least.permissions, why: name },
                ));
            }
        }
        best.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        best.truncate(CANDIDATES);
        let clear = match best.as_slice() {
            [(most, _)] => *most >= 2,
            [(most, _), (next, _), ..] => *most >= 2 && most > next && *most == things.len(),
            [] => false,
        };
        // Without a verb nothing is changed on a guess.
        let clear = clear
            && (reads || writes || best.first().is_some_and(|(_, one)| !self.any_changes(&one.operations)));
        let mut best = best.into_iter().map(|(_, candidate)| candidate);
        if clear
            && let Some(only) = best.next()
            && let Ok(least) = least::of(self.catalog, &only.operations, &answer.resources)
        {
            answer.take(least);
            answer.question = None;
        }
        answer.candidates.extend(best);
        if answer.status == Status::Question && answer.candidates.len() == 1 {
            answer.candidates.clear();
        }
    }

    fn any_changes(&self, operations: &[String]) -> bool {
        let known = |name: &String| self.catalog.all_operations().iter().find(|one| one.to_string() == *name);
        operations.iter().any(|name| known(name).is_none_or(|operation| self.changes(operation)))
    }

    fn changes(&self, operation: &Operation) -> bool {
        operation.mutating
            || self
                .catalog
                .accepted(operation)
                .any(|one| one.access != crate::permission::Access::Read && one.name == operation.id)
    }
}

/// The stems of an operation's path, id and tags.
fn words_of(operation: &Operation) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let texts = operation
        .path
        .split('/')
        .filter(|segment| !segment.starts_with('{'))
        .chain([operation.id])
        .chain(operation.tags());
    for text in texts {
        for part in text.split(|letter: char| !letter.is_alphanumeric()).flat_map(super::tokens::camel_parts)
        {
            words.extend(stems(part));
        }
    }
    words
}
