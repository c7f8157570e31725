//! The permissions that a provider lists, as they are now.

use async_trait::async_trait;

use crate::provider::ProviderError;
use crate::text::Untrusted;

/// The permissions that a provider has now, which catalogs are held against.
#[async_trait]
pub trait PermissionsNow: Send + Sync {
    /// All of them.
    ///
    /// # Errors
    /// When the list could not be read to its end.
    async fn permissions_now(&self) -> Result<Vec<PermissionNow>, ProviderError>;

    /// Whose permissions they are.
    fn of(&self) -> Whose {
        Whose::Provider
    }
}

/// Whose permissions a provider lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// All that there are: one that is not listed is gone.
    Provider,
    /// Those of the parent: it can't give one that is not listed.
    Parent,
}

/// A permission as the provider lists it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionNow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Untrusted,
    /// The kinds of resources that it applies to, each in one word of the provider's adapter; none where the list does not say.
    pub scopes: Vec<String>,
}
