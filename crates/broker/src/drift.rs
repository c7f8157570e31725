//! Vendors let permissions that exist open more: a key that was approved then may do more than what was approved. An operator who
//! imports a newer publication learns what became wider, and templates that hold such a permission wait for another look.

use std::collections::BTreeMap;

use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::name::Kind;
use keywright_core::text::Untrusted;
use keywright_ledger::LedgerError;
use serde::{Deserialize, Serialize};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::Result;
use crate::rails::HOLDS;

/// What a newer publication makes wider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Widening {
    /// The provider's kind.
    pub provider: Kind,
    /// Which publication, in the operator's words.
    pub from: String,
    /// The SHA-256 of the publication, in hexadecimal digits.
    pub sha256: String,
    /// The permissions that open more.
    pub widened: Vec<Wider>,
}

/// A permission that opens more than it did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wider {
    /// Its id.
    pub permission: String,
    /// Its name.
    pub name: String,
    /// How many operations more.
    pub operations: usize,
    /// How many of them change something.
    pub mutating: usize,
}

impl Broker {
    /// Puts an import on record, and holds the templates of which a permission became wider: no key is made from them until an
    /// operator applies them again. Says which, and why.
    ///
    /// # Errors
    /// When the ledger can't be read or written.
    pub async fn hold_wider(
        &self,
        operator: &Proven,
        widening: &Widening,
    ) -> Result<BTreeMap<String, String>> {
        self.refuse_if_forked()?;
        let mut holds = BTreeMap::new();
        for applied in self.templates().await? {
            if applied.resolved.template.provider != widening.provider {
                continue;
            }
            let has = |wider: &&Wider| applied.resolved.permissions.iter().any(|p| p.id == wider.permission);
            let why: Vec<String> = widening.widened.iter().filter(has).map(Wider::said).collect();
            if !why.is_empty() {
                holds.insert(applied.resolved.template.id.to_string(), why.join("; "));
            }
        }
        let (who, holding, widening) = (operator.caller().who(), holds.clone(), widening.clone());
        let written = self.ledger.write(move |tx| {
            let mut record = Record::new(tx.now(), Deed::CatalogImport, Stage::Note, who);
            let text = |text: &str| serde_json::json!(Untrusted::capped(text, 200));
            record.facts.insert("provider".to_owned(), serde_json::json!(widening.provider));
            record.facts.insert("from".to_owned(), text(&widening.from));
            record.facts.insert("sha256".to_owned(), text(&widening.sha256));
            record.facts.insert("widened".to_owned(), serde_json::json!(widening.widened.len()));
            record.facts.insert(HOLDS.to_owned(), serde_json::json!(holding));
            tx.audit(record)?;
            Ok::<_, LedgerError>(())
        });
        written.await?;
        self.rails.hold(holds.clone());
        Ok(holds)
    }

    /// What became wider of a template since it was applied; `None` where nothing is known to have.
    #[must_use]
    pub fn held(&self, template: &str) -> Option<String> {
        self.rails.held(template)
    }
}

impl Wider {
    fn said(&self) -> String {
        let name = Untrusted::capped(&self.name, 80);
        format!(
            "`{name}` opens {} operations more, of which {} change something",
            self.operations, self.mutating
        )
    }
}
