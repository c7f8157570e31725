//! DigitalOcean: scopes of tokens, and the operations that need them. The vendor's description says for each operation which
//! scopes are needed together, in one way or several. Where it says nothing, the operation takes a key of another kind.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::inputs::Inputs;
use super::plain::{Call, Plain, operation_rows, permission_rows};
use super::{CatalogTaskError, head};
use keywright_catalog::compile::OPERATIONS;

#[derive(Deserialize)]
struct Vendor {
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    method: String,
    path: String,
    operation_id: String,
    #[serde(default)]
    tags: Vec<String>,
    scopes: Vec<Vec<String>>,
}

impl Operation {
    /// Every way to open it. `api:read` and `api:write` stand on a few operations beside a scope, and are none themselves.
    fn ways(&self) -> Vec<BTreeSet<String>> {
        let own =
            |way: &Vec<String>| way.iter().filter(|scope| !scope.starts_with("api:")).cloned().collect();
        self.scopes.iter().map(own).collect()
    }
}

pub(super) fn compile(inputs: &Inputs) -> Result<String, CatalogTaskError> {
    let review = inputs.reviewed()?;
    let vendor: Vendor = serde_json::from_str(&inputs.operations.text)
        .map_err(|source| CatalogTaskError::Vendor { holds: "operations", source })?;
    let scopes: BTreeSet<String> = vendor.operations.iter().flat_map(Operation::ways).flatten().collect();
    let plain = |scope: String| {
        let access = if scope.ends_with(":read") { "read" } else { "write" };
        (scope, Plain { scope: "account".to_owned(), access, escalation: None })
    };
    let permissions: BTreeMap<String, Plain> = scopes.into_iter().map(plain).collect();
    let call = |operation: &Operation| Call {
        method: operation.method.clone(),
        path: operation.path.clone(),
        id: operation.operation_id.clone(),
        tags: operation.tags.clone(),
        mutating: operation.method != "GET",
        ways: operation.ways(),
    };
    let mut out = head(&review)?;
    permission_rows(&mut out, &review, &permissions)?;
    out.push_str(OPERATIONS);
    operation_rows(&mut out, &review, vendor.operations.iter().map(call).collect())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const FACTS: &str = r#"{"operations":[
        {"method":"POST","path":"/v2/b","operationId":"b_make","summary":"A vendor's sentence","scopes":[["b:create","a:read"],["b:update"]]},
        {"method":"GET","path":"/v2/a","operationId":"a_list","tags":["A"],"scopes":[["api:read","a:read"]]},
        {"method":"GET","path":"/v2/free","operationId":"free","scopes":[[]]},
        {"method":"POST","path":"/v1/other","operationId":"other","scopes":[]}]}"#;

    fn compiled(judged: &str) -> Result<String, CatalogTaskError> {
        let mut review = format!("provider = \"digitalocean\"\n{judged}\n");
        for holds in ["permissions", "operations"] {
            let sum = hex::encode(Sha256::digest(FACTS));
            let rest = "file = \"f\"\nfrom = \"here\"\ntaken = \"2026-01-01\"\nlicence = \"MIT\"";
            review.push_str(&format!("[[source]]\nholds = \"{holds}\"\n{rest}\nsha256 = \"{sum}\"\n"));
        }
        compile(&Inputs { review, permissions: FACTS.to_owned().into(), operations: FACTS.to_owned().into() })
    }

    #[test]
    fn scopes_are_needed_together_or_instead_and_silence_is_not_freedom() {
        let judged = "permission = [{ name = \"b:create\", flags = [\"escalation\"], why = \"makes keys\" }]\n\
                      operation = [{ flag = \"credential\", names = [\"b_make\"] }]";
        let text = compiled(judged).unwrap();
        let facts: Vec<&str> = text.split_once("[permissions]").unwrap().1.lines().collect();
        let facts: Vec<&str> = facts.into_iter().filter(|line| line.contains('\t')).collect();
        assert_eq!(
            facts,
            [
                "a:read\t=\taccount\tread\t-\t-",
                "b:create\t=\taccount\twrite\tescalation\tmakes keys",
                "b:update\t=\taccount\twrite\t-\t-",
                "POST\t/v1/other\tother\t-\tmutating;unannotated\t-\t-\t=\t-",
                "GET\t/v2/a\ta_list\tA\t-\ta:read\t-\t=\t-",
                "POST\t/v2/b\tb_make\t-\tcredential;mutating\tb:update\t-\ta:read&b:create;b:update\t-",
                "GET\t/v2/free\tfree\t-\t-\t-\t-\t()\t-",
            ]
        );
        assert!(!text.contains("sentence"));
    }

    #[test]
    fn a_judgement_about_something_that_vanished_is_refused() {
        assert!(compiled("permission = [{ name = \"gone\", flags = [], why = \"w\" }]").is_err());
        assert!(compiled("permission = []\noperation = [{ flag = \"pure\", names = [\"gone\"] }]").is_err());
    }
}
