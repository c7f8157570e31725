//! The catalogs that ship inside the binary, each read on first use.

use std::sync::OnceLock;

use crate::catalog::Catalog;
use crate::error::CatalogError;

/// Every catalog that ships, one per provider.
pub static BUILT_IN: [BuiltIn; 10] = [
    BuiltIn::new("anthropic", include_str!("../../../catalogs/anthropic.tsv")),
    BuiltIn::new("aws", include_str!("../../../catalogs/aws.tsv")),
    BuiltIn::new("cloudflare", include_str!("../../../catalogs/cloudflare.tsv")),
    BuiltIn::new("github", include_str!("../../../catalogs/github.tsv")),
    BuiltIn::new("gitlab", include_str!("../../../catalogs/gitlab.tsv")),
    BuiltIn::new("huggingface", include_str!("../../../catalogs/huggingface.tsv")),
    BuiltIn::new("openai", include_str!("../../../catalogs/openai.tsv")),
    BuiltIn::new("openrouter", include_str!("../../../catalogs/openrouter.tsv")),
    BuiltIn::new("sendgrid", include_str!("../../../catalogs/sendgrid.tsv")),
    BuiltIn::new("tailscale", include_str!("../../../catalogs/tailscale.tsv")),
];

/// One shipped catalog: its text costs nothing until somebody asks.
#[derive(Debug)]
pub struct BuiltIn {
    /// The provider, as templates and connections name it.
    pub provider: &'static str,
    /// The compiled text, as it stands in `catalogs/`.
    pub text: &'static str,
    parsed: OnceLock<Result<Catalog, CatalogError>>,
}

impl BuiltIn {
    const fn new(provider: &'static str, text: &'static str) -> Self {
        Self { provider, text, parsed: OnceLock::new() }
    }

    /// The catalog, parsed once.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] if the shipped text is not a catalog; a test reads every one of them.
    pub fn catalog(&'static self) -> Result<&'static Catalog, CatalogError> {
        self.parsed.get_or_init(|| Catalog::parse(self.text)).as_ref().map_err(Clone::clone)
    }
}
