//! Which kinds of providers and stores there are: said before anybody is asked for a credential.

use keywright_broker::kinds::{PROVIDERS, STORES};
use keywright_core::text::escaped;
use keywright_server::answer::Failure;
use serde_json::{Map, Value, json};

use crate::errors;
use crate::output::{Done, Output};
use crate::show::facts::Facts;

/// Refuses a kind that there is not.
pub(super) fn check(what: &str, kind: &str, known: &[&str]) -> Result<(), Failure> {
    if known.contains(&kind) {
        return Ok(());
    }
    let all = known.join(", ");
    Err(errors::usage(format!("there is no kind of {what} `{}`", escaped(kind)))
        .hint(format!("there is: {all}")))
}

/// `provider kinds`
pub(super) fn providers(only: Option<&str>) -> Done {
    only.map_or(Ok(()), |kind| check("provider", kind, &PROVIDERS))?;
    let (mut all, mut text) = (Vec::new(), String::new());
    for one in keywright_broker::kinds::connections().filter(|one| only.is_none_or(|only| only == one.kind)) {
        let facts = Facts::new()
            .add("credential", one.credential)
            .add("--account", one.account.unwrap_or_default())
            .all("--set", one.settings.iter().map(setting));
        text.push_str(&format!("{}\n{}", one.kind, facts.render()));
        all.push(json!({
            "kind": one.kind, "credential": one.credential, "account": one.account, "settings": settings(one.settings),
        }));
    }
    let value = json!({ "schema": "keywright/kinds/1", "providers": all });
    Ok(Output::new(value, text).talk("next: keywright provider add KIND --name NAME"))
}

/// `store kinds`
pub(super) fn stores(only: Option<&str>) -> Done {
    only.map_or(Ok(()), |kind| check("store", kind, &STORES))?;
    let (mut all, mut text) = (Vec::new(), String::new());
    for one in keywright_broker::kinds::stores().filter(|one| only.is_none_or(|only| only == one.kind)) {
        let facts = Facts::new()
            .add("a place", one.place)
            .add("credential", one.credential.unwrap_or_default())
            .add("--address", one.address.unwrap_or_default())
            .all("--set", one.settings.iter().map(setting));
        text.push_str(&format!("{}\n{}", one.kind, facts.render()));
        all.push(json!({
            "kind": one.kind, "place": one.place, "credential": one.credential, "address": one.address,
            "settings": settings(one.settings),
        }));
    }
    let value = json!({ "schema": "keywright/kinds/1", "stores": all });
    Ok(Output::new(value, text).talk("next: keywright store add KIND --name NAME"))
}

fn setting((name, what): &(&str, &str)) -> String {
    format!("{name}: {what}")
}

fn settings(all: &[(&str, &str)]) -> Map<String, Value> {
    all.iter().map(|(name, what)| ((*name).to_owned(), json!(what))).collect()
}
