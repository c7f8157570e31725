//! The guard rails as operators applied them. The rows of the ledger can be edited by whoever may write its file; the
//! audit log can't without it showing. So what an operator puts in force leaves its digest in the log, and a row that
//! does not have the digest of its newest application counts for nothing.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use keywright_core::audit::Deed;
use keywright_core::template::ResolvedTemplate;
use keywright_ledger::{AppliedTemplate, AuditFilter, Ledger, LedgerError};
use sha2::{Digest as _, Sha256};

use crate::error::{BrokerError, Code, Result};

/// The fact of an audit entry that holds the digest.
pub(crate) const FACT: &str = "digest";
/// What the policy goes by, beside the templates' ids.
pub(crate) const POLICY: &str = "policy";
/// How many entries are read at a time.
const PAGE: u32 = 1_000;

/// What is in force, by id: the digest of what was applied last, and of what is being applied.
pub(crate) struct Rails(RwLock<HashMap<String, Vec<String>>>);

impl Rails {
    /// Reads the audit log from its beginning.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub(crate) async fn read(ledger: &Ledger) -> Result<Self> {
        let found = ledger.scan(|tx| {
            let mut found = HashMap::new();
            let mut from = 0;
            loop {
                let page = tx.audit_entries(&AuditFilter { from, limit: PAGE, ..AuditFilter::default() })?;
                let Some(last) = page.last() else { return Ok(found) };
                from = last.number + 1;
                for stored in page.iter().filter(|stored| speaks_of_applying(&stored.leaf)) {
                    let entry = stored.entry()?;
                    let record = entry.record();
                    let name = match record.deed {
                        Deed::PolicyApply => Some(POLICY.to_owned()),
                        Deed::TemplateApply => record.subject.template.clone(),
                        _ => None,
                    };
                    let digest = record.facts.get(FACT).and_then(serde_json::Value::as_str);
                    if let (Some(name), Some(digest)) = (name, digest) {
                        found.insert(name, vec![digest.to_owned()]);
                    }
                }
            }
        });
        let found = found.await.map_err(|error: LedgerError| BrokerError::from(error))?;
        Ok(Self(RwLock::new(found)))
    }

    /// Takes the digest of what is about to be put in force.
    pub(crate) fn coming(&self, name: &str, digest: &str) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_default().push(digest.to_owned());
    }

    /// It is in force; what was before counts no more.
    pub(crate) fn came(&self, name: &str, digest: &str) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(digests) = all.get_mut(name) {
            digests.retain(|known| known == digest);
        }
    }

    /// Whether a row is what an operator applied.
    ///
    /// # Errors
    /// [`Code::Denied`] when it is not.
    pub(crate) fn check(&self, name: &str, digest: &str) -> Result<()> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if all.get(name).is_some_and(|digests| digests.iter().any(|known| known == digest)) {
            return Ok(());
        }
        let what = if name == POLICY { "the policy".to_owned() } else { format!("template `{name}`") };
        Err(BrokerError::new(
            Code::Denied,
            format!("{what} in the ledger is not as an operator applied it; it counts for nothing"),
        )
        .hint("the ledger was edited: look at `keywright audit verify`, and apply it again"))
    }

    pub(crate) fn check_template(&self, applied: &AppliedTemplate) -> Result<()> {
        let id = applied.resolved.template.id.as_str();
        self.check(id, &of_template(&applied.source, &applied.resolved, applied.version))
    }
}

/// The digest of a template in force: its text, what it means, and which version it is.
pub(crate) fn of_template(source: &str, resolved: &ResolvedTemplate, version: u64) -> String {
    digest(&serde_json::json!(["template", version, source, resolved]))
}

/// The digest of a policy in force.
pub(crate) fn of_policy(source: &str, version: u64) -> String {
    digest(&serde_json::json!([POLICY, version, source]))
}

fn digest(of: &serde_json::Value) -> String {
    Sha256::digest(of.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Told by its bytes, so that the many entries about other deeds need not be read.
fn speaks_of_applying(leaf: &[u8]) -> bool {
    [Deed::PolicyApply, Deed::TemplateApply]
        .iter()
        .any(|deed| leaf.windows(deed.as_str().len()).any(|window| window == deed.as_str().as_bytes()))
}
