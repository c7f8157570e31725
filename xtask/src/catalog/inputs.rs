//! What a catalog is made of: the vendor's two files, and what people judged about them.

use std::path::Path;
use std::process::Command;

use keywright_catalog::compile::review::{Review, VendorOperation, VendorPermission};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::CatalogTaskError;

/// The three texts that a catalog is made of.
pub(super) struct Inputs {
    pub(super) review: String,
    pub(super) permissions: Text,
    pub(super) operations: Text,
}

/// A vendor's file, unpacked, with the SHA-256 of the file as it was published.
pub(super) struct Text {
    pub(super) text: String,
    sha256: String,
}

impl Inputs {
    pub(super) fn read(catalogs: &Path, data: &Path, provider: &str) -> Result<Self, CatalogTaskError> {
        let path = catalogs.join(format!("{provider}.review.toml"));
        let review =
            std::fs::read_to_string(&path).map_err(|source| CatalogTaskError::File { path, source })?;
        let parsed = Review::parse(&review)?;
        let permissions = Text::read(&data.join(&parsed.source("permissions")?.file))?;
        let operations = Text::read(&data.join(&parsed.source("operations")?.file))?;
        Ok(Self { review, permissions, operations })
    }

    /// The review, once both files are known to be the reviewed ones.
    pub(super) fn reviewed(&self) -> Result<Review, CatalogTaskError> {
        let review = Review::parse(&self.review)?;
        self.permissions.checked("permissions", &review.source("permissions")?.sha256)?;
        self.operations.checked("operations", &review.source("operations")?.sha256)?;
        Ok(review)
    }
}

impl Text {
    /// Reads a file, packed or not.
    pub(super) fn read(path: &Path) -> Result<Self, CatalogTaskError> {
        let file = |source| CatalogTaskError::File { path: path.to_owned(), source };
        let bytes = std::fs::read(path).map_err(file)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let bytes = if path.extension().is_some_and(|end| end == "gz") {
            Command::new("gzip").arg("-dc").arg(path).output().map_err(file)?.stdout
        } else {
            bytes
        };
        let text = String::from_utf8(bytes).map_err(|error| file(std::io::Error::other(error)))?;
        Ok(Self { text, sha256 })
    }

    pub(super) fn checked(&self, holds: &'static str, recorded: &str) -> Result<(), CatalogTaskError> {
        if self.sha256 == recorded {
            return Ok(());
        }
        let (recorded, found) = (recorded.to_owned(), self.sha256.clone());
        Err(CatalogTaskError::Checksum { holds, recorded, found })
    }
}

#[cfg(test)]
impl From<String> for Text {
    fn from(text: String) -> Self {
        let sha256 = hex::encode(Sha256::digest(&text));
        Self { text, sha256 }
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
