//! The envelope of every answer, `{success, errors, messages, result, result_info}`, and what a refusal in it means.

use std::time::Duration;

use keywright_core::provider::ProviderError;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::KIND;
use crate::wire::{Reply, Scrub, json_fault};

/// The bearer is unknown, malformed, or may not do this.
const AUTHENTICATION: [i64; 6] = [1000, 6003, 6111, 9106, 9109, 10_000];
/// The path names nothing, because an id in it is not one. That is no proof that the thing is gone.
const NO_ROUTE: [i64; 2] = [7000, 7003];
/// How many of an answer's errors are passed on.
const MOST_ERRORS: usize = 3;

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) result: T,
    /// How many things a list holds in all.
    pub(super) total_count: Option<u64>,
}

/// A bad one, with the provider's own code for where the error type alone says too little.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ProviderError,
    pub(super) code: Option<i64>,
    pub(super) proof: Proof,
}

/// What a failure proves about the call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: it may have been done.
    Nothing,
    /// The provider's own envelope, or a bare 401 or 403, says that it was refused, with a status that a failure halfway, or
    /// a proxy, might give as well.
    Claimed,
    /// That it was not done: nothing was sent, or the provider's own envelope says that it was turned away at the door
    /// (401, 403, 404, 429).
    NotDone,
}

/// What a call is about, for its errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    /// What a 404 says is missing.
    pub(super) what: &'static str,
    /// The permission that the call needs.
    pub(super) needs: &'static str,
}

#[derive(Deserialize)]
struct Good<T> {
    success: bool,
    result: Option<T>,
    result_info: Option<ResultInfo>,
}

#[derive(Deserialize)]
struct ResultInfo {
    total_count: Option<u64>,
}

#[derive(Deserialize)]
struct Bad {
    success: bool,
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    code: Option<i64>,
    #[serde(default)]
    message: String,
}

/// Reads an answer to a call.
pub(super) fn open<T: DeserializeOwned>(
    reply: &Reply,
    scrub: &Scrub,
    about: About,
) -> Result<Answer<T>, Failure> {
    let good: Good<T> = good(reply, scrub, about)?;
    match good.result {
        Some(result) => {
            Ok(Answer { result, total_count: good.result_info.and_then(|info| info.total_count) })
        }
        None => Err(Failure::garbled("it holds no result".to_owned())),
    }
}

/// Reads an answer of which only the success counts: what was deleted is in the path.
pub(super) fn confirm(reply: &Reply, scrub: &Scrub, about: About) -> Result<(), Failure> {
    good::<IgnoredAny>(reply, scrub, about).map(drop)
}

fn good<T: DeserializeOwned>(reply: &Reply, scrub: &Scrub, about: About) -> Result<Good<T>, Failure> {
    match reply.status {
        200..=299 => {
            let good: Good<T> =
                serde_json::from_slice(&reply.body).map_err(|e| Failure::garbled(json_fault(&e)))?;
            if good.success {
                Ok(good)
            } else {
                Err(Failure::garbled("it does not report success".to_owned()))
            }
        }
        429 => {
            let proof = if bad(reply).is_ok() { Proof::NotDone } else { Proof::Nothing };
            Err(Failure { error: throttled(reply.retry_after), code: None, proof })
        }
        500..=599 => {
            Err(ProviderError::Unavailable { provider: KIND, why: format!("status {}", reply.status) }.into())
        }
        400..=499 => Err(refusal(reply, scrub, about)),
        status => Err(Failure::garbled(format!("status {status}"))),
    }
}

/// Whether the parent could work, had it one more permission or another form: not a fault of what was asked.
pub(super) fn is_denied(failure: &Failure) -> bool {
    matches!(failure.error, ProviderError::Unauthorized { .. })
}

/// The documented body of a refusal.
fn bad(reply: &Reply) -> Result<Bad, Failure> {
    let bad: Bad = serde_json::from_slice(&reply.body)
        .map_err(|_| Failure::garbled(format!("status {} without the documented body", reply.status)))?;
    if bad.success || bad.errors.is_empty() {
        return Err(Failure::garbled(format!("status {} that does not say what is wrong", reply.status)));
    }
    Ok(bad)
}

fn refusal(reply: &Reply, scrub: &Scrub, about: About) -> Failure {
    let bad = match bad(reply) {
        Ok(bad) => bad,
        // A gateway in front of the API says no in words of its own, and it is a no all the same.
        Err(_) if matches!(reply.status, 401 | 403) => {
            let text = format!("status {}; this needs `{}`", reply.status, about.needs);
            let error = ProviderError::Unauthorized { provider: KIND, message: scrub.message(&text) };
            return Failure { error, code: None, proof: Proof::Claimed };
        }
        Err(garbled) => return garbled,
    };
    let codes: Vec<i64> = bad.errors.iter().filter_map(|said| said.code).collect();
    let code = codes.first().copied();
    let has = |known: &[i64]| codes.iter().any(|code| known.contains(code));
    let text = said(&bad.errors);
    let error = if matches!(reply.status, 401 | 403) || has(&AUTHENTICATION) {
        let text = format!("{text}; this needs `{}`", about.needs);
        ProviderError::Unauthorized { provider: KIND, message: scrub.message(&text) }
    } else if has(&NO_ROUTE) {
        refused(code, scrub.message(&text), Some("check the account's id in the connection"))
    } else if reply.status == 404 {
        ProviderError::NotFound { provider: KIND, what: about.what }
    } else {
        refused(code, scrub.message(&text), hint(&text))
    };
    let proof = if matches!(reply.status, 401 | 403 | 404) { Proof::NotDone } else { Proof::Claimed };
    Failure { error, code, proof }
}

fn refused(code: Option<i64>, message: Untrusted, hint: Option<&str>) -> ProviderError {
    let code = code.map(|code| code.to_string());
    ProviderError::Refused { provider: KIND, code, message, hint: hint.map(str::to_owned) }
}

/// A next step for the refusals that have one. The provider publishes no codes for them.
fn hint(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    if text.contains("permission group") || text.contains("permission_group") {
        Some("the permission may have been renamed or removed since the catalog was built")
    } else if text.contains("expires_on") {
        Some("check this machine's clock")
    } else {
        None
    }
}

fn said(errors: &[Said]) -> String {
    let one = |said: &Said| match said.code {
        Some(code) => format!("{} (code {code})", said.message),
        None => said.message.clone(),
    };
    errors.iter().take(MOST_ERRORS).map(one).collect::<Vec<_>>().join("; ")
}

/// Too many calls. The span is rounded up: a second too early is too early.
pub(super) fn throttled(wait: Option<Duration>) -> ProviderError {
    let whole = |wait: Duration| Span::from_seconds(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    ProviderError::Throttled { provider: KIND, retry_after: wait.map(whole) }
}

impl Failure {
    /// The call never left.
    pub(super) fn not_sent(error: ProviderError) -> Self {
        Self { error, code: None, proof: Proof::NotDone }
    }

    pub(super) fn garbled(why: String) -> Self {
        ProviderError::Garbled { provider: KIND, why }.into()
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self { error, code: None, proof: Proof::Nothing }
    }
}

impl From<Failure> for ProviderError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywright_core::secret::Secret;

    fn opened(status: u16, body: &str) -> Result<Answer<u32>, Failure> {
        let body = body.as_bytes().to_vec().into();
        let reply = Reply { status, retry_after: None, body, is_repeated: false };
        let scrub = Scrub::new([&Secret::new("hunter2-hunter2".to_owned())], super::super::resource::is_id);
        open(&reply, &scrub, About { what: "token", needs: "Tokens Write" })
    }

    fn shown(status: u16, body: &str) -> String {
        opened(status, body).unwrap_err().error.to_string()
    }

    #[test]
    fn each_answer_means_one_thing() {
        assert_eq!(
            opened(200, r#"{"success":true,"result":7,"result_info":{"total_count":3}}"#).unwrap().result,
            7
        );
        let bad = |code: u32, message: &str| {
            format!(r#"{{"success":false,"errors":[{{"code":{code},"message":"{message}"}}],"result":null}}"#)
        };
        for (status, body, expected) in [
            (
                403,
                bad(10_000, "Authentication error"),
                "cloudflare does not accept the connection's credential: Authentication error (code 10000); this \
                 needs `Tokens Write`",
            ),
            (
                400,
                bad(6003, "Invalid request headers"),
                "cloudflare does not accept the connection's credential: Invalid request headers (code 6003); this \
                 needs `Tokens Write`",
            ),
            (404, bad(1003, "token not found"), "cloudflare knows no token"),
            (404, bad(7003, "Could not route"), "cloudflare refused: Could not route (code 7003)"),
            (400, bad(1001, "hunter2-hunter2 is bad"), "cloudflare refused: [redacted] is bad (code 1001)"),
            (429, String::new(), "cloudflare asks to slow down"),
            (502, "<html>".to_owned(), "cloudflare can't be reached or failed: status 502"),
            (
                403,
                "<html>hunter2-hunter2".to_owned(),
                "cloudflare does not accept the connection's credential: status 403; this needs `Tokens Write`",
            ),
            (
                409,
                "<html>hunter2-hunter2".to_owned(),
                "cloudflare gave an answer that is not understood: status 409 without the documented body",
            ),
            (
                200,
                r#"{"success":true,"result":"hunter2"}"#.to_owned(),
                "cloudflare gave an answer that is not understood: it has another shape than documented (line 1, \
                 column 34)",
            ),
            (
                200,
                r#"{"success":false,"result":7}"#.to_owned(),
                "cloudflare gave an answer that is not understood: it does not report success",
            ),
        ] {
            assert_eq!(shown(status, &body), expected);
        }
    }

    #[test]
    fn only_what_was_turned_away_at_the_door_is_proof_that_nothing_was_done() {
        let refusal = r#"{"success":false,"errors":[{"code":1001,"message":"no"}]}"#;
        for (status, body, expected) in [
            (401, refusal, Proof::NotDone),
            (403, refusal, Proof::NotDone),
            (404, refusal, Proof::NotDone),
            (429, refusal, Proof::NotDone),
            (400, refusal, Proof::Claimed),
            (409, refusal, Proof::Claimed),
            (422, refusal, Proof::Claimed),
            (400, r#"{"success":false,"errors":[{"code":6003,"message":"no"}]}"#, Proof::Claimed),
            (500, refusal, Proof::Nothing),
            (302, refusal, Proof::Nothing),
            (200, refusal, Proof::Nothing),
            (401, "{}", Proof::Claimed),
            (403, "<html>", Proof::Claimed),
            (404, "<html>", Proof::Nothing),
            (429, "", Proof::Nothing),
            (429, r#"{"success":false,"errors":[]}"#, Proof::Nothing),
            (404, r#"{"success":true,"errors":[{"code":1,"message":"no"}]}"#, Proof::Nothing),
        ] {
            assert_eq!(opened(status, body).unwrap_err().proof, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_404_about_the_path_is_no_proof_that_a_token_is_gone() {
        let body = r#"{"success":false,"errors":[{"code":7003,"message":"no route"}]}"#;
        assert!(matches!(opened(404, body).unwrap_err().error, ProviderError::Refused { .. }));
    }
}
