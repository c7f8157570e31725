//! A deed done to the real engine, and what follows from the answer.

use std::sync::Arc;
use std::time::Duration;

use keywright_broker::ask::Ask;
use keywright_broker::auth::Proven;
use keywright_broker::review::Pending;
use keywright_broker::switch_off::Switch;
use keywright_broker::{Broker, BrokerError, Code};
use keywright_core::key::VersionState;
use keywright_core::plan::Ending;
use keywright_core::receipt::{Receipt, Status};
use keywright_sandbox::{Fault, FaultKind, Widening};
use keywright_testkit::World;

use crate::check;
use crate::deed::{CallOf, Deed, How, Slot, Trouble, Verb};
use crate::house::{House, full, has_file, name};
use crate::reference::{Fate, Program, Reference, Switched};

type Answer = Result<Option<Receipt>, BrokerError>;

pub(crate) fn play(house: &mut House, reference: &mut Reference, deed: &Deed) -> Result<(), String> {
    match *deed {
        Deed::Do(verb) => {
            let (ask, before) = before(house, reference, verb);
            let answer = house.run(done(house, verb, ask));
            after(reference, verb, before, Some(answer))
        }
        Deed::Dies(verb, moment) => {
            let (ask, before) = before(house, reference, verb);
            let deed = done(house, verb, ask);
            let answer = house.run_and_die(deed, moment);
            after(reference, verb, before, answer)
        }
        Deed::Restart => {
            house.restart();
            Ok(())
        }
        Deed::Pass(seconds) => {
            house.pass(seconds);
            let now = house.now();
            for known in &mut reference.slots {
                if known.expires_at.is_some_and(|at| at <= now) {
                    known.unsettle();
                }
            }
            tick(house)
        }
        Deed::Start(slot) => start(house, reference, slot),
        Deed::Call(slot) => call(house, reference, slot),
        Deed::DeleteThere(slot, newest) => {
            delete_there(house, reference, slot, newest);
            Ok(())
        }
        Deed::Overwrite(slot) | Deed::TakeAway(slot) | Deed::PutBack(slot) if has_file(slot) => {
            let text = match deed {
                Deed::Overwrite(_) => format!("{}='by hand'\n", name(slot)),
                Deed::TakeAway(_) => String::new(),
                _ => house.before[slot].clone().unwrap_or_default(),
            };
            house.write_file(slot, &text);
            reference.of(slot).is_touched = true;
            Ok(())
        }
        Deed::Overwrite(_) | Deed::TakeAway(_) | Deed::PutBack(_) => Ok(()),
        Deed::People(approve) => {
            house.people(approve);
            Ok(())
        }
        Deed::Break(call, trouble, times) => {
            let (method, path) = route(call);
            house.sandbox.inject(Fault::on(method, path, kind(trouble)).times(times)).unwrap();
            Ok(())
        }
        Deed::Heal => {
            house.sandbox.clear_faults();
            Ok(())
        }
    }
}

pub(crate) fn tick(house: &House) -> Result<(), String> {
    let broker = house.broker();
    house.run(async move { broker.tick().await }).map(drop).map_err(|error| format!("a tick failed: {error}"))
}

/// What is known before a verb: the ask, and which key it is about.
fn before(
    house: &mut House,
    reference: &mut Reference,
    verb: Verb,
) -> (Option<Ask>, Option<keywright_core::id::KeyId>) {
    match verb {
        Verb::Ask(slot) => (Some(house.ask(slot)), None),
        Verb::Revoke(slot) => (None, check::trace(house, slot).map(|trace| trace.key.id)),
        // Whatever comes of it, somebody wants the version before to end.
        Verb::Rotate(slot, How::Leaked) | Verb::EndOld(slot) | Verb::Disable(slot) => {
            reference.of(slot).give_up_program();
            (None, None)
        }
        _ => (None, None),
    }
}

/// The verb.
async fn done_by(broker: Arc<Broker>, operators: Arc<Vec<Proven>>, verb: Verb, ask: Option<Ask>) -> Answer {
    let (ana, zero) = (&operators[0], Duration::ZERO);
    match verb {
        Verb::Ask(_) => broker.request(&World::agent("bot"), &ask.unwrap(), zero).await.map(Some),
        Verb::Approve(slot) => {
            let Some((id, digest)) = pending(&broker, slot).await? else { return Ok(None) };
            let mut last = None;
            for operator in operators.iter() {
                last = Some(broker.approve(operator, &id, &digest, &<_>::default(), zero).await?);
            }
            Ok(last)
        }
        Verb::Reject(slot) => {
            let Some((id, _)) = pending(&broker, slot).await? else { return Ok(None) };
            broker.reject(ana, &id, "not now").await.map(|()| None)
        }
        Verb::Rotate(slot, How::WhenIdle) => {
            broker.rotate(&ana.caller(), &full(slot), "it is time", zero).await.map(Some)
        }
        Verb::Rotate(slot, how) => {
            let ending = if how == How::Leaked { Ending::Leaked } else { Ending::Kept };
            broker.rotate_as(ana, &ana.caller(), &full(slot), "it is time", (ending, zero)).await.map(Some)
        }
        Verb::EndOld(slot) => broker.end_old(ana, &full(slot), "it is not used").await.map(|_| None),
        Verb::Revoke(slot) => broker.revoke(&ana.caller(), &full(slot), "enough").await.map(Some),
        Verb::Disable(slot) => broker.switch_key(ana, &full(slot), Switch::Off, "to see").await.map(|_| None),
        Verb::Enable(slot) => broker.enable(ana, &full(slot), "it is needed").await.map(|_| None),
        Verb::Reconcile => broker.reconcile().await.map(|_| None),
        Verb::Tick => broker.tick().await.map(|_| None),
    }
}

/// What waits for approvals under a slot's name.
async fn pending(broker: &Broker, slot: Slot) -> Result<Option<(String, String)>, BrokerError> {
    let wanted = name(slot);
    Ok(broker.inbox().await?.into_iter().find_map(|pending| match pending {
        Pending::Key(review) if review.plan.name.as_str() == wanted => {
            Some((review.request.to_string(), review.digest.clone()))
        }
        _ => None,
    }))
}

/// What follows from the answer, or from there being none.
fn after(
    reference: &mut Reference,
    verb: Verb,
    before: Option<keywright_core::id::KeyId>,
    answer: Option<Answer>,
) -> Result<(), String> {
    match verb {
        Verb::Ask(slot) | Verb::Approve(slot) => {
            let known = reference.of(slot);
            let lived = known.fate == Fate::Lives;
            match answer {
                Some(Ok(Some(receipt))) if receipt.status == Status::Active && lived => {
                    return Err("a second key was made in the place of one that lives".to_owned());
                }
                Some(Ok(Some(receipt))) if receipt.status == Status::Active => {
                    let is_touched = known.is_touched;
                    *known = crate::reference::Known { fate: Fate::Lives, is_touched, ..Default::default() };
                }
                Some(Ok(Some(receipt))) if receipt.status == Status::PendingApproval => {}
                // Refused, or nothing to approve. An approval may count although the mint could not begin.
                Some(Ok(None)) => {}
                Some(Err(_)) if matches!(verb, Verb::Ask(_)) => {}
                _ if lived => {}
                _ => known.fate = Fate::Either,
            }
        }
        Verb::Revoke(slot) => {
            let known = reference.of(slot);
            match answer {
                Some(Err(error)) if error.code == Code::NotFound => {}
                None if before.is_none() => {}
                answer => {
                    known.unsettle();
                    known.is_doomed = true;
                    if let Some(Ok(Some(receipt))) = answer {
                        reference.revoked.extend(before);
                        if receipt.status == Status::Revoked {
                            reference.of(slot).fate = Fate::Dead;
                        }
                    }
                }
            }
        }
        Verb::Disable(slot) | Verb::Enable(slot) => {
            let to = if matches!(verb, Verb::Disable(_)) { Switched::Off } else { Switched::On };
            let known = reference.of(slot);
            known.switched = match answer {
                Some(Ok(_)) => to,
                // Refused before anything was tried.
                Some(Err(error))
                    if matches!(
                        error.code,
                        Code::NotFound | Code::Conflict | Code::TryAgain | Code::Unsupported
                    ) =>
                {
                    known.switched
                }
                _ if known.switched == to => to,
                _ => Switched::Either,
            };
        }
        Verb::Tick | Verb::Reconcile => {
            if let Some(Err(error)) = answer {
                return Err(format!("{verb:?} failed: {error}"));
            }
        }
        Verb::Reject(_) | Verb::Rotate(..) | Verb::EndOld(_) => {}
    }
    Ok(())
}

fn done(house: &House, verb: Verb, ask: Option<Ask>) -> impl Future<Output = Answer> + use<> {
    let broker = house.broker();
    done_by(broker, Arc::clone(&house.operators), verb, ask)
}

/// A program reads and calls. What it reads works, if it may rely on it.
fn start(house: &House, reference: &mut Reference, slot: Slot) -> Result<(), String> {
    let known = reference.of(slot);
    let Some(value) = check::read(house, known, slot)? else { return Ok(()) };
    let works = house.call(&value);
    if known.is_promised() && !works {
        return Err(format!("a program that has just read {} is refused", name(slot)));
    }
    if works {
        known.program = Some(Program { value, called_at: house.now(), is_given_up: false });
    }
    Ok(())
}

/// A program calls with what it holds.
fn call(house: &House, reference: &mut Reference, slot: Slot) -> Result<(), String> {
    let known = reference.of(slot);
    let Some(program) = known.program.clone() else { return Ok(()) };
    let (works, now) = (house.call(&program.value), house.now());
    if !works && known.may_call(now) {
        return Err(format!("a program that uses {} is refused", name(slot)));
    }
    match &mut known.program {
        Some(program) if works => program.called_at = now,
        _ => known.program = None,
    }
    Ok(())
}

/// Somebody deletes a credential of a key by hand.
fn delete_there(house: &House, reference: &mut Reference, slot: Slot, newest: bool) {
    let Some(trace) = check::trace(house, slot) else { return };
    let there: Vec<_> = house.sandbox.tokens().into_iter().map(|token| token.id).collect();
    let mut versions = trace.versions.iter().filter(|v| there.contains(&v.provider_key_id));
    let Some(version) = (if newest { versions.next_back() } else { versions.next() }) else { return };
    let value = house.sandbox.secret_of(&version.provider_key_id);
    assert!(house.sandbox.delete_token(&version.provider_key_id));
    let known = reference.of(slot);
    if known.program.as_ref().map(|program| &program.value) == value.as_ref() {
        known.program = None;
    }
    if matches!(version.state, VersionState::Active | VersionState::Minted) {
        known.unsettle();
        known.is_doomed = true;
    }
}

fn route(call: CallOf) -> (&'static str, &'static str) {
    match call {
        CallOf::Create => ("POST", "/accounts/*/tokens"),
        CallOf::List => ("GET", "/accounts/*/tokens"),
        CallOf::Show => ("GET", "/accounts/*/tokens/*"),
        CallOf::Verify => ("GET", "/accounts/*/tokens/verify"),
        CallOf::Change => ("PUT", "/accounts/*/tokens/*"),
        CallOf::Delete => ("DELETE", "/accounts/*/tokens/*"),
    }
}

fn kind(trouble: Trouble) -> FaultKind {
    match trouble {
        Trouble::LostAfterwards => FaultKind::ReplyLostAfterCommit,
        Trouble::LostBefore => FaultKind::ReplyLostBeforeCommit,
        Trouble::ErrorAfterwards => FaultKind::ServerErrorAfterCommit,
        // The pauses that are asked for are real time, and so are those before a call is repeated.
        Trouble::TooMany => FaultKind::Status { status: 429, retry_after: Some(1) },
        Trouble::Down => FaultKind::Status { status: 503, retry_after: Some(3_600) },
        Trouble::Unauthorized => FaultKind::Status { status: 401, retry_after: None },
        Trouble::Slow => FaultKind::Slow { delay_ms: 5, trickle_ms: 1 },
        Trouble::Garbage => FaultKind::Garbage,
        Trouble::Lags => FaultKind::LaggingList { ms: 3_600_000 },
        Trouble::WorksLater => FaultKind::LaggingVerify { uses: 2 },
        Trouble::Wider => FaultKind::WiderGrant { grant: Widening::ExtraGroup },
    }
}
