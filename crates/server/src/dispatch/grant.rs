//! Standing grants, as operators speak of them.

use keywright_broker::auth::Proven;
use keywright_broker::grants::NewGrant;
use keywright_broker::{Broker, Code};
use keywright_core::place::DestinationPattern;
use keywright_core::span::Span;
use serde_json::{Value, json};

use super::invalid;
use crate::answer::Failure;
use crate::call::OperatorCall as Op;
use crate::views::with_schema;

pub(super) async fn run(broker: &Broker, operator: &Proven, call: Op) -> Result<Value, Failure> {
    match call {
        Op::GrantAdd(wish) => {
            let destinations = wish.destinations.iter().map(|one| DestinationPattern::parse(one));
            let new = NewGrant {
                agent: wish.agent.parse().map_err(invalid)?,
                template: wish.template.parse().map_err(invalid)?,
                project: wish.project.parse().map_err(invalid)?,
                environment: wish.environment.parse().map_err(invalid)?,
                parameters: wish.parameters,
                any_parameters: wish.any_parameters,
                destinations: destinations.collect::<Result<_, _>>().map_err(invalid)?,
                directory: wish.directory,
                ttl_max: wish.ttl_max.as_deref().map(Span::parse).transpose().map_err(invalid)?,
                uses: wish.uses,
                lasts: Span::parse(&wish.lasts).map_err(invalid)?,
            };
            let grant = broker.add_grant(operator, new).await?;
            Ok(with_schema("keywright/grant/1", serde_json::to_value(grant).map_err(invalid)?))
        }
        Op::GrantRemove { grant } => {
            let id = broker.remove_grant(operator, &grant).await?;
            Ok(json!({ "schema": "keywright/grant/1", "id": id, "removed": true }))
        }
        Op::GrantList => Ok(json!({ "schema": "keywright/grants/1", "grants": broker.grants().await? })),
        _ => Err(Failure::new(Code::Unsupported, "this is not about grants")),
    }
}
