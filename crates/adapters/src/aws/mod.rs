//! What the AWS APIs share: credentials, hosts, bodies of errors, and which codes mean what.
//!
//! Two protocols are spoken: JSON 1.1 ([`JsonApi`]: Secrets Manager, SSM) and Query ([`QueryApi`]: IAM, STS), which is a
//! form in and XML out. Both are signed (Signature Version 4).

mod xml;

use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) use self::xml::Element;
use crate::rest::{self, Cause, Failure, Proof, Rest, Said};
use crate::wire::{Call, Repeat, Signer, Wire};

/// What a credential for AWS looks like.
pub(crate) const CREDENTIAL: &str = "`ACCESS_KEY_ID:SECRET_ACCESS_KEY`, or `ACCESS_KEY_ID:SECRET_ACCESS_KEY:SESSION_TOKEN` for a temporary one";

/// Codes that say: too many calls.
const THROTTLED: [&str; 6] = [
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyUpdates",
];
/// Codes that say: who are you, or: you may not.
const DENIED: [&str; 13] = [
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "OptInRequired",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "ExpiredToken",
    "ExpiredTokenException",
];
/// Codes that say: the time of the signature is not ours.
const SKEWED: [&str; 3] = ["RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"];
/// What a refusal of the signature says when it is the time that is wrong with it, and not the key.
const SKEWED_WORDS: [&str; 2] = ["Signature expired", "Signature not yet current"];
const CLOCK: &str = "this machine's clock is off: AWS takes no signature that is more than a few minutes older or newer than its own time; set the clock";
/// Codes that say: there is no such thing.
const MISSING: [&str; 3] = ["ResourceNotFoundException", "ParameterNotFound", "NoSuchEntity"];

/// An access key: its id, its secret, and the token of a session.
pub(crate) struct Keys {
    pub(crate) id: String,
    secret: Secret,
    session: Option<Secret>,
}

impl Keys {
    /// Reads `ID:SECRET` or `ID:SECRET:TOKEN`.
    pub(crate) fn parse(credential: &Secret) -> Option<Self> {
        let mut parts = credential.expose_secret().trim().split(':');
        let (id, secret, session) = (parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        Self::new(id, secret, session)
    }

    /// `None` where a part is empty, or holds what no part of a credential does.
    pub(crate) fn new(id: &str, secret: &str, session: Option<&str>) -> Option<Self> {
        let is_id = (16..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        let is_text = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        (is_id && is_text(secret) && session.is_none_or(is_text)).then(|| Self {
            id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
            session: session.map(|token| Secret::new(token.to_owned())),
        })
    }

    /// Whether they end by themselves.
    pub(crate) fn are_temporary(&self) -> bool {
        self.session.is_some()
    }

    /// What no message may quote.
    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        [&self.secret].into_iter().chain(&self.session)
    }

    fn signer(&self, region: &str, service: &'static str) -> Signer {
        let copy = |secret: &Secret| Secret::new(secret.expose_secret().to_owned());
        let session = self.session.as_ref().map(copy);
        Signer::new(self.id.clone(), copy(&self.secret), session, region.to_owned(), service)
    }
}

/// Whether this is a region's name: `eu-central-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    plain && text.len() <= 32 && text.split('-').count() >= 3 && text.split('-').all(|part| !part.is_empty())
}

/// The partition of a region: the second part of every ARN in it.
pub(crate) fn partition(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The public address of a regional service.
pub(crate) fn address(service: &str, region: &str) -> String {
    let china = if partition(region) == "aws-cn" { ".cn" } else { "" };
    format!("https://{service}.{region}.amazonaws.com{china}")
}

/// What of a message is no credential: ids of access keys, markers, and the long words of codes. A secret access key has
/// 40 characters, and a session token many more.
pub(crate) fn is_harmless(run: &str) -> bool {
    let is_key_id = run.len() == 20
        && run.starts_with('A')
        && run.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let is_word = run.len() < 40 && run.bytes().all(|b| b.is_ascii_alphabetic());
    is_key_id || is_word || run.starts_with("kw-")
}

/// Sorts a failure by its code: these APIs answer most refusals with status 400. What it sorts comes before any work.
pub(crate) fn sorted(failure: Failure) -> Failure {
    let is = |codes: &[&str]| failure.code().is_some_and(|code| codes.contains(&code));
    let (throttled, denied, missing) = (is(&THROTTLED), is(&DENIED), is(&MISSING));
    let is_skewed = |message: &Untrusted| {
        is(&SKEWED) || (denied && SKEWED_WORDS.iter().any(|words| message.raw().contains(words)))
    };
    let skewed = match &failure.cause {
        Cause::Refused { message, .. } | Cause::Denied { message, .. } => is_skewed(message),
        _ => false,
    };
    let cause = match failure.cause {
        _ if skewed => Cause::Unavailable(CLOCK.to_owned()),
        Cause::Refused { .. } | Cause::Denied { .. } if throttled => Cause::Throttled(None),
        Cause::Refused { status, code, message } if denied => Cause::Denied { status, code, message },
        Cause::Refused { code, message, .. } if missing => Cause::NotFound { code, message },
        cause => return Failure { cause, proof: failure.proof },
    };
    Failure { cause, proof: Proof::NotDone }
}

/// A JSON 1.1 API: the operation is a header.
pub(crate) struct JsonApi {
    rest: Rest,
    signer: Signer,
    /// What stands before the operation's name: `secretsmanager`.
    target: &'static str,
}

impl JsonApi {
    pub(crate) fn new(
        wire: Wire,
        keys: &Keys,
        region: &str,
        service: &'static str,
        target: &'static str,
    ) -> Self {
        let rest = Rest::new(wire, keys.secrets(), is_harmless, json_said);
        Self { rest, signer: keys.signer(region, service), target }
    }

    /// Sends an operation. `repeat` says whether a second time changes nothing.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        repeat: Repeat,
        operation: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = rest::body(body)?;
        let call = Call {
            headers: vec![("x-amz-target", format!("{}.{operation}", self.target))],
            content_type: "application/x-amz-json-1.1",
            repeat,
            ..Call::once(Method::POST, Vec::new(), &self.signer, body)
        };
        let reply = self.rest.send(call).await.map_err(sorted)?;
        if reply.body.is_empty() {
            // What has nothing to say answers without a body.
            return serde_json::from_value(Value::Null)
                .map_err(|_| Failure::garbled("it is empty".to_owned()));
        }
        rest::parse(&reply)
    }
}

/// `{"__type": "com.amazonaws.x#ResourceExistsException", "message": "..."}`
fn json_said(body: &[u8]) -> Option<Said> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = body.get("__type")?.as_str()?.rsplit('#').next()?.to_owned();
    let message = body.get("message").or_else(|| body.get("Message")).and_then(Value::as_str);
    Some(Said { message: format!("{code}: {}", message.unwrap_or_default()), code: Some(code) })
}

/// A Query API: the operation is a field of a form, the answer is XML.
pub(crate) struct QueryApi {
    rest: Rest,
    signer: Signer,
    version: &'static str,
}

/// The fields of a call.
pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

impl QueryApi {
    pub(crate) fn new(
        wire: Wire,
        keys: &Keys,
        region: &str,
        service: &'static str,
        version: &'static str,
    ) -> Self {
        let rest = Rest::new(wire, keys.secrets(), is_harmless, query_said);
        Self { rest, signer: keys.signer(region, service), version }
    }

    /// Sends an action that may be repeated: its result.
    pub(crate) async fn call(&self, action: &str, fields: Fields<'_>) -> Result<Element, Failure> {
        self.send(Repeat::Safe, &self.signer, action, fields).await
    }

    /// Sends an action that makes something: once.
    pub(crate) async fn once(&self, action: &str, fields: Fields<'_>) -> Result<Element, Failure> {
        self.send(Repeat::Never, &self.signer, action, fields).await
    }

    /// Sends an action as somebody else, in a region of theirs.
    pub(crate) async fn call_as(
        &self,
        keys: &Keys,
        region: &str,
        service: &'static str,
        action: &str,
    ) -> Result<Element, Failure> {
        self.send(Repeat::Never, &keys.signer(region, service), action, &[]).await
    }

    fn form(&self, action: &str, fields: Fields<'_>) -> Zeroizing<Vec<u8>> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", self.version).extend_pairs(fields);
        form.finish().into_bytes().into()
    }

    async fn send(
        &self,
        repeat: Repeat,
        signer: &Signer,
        action: &str,
        fields: Fields<'_>,
    ) -> Result<Element, Failure> {
        let form = self.form(action, fields);
        let call = Call {
            content_type: "application/x-www-form-urlencoded",
            repeat,
            ..Call::once(Method::POST, Vec::new(), signer, form)
        };
        let reply = self.rest.send(call).await.map_err(sorted)?;
        let answer = Element::parse(&reply.body).filter(|root| root.name == format!("{action}Response"));
        let answer =
            answer.ok_or_else(|| Failure::garbled("it is not the XML that is documented".to_owned()))?;
        Ok(answer.into_child(&format!("{action}Result")).unwrap_or_default())
    }
}

/// `<ErrorResponse><Error><Code>NoSuchEntity</Code><Message>...`
fn query_said(body: &[u8]) -> Option<Said> {
    let root = Element::parse(body).filter(|root| root.name == "ErrorResponse")?;
    let code = root.text("Error/Code")?.to_owned();
    let message = root.text("Error/Message").unwrap_or_default();
    Some(Said { message: format!("{code}: {message}"), code: Some(code) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_two_parts_or_three() {
        let keys = |text: &str| Keys::parse(&Secret::new(text.to_owned()));
        assert!(!keys("AKIAIOSFODNN7EXAMPLE:wJalr/XU+nFEMI=\n").unwrap().are_temporary());
        assert!(keys("ASIAIOSFODNN7EXAMPLE:wJalr/XU+nFEMI=:IQoJ//token==").unwrap().are_temporary());
        for bad in ["", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE:", "a:b", "AKIAIOSFODNN7EXAMPLE:a:b:c"]
        {
            assert!(keys(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_region_says_where_its_services_are() {
        assert_eq!(address("iam", "cn-north-1"), "https://iam.cn-north-1.amazonaws.com.cn");
        assert_eq!(address("ssm", "eu-central-1"), "https://ssm.eu-central-1.amazonaws.com");
        assert_eq!(partition("us-gov-west-1"), "aws-us-gov");
        for (text, fits) in
            [("us-east-1", true), ("eu", false), ("us-east-1.evil.example", false), ("a--b", false)]
        {
            assert_eq!(is_region(text), fits, "{text}");
        }
    }

    #[test]
    fn words_and_ids_stay_in_messages_and_secrets_do_not() {
        for (run, stays) in [
            ("AKIAIOSFODNN7EXAMPLE", true),
            ("UnrecognizedClientException", true),
            ("wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYzz", false),
            ("wJalrXUtnFEMIKMDENGbPxRfiCYEXAMPLEKEYzzz", false),
        ] {
            assert_eq!(is_harmless(run), stays, "{run}");
        }
    }
}
