//! A planner's answer, and what a key lacks, for people.

use owo_colors::OwoColorize as _;
use serde_json::Value;

use super::facts::Facts;
use super::{count, field, items, joined, number, outside};

/// The answer to plain words or operations.
pub(crate) fn answer(answer: &Value) -> String {
    let provider = field(answer, "provider");
    let question = field(answer, "question");
    let refused = field(answer, "refused");
    let text = whole(answer, &provider, &question, &refused);
    match field(answer, "note") {
        note if note.is_empty() => text,
        note => format!("{text}note: {note}\n"),
    }
}

fn whole(answer: &Value, provider: &str, question: &str, refused: &str) -> String {
    match field(answer, "status").as_str() {
        "plan" => {
            let head = format!("the least permissions at {provider}").green().to_string();
            let followed = if refused.is_empty() { String::new() } else { format!("note: {refused}\n") };
            format!("{head}\n{}{followed}{}", plan(answer).render(), others(answer, "or"))
        }
        "candidates" => {
            let question = if question.is_empty() { "which of these is it?" } else { question };
            let head = format!("it may mean several things at {provider}: {question}");
            format!("{}\n{}", head.yellow(), others(answer, "one"))
        }
        "question" => {
            let head = format!("not clear enough: {question}");
            format!("{}\n{}", head.yellow(), others(answer, "perhaps"))
        }
        _ => format!("{}\n", format!("refused: {refused}").red()),
    }
}

fn plan(answer: &Value) -> Facts {
    let is_empty = items(answer, "permissions").is_empty();
    Facts::new()
        .all("may", items(answer, "permissions").iter().map(permission))
        .add("may", if is_empty { "nothing: these operations need no permission" } else { "" })
        .all("calls", items(answer, "operations").iter().filter_map(Value::as_str).map(outside))
        .all(
            "on",
            items(answer, "resources")
                .iter()
                .map(|one| format!("{} {}", field(one, "kind"), field(one, "value"))),
        )
        .add("policy", answer.get("policy").map_or_else(String::new, policy))
        .all("because", items(answer, "proof").iter().map(proof))
        .all("a human decides", items(answer, "needs_a_human").iter().filter_map(Value::as_str).map(outside))
}

/// How long the policy is, and what it does not confine.
fn policy(policy: &Value) -> String {
    let fits = policy.get("fits_a_session").and_then(Value::as_bool).unwrap_or(false);
    let fits = if fits { "fits a session" } else { "too long for a session: it takes a role of its own" };
    let open: Vec<String> = ["unconfined", "unconfinable"]
        .iter()
        .flat_map(|list| items(policy, list))
        .filter_map(Value::as_str)
        .map(outside)
        .collect();
    let open =
        if open.is_empty() { String::new() } else { format!("; on any resource: {}", open.join(", ")) };
    format!("{} characters, {fits}{open}", number(policy, "characters"))
}

/// Why a permission is in the plan, and what else it opens.
fn proof(proof: &Value) -> String {
    let name = field(proof, "name");
    let unlocks = number(proof, "unlocks");
    let weak = proof.get("read_needs_write").and_then(Value::as_bool).unwrap_or(false);
    let forced = items(proof, "forced_by").iter().filter_map(Value::as_str).map(outside).collect::<Vec<_>>();
    let mut text = match forced.as_slice() {
        [] => format!("{name}: it is what the job is about"),
        [one] => format!("{name}: nothing narrower opens {one}"),
        [one, more @ ..] => {
            format!(
                "{name}: nothing narrower opens {one} and {}",
                count(more.len() as u64, "other", "others")
            )
        }
    };
    if weak {
        text.push_str(", though the job only reads: there is no read for it");
    }
    if unlocks > 0 {
        let beyond = number(proof, "beyond_the_job");
        text.push_str(&format!(
            "; it unlocks {}, {} of them change something, {beyond} are beyond the job",
            count(unlocks, "operation", "operations"),
            number(proof, "mutating"),
        ));
    }
    text
}

fn permission(permission: &Value) -> String {
    let access = field(permission, "access");
    let scope = field(permission, "scope");
    format!(
        "{} ({access}, {})",
        field(permission, "name").bold(),
        scope.rsplit('.').next().unwrap_or_default()
    )
}

fn others(answer: &Value, label: &str) -> String {
    let names = |candidate: &Value| -> String {
        let names = items(candidate, "permissions").iter().map(|one| field(one, "name"));
        names.collect::<Vec<_>>().join(", ")
    };
    let candidates = items(answer, "candidates").iter();
    let texts = candidates.map(|one| format!("{}: {}", field(one, "why"), names(one)));
    Facts::new().all(label, texts).render()
}

/// What a newer publication changes.
pub(crate) fn import(import: &Value) -> String {
    let drift = import.get("drift").cloned().unwrap_or_default();
    let changed = |one: &Value| {
        let operations = items(one, "operations");
        let first = operations.first().and_then(Value::as_str).map(outside).unwrap_or_default();
        let more = match operations.len() {
            0 | 1 => first,
            many => format!("{first} and {} more", many - 1),
        };
        format!("{}: {more}; {} change something", field(one, "name"), number(one, "mutating"))
    };
    let pair =
        |one: &Value| one.as_array().and_then(|pair| pair.last()?.as_str()).map(outside).unwrap_or_default();
    let renamed = |one: &Value| {
        let texts: Vec<String> =
            one.as_array().into_iter().flatten().filter_map(Value::as_str).map(outside).collect();
        texts.get(1..).unwrap_or_default().join(" is now ")
    };
    let held = import.get("held").and_then(Value::as_object);
    let head = format!(
        "{}: {} permissions, {} operations",
        field(import, "from"),
        number(import, "permissions"),
        number(import, "operations")
    );
    let facts = Facts::new()
        .all("wider", items(&drift, "widened").iter().map(changed))
        .all("narrower", items(&drift, "narrowed").iter().map(changed))
        .all("gone", items(&drift, "removed").iter().map(pair))
        .all("new", items(&drift, "added").iter().map(pair))
        .all("renamed", items(&drift, "renamed").iter().map(renamed))
        .add("operations", {
            let (new, gone) = (items(&drift, "new_operations").len(), items(&drift, "gone_operations").len());
            if new + gone == 0 { String::new() } else { format!("{new} new, {gone} gone") }
        })
        .all(
            "held",
            held.into_iter().flatten().map(|(template, why)| {
                format!("{}: {}", outside(template), outside(why.as_str().unwrap_or_default()))
            }),
        );
    let rendered = facts.render();
    if rendered.is_empty() { format!("{head}\nnothing changed") } else { format!("{head}\n{rendered}") }
}

/// What a provider lists now, against the catalog.
pub(crate) fn refresh(listed: &Value) -> String {
    let is_parents = field(listed, "of") == "parent";
    let head = format!(
        "{} {} {}",
        field(listed, "connection"),
        if is_parents { "can give" } else { "lists" },
        count(number(listed, "permissions"), "permission", "permissions")
    );
    let short = listed.get("short").and_then(Value::as_object);
    let short = short.into_iter().flatten().map(|(template, lacks)| {
        let lacks: Vec<String> =
            lacks.as_array().into_iter().flatten().filter_map(Value::as_str).map(outside).collect();
        format!("{} needs {}", outside(template), lacks.join(", "))
    });
    let pair = |between: &'static str| {
        move |one: &Value| {
            let part = |at: usize| match one.get(at) {
                Some(Value::String(text)) => outside(text),
                Some(Value::Array(all)) => {
                    all.iter().filter_map(Value::as_str).map(outside).collect::<Vec<_>>().join(", ")
                }
                _ => String::new(),
            };
            format!("{}{between}{}", part(0), part(1))
        }
    };
    let texts =
        |name: &str| items(listed, name).iter().filter_map(Value::as_str).map(outside).collect::<Vec<_>>();
    let held = listed.get("held").and_then(Value::as_object);
    let facts = Facts::new()
        .all("gone", texts("gone"))
        .all("can't give", short)
        .all("new", texts("new"))
        .all("renamed", items(listed, "renamed").iter().map(pair(" is now ")))
        .all("other scope", items(listed, "rescoped").iter().map(pair(" is for ")))
        .all(
            "held",
            held.into_iter().flatten().map(|(template, why)| {
                format!("{}: {}", outside(template), outside(why.as_str().unwrap_or_default()))
            }),
        )
        .render();
    match (facts.is_empty(), is_parents) {
        (true, true) => {
            format!("{head}, which is enough for every template in force; the catalog knows them all")
        }
        (true, false) => format!("{head}, as the catalog has them"),
        _ => format!("{head}\n{facts}"),
    }
}

/// What a key lacks for operations that were refused to it.
pub(crate) fn denied(denied: &Value) -> String {
    let missing = joined(denied, "missing");
    let head = if missing.is_empty() {
        "it lacks no permission for this".yellow().to_string()
    } else {
        format!("it lacks {missing}").red().to_string()
    };
    let facts = Facts::new()
        .add("key", field(denied, "key"))
        .add("may", joined(denied, "holds"))
        .add("so", field(denied, "advice"))
        .add("ask", denied.get("amended").map(ask).unwrap_or_default());
    format!("{head}\n{}", facts.render())
}

/// A request as somebody types it.
fn ask(amended: &Value) -> String {
    let replaces = amended.get("replaces").and_then(Value::as_bool).unwrap_or(false);
    let name = field(amended, "name");
    let name = if replaces { name } else { format!("{name}_MORE") };
    let mut text = format!(
        "keywright key request {} --project {} --env {} --name {name}",
        field(amended, "template"),
        field(amended, "project"),
        field(amended, "environment"),
    );
    for (parameter, value) in amended.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        let value = outside(value.as_str().unwrap_or_default());
        text.push_str(&format!(" --param {}={value}", outside(parameter)));
    }
    for open in items(amended, "open").iter().filter_map(Value::as_str) {
        text.push_str(&format!(" --param {}=...", outside(open)));
    }
    text
}
