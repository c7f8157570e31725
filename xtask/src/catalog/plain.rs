//! What the providers share whose permissions are plain words: rows of permissions and operations, with what was reviewed.

use std::collections::{BTreeMap, BTreeSet};

use super::CatalogTaskError;
use keywright_catalog::compile::review::{OperationFlag, PermissionFlag, Review};
use keywright_catalog::compile::{CompileError, list, row};

/// One permission before its review: its scope, its access by the rules, and a flag by the rules with its reason.
pub(super) struct Plain {
    pub(super) scope: String,
    pub(super) access: &'static str,
    pub(super) escalation: Option<&'static str>,
}

/// Writes the permissions, each under its own id as its name.
pub(super) fn permission_rows(
    out: &mut String,
    review: &Review,
    permissions: &BTreeMap<String, Plain>,
) -> Result<(), CatalogTaskError> {
    let mut judged: BTreeMap<&str, _> =
        review.permission.iter().map(|reviewed| (reviewed.name.as_str(), reviewed)).collect();
    for (id, plain) in permissions {
        let mut flags: BTreeSet<&str> = plain.escalation.iter().map(|_| "escalation").collect();
        let mut why = plain.escalation.unwrap_or_default();
        let mut access = plain.access;
        if let Some(reviewed) = judged.remove(id.as_str()) {
            flags.extend(reviewed.flags.iter().filter_map(|flag| flag.word()));
            why = &reviewed.why;
            if reviewed.flags.iter().any(|flag| matches!(flag, PermissionFlag::Reads)) {
                access = "read";
            }
        }
        let flags: Vec<&str> = flags.into_iter().collect();
        row(out, &[id, "=", &plain.scope, access, &list(&flags)?, why])?;
    }
    match judged.keys().next() {
        Some(stale) => Err(CompileError::Stale((*stale).to_owned()).into()),
        None => Ok(()),
    }
}

/// One operation before its review.
pub(super) struct Call {
    /// Empty where the provider's operations have no method and path.
    pub(super) method: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) tags: Vec<String>,
    pub(super) mutating: bool,
    /// Every way to open it; one empty way where it needs nothing, none where nobody says what it needs.
    pub(super) ways: Vec<BTreeSet<String>>,
}

/// Writes the operations by path, method and id.
pub(super) fn operation_rows(
    out: &mut String,
    review: &Review,
    mut calls: Vec<Call>,
) -> Result<(), CatalogTaskError> {
    let mut flagged: BTreeMap<&str, OperationFlag> = BTreeMap::new();
    for reviewed in &review.operation {
        flagged.extend(reviewed.names.iter().map(|name| (name.as_str(), reviewed.flag)));
    }
    calls.sort_by(|a, b| (&a.path, &a.method, &a.id).cmp(&(&b.path, &b.method, &b.id)));
    let mut seen = BTreeSet::new();
    for call in &calls {
        if !seen.insert(&call.id) {
            return Err(CompileError::Unexpected(format!("`{}` is there twice", call.id)).into());
        }
        let flag = flagged.remove(call.id.as_str());
        let alone: Vec<&String> = call.ways.iter().filter(|way| way.len() == 1).flatten().collect();
        let mut ways = Vec::new();
        for way in &call.ways {
            let way: Vec<&str> = way.iter().map(String::as_str).collect();
            ways.push(if way.is_empty() { "()".to_owned() } else { way.join("&") });
        }
        let facts = [
            ("credential", flag == Some(OperationFlag::Credential)),
            ("mutating", call.mutating && flag != Some(OperationFlag::Pure)),
            ("unannotated", call.ways.is_empty()),
        ];
        let flags: Vec<&str> = facts.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
        let needed = if alone.len() == ways.len() { "=".to_owned() } else { list(&ways)? };
        let (tags, flags, alone) = (list(&call.tags)?, list(&flags)?, list(&alone)?);
        row(out, &[&call.method, &call.path, &call.id, &tags, &flags, &alone, "", &needed, ""])?;
    }
    match flagged.keys().next() {
        Some(stale) => Err(CompileError::Stale((*stale).to_owned()).into()),
        None => Ok(()),
    }
}
