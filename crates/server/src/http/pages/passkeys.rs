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
        says: Shown::of("What was approved with it and not used yet counts no more."),
        tone: Tone::Bad,
        asks: "",
        command: Shown::of(format!("keywright passkey remove {}", one.id)),
    }));
    Page::new("passkeys", "Passkeys", &operator)
        .with(Part::Table(table))
        .with(Part::heading("what you can do"))
        .with(super::deeds(&door, &operator, deeds).await)
        .answer(&door, &operator)
        .await
}
