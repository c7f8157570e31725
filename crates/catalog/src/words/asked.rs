//! What of a text asks for something, for whoever else chooses among operations.

use super::Kind;
use super::deeds::denied;
use super::hear::hear;
use super::{BOOKS, LONGEST, Planner};
use crate::catalog::Catalog;

/// What a text asks for, for whoever else chooses among operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its words, without what it only quotes and without orders that try to widen it.
    pub words: String,
    /// Whether it says that nothing is to be changed.
    pub read_only: bool,
    /// Whether it says that nothing is to be deleted.
    pub no_deletes: bool,
}

/// What of a text asks for something.
#[must_use]
pub fn asked(words: &str, catalog: &Catalog) -> Asked {
    let Some(book) =
        BOOKS.iter().find(|book| book.provider == catalog.provider()).filter(|_| words.len() <= LONGEST)
    else {
        return Asked { words: words.to_owned(), read_only: false, no_deletes: false };
    };
    let heard = hear(words, catalog, Planner { catalog, book }.knowledge(), false);
    let own = heard.segments.iter().filter(|segment| !segment.smuggles && !segment.orders);
    let own: Vec<&str> = own.map(|segment| segment.text.as_str()).collect();
    Asked {
        words: own.join(" "),
        read_only: heard.read_only,
        no_deletes: denied(&heard).contains(&Kind::Delete),
    }
}
