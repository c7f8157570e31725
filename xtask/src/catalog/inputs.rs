//! What a catalog is made of: the vendor's two files, and what people judged about them.

use std::path::Path;

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
        let parsed: Review = toml::from_str(&review)?;
        let permissions = text(data.join(&parsed.source("permissions")?.file))?;
        let operations = text(data.join(&parsed.source("operations")?.file))?;
        Ok(Self { review, permissions, operations })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Review {
    pub(super) provider: String,
    pub(super) source: Vec<Source>,
    pub(super) permission: Vec<ReviewedPermission>,
    #[serde(default)]
    pub(super) operation: Vec<ReviewedOperations>,
}

impl Review {
    pub(super) fn source(&self, holds: &str) -> Result<&Source, CatalogTaskError> {
        let found = self.source.iter().find(|source| source.holds == holds);
        found.ok_or_else(|| {
            CatalogTaskError::Unexpected(format!("the review file records no source of {holds}"))
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) holds: String,
    pub(super) file: String,
    pub(super) from: String,
    pub(super) taken: String,
    pub(super) licence: String,
    pub(super) sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewedPermission {
    pub(super) name: String,
    #[serde(default)]
    pub(super) unresolved: bool,
    /// Where a permission has levels: those that are judged; empty for all.
    #[serde(default)]
    pub(super) levels: Vec<String>,
    pub(super) flags: Vec<PermissionFlag>,
    pub(super) why: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PermissionFlag {
    Escalation,
    HighBlast,
    Sensitive,
}

impl PermissionFlag {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Escalation => "escalation",
            Self::HighBlast => "high-blast",
            Self::Sensitive => "sensitive",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewedOperations {
    pub(super) flag: OperationFlag,
    pub(super) names: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OperationFlag {
    Credential,
    Pure,
}

#[derive(Deserialize)]
pub(super) struct VendorPermissions {
    pub(super) groups: Vec<VendorPermission>,
}

#[derive(Deserialize)]
pub(super) struct VendorPermission {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct VendorOperations {
    pub(super) operations: Vec<VendorOperation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VendorOperation {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) operation_id: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    pub(super) groups: Option<Vec<String>>,
    #[serde(default)]
    pub(super) deprecated: bool,
}

impl VendorOperation {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Not a GET, and no permission that calls itself a read opens it.
    pub(super) fn mutates_by_its_permissions(&self) -> bool {
        self.method != "GET" && !self.groups().any(|name| access(name) == "read")
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flatten().map(String::as_str)
    }
}

/// The access level, by the last word of the name: the vendor's data has no field for it.
pub(super) fn access(name: &str) -> &'static str {
    match name.rsplit(' ').next() {
        Some("Read" | "read") => "read",
        Some("Write" | "Edit" | "Admin") => "write",
        _ => "other",
    }
}

pub(super) fn checked(review: &Review, holds: &'static str, text: &str) -> Result<(), CatalogTaskError> {
    let recorded = review.source(holds)?.sha256.clone();
    let found = hex::encode(Sha256::digest(text));
    if found == recorded { Ok(()) } else { Err(CatalogTaskError::Checksum { holds, recorded, found }) }
}
