//! Cloudflare: permission groups, and the operations of which each opens some.

use std::collections::{BTreeMap, BTreeSet};

use super::needs::{needs, phases, stale};
use super::review::{OperationFlag, PermissionFlag, Review, VendorOperation, VendorPermission, access};
use super::{CompileError, HEAD, OPERATIONS, PERMISSIONS, SOURCES, VARIANTS, first_line, list, row};
use crate::operation::shape;

/// An operation that so many permissions open says nothing about which one a job needs.
const WIDE: usize = 16;

/// What became of Cloudflare's facts.
#[derive(Debug)]
pub struct Compiled {
    /// The text of the catalog.
    pub text: String,
    /// What judgements name and the facts no longer have. Nothing follows from these judgements.
    pub stale: Vec<String>,
}

/// Compiles Cloudflare's facts under the judgements of a review.
///
/// # Errors
/// [`CompileError::Unexpected`] where the facts are not what the rules expect.
pub fn compile(
    review: &Review,
    permissions: &[VendorPermission],
    operations: &[VendorOperation],
) -> Result<Compiled, CompileError> {
    let names = Names::of(permissions)?;
    let mut gone = stale(&review.judged, &names, operations);
    let mut out = first_line(&review.provider);
    out.push_str(HEAD);
    out.push_str(SOURCES);
    for source in &review.source {
        row(&mut out, &[&source.holds, &source.from, &source.taken, &source.licence, &source.sha256])?;
    }
    out.push_str(PERMISSIONS);
    permission_rows(&mut out, review, &names, operations, &mut gone)?;
    out.push_str(VARIANTS);
    for (set, variant, labels) in phases(&review.judged, &names, &mut gone) {
        row(&mut out, &[&set, &variant, &list(&labels)?])?;
    }
    out.push_str(OPERATIONS);
    operation_rows(&mut out, review, &names, operations, &mut gone)?;
    Ok(Compiled { text: out, stale: gone })
}

/// The permissions by name; a name stands for one id per scope.
pub(super) struct Names<'a>(BTreeMap<&'a str, BTreeMap<&'static str, &'a str>>);

impl<'a> Names<'a> {
    pub(super) fn of(permissions: &'a [VendorPermission]) -> Result<Self, CompileError> {
        let mut names: BTreeMap<&str, BTreeMap<&'static str, &str>> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for permission in permissions {
            let scope = scope(permission)?;
            let twin = names.entry(&permission.name).or_default().insert(scope, &permission.id);
            if twin.is_some() || !ids.insert(&permission.id) {
                return Err(CompileError::Unexpected(format!("`{}` is there twice", permission.name)));
            }
        }
        Ok(Self(names))
    }

    /// Whether a permission has this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// How the operations of the compiled file call a permission: its name, with the scope where the name alone
    /// would be ambiguous. `None` when the vendor's data does not say which permission is meant.
    pub(super) fn label(&self, name: &str, path: &str) -> Option<String> {
        let by_scope = self.0.get(name)?;
        if by_scope.len() == 1 {
            return Some(name.to_owned());
        }
        let scope = if path.starts_with("/zones/") {
            "zone"
        } else if path.starts_with("/accounts/") {
            "account"
        } else {
            return None;
        };
        by_scope.contains_key(scope).then(|| format!("{name}@{scope}"))
    }
}

/// The vendor's scope in one word. A permission with several scopes has not been seen; it would need a decision.
fn scope(permission: &VendorPermission) -> Result<&'static str, CompileError> {
    match permission.scopes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["com.cloudflare.api.account"] => Ok("account"),
        ["com.cloudflare.api.account.zone"] => Ok("zone"),
        ["com.cloudflare.api.user"] => Ok("user"),
        ["com.cloudflare.edge.r2.bucket"] => Ok("bucket"),
        other => Err(CompileError::Unexpected(format!("`{}` has scopes {other:?}", permission.name))),
    }
}

fn permission_rows(
    out: &mut String,
    review: &Review,
    names: &Names<'_>,
    operations: &[VendorOperation],
    gone: &mut Vec<String>,
) -> Result<(), CompileError> {
    let named: BTreeSet<&str> = operations.iter().flat_map(VendorOperation::groups).collect();
    let mutating: BTreeSet<&str> = operations
        .iter()
        .filter(|operation| operation.mutates_by_its_permissions())
        .flat_map(VendorOperation::groups)
        .collect();
    for reviewed in &review.permission {
        let known = if reviewed.unresolved { named.contains(reviewed.name.as_str()) } else { true };
        if !known || names.0.contains_key(reviewed.name.as_str()) == reviewed.unresolved {
            gone.push(reviewed.name.clone());
        }
    }
    for (name, by_scope) in &names.0 {
        let reviewed = review.permission.iter().find(|reviewed| reviewed.name == *name);
        let mut flags: BTreeSet<&str> =
            reviewed.iter().flat_map(|r| &r.flags).filter_map(|flag| flag.word()).collect();
        let reads =
            reviewed.is_some_and(|r| r.flags.iter().any(|flag| matches!(flag, PermissionFlag::Reads)));
        let level = if reads { "read" } else { access(name) };
        // It does not call itself a read, yet no operation that changes anything names it: the data understates it.
        if level != "read" && named.contains(name) && !mutating.contains(name) {
            flags.insert("suspicious");
        }
        let flags: Vec<&str> = flags.into_iter().collect();
        let why = reviewed.map_or("", |reviewed| reviewed.why.as_str());
        for (scope, id) in by_scope {
            row(out, &[id, name, scope, level, &list(&flags)?, why])?;
        }
    }
    Ok(())
}

fn operation_rows(
    out: &mut String,
    review: &Review,
    names: &Names<'_>,
    operations: &[VendorOperation],
    gone: &mut Vec<String>,
) -> Result<(), CompileError> {
    // By the shape of the path: the vendor renames parameters.
    let mut reviewed: BTreeMap<String, OperationFlag> = BTreeMap::new();
    for group in &review.operation {
        reviewed.extend(group.names.iter().map(|name| (shape(name), group.flag)));
    }
    let mut operations: Vec<&VendorOperation> = operations.iter().collect();
    operations.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    let mut seen = BTreeSet::new();
    for operation in operations {
        let flag = reviewed.remove(&shape(&operation.name()));
        // What was read and changes nothing may have become something else: then it counts as a change again.
        let flag = match flag {
            Some(OperationFlag::Pure) if operation.mutates_by_its_permissions() => {
                gone.push(format!("{}, which no read permission opens", operation.name()));
                None
            }
            other => other,
        };
        if !seen.insert(operation.name()) {
            return Err(CompileError::Unexpected(format!("`{}` is there twice", operation.name())));
        }
        operation_row(out, review, names, operation, flag)?;
    }
    gone.extend(reviewed.into_keys());
    Ok(())
}

fn operation_row(
    out: &mut String,
    review: &Review,
    names: &Names<'_>,
    operation: &VendorOperation,
    reviewed: Option<OperationFlag>,
) -> Result<(), CompileError> {
    // Some lists repeat a name, so sets.
    let mut accepted = BTreeSet::new();
    let mut unresolved = BTreeSet::new();
    for name in operation.groups() {
        match names.label(name, &operation.path) {
            Some(label) => accepted.insert(label),
            None => unresolved.insert(name.to_owned()),
        };
    }
    let judged = needs(&review.judged, names, operation);
    let facts = [
        ("anybody", judged.anybody),
        ("credential", reviewed == Some(OperationFlag::Credential)),
        ("depends", judged.variants.ends_with("-write")),
        ("deprecated", operation.deprecated),
        ("mutating", operation.method != "GET" && reviewed != Some(OperationFlag::Pure)),
        ("unannotated", operation.groups.is_none()),
        ("wide", accepted.len() + unresolved.len() >= WIDE),
    ];
    let flags: Vec<&str> = facts.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
    let needed = if judged.labels == accepted { "=".to_owned() } else { list(&set(&judged.labels))? };
    let (tags, flags) = (list(&operation.tags)?, list(&flags)?);
    let (accepted, unresolved) = (list(&set(&accepted))?, list(&set(&unresolved))?);
    let id = operation.operation_id.as_str();
    row(
        out,
        &[
            &operation.method,
            &operation.path,
            id,
            &tags,
            &flags,
            &accepted,
            &unresolved,
            &needed,
            judged.variants,
        ],
    )
}

fn set(labels: &BTreeSet<String>) -> Vec<&str> {
    labels.iter().map(String::as_str).collect()
}
