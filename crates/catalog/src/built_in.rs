//! The catalogs that ship inside the binary, each unpacked and read on first use.

use std::sync::OnceLock;

use crate::catalog::Catalog;
use crate::error::CatalogError;

/// No catalog is larger than this when it is unpacked.
const LARGEST: usize = 16 << 20;

macro_rules! built_in {
    ($provider:literal) => {
        built_in!($provider, $provider)
    };
    ($provider:literal, $file:literal) => {
        BuiltIn::new($provider, include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".deflate")))
    };
}

/// One catalog per provider at which keys are made: what a template may name. They are searched when nobody says which provider is
/// meant.
pub static BUILT_IN: [BuiltIn; 10] = [
    built_in!("anthropic"),
    built_in!("aws"),
    built_in!("cloudflare"),
    built_in!("github"),
    built_in!("gitlab"),
    built_in!("huggingface"),
    built_in!("openai"),
    built_in!("openrouter"),
    built_in!("sendgrid"),
    built_in!("tailscale"),
];

/// Catalogs that are only for plans, read when somebody names their provider: all of AWS's actions, of which [`BUILT_IN`] has those
/// that a template may name, and providers at which no key is made.
pub static FOR_PLANS: [BuiltIn; 3] =
    [built_in!("aws", "aws.full"), built_in!("digitalocean"), built_in!("gcp")];

/// Every catalog that ships; of AWS both.
pub fn every() -> impl Iterator<Item = &'static BuiltIn> {
    BUILT_IN.iter().chain(&FOR_PLANS)
}

/// One shipped catalog: it costs nothing until somebody asks.
#[derive(Debug)]
pub struct BuiltIn {
    /// The provider, as templates and connections name it.
    pub provider: &'static str,
    packed: &'static [u8],
    text: OnceLock<Option<String>>,
    parsed: OnceLock<Result<Catalog, CatalogError>>,
}

impl BuiltIn {
    const fn new(provider: &'static str, packed: &'static [u8]) -> Self {
        Self { provider, packed, text: OnceLock::new(), parsed: OnceLock::new() }
    }

    /// How many bytes it takes inside the binary.
    #[must_use]
    pub fn packed_size(&self) -> usize {
        self.packed.len()
    }

    /// The compiled text, as it stands in `catalogs/`, unpacked once.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] if the shipped bytes do not unpack to text; a test unpacks every one of them.
    pub fn text(&'static self) -> Result<&'static str, CatalogError> {
        let unpack = || {
            let bytes = miniz_oxide::inflate::decompress_to_vec_with_limit(self.packed, LARGEST).ok()?;
            String::from_utf8(bytes).ok()
        };
        let damaged = CatalogError::Damaged { line: 1, what: "text that can be unpacked" };
        self.text.get_or_init(unpack).as_deref().ok_or(damaged)
    }

    /// The catalog, parsed once.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] if the shipped text is not a catalog; a test reads every one of them.
    pub fn catalog(&'static self) -> Result<&'static Catalog, CatalogError> {
        self.parsed.get_or_init(|| Catalog::parse(self.text()?)).as_ref().map_err(Clone::clone)
    }
}
