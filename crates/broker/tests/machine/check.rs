//! What has to hold after each deed, and when everything has come to rest.

use std::collections::BTreeSet;

use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::trace::Trace;
use keywright_core::audit::{Deed, Stage};
use keywright_core::key::{KeyState, VersionState};
use keywright_core::plan::Ending;
use keywright_ledger::{AuditFilter, audit_files};
use keywright_sandbox::TokenStatus;

use crate::deed::{SLOTS, Slot};
use crate::house::{House, environment, full, has_file, is_embedded, name};
use crate::play::tick;
use crate::reference::{Fate, Known, Reference, Switched};

/// How often a quarter of an hour passes until everything has come to rest, at most.
const QUARTERS: usize = 100;

/// Everything about a slot's key.
pub(crate) fn trace(house: &House, slot: Slot) -> Option<Trace> {
    let broker = house.broker();
    house.run(async move { broker.trace(&full(slot)).await.ok() })
}

/// What a program reads where the key lies; nothing where somebody changed the file.
pub(crate) fn read(house: &House, known: &Known, slot: Slot) -> Result<Option<String>, String> {
    if has_file(slot) {
        return Ok(if known.is_touched { None } else { in_file(house, slot) });
    }
    let broker = house.broker();
    let wanted = Wanted {
        project: Some("web".parse().unwrap()),
        environment: Some(environment(slot).parse().unwrap()),
        only: vec![name(slot).parse().unwrap()],
        ..Wanted::default()
    };
    let reader = Reader::Operator(&house.operators[0]);
    let given = house.run(async move { broker.deliver(&reader, wanted).await });
    match given {
        Ok(given) => Ok(given.first().map(|one| one.secret.expose_secret().to_owned())),
        Err(error) if known.is_promised() => Err(format!("{} is not handed out: {error}", name(slot))),
        Err(_) => Ok(None),
    }
}

/// The value of a slot's key in its file.
fn in_file(house: &House, slot: Slot) -> Option<String> {
    let text = house.text_of(slot);
    let beginning = format!("{}=", name(slot));
    let line = text.lines().find_map(|line| line.strip_prefix(&beginning))?;
    Some(line.trim_matches(['\'', '"']).to_owned())
}

/// After each deed.
pub(crate) fn after(house: &mut House, reference: &mut Reference) -> Result<(), String> {
    let now = house.now();
    on_record(house, reference)?;
    for slot in 0..SLOTS {
        let trace = trace(house, slot);
        let known = reference.of(slot);
        known.see(trace.as_ref(), now).map_err(|why| format!("{}: {why}", name(slot)))?;
        if known.is_touched
            && in_file(house, slot).is_some_and(|value| in_force(house, trace.as_ref(), &value))
        {
            known.is_touched = false;
        }
        if known.is_promised()
            && let Some(value) = read(house, known, slot)?
            && !lives(house, &value)
        {
            return Err(format!("whoever reads {} gets a value that does not work", name(slot)));
        }
        if known.is_promised() && has_file(slot) && !known.is_touched && in_file(house, slot).is_none() {
            return Err(format!("{} lies nowhere", name(slot)));
        }
        if known.fate == Fate::Dead
            && let Some(trace) = &trace
        {
            let alive =
                trace.versions.iter().filter(|v| trace.key.state == KeyState::Revoked && is_there(house, v));
            if alive.count() > 0 {
                return Err(format!("{} is revoked, and lives on", name(slot)));
            }
        }
    }
    let broker = house.broker();
    let health = house.run(async move { broker.health().await }).unwrap();
    match health.read_only.or(health.unsigned) {
        Some(why) => Err(why),
        None => Ok(()),
    }
}

/// What lives at the provider is on record, and nothing was sent twice.
fn on_record(house: &House, reference: &mut Reference) -> Result<(), String> {
    let (broker, from) = (house.broker(), reference.read_to);
    let filter = AuditFilter { from, limit: 10_000, ..AuditFilter::default() };
    let entries = house.run(async move { broker.log(filter).await }).map_err(|error| error.to_string())?;
    reference.read_to += entries.len() as u64;
    for record in entries.iter().map(keywright_core::audit::Entry::record) {
        if matches!(record.deed, Deed::KeyMint | Deed::KeyRotate) && record.stage == Stage::Intent {
            let marker = record.facts.get("marker").and_then(|marker| marker.as_str());
            reference.markers.extend(marker.map(str::to_owned));
        }
    }
    let mut seen = BTreeSet::new();
    for token in house.sandbox.tokens().into_iter().filter(|token| token.name.starts_with("kw-")) {
        if !reference.markers.contains(&token.name) {
            return Err(format!("`{}` is not on record", token.name));
        }
        if !seen.insert(token.name.clone()) {
            return Err(format!("`{}` was made twice", token.name));
        }
    }
    let calls = house.sandbox.calls();
    let creates = calls.iter().filter(|call| call.method == "POST" && call.path.ends_with("/tokens")).count();
    if creates > reference.markers.len() {
        return Err(format!("{creates} creates were sent for {} attempts", reference.markers.len()));
    }
    Ok(())
}

fn is_there(house: &House, version: &keywright_core::key::Version) -> bool {
    house.sandbox.tokens().iter().any(|t| t.id == version.provider_key_id && t.status == TokenStatus::Active)
}

/// Whether a value is that of the version in force.
fn in_force(house: &House, trace: Option<&Trace>, value: &str) -> bool {
    let versions = trace.into_iter().flat_map(|trace| &trace.versions);
    let mut active = versions.filter(|version| version.state == VersionState::Active);
    active.any(|version| house.sandbox.secret_of(&version.provider_key_id).as_deref() == Some(value))
}

/// Whether a value works at the provider.
fn lives(house: &House, value: &str) -> bool {
    let tokens = house.sandbox.tokens().into_iter().filter(|token| token.status == TokenStatus::Active);
    tokens.into_iter().any(|token| house.sandbox.secret_of(&token.id).as_deref() == Some(value))
}

/// Nothing goes wrong any more, people decide what waits for them, programs stop, and time passes.
pub(crate) fn at_rest(house: &mut House, reference: &mut Reference) -> Result<(), String> {
    house.sandbox.clear_faults();
    let mut quiet = 0;
    for quarter in 0.. {
        house.people(true);
        house.pass(900);
        let now = house.now();
        for known in &mut reference.slots {
            if known.expires_at.is_some_and(|at| at <= now) {
                known.unsettle();
            }
        }
        tick(house)?;
        if quarter % 4 == 0 {
            let broker = house.broker();
            house.run(async move { broker.reconcile().await }).map_err(|error| error.to_string())?;
        }
        for slot in 0..SLOTS {
            let Some(trace) = trace(house, slot) else { continue };
            if trace.saga.is_some() && trace.plan.ending == Some(Ending::Kept) {
                let (broker, ana) = (house.broker(), &house.operators[0]);
                let ended = house
                    .run(async move { broker.end_old(ana, &full(slot), "it was kept long enough").await });
                drop(ended);
            }
        }
        after(house, reference)?;
        let broker = house.broker();
        let health = house.run(async move { broker.health().await }).unwrap();
        let open = health.sagas_open + health.revocations_owed + health.attempts_uncertain;
        quiet = if open == 0 { quiet + 1 } else { 0 };
        if quiet == 2 {
            break;
        }
        if quarter == QUARTERS {
            let traces = (0..SLOTS).filter_map(|slot| trace(house, slot));
            let sagas: Vec<_> = traces.filter_map(|trace| trace.saga).collect();
            return Err(format!("it does not come to rest: {health:?} {sagas:?}"));
        }
    }
    let broker = house.broker();
    let found = house.run(async move { broker.reconcile().await }).map_err(|error| error.to_string())?;
    after(house, reference)?;
    if !found.unreachable.is_empty() || found.forged > 0 {
        return Err(format!("{found:?}"));
    }
    one_each(house, reference)?;
    nothing_in_the_clear(house)?;
    log_is_sound(house)
}

/// Each key that lives has one credential, each that does not has none, and there are no others.
fn one_each(house: &House, reference: &mut Reference) -> Result<(), String> {
    let mut expected = BTreeSet::new();
    for slot in 0..SLOTS {
        let known = reference.of(slot);
        let Some(trace) = trace(house, slot) else { continue };
        let name = name(slot);
        if trace.key.state != KeyState::Active {
            continue;
        }
        let states: Vec<_> = trace.versions.iter().map(|version| version.state).collect();
        let of = |state| states.iter().filter(|found| **found == state).count();
        if of(VersionState::Active) != 1
            || of(VersionState::Active) + of(VersionState::Revoked) != states.len()
        {
            return Err(format!("{name} has {states:?}"));
        }
        let version = trace.versions.iter().find(|version| version.state == VersionState::Active).unwrap();
        let is_on = is_there(house, version);
        if !is_on && known.switched == Switched::On && known.fate == Fate::Lives {
            return Err(format!("{name} is active, and does not work"));
        }
        if is_on && known.switched == Switched::Off {
            return Err(format!("{name} is switched off, and works"));
        }
        if is_on {
            expected.insert(version.provider_key_id.clone());
        }
        let value = house.sandbox.secret_of(&version.provider_key_id);
        if has_file(slot) && !known.is_touched && known.fate == Fate::Lives && in_file(house, slot) != value {
            return Err(format!("the file does not hold the value of {name}"));
        }
        if is_embedded(slot)
            && known.fate == Fate::Lives
            && !has_file(slot)
            && read(house, known, slot)? != value
        {
            return Err(format!("the embedded store does not hold the value of {name}"));
        }
    }
    let living: BTreeSet<String> =
        house.sandbox.live_tokens_named_like("kw-").into_iter().map(|token| token.id).collect();
    if living != expected {
        return Err(format!("{living:?} live at the provider, and {expected:?} should"));
    }
    for key in &reference.revoked {
        let (broker, id) = (house.broker(), key.to_string());
        let state = house.run(async move { broker.trace(&id).await }).map(|trace| trace.key.state);
        if !matches!(state, Ok(KeyState::Revoked | KeyState::Failed)) {
            return Err(format!("{key} was to be revoked, and is {state:?}"));
        }
    }
    Ok(())
}

/// No secret lies in the ledger, or beside it, as it is.
fn nothing_in_the_clear(house: &House) -> Result<(), String> {
    let mut written = Vec::new();
    if let Some(database) = &house.database {
        let tables =
            "SELECT string_agg(quote_ident(tablename), ' ') FROM pg_tables WHERE schemaname = 'keywright'";
        for table in database.run(tables).split_whitespace() {
            let rows = format!("SET bytea_output = 'escape'; SELECT t::text FROM {table} t");
            written.push((table.to_owned(), database.run(&rows)));
        }
    }
    let mut folders = vec![house.home.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                written.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
    }
    for secret in house.sandbox.secret_values() {
        if let Some((place, _)) = written.iter().find(|(_, text)| text.contains(&secret)) {
            return Err(format!("a secret lies in `{place}`"));
        }
    }
    Ok(())
}

fn log_is_sound(house: &House) -> Result<(), String> {
    let broker = house.broker();
    house.run(async move { broker.publish_audit().await }).map_err(|error| error.to_string())?;
    let location = house.broker().home().location().map_err(|error| error.to_string())?;
    let report = audit_files::verify(&house.broker().home().audit(), location, None, None);
    match report {
        Ok(report) if report.findings.is_empty() => Ok(()),
        Ok(report) => Err(format!("the audit log: {:?}", report.findings)),
        Err(error) => Err(error.to_string()),
    }
}
