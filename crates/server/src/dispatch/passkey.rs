//! What operators can say about their passkeys.

use keywright_broker::auth::Proven;
use keywright_broker::{Broker, Code};
use serde_json::{Value, json};

use crate::answer::Failure;
use crate::call::OperatorCall as Op;
use crate::views;

pub(super) async fn run(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::PasskeyInvite { label, counts } => {
            let door = broker.door().map(str::to_owned).ok_or_else(|| {
                Failure::new(Code::Conflict, "no broker serves the pages at which a passkey is made")
                    .hint("start one: `keywright serve --listen 127.0.0.1:4777`, and do this beside it")
            })?;
            let word = broker.invite_passkey(operator, &label, counts).await?;
            // To be typed, and not in the address: browsers keep those.
            let url = format!("{door}/enrol");
            Ok(json!({
                "schema": "keywright/passkey-link/1", "operator": operator.name(), "name": label, "url": url, "code": word,
            }))
        }
        Op::PasskeyKeep { passkey } => {
            let kept = broker.keep_passkey(operator, &passkey).await?;
            Ok(json!({ "schema": "keywright/passkey/1", "passkey": kept, "removed": false }))
        }
        Op::PasskeyRemove { passkey } => {
            let id = broker.remove_passkey(operator, &passkey).await?;
            Ok(json!({ "schema": "keywright/passkey/1", "id": id, "removed": true }))
        }
        _ => Ok(views::passkeys(&broker.passkeys().await?, &broker.held_passkeys())),
    }
}
