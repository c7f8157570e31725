//! What operators can say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::admin::{NewConnection, NewStore};
use keywright_broker::adopt::Adoption;
use keywright_broker::auth::Proven;
use keywright_broker::log::{About, Sought, Typed};
use keywright_broker::record::Caller;
use keywright_broker::spend::By;
use keywright_broker::switch_off::Switch;
use keywright_broker::trace::KeyFilter;
use keywright_broker::{Broker, Code};
use keywright_core::span::Span;
use keywright_ledger::{AppliedTemplate, AuditFilter};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::agent::state_of;
use super::{Peer, invalid, read};
use crate::answer::Failure;
use crate::call::{LogWish, OperatorCall as Op};
use crate::views;

/// How long a command waits for a mint.
const MINT_WAIT: Duration = Duration::from_secs(120);

pub(super) async fn run(
    broker: &Arc<Broker>,
    peer: &Peer,
    operator: &Proven,
    call: Op,
    stop: Option<&watch::Sender<bool>>,
) -> Result<Value, Failure> {
    match call {
        Op::Login | Op::Logout => session(broker, peer, operator, &call, stop).await,
        Op::ProviderAdd { .. }
        | Op::ProviderList
        | Op::ProviderCheck { .. }
        | Op::ProviderRotateParent { .. }
        | Op::ProviderReplaceParent { .. }
        | Op::ProviderRemove { .. } => providers(broker, operator, call).await,
        Op::StoreAdd { .. } | Op::StoreList | Op::StoreCheck { .. } | Op::StoreRemove { .. } => {
            stores(broker, operator, call).await
        }
        Op::ConsumerAdd { .. } | Op::ConsumerList | Op::ConsumerRemove { .. } | Op::ConsumerTest { .. } => {
            super::consumer::run(broker, operator, call).await
        }
        Op::NotifyAdd(_) | Op::NotifyList | Op::NotifyRemove { .. } | Op::NotifyTest { .. } => {
            super::notify::run(broker, operator, call).await
        }
        Op::GrantAdd(_) | Op::GrantList | Op::GrantRemove { .. } => {
            super::grant::run(broker, operator, call).await
        }
        Op::TemplateList
        | Op::TemplateShow { .. }
        | Op::TemplateApply { .. }
        | Op::CatalogImport { .. }
        | Op::CatalogRefresh { .. }
        | Op::PolicyShow
        | Op::PolicyApply { .. }
        | Op::PolicyTest { .. }
        | Op::PolicyExplain { .. } => guards(broker, operator, call).await,
        Op::OperatorAdd { .. }
        | Op::OperatorList
        | Op::OperatorRemove { .. }
        | Op::OperatorPassphrase { .. }
        | Op::AgentAdd { .. }
        | Op::AgentList
        | Op::AgentRemove { .. }
        | Op::AgentPause { .. }
        | Op::AgentResume { .. }
        | Op::WorkloadAdd { .. }
        | Op::WorkloadList
        | Op::WorkloadRemove { .. } => people(broker, operator, call).await,
        Op::PasskeyInvite { .. } | Op::PasskeyKeep { .. } | Op::PasskeyList | Op::PasskeyRemove { .. } => {
            super::passkey::run(broker, operator, call).await
        }
        Op::KeyRequest { .. }
        | Op::KeyList { .. }
        | Op::KeyShow { .. }
        | Op::KeyDenied { .. }
        | Op::KeyRotate { .. }
        | Op::KeyEndOld { .. }
        | Op::KeyUnmanaged { .. }
        | Op::KeyAdopt { .. }
        | Op::Spend { .. }
        | Op::KeyDisable { .. }
        | Op::KeyEnable { .. }
        | Op::KeyRevoke { .. }
        | Op::ProjectTeardown { .. }
        | Op::AgentRevokeAll { .. }
        | Op::RequestCheck { .. }
        | Op::Reconcile
        | Op::AcceptRestore
        | Op::RevokeLost => keys(broker, peer, operator, call).await,
        Op::ReviewList
        | Op::ReviewShow { .. }
        | Op::ProposalApply { .. }
        | Op::ReviewApprove { .. }
        | Op::ReviewReject { .. } => review(broker, operator, call).await,
        Op::AuditLog { .. }
        | Op::AuditSearch(..)
        | Op::AuditTrace { .. }
        | Op::AuditPublish
        | Op::AuditAccept
        | Op::LedgerCheck => audit(broker, operator, call).await,
    }
}

async fn session(
    broker: &Broker,
    peer: &Peer,
    operator: &Proven,
    call: &Op,
    stop: Option<&watch::Sender<bool>>,
) -> Result<Value, Failure> {
    if stop.is_none() {
        return Err(Failure::new(Code::Conflict, "no broker runs, so there is nothing to log in to")
            .hint("start one with `keywright serve`"));
    }
    let terminal = peer.terminal.ok_or_else(|| {
        Failure::new(Code::Unsupported, "the broker can't tell this terminal session from others")
            .hint("give --passphrase-file with each command, or run them where the broker runs")
    })?;
    match call {
        Op::Login => {
            let until = broker.open_session(operator, terminal).await?;
            Ok(
                json!({ "schema": "keywright/session/1", "operator": operator.name(), "until": until.to_string() }),
            )
        }
        _ => {
            broker.close_session(terminal);
            Ok(json!({ "schema": "keywright/session/1", "operator": operator.name(), "until": null }))
        }
    }
}

async fn providers(broker: &Arc<Broker>, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::ProviderAdd { name, kind, base_url, account, extra, credential } => {
            let new = NewConnection {
                name: name.parse().map_err(invalid)?,
                kind: kind.parse().map_err(invalid)?,
                base_url,
                account,
                extra,
                credential: credential.into_secret(),
            };
            let health = broker.add_connection(operator, new).await?;
            Ok(views::connection_health(&name, &health))
        }
        Op::ProviderCheck { name } => {
            let health = broker.check_connection(&name.parse().map_err(invalid)?).await?;
            Ok(views::connection_health(&name, &health))
        }
        Op::ProviderRotateParent { name } => {
            let renewed = broker.rotate_parent(operator, &name.parse().map_err(invalid)?).await?;
            Ok(views::renewed(&name, &renewed))
        }
        Op::ProviderReplaceParent { name, credential } => {
            let (parsed, credential) = (name.parse().map_err(invalid)?, credential.into_secret());
            let renewed = broker.replace_parent(operator, &parsed, credential).await?;
            Ok(views::renewed(&name, &renewed))
        }
        Op::ProviderRemove { name } => {
            let templates = broker.remove_connection(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({
                "schema": "keywright/provider/1", "name": name, "removed": true, "templates": templates,
            }))
        }
        _ => Ok(views::connections(&broker.connections().await?)),
    }
}

async fn stores(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::StoreAdd { name, kind, address, extra, credential } => {
            let new = NewStore {
                name: name.parse().map_err(invalid)?,
                kind: kind.parse().map_err(invalid)?,
                address,
                extra,
                credential: credential.map(crate::call::Passed::into_secret),
            };
            broker.add_store(operator, new).await?;
            Ok(json!({ "schema": "keywright/store/1", "name": name, "usable": true }))
        }
        Op::StoreCheck { name } => {
            broker.check_store(&name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/store/1", "name": name, "usable": true }))
        }
        Op::StoreRemove { name } => {
            broker.remove_store(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/store/1", "name": name, "removed": true }))
        }
        _ => Ok(json!({ "schema": "keywright/stores/1", "stores": broker.stores().await? })),
    }
}

async fn guards(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::TemplateShow { id } => {
            let applied = broker.template(&id).await?;
            let shown = views::with_held(views::template(&applied), |id| broker.held(id));
            let one = std::slice::from_ref(&applied);
            let shown = views::with_unconnected(shown, &broker.unconnected_of(one).await?);
            Ok(views::with_wider(shown, &wider(broker, one)))
        }
        Op::TemplateApply { source } => {
            let (checked, version) = broker.apply_template(operator, &source).await?;
            Ok(views::checked(&checked, Some(version)))
        }
        Op::CatalogImport { widening } => {
            let held = broker.hold_wider(operator, &widening).await?;
            Ok(json!({ "schema": "keywright/catalog-import/1", "held": held }))
        }
        Op::CatalogRefresh { connection } => {
            let listed = broker.refresh(operator, &connection.parse().map_err(invalid)?).await?;
            Ok(views::refreshed(&connection, &listed))
        }
        Op::PolicyShow => Ok(views::policy(&broker.policy().await?)),
        Op::PolicyApply { source } => {
            let version = match source {
                Some(source) => broker.apply_policy(operator, &source).await?,
                None => broker.apply_default_policy(operator).await?,
            };
            Ok(json!({ "schema": "keywright/policy/1", "version": version, "applied_by": operator.name() }))
        }
        Op::PolicyTest { cases } => Ok(views::policy_test(&broker.test_policy(&cases).await?)),
        Op::PolicyExplain { request } => {
            let lines = broker.explain(&request).await?;
            Ok(json!({ "schema": "keywright/explanation/1", "request": request, "lines": lines }))
        }
        _ => {
            let templates = broker.templates().await?;
            let shown = views::with_held(views::templates(&templates), |id| broker.held(id));
            let shown = views::with_unconnected(shown, &broker.unconnected_of(&templates).await?);
            let mut shown = views::with_wider(shown, &wider(broker, &templates));
            let ambiguous = broker.ambiguous().await?;
            if let Some(object) = shown.as_object_mut().filter(|_| !ambiguous.is_empty()) {
                object.insert("warnings".to_owned(), json!(ambiguous));
            }
            Ok(shown)
        }
    }
}

/// What became wider of templates than their numbers say, by id.
fn wider(broker: &Broker, templates: &[AppliedTemplate]) -> BTreeMap<String, Vec<String>> {
    templates
        .iter()
        .map(|one| (one.resolved.template.id.to_string(), broker.wider_of(&one.resolved)))
        .collect()
}

async fn people(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::OperatorAdd { name, new_passphrase } => {
            let parsed = name.parse().map_err(invalid)?;
            broker.add_operator(operator, &parsed, new_passphrase.into_secret()).await?;
            Ok(json!({ "schema": "keywright/operator/1", "name": name }))
        }
        Op::OperatorPassphrase { new_passphrase } => {
            broker.change_passphrase(operator, new_passphrase.into_secret()).await?;
            Ok(json!({ "schema": "keywright/operator/1", "name": operator.name() }))
        }
        Op::OperatorRemove { name } => {
            broker.remove_operator(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/operator/1", "name": name, "removed": true }))
        }
        Op::OperatorList => Ok(views::operators(&broker.operators().await?)),
        Op::AgentAdd { name } => {
            let token = broker.add_agent(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/agent/1", "name": name, "token": token.expose_secret() }))
        }
        Op::AgentRemove { name } => {
            broker.remove_agent(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/agent/1", "name": name, "removed": true }))
        }
        Op::AgentPause { name, reason } => {
            let paused =
                broker.pause_agent(operator, &name.parse().map_err(invalid)?, reason.as_deref()).await?;
            Ok(json!({ "schema": "keywright/agent/1", "name": name, "paused": paused }))
        }
        Op::AgentResume { name } => {
            broker.resume_agent(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/agent/1", "name": name, "paused": null }))
        }
        Op::AgentList => Ok(views::agents(&broker.agents().await?, |name| broker.paused(name))),
        Op::WorkloadAdd { name, project, environment } => {
            let environment_name = read(environment.as_ref())?;
            let token = broker
                .add_workload(
                    operator,
                    &name.parse().map_err(invalid)?,
                    &project.parse().map_err(invalid)?,
                    environment_name.as_ref(),
                )
                .await?;
            Ok(json!({ "schema": "keywright/workload/1", "name": name, "token": token.expose_secret() }))
        }
        Op::WorkloadRemove { name } => {
            broker.remove_workload(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/workload/1", "name": name, "removed": true }))
        }
        _ => Ok(views::workloads(&broker.workloads().await?)),
    }
}

async fn keys(broker: &Arc<Broker>, peer: &Peer, operator: &Proven, call: Op) -> Result<Value, Failure> {
    let caller = Caller { verified: peer.verified(), ..operator.caller() };
    match call {
        Op::KeyRequest { ask, dry_run: true } => {
            Ok(views::dry_run(&broker.dry_run(&caller.principal, &ask).await?))
        }
        Op::KeyRequest { ask, dry_run: false } => {
            Ok(views::receipt(&broker.request(&caller, &ask, MINT_WAIT).await?))
        }
        Op::KeyDenied { key, operations } => {
            Ok(views::denied(&broker.denied(&caller.principal, &key, &operations).await?))
        }
        Op::KeyShow { key } => Ok(views::trace(&broker.key(&caller.principal, &key).await?)),
        Op::KeyRotate { key, reason, wait_seconds, ending } => {
            let wait = Duration::from_secs(wait_seconds.into()).min(MINT_WAIT);
            let receipt = match ending {
                None => broker.rotate(&caller, &key, &reason, wait).await?,
                Some(ending) => broker.rotate_as(operator, &caller, &key, &reason, (ending, wait)).await?,
            };
            Ok(views::receipt(&receipt))
        }
        Op::KeyEndOld { key, reason } => {
            broker.end_old(operator, &key, &reason).await?;
            Ok(views::trace(&broker.key(&caller.principal, &key).await?))
        }
        Op::KeyUnmanaged { connection } => {
            let connection = connection.map(|name| name.parse()).transpose().map_err(invalid)?;
            Ok(views::unmanaged(&broker.inventory(connection.as_ref()).await?))
        }
        Op::KeyAdopt { connection, provider_key_id, ask } => {
            let adoption = Adoption { connection, provider_key_id, ask: *ask };
            let adopted = broker.adopt(operator, &adoption).await?;
            let trace = broker.key(&caller.principal, &adopted.key.id.to_string()).await?;
            Ok(views::adopted(&trace, &adopted.differences))
        }
        Op::Spend { by, since } => {
            let since = since.map(|text| Span::parse(&text)).transpose().map_err(invalid)?;
            let by_what = By::parse(&by)?;
            Ok(views::spend(&by, &broker.spend(by_what, since).await?))
        }
        Op::KeyDisable { key, reason } => {
            let switched = broker.switch_key(operator, &key, Switch::Off, &reason).await?;
            Ok(views::trace(&broker.key(&caller.principal, &switched.id.to_string()).await?))
        }
        Op::KeyEnable { key, reason } => {
            let switched = broker.enable(operator, &key, &reason).await?;
            Ok(views::trace(&broker.key(&caller.principal, &switched.id.to_string()).await?))
        }
        Op::KeyRevoke { key, reason } => Ok(views::receipt(&broker.revoke(&caller, &key, &reason).await?)),
        Op::ProjectTeardown { project } => {
            let torn = broker.teardown(&caller, &project.parse().map_err(invalid)?).await?;
            Ok(views::teardown("project", &project, &torn))
        }
        Op::AgentRevokeAll { name, reason } => {
            let torn = broker.revoke_all_of(&caller, &name.parse().map_err(invalid)?, &reason).await?;
            Ok(views::teardown("agent", &name, &torn))
        }
        Op::RequestCheck { request } => {
            Ok(views::receipt(&broker.check(&caller.principal, &request, Duration::ZERO).await?))
        }
        looks @ (Op::Reconcile | Op::AcceptRestore | Op::RevokeLost) => {
            let found = match looks {
                Op::AcceptRestore => broker.accept_restore(operator).await?,
                Op::RevokeLost => broker.revoke_lost(operator).await?,
                _ => broker.reconcile().await?,
            };
            let found = serde_json::to_value(found).map_err(invalid)?;
            Ok(views::with_schema("keywright/reconcile/1", found))
        }
        Op::KeyList { project, environment, state, debt } => {
            let filter = KeyFilter {
                project: read(project.as_ref())?,
                environment: read(environment.as_ref())?,
                state: state_of(state.as_deref())?,
            };
            let mut keys = broker.keys(&caller.principal, filter).await?;
            keys.retain(|key| !debt || key.debt);
            Ok(views::keys(&keys))
        }
        _ => Err(Failure::new(Code::Unsupported, "this is not about keys")),
    }
}

async fn review(broker: &Arc<Broker>, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::ReviewShow { request, less } => Ok(views::pending(&broker.review(&request, &less).await?)),
        Op::ReviewApprove { request, digest, less } => {
            Ok(views::receipt(&broker.approve(operator, &request, &digest, &less, MINT_WAIT).await?))
        }
        Op::ProposalApply { request, source, version } => {
            let (checked, version) = broker.apply_proposal(operator, &request, &source, version).await?;
            Ok(views::checked(&checked, Some(version)))
        }
        Op::ReviewReject { request, reason } => {
            broker.reject(operator, &request, &reason).await?;
            Ok(json!({ "schema": "keywright/review/1", "request": request, "status": "rejected" }))
        }
        _ => {
            let requests: Vec<Value> = broker.inbox().await?.iter().map(views::pending).collect();
            let waiting = broker.count_waiting().await?.max(requests.len() as u64);
            Ok(json!({ "schema": "keywright/requests/1", "requests": requests, "waiting": waiting }))
        }
    }
}

async fn audit(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::AuditTrace { what } => Ok(views::trace(&broker.trace(&what).await?)),
        Op::AuditLog { from, limit, newest_first } => {
            let filter =
                AuditFilter { from, limit: limit.min(10_000), newest_first, ..AuditFilter::default() };
            Ok(views::entries(&broker.log(filter).await?))
        }
        Op::AuditSearch(wish) => search(broker, *wish).await,
        Op::LedgerCheck => {
            let (rows, edited) = broker.soundness().await?;
            Ok(json!({ "schema": "keywright/ledger-check/1", "rows": rows, "edited": edited }))
        }
        accept_or_publish => {
            let size = match accept_or_publish {
                Op::AuditAccept => broker.accept_audit(operator).await?,
                _ => broker.publish_audit().await?,
            };
            Ok(json!({ "schema": "keywright/checkpoint/1", "size": size }))
        }
    }
}

async fn search(broker: &Broker, wish: LogWish) -> Result<Value, Failure> {
    let LogWish { about, deed, by, went_well, since, until, before, limit } = wish;
    let mut sought = Sought { about: About::Anything, deed, who: by, went_well, from: since, to: until };
    let limit = limit.min(1_000);
    if let Some(text) = about {
        match broker.typed(&text).await? {
            Typed::About(about) => sought.about = about,
            Typed::Entry(entry) => {
                let one = AuditFilter { from: entry.0, limit: 1, ..AuditFilter::default() };
                return Ok(views::entries(&broker.log(one).await?));
            }
            Typed::Name(name) => {
                let name = keywright_core::text::escaped(&name);
                return Err(Failure::new(
                    Code::NotFound,
                    format!("`{name}` is no key, request or entry here"),
                )
                .hint("`--by NAME` looks for what somebody of that name did"));
            }
        }
    }
    Ok(views::found_entries(&broker.search_log(sought, before, limit).await?))
}
