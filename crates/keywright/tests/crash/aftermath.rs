//! What has to be true after a crash and one more start.

use std::collections::BTreeSet;

use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::id::{AttemptId, KeyId};
use keywright_core::key::{AttemptOutcome, KeyState, VersionState};
use keywright_core::receipt::Status;
use keywright_ledger::AuditFilter;

use keywright_sandbox::{TokenStatus, TokenView};

use crate::house::{Destination, House};

/// `Account API Tokens Write`.
const MAKES_TOKENS: &str = "5bc3f8b21c554832afc660159ab75fa4";

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Active,
    /// Active, and its first version has ended.
    Rotated,
    Failed,
    Revoked,
}

/// Everything that has to be true of one key, and of the house as a whole.
pub(crate) fn check(house: &House, name: &str, to: Destination, end: End) {
    let (key, request, versions) = house.key(name);
    let live: Vec<_> = versions.iter().filter(|v| v.state == VersionState::Active).collect();
    match end {
        End::Active | End::Rotated => {
            assert_eq!((key.state, request.status), (KeyState::Active, Status::Active), "{name}");
            assert_eq!(live.len(), 1, "{name}: exactly one version lives");
            let ended = versions.iter().filter(|v| v.state == VersionState::Revoked).count();
            assert_eq!(ended, versions.len() - 1, "{name}: {versions:?}");
            assert_eq!(versions.len() > 1, end == End::Rotated, "{name}: {versions:?}");
        }
        End::Failed => {
            assert_eq!((key.state, request.status), (KeyState::Failed, Status::Failed), "{name}");
            assert!(live.is_empty(), "{name}");
            assert!(!request.reasons.is_empty(), "{name}: a failure says why");
        }
        End::Revoked => {
            assert_eq!((key.state, request.status), (KeyState::Revoked, Status::Revoked), "{name}");
            assert!(live.is_empty(), "{name}");
        }
    }
    let value = live.first().map(|version| {
        house
            .world
            .with_sandbox(|s| s.secret_of(&version.provider_key_id))
            .expect("the version lives at the provider")
    });
    if to.is_dotenv() {
        let expected = value.or_else(|| house.by_hand(name));
        assert_eq!(
            house.dotenv_value(name),
            expected,
            "{name}: the file holds the living value or none of ours"
        );
    }
    assert!(house.dotenv_is_whole(), "{name}");
    recorded(house, key.id, end);
    nothing_astray(house);
}

/// What `run` hands to a program has to be what lives at the provider. Once per house: it is slow.
pub(crate) fn check_embedded(house: &House, names: &[String]) {
    let pass = house.world.path("pass");
    let environments: BTreeSet<String> =
        names.iter().map(|name| house.key(name).0.environment.to_string()).collect();
    let mut told = String::new();
    for environment in environments {
        let pass = pass.to_str().unwrap();
        let head = ["run", "--project", "web", "--env", &environment, "--passphrase-file", pass, "--", "env"];
        // Not kept with what was printed: this is the one place where secrets are meant to come out.
        let ran = house.world.command(&head).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        told.push_str(&String::from_utf8(ran.stdout).unwrap());
    }
    for name in names {
        let (_, _, versions) = house.key(name);
        let live = versions.iter().find(|v| v.state == VersionState::Active).unwrap();
        let value = house.world.with_sandbox(|s| s.secret_of(&live.provider_key_id)).unwrap();
        assert!(told.lines().any(|line| line == format!("{name}={value}")), "{name} is not what lives");
    }
}

/// Whether a token is one that makes tokens of the account, as a connection's parent does.
pub(crate) fn is_parent(token: &TokenView) -> bool {
    let mut groups = token.policies.iter().flat_map(|policy| &policy.groups);
    token.status == TokenStatus::Active && groups.any(|group| group.id == MAKES_TOKENS)
}

/// No credential without an owner, no debt, no saga under way; the audit log is sound.
pub(crate) fn nothing_astray(house: &House) {
    let (owned, debts, open, in_transit) = house.read(|tx| {
        let owned = tx.live_versions(&"cf".parse().expect("a connection's name"))?;
        let mut in_transit = 0;
        tx.each_sealed(|owner, _| {
            in_transit += usize::from(owner.starts_with("attempt:"));
            Ok(())
        })?;
        Ok((owned, tx.revocations_owed()?, tx.sagas_open()?, in_transit))
    });
    let owned: BTreeSet<String> = owned.into_iter().map(|v| v.provider_key_id).collect();
    let mut living = house.world.with_sandbox(|s| s.live_tokens_named_like("kw-"));
    living.retain(|token| !is_parent(token));
    let living: BTreeSet<String> = living.into_iter().map(|token| token.id).collect();
    assert_eq!(living, owned, "what lives at the provider is what the ledger says");
    assert!(debts.is_empty(), "no revocation is left: {debts:?}");
    assert_eq!(open, 0, "nothing is under way");
    assert_eq!(in_transit, 0, "what was only in transit is erased");
    house.world.plain(&["audit", "verify"]).expect(0);
}

/// The log tells the whole story: an intent before each attempt, one outcome, and both for a revocation.
fn recorded(house: &House, key: KeyId, end: End) {
    let filter = AuditFilter { key: Some(key), limit: 1_000, ..AuditFilter::default() };
    let records: Vec<Record> = house.read(move |tx| {
        tx.audit_entries(&filter)?.iter().map(|e| e.entry().map(|e| e.record().clone())).collect()
    });
    let places = |deed: Deed, stage: Stage| {
        let is_it = move |r: &Record| r.deed == deed && r.stage == stage;
        records.iter().enumerate().filter(move |(_, r)| is_it(r)).map(|(place, _)| place).collect::<Vec<_>>()
    };
    let went_well = |place: usize| {
        records[place].result.as_ref().is_some_and(|r| *r == keywright_core::audit::Outcome::done())
    };
    let (intents, outcomes) = (places(Deed::KeyMint, Stage::Intent), places(Deed::KeyMint, Stage::Outcome));
    assert!(!intents.is_empty(), "every mint begins with an intent");
    let made_in_all = if end == End::Rotated { 2 } else { 1 };
    assert_eq!(outcomes.len(), made_in_all, "and ends with one outcome");
    assert!(intents[0] < outcomes[0] && intents.iter().all(|intent| *intent < outcomes[made_in_all - 1]));
    assert_eq!(went_well(outcomes[0]), end != End::Failed);

    let rotations = places(Deed::KeyRotate, Stage::Intent);
    assert_eq!(rotations.len(), usize::from(end == End::Rotated));
    let ended = places(Deed::KeyRotate, Stage::Outcome);
    assert_eq!(ended.len(), rotations.len(), "a rotation has one outcome");
    assert!(ended.iter().all(|place| went_well(*place)));
    let intents: Vec<usize> = intents.into_iter().chain(rotations).collect();
    let attempts: BTreeSet<AttemptId> = intents
        .iter()
        .map(|place| AttemptId::parse(records[*place].subject.attempt.as_deref().unwrap()).unwrap())
        .collect();
    assert_eq!(attempts.len(), intents.len(), "each attempt has an intent of its own");
    let made = house.read(move |tx| {
        let outcomes: Result<Vec<_>, _> =
            attempts.into_iter().map(|id| tx.attempt(id).map(|a| a.outcome)).collect();
        Ok(outcomes?.into_iter().filter(|o| *o == AttemptOutcome::Created).count())
    });
    assert_eq!(made, made_in_all, "one attempt made each version");

    if end != End::Active {
        let (owed, paid) = (places(Deed::KeyRevoke, Stage::Intent), places(Deed::KeyRevoke, Stage::Outcome));
        assert_eq!(owed.len(), 1, "the version was owed once");
        assert!(paid.iter().any(|place| went_well(*place) && *place > owed[0]), "and the provider confirmed");
        // What an attempt made whose answer was lost is revoked on the way to a successor, on a record of the sweep's.
        assert!(end == End::Rotated || paid.iter().all(|place| *place > owed[0]));
    }
}
