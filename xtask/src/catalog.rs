//! `cargo xtask catalog [--data DIR]`: vendor data in, `catalogs/<provider>.tsv` out.
//!
//! The vendor files are not part of this repository; `--data`, else `KEYWRIGHT_DATA`, else `../shared/data` says
//! where they are. Their checksums are recorded in `catalogs/<provider>.review.toml`, next to what people judged.
//! Only facts come through (ids, names, scopes, methods, paths, which permission opens what), never a vendor's
//! sentences. The same inputs give the same bytes, whatever order they are in.

mod aws;
mod digitalocean;
mod gcp;
mod github;
mod inputs;
mod listed;
mod plain;

use std::path::{Path, PathBuf};

use inputs::{Inputs, Text, VendorOperations, VendorPermissions};
use keywright_catalog::compile::review::Review;
use keywright_catalog::compile::{self, CompileError, HEAD, PERMISSIONS, SOURCES, first_line, row};

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

/// Every catalog by the name of its file.
fn compile_all(catalogs: &Path, data: &Path) -> Result<Vec<(String, String)>, CatalogTaskError> {
    let path = catalogs.join("aws.review.toml");
    let review = std::fs::read_to_string(&path).map_err(|source| CatalogTaskError::File { path, source })?;
    let actions = Text::read(&data.join(aws::recorded(&review)?.file))?;
    let mut texts = Vec::new();
    for (name, part) in [("aws", aws::Part::Templates), ("aws.full", aws::Part::Everything)] {
        texts.push((name.to_owned(), aws::compile(&review, &actions, part)?));
    }
    for (provider, compile) in COMPILED {
        texts.push((provider.to_owned(), compile(&Inputs::read(catalogs, data, provider)?)?));
    }
    for provider in listed::providers(catalogs)? {
        let text = listed::compile(catalogs, &provider)?;
        texts.push((provider, text));
    }
    Ok(texts)
}

type Compile = fn(&Inputs) -> Result<String, CatalogTaskError>;

/// The catalogs that come from vendor data.
const COMPILED: [(&str, Compile); 4] = [
    ("cloudflare", cloudflare),
    ("digitalocean", digitalocean::compile),
    ("gcp", gcp::compile),
    ("github", github::compile),
];

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
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Cloudflare: the judgements are applied in the catalog crate, for `import` applies them too.
fn cloudflare(inputs: &Inputs) -> Result<String, CatalogTaskError> {
    let review = inputs.reviewed()?;
    let vendor = |holds| move |source| CatalogTaskError::Vendor { holds, source };
    let permissions: VendorPermissions =
        serde_json::from_str(&inputs.permissions.text).map_err(vendor("permissions"))?;
    let operations: VendorOperations =
        serde_json::from_str(&inputs.operations.text).map_err(vendor("operations"))?;
    let compiled = compile::cloudflare::compile(&review, &permissions.groups, &operations.operations)?;
    match compiled.stale.into_iter().next() {
        Some(stale) => Err(CompileError::Stale(stale).into()),
        None => Ok(compiled.text),
    }
}

/// The lines up to the first permission.
fn head(review: &Review) -> Result<String, CatalogTaskError> {
    let mut out = first_line(&review.provider);
    out.push_str(HEAD);
    out.push_str(SOURCES);
    for source in &review.source {
        row(&mut out, &[&source.holds, &source.from, &source.taken, &source.licence, &source.sha256])?;
    }
    out.push_str(PERMISSIONS);
    Ok(out)
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
        Inputs { review, permissions: permissions.into(), operations: operations.into() }
    }

    fn facts(text: &str) -> Vec<&str> {
        let body = text.split_once("[permissions]").unwrap().1;
        body.lines().filter(|line| line.contains('\t')).collect()
    }

    #[test]
    fn facts_come_through_and_sentences_do_not() {
        let text = cloudflare(&inputs(&GROUPS, &OPERATIONS, JUDGED)).unwrap();
        assert_eq!(
            facts(&text),
            [
                "z2\tApps Write\tzone\twrite\tsuspicious\t-",
                "z3\tDNS Write\tzone\twrite\thigh-blast\tpoints names elsewhere",
                "a1\tLogs Read\taccount\tread\t-\t-",
                "z1\tLogs Read\tzone\tread\t-\t-",
                "GET\t/accounts/{a}/logs\tb\tLogs\t-\tLogs Read@account\t-\t=\t-",
                "GET\t/user/logs\tc\t-\t-\t-\tLogs Read;Nowhere Read\t=\t-",
                "POST\t/zones/{z}/dns\te\t-\tdeprecated;mutating\tDNS Write\t-\t=\t-",
                "GET\t/zones/{z}/logs\ta\t-\t-\tApps Write;Logs Read@zone\t-\t=\t-",
                "POST\t/zones/{z}/logs/query\td\t-\t-\tLogs Read@zone\t-\t=\t-",
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
        let (one, other) = (cloudflare(&one).unwrap(), cloudflare(&other).unwrap());
        assert_eq!(facts(&one), facts(&other));
    }

    #[test]
    fn a_vendor_file_that_nobody_reviewed_is_refused() {
        let mut changed = inputs(&GROUPS, &OPERATIONS, JUDGED);
        changed.operations = format!("{}\n", changed.operations.text).into();
        assert!(matches!(cloudflare(&changed), Err(CatalogTaskError::Checksum { holds: "operations", .. })));
    }

    #[test]
    fn a_judgement_about_something_that_vanished_is_refused() {
        let stale = [
            JUDGED.replace("DNS Write", "DNS Edit"),
            JUDGED.replace("flags", "unresolved = true, flags"),
            JUDGED.replace("/logs/query", "/logs/ask"),
        ];
        for judged in stale {
            let outcome = cloudflare(&inputs(&GROUPS, &OPERATIONS, &judged));
            assert!(matches!(outcome, Err(CatalogTaskError::Compile(CompileError::Stale(_)))), "{judged}");
        }
    }

    #[test]
    fn an_operation_that_only_a_write_opens_cannot_be_reviewed_as_pure() {
        let judged = JUDGED.replace("/logs/query", "/dns");
        let outcome = cloudflare(&inputs(&GROUPS, &OPERATIONS, &judged));
        assert!(matches!(outcome, Err(CatalogTaskError::Compile(CompileError::Stale(_)))));
    }

    #[test]
    fn text_that_would_break_the_columns_is_refused() {
        for bad in ["Tab\\there", "semi;colon", "-"] {
            let operation = OPERATIONS[1].replace("\"Logs\"", &format!("\"{bad}\""));
            let outcome = cloudflare(&inputs(&GROUPS, &[&operation, OPERATIONS[3], OPERATIONS[4]], JUDGED));
            assert!(matches!(outcome, Err(CatalogTaskError::Compile(CompileError::Unexpected(_)))), "{bad}");
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
