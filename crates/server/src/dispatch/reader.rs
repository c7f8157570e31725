//! The one answer that carries secrets: to a workload, or to an operator who runs a program.

use keywright_broker::Broker;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::holds::Holder;
use serde_json::{Value, json};

use super::invalid;
use crate::answer::Failure;
use crate::call::ReaderLogin;

pub(super) async fn run(
    broker: &Broker,
    login: ReaderLogin,
    (project, environment, only): (Option<String>, Option<String>, Vec<String>),
    holder: Option<Holder>,
) -> Result<Value, Failure> {
    let wanted = Wanted {
        project: project.as_deref().map(str::parse).transpose().map_err(invalid)?,
        environment: environment.as_deref().map(str::parse).transpose().map_err(invalid)?,
        only: only.iter().map(|name| name.parse()).collect::<Result<_, _>>().map_err(invalid)?,
        holder,
    };
    let delivered = match login {
        ReaderLogin::Workload { token } => {
            let workload = broker.workload(&token.into_secret()).await?;
            broker.deliver(&Reader::Workload(&workload), wanted).await?
        }
        ReaderLogin::Operator { operator, passphrase } => {
            let name = operator.as_deref().map(str::parse).transpose().map_err(invalid)?;
            let operator = broker.operator(name.as_ref(), passphrase.into_secret()).await?;
            broker.deliver(&Reader::Operator(&operator), wanted).await?
        }
    };
    let variables: serde_json::Map<String, Value> = delivered
        .into_iter()
        .map(|d| (d.name.to_string(), Value::String(d.secret.expose_secret().to_owned())))
        .collect();
    Ok(json!({ "schema": "keywright/delivery/1", "variables": variables }))
}
