//! The columns beside an entry. They are not in the tree, yet `audit trace` searches by them: an entry whose columns
//! were changed would be whole and never be found.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::Result;
use crate::sql::Row;

/// What the leaf says about its columns.
#[derive(Deserialize)]
struct Said<'l> {
    at: Timestamp,
    #[serde(borrow)]
    deed: Cow<'l, str>,
    #[serde(borrow)]
    stage: Cow<'l, str>,
    #[serde(borrow, default)]
    subject: Subject<'l>,
}

#[derive(Deserialize, Default)]
struct Subject<'l> {
    #[serde(borrow, default)]
    request: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'l, str>>,
}

/// Whether the columns `deed, stage, at, request, key_id`, from `first` on, say what the leaf says.
pub(super) fn agree(leaf: &[u8], row: &Row, first: usize) -> bool {
    let Ok(said) = serde_json::from_slice::<Said<'_>>(leaf) else { return false };
    let same = || -> Result<bool> {
        Ok(row.text(first)? == said.deed
            && row.text(first + 1)? == said.stage
            && row.int(first + 2)? == said.at.as_millisecond()
            && row.maybe_text(first + 3)? == said.subject.request.as_deref()
            && row.maybe_text(first + 4)? == said.subject.key.as_deref())
    };
    same().unwrap_or(false)
}
