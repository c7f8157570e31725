//! The API server of Kubernetes, as far as Secrets go: read, server-side apply with owners for each field, delete under a
//! precondition. The namespaces `web` and `api`.
//!
//! Below `/-/` it answers to tests, without a credential: what lies in a key, and one that `kubectl` owns.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::fresh_value;

const NAMESPACES: [&str; 2] = ["web", "api"];

struct Cluster {
    token: String,
    version: u64,
    secrets: BTreeMap<(String, String), Secret>,
}

#[derive(Default)]
struct Secret {
    version: u64,
    /// By path: `data.KEY`, `metadata.labels.KEY`, `metadata.annotations.KEY`.
    fields: BTreeMap<String, Field>,
}

struct Field {
    value: Value,
    owners: BTreeSet<String>,
}

/// The maps whose entries have owners.
const MAPS: [(&str, &str); 3] =
    [("data", "/data"), ("labels", "/metadata/labels"), ("annotations", "/metadata/annotations")];

pub(super) async fn start() -> Result<Running, SandboxError> {
    let token = fresh_value().map_err(SandboxError::Randomness)?;
    let state = Cluster { token: token.clone(), version: 1, secrets: BTreeMap::new() };
    door::serve(state, token, answer).await
}

fn refused(status: u16, reason: &str, message: &str) -> Told {
    let told = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status,
    });
    (status, Some(told))
}

fn answer(state: &mut Cluster, asked: &Asked) -> Told {
    let path = asked.segments();
    let method = asked.method.as_str();
    if let ["-", verb, namespace, name, key] = path.as_slice() {
        return state.control(verb, ((*namespace).to_owned(), (*name).to_owned()), key, asked);
    }
    if asked.bearer() != Some(state.token.as_str()) {
        return refused(401, "Unauthorized", "Unauthorized");
    }
    match (method, path.as_slice()) {
        ("POST", ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]) => {
            let asked_for = asked.text("/spec/resourceAttributes/namespace");
            let is_allowed = asked_for.is_none_or(|namespace| NAMESPACES.contains(&namespace));
            (201, Some(json!({"kind": "SelfSubjectAccessReview", "status": {"allowed": is_allowed}})))
        }
        ("GET", ["api", "v1", "namespaces", namespace]) => {
            if NAMESPACES.contains(namespace) {
                (200, Some(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})))
            } else {
                refused(404, "NotFound", &format!("namespaces \"{namespace}\" not found"))
            }
        }
        (method, ["api", "v1", "namespaces", namespace, "secrets", name]) => {
            state.of_secret(method, namespace, name, asked)
        }
        _ => refused(404, "NotFound", "the server could not find the requested resource"),
    }
}

impl Cluster {
    fn of_secret(&mut self, method: &str, namespace: &str, name: &str, asked: &Asked) -> Told {
        let spot = (namespace.to_owned(), name.to_owned());
        let absent = || refused(404, "NotFound", &format!("secrets \"{name}\" not found"));
        match method {
            "GET" => self.secrets.get(&spot).map_or_else(absent, |found| (200, Some(shown(&spot, found)))),
            "PATCH" if asked.header("content-type") != Some("application/apply-patch+yaml") => {
                refused(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            }
            "PATCH" if !NAMESPACES.contains(&namespace) => {
                refused(404, "NotFound", &format!("namespaces \"{namespace}\" not found"))
            }
            "PATCH" => self.apply(spot, asked),
            "DELETE" => {
                let Some(found) = self.secrets.get(&spot) else { return absent() };
                let wanted = asked.text("/preconditions/resourceVersion");
                if wanted.is_some_and(|wanted| wanted != found.version.to_string()) {
                    return refused(
                        409,
                        "Conflict",
                        "Precondition failed: the ResourceVersion does not match",
                    );
                }
                self.secrets.remove(&spot);
                (200, Some(json!({"kind": "Status", "status": "Success"})))
            }
            _ => refused(405, "MethodNotAllowed", "the server does not allow this method"),
        }
    }

    fn apply(&mut self, spot: (String, String), asked: &Asked) -> Told {
        let Some(manager) = asked.query("fieldManager").map(str::to_owned) else {
            return refused(400, "BadRequest", "fieldManager is required for apply patch");
        };
        let body = &asked.body;
        if body["kind"] != "Secret" || body["apiVersion"] != "v1" || body["metadata"]["name"] != json!(spot.1)
        {
            return refused(400, "BadRequest", "the object is not the one of the address");
        }
        let found = self.secrets.get(&spot);
        if let Some(wanted) = asked.text("/metadata/resourceVersion")
            && found.is_none_or(|found| found.version.to_string() != wanted)
        {
            return refused(409, "Conflict", "the object has been modified; please apply your changes to it");
        }
        let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
        for (map, pointer) in MAPS {
            for (key, value) in body.pointer(pointer).and_then(Value::as_object).into_iter().flatten() {
                wanted.insert(format!("{map}.{key}"), value.clone());
            }
        }
        let is_bad = |(path, value): (&String, &Value)| {
            path.starts_with("data.") && value.as_str().is_none_or(|text| STANDARD.decode(text).is_err())
        };
        if wanted.iter().any(is_bad) {
            return refused(400, "BadRequest", "illegal base64 data");
        }
        let by_force = asked.query("force") == Some("true");
        let is_held = |path: &String, value: &Value| {
            let field = found.and_then(|found| found.fields.get(path));
            field.is_some_and(|field| {
                field.value != *value && field.owners.iter().any(|owner| *owner != manager)
            })
        };
        if let Some((path, _)) =
            wanted.iter().find(|(path, value)| is_held(path, value)).filter(|_| !by_force)
        {
            let message =
                format!("Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .{path}");
            return refused(409, "Conflict", &message);
        }
        self.version += 1;
        let status = if found.is_some() { 200 } else { 201 };
        let secret = self.secrets.entry(spot.clone()).or_default();
        secret.version = self.version;
        secret.fields.retain(|path, field| {
            wanted.contains_key(path) || !(field.owners.remove(&manager) && field.owners.is_empty())
        });
        for (path, value) in wanted {
            let field = secret
                .fields
                .entry(path)
                .or_insert_with(|| Field { value: Value::Null, owners: BTreeSet::new() });
            if field.value != value {
                field.owners.clear();
            }
            field.value = value;
            field.owners.insert(manager.clone());
        }
        (status, Some(shown(&spot, secret)))
    }

    fn control(&mut self, verb: &str, spot: (String, String), key: &str, asked: &Asked) -> Told {
        let path = format!("data.{key}");
        if verb == "put" {
            self.version += 1;
            let secret = self.secrets.entry(spot).or_default();
            secret.version = self.version;
            let value = json!(STANDARD.encode(asked.text("/value").unwrap_or_default()));
            let owners = BTreeSet::from(["kubectl".to_owned()]);
            secret.fields.insert(path, Field { value, owners });
            return (200, Some(json!({})));
        }
        let found = self.secrets.get(&spot);
        let field = found.and_then(|found| found.fields.get(&path));
        let bytes = field.and_then(|field| STANDARD.decode(field.value.as_str()?).ok());
        let value = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (200, Some(json!({"value": value, "exists": found.is_some()})))
    }
}

fn shown((namespace, name): &(String, String), secret: &Secret) -> Value {
    let mut told = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": secret.version.to_string()},
    });
    for (path, field) in &secret.fields {
        let Some((map, key)) = path.split_once('.') else { continue };
        let holder = if map == "data" { &mut told } else { &mut told["metadata"] };
        holder[map][key] = field.value.clone();
    }
    told
}
