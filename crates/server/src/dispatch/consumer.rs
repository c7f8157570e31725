//! Consumers, as operators speak of them.

use keywright_broker::auth::Proven;
use keywright_broker::consumers::{NewConsumer, PATIENCE, Way};
use keywright_broker::{Broker, Code};
use keywright_core::consumer::{KeyPattern, Uses};
use keywright_core::span::Span;
use keywright_ledger::ConfiguredConsumer;
use serde_json::{Value, json};

use super::{invalid, read};
use crate::answer::Failure;
use crate::call::OperatorCall as Op;

pub(super) async fn run(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::ConsumerAdd { name, project, environment, names, command, webhook, secret, patience } => {
            let way = match (command.is_empty(), webhook, secret) {
                (false, None, None) => Way::Command(command),
                (true, Some(url), Some(secret)) => Way::Webhook { url, secret: secret.into_secret() },
                _ => return Err(invalid("a consumer is told by a command, or by a webhook with its secret")),
            };
            let new = NewConsumer {
                name: name.parse().map_err(invalid)?,
                uses: Uses {
                    project: project.parse().map_err(invalid)?,
                    environment: read(environment.as_ref())?,
                    names: match &names {
                        Some(names) => names.parse().map_err(invalid)?,
                        None => KeyPattern::any(),
                    },
                },
                way,
                patience: match &patience {
                    Some(patience) => Span::parse(patience).map_err(invalid)?,
                    None => PATIENCE,
                },
            };
            broker.add_consumer(operator, new).await?;
            Ok(json!({ "schema": "keywright/consumer/1", "name": name, "added": true }))
        }
        Op::ConsumerRemove { name } => {
            broker.remove_consumer(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/consumer/1", "name": name, "removed": true }))
        }
        Op::ConsumerTest { name } => {
            let said = broker.test_consumer(operator, &name.parse().map_err(invalid)?).await?;
            Ok(json!({ "schema": "keywright/consumer/1", "name": name, "told": true, "said": said }))
        }
        Op::ConsumerList => {
            // A session is open to every program of its terminal, an agent's among them: it sees which program, not how it is called.
            let is_whole = operator.signing().is_ok();
            let all: Vec<Value> =
                broker.consumers().await?.iter().map(|consumer| line(consumer, is_whole)).collect();
            Ok(json!({ "schema": "keywright/consumers/1", "consumers": all }))
        }
        _ => Err(Failure::new(Code::Unsupported, "this is not about consumers")),
    }
}

fn line(consumer: &ConfiguredConsumer, is_whole: bool) -> Value {
    let shown = if is_whole { consumer.target.len() } else { 1 };
    json!({
        "name": consumer.name, "kind": consumer.kind.as_str(), "project": consumer.uses.project,
        "environment": consumer.uses.environment, "names": consumer.uses.names.as_str(),
        "target": consumer.target.iter().take(shown).collect::<Vec<_>>(), "is_whole": shown >= consumer.target.len(),
        "patience": consumer.patience.to_string(), "added_at": consumer.added_at.to_string(),
    })
}
