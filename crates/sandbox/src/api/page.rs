//! Paging: `page`, `per_page`, `direction`, and the `result_info` that goes with them.

use serde_json::{Value, json};

use crate::envelope::{Answer, Refusal};
use crate::world::Call;

/// The bounds of `per_page`, which differ per list.
pub(crate) struct PageSize {
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) default: usize,
}

/// Tokens, accounts and zones.
pub(crate) const SMALL_PAGE: PageSize = PageSize { least: 5, most: 50, default: 20 };

/// One page of `items` (oldest first), or a refusal when a parameter is out of the published bounds.
pub(crate) fn page(call: &Call<'_>, size: &PageSize, mut items: Vec<Value>) -> Result<Answer, Refusal> {
    match call.query("direction") {
        None | Some("asc") => {}
        Some("desc") => items.reverse(),
        Some(_) => return Err(Refusal::invalid("`direction` must be `asc` or `desc`")),
    }
    let page = number(call, "page", 1, 1, usize::MAX)?;
    let per_page = number(call, "per_page", size.default, size.least, size.most)?;
    let total = items.len();
    let start = (page - 1).saturating_mul(per_page);
    let shown: Vec<Value> = items.into_iter().skip(start).take(per_page).collect();
    let info = json!({
        "page": page,
        "per_page": per_page,
        "count": shown.len(),
        "total_count": total,
        "total_pages": total.div_ceil(per_page),
    });
    Ok(Answer::list(shown.into(), info))
}

/// A numeric query parameter within bounds.
pub(crate) fn number(
    call: &Call<'_>,
    key: &str,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, Refusal> {
    let Some(text) = call.query(key) else { return Ok(default) };
    match text.parse::<usize>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Refusal::invalid(format!("`{key}` must be a number from {least} to {most}"))),
    }
}
