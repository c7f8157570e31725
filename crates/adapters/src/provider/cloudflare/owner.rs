//! Who owns the tokens of a connection: an account or a user. The two APIs differ in their path only.

use keywright_core::provider::ProviderError;

use super::KIND;
use super::resource::is_id;

/// Who owns the parent and the keys that it mints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// An account, by its id. Its tokens survive the people who made them.
    Account(String),
    /// The user whom the parent belongs to.
    User,
}

impl Owner {
    /// `/accounts/{account_id}/tokens` or `/user/tokens`.
    pub(super) fn tokens(&self) -> Vec<&str> {
        match self {
            Self::Account(account) => vec!["accounts", account, "tokens"],
            Self::User => vec!["user", "tokens"],
        }
    }

    /// Something below that path.
    pub(super) fn tokens_and<'a>(&'a self, last: &'a str) -> Vec<&'a str> {
        let mut path = self.tokens();
        path.push(last);
        path
    }

    /// The path of one token.
    ///
    /// # Errors
    /// When the id is not one: `verify` and `permission_groups` stand in the same place, and must never be deleted as
    /// a token or read as one.
    pub(super) fn token<'a>(&'a self, id: &'a str) -> Result<Vec<&'a str>, ProviderError> {
        if is_id(id) {
            Ok(self.tokens_and(id))
        } else {
            Err(ProviderError::Unsupported {
                provider: KIND,
                why: "the key's id is not a token's id".to_owned(),
            })
        }
    }

    /// The name of the permission that makes tokens.
    pub(super) fn write_permission(&self) -> &'static str {
        match self {
            Self::Account(_) => "Account API Tokens Write",
            Self::User => "API Tokens Write",
        }
    }

    /// The permissions that read tokens and permission groups.
    pub(super) fn read_permission(&self) -> &'static str {
        match self {
            Self::Account(_) => "Account API Tokens Read",
            Self::User => "API Tokens Read",
        }
    }

    /// How many tokens there may be (API limits, November 2026).
    pub(super) fn quota(&self) -> u64 {
        match self {
            Self::Account(_) => 500,
            Self::User => 50,
        }
    }

    /// What its tokens are called.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Account(_) => "account-owned token",
            Self::User => "user-owned token",
        }
    }
}
