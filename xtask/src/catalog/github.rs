//! GitHub: permissions of Apps, and the operations that each opens for a token of an installation.
//!
//! The vendor's file lists for each operation the permissions with the level that is needed. Levels are ordered (read,
//! write, admin), so a higher one opens it too. Where several permissions stand, or the file says that there are more, it does
//! not say whether all are needed or any one: such an operation is unannotated.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::inputs::{Inputs, Review, checked};
use super::{CatalogTaskError, head, list, row};

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
    let review: Review = toml::from_str(&inputs.review)?;
    checked(&review, "permissions", &inputs.permissions)?;
    checked(&review, "operations", &inputs.operations)?;
    let vendor: Vendor = serde_json::from_str(&inputs.permissions)
        .map_err(|source| CatalogTaskError::Vendor { holds: "permissions", source })?;
    let mut levels: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for operation in &vendor.operations {
        for (name, level) in &operation.permissions {
            levels.entry(name).or_default().insert(rank(level)?);
        }
    }
    let mut out = head(&review)?;
    permission_rows(&mut out, &review, &vendor, &levels)?;
    out.push_str(
        "[operations]\n# method, path, operation id, tags, flags, any one of these opens it, names without an id\n",
    );
    operation_rows(&mut out, &vendor.operations, &levels)?;
    Ok(out)
}

fn rank(level: &str) -> Result<usize, CatalogTaskError> {
    let found = LEVELS.iter().position(|known| *known == level);
    found.ok_or_else(|| CatalogTaskError::Unexpected(format!("`{level}` is not a level")))
}

/// `repository`, `organization`, `user`, `enterprise`: the first word of the title.
fn scope(vendor: &Vendor, name: &str) -> Result<String, CatalogTaskError> {
    let word = vendor.titles.get(name).and_then(|title| title.split(' ').next());
    let word = word.ok_or_else(|| CatalogTaskError::Unexpected(format!("`{name}` has no title")))?;
    match word.to_ascii_lowercase() {
        scope if ["repository", "organization", "user", "enterprise"].contains(&scope.as_str()) => Ok(scope),
        other => Err(CatalogTaskError::Unexpected(format!("`{name}` is of `{other}`"))),
    }
}

fn permission_rows(
    out: &mut String,
    review: &Review,
    vendor: &Vendor,
    levels: &BTreeMap<&str, BTreeSet<usize>>,
) -> Result<(), CatalogTaskError> {
    for reviewed in &review.permission {
        let known = levels.get(reviewed.name.as_str());
        let is_level =
            |level: &String| rank(level).is_ok_and(|rank| known.is_some_and(|known| known.contains(&rank)));
        if known.is_none() || !reviewed.levels.iter().all(is_level) {
            return Err(CatalogTaskError::Stale(reviewed.name.clone()));
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
                    let words: BTreeSet<&str> = reviewed.flags.iter().map(|flag| flag.word()).collect();
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

fn operation_rows(
    out: &mut String,
    operations: &[Operation],
    levels: &BTreeMap<&str, BTreeSet<usize>>,
) -> Result<(), CatalogTaskError> {
    let mut operations: Vec<&Operation> = operations.iter().collect();
    operations.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    let mut seen = BTreeSet::new();
    for operation in operations.iter().filter(|operation| operation.iat) {
        let id = format!("{}/{}", operation.category, operation.slug);
        if !seen.insert((&operation.method, &operation.path)) {
            return Err(CatalogTaskError::Unexpected(format!("`{id}` is there twice")));
        }
        let mut accepted = Vec::new();
        let single = operation.permissions.len() == 1 && !operation.additional;
        for (name, level) in operation.permissions.iter().filter(|_| single) {
            let needed = rank(level)?;
            let enough = levels.get(name.as_str()).into_iter().flatten().filter(|rank| **rank >= needed);
            accepted
                .extend(enough.filter_map(|rank| LEVELS.get(*rank)).map(|level| format!("{name}:{level}")));
        }
        let facts = [("mutating", operation.method != "GET"), ("unannotated", !single)];
        let flags: Vec<&str> = facts.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
        let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
        let (flags, accepted) = (list(&flags)?, list(&accepted)?);
        row(out, &[&operation.method, &operation.path, &id, &operation.category, &flags, &accepted, ""])?;
    }
    Ok(())
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
        compile(&Inputs { review, permissions: FACTS.to_owned(), operations: FACTS.to_owned() })
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
                "GET\t/a\trepos/read\trepos\t-\tcontents:read;contents:write\t-",
                "POST\t/b\trepos/write\trepos\tmutating\tcontents:write\t-",
                "GET\t/c\trepos/both\trepos\tunannotated\t-\t-",
                "GET\t/e\trepos/more\trepos\tunannotated\t-\t-",
            ]
        );
    }

    #[test]
    fn a_judgement_about_something_that_vanished_is_refused() {
        for judged in [
            r#"permission = [{ name = "content", flags = [], why = "" }]"#,
            r#"permission = [{ name = "contents", levels = ["admin"], flags = [], why = "" }]"#,
        ] {
            assert!(matches!(compiled(judged), Err(CatalogTaskError::Stale(_))), "{judged}");
        }
    }
}
