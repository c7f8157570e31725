//! The guard rails as operators applied them, and the agents, workloads and operators that they let in. The rows of the
//! ledger can be edited by whoever may write its file; the audit log can't without it showing. So what an operator puts
//! in force leaves its digest in the log, and a row that does not have the digest of its newest application counts for
//! nothing. The rows of those who are let in carry a MAC, which is their digest here: an older row that is put back has
//! another one than the log, and whoever was removed stays so.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use keywright_core::audit::{Deed, Frontier, Hash, Record, Stage};
use keywright_core::id::RequestId;
use keywright_core::saga::Phase;
use keywright_core::template::ResolvedTemplate;
use keywright_ledger::{
    Agent, AppliedTemplate, AuditFilter, ConfiguredChannel, ConfiguredConsumer, ConfiguredStore, Connection,
    Ledger, LedgerError, Operator, Passkey, RowMac, StoredEntry, Workload,
};
use sha2::{Digest as _, Sha256};

use crate::error::{BrokerError, Code, Result};
use crate::grants::Uses;
use crate::pause::Pauses;
use crate::wider::Known;

/// The fact of an audit entry that holds the digest.
pub(crate) const FACT: &str = "digest";
/// The fact of an entry about a mint that says how far it is.
pub(crate) const PHASE: &str = "phase";
/// What the policy goes by, beside the templates' ids.
pub(crate) const POLICY: &str = "policy";
/// The nouns of those who are let in.
pub(crate) const AGENT: &str = "agent";
pub(crate) const WORKLOAD: &str = "workload";
pub(crate) const OPERATOR: &str = "operator";
pub(crate) const PASSKEY: &str = "passkey";
/// What is approved in advance.
pub(crate) const GRANT: &str = "grant";
/// What keys are made through and go to.
pub(crate) const CONNECTION: &str = "connection";
pub(crate) const STORE: &str = "store";
/// Who is told when a key has a successor.
pub(crate) const CONSUMER: &str = "consumer";
/// How people hear that something waits for them.
pub(crate) const CHANNEL: &str = "channel";
/// What to do about an edited row.
pub(crate) const EDITED: &str = "`keywright doctor` names what was edited; restore the ledger from a backup, or have an \
                                 operator remove it and add one under another name";
/// How many entries are read at a time.
const PAGE: u32 = 1_000;

/// What the log says, in memory: a row that says otherwise counts for nothing.
#[derive(Default)]
pub(crate) struct Rails {
    /// What is in force, by id: the digest of what was applied last, and of what is being applied.
    known: RwLock<HashMap<String, Vec<String>>>,
    /// The requests that came to their end: their mint made a key or failed, they were turned down, or nobody decided in
    /// time. What was approved of them counts no more.
    spent: RwLock<HashSet<RequestId>>,
    /// What became wider at providers, and the templates from which nothing is made until an operator applies them again.
    wider: RwLock<Known>,
    /// The agents that ask for nothing at present.
    pauses: Pauses,
    /// How often standing grants were used.
    uses: Uses,
}

impl Rails {
    /// Reads the audit log from its beginning. Gives the tree over what was read, so that it can be proved to be the log
    /// that was signed.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub(crate) async fn read(ledger: &Ledger) -> Result<(Self, Frontier)> {
        let found = ledger.scan(|tx| {
            let (rails, mut tree) = (Self::default(), Frontier::new());
            loop {
                let filter = AuditFilter { from: tree.size(), limit: PAGE, ..AuditFilter::default() };
                let page = tx.audit_entries(&filter)?;
                if page.is_empty() {
                    return Ok((rails, tree));
                }
                for stored in &page {
                    // Of what it says, and not of what stands beside it: an entry that was edited must not pass for
                    // one that speaks of something else.
                    tree.push(Hash::of_leaf(&stored.leaf));
                    if !speaks_of_rails(&stored.leaf) {
                        continue;
                    }
                    if let Err(error) = tx.check_entry(stored) {
                        // No deed is done on such a log; what is asked meanwhile must not go by it either.
                        tracing::error!(%error, "an entry of the audit log is not believed");
                        continue;
                    }
                    rails.take(stored.entry()?.record());
                }
            }
        });
        found.await.map_err(|error: LedgerError| BrokerError::from(error))
    }

    /// Takes in an entry of another broker, which was vouched for.
    pub(crate) fn follow(&self, stored: &StoredEntry) {
        if !speaks_of_rails(&stored.leaf) {
            return;
        }
        match stored.entry() {
            Ok(entry) => self.take(entry.record()),
            Err(error) => tracing::error!(%error, "an entry of the audit log is not believed"),
        }
    }

    fn take(&self, record: &Record) {
        if ends_request(record) {
            let id = record.subject.request.as_deref().and_then(|id| RequestId::parse(id).ok());
            return id.into_iter().for_each(|id| self.spent(id));
        }
        match record.deed {
            Deed::CatalogImport => return self.imported(record),
            Deed::AgentPause | Deed::AgentResume => return self.pauses.take(record),
            Deed::GrantUse => return self.uses.take(record),
            Deed::TemplateApply => {
                if let Some(id) = &record.subject.template {
                    self.wider.write().unwrap_or_else(PoisonError::into_inner).applied(id);
                }
            }
            _ => {}
        }
        let (name, is_end) = match (record.deed, &record.subject) {
            (Deed::PolicyApply, _) => (Some(POLICY.to_owned()), false),
            (Deed::TemplateApply, of) => (of.template.clone(), false),
            (deed, _) => match let_in(deed) {
                Some((noun, is_end)) => (name_of(noun, record).map(|name| known_as(noun, name)), is_end),
                None => (None, false),
            },
        };
        let digest = record.facts.get(FACT).and_then(serde_json::Value::as_str);
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match (name, digest) {
            (Some(name), _) if is_end => drop(all.insert(name, Vec::new())),
            // Nobody's name is given twice: who was removed does not come back. A connection or store may get the name of
            // one that was removed, by a new entry.
            (Some(name), Some(digest))
                if may_return(record.deed) || all.get(&name).is_none_or(|known| !known.is_empty()) =>
            {
                all.insert(name, vec![digest.to_owned()]);
            }
            _ => {}
        }
    }

    /// What the log says now, in place of what it said.
    pub(crate) fn replace(&self, fresh: Self) {
        let (known, spent) = (fresh.known.into_inner(), fresh.spent.into_inner());
        self.pauses.replace(fresh.pauses);
        self.uses.replace(fresh.uses);
        *self.wider.write().unwrap_or_else(PoisonError::into_inner) =
            fresh.wider.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) =
            known.unwrap_or_else(PoisonError::into_inner);
        *self.spent.write().unwrap_or_else(PoisonError::into_inner) =
            spent.unwrap_or_else(PoisonError::into_inner);
    }

    /// Whether a request came to its end, whatever its rows say.
    pub(crate) fn is_spent(&self, request: RequestId) -> bool {
        self.spent.read().unwrap_or_else(PoisonError::into_inner).contains(&request)
    }

    /// It came to its end, and that is on record.
    pub(crate) fn spent(&self, request: RequestId) {
        self.spent.write().unwrap_or_else(PoisonError::into_inner).insert(request);
    }

    /// The agents that ask for nothing at present.
    pub(crate) fn pauses(&self) -> &Pauses {
        &self.pauses
    }

    /// How often standing grants were used.
    pub(crate) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// Takes in an entry about an import.
    pub(crate) fn imported(&self, record: &Record) {
        self.wider.write().unwrap_or_else(PoisonError::into_inner).imported(record);
    }

    /// What is known of permissions that became wider.
    pub(crate) fn wider(&self) -> RwLockReadGuard<'_, Known> {
        self.wider.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became wider of a template since it was applied.
    pub(crate) fn held(&self, template: &str) -> Option<String> {
        self.wider().held(template)
    }

    /// Whether nothing of a template became wider since an operator applied it.
    ///
    /// # Errors
    /// [`Code::Denied`] when something did.
    pub(crate) fn check_held(&self, template: &str) -> Result<()> {
        match self.held(template) {
            None => Ok(()),
            Some(why) => Err(BrokerError::new(
                Code::Denied,
                format!("template `{template}` grants more than when it was applied: {why}"),
            )
            .hint(format!(
                "an operator looks at it (`keywright template show {template}`), and applies it again if that is all right"
            ))),
        }
    }

    /// Takes the digest of what is about to be put in force.
    pub(crate) fn coming(&self, name: &str, digest: &str) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.to_owned()).or_default().push(digest.to_owned());
    }

    /// It is in force; what was before counts no more.
    pub(crate) fn came(&self, name: &str, digest: &str) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another broker may have put something else in force since.
        if let Some(digests) = all.get_mut(name).filter(|known| known.iter().any(|one| one == digest)) {
            digests.retain(|known| known == digest);
        }
        if name != POLICY {
            self.wider.write().unwrap_or_else(PoisonError::into_inner).applied(name);
        }
    }

    /// Whoever it was is not let in any more.
    pub(crate) fn went(&self, noun: &str, name: &str) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(known_as(noun, name), Vec::new());
    }

    /// Whether a row is what an operator applied.
    ///
    /// # Errors
    /// [`Code::Denied`] when it is not.
    pub(crate) fn check(&self, name: &str, digest: &str) -> Result<()> {
        if self.knows(name, digest) {
            return Ok(());
        }
        let what = if name == POLICY { "the policy".to_owned() } else { format!("template `{name}`") };
        Err(BrokerError::new(
            Code::Denied,
            format!("{what} in the ledger is not as an operator applied it; it counts for nothing"),
        )
        .hint("the ledger was edited: `keywright doctor` names what was; apply it again"))
    }

    /// Whether a row is the one that the log knows: neither put back nor brought in by somebody else.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] when it is not.
    pub(crate) fn check_row(&self, row: &impl LetIn) -> Result<()> {
        let (noun, name, mac) = row.as_logged();
        let known_as = known_as(noun, &name);
        if self.knows(&known_as, &mac.to_string()) {
            return Ok(());
        }
        let message = format!(
            "{known_as} in the ledger is not as the audit log has it: an older row was put back outside of Keywright; it \
             counts for nothing"
        );
        Err(BrokerError::new(Code::Unauthenticated, message).hint(EDITED))
    }

    /// The rows that count. What does not is said in the broker's own log.
    pub(crate) fn counting<T: LetIn>(&self, rows: Vec<std::result::Result<T, LedgerError>>) -> Vec<T> {
        let checked = rows.into_iter().map(|row| {
            let row = row?;
            self.check_row(&row).map(|()| row)
        });
        let counts =
            |row: Result<T>| row.map_err(|error| tracing::error!(message = %error.message, "left out"));
        checked.filter_map(|row| counts(row).ok()).collect()
    }

    /// Whether somebody was removed, whatever the rows say.
    pub(crate) fn is_removed(&self, noun: &str, name: &str) -> bool {
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&known_as(noun, name)).is_some_and(Vec::is_empty)
    }

    /// Whether a connection or a store is as an operator added it last.
    ///
    /// # Errors
    /// [`Code::Denied`] when it is not.
    pub(crate) fn check_way(&self, noun: &'static str, name: &str, digest: &str) -> Result<()> {
        let known_as = known_as(noun, name);
        if self.knows(&known_as, digest) {
            return Ok(());
        }
        let message = format!(
            "{known_as} in the ledger is not one that the audit log has: it was put back outside of Keywright; nothing is done \
             with it"
        );
        let hint = match noun {
            STORE => "an operator removes it (`keywright store remove NAME`) and adds it again",
            CONSUMER => "an operator removes it (`keywright consumer remove NAME`) and adds it again",
            CHANNEL => "an operator removes it (`keywright notify remove NAME`) and adds it again",
            _ => "an operator removes it (`keywright provider remove NAME`) and adds it again",
        };
        Err(BrokerError::new(Code::Denied, message).hint(hint))
    }

    /// What the log has under a noun, and was not removed: each name, as the noun and it are known together.
    pub(crate) fn has(&self, noun: &str) -> Vec<String> {
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let beginning = format!("{noun} `");
        let there = all.iter().filter(|(name, digests)| name.starts_with(&beginning) && !digests.is_empty());
        there.map(|(name, _)| name.clone()).collect()
    }

    fn knows(&self, name: &str, digest: &str) -> bool {
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name).is_some_and(|digests| digests.iter().any(|known| known == digest))
    }

    pub(crate) fn check_template(&self, applied: &AppliedTemplate) -> Result<()> {
        let id = applied.resolved.template.id.as_str();
        self.check(id, &of_template(&applied.source, &applied.resolved, applied.version))
    }
}

/// Somebody whom an operator let in.
pub(crate) trait LetIn {
    /// What it is, its name, and what its row must have.
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac);
}

impl LetIn for Agent {
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac) {
        (AGENT, self.name.as_str().into(), self.mac)
    }
}

impl LetIn for Workload {
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac) {
        (WORKLOAD, self.name.as_str().into(), self.mac)
    }
}

impl LetIn for Operator {
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac) {
        (OPERATOR, self.name.as_str().into(), self.mac)
    }
}

impl LetIn for Passkey {
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac) {
        (PASSKEY, self.id.to_string().into(), self.mac)
    }
}

/// What somebody who is let in goes by; no template's id has a space.
pub(crate) fn known_as(noun: &str, name: &str) -> String {
    format!("{noun} `{name}`")
}

/// Whether an entry says that a key was made for a request, or that none will be.
fn ends_request(record: &Record) -> bool {
    if matches!(record.deed, Deed::RequestReject | Deed::RequestExpire) {
        return true;
    }
    let is_sealed =
        || record.facts.get(PHASE).and_then(serde_json::Value::as_str) == Some(Phase::Sealed.as_str());
    record.deed == Deed::KeyMint
        && (record.stage == Stage::Outcome || (record.stage == Stage::Note && is_sealed()))
}

/// Whom a deed is about, and whether it is the end of them.
fn let_in(deed: Deed) -> Option<(&'static str, bool)> {
    Some(match deed {
        Deed::AgentAdd => (AGENT, false),
        Deed::AgentRemove => (AGENT, true),
        Deed::WorkloadAdd => (WORKLOAD, false),
        Deed::WorkloadRemove => (WORKLOAD, true),
        Deed::OperatorAdd | Deed::PassphraseChange => (OPERATOR, false),
        Deed::OperatorRemove => (OPERATOR, true),
        Deed::PasskeyAdd => (PASSKEY, false),
        Deed::PasskeyRemove => (PASSKEY, true),
        Deed::GrantAdd => (GRANT, false),
        Deed::GrantRemove => (GRANT, true),
        Deed::ProviderAdd | Deed::ProviderRotateParent => (CONNECTION, false),
        Deed::ProviderRemove => (CONNECTION, true),
        Deed::StoreAdd => (STORE, false),
        Deed::StoreRemove => (STORE, true),
        Deed::ConsumerAdd => (CONSUMER, false),
        Deed::ConsumerRemove => (CONSUMER, true),
        Deed::ChannelAdd => (CHANNEL, false),
        Deed::ChannelRemove => (CHANNEL, true),
        _ => return None,
    })
}

/// Whether the name that an entry gives may have been another's before.
fn may_return(deed: Deed) -> bool {
    matches!(deed, Deed::ProviderAdd | Deed::StoreAdd | Deed::ConsumerAdd | Deed::ChannelAdd)
}

/// The name of whom or what an entry about a noun speaks.
fn name_of<'a>(noun: &str, record: &'a Record) -> Option<&'a str> {
    match noun {
        CONNECTION => record.subject.connection.as_deref(),
        STORE => record.facts.get(STORE).and_then(serde_json::Value::as_str),
        _ => record.subject.name.as_deref(),
    }
}

/// The digest of a template in force: its text, what it means, and which version it is.
pub(crate) fn of_template(source: &str, resolved: &ResolvedTemplate, version: u64) -> String {
    digest(&serde_json::json!(["template", version, source, resolved]))
}

/// The digest of a connection: of one that is added again under the same name it is another one.
pub(crate) fn of_connection(connection: &Connection) -> String {
    let Connection { name, kind, base_url, account, extra, credential, added_at } = connection;
    let fields =
        serde_json::json!([base_url, account, extra, credential.to_string(), added_at.as_millisecond()]);
    digest(&serde_json::json!([CONNECTION, name, kind, fields]))
}

/// The digest of a store, likewise.
pub(crate) fn of_store(store: &ConfiguredStore) -> String {
    let ConfiguredStore { name, kind, address, extra, credential, added_at } = store;
    let credential = credential.map(|id| id.to_string());
    let fields = serde_json::json!([address, extra, credential, added_at.as_millisecond()]);
    digest(&serde_json::json!([STORE, name, kind, fields]))
}

/// The digest of a consumer, likewise.
pub(crate) fn of_consumer(consumer: &ConfiguredConsumer) -> String {
    let ConfiguredConsumer { name, kind, uses, target, patience, credential, added_at } = consumer;
    let uses = serde_json::json!([uses.project, uses.environment, uses.names.as_str()]);
    let credential = credential.map(|id| id.to_string());
    let fields = serde_json::json!([uses, target, patience.seconds(), credential, added_at.as_millisecond()]);
    digest(&serde_json::json!([CONSUMER, name, kind.as_str(), fields]))
}

/// The digest of a channel, likewise.
pub(crate) fn of_channel(channel: &ConfiguredChannel) -> String {
    let ConfiguredChannel { name, kind, settings, rules, credential, added_at, .. } = channel;
    let credential = credential.map(|id| id.to_string());
    let fields = serde_json::json!([settings, rules, credential, added_at.as_millisecond()]);
    digest(&serde_json::json!([CHANNEL, name, kind.as_str(), fields]))
}

/// The digest of a policy in force.
pub(crate) fn of_policy(source: &str, version: u64) -> String {
    digest(&serde_json::json!([POLICY, version, source]))
}

fn digest(of: &serde_json::Value) -> String {
    Sha256::digest(of.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Told by its bytes, so that the many entries about other deeds need not be read. Within a string, quotation marks are
/// escaped: no text of an entry looks like this.
fn speaks_of_rails(leaf: &[u8]) -> bool {
    const BEFORE: &[u8] = br#""deed":""#;
    let deeds = || {
        Deed::ALL.iter().filter(|deed| {
            let of_request = matches!(deed, Deed::KeyMint | Deed::RequestReject | Deed::RequestExpire);
            of_request
                || matches!(deed, Deed::PolicyApply | Deed::TemplateApply | Deed::CatalogImport)
                || matches!(deed, Deed::AgentPause | Deed::AgentResume | Deed::GrantUse)
                || let_in(**deed).is_some()
        })
    };
    let is_one = |rest: &[u8]| deeds().any(|deed| rest.starts_with(deed.as_str().as_bytes()));
    let starts = leaf.windows(BEFORE.len()).enumerate().filter(|(_, window)| *window == BEFORE);
    starts.map(|(at, _)| leaf.get(at + BEFORE.len()..).unwrap_or_default()).any(is_one)
}
