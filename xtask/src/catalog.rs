//! `cargo xtask catalog [--data DIR]`: vendor data in, `catalogs/<provider>.tsv` out.
//!
//! The vendor files are not part of this repository; `--data`, else `KEYWRIGHT_DATA`, else `../shared/data` says
//! where they are. Their checksums are recorded in `catalogs/<provider>.review.toml`, next to what people judged.
//! Only facts come through (ids, names, scopes, methods, paths, which permission opens what), never a vendor's
//! sentences. The same inputs give the same bytes, whatever order they are in.

mod aws;
mod github;
mod inputs;
mod listed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use inputs::{
    Inputs, OperationFlag, Review, VendorOperation, VendorOperations, VendorPermission, VendorPermissions,
    access, checked,
};

/// An operation that so many permissions open says nothing about which one a job needs.
const WIDE: usize = 16;

/// Compiles every catalog and writes it into `catalogs/`. Answers what was written.
pub(crate) fn run(arguments: &[String]) -> Result<String, CatalogTaskError> {
    let data = data_directory(arguments)?;
    let catalogs = repository().join("catalogs");
    let mut written = Vec::new();
    for (provider, text) in compile_all(&catalogs, &data)? {
        let out = catalogs.join(format!("{provider}.tsv"));
        std::fs::write(&out, &text).map_err(|source| CatalogTaskError::File { path: out.clone(), source })?;
        let (lines, size) = (text.lines().count(), text.len() / 1000);
        written.push(format!("{}: {lines} lines, {size} kB", out.display()));
    }
    Ok(written.join("\n"))
}

/// Every catalog by its provider.
fn compile_all(catalogs: &Path, data: &Path) -> Result<Vec<(String, String)>, CatalogTaskError> {
    let path = catalogs.join("aws.review.toml");
    let review = std::fs::read_to_string(&path).map_err(|source| CatalogTaskError::File { path, source })?;
    let mut texts = vec![("aws".to_owned(), aws::compile(&review, &aws::Data::read(&review, data)?)?)];
    for (provider, compile) in COMPILED {
        texts.push((provider.to_owned(), compile(&Inputs::read(catalogs, data, provider)?)?));
    }
    for provider in listed::providers(catalogs)? {
        let text = listed::compile(catalogs, &provider)?;
        texts.push((provider, text));
    }
    Ok(texts)
}

/// What stands above each part of a compiled file.
const HEAD: &str = "# Compiled by `cargo xtask catalog`; do not edit. Facts only: ids, names, scopes, methods, paths.\n\
    # Columns stand between tabs, lists in a column between `;`, and `-` is none.\n";
const SOURCES: &str = "[sources]\n# holds, from, taken, licence, sha256 of the file\n";
const PERMISSIONS: &str = "[permissions]\n# id, name, scope, access, flags, why the flags\n";
const OPERATIONS: &str = "[operations]\n# method, path, operation id, tags, flags, any one of these opens it, names without an id\n";

type Compile = fn(&Inputs) -> Result<String, CatalogTaskError>;

/// The catalogs that come from vendor data.
const COMPILED: [(&str, Compile); 2] = [("cloudflare", compile), ("github", github::compile)];

/// Why a catalog could not be compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogTaskError {
    #[error("`{0}` is not understood; usage: cargo xtask catalog [--data DIR]")]
    Usage(String),
    #[error("`{}`: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("the review file: {0}")]
    Review(#[from] toml::de::Error),
    #[error("the vendor's {holds}: {source}")]
    Vendor { holds: &'static str, source: serde_json::Error },
    #[error(
        "the vendor's {holds} have SHA-256 {found}, but {recorded} was reviewed; record the new file and its sum together"
    )]
    Checksum { holds: &'static str, recorded: String, found: String },
    #[error("the review file names `{0}`, which the vendor data does not have")]
    Stale(String),
    #[error("{0}")]
    Unexpected(String),
}

fn compile(inputs: &Inputs) -> Result<String, CatalogTaskError> {
    let review: Review = toml::from_str(&inputs.review)?;
    checked(&review, "permissions", &inputs.permissions)?;
    checked(&review, "operations", &inputs.operations)?;
    let vendor = |holds| move |source| CatalogTaskError::Vendor { holds, source };
    let permissions: VendorPermissions =
        serde_json::from_str(&inputs.permissions).map_err(vendor("permissions"))?;
    let operations: VendorOperations =
        serde_json::from_str(&inputs.operations).map_err(vendor("operations"))?;
    let names = Names::of(&permissions.groups)?;

    let mut out = head(&review)?;
    permission_rows(&mut out, &review, &names, &operations.operations)?;
    out.push_str(OPERATIONS);
    operation_rows(&mut out, &review, &names, operations.operations)?;
    Ok(out)
}

/// The lines up to the first permission.
fn head(review: &Review) -> Result<String, CatalogTaskError> {
    let mut out = format!("keywright/catalog/1\t{}\n{HEAD}{SOURCES}", review.provider);
    for source in &review.source {
        row(&mut out, &[&source.holds, &source.from, &source.taken, &source.licence, &source.sha256])?;
    }
    out.push_str(PERMISSIONS);
    Ok(out)
}

/// The permissions by name; a name stands for one id per scope.
struct Names<'a>(BTreeMap<&'a str, BTreeMap<&'static str, &'a str>>);

impl<'a> Names<'a> {
    fn of(permissions: &'a [VendorPermission]) -> Result<Self, CatalogTaskError> {
        let mut names: BTreeMap<&str, BTreeMap<&'static str, &str>> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for permission in permissions {
            let scope = scope(permission)?;
            let twin = names.entry(&permission.name).or_default().insert(scope, &permission.id);
            if twin.is_some() || !ids.insert(&permission.id) {
                return Err(CatalogTaskError::Unexpected(format!("`{}` is there twice", permission.name)));
            }
        }
        Ok(Self(names))
    }

    /// How the operations of the compiled file call a permission: its name, with the scope where the name alone
    /// would be ambiguous. `None` when the vendor's data does not say which permission is meant.
    fn label(&self, name: &str, path: &str) -> Option<String> {
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
fn scope(permission: &VendorPermission) -> Result<&'static str, CatalogTaskError> {
    match permission.scopes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["com.cloudflare.api.account"] => Ok("account"),
        ["com.cloudflare.api.account.zone"] => Ok("zone"),
        ["com.cloudflare.api.user"] => Ok("user"),
        ["com.cloudflare.edge.r2.bucket"] => Ok("bucket"),
        other => Err(CatalogTaskError::Unexpected(format!("`{}` has scopes {other:?}", permission.name))),
    }
}

fn permission_rows(
    out: &mut String,
    review: &Review,
    names: &Names<'_>,
    operations: &[VendorOperation],
) -> Result<(), CatalogTaskError> {
    let named: BTreeSet<&str> = operations.iter().flat_map(VendorOperation::groups).collect();
    let mutating: BTreeSet<&str> = operations
        .iter()
        .filter(|operation| operation.mutates_by_its_permissions())
        .flat_map(VendorOperation::groups)
        .collect();
    for reviewed in &review.permission {
        let known = if reviewed.unresolved { named.contains(reviewed.name.as_str()) } else { true };
        if !known || names.0.contains_key(reviewed.name.as_str()) == reviewed.unresolved {
            return Err(CatalogTaskError::Stale(reviewed.name.clone()));
        }
    }
    for (name, by_scope) in &names.0 {
        let reviewed = review.permission.iter().find(|reviewed| reviewed.name == *name);
        let mut flags: BTreeSet<&str> =
            reviewed.iter().flat_map(|r| &r.flags).map(|flag| flag.word()).collect();
        // It does not call itself a read, yet no operation that changes anything names it: the data understates it.
        if access(name) != "read" && named.contains(name) && !mutating.contains(name) {
            flags.insert("suspicious");
        }
        let flags: Vec<&str> = flags.into_iter().collect();
        let why = reviewed.map_or("", |reviewed| reviewed.why.as_str());
        for (scope, id) in by_scope {
            row(out, &[id, name, scope, access(name), &list(&flags)?, why])?;
        }
    }
    Ok(())
}

fn operation_rows(
    out: &mut String,
    review: &Review,
    names: &Names<'_>,
    mut operations: Vec<VendorOperation>,
) -> Result<(), CatalogTaskError> {
    let mut reviewed: BTreeMap<&str, OperationFlag> = BTreeMap::new();
    for group in &review.operation {
        reviewed.extend(group.names.iter().map(|name| (name.as_str(), group.flag)));
    }
    operations.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    let mut seen = BTreeSet::new();
    for operation in &operations {
        let flag = reviewed.remove(operation.name().as_str());
        if flag == Some(OperationFlag::Pure) && operation.mutates_by_its_permissions() {
            let why = format!("`{}` is reviewed as pure, but no read permission opens it", operation.name());
            return Err(CatalogTaskError::Unexpected(why));
        }
        if !seen.insert(operation.name()) {
            return Err(CatalogTaskError::Unexpected(format!("`{}` is there twice", operation.name())));
        }
        operation_row(out, names, operation, flag)?;
    }
    match reviewed.keys().next() {
        Some(stale) => Err(CatalogTaskError::Stale((*stale).to_owned())),
        None => Ok(()),
    }
}

fn operation_row(
    out: &mut String,
    names: &Names<'_>,
    operation: &VendorOperation,
    reviewed: Option<OperationFlag>,
) -> Result<(), CatalogTaskError> {
    // Some lists repeat a name, so sets.
    let mut accepted = BTreeSet::new();
    let mut unresolved = BTreeSet::new();
    for name in operation.groups() {
        match names.label(name, &operation.path) {
            Some(label) => accepted.insert(label),
            None => unresolved.insert(name.to_owned()),
        };
    }
    let facts = [
        ("credential", reviewed == Some(OperationFlag::Credential)),
        ("deprecated", operation.deprecated),
        ("mutating", operation.method != "GET" && reviewed != Some(OperationFlag::Pure)),
        ("unannotated", operation.groups.is_none()),
        ("wide", accepted.len() + unresolved.len() >= WIDE),
    ];
    let flags: Vec<&str> = facts.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
    let accepted: Vec<&str> = accepted.iter().map(String::as_str).collect();
    let unresolved: Vec<&str> = unresolved.iter().map(String::as_str).collect();
    let tags: Vec<&str> = operation.tags.iter().map(String::as_str).collect();
    let (tags, flags) = (list(&tags)?, list(&flags)?);
    let (accepted, unresolved) = (list(&accepted)?, list(&unresolved)?);
    row(
        out,
        &[&operation.method, &operation.path, &operation.operation_id, &tags, &flags, &accepted, &unresolved],
    )
}

fn list(items: &[&str]) -> Result<String, CatalogTaskError> {
    match items.iter().find(|item| item.contains(';') || item.is_empty()) {
        Some(odd) => Err(CatalogTaskError::Unexpected(format!("`{odd}` cannot stand in a list"))),
        None => Ok(items.join(";")),
    }
}

fn row(out: &mut String, columns: &[&str]) -> Result<(), CatalogTaskError> {
    for (position, column) in columns.iter().enumerate() {
        if column.chars().any(char::is_control) || *column == "-" || column.starts_with(['#', '[']) {
            return Err(CatalogTaskError::Unexpected(format!("`{column}` cannot stand in a column")));
        }
        let tab = if position == 0 { "" } else { "\t" };
        // Writing to a `String` does not fail.
        write!(out, "{tab}{}", if column.is_empty() { "-" } else { column }).ok();
    }
    out.push('\n');
    Ok(())
}

fn data_directory(arguments: &[String]) -> Result<PathBuf, CatalogTaskError> {
    match arguments {
        [] => Ok(std::env::var_os("KEYWRIGHT_DATA")
            .map_or_else(|| repository().join("../shared/data"), PathBuf::from)),
        [flag, directory] if flag == "--data" => Ok(directory.into()),
        other => Err(CatalogTaskError::Usage(other.join(" "))),
    }
}

fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const GROUPS: [&str; 4] = [
        r#"{"id":"a1","name":"Logs Read","scopes":["com.cloudflare.api.account"]}"#,
        r#"{"id":"z1","name":"Logs Read","scopes":["com.cloudflare.api.account.zone"]}"#,
        r#"{"id":"z2","name":"Apps Write","scopes":["com.cloudflare.api.account.zone"]}"#,
        r#"{"id":"z3","name":"DNS Write","scopes":["com.cloudflare.api.account.zone"]}"#,
    ];
    const OPERATIONS: [&str; 5] = [
        r#"{"method":"GET","path":"/zones/{z}/logs","operationId":"a","summary":"A vendor's sentence","groups":["Logs Read","Logs Read","Apps Write"]}"#,
        r#"{"method":"GET","path":"/accounts/{a}/logs","operationId":"b","tags":["Logs"],"groups":["Logs Read"]}"#,
        r#"{"method":"GET","path":"/user/logs","operationId":"c","groups":["Logs Read","Nowhere Read"]}"#,
        r#"{"method":"POST","path":"/zones/{z}/logs/query","operationId":"d","groups":["Logs Read"]}"#,
        r#"{"method":"POST","path":"/zones/{z}/dns","operationId":"e","deprecated":true,"groups":["DNS Write"]}"#,
    ];
    const JUDGED: &str = r#"
        permission = [{ name = "DNS Write", flags = ["high-blast"], why = "points names elsewhere" }]
        operation = [{ flag = "pure", names = ["POST /zones/{z}/logs/query"] }]
    "#;

    fn inputs(groups: &[&str], operations: &[&str], judged: &str) -> Inputs {
        let permissions = format!(r#"{{"groups":[{}]}}"#, groups.join(","));
        let operations = format!(r#"{{"operations":[{}]}}"#, operations.join(","));
        let mut review = format!("provider = \"tiny\"\n{judged}\n");
        for (holds, text) in [("permissions", &permissions), ("operations", &operations)] {
            let sum = hex::encode(Sha256::digest(text));
            let rest = "file = \"f\"\nfrom = \"here\"\ntaken = \"2026-01-01\"\nlicence = \"MIT\"";
            review.push_str(&format!("[[source]]\nholds = \"{holds}\"\n{rest}\nsha256 = \"{sum}\"\n"));
        }
        Inputs { review, permissions, operations }
    }

    fn facts(text: &str) -> Vec<&str> {
        let body = text.split_once("[permissions]").unwrap().1;
        body.lines().filter(|line| line.contains('\t')).collect()
    }

    #[test]
    fn facts_come_through_and_sentences_do_not() {
        let text = compile(&inputs(&GROUPS, &OPERATIONS, JUDGED)).unwrap();
        assert_eq!(
            facts(&text),
            [
                "z2\tApps Write\tzone\twrite\tsuspicious\t-",
                "z3\tDNS Write\tzone\twrite\thigh-blast\tpoints names elsewhere",
                "a1\tLogs Read\taccount\tread\t-\t-",
                "z1\tLogs Read\tzone\tread\t-\t-",
                "GET\t/accounts/{a}/logs\tb\tLogs\t-\tLogs Read@account\t-",
                "GET\t/user/logs\tc\t-\t-\t-\tLogs Read;Nowhere Read",
                "POST\t/zones/{z}/dns\te\t-\tdeprecated;mutating\tDNS Write\t-",
                "GET\t/zones/{z}/logs\ta\t-\t-\tApps Write;Logs Read@zone\t-",
                "POST\t/zones/{z}/logs/query\td\t-\t-\tLogs Read@zone\t-",
            ]
        );
        assert!(!text.contains("sentence"));
    }

    #[test]
    fn the_order_of_the_vendor_data_does_not_matter() {
        let (mut groups, mut operations) = (GROUPS, OPERATIONS);
        groups.reverse();
        operations.rotate_left(2);
        let (one, other) = (inputs(&GROUPS, &OPERATIONS, JUDGED), inputs(&groups, &operations, JUDGED));
        let (one, other) = (compile(&one).unwrap(), compile(&other).unwrap());
        assert_eq!(facts(&one), facts(&other));
    }

    #[test]
    fn a_vendor_file_that_nobody_reviewed_is_refused() {
        let mut changed = inputs(&GROUPS, &OPERATIONS, JUDGED);
        changed.operations.push('\n');
        assert!(matches!(compile(&changed), Err(CatalogTaskError::Checksum { holds: "operations", .. })));
    }

    #[test]
    fn a_judgement_about_something_that_vanished_is_refused() {
        let stale = [
            JUDGED.replace("DNS Write", "DNS Edit"),
            JUDGED.replace("flags", "unresolved = true, flags"),
            JUDGED.replace("/logs/query", "/logs/ask"),
        ];
        for judged in stale {
            let outcome = compile(&inputs(&GROUPS, &OPERATIONS, &judged));
            assert!(matches!(outcome, Err(CatalogTaskError::Stale(_))), "{judged}");
        }
    }

    #[test]
    fn an_operation_that_only_a_write_opens_cannot_be_reviewed_as_pure() {
        let judged = JUDGED.replace("/logs/query", "/dns");
        let outcome = compile(&inputs(&GROUPS, &OPERATIONS, &judged));
        assert!(matches!(outcome, Err(CatalogTaskError::Unexpected(_))));
    }

    #[test]
    fn text_that_would_break_the_columns_is_refused() {
        for bad in ["Tab\\there", "semi;colon", "-"] {
            let operation = OPERATIONS[1].replace("\"Logs\"", &format!("\"{bad}\""));
            let outcome = compile(&inputs(&GROUPS, &[&operation, OPERATIONS[3], OPERATIONS[4]], JUDGED));
            assert!(matches!(outcome, Err(CatalogTaskError::Unexpected(_))), "{bad}");
        }
    }

    /// The vendor data is not part of the repository. Where it is absent this test says so; under `CI` it fails.
    #[test]
    fn the_committed_catalogs_are_what_the_vendor_data_compiles_to() {
        let data = data_directory(&[]).unwrap();
        if !data.is_dir() && std::env::var_os("CI").is_none() {
            eprintln!("SKIPPED: no vendor data; set KEYWRIGHT_DATA to the directory that holds it");
            return;
        }
        let catalogs = repository().join("catalogs");
        for (provider, compiled) in compile_all(&catalogs, &data).unwrap() {
            let committed = std::fs::read_to_string(catalogs.join(format!("{provider}.tsv"))).unwrap();
            assert!(compiled == committed, "{provider}: run `cargo xtask catalog` and review the difference");
        }
    }
}
