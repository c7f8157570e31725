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
