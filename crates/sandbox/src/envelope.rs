//! The one shape in which every answer leaves: `{success, errors, messages, result, result_info}`.

use serde_json::{Map, Value, json};

/// What a call came to, before faults distort it.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) payload: Payload,
    /// The token value that this answer shows, for the fault that quotes it in an error.
    pub(crate) shown_value: Option<String>,
}

/// The body of an answer.
pub(crate) enum Payload {
    /// An envelope.
    Json(Value),
    /// Raw bytes: KV values and R2 objects.
    Bytes(Vec<u8>),
}

impl Answer {
    /// Success with a result.
    pub(crate) fn ok(result: Value) -> Self {
        Self::success(vec![], result, None)
    }

    /// Success with a result and a message.
    pub(crate) fn ok_saying(result: Value, code: u32, message: &str) -> Self {
        Self::success(vec![json!({"code": code, "message": message})], result, None)
    }

    /// One page of a list.
    pub(crate) fn list(result: Value, info: Value) -> Self {
        Self::success(vec![], result, Some(info))
    }

    /// Raw bytes.
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self { status: 200, payload: Payload::Bytes(bytes), shown_value: None }
    }

    /// The same answer, remembering that it shows `value`.
    pub(crate) fn showing(mut self, value: String) -> Self {
        self.shown_value = Some(value);
        self
    }

    fn success(messages: Vec<Value>, result: Value, info: Option<Value>) -> Self {
        let mut body = Map::new();
        body.insert("success".to_owned(), true.into());
        body.insert("errors".to_owned(), Value::Array(vec![]));
        body.insert("messages".to_owned(), messages.into());
        body.insert("result".to_owned(), result);
        if let Some(info) = info {
            body.insert("result_info".to_owned(), info);
        }
        Self::envelope(200, Value::Object(body))
    }

    fn envelope(status: u16, body: Value) -> Self {
        Self { status, payload: Payload::Json(body), shown_value: None }
    }
}

/// A refusal: HTTP status, the provider's code (1000 or more) and a message.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal in the sandbox's own words.
    pub(crate) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The caller is known but may not do this.
    pub(crate) fn forbidden() -> Self {
        Self::new(403, 10_000, "Authentication error")
    }

    /// The request is wrong. The provider documents no codes for token validation: 1001 is the sandbox's choice.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, 1001, message)
    }

    /// The thing does not exist (or not for this caller).
    pub(crate) fn missing(what: &str) -> Self {
        Self::new(404, 1003, format!("{what} not found"))
    }

    /// The path names nothing that the sandbox serves.
    pub(crate) fn no_route(path: &str) -> Self {
        let shown: String = path.chars().take(200).collect();
        Self::new(
            404,
            7003,
            format!("Could not route to {shown}, perhaps your object identifier is invalid?"),
        )
    }

    /// A bound of the sandbox itself.
    pub(crate) fn full(what: &str, limit: usize) -> Self {
        Self::new(400, 1012, format!("the sandbox holds at most {limit} {what}"))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let errors = json!([{"code": refusal.code, "message": refusal.message}]);
        let body = json!({"success": false, "errors": errors, "messages": [], "result": null});
        Self::envelope(refusal.status, body)
    }
}

impl From<getrandom::Error> for Refusal {
    fn from(error: getrandom::Error) -> Self {
        Self::new(500, 1500, format!("no randomness: {error}"))
    }
}
