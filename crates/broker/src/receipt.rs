//! Receipts, made from what the ledger says.

use keywright_core::audit::EntryId;
use keywright_core::key::{KeyState, Placement, PlacementState, Version, VersionState};
use keywright_core::plan::Destination;
use keywright_core::receipt::{ApprovalsReceipt, PlacementReceipt, Receipt, SCHEMA, Status};
use keywright_ledger::{LedgerError, Request, Tx};

/// The receipt of a request, as the ledger stands in this transaction.
pub(crate) fn receipt(tx: &Tx<'_>, request: &Request) -> Result<Receipt, LedgerError> {
    let plan = &request.plan;
    let approvals = tx.approvals(request.id)?;
    let given = approvals.iter().filter(|a| a.digest == request.digest).count();
    let (mut status, mut reasons) = (request.status, request.reasons.clone());
    let (version, placements) = match request.key {
        None => (None, Vec::new()),
        Some(key) => {
            if tx.key(key)?.state == KeyState::Revoking {
                status = Status::InProgress;
                reasons.push("the revocation is owed: the provider has not confirmed it yet, and it is tried until it does".to_owned());
                let owed = tx.revocations_of(key)?.into_iter().filter(|debt| debt.done_at.is_none());
                reasons.extend(owed.filter_map(|debt| debt.trouble));
            }
            let ends = matches!(tx.key(key)?.state, KeyState::Revoking | KeyState::Revoked);
            reasons.extend(tx.placements(key)?.iter().filter(|_| ends).filter_map(what_stays));
            if status == Status::InProgress && !ends {
                reasons.extend(tx.placements(key)?.iter().filter_map(what_waits));
            }
            let version =
                in_force(tx.versions(key)?.into_iter().filter(|v| v.state != VersionState::Revoked));
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
        match_code: pending.then(|| request.digest.match_code()),
        reasons,
        entry: EntryId(request.entry).to_string(),
    })
}

/// The version that programs read: the active one, or the newest while there is none.
pub(crate) fn in_force(versions: impl Iterator<Item = Version>) -> Option<Version> {
    let mut found: Option<Version> = None;
    for version in versions {
        if found.as_ref().is_none_or(|known| known.state != VersionState::Active) {
            found = Some(version);
        }
    }
    found
}

/// That a copy waits for a person, in words for whoever asked.
fn what_waits(placement: &Placement) -> Option<String> {
    let place = &placement.destination.place;
    (placement.state == PlacementState::Waiting)
        .then(|| format!("`{place}` waits for somebody's approval of the change in the store itself"))
}

/// What is still to be known of a copy of a key that ends.
fn what_stays(placement: &Placement) -> Option<String> {
    let place = &placement.destination.place;
    match placement.state {
        PlacementState::Left => {
            Some(format!("what lies at `{place}` now is not what was written there, so it was left alone"))
        }
        state if state.may_lie() => Some(format!(
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
