//! The knowledge files against the catalogs: nothing in them is made up.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers fail by panicking")]

use super::*;
use crate::error::CatalogError;

fn planner(book: &'static Book) -> Planner<'static> {
    Planner { catalog: Catalog::for_provider(book.provider).unwrap(), book }
}

#[test]
fn every_operation_of_a_knowledge_file_can_be_planned() {
    let mut wrong = Vec::new();
    for book in &BOOKS {
        let planner = planner(book);
        for topic in &planner.knowledge().topics {
            for deed in &topic.deeds {
                let operations = planner.shapes().of_deed(deed);
                if operations.is_empty() && deed.operations.iter().all(|written| written.contains(' ')) {
                    wrong
                        .push(format!("{} {}: {:?} names nothing", book.provider, topic.id, deed.operations));
                }
                for operation in operations {
                    // Where nothing is known to open an operation, the answer is a question: that is meant.
                    let unknown = |error: &CatalogError| !matches!(error, CatalogError::NotComputable { .. });
                    if let Err(error) = least::of(planner.catalog, std::slice::from_ref(&operation), &[])
                        && unknown(&error)
                        && topic.id != "magic-firewall"
                    {
                        wrong.push(format!("{} {}: {operation}: {error}", book.provider, topic.id));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_may_mean_several_things_means_things_that_are_there() {
    for book in &BOOKS {
        let planner = planner(book);
        let knowledge = planner.knowledge();
        for topic in knowledge.topics.iter().filter(|topic| !topic.either.is_empty()) {
            assert!((2..=3).contains(&topic.either.len()), "{} {}", book.provider, topic.id);
            for meant in &topic.either {
                let candidate = planner.meant(meant);
                let full = candidate.is_some_and(|candidate| !candidate.permissions.is_empty());
                assert!(full, "{} {}: {meant}", book.provider, topic.id);
            }
        }
    }
}

#[test]
fn each_line_of_a_knowledge_file_is_of_the_form() {
    for book in &BOOKS {
        let mut ids = std::collections::HashSet::new();
        for line in book.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (mark, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{}: {line}", book.provider));
            assert!(Knowledge::knows_mark(mark), "{}: {line}", book.provider);
            if mark == "@" {
                let id = rest.split(" | ").next().unwrap_or_default();
                assert!(ids.insert(id), "{}: {id} twice", book.provider);
                assert!(rest.contains(" | "), "{}: {line}", book.provider);
            }
        }
    }
}

/// Each phrase that names a topic alone has to lead there, or to something with the same permissions.
#[test]
fn what_a_thing_is_called_leads_to_it() {
    let mut astray = Vec::new();
    let mut all = 0;
    for book in &BOOKS {
        let planner = planner(book);
        let knowledge = planner.knowledge();
        for line in book.text.lines() {
            let Some((topic, phrases)) = line.strip_prefix("@ ").and_then(|rest| rest.split_once(" | "))
            else {
                continue;
            };
            let topic = knowledge.topic(topic).unwrap();
            if !knowledge.topics.get(topic).unwrap().either.is_empty() {
                continue;
            }
            for phrase in phrases.split(';').map(str::trim).filter(|phrase| !phrase.starts_with('~')) {
                let words = phrase.replace("ahost", "www.example.com").replace("apath", "example.com/x");
                if words.contains("asecret") || words.contains("awho") {
                    continue;
                }
                all += 1;
                let heard = hear(&words, planner.catalog, knowledge, false);
                let choice = choose(&heard, knowledge, Trust::Work);
                let found = choice.wanted.first().map(|chosen| chosen.topic);
                let either = found
                    .and_then(|found| knowledge.topics.get(found))
                    .is_some_and(|found| !found.either.is_empty());
                if found != Some(topic) && !either {
                    let id = |topic: usize| knowledge.topics.get(topic).map_or("", |topic| topic.id);
                    astray.push(format!(
                        "{} {}: `{phrase}` leads to {:?}",
                        book.provider,
                        id(topic),
                        found.map(id)
                    ));
                }
            }
        }
    }
    assert!(astray.len() * 1000 < all * 15, "{} of {all}\n{}", astray.len(), astray.join("\n"));
}

/// Each phrase that calls a deed has to call it, or one with the same operations.
#[test]
fn what_a_deed_is_called_calls_it() {
    let mut astray = Vec::new();
    let mut all = 0;
    for book in &BOOKS {
        let planner = planner(book);
        let knowledge = planner.knowledge();
        let mut topic = 0;
        let mut deed: Option<usize> = None;
        for line in book.text.lines() {
            let Some((mark, rest)) = line.split_once(' ') else { continue };
            match mark {
                "@" => {
                    topic = knowledge.topic(rest.split(" | ").next().unwrap().trim()).unwrap();
                    deed = None;
                }
                "=" | "?" | "??" | "#" => {}
                "*" | "+" => deed = Some(deed.map_or(3, |deed| deed + 4)),
                _ if Knowledge::knows_mark(mark) => deed = Some(deed.map_or(0, |deed| deed + 1)),
                _ => {}
            }
            let (Some(deed), Some((_, phrases))) = (deed, rest.split_once(" | ")) else { continue };
            // What is asked about calls nothing.
            if ["@", "=", "??"].contains(&mark) {
                continue;
            }
            let known = &knowledge.topics.get(topic).unwrap().deeds;
            for phrase in phrases.split(';').map(str::trim).filter(|phrase| !phrase.starts_with('~')) {
                let words = phrase.replace("ahost", "www.example.com");
                all += 1;
                let heard = hear(&words, planner.catalog, knowledge, false);
                let choice = choose(&heard, knowledge, Trust::Work);
                let Some(first) = choice.wanted.first() else {
                    astray.push(format!(
                        "{} {}: `{phrase}` calls nothing",
                        book.provider,
                        knowledge.topics.get(topic).unwrap().id
                    ));
                    continue;
                };
                let wanted = &known.get(deed).unwrap().operations;
                let got = |at: &usize| {
                    knowledge
                        .topics
                        .get(first.topic)
                        .and_then(|topic| topic.deeds.get(*at))
                        .is_some_and(|deed| &deed.operations == wanted)
                };
                if !first.deeds.iter().any(got) || first.deeds.len() > 1 {
                    let id = knowledge.topics.get(first.topic).map_or("", |topic| topic.id);
                    astray.push(format!(
                        "{} {}: `{phrase}` calls {id} {:?}, not {deed}",
                        book.provider,
                        knowledge.topics.get(topic).unwrap().id,
                        first.deeds
                    ));
                }
            }
        }
    }
    assert!(astray.len() * 1000 < all * 25, "{} of {all}\n{}", astray.len(), astray.join("\n"));
}
