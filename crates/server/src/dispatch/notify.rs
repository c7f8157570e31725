//! Channels, as operators speak of them.

use keywright_broker::auth::Proven;
use keywright_broker::notify::{DEAD, NewChannel, quiet};
use keywright_broker::{Broker, Code};
use keywright_core::channel::Rules;
use keywright_ledger::ConfiguredChannel;
use serde_json::{Value, json};

use super::{invalid, read};
use crate::answer::Failure;
use crate::call::{OperatorCall as Op, Passed};

pub(super) async fn run(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::NotifyAdd(new) => {
            if new.quiet.is_none() && new.zone.is_some() {
                return Err(invalid("a time zone is that of quiet hours, and there are none"));
            }
            let quiet = new.quiet.as_deref().map(|hours| quiet(hours, new.zone.as_deref())).transpose()?;
            let channel = NewChannel {
                name: new.name.parse().map_err(invalid)?,
                kind: new.kind.parse().map_err(invalid)?,
                settings: new.settings,
                rules: Rules {
                    after: read(new.after.as_ref())?,
                    remind: read(new.remind.as_ref())?,
                    quiet,
                    is_urgent: new.urgent,
                    with_purpose: new.with_purpose,
                },
                credential: new.credential.map(Passed::into_secret),
            };
            broker.add_channel(operator, channel).await?;
            Ok(json!({ "schema": "keywright/channel/1", "name": new.name, "added": true }))
        }
        Op::NotifyRemove { name } => {
            broker.remove_channel(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/channel/1", "name": name, "removed": true }))
        }
        Op::NotifyTest { name } => {
            let said = broker.test_channel(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/channel/1", "name": name, "told": true, "said": said }))
        }
        Op::NotifyList => {
            let all: Vec<Value> = broker.channels().await?.iter().map(line).collect();
            Ok(json!({ "schema": "keywright/channels/1", "channels": all }))
        }
        _ => Err(Failure::new(Code::Unsupported, "this is not about channels")),
    }
}

fn line(channel: &ConfiguredChannel) -> Value {
    let rules = &channel.rules;
    json!({
        "name": channel.name, "kind": channel.kind.as_str(), "settings": channel.settings,
        "after": rules.after, "remind": rules.remind, "quiet": rules.quiet.as_ref().map(ToString::to_string),
        "urgent": rules.is_urgent, "with_purpose": rules.with_purpose,
        "added_at": channel.added_at.to_string(),
        "told_at": channel.told_at.map(|at| at.to_string()),
        "failed_at": channel.failed_at.map(|at| at.to_string()),
        "failures": channel.failures, "works": channel.failures < DEAD, "trouble": channel.trouble,
    })
}
