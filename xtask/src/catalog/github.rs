//! GitHub: permissions of Apps, and the operations that each opens for a token of an installation.
//!
//! The vendor's file lists for each operation the permissions with the level that is needed. Levels are ordered (read,
//! write, admin), so a higher one opens it too. Where several permissions stand, or the file says that there are more, it does
//! not say whether all are needed or any one: such an operation is unannotated. What it needs is judged: the choices of the
//! review where exactly those permissions stand, else all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::inputs::Inputs;
use super::{CatalogTaskError, head};
use keywright_catalog::compile::review::{Choice, Review};
use keywright_catalog::compile::{CompileError, OPERATIONS, VARIANTS, list, row};

/// The levels that the data knows of each permission.
type Levels<'a> = BTreeMap<&'a str, BTreeSet<usize>>;

const LEVELS: [&str; 3] = ["read", "write", "admin"];
/// Why every permission over an organisation is of the escalation class.
const WHOLE: &str = "applies to the whole organisation";

#[derive(Deserialize)]
struct Vendor {
    titles: BTreeMap<String, String>,
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    method: String,
    path: String,
    slug: String,
    category: String,
    permissions: BTreeMap<String, String>,
    /// Whether there is more to it than the permissions that stand here: others as well, or others instead.
    #[serde(default)]
    additional: bool,
    /// Whether a token of an installation may call it.
    #[serde(default)]
    iat: bool,
}

pub(super) fn compile(inputs: &Inputs) -> Result<String, CatalogTaskError> {
    let review = inputs.reviewed()?;
    let vendor: Vendor = serde_json::from_str(&inputs.permissions.text)
        .map_err(|source| CatalogTaskError::Vendor { holds: "permissions", source })?;
    let mut levels: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for operation in &vendor.operations {
        for (name, level) in &operation.permissions {
            levels.entry(name).or_default().insert(rank(level)?);
        }
    }
    let mut out = head(&review)?;
    permission_rows(&mut out, &review, &vendor, &levels)?;
    let mut operations = String::from(OPERATIONS);
    let variants = operation_rows(&mut operations, &review.judged.choice, &vendor.operations, &levels)?;
    out.push_str(VARIANTS);
    for (variant, needed) in variants {
        row(&mut out, &[&variant, &variant, &needed])?;
    }
    out.push_str(&operations);
    Ok(out)
}

fn rank(level: &str) -> Result<usize, CatalogTaskError> {
    let found = LEVELS.iter().position(|known| *known == level);
    Ok(found.ok_or_else(|| CompileError::Unexpected(format!("`{level}` is not a level")))?)
}

/// `repository`, `organization`, `user`, `enterprise`: the first word of the title.
fn scope(vendor: &Vendor, name: &str) -> Result<String, CatalogTaskError> {
    let word = vendor.titles.get(name).and_then(|title| title.split(' ').next());
    let word = word.ok_or_else(|| CompileError::Unexpected(format!("`{name}` has no title")))?;
    match word.to_ascii_lowercase() {
        scope if ["repository", "organization", "user", "enterprise"].contains(&scope.as_str()) => Ok(scope),
        other => Err(CompileError::Unexpected(format!("`{name}` is of `{other}`")).into()),
    }
}

fn permission_rows(
    out: &mut String,
    review: &Review,
    vendor: &Vendor,
    levels: &Levels<'_>,
) -> Result<(), CatalogTaskError> {
    for reviewed in &review.permission {
        let known = levels.get(reviewed.name.as_str());
        let is_level =
            |level: &String| rank(level).is_ok_and(|rank| known.is_some_and(|known| known.contains(&rank)));
        if known.is_none() || !reviewed.levels.iter().all(is_level) {
            return Err(CompileError::Stale(reviewed.name.clone()).into());
        }
    }
    for (name, ranks) in levels {
        let scope = scope(vendor, name)?;
        for level in ranks.iter().filter_map(|rank| LEVELS.get(*rank)) {
            let reviewed = review.permission.iter().find(|reviewed| {
                reviewed.name == *name
                    && (reviewed.levels.is_empty() || reviewed.levels.iter().any(|of| of == level))
            });
            let by_rule = ["organization", "enterprise"].contains(&scope.as_str());
            let (flags, why) = match reviewed {
                Some(reviewed) => {
                    let words: BTreeSet<&str> =
                        reviewed.flags.iter().filter_map(|flag| flag.word()).collect();
                    (words.into_iter().collect::<Vec<_>>(), reviewed.why.as_str())
                }
                None if by_rule => (vec!["escalation"], WHOLE),
                None => (Vec::new(), ""),
            };
            let label = format!("{name}:{level}");
            let access = if *level == "read" { "read" } else { "write" };
            row(out, &[&label, &label, &scope, access, &list(&flags)?, why])?;
        }
    }
    Ok(())
}

/// Writes the operations and answers the variants that they have, with what each needs.
fn operation_rows(
    out: &mut String,
    choices: &[Choice],
    operations: &[Operation],
    levels: &Levels<'_>,
) -> Result<BTreeMap<String, String>, CatalogTaskError> {
    let mut operations: Vec<&Operation> = operations.iter().collect();
    operations.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    let mut seen = BTreeSet::new();
    let mut variants = BTreeMap::new();
    let mut used = BTreeSet::new();
    for operation in operations.iter().filter(|operation| operation.iat) {
        let id = format!("{}/{}", operation.category, operation.slug);
        if !seen.insert((&operation.method, &operation.path)) {
            return Err(CompileError::Unexpected(format!("`{id}` is there twice")).into());
        }
        let single = operation.permissions.len() == 1 && !operation.additional;
        let mut accepted = Vec::new();
        for (name, level) in operation.permissions.iter().filter(|_| single) {
            accepted.extend(enough(levels, name, level)?);
        }
        let names: Vec<&str> = operation.permissions.keys().map(String::as_str).collect();
        let chosen = choices.iter().enumerate().find(|(_, choice)| {
            choice.permissions == names
                && choice.within.as_ref().is_none_or(|part| operation.path.contains(part.as_str()))
        });
        let all = || together(operation, &names, levels);
        let (needed, variant) = match chosen {
            None => (list(&all()?)?, ""),
            Some((at, choice)) => {
                used.insert(at);
                let mut any = Vec::new();
                for name in &choice.any {
                    let level = operation.permissions.get(name);
                    any.extend(enough(levels, name, level.map_or("", String::as_str))?);
                }
                let variant = choice.all_for.as_deref().unwrap_or_default();
                if !variant.is_empty() {
                    let all = list(&all()?)?;
                    if variants.insert(variant.to_owned(), all.clone()).is_some_and(|known| known != all) {
                        return Err(CompileError::Unexpected(format!("`{variant}` is two things")).into());
                    }
                }
                (list(&any)?, variant)
            }
        };
        let facts = [("mutating", operation.method != "GET"), ("unannotated", !single)];
        let flags: Vec<&str> = facts.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
        let (flags, accepted) = (list(&flags)?, list(&accepted)?);
        let needed = if needed == accepted { "=".to_owned() } else { needed };
        let (method, path, category) = (&operation.method, &operation.path, &operation.category);
        row(out, &[method, path, &id, category, &flags, &accepted, "", &needed, variant])?;
    }
    match choices.iter().enumerate().find(|(at, _)| !used.contains(at)) {
        Some((_, stale)) => Err(CompileError::Stale(stale.permissions.join(" and ")).into()),
        None => Ok(variants),
    }
}

/// The levels of a permission that do what this one does.
fn enough(levels: &Levels<'_>, name: &str, level: &str) -> Result<Vec<String>, CatalogTaskError> {
    let needed = rank(level)?;
    let enough = levels.get(name).into_iter().flatten().filter(|rank| **rank >= needed);
    Ok(enough.filter_map(|rank| LEVELS.get(*rank)).map(|level| format!("{name}:{level}")).collect())
}

/// Every way to hold all of the operation's permissions, written `a&b`. Each token reads metadata anyway.
fn together(
    operation: &Operation,
    names: &[&str],
    levels: &Levels<'_>,
) -> Result<Vec<String>, CatalogTaskError> {
    let mut ways = vec![String::new()];
    for name in names.iter().filter(|name| **name != "metadata" || names.len() == 1) {
        let level = operation.permissions.get(*name).map_or("", String::as_str);
        let enough = enough(levels, name, level)?;
        let join =
            |way: &String, one: &String| if way.is_empty() { one.clone() } else { format!("{way}&{one}") };
        ways = ways.iter().flat_map(|way| enough.iter().map(move |one| join(way, one))).collect();
    }
    Ok(ways)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const FACTS: &str = r#"{"titles":{"contents":"Repository permissions for \"Contents\"","members":"Organization permissions for \"Members\""},
        "operations":[
        {"method":"POST","path":"/b","slug":"write","category":"repos","permissions":{"contents":"write"},"iat":true},
        {"method":"GET","path":"/a","slug":"read","category":"repos","permissions":{"contents":"read"},"iat":true},
        {"method":"GET","path":"/c","slug":"both","category":"repos","permissions":{"contents":"read","members":"read"},"iat":true},
        {"method":"GET","path":"/e","slug":"more","category":"repos","permissions":{"contents":"read"},"iat":true,"additional":true},
        {"method":"GET","path":"/d","slug":"user","category":"repos","permissions":{"contents":"read"}}]}"#;

    fn compiled(judged: &str) -> Result<String, CatalogTaskError> {
        let mut review = format!("provider = \"github\"\n{judged}\n");
        for holds in ["permissions", "operations"] {
            let sum = hex::encode(Sha256::digest(FACTS));
            let rest = "file = \"f\"\nfrom = \"here\"\ntaken = \"2026-01-01\"\nlicence = \"MIT\"";
            review.push_str(&format!("[[source]]\nholds = \"{holds}\"\n{rest}\nsha256 = \"{sum}\"\n"));
        }
        compile(&Inputs { review, permissions: FACTS.to_owned().into(), operations: FACTS.to_owned().into() })
    }

    #[test]
    fn a_higher_level_opens_what_a_lower_one_does_and_several_permissions_are_not_guessed_about() {
        let judged =
            r#"permission = [{ name = "contents", levels = ["write"], flags = ["high-blast"], why = "w" }]"#;
        let text = compiled(judged).unwrap();
        let facts: Vec<&str> = text.split_once("[permissions]").unwrap().1.lines().collect();
        let facts: Vec<&str> = facts.into_iter().filter(|line| line.contains('\t')).collect();
        assert_eq!(
            facts,
            [
                "contents:read\tcontents:read\trepository\tread\t-\t-",
                "contents:write\tcontents:write\trepository\twrite\thigh-blast\tw",
                "members:read\tmembers:read\torganization\tread\tescalation\tapplies to the whole organisation",
                "GET\t/a\trepos/read\trepos\t-\tcontents:read;contents:write\t-\t=\t-",
                "POST\t/b\trepos/write\trepos\tmutating\tcontents:write\t-\t=\t-",
                "GET\t/c\trepos/both\trepos\tunannotated\t-\t-\tcontents:read&members:read;contents:write&members:read\t-",
                "GET\t/e\trepos/more\trepos\tunannotated\t-\t-\tcontents:read;contents:write\t-",
            ]
        );
    }

    #[test]
    fn a_judgement_about_something_that_vanished_is_refused() {
        for judged in [
            r#"permission = [{ name = "content", flags = [], why = "" }]"#,
            r#"permission = [{ name = "contents", levels = ["admin"], flags = [], why = "" }]"#,
        ] {
            assert!(
                matches!(compiled(judged), Err(CatalogTaskError::Compile(CompileError::Stale(_)))),
                "{judged}"
            );
        }
    }
}
