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
}

/// A permission as the provider lists it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionNow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: Untrusted,
    /// The kinds of resources that it applies to, each in one word of the provider's adapter.
    pub scopes: Vec<String>,
}
