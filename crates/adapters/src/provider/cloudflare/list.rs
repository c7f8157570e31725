//! Listing tokens: all pages or an error.

use std::collections::BTreeSet;

use keywright_core::provider::{Listed, Listing, ProviderError};

use super::envelope::About;
use super::shapes::{Token, TokenRow};
use super::{Cloudflare, KIND};

/// The most that the API gives in one page.
pub(super) const PAGE_SIZE: usize = 50;
/// The quota is 500 tokens; expired ones may be listed too.
const MOST_PAGES: usize = 100;
/// How often a list is begun again that changed under our hands.
const MOST_STARTS: usize = 4;

impl Cloudflare {
    /// `GET .../tokens`, to its end.
    pub(super) async fn list_tokens(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        for _ in 0..MOST_STARTS {
            if let Some(rows) = self.all_rows().await? {
                return Ok(rows.into_iter().filter(|row| which.wants(&row.name)).map(listed).collect());
            }
        }
        let why = "the list of tokens kept changing while it was read".to_owned();
        Err(ProviderError::Unavailable { provider: KIND, why })
    }

    /// `GET .../tokens/{id}`.
    pub(super) async fn token(&self, id: &str) -> Result<Token, ProviderError> {
        let about = About { what: "token", needs: self.owner.read_permission() };
        let token: Token = self.api.show(self.owner.token(id)?, about).await?;
        if token.id == id { Ok(token) } else { Err(super::super::about_another(KIND, "token")) }
    }

    /// All rows; `None` when tokens came or went between two pages, because then one may have slipped through.
    async fn all_rows(&self) -> Result<Option<Vec<TokenRow>>, ProviderError> {
        let about = About { what: "tokens", needs: self.owner.read_permission() };
        let mut rows: Vec<TokenRow> = Vec::new();
        let mut total = None;
        for page in 1..=MOST_PAGES {
            let query = vec![
                ("page", page.to_string()),
                ("per_page", PAGE_SIZE.to_string()),
                ("direction", "asc".to_owned()),
            ];
            let answer = self.api.get::<Vec<TokenRow>>(self.owner.tokens(), query, about).await?;
            if page > 1 && answer.total_count != total {
                return Ok(None);
            }
            total = answer.total_count;
            let last = answer.result.is_empty();
            rows.extend(answer.result);
            let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            // Without a total only an empty page ends the list: a short one might be a smaller page size.
            if last || total.is_some_and(|total| count >= total) {
                let distinct: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
                let complete = distinct.len() == rows.len() && total.is_none_or(|total| count == total);
                return Ok(complete.then_some(rows));
            }
        }
        let why = format!("the list of tokens has more than {MOST_PAGES} pages");
        Err(ProviderError::Unsupported { provider: KIND, why })
    }
}

fn listed(row: TokenRow) -> Listed {
    Listed {
        created_at: row.issued_on,
        expires_at: row.expires_on,
        last_used_at: row.last_used_on,
        enabled: row.status == "active",
        ..Listed::of(row.id, &row.name)
    }
}
