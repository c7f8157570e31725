//! Receipts, made from what the ledger says.

use keywright_core::audit::EntryId;
use keywright_core::id::KeyId;
use keywright_core::key::{KeyState, Placement, PlacementState, Version, VersionState};
use keywright_core::plan::{Destination, Ending};
use keywright_core::receipt::{ApprovalsReceipt, PlacementReceipt, Receipt, SCHEMA, Status};
use keywright_ledger::{LedgerError, Request, Tx};

/// The receipt of a request, as the ledger stands in this transaction.
pub(crate) fn receipt(tx: &Tx<'_>, request: &Request) -> Result<Receipt, LedgerError> {
    let plan = &request.plan;
    let approvals = tx.approvals(request.id)?;
    let mut given = approvals.iter().filter(|a| a.digest == request.digest).count();
    let (mut status, mut reasons) = (request.status, request.reasons.clone());
    if given == 0
        && request.approvals_needed > 0
        && let Some(used) = tx.grant_use(request.id)?
    {
        given = 1;
        reasons.insert(0, used.said());
    }
    let (version, placements) = match request.key {
        None => (None, Vec::new()),
        Some(key) => {
            if tx.key(key)?.state == KeyState::Revoking {
                status = Status::InProgress;
                reasons.push("the revocation is owed: the provider has not confirmed it yet, and it is tried until it does".to_owned());
                let owed = tx.revocations_of(key)?.into_iter().filter(|debt| debt.done_at.is_none());
                reasons.extend(owed.filter_map(|debt| debt.trouble));
            }
            let state = tx.key(key)?.state;
            if state == KeyState::Revoked && status == Status::Active {
                status = Status::Revoked;
            }
            if state == KeyState::Revoked && tx.revocations_of(key)?.iter().any(|debt| debt.done_at.is_none())
            {
                reasons.push(
                    "it counts as gone at its provider, and is looked for and ended all the same".to_owned(),
                );
            }
            // A rotation that waits says so in its own receipt.
            let is_told = |p: &&Placement| p.state != PlacementState::Waiting || status == Status::InProgress;
            reasons.extend(tx.placements(key)?.iter().filter(is_told).filter_map(|p| what_is_open(p, state)));
            let version =
                in_force(tx.sound_versions(key)?.into_iter().filter(|v| v.state != VersionState::Revoked));
            let mut placements = tx.placements(key)?;
            placements.retain(|p| version.as_ref().is_none_or(|version| p.version == version.id));
            (version, placements)
        }
    };
    let placements = if placements.is_empty() {
        plan.destinations.iter().map(|d| placed(d, None)).collect()
    } else {
        placements
            .iter()
            .filter(|p| p.state == PlacementState::Planned || p.state.may_lie())
            .map(|p| placed(&p.destination, p.verified.map(|mode| mode.as_str().to_owned())))
            .collect()
    };
    let pending = request.status == Status::PendingApproval;
    let expires_at = version.as_ref().and_then(|v| v.expires_at);
    let active = version.filter(|v| v.state == VersionState::Active).map(|v| v.id);
    Ok(Receipt {
        schema: SCHEMA.to_owned(),
        request: request.id,
        status,
        key: request.key,
        version: active,
        name: plan.name.clone(),
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        provider: plan.provider.clone(),
        permissions: plan.permissions.clone(),
        resources: plan.resources.clone(),
        expires_at,
        placements,
        approvals: ApprovalsReceipt {
            needed: request.approvals_needed,
            given: u8::try_from(given).unwrap_or(u8::MAX),
        },
        review_url: None,
        match_code: pending.then(|| request.id.match_code()),
        narrowed: tx.narrowed(request.id)?,
        reasons,
        entry: EntryId(request.entry).to_string(),
    })
}

/// The version that programs read: the active one, or the newest that is not gone while there is none.
pub(crate) fn in_force(versions: impl Iterator<Item = Version>) -> Option<Version> {
    let rank = |version: &Version| match version.state {
        VersionState::Active => 2,
        VersionState::Minted | VersionState::Draining | VersionState::Revoking => 1,
        VersionState::Revoked => 0,
    };
    versions.max_by_key(|version| (rank(version), version.number))
}

/// The versions that programs are given. Where somebody ended the successor at the provider, that is the version before it, which is
/// in force again in a moment; but not one that leaked.
pub(crate) fn given_out(tx: &Tx<'_>, key: KeyId) -> Result<Vec<Version>, LedgerError> {
    let mut versions = tx.versions(key)?;
    if versions.iter().any(|version| version.state == VersionState::Active) {
        versions.retain(|version| version.state == VersionState::Active);
        return Ok(versions);
    }
    let saga = tx.saga_under_way(key)?.filter(|saga| saga.phase.has_switched());
    let ending =
        saga.map(|saga| tx.request(saga.request)).transpose()?.and_then(|request| request.plan.ending);
    versions.retain(|version| version.state == VersionState::Draining && ending != Some(Ending::Leaked));
    Ok(versions)
}

/// What is still to be known of a copy, or to be done about it by people, in words. `key` is the state of its key.
pub(crate) fn what_is_open(placement: &Placement, key: KeyState) -> Option<String> {
    let (place, store) = (&placement.destination.place, &placement.destination.place.store);
    let change = placement.change.clone().unwrap_or_default();
    match placement.state {
        PlacementState::Waiting if matches!(key, KeyState::Minting | KeyState::Active) => Some(format!(
            "`{place}` waits for somebody's approval of the change in the store itself: approve {change} in `{store}`"
        )),
        PlacementState::Leaving => Some(format!(
            "a dead value lies at `{place}` until somebody approves its removal in the store itself: approve {change} in \
             `{store}`"
        )),
        PlacementState::Unwanted => Some(format!(
            "reject {change} in `{store}`: it would put a dead value at `{place}`; if it is approved, that is removed again"
        )),
        PlacementState::Kept => Some(format!(
            "a dead value stays at `{place}`: somebody rejected its removal in `{store}`; remove it there by hand"
        )),
        PlacementState::Left if key != KeyState::Active => {
            Some(format!("what lies at `{place}` now is not what was written there, so it was left alone"))
        }
        state if state.may_lie() && matches!(key, KeyState::Revoking | KeyState::Revoked) => Some(format!(
            "its copy at `{place}` could not be taken away yet; a running broker tries again until it can"
        )),
        _ => None,
    }
}

fn placed(destination: &Destination, verified: Option<String>) -> PlacementReceipt {
    PlacementReceipt {
        store: destination.place.store.to_string(),
        place: destination.place.place.clone(),
        verified,
    }
}
