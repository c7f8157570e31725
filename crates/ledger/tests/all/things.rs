//! Things to put into a ledger. The numbers in their names tell them apart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_core::id::{AttemptId, KeyId, RequestId, SagaId};
use keywright_core::key::{Attempt, AttemptOutcome, Key, KeyState};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::receipt::Status;
use keywright_core::saga::SagaKind;
use keywright_ledger::{NewRequest, NewSaga, Request, Result, Tx};
use serde_json::json;

/// The `n`th id of any kind.
macro_rules! id {
    ($kind:ty, $n:expr) => {{
        let n = u64::from($n);
        let mut entropy = [0; 10];
        entropy[2..].copy_from_slice(&n.to_be_bytes());
        <$kind>::generate(jiff::Timestamp::from_second(1_790_000_000).unwrap(), entropy)
    }};
}
pub(crate) use id;

pub fn plan(n: u32, agent: &str) -> Plan {
    serde_json::from_value(json!({
        "request": id!(RequestId, n).to_string(),
        "principal": { "kind": "agent", "name": agent },
        "template": "cloudflare/dns-edit",
        "template_version": 1,
        "tier": "standard",
        "provider": "cloudflare",
        "connection": "cf",
        "project": "shop",
        "environment": "dev",
        "name": "CF_TOKEN",
        "parameters": { "zone": "example.com" },
        "permissions": [{ "id": "4755", "name": "DNS Write", "scope": "zone" }],
        "escalation": [],
        "resources": [{ "kind": "cloudflare.zone", "id": "023e", "name": "example.com" }],
        "ttl": "30d",
        "ip_allow": [],
        "budget_cents": null,
        "destinations": [{ "place": { "store": "embedded", "place": "shop/dev/CF_TOKEN" } }],
        "rotation": null,
        "unlocks": 9,
        "mutating": 5,
        "purpose": "edit the DNS records of the shop",
    }))
    .unwrap()
}

pub fn request(n: u32, agent: &str, now: Timestamp) -> Request {
    let plan = plan(n, agent);
    Request {
        id: plan.request,
        digest: plan.digest().unwrap(),
        plan,
        status: Status::PendingApproval,
        approvals_needed: 1,
        reasons: vec!["needs one approval".to_owned()],
        policies: vec!["standard".to_owned()],
        prompt: None,
        claimed: BTreeMap::new(),
        key: None,
        entry: 0,
        created_at: now,
        expires_at: Timestamp::from_second(now.as_second() + 3600).unwrap(),
        ask_digest: [7; 32],
    }
}

pub fn add_request(tx: &Tx<'_>, n: u32) -> Result<()> {
    let request = request(n, "builder", tx.now());
    tx.add_request(&NewRequest { request: &request, idempotency_key: None })
}

/// The `n`th key, which answers the `n`th request.
pub fn key(n: u32, name: &str, now: Timestamp) -> Key {
    let plan = plan(n, "builder");
    Key {
        id: id!(KeyId, n),
        name: name.parse().unwrap(),
        project: plan.project,
        environment: plan.environment,
        provider: plan.provider,
        connection: plan.connection,
        template: plan.template,
        request: plan.request,
        agent: Some("builder".parse().unwrap()),
        state: KeyState::Minting,
        created_at: now,
    }
}

pub fn attempt(n: u32) -> Attempt {
    Attempt {
        id: id!(AttemptId, n),
        key: id!(KeyId, n),
        number: 1,
        marker: Marker::from_ledger(format!("kw-marker-{n}")),
        connection: "cf".parse().unwrap(),
        sent_at: None,
        outcome: AttemptOutcome::Unsent,
        provider_key_id: None,
        expires_at: None,
    }
}

/// A request, its key, its first attempt and the saga that works on it.
pub fn begin_saga(tx: &Tx<'_>, n: u32) -> Result<SagaId> {
    begin_saga_of(tx, n, SagaKind::Mint)
}

/// The same for a kind of saga.
pub fn begin_saga_of(tx: &Tx<'_>, n: u32, kind: SagaKind) -> Result<SagaId> {
    add_request(tx, n)?;
    tx.add_key(&key(n, &format!("TOKEN_{n}"), tx.now()))?;
    let saga = id!(SagaId, n);
    tx.add_attempt(&attempt(n), saga)?;
    tx.add_saga(&NewSaga {
        id: saga,
        kind,
        request: id!(RequestId, n),
        key: id!(KeyId, n),
        attempt: id!(AttemptId, n),
        digest: plan(n, "builder").digest().unwrap(),
    })?;
    Ok(saga)
}
