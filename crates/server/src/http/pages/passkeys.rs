//! The passkeys of everybody who may approve.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use keywright_broker::passkey::PasskeyShown;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Deed, Part, Shown, Table, Text, Tone};
use super::{Page, failed};

pub(crate) async fn list(State(door): State<Arc<Door>>, Looks(operator): Looks) -> Response {
    let passkeys = match door.broker.passkeys().await {
        Ok(passkeys) => passkeys,
        Err(error) => return failed("passkeys", &operator, error),
    };
    let now = door.broker.now();
    let row = |one: &PasskeyShown| {
        vec![
            Text::of(&one.name),
            Text::of(one.operator.as_str()),
            Text::of(&one.origin),
            Text::of(&one.fingerprint),
            Text::at(one.added_at, now),
            one.used_at.map_or_else(|| Text::of("never"), |at| Text::at(at, now)),
            Text::of(one.id.to_string()),
        ]
    };
    let table = Table {
        header: vec!["name", "operator", "good at", "fingerprint", "added", "last used", "id"],
        rows: passkeys.iter().map(row).collect(),
        empty: "There are none yet.",
    };
    let held = door.broker.held_passkeys();
    let told = held.iter().map(|one| {
        let words = format!(
            "Held: {} was made with a code of {} at {}, with the fingerprint {}. Nobody can approve with it: it counts only if the \
             terminal that told the code is answered with yes, and is gone after five minutes.",
            one.name, one.operator, one.origin, one.fingerprint
        );
        Part::Note(Shown::of(words), Tone::Warn)
    });
    let mut deeds = vec![Deed {
        act: "invite",
        field: "",
        of: Shown::default(),
        label: Shown::of("Add a passkey"),
        says: Shown::of("With one of yours; the first is made with your passphrase."),
        tone: Tone::Plain,
        asks: "label",
        command: Shown::of("keywright passkey add --name TEXT"),
    }];
    deeds.extend(passkeys.iter().filter(|one| one.operator == operator).map(|one| Deed {
        act: "forget",
        field: "passkey",
        of: Shown::of(one.id.to_string()),
        label: Shown::of(format!("Remove {}", one.name)),
        says: Shown::of("Has what was approved with it, and was not used yet, count no more."),
        tone: Tone::Bad,
        asks: "",
        command: Shown::of(format!("keywright passkey remove {}", one.id)),
    }));
    deeds.extend(held.iter().filter(|one| one.operator == operator).map(|one| Deed {
        act: "forget",
        field: "passkey",
        of: Shown::of(one.id.to_string()),
        label: Shown::of(format!("Throw {} away", one.name)),
        says: Shown::of("It is held, and was made with a code of yours: not yours if you did not make it."),
        tone: Tone::Bad,
        asks: "",
        command: Shown::of(format!("keywright passkey remove {}", one.id)),
    }));
    let page = Page::new("passkeys", "Passkeys", &operator).with(Part::Table(table));
    told.fold(page, Page::with)
        .with(Part::heading("what you can do"))
        .with(super::deeds(&door, &operator, deeds).await)
        .answer(&door, &operator)
        .await
}
