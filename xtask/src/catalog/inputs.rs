//! What a catalog is made of: the vendor's two files, and what people judged about them.

use std::path::Path;

use keywright_catalog::compile::review::{Review, VendorOperation, VendorPermission};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::CatalogTaskError;

/// The three texts that a catalog is made of.
pub(super) struct Inputs {
    pub(super) review: String,
    pub(super) permissions: String,
    pub(super) operations: String,
}

impl Inputs {
    pub(super) fn read(catalogs: &Path, data: &Path, provider: &str) -> Result<Self, CatalogTaskError> {
        let text = |path: std::path::PathBuf| {
            std::fs::read_to_string(&path).map_err(|source| CatalogTaskError::File { path, source })
        };
        let review = text(catalogs.join(format!("{provider}.review.toml")))?;
        let parsed = Review::parse(&review)?;
        let permissions = text(data.join(&parsed.source("permissions")?.file))?;
        let operations = text(data.join(&parsed.source("operations")?.file))?;
        Ok(Self { review, permissions, operations })
    }
}

#[derive(Deserialize)]
pub(super) struct VendorPermissions {
    pub(super) groups: Vec<VendorPermission>,
}

#[derive(Deserialize)]
pub(super) struct VendorOperations {
    pub(super) operations: Vec<VendorOperation>,
}

pub(super) fn checked(review: &Review, holds: &'static str, text: &str) -> Result<(), CatalogTaskError> {
    let recorded = review.source(holds)?.sha256.clone();
    let found = hex::encode(Sha256::digest(text));
    if found == recorded { Ok(()) } else { Err(CatalogTaskError::Checksum { holds, recorded, found }) }
}
