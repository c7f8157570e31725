//! The broker's answer as a tool result: the same facts twice, structured and as text, and for a receipt a sentence
//! that says what to do next. A refusal is a tool error, so that the model reads it.

use keywright_core::receipt::{Narrowed, SCHEMA, Status};
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use super::page::PENDING_REVIEW;
use crate::answer::{ERROR_SCHEMA, Failure};

/// How many keys fit into one answer; whoever has more asks by project.
const MOST_KEYS: usize = 100;
/// How the broker marks what would be allowed, among the reasons of a denial.
const ALLOWED_INSTEAD: &str = "allowed instead: ";

/// The schema of a proposal.
const PROPOSAL: &str = "keywright/proposal/1";

/// The tool result.
pub(super) fn result(done: Result<Value, Failure>) -> CallToolResult {
    match done {
        Ok(value) if status(&value) == Some(Status::Denied) => {
            CallToolResult::structured_error(denial(&value))
        }
        Ok(value) => {
            let next = next(&value);
            let mut result = CallToolResult::structured(bounded(value));
            result.content.extend(next.map(ContentBlock::text));
            result
        }
        Err(failure) => CallToolResult::structured_error(refusal(&failure)),
    }
}

fn status(value: &Value) -> Option<Status> {
    let is_receipt = value.get("schema").and_then(Value::as_str) == Some(SCHEMA);
    value.get("status").and_then(Value::as_str).filter(|_| is_receipt).and_then(Status::parse)
}

/// A failure, with every list there even if it is empty.
fn refusal(failure: &Failure) -> Value {
    let Failure { schema, code, message, hint, reasons, alternatives, .. } = failure;
    let mut value = json!({
        "schema": schema, "code": code, "message": message, "reasons": reasons, "alternatives": alternatives,
    });
    if let (Some(object), Some(hint)) = (value.as_object_mut(), hint) {
        object.insert("hint".to_owned(), json!(hint));
    }
    value
}

/// A denial is on record and has a receipt; to the agent it is a refusal like any other.
fn denial(receipt: &Value) -> Value {
    let reasons = receipt.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    let said = reasons.iter().filter_map(Value::as_str);
    let (alternatives, reasons): (Vec<&str>, Vec<&str>) = said.partition(|r| r.starts_with(ALLOWED_INSTEAD));
    let alternatives: Vec<&str> =
        alternatives.iter().filter_map(|a| a.strip_prefix(ALLOWED_INSTEAD)).collect();
    let message = match reasons.first() {
        Some(first) => format!("policy does not allow this: {first}"),
        None => "policy does not allow this".to_owned(),
    };
    json!({
        "schema": ERROR_SCHEMA,
        "code": "denied",
        "message": message,
        "reasons": reasons,
        "alternatives": alternatives,
        "hint": "the same request again is denied again; ask for less, or have your human talk to an operator",
        "receipt": receipt,
    })
}

/// What to do next, where the receipt does not say it all.
fn next(receipt: &Value) -> Option<String> {
    let word = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or_default();
    let request = word("request");
    let look = match word("review_url") {
        "" => format!("run `keywright review show {request}`"),
        url => format!("open {url}"),
    };
    let Some(status) = status(receipt) else {
        return (word("schema") == PROPOSAL).then(|| of_proposal(receipt, request, &look));
    };
    let said = of_receipt(receipt, status, &look)?;
    // What a human cut off is not asked for once more.
    let narrowed = receipt.get("narrowed").and_then(|it| serde_json::from_value::<Narrowed>(it.clone()).ok());
    Some(match narrowed {
        Some(less) => format!(
            "A human approved less than you asked for: {}. Work with that; do not ask for the rest unless your human wants \
             you to. {said}",
            less.words()
        ),
        None => said,
    })
}

/// How a proposal stands.
fn of_proposal(proposal: &Value, request: &str, look: &str) -> String {
    let word = |name: &str| proposal.get(name).and_then(Value::as_str).unwrap_or_default();
    match word("status") {
        PENDING_REVIEW => format!(
            "An operator has to put it in force. Tell your human to {look} and to compare the match code: {}. Then poll \
             check_request with request {request} and wait_seconds 25.",
            word("match_code")
        ),
        "applied" => "It is in force now: list_templates has it, and you may ask for keys of it.".to_owned(),
        _ => "An operator turned it down; the reasons say why. Do not propose it again unless your human wants you to."
            .to_owned(),
    }
}

/// How a request stands, and what to do next.
fn of_receipt(receipt: &Value, status: Status, look: &str) -> Option<String> {
    let word = |name: &str| receipt.get(name).and_then(Value::as_str).unwrap_or_default();
    let request = word("request");
    Some(match status {
        Status::Active if lies_here(receipt) => format!(
            "The key exists and lies at the places above. Programs get it as the variable {}: `keywright run --project {} --env \
             {} -- COMMAND`.",
            word("name"),
            word("project"),
            word("environment")
        ),
        Status::Active => {
            "The key exists and lies at the places above; programs read it from there.".to_owned()
        }
        Status::PendingApproval => {
            format!(
                "A human has to approve this. Tell them to {look} and to compare the match code: {}. Then poll \
                 check_request with request {request} and wait_seconds 25.",
                word("match_code")
            )
        }
        Status::InProgress => {
            format!(
                "It is under way. Where its reasons say that something has to be approved in a store, tell your human. \
                 Poll check_request with request {request} and wait_seconds 25."
            )
        }
        Status::Rejected => {
            "A human rejected it; the reasons say why. Do not ask again unless your human wants you to.".to_owned()
        }
        Status::Expired => {
            "Nobody decided in time; that is no refusal. Ask again, with a new idempotency_key, if it is \
                            still needed."
                .to_owned()
        }
        Status::Failed => {
            "It was allowed but could not be done; whatever was made for it is revoked, or looked for until it is. The \
             reasons say why.".to_owned()
        }
        Status::Revoked => {
            "The key was revoked; ask for a new one, with a new idempotency_key, if it is still needed."
                .to_owned()
        }
        Status::Denied => return None,
    })
}

/// Whether a copy lies in the sealed store, which `run` reads from.
fn lies_here(receipt: &Value) -> bool {
    let placements = receipt.get("placements").and_then(Value::as_array);
    placements
        .is_some_and(|all| all.iter().any(|one| one.get("store").and_then(Value::as_str) == Some("embedded")))
}

/// At most [`MOST_KEYS`] keys, and how many were left out.
fn bounded(mut value: Value) -> Value {
    let Some(object) = value.as_object_mut() else { return value };
    let Some(keys) = object.get_mut("keys").and_then(Value::as_array_mut) else { return value };
    let left_out = keys.len().saturating_sub(MOST_KEYS);
    keys.truncate(MOST_KEYS);
    if left_out > 0 {
        object.insert("left_out".to_owned(), json!(left_out));
    }
    value
}

#[cfg(test)]
mod tests {
    use keywright_broker::Code;

    use super::*;

    fn receipt(status: &str) -> Value {
        json!({ "schema": SCHEMA, "request": "req_1", "status": status, "name": "CF_TOKEN", "project": "web", "environment": "dev",
            "match_code": "abcd-efgh" })
    }

    fn texts(result: &CallToolResult) -> Vec<&str> {
        result.content.iter().map(|block| block.as_text().unwrap().text.as_str()).collect()
    }

    #[test]
    fn a_pending_request_is_no_error_and_says_what_the_human_runs() {
        let result = result(Ok(receipt("pending_approval")));
        assert_eq!(result.is_error, Some(false));
        let texts = texts(&result);
        assert_eq!(
            serde_json::from_str::<Value>(texts[0]).unwrap(),
            result.structured_content.clone().unwrap()
        );
        assert!(
            texts[1].contains("keywright review show req_1") && texts[1].contains("abcd-efgh"),
            "{}",
            texts[1]
        );
    }

    #[test]
    fn a_denial_is_an_error_with_its_reasons_its_alternatives_and_the_receipt() {
        let mut denied = receipt("denied");
        denied["reasons"] = json!(["production needs two", "allowed instead: environment `dev`"]);
        let result = result(Ok(denied.clone()));
        assert_eq!(result.is_error, Some(true));
        let said = result.structured_content.unwrap();
        assert_eq!(said["code"], "denied");
        assert_eq!(said["reasons"], json!(["production needs two"]));
        assert_eq!(said["alternatives"], json!(["environment `dev`"]));
        assert_eq!(said["receipt"], denied);
    }

    #[test]
    fn a_failure_is_an_error_whose_lists_are_always_there() {
        let result = result(Err(Failure::new(Code::NotFound, "there is no request `x`")));
        assert_eq!(result.is_error, Some(true));
        assert_eq!(
            result.structured_content.unwrap(),
            json!({ "schema": ERROR_SCHEMA, "code": "not_found", "message": "there is no request `x`", "reasons": [],
                "alternatives": [] })
        );
    }

    #[test]
    fn every_status_but_a_denial_is_an_answer() {
        for status in Status::ALL.iter().filter(|s| **s != Status::Denied) {
            let result = result(Ok(receipt(status.as_str())));
            assert_eq!(result.is_error, Some(false), "{}", status.as_str());
            assert_eq!(texts(&result).len(), 2, "{}", status.as_str());
        }
    }

    #[test]
    fn what_programs_are_started_with_names_the_keys_project_and_environment() {
        let mut sealed = receipt("active");
        sealed["placements"] = json!([{ "store": "embedded", "place": "web/dev/CF_TOKEN" }]);
        let result = result(Ok(sealed));
        let said = texts(&result)[1];
        assert!(said.contains("`keywright run --project web --env dev -- COMMAND`"), "{said}");
    }

    #[test]
    fn what_a_human_cut_off_is_said_and_is_not_asked_for_again() {
        let mut less = receipt("active");
        less["narrowed"] =
            json!({ "by": "ana", "asked_ttl": "30d", "given_ttl": "7d", "without": ["DNS Read"] });
        let result = result(Ok(less));
        let said = texts(&result)[1];
        assert!(
            said.contains("7d instead of 30d, without DNS Read") && said.contains("do not ask"),
            "{said}"
        );
        assert!(said.contains("lies at the places"), "and what to do next: {said}");
    }

    #[test]
    fn each_way_in_which_a_proposal_stands_is_said_in_words_of_its_own() {
        let of = |status: &str| {
            let proposal = json!({
                "schema": PROPOSAL, "request": "req_1", "status": status, "match_code": "ABC-DEF",
                "review_url": "http://localhost:1/r/req_1",
            });
            texts(&result(Ok(proposal)))[1].to_owned()
        };
        let waits = of("pending_review");
        for part in ["open http://localhost:1/r/req_1", "ABC-DEF", "check_request", "wait_seconds 25"] {
            assert!(waits.contains(part), "{part}: {waits}");
        }
        assert!(of("applied").contains("in force") && of("rejected").contains("turned it down"));
    }

    #[test]
    fn a_long_list_of_keys_is_cut_and_says_so() {
        let keys: Vec<Value> = (0..130).map(|n| json!({ "id": n })).collect();
        let said =
            result(Ok(json!({ "schema": "keywright/keys/1", "keys": keys }))).structured_content.unwrap();
        assert_eq!((said["keys"].as_array().unwrap().len(), &said["left_out"]), (100, &json!(30)));
    }
}
