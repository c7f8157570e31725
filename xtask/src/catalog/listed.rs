//! Catalogs of providers whose permissions people listed: `catalogs/<provider>.list.toml` in, `catalogs/<provider>.tsv`
//! out. No vendor file stands behind them, so the checksum is the list's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::CatalogTaskError;
use keywright_catalog::compile::review::PermissionFlag;
use keywright_catalog::compile::{
    CompileError, HEAD, OPERATIONS, PERMISSIONS, SOURCES, VARIANTS, first_line, list, row,
};

const END: &str = ".list.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    provider: String,
    from: String,
    taken: String,
    licence: String,
    /// How the read of a permission is called, after the permission: who holds the permission may read too.
    #[serde(default)]
    read_is: Option<String>,
    listed: Vec<Listed>,
    #[serde(default)]
    judged: Vec<Judged>,
    #[serde(default)]
    variant: Vec<Variant>,
    #[serde(default)]
    opened: Vec<Opened>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    scope: String,
    access: Access,
    ids: Vec<String>,
    /// The names, where they are not the ids.
    #[serde(default)]
    names: Vec<String>,
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

/// What an operation of this set of variants needs in one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    set: String,
    name: String,
    any: Vec<String>,
}

/// Operations that the same permissions open.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    /// Any one of these, several between `&` where they are needed together. Empty: no permission is needed.
    any: Vec<String>,
    /// `METHOD /path id`, or the id alone where the path is not the provider's to say.
    operations: Vec<String>,
    /// They change nothing, whatever the method.
    #[serde(default)]
    pure: bool,
    /// Their answer is itself a credential.
    #[serde(default)]
    credential: bool,
    /// Their set of variants.
    #[serde(default)]
    variants: String,
    /// They can only be planned with a variant.
    #[serde(default)]
    depends: bool,
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
    let mut rows: BTreeMap<&str, (&str, &str, &str)> = BTreeMap::new();
    for listed in &lists.listed {
        let access = match listed.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Other => "other",
        };
        if !listed.names.is_empty() && listed.names.len() != listed.ids.len() {
            return Err(CompileError::Unexpected(format!("the names of {:?}", listed.ids)).into());
        }
        for (at, id) in listed.ids.iter().enumerate() {
            let name = listed.names.get(at).unwrap_or(id);
            if rows.insert(id, (name, &listed.scope, access)).is_some() {
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
    if !lists.opened.is_empty() {
        row(&mut out, &["operations", &lists.from, &lists.taken, &lists.licence, &sum])?;
    }
    out.push_str(PERMISSIONS);
    for (id, (name, scope, access)) in &rows {
        let verdict = judged.get(*id);
        let flags: Vec<&str> =
            verdict.iter().flat_map(|one| &one.flags).filter_map(|flag| flag.word()).collect();
        let why = verdict.map_or("", |one| one.why.as_str());
        row(&mut out, &[id, name, scope, access, &list(&flags)?, why])?;
    }
    let labels = Labels::of(&lists, &rows);
    out.push_str(VARIANTS);
    for variant in &lists.variant {
        row(&mut out, &[&variant.set, &variant.name, &list(&labels.ways(&variant.any)?)?])?;
    }
    out.push_str(OPERATIONS);
    for line in operation_rows(&lists, &labels)?.into_values() {
        out.push_str(&line);
    }
    Ok(out)
}

/// How the operations of the compiled file call a permission.
struct Labels<'a> {
    by_id: BTreeMap<&'a str, String>,
    read_is: Option<&'a str>,
}

impl<'a> Labels<'a> {
    fn of(lists: &'a Lists, rows: &BTreeMap<&'a str, (&'a str, &'a str, &'a str)>) -> Self {
        let twins = |name: &str| rows.values().filter(|(other, ..)| *other == name).count() > 1;
        let label = |name: &str, scope: &str| {
            if twins(name) { format!("{name}@{scope}") } else { name.to_owned() }
        };
        let by_id = rows.iter().map(|(id, (name, scope, _))| (*id, label(name, scope))).collect();
        Self { by_id, read_is: lists.read_is.as_deref() }
    }

    /// The labels of all ways, sorted; who may write may read, where the provider has it so.
    fn ways(&self, any: &[String]) -> Result<Vec<String>, CompileError> {
        let mut ways = BTreeSet::new();
        for way in any {
            let mut expanded = vec![String::new()];
            for id in way.split('&') {
                let written = self.read_is.and_then(|end| id.strip_suffix(end));
                let one = self.by_id.get(id).ok_or_else(|| CompileError::Stale(id.to_owned()))?;
                let wider = written.and_then(|id| self.by_id.get(id));
                let join = |before: &String, label: &String| match before.as_str() {
                    "" => label.clone(),
                    before => format!("{before}&{label}"),
                };
                expanded = expanded
                    .iter()
                    .flat_map(|before| {
                        [Some(one), wider].into_iter().flatten().map(move |label| join(before, label))
                    })
                    .collect();
            }
            ways.extend(expanded);
        }
        Ok(ways.into_iter().collect())
    }
}

/// The operations by path, then by method.
fn operation_rows(
    lists: &Lists,
    labels: &Labels<'_>,
) -> Result<BTreeMap<[String; 3], String>, CatalogTaskError> {
    let mut lines = BTreeMap::new();
    for opened in &lists.opened {
        let ways = labels.ways(&opened.any)?;
        let alone: Vec<&String> = ways.iter().filter(|way| !way.contains('&')).collect();
        let needed = match (ways.len(), alone.len()) {
            (0, _) => "()".to_owned(),
            (all, alone) if all == alone => "=".to_owned(),
            _ => list(&ways)?,
        };
        let known = opened.variants.is_empty() || lists.variant.iter().any(|one| one.set == opened.variants);
        if !known || (opened.depends && opened.variants.is_empty()) {
            return Err(CompileError::Stale(opened.variants.clone()).into());
        }
        for operation in &opened.operations {
            let parts: Vec<&str> = operation.split(' ').collect();
            let (method, path, id) = match parts.as_slice() {
                [method, path, id] => (*method, *path, *id),
                [id] => ("", "", *id),
                _ => {
                    return Err(CompileError::Unexpected(format!("`{operation}` is no operation")).into());
                }
            };
            let facts = [
                ("credential", opened.credential),
                ("depends", opened.depends),
                ("mutating", method != "GET" && !opened.pure),
            ];
            let flags: Vec<&str> =
                facts.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
            let mut line = String::new();
            row(
                &mut line,
                &[method, path, id, "", &list(&flags)?, &list(&alone)?, "", &needed, &opened.variants],
            )?;
            let key = [path, method, if path.is_empty() { id } else { "" }].map(str::to_owned);
            if lines.insert(key, line).is_some() {
                return Err(CompileError::Unexpected(format!("`{operation}` is there twice")).into());
            }
        }
    }
    Ok(lines)
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
    fn operations_need_any_of_their_ways_and_who_may_write_may_read() {
        let listed = "read_is = ':read'\n[[listed]]\nscope = 's'\naccess = 'write'\nids = ['a', 'a:read', 'b', 'c']\n\
                      names = ['a', 'a:read', 'same', 'c']\n[[listed]]\nscope = 't'\naccess = 'read'\nids = ['d']\nnames = ['same']\n";
        let opened = "[[variant]]\nset = 'kind'\nname = 'one'\nany = ['b']\n\
                      [[opened]]\nany = ['a:read']\noperations = ['GET /a a_get']\n\
                      [[opened]]\nany = ['c', 'a:read&b']\noperations = ['POST /b b_make']\nvariants = 'kind'\ndepends = true\n\
                      [[opened]]\nany = []\npure = true\noperations = ['POST /c c_ask']\n";
        let text = compiled(&format!("{listed}{opened}")).unwrap();
        let rows: Vec<&str> =
            text.split_once("[variants]").unwrap().1.lines().filter(|line| line.contains('\t')).collect();
        assert_eq!(
            rows,
            [
                "kind\tone\tsame@s",
                "GET\t/a\ta_get\t-\t-\ta;a:read\t-\t=\t-",
                "POST\t/b\tb_make\t-\tdepends;mutating\tc\t-\ta&same@s;a:read&same@s;c\tkind",
                "POST\t/c\tc_ask\t-\t-\t-\t-\t()\t-",
            ]
        );
        for wrong in [
            "[[opened]]\nany = ['z']\noperations = ['GET /a a']\n",
            "[[opened]]\nany = ['c']\noperations = ['GET /a']\n",
            "[[opened]]\nany = ['c']\noperations = ['GET /a a', 'GET /a b']\n",
            "[[opened]]\nany = ['c']\noperations = ['GET /a a']\nvariants = 'kind'\n",
        ] {
            assert!(compiled(&format!("{listed}{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_listed_twice_or_judged_and_not_listed_is_an_error() {
        let listed = |ids: &str| format!("[[listed]]\nscope = 's'\naccess = 'read'\nids = {ids}\n");
        assert!(compiled(&listed("['a', 'a']")).unwrap_err().contains("twice"));
        let judged = "[[judged]]\nflags = ['escalation']\nwhy = 'w'\nids = ['z']\n";
        assert!(compiled(&format!("{}{judged}", listed("['a']"))).unwrap_err().contains("`z`"));
    }
}
