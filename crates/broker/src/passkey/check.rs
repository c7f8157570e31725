//! Whether an authenticator's answer is good: for this passkey, at its origin, over this message, with the user verified. Nothing
//! is remembered for it, so that what was approved years ago is checked as it was then.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use keywright_core::approval::{Assertion, challenge};
use keywright_core::audit::{Deed, Record, SignatureRecord};
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{AuthenticationState, Credential, PublicKeyCredential};

use super::batch::AT_MOST;

/// How long a person may take in front of their authenticator.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The methods of signatures, as the log names them.
pub(crate) const ED25519: &str = "ed25519";
pub(crate) const WEBAUTHN: &str = "webauthn";

/// The relying party of an origin.
///
/// # Errors
/// Why browsers would let no page of that origin ask for a passkey, in words.
pub(crate) fn party(origin: &str) -> Result<WebauthnCore, String> {
    let url = url::Url::parse(origin).map_err(|_| format!("`{origin}` is no origin"))?;
    let host = match (url.scheme(), url.host_str()) {
        ("https", Some(host)) => host,
        ("http", Some("localhost")) => "localhost",
        _ => return Err("browsers have passkeys on https, and on http://localhost only".to_owned()),
    };
    if url.origin().ascii_serialization() != origin {
        return Err(format!("`{origin}` is no origin: it has the form https://HOST or https://HOST:PORT"));
    }
    if host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[') {
        return Err("browsers have no passkeys for an address in numbers; give the host a name".to_owned());
    }
    let host = host.to_owned();
    Ok(WebauthnCore::new_unsafe_experts_only(
        "Keywright",
        &host,
        vec![url],
        PATIENCE,
        Some(false),
        Some(false),
    ))
}

/// Whether an assertion is one of this credential, made at this origin over this message by a person who was verified. Gives the
/// authenticator's counter.
///
/// # Errors
/// Why it is not, in words.
pub(crate) fn is_good(
    credential: &Credential,
    origin: &str,
    message: &[u8],
    assertion: &Assertion,
) -> Result<u32, String> {
    let is_hash = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if assertion.together.len() > AT_MOST || !assertion.together.iter().all(is_hash) {
        return Err(format!("one touch is good for {AT_MOST} at most"));
    }
    let message = assertion.covers(message).ok_or_else(|| "it was given for something else".to_owned())?;
    // Its own state would hold a challenge of its own; ours says what is approved.
    let state = serde_json::json!({
        "credentials": [credential],
        "policy": "required",
        "challenge": URL_SAFE_NO_PAD.encode(challenge(&message)),
        "appid": null,
        "allow_backup_eligible_upgrade": false,
    });
    let state: AuthenticationState = serde_json::from_value(state).map_err(|error| error.to_string())?;
    let answer = serde_json::json!({
        "id": assertion.credential,
        "rawId": assertion.credential,
        "type": "public-key",
        "response": {
            "authenticatorData": assertion.authenticator_data,
            "clientDataJSON": assertion.client_data,
            "signature": assertion.signature,
            "userHandle": null,
        },
    });
    let answer: PublicKeyCredential =
        serde_json::from_value(answer).map_err(|_| "it is not what a browser gives".to_owned())?;
    let result =
        party(origin)?.authenticate_credential(&answer, &state).map_err(|error| error.to_string())?;
    if !result.user_verified() {
        return Err("the authenticator did not verify who touched it".to_owned());
    }
    Ok(result.counter())
}

/// What the log keeps of an assertion: with it and the message, anybody can check it again.
pub(crate) fn on_record(
    by: &str,
    credential: &str,
    origin: &str,
    message: &[u8],
    assertion: &Assertion,
) -> SignatureRecord {
    let with = [
        ("authenticator_data", &assertion.authenticator_data),
        ("client_data", &assertion.client_data),
        ("credential", &assertion.credential),
    ];
    let mut with: std::collections::BTreeMap<String, String> =
        with.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    with.insert("origin".to_owned(), origin.to_owned());
    if !assertion.together.is_empty() {
        with.insert("together".to_owned(), assertion.together.join(" "));
    }
    SignatureRecord {
        by: by.to_owned(),
        method: WEBAUTHN.to_owned(),
        key: STANDARD.encode(credential),
        over: STANDARD.encode(message),
        signature: assertion.signature.clone(),
        with,
    }
}

/// Whether a signature of the log verifies with the key that stands beside it.
///
/// # Errors
/// Why it does not, in words.
pub fn verifies(signature: &SignatureRecord) -> Result<(), String> {
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| "it is not base64".to_owned());
    let (key, message) = (bytes(&signature.key)?, bytes(&signature.over)?);
    match signature.method.as_str() {
        ED25519 => {
            let key: [u8; 32] = key.try_into().map_err(|_| "its key has another length".to_owned())?;
            let key = VerifyingKey::from_bytes(&key).map_err(|_| "its key is none".to_owned())?;
            let signed = bytes(&signature.signature)?;
            let signed = Signature::from_slice(&signed).map_err(|_| "it has another length".to_owned())?;
            key.verify_strict(&message, &signed).map_err(|_| "it is not one of that key".to_owned())
        }
        WEBAUTHN => {
            let credential: Credential =
                serde_json::from_slice(&key).map_err(|_| "its passkey can't be read".to_owned())?;
            let of =
                |name: &str| signature.with.get(name).cloned().ok_or_else(|| format!("it has no `{name}`"));
            let assertion = Assertion {
                credential: of("credential")?,
                authenticator_data: of("authenticator_data")?,
                client_data: of("client_data")?,
                signature: signature.signature.clone(),
                together: signature
                    .with
                    .get("together")
                    .map(|all| all.split(' ').map(str::to_owned).collect())
                    .unwrap_or_default(),
            };
            is_good(&credential, &of("origin")?, &message, &assertion).map(drop)
        }
        other => Err(format!("nobody knows the method `{}`", keywright_core::text::escaped(other))),
    }
}

/// Whether what operators signed in an entry verifies, and is what the entry speaks of.
///
/// # Errors
/// Why it does not, in words.
pub fn signed_as_said(record: &Record) -> Result<(), String> {
    for signature in &record.signatures {
        verifies(signature)?;
        let message = STANDARD.decode(&signature.over).unwrap_or_default();
        let message = String::from_utf8(message).map_err(|_| "what was signed is no text".to_owned())?;
        let lines: Vec<&str> = message.lines().collect();
        let said = |place: usize| lines.get(place).copied().unwrap_or_default();
        let request = record.subject.request.as_deref().unwrap_or_default();
        let fact = |name: &str| record.facts.get(name).map(ToString::to_string);
        let is_same = match record.deed {
            Deed::ApprovalGive => {
                said(0) == "keywright/approval/1"
                    && said(2) == request
                    && said(3) == signature.by
                    && Some(said(4)) == record.plan_digest.as_deref()
            }
            Deed::RequestReject => {
                said(0) == "keywright/deed/1"
                    && said(1) == record.deed.as_str()
                    && said(2) == request
                    && said(5) == signature.by
            }
            Deed::TemplateApply => {
                said(0) == "keywright/deed/1"
                    && said(1) == record.deed.as_str()
                    && fact("proposal").as_deref() == Some(said(2))
                    && record
                        .facts
                        .get("source")
                        .map(|source| {
                            serde_json::json!(["apply", source, record.facts.get("version")]).to_string()
                        })
                        .as_deref()
                        == Some(said(3))
                    && said(5) == signature.by
            }
            Deed::OperatorTouch => {
                said(0) == "keywright/deed/1"
                    && record.facts.get("deed").and_then(|deed| deed.as_str()) == Some(said(1))
                    && fact("subject").as_deref() == Some(said(2))
                    && said(5) == signature.by
            }
            Deed::AgentResume => {
                said(0) == "keywright/deed/1"
                    && said(1) == record.deed.as_str()
                    && record.subject.name.as_ref().map(|name| serde_json::json!(name).to_string()).as_deref()
                        == Some(said(2))
                    && said(5) == signature.by
            }
            Deed::SessionOpen => said(0) == "keywright/deed/1" && said(1) == record.deed.as_str(),
            Deed::GrantAdd => crate::grants::is_as_said(record, &lines, &signature.by),
            _ => true,
        };
        if !is_same {
            return Err("something else was signed than the entry says".to_owned());
        }
    }
    Ok(())
}
