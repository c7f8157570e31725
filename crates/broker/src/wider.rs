//! What became wider at providers than the catalogs that ship have it: as operators imported it, or a provider listed it. Read off
//! the log, so that whoever looks anew knows the same. Templates that were applied before are held; one that is applied knowing it is not
//! held for the same again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use keywright_core::audit::Record;
use keywright_core::text::Untrusted;
use serde_json::{Value, json};

use crate::drift::{Widening, Wider};
use crate::error::{BrokerError, Result};

/// The fact of an import that says which templates it holds, and why.
const HOLDS: &str = "holds";
/// The fact of an import that says what became wider.
const WIDER: &str = "wider";
/// No entry names more permissions; no provider has as many.
const MOST: usize = 500;
/// How many permissions are told of one template.
const TOLD: usize = 4;

/// What is known.
#[derive(Default)]
pub(crate) struct Known {
    /// By provider and by what told it: permissions by id, with where it was read.
    told: HashMap<(String, String), BTreeMap<String, (Wider, String)>>,
    /// All of that, each as one word.
    now: Arc<HashSet<String>>,
    /// What was known when a template was applied.
    seen: HashMap<String, Arc<HashSet<String>>>,
    /// The templates from which nothing is made until they are applied again, and why.
    held: HashMap<String, String>,
}

impl Known {
    /// Takes in what an entry about an import says. A newer import replaces an older one; the lists of connections stand beside it.
    pub(crate) fn imported(&mut self, record: &Record) {
        let text = |name: &str| record.facts.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (provider, from) = (text("provider"), text("from"));
        let source = if text("sha256").is_empty() { from.clone() } else { String::new() };
        let wider = record.facts.get(WIDER).and_then(Value::as_object).into_iter().flatten();
        let read = wider.filter_map(|(id, fact)| Some((id.clone(), (of_fact(id, fact)?, from.clone()))));
        self.told.insert((provider, source), read.collect());
        let all = self
            .told
            .iter()
            .flat_map(|((provider, _), wider)| wider.values().map(move |(one, _)| mark(provider, one)));
        self.now = Arc::new(all.collect());
        let holds = record.facts.get(HOLDS).and_then(Value::as_object).into_iter().flatten();
        let why = |why: &Value| why.as_str().unwrap_or("a permission became wider").to_owned();
        self.held.extend(holds.map(|(template, said)| (template.clone(), why(said))));
    }

    /// An operator put a template in force, knowing what is known now.
    pub(crate) fn applied(&mut self, template: &str) {
        self.held.remove(template);
        self.seen.insert(template.to_owned(), Arc::clone(&self.now));
    }

    /// Why nothing is made from a template.
    pub(crate) fn held(&self, template: &str) -> Option<String> {
        self.held.get(template).cloned()
    }

    /// Why a template with these permissions is to be held for a widening; `None` where it has none of them, or was applied when all
    /// of it was known.
    pub(crate) fn holds(&self, template: &str, ids: &[&str], widening: &Widening) -> Option<String> {
        let seen = self.seen.get(template);
        let is_new = |one: &&Wider| {
            ids.contains(&one.permission.as_str())
                && !seen.is_some_and(|seen| seen.contains(&mark(widening.provider.as_str(), one)))
        };
        let new: Vec<String> = widening.widened.iter().filter(is_new).map(Wider::said).collect();
        (!new.is_empty()).then(|| capped(&new, "; "))
    }

    /// What is known to be wider of these permissions than their numbers say.
    pub(crate) fn of(&self, provider: &str, ids: &[&str]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for ((of, _), wider) in &self.told {
            let own = wider.iter().filter(|(id, _)| of == provider && ids.contains(&id.as_str()));
            found.extend(
                own.map(|(_, (one, from))| format!("{} ({})", one.said(), Untrusted::capped(from, 80))),
            );
        }
        found.sort();
        found.dedup();
        found
    }
}

/// What an entry says about an import.
///
/// # Errors
/// When more became wider than one entry holds.
pub(crate) fn facts(
    record: &mut Record,
    widening: &Widening,
    holds: &BTreeMap<String, String>,
) -> Result<()> {
    if widening.widened.len() > MOST {
        return Err(BrokerError::invalid(format_args!(
            "more than {MOST} permissions became wider; is it the right file?"
        )));
    }
    let text = |text: &str| json!(Untrusted::capped(text, 200));
    let wider: BTreeMap<&str, Value> =
        widening.widened.iter().map(|one| (one.permission.as_str(), to_fact(one))).collect();
    for (name, fact) in [
        ("provider", json!(widening.provider)),
        ("from", text(&widening.from)),
        ("sha256", text(&widening.sha256)),
        ("widened", json!(widening.widened.len())),
        (HOLDS, json!(holds)),
        (WIDER, json!(wider)),
    ] {
        record.facts.insert(name.to_owned(), fact);
    }
    Ok(())
}

fn to_fact(one: &Wider) -> Value {
    json!([Untrusted::capped(&one.name, 80), one.operations, one.mutating, Untrusted::capped(&one.mark, 16)])
}

fn of_fact(id: &str, fact: &Value) -> Option<Wider> {
    let number =
        |at: usize| fact.get(at).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    let text = |at: usize| fact.get(at).and_then(Value::as_str).map(str::to_owned);
    Some(Wider {
        permission: id.to_owned(),
        name: text(0)?,
        operations: number(1)?,
        mutating: number(2)?,
        mark: text(3)?,
    })
}

/// A permission of a provider with exactly what it opens more.
fn mark(provider: &str, one: &Wider) -> String {
    format!(
        "{provider} {} {} {} {}",
        one.permission,
        one.operations,
        one.mutating,
        Untrusted::capped(&one.mark, 16).raw()
    )
}

/// The first of several texts, and how many there are more.
fn capped(texts: &[String], between: &str) -> String {
    let mut said = texts.iter().take(TOLD).cloned().collect::<Vec<_>>().join(between);
    if texts.len() > TOLD {
        said.push_str(&format!("{between}{} more permissions became wider", texts.len() - TOLD));
    }
    said
}
