//! AWS Signature Version 4: the credential never travels, a signature over the request does.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use keywright_core::secret::Secret;
use reqwest::header::{HeaderMap, HeaderName};
use url::Url;

use super::Fault;
use super::call::sensitive;

/// Signs calls to one service in one region.
pub(crate) struct Signer {
    key_id: String,
    secret: Secret,
    session: Option<Secret>,
    region: String,
    service: &'static str,
    clock: fn() -> SystemTime,
}

impl Signer {
    /// `session` is the token that comes with temporary credentials.
    pub(crate) fn new(
        key_id: String,
        secret: Secret,
        session: Option<Secret>,
        region: String,
        service: &'static str,
    ) -> Self {
        Self { key_id, secret, session, region, service, clock: SystemTime::now }
    }

    /// As it signs by another clock.
    #[cfg(test)]
    pub(crate) fn by_clock(self, clock: fn() -> SystemTime) -> Self {
        Self { clock, ..self }
    }

    /// Adds the headers of the signature. Made for each attempt: it holds for 15 minutes by the clock of the service.
    pub(super) fn sign(
        &self,
        method: &str,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), Fault> {
        let fault =
            |why: &dyn std::fmt::Display| Fault::NotSent { why: format!("it can't be signed: {why}") };
        let session = self.session.as_ref().map(|token| token.expose_secret().to_owned());
        let identity =
            Credentials::new(&self.key_id, self.secret.expose_secret(), session, None, "keywright").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time((self.clock)())
            .settings(settings)
            .build()
            .map_err(|error| fault(&error))?
            .into();
        let named: Vec<(String, String)> = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let named = named.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new(method, url.as_str(), named, SignableBody::Bytes(body))
            .map_err(|error| fault(&error))?;
        let (instructions, _) = sign(request, &parameters).map_err(|error| fault(&error))?.into_parts();
        for (name, value) in instructions.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| fault(&error))?;
            headers.insert(name, sensitive(value)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_signature_carries_the_time_of_the_clock_that_it_was_made_by() {
        let signed = |clock: fn() -> SystemTime| {
            let secret = Secret::new("wJalr".to_owned());
            let signer = Signer::new(
                "AKIAIOSFODNN7EXAMPLE".to_owned(),
                secret,
                None,
                "eu-central-1".to_owned(),
                "sts",
            );
            let mut headers = HeaderMap::new();
            let url = Url::parse("https://sts.eu-central-1.amazonaws.com/").unwrap();
            signer.by_clock(clock).sign("POST", &url, &mut headers, b"Action=GetCallerIdentity").unwrap();
            let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
            (text("x-amz-date"), text("authorization"))
        };
        let (early, first) = signed(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000));
        let (late, second) = signed(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_003_600));
        assert_eq!((early.as_str(), late.as_str()), ("20260921T141320Z", "20260921T151320Z"));
        assert_ne!(first, second, "the time is part of what is signed");
    }
}
