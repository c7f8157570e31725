//! How the broker is doing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Part, Shown, Text, Tone};
use super::{Page, failed};

pub(crate) async fn page(State(door): State<Arc<Door>>, Looks(operator): Looks) -> Response {
    let health = match door.broker.health().await {
        Ok(health) => health,
        Err(error) => return failed("health", &operator, error),
    };
    let mut page = Page::new("health", "Health", &operator);
    let wrong = [
        (&health.read_only, Tone::Bad),
        (&health.clock_off, Tone::Bad),
        (&health.unsigned, Tone::Warn),
        (&health.witness, Tone::Warn),
        (&health.clock, Tone::Warn),
    ];
    let mut is_well = true;
    for (why, tone) in wrong {
        if let Some(why) = why {
            is_well = false;
            page = page.with(Part::Note(Shown::of(why), tone));
        }
    }
    let count = |number: u64, tone: Tone| {
        let text = Text::of(number.to_string());
        if number > 0 { text.toned(tone) } else { text }
    };
    if is_well && health.revocations_owed + health.drains_late + health.rotations_failing == 0 {
        page = page.with(Part::Note(Shown::of("Nothing is wrong."), Tone::Good));
    }
    page.with(Part::facts(vec![
        ("active keys", count(health.keys_active, Tone::Plain)),
        ("waiting for people", count(health.requests_pending, Tone::Warn)),
        ("under way", count(health.sagas_open, Tone::Plain)),
        ("revocations owed", count(health.revocations_owed, Tone::Bad)),
        ("old versions that live too long", count(health.drains_late, Tone::Bad)),
        ("keys that could not be rotated", count(health.rotations_failing, Tone::Bad)),
        ("consumers that could not be told", count(health.consumers_untold, Tone::Warn)),
        ("parents being replaced", count(health.parents_renewing, Tone::Plain)),
        ("attempts of which nobody knows", count(health.attempts_uncertain, Tone::Warn)),
        ("entries in the log", count(health.audit_entries, Tone::Plain)),
        ("version", Text::of(env!("CARGO_PKG_VERSION"))),
    ]))
    .with(Part::Note(Shown::of("`keywright doctor` looks at this machine as well."), Tone::Plain))
    .answer(&door)
    .await
}
