//! Every call that comes through a door, as types.
//!
//! The three callers have three enums. What is not in [`AgentCall`] an agent can't say, whatever it sends: there is no
//! verb in it that returns a secret, approves, or changes a guard rail.

mod agent;
mod grant;
mod log;
mod login;
mod notify;
mod passed;

use std::collections::BTreeMap;

use keywright_core::plan::Ending;
use serde::{Deserialize, Serialize};

use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::drift::Widening;
use keywright_broker::passkey::Counts;

pub use agent::AgentCall;
pub use grant::GrantWish;
pub use log::LogWish;
pub use login::{Login, ReaderLogin};
pub use notify::NewNotify;
pub use passed::Passed;

/// A call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// Anybody: is the broker there, and how is it doing?
    Anybody,
    /// End the broker. Whoever may open the socket could as well send it a signal, so this asks for no more.
    Stop,
    /// An agent, by its token.
    Agent {
        /// Its token.
        token: Passed,
        /// What it says about itself: client, model, session. Recorded as claimed.
        #[serde(default)]
        claimed: BTreeMap<String, String>,
        /// What it wants.
        call: AgentCall,
    },
    /// An operator.
    Operator {
        /// How they prove it.
        login: Login,
        /// What they want.
        call: Box<OperatorCall>,
    },
    /// A program that reads its keys, or an operator who runs one.
    Reader {
        /// How it proves that it may.
        login: ReaderLogin,
        /// Of this project; a workload's own when absent.
        project: Option<String>,
        /// Of this environment.
        environment: Option<String>,
        /// Only these names; empty = all.
        only: Vec<String>,
        /// The word by which the program will speak that gets them.
        #[serde(default)]
        holder: Option<Passed>,
    },
    /// A program that was given keys, by the word that it was started with.
    Hold {
        /// The word.
        word: Passed,
        /// Whether it has ended.
        is_over: bool,
    },
}

/// What an operator can ask for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum OperatorCall {
    /// Open a short session for this terminal session.
    Login,
    /// End it.
    Logout,
    /// Add a connection to a provider.
    ProviderAdd {
        /// Its name.
        name: String,
        /// The provider's kind.
        kind: String,
        /// Where its API is.
        base_url: Option<String>,
        /// The account there.
        account: Option<String>,
        /// What else the adapter wants to know.
        #[serde(default)]
        extra: BTreeMap<String, String>,
        /// The parent credential.
        credential: Passed,
    },
    /// List the connections.
    ProviderList,
    /// Try a connection.
    ProviderCheck {
        /// Its name.
        name: String,
    },
    /// Have a connection's provider make another parent credential, and end the one before.
    ProviderRotateParent {
        /// The connection's name.
        name: String,
    },
    /// Give a connection another parent credential.
    ProviderReplaceParent {
        /// The connection's name.
        name: String,
        /// The parent credential.
        credential: Passed,
    },
    /// Remove a connection that no key needs any more.
    ProviderRemove {
        /// Its name.
        name: String,
    },
    /// Add a store.
    StoreAdd {
        /// Its name.
        name: String,
        /// Its kind.
        kind: String,
        /// Where it is.
        address: Option<String>,
        /// What else the adapter wants to know.
        #[serde(default)]
        extra: BTreeMap<String, String>,
        /// The credential, where it needs one.
        credential: Option<Passed>,
    },
    /// List the stores.
    StoreList,
    /// Try a store.
    StoreCheck {
        /// Its name.
        name: String,
    },
    /// Remove a store that holds no copies any more.
    StoreRemove {
        /// Its name.
        name: String,
    },
    /// Have somebody told of successors.
    ConsumerAdd {
        /// The name.
        name: String,
        /// Of keys of this project.
        project: String,
        /// Of this environment.
        environment: Option<String>,
        /// Of these names: one, or their beginning and `*`.
        names: Option<String>,
        /// A program, and its arguments.
        #[serde(default)]
        command: Vec<String>,
        /// An address.
        webhook: Option<String>,
        /// What messages to it are signed with.
        secret: Option<Passed>,
        /// How long it may take.
        patience: Option<String>,
    },
    /// List the consumers.
    ConsumerList,
    /// Remove one.
    ConsumerRemove {
        /// The name.
        name: String,
    },
    /// Tell one of nothing.
    ConsumerTest {
        /// The name.
        name: String,
    },
    /// Have people told of what waits for them.
    NotifyAdd(Box<NewNotify>),
    /// List the channels.
    NotifyList,
    /// Remove one.
    NotifyRemove {
        /// The name.
        name: String,
    },
    /// Have one tell of nothing.
    NotifyTest {
        /// The name.
        name: String,
    },
    /// List the templates in force.
    TemplateList,
    /// Show one.
    TemplateShow {
        /// Its id.
        id: String,
    },
    /// Put one in force.
    TemplateApply {
        /// The TOML.
        source: String,
    },
    /// Put an import of a newer publication on record, and hold what became wider.
    CatalogImport {
        /// What became wider.
        widening: Widening,
    },
    /// Hold the catalog against the permissions that a connection's provider has now.
    CatalogRefresh {
        /// The connection.
        connection: String,
    },
    /// Show the policy in force.
    PolicyShow,
    /// Put one in force; absent = the default pack.
    PolicyApply {
        /// The Cedar text.
        source: Option<String>,
    },
    /// Run cases against the policy in force.
    PolicyTest {
        /// The cases, as TOML.
        cases: String,
    },
    /// Why a request was decided as it was.
    PolicyExplain {
        /// The request's id.
        request: String,
    },
    /// Add an operator.
    OperatorAdd {
        /// The name.
        name: String,
        /// Their passphrase.
        new_passphrase: Passed,
    },
    /// List the operators.
    OperatorList,
    /// Remove one.
    OperatorRemove {
        /// The name.
        name: String,
    },
    /// Change one's own passphrase.
    OperatorPassphrase {
        /// The new one.
        new_passphrase: Passed,
    },
    /// Have a link made with which the operator's browser can enrol a passkey.
    PasskeyInvite {
        /// What it will be called.
        label: String,
        /// From when on it counts.
        #[serde(default)]
        counts: Counts,
    },
    /// Say that a passkey that is held is one's own.
    PasskeyKeep {
        /// Its id.
        passkey: String,
    },
    /// List the passkeys.
    PasskeyList,
    /// Remove one.
    PasskeyRemove {
        /// Its id.
        passkey: String,
    },
    /// Add an agent; the answer holds its token, this once.
    AgentAdd {
        /// The name.
        name: String,
    },
    /// List the agents.
    AgentList,
    /// Remove one.
    AgentRemove {
        /// The name.
        name: String,
    },
    /// Have an agent ask for nothing until it is resumed.
    AgentPause {
        /// Which.
        name: String,
        /// Why; the agent reads it.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Let a paused agent ask again.
    AgentResume {
        /// Which.
        name: String,
    },
    /// End everything of an agent: its keys, what waits from it, and its asking.
    AgentRevokeAll {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// Approve a class of an agent's requests in advance.
    GrantAdd(Box<GrantWish>),
    /// List the standing grants.
    GrantList,
    /// Remove one.
    GrantRemove {
        /// Its id.
        grant: String,
    },
    /// Add a workload; the answer holds its token, this once.
    WorkloadAdd {
        /// The name.
        name: String,
        /// Whose keys it may read.
        project: String,
        /// Of this environment only.
        environment: Option<String>,
    },
    /// List the workloads.
    WorkloadList,
    /// Remove one.
    WorkloadRemove {
        /// The name.
        name: String,
    },
    /// Ask for a key.
    KeyRequest {
        /// The ask.
        ask: Box<Ask>,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// List keys.
    KeyList {
        /// Of this project.
        project: Option<String>,
        /// Of this environment.
        environment: Option<String>,
        /// In this state.
        state: Option<String>,
        /// Only those that are still owed to a revocation.
        debt: bool,
    },
    /// Show one key.
    KeyShow {
        /// Its id or name.
        key: String,
    },
    /// What one key lacks for some operations.
    KeyDenied {
        /// Its id or name.
        key: String,
        /// What was refused, as `METHOD /path`.
        operations: Vec<String>,
    },
    /// Replace a key's version by a successor.
    KeyRotate {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
        /// How long to wait for the successor to be in force, at most 120 seconds; then it goes on by itself.
        wait_seconds: u32,
        /// How the version before it ends, where not as usual.
        #[serde(default)]
        ending: Option<Ending>,
    },
    /// End the version that a rotation replaced, whatever is known of its use.
    KeyEndOld {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
    },
    /// The credentials that nobody manages.
    KeyUnmanaged {
        /// Of this connection; of all when absent.
        connection: Option<String>,
    },
    /// Put a credential that was made elsewhere under management.
    KeyAdopt {
        /// The connection that sees it.
        connection: String,
        /// The provider's id of it.
        provider_key_id: String,
        /// What it is called, and what its successor is; an empty template for none.
        ask: Box<Ask>,
    },
    /// What keys used and cost.
    Spend {
        /// By key, project, environment, agent or purpose.
        by: String,
        /// Since how long ago, as in `30d`; ever when absent.
        since: Option<String>,
    },
    /// Switch a key off at its provider.
    KeyDisable {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
    },
    /// Switch on again what was switched off: the key, or the old version of a rotation.
    KeyEnable {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
    },
    /// Revoke one key.
    KeyRevoke {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
    },
    /// Revoke every key of a project.
    ProjectTeardown {
        /// The project.
        project: String,
    },
    /// What waits for humans.
    ReviewList,
    /// One request, whole.
    ReviewShow {
        /// Its id.
        request: String,
        /// What it would be with less.
        #[serde(default)]
        less: Less,
    },
    /// Put a proposed template in force, exactly as it was shown.
    ProposalApply {
        /// The proposal's id.
        request: String,
        /// The text that was shown.
        source: String,
        /// Which version it becomes: the one after what it was shown beside.
        version: u64,
    },
    /// Approve exactly what was shown.
    ReviewApprove {
        /// The request's id.
        request: String,
        /// The digest of the plan that was shown.
        digest: String,
        /// What that plan leaves out of the ask.
        #[serde(default)]
        less: Less,
    },
    /// Turn a request down.
    ReviewReject {
        /// The request's id.
        request: String,
        /// Why.
        reason: String,
    },
    /// How a request stands.
    RequestCheck {
        /// The request's id.
        request: String,
    },
    /// Compare every connection with the ledger.
    Reconcile,
    /// Go on from a ledger that is older than what was known of it.
    AcceptRestore,
    /// End the keys that such a ledger does not know.
    RevokeLost,
    /// Hold the rows of the ledger against their MACs and the audit log.
    LedgerCheck,
    /// Take the audit log as it is after its files were lost.
    AuditAccept,
    /// Entries of the audit log.
    AuditLog {
        /// From this place on.
        from: u64,
        /// At most so many.
        limit: u32,
        /// The newest first.
        newest_first: bool,
    },
    /// Entries of the audit log that somebody looks for, the newest first.
    AuditSearch(Box<LogWish>),
    /// Everything about one key.
    AuditTrace {
        /// A key's id or name, a request's id, or a fingerprint.
        what: String,
    },
    /// Bring the audit log's files up to date.
    AuditPublish,
}
