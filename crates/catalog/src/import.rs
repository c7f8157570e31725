//! A newer publication of a vendor, compiled at run time, and what it changes.
//!
//! Vendors add operations to permissions that exist: a template that was approved then grants more than it did. [`cloudflare`]
//! compiles the OpenAPI description that Cloudflare publishes under the judgements that ship, and [`Drift`] says what became
//! wider, so that it can be held against the templates in force.
//!
//! A shipped catalog lives as long as the program. An imported one does too: its text is given to the program for good, once per
//! import, and is at most [`LARGEST`] bytes long.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::compile::CompileError;
use crate::compile::cloudflare::compile;
use crate::compile::review::{Recorded, Review, VendorOperation, VendorPermission};
use crate::error::CatalogError;
use crate::operation::Operation;
use crate::permission::Permission;

/// What people judged, for imports too.
const JUDGED: &str = include_str!("../../../catalogs/cloudflare.review.toml");

/// A catalog is at most this long, in bytes.
pub const LARGEST: usize = 16 << 20;

/// The methods that the description of a path may have.
const METHODS: [&str; 5] = ["delete", "get", "patch", "post", "put"];

/// Why a publication could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not JSON, or not what it should be.
    #[error("the vendor's {what}: {source}")]
    NotJson {
        /// Which file.
        what: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is no description of an API, or says nothing about permissions.
    #[error("{0}")]
    Odd(String),
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// What was compiled is no catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Where a publication comes from, as the importing person says.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The publication, with its version or address.
    pub from: String,
    /// When it was taken, `YYYY-MM-DD`.
    pub taken: String,
    /// SHA-256 of the OpenAPI description, in hex.
    pub sha256: String,
}

/// An imported catalog.
#[derive(Debug)]
pub struct Imported {
    /// The catalog. It can be kept beside the shipped ones, in an `Arc` or for good.
    pub catalog: Catalog,
    /// Its text, to be kept in a file and read again with [`Catalog::read`].
    pub text: &'static str,
    /// What judgements name and the publication no longer has: nothing follows from them until somebody looks.
    pub stale: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(alias = "result")]
    groups: Vec<VendorPermission>,
}

/// Compiles Cloudflare's OpenAPI description, as published, into a catalog. The ids of permissions come from `groups`, an answer of
/// Cloudflare's list of permission groups, or else from the shipped catalog: a permission that has no id there stays unresolved.
///
/// # Errors
/// [`ImportError`] where a text is not what it should be. A description without any operation that names permissions is refused: it
/// would make every permission look harmless.
pub fn cloudflare(openapi: &str, groups: Option<&str>, about: &Publication) -> Result<Imported, ImportError> {
    let not_json = |what| move |source| ImportError::NotJson { what, source };
    let description: Value = serde_json::from_str(openapi).map_err(not_json("OpenAPI description"))?;
    let operations = operations(&description)?;
    let permissions = match groups {
        Some(text) => serde_json::from_str::<Groups>(text).map_err(not_json("permission groups"))?.groups,
        None => shipped()?,
    };
    let mut review = Review::parse(JUDGED)?;
    if groups.is_some() {
        review.source.retain(|source| source.holds != "permissions");
        review.source.push(recorded("permissions", about, "-"));
    }
    review.source.retain(|source| source.holds != "operations");
    review.source.push(recorded("operations", about, &about.sha256));
    review.source.sort_by(|a, b| b.holds.cmp(&a.holds));
    let compiled = compile(&review, &permissions, &operations)?;
    let text = keep(compiled.text)?;
    Ok(Imported { catalog: Catalog::parse(text)?, text, stale: compiled.stale })
}

fn recorded(holds: &str, about: &Publication, sha256: &str) -> Recorded {
    Recorded {
        holds: holds.to_owned(),
        file: String::new(),
        from: about.from.clone(),
        taken: about.taken.clone(),
        licence: "BSD-3-Clause".to_owned(),
        sha256: if sha256 == "-" { String::new() } else { sha256.to_owned() },
    }
}

/// The facts of each operation of a description.
fn operations(description: &Value) -> Result<Vec<VendorOperation>, ImportError> {
    let odd = |what: String| ImportError::Odd(what);
    let paths = description.get("paths").and_then(Value::as_object);
    let paths = paths.ok_or_else(|| odd("the description has no `paths`".to_owned()))?;
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if !METHODS.contains(&method.as_str()) {
                continue;
            }
            let words = |field: &str| -> Option<Vec<String>> {
                let list = operation.get(field)?.as_array()?;
                list.iter().map(|word| word.as_str().map(str::to_owned)).collect()
            };
            let groups = match operation.get("x-api-token-group") {
                None | Some(Value::Null) => None,
                Some(_) => Some(words("x-api-token-group").ok_or_else(|| {
                    odd(format!("the permissions of `{method} {path}` are not a list of names"))
                })?),
            };
            found.push(VendorOperation {
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                operation_id: operation
                    .get("operationId")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                tags: words("tags").unwrap_or_default(),
                groups,
                deprecated: operation.get("deprecated").and_then(Value::as_bool).unwrap_or_default(),
            });
        }
    }
    if !found.iter().any(|operation| operation.groups.is_some()) {
        return Err(odd("no operation of the description says which permission opens it".to_owned()));
    }
    Ok(found)
}

/// The permissions of the shipped catalog.
fn shipped() -> Result<Vec<VendorPermission>, ImportError> {
    let vendors = |scope: &str| match scope {
        "account" => "com.cloudflare.api.account",
        "zone" => "com.cloudflare.api.account.zone",
        "user" => "com.cloudflare.api.user",
        _ => "com.cloudflare.edge.r2.bucket",
    };
    let permissions = Catalog::cloudflare()?.permissions().iter();
    let vendor = |one: &Permission| VendorPermission {
        id: one.id.to_owned(),
        name: one.name.to_owned(),
        scopes: vec![vendors(one.scope).to_owned()],
    };
    Ok(permissions.map(vendor).collect())
}

fn keep(text: String) -> Result<&'static str, CatalogError> {
    if text.len() > LARGEST {
        return Err(CatalogError::Damaged { line: 1, what: "a text of at most 16 MiB" });
    }
    Ok(text.leak())
}

impl Catalog {
    /// Reads a catalog that was imported before. Its text stays with the program for good.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] with the line that is not what the form says.
    pub fn read(text: String) -> Result<Self, CatalogError> {
        Self::parse(keep(text)?)
    }
}

/// What a newer catalog changes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Permissions that open more than they did.
    pub widened: Vec<Changed>,
    /// Permissions that no longer open something.
    pub narrowed: Vec<Changed>,
    /// Permissions that are gone, as `(id, name)`.
    pub removed: Vec<(String, String)>,
    /// Permissions that are new, as `(id, name)`.
    pub added: Vec<(String, String)>,
    /// Permissions with another name, as `(id, former name, name)`.
    pub renamed: Vec<(String, String, String)>,
    /// Operations that are new.
    pub new_operations: Vec<String>,
    /// Operations that are gone.
    pub gone_operations: Vec<String>,
}

/// One permission that opens more, or less, than it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its id.
    pub permission: String,
    /// Its name.
    pub name: String,
    /// The operations that it opens now and did not, or the other way round.
    pub operations: Vec<String>,
    /// How many of them change something.
    pub mutating: usize,
}

impl Drift {
    /// What `new` changes against `old`. Operations are the same where their method and path are, whatever their parameters are
    /// called.
    #[must_use]
    pub fn between(old: &Catalog, new: &Catalog) -> Self {
        let (before, after) = (by_id(old), by_id(new));
        let mut drift = Self::default();
        for (id, was) in &before {
            let Some(is) = after.get(id) else {
                drift.removed.push(((*id).to_owned(), was.name.to_owned()));
                continue;
            };
            if was.name != is.name {
                drift.renamed.push(((*id).to_owned(), was.name.to_owned(), is.name.to_owned()));
            }
            let changed = |more: &BTreeMap<String, &Operation>, less: &BTreeMap<String, &Operation>| {
                let found: Vec<&&Operation> =
                    more.iter().filter(|(shape, _)| !less.contains_key(*shape)).map(|(_, one)| one).collect();
                (!found.is_empty()).then(|| Changed {
                    permission: (*id).to_owned(),
                    name: is.name.to_owned(),
                    mutating: found.iter().filter(|one| one.mutating).count(),
                    operations: found.iter().map(ToString::to_string).collect(),
                })
            };
            drift.widened.extend(changed(&is.opens, &was.opens));
            drift.narrowed.extend(changed(&was.opens, &is.opens));
        }
        let new_ones = after.iter().filter(|(id, _)| !before.contains_key(*id));
        drift.added.extend(new_ones.map(|(id, one)| ((*id).to_owned(), one.name.to_owned())));
        let shapes = |catalog: &Catalog| -> BTreeSet<String> {
            catalog.all_operations().iter().map(Operation::shape).collect()
        };
        let (had, has) = (shapes(old), shapes(new));
        let missing = |from: &Catalog, known: &BTreeSet<String>| -> Vec<String> {
            let all = from.all_operations().iter();
            all.filter(|one| !known.contains(&one.shape())).map(ToString::to_string).collect()
        };
        drift.new_operations = missing(new, &had);
        drift.gone_operations = missing(old, &has);
        drift
    }

    /// What of it is about these permissions, by id: what became of the templates and keys that hold them.
    #[must_use]
    pub fn touching(&self, ids: &BTreeSet<&str>) -> Self {
        let changed = |list: &[Changed]| -> Vec<Changed> {
            list.iter().filter(|one| ids.contains(one.permission.as_str())).cloned().collect()
        };
        Self {
            widened: changed(&self.widened),
            narrowed: changed(&self.narrowed),
            removed: self.removed.iter().filter(|(id, _)| ids.contains(id.as_str())).cloned().collect(),
            added: Vec::new(),
            renamed: self.renamed.iter().filter(|(id, ..)| ids.contains(id.as_str())).cloned().collect(),
            new_operations: Vec::new(),
            gone_operations: Vec::new(),
        }
    }

    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

struct Opening<'c> {
    name: &'static str,
    /// By method and path, parameters without their names.
    opens: BTreeMap<String, &'c Operation>,
}

fn by_id(catalog: &Catalog) -> BTreeMap<&'static str, Opening<'_>> {
    let opening = |(position, one): (usize, &Permission)| {
        let opened = catalog.reach().shown(position).filter_map(|at| catalog.operation_at(at));
        let opens = opened.map(|operation| (operation.shape(), operation)).collect();
        (one.id, Opening { name: one.name, opens })
    };
    catalog.permissions().iter().enumerate().map(opening).collect()
}
