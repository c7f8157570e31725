//! What a catalog is made of: the vendor's facts, and what people judged about them.

use serde::Deserialize;

use super::CompileError;

/// A file `catalogs/<provider>.review.toml`: the record of the vendor's files, and the judgements.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Review {
    /// The provider.
    pub provider: String,
    /// The vendor files that were reviewed.
    pub source: Vec<Recorded>,
    /// What was judged about permissions.
    pub permission: Vec<ReviewedPermission>,
    /// What was judged about single operations.
    #[serde(default)]
    pub operation: Vec<ReviewedOperations>,
    /// What was judged about which permission opens what.
    #[serde(default)]
    pub judged: Judged,
}

impl Review {
    /// Reads a review file.
    ///
    /// # Errors
    /// [`CompileError::Review`] where it is not one.
    pub fn parse(text: &str) -> Result<Self, CompileError> {
        Ok(toml::from_str(text)?)
    }

    /// The record of the file that holds this part.
    ///
    /// # Errors
    /// [`CompileError::Unexpected`] where the review records none.
    pub fn source(&self, holds: &str) -> Result<&Recorded, CompileError> {
        let found = self.source.iter().find(|source| source.holds == holds);
        found.ok_or_else(|| CompileError::Unexpected(format!("the review file records no source of {holds}")))
    }
}

/// The record of one vendor file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Which part: `permissions` or `operations`.
    pub holds: String,
    /// The file's name.
    pub file: String,
    /// The publication, with its version.
    pub from: String,
    /// When it was taken.
    pub taken: String,
    /// Its licence.
    pub licence: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

/// What was judged about one permission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewedPermission {
    /// Its name.
    pub name: String,
    /// Operations name it, but no id for it is known.
    #[serde(default)]
    pub unresolved: bool,
    /// Where a permission has levels: those that are judged; empty for all.
    #[serde(default)]
    pub levels: Vec<String>,
    /// Its flags.
    pub flags: Vec<PermissionFlag>,
    /// Why, in our words.
    pub why: String,
}

/// A flag that people give a permission.
#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub enum PermissionFlag {
    /// It can make keys, or change who may do what.
    Escalation,
    /// One slip costs the account.
    HighBlast,
    /// It reads what people would not expect.
    Sensitive,
    /// Its name does not say so, but it only reads.
    Reads,
}

impl PermissionFlag {
    /// The word in the compiled form; `None` for what the form says in another column.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Escalation => Some("escalation"),
            Self::HighBlast => Some("high-blast"),
            Self::Sensitive => Some("sensitive"),
            Self::Reads => None,
        }
    }
}

/// Operations that share a flag.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewedOperations {
    /// The flag.
    pub flag: OperationFlag,
    /// `METHOD /path`, as the vendor spells it.
    pub names: Vec<String>,
}

/// A flag that people give an operation.
#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OperationFlag {
    /// Its answer is itself a credential.
    Credential,
    /// Not a GET, but it changes nothing.
    Pure,
}

/// What people judged about which permission opens what, where the vendor's lists say too much or nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Names that operations use for a permission of another name.
    #[serde(default)]
    pub alias: Vec<Alias>,
    /// Permissions that stand on operations of other products.
    #[serde(default)]
    pub beside: Vec<Beside>,
    /// Operations that nearly any permission opens, and the one of their own product.
    #[serde(default)]
    pub anybody: Vec<Anybody>,
    /// Products whose operations take their own permission only.
    #[serde(default)]
    pub product: Vec<Product>,
    /// Operations that the vendor says nothing about.
    #[serde(default)]
    pub silent: Vec<Silent>,
    /// Phases of rulesets, and the permission of each.
    #[serde(default)]
    pub phase: Vec<Phase>,
    /// Where several permissions stand on an operation: those of which any one opens it.
    #[serde(default)]
    pub choice: Vec<Choice>,
}

/// A name that operations use for a permission of another name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The name that operations use.
    pub name: String,
    /// The permission that it means; none where the entry is not believed.
    pub means: Option<String>,
    /// Why.
    pub why: String,
}

/// A permission that stands on operations of other products.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// The permission.
    pub permission: String,
    /// It counts only where the path has one of these parts.
    pub only: Option<Vec<String>>,
    /// It counts except where the path has one of these parts.
    pub except: Option<Vec<String>>,
    /// Why.
    pub why: String,
}

impl Beside {
    /// Whether the permission is no answer for this path.
    #[must_use]
    pub fn drops(&self, path: &str) -> bool {
        let within = |parts: &Vec<String>| parts.iter().any(|part| path.contains(part.as_str()));
        self.only.as_ref().is_some_and(|only| !within(only)) || self.except.as_ref().is_some_and(within)
    }
}

/// An operation that nearly any permission opens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anybody {
    /// `METHOD /path`.
    pub operation: String,
    /// The permission of its own product.
    pub permission: String,
}

/// A product whose operations take their own permissions only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// A part of the path.
    pub within: String,
    /// Its permissions.
    pub permissions: Vec<String>,
    /// They stand although the vendor names others.
    #[serde(default)]
    pub instead: bool,
    /// Why.
    pub why: String,
}

/// Operations that the vendor says nothing about, and the permission that opens them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silent {
    /// The methods; empty for all.
    #[serde(default)]
    pub methods: Vec<String>,
    /// How the path begins, parameters written `{}`.
    #[serde(default)]
    pub under: Vec<String>,
    /// The whole path, parameters written `{}`.
    #[serde(default)]
    pub exactly: Vec<String>,
    /// The permissions of which any one opens them.
    pub permissions: Vec<String>,
    /// They stand beside those that the vendor names.
    #[serde(default)]
    pub also: bool,
    /// What it rests on: `product` (the vendor names the product elsewhere), `sibling` (operations beside it), `memory`.
    pub rests_on: String,
}

impl Silent {
    /// Whether it speaks of this operation; the path is written with `{}` for its parameters.
    #[must_use]
    pub fn covers(&self, method: &str, shape: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
            && (self.under.iter().any(|start| shape.starts_with(start.as_str()))
                || self.exactly.iter().any(|whole| whole == shape))
    }
}

/// Phases of rulesets that one permission is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// `zone` or `account`: where the ruleset lives.
    pub scope: String,
    /// The vendor's names of the phases.
    pub names: Vec<String>,
    /// The permission, without `Read` or `Write`.
    pub permission: String,
}

/// Operations on which exactly these permissions stand, and which of them opens such an operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The permissions that stand on the operation, without levels, sorted.
    pub permissions: Vec<String>,
    /// Only where the path has this part.
    pub within: Option<String>,
    /// Any one of these opens it.
    pub any: Vec<String>,
    /// The name of the variant for which all of them are needed.
    pub all_for: Option<String>,
    /// Why.
    pub why: String,
}

/// A permission as the vendor lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct VendorPermission {
    /// The stable id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The vendor's scopes.
    pub scopes: Vec<String>,
}

/// An operation as the vendor describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VendorOperation {
    /// The method, in capitals.
    pub method: String,
    /// The path with its parameters.
    pub path: String,
    /// The vendor's id.
    pub operation_id: String,
    /// The vendor's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The permissions of which any one opens it; none where the vendor does not say.
    pub groups: Option<Vec<String>>,
    /// The vendor discourages it.
    #[serde(default)]
    pub deprecated: bool,
}

impl VendorOperation {
    /// `METHOD /path`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Not a GET, and no permission that calls itself a read opens it.
    pub(crate) fn mutates_by_its_permissions(&self) -> bool {
        self.method != "GET" && !self.groups().any(|name| access(name) == "read")
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flatten().map(String::as_str)
    }
}

/// The access level, by the last word of the name: the vendor's data has no field for it.
#[must_use]
pub fn access(name: &str) -> &'static str {
    match name.rsplit(' ').next() {
        Some("Read" | "read") => "read",
        Some("Write" | "Edit" | "Admin") => "write",
        _ => "other",
    }
}
