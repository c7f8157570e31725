//! Catalogs of providers whose permissions people listed: `catalogs/<provider>.list.toml` in, `catalogs/<provider>.tsv`
//! out. No vendor file stands behind them, so the checksum is the list's own.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::CatalogTaskError;
use keywright_catalog::compile::review::PermissionFlag;
use keywright_catalog::compile::{
    CompileError, HEAD, OPERATIONS, PERMISSIONS, SOURCES, first_line, list, row,
};

const END: &str = ".list.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    provider: String,
    from: String,
    taken: String,
    licence: String,
    listed: Vec<Listed>,
    #[serde(default)]
    judged: Vec<Judged>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    scope: String,
    access: Access,
    ids: Vec<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Access {
    Read,
    Write,
    Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judged {
    flags: Vec<PermissionFlag>,
    why: String,
    ids: Vec<String>,
}

/// The providers that have a list, sorted.
pub(super) fn providers(catalogs: &Path) -> Result<Vec<String>, CatalogTaskError> {
    let failed = |source| CatalogTaskError::File { path: catalogs.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(catalogs).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        found.extend(name.to_str().and_then(|name| name.strip_suffix(END)).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

/// Compiles one list.
pub(super) fn compile(catalogs: &Path, provider: &str) -> Result<String, CatalogTaskError> {
    let path = catalogs.join(format!("{provider}{END}"));
    let text = std::fs::read_to_string(&path).map_err(|source| CatalogTaskError::File { path, source })?;
    compile_text(&text)
}

fn compile_text(text: &str) -> Result<String, CatalogTaskError> {
    let lists: Lists = toml::from_str(text)?;
    let mut rows: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for listed in &lists.listed {
        let access = match listed.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Other => "other",
        };
        for id in &listed.ids {
            if rows.insert(id, (&listed.scope, access)).is_some() {
                return Err(CompileError::Unexpected(format!("`{id}` is there twice")).into());
            }
        }
    }
    let mut judged: BTreeMap<&str, &Judged> = BTreeMap::new();
    for one in &lists.judged {
        judged.extend(one.ids.iter().map(|id| (id.as_str(), one)));
    }
    if let Some(stale) = judged.keys().find(|id| !rows.contains_key(**id)) {
        return Err(CompileError::Stale((*stale).to_owned()).into());
    }
    let mut out = format!("{}{HEAD}{SOURCES}", first_line(&lists.provider));
    let sum = hex::encode(Sha256::digest(text));
    row(&mut out, &["permissions", &lists.from, &lists.taken, &lists.licence, &sum])?;
    out.push_str(PERMISSIONS);
    for (id, (scope, access)) in rows {
        let verdict = judged.get(id);
        let flags: Vec<&str> =
            verdict.iter().flat_map(|one| &one.flags).filter_map(|flag| flag.word()).collect();
        let why = verdict.map_or("", |one| one.why.as_str());
        row(&mut out, &[id, id, scope, access, &list(&flags)?, why])?;
    }
    out.push_str(OPERATIONS);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "provider = 'p'\nfrom = 'f'\ntaken = '2026-01-01'\nlicence = 'MIT'\n";

    fn compiled(rest: &str) -> Result<String, String> {
        compile_text(&format!("{HEAD}{rest}")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_becomes_permissions_with_their_flags() {
        let listed = "[[listed]]\nscope = 's'\naccess = 'write'\nids = ['b', 'a']\n";
        let judged = "[[judged]]\nflags = ['escalation']\nwhy = 'makes keys'\nids = ['b']\n";
        let text = compiled(&format!("{listed}{judged}")).unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("\ts\t")).collect();
        assert_eq!(rows, ["a\ta\ts\twrite\t-\t-", "b\tb\ts\twrite\tescalation\tmakes keys"]);
    }

    #[test]
    fn what_is_listed_twice_or_judged_and_not_listed_is_an_error() {
        let listed = |ids: &str| format!("[[listed]]\nscope = 's'\naccess = 'read'\nids = {ids}\n");
        assert!(compiled(&listed("['a', 'a']")).unwrap_err().contains("twice"));
        let judged = "[[judged]]\nflags = ['escalation']\nwhy = 'w'\nids = ['z']\n";
        assert!(compiled(&format!("{}{judged}", listed("['a']"))).unwrap_err().contains("`z`"));
    }
}
