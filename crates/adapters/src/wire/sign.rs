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
