//! Through the vendor's program `op`, version 2, as a service account.
//!
//! Items go in and come out as JSON, on standard input and output: no argument holds a secret. The calls are those of the
//! vendor's own Terraform provider: `op item create -`, and `op item edit ID` with the whole item. The program takes the
//! token from its environment, which other programs of the broker's user can read while it runs.
//!
//! What a failure means can only be read from the program's words; what is not known may have been done.
//!
//! Reference: <https://developer.1password.com/docs/cli/reference/management-commands/item>.

use std::ffi::OsString;

use async_trait::async_trait;
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::items::{Item, Items, Listed, NewField, NewItem};
use crate::child::Program;
use crate::rest::{Cause, Failure, Proof, body, found};
use crate::wire::json_fault;

/// One vault, reached by the program.
pub(super) struct Op {
    pub(super) program: String,
    pub(super) token: Secret,
    pub(super) vault: String,
}

impl Op {
    async fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut variables: Vec<(&'static str, OsString)> = vec![
            ("OP_FORMAT", "json".into()),
            ("OP_SERVICE_ACCOUNT_TOKEN", self.token.expose_secret().into()),
        ];
        let own = ["PATH", "HOME", "XDG_CONFIG_HOME"];
        variables.extend(own.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let program = Program::asked(&self.program, variables);
        let ended = program.run(arguments, input).await.map_err(Failure::unavailable)?;
        if ended.is_good {
            return Ok(ended.answer);
        }
        // Of a program that was given a value nothing is quoted: it might quote the value, whole or in pieces.
        Err(said(&ended.complaint(Some(&self.token)), input.is_empty()))
    }

    async fn json<T: DeserializeOwned>(&self, arguments: &[&str], input: &[u8]) -> Result<T, Failure> {
        let answer = self.run(arguments, input).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| Failure::garbled(format!("`op` answered, and {}", json_fault(&error))))
    }

    async fn item<T: DeserializeOwned>(&self, id: &str) -> Result<T, Failure> {
        self.json(&["item", "get", id, "--vault", &self.vault], b"").await
    }
}

#[async_trait]
impl Items for Op {
    async fn check(&self) -> Result<(), Failure> {
        self.json::<IgnoredAny>(&["vault", "get", &self.vault], b"").await.map(drop)
    }

    async fn titled(&self, title: &str) -> Result<Vec<Item>, Failure> {
        let listed: Vec<Listed> = self.json(&["item", "list", "--vault", &self.vault], b"").await?;
        let mut items = Vec::new();
        for item in listed.iter().filter(|item| item.is_called(title)) {
            items.extend(found(self.item(&item.id).await)?);
        }
        Ok(items)
    }

    async fn create(&self, title: &str, fields: [NewField<'_>; 2]) -> Result<Item, Failure> {
        let item = body(&NewItem::of(&self.vault, title, fields))?;
        self.json(&["item", "create", "-"], &item).await
    }

    /// The whole item goes in: what is left out of it would be lost.
    async fn replace(&self, old: &Item, fields: [NewField<'_>; 2]) -> Result<Item, Failure> {
        let mut whole: Map<String, Value> =
            self.item(&old.id).await.map_err(|failure| Failure { proof: Proof::NotDone, ..failure })?;
        let known = whole.entry("fields").or_insert_with(|| Value::Array(Vec::new()));
        for field in &fields {
            let field = serde_json::to_value(field).unwrap_or_default();
            let place = known
                .as_array_mut()
                .and_then(|known| known.iter_mut().find(|known| known.get("id") == field.get("id")));
            match (place.and_then(Value::as_object_mut), field) {
                // Its section and whatever else it has stay.
                (Some(place), Value::Object(field)) => place.extend(field),
                (_, field) => {
                    if let Some(known) = known.as_array_mut() {
                        known.push(field);
                    }
                }
            }
        }
        let whole = body(&whole)?;
        self.json(&["item", "edit", &old.id, "--vault", &self.vault], &whole).await
    }

    async fn empty(&self, item: &Item, fields: &[&str]) -> Result<(), Failure> {
        let gone: Vec<String> = fields.iter().map(|id| format!("{id}[delete]")).collect();
        let mut arguments = vec!["item", "edit", item.id.as_str(), "--vault", &self.vault];
        arguments.extend(gone.iter().map(String::as_str));
        self.run(&arguments, b"").await.map(drop)
    }

    async fn delete(&self, id: &str) -> Result<(), Failure> {
        found(self.run(&["item", "delete", id, "--vault", &self.vault], b"").await).map(drop)
    }
}

/// Reads a complaint, as in `[ERROR] 2026/11/26 08:00:00 "web" isn't an item in the "..." vault.`
fn said(complaint: &str, may_be_quoted: bool) -> Failure {
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    let quoted = if may_be_quoted { complaint } else { "what it says is not quoted: it was given a value" };
    let message = Untrusted::capped(quoted, 300);
    if has(&["isn't an item", "isn't a vault", "(404)"]) {
        let cause = Cause::NotFound { code: None, message };
        return Failure { cause, proof: Proof::NotDone };
    }
    if has(&["(401)", "Unauthorized", "not currently signed in", "invalid service account token"]) {
        return Failure { cause: Cause::Denied { status: 401, code: None, message }, proof: Proof::NotDone };
    }
    if has(&["(403)", "Forbidden", "don't have permission", "doesn't have permission"]) {
        return Failure { cause: Cause::Denied { status: 403, code: None, message }, proof: Proof::NotDone };
    }
    if has(&["(429)", "Too many requests", "rate limit"]) {
        return Failure { cause: Cause::Throttled(None), proof: Proof::NotDone };
    }
    Failure::unavailable(format!("`op` failed: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_that_is_not_known_proves_nothing() {
        let of = |text: &str| said(text, true);
        assert!(of("[ERROR] 2026/11/26 08:00:00 \"web\" isn't an item in the \"x\" vault.").is_not_found());
        assert!(of("[ERROR] (401) Unauthorized: You aren't authorized").is_denied());
        assert!(matches!(of("[ERROR] (429) Too many requests").cause, Cause::Throttled(None)));
        let unknown = of("[ERROR] connection reset by peer");
        assert!(unknown.proof == Proof::Nothing && matches!(unknown.cause, Cause::Unavailable(_)));
        let silent = format!("{:?}", said("[ERROR] Canary_val ue-0123", false));
        assert!(!silent.contains("Canary"), "{silent}");
    }
}
