//! What goes over the wire, and what comes back.

use std::time::Duration;

use keywright_core::secret::Secret;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;
use zeroize::Zeroizing;

use super::sign::Signer;

/// One call.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// The segments below the base URL; each is percent-encoded on its own, so none can leave its place.
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) auth: Auth<'a>,
    /// Further headers, none of them secret.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
    /// What the body is: JSON, unless said otherwise.
    pub(crate) content_type: &'static str,
    /// A limit for this answer in bytes, where the wire's does not fit.
    pub(crate) max_body: Option<usize>,
    pub(crate) repeat: Repeat,
}

/// How a call says who is calling.
#[derive(Clone, Copy)]
pub(crate) enum Auth<'a> {
    /// `Authorization: Bearer` (RFC 6750).
    Bearer(&'a Secret),
    /// The secret alone in a header of its own: `X-Vault-Token`.
    Header(&'static str, &'a Secret),
    /// A signature over the whole request: AWS Signature Version 4.
    Signed(&'a Signer),
    /// Nobody in particular: a login, whose body says who.
    Nobody,
}

/// Whether a call may be sent again when its answer fails to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice has the same effect as once.
    Safe,
    /// It leaves this machine at most once.
    Never,
}

/// A complete answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// How long the other side asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Wiped when dropped, because the answer to a create holds the secret.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// Whether the call was sent before this, and may have been done then.
    pub(crate) is_repeated: bool,
}

/// Why there is no complete answer. No variant quotes what was sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Nothing left this machine.
    #[error("{why}")]
    NotSent { why: String },
    /// Nothing left this machine, because the other side asked not to be called for a while yet.
    #[error("it asked not to be called for {} s yet", left.as_secs_f32().ceil())]
    Closed { left: Duration },
    /// It was sent, or may have been, and no complete answer came.
    #[error("the connection ended before the answer did: {why}")]
    Lost { why: String },
    /// As `Lost`: the deadline passed.
    #[error("no complete answer within {} s", after.as_secs_f32())]
    TimedOut { after: Duration },
    /// As `Lost`: the answer is larger than it may be.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// As `Lost`: it points elsewhere, and elsewhere is never asked.
    #[error("the answer is a redirect (status {status}), which is never followed")]
    Redirected { status: u16 },
}

impl<'a> Call<'a> {
    /// Reads something.
    pub(crate) fn get(path: Vec<&'a str>, auth: impl Into<Auth<'a>>) -> Self {
        Self::new(Method::GET, path, auth.into(), Repeat::Safe)
    }

    /// Ends something.
    pub(crate) fn delete(path: Vec<&'a str>, auth: impl Into<Auth<'a>>) -> Self {
        Self::new(Method::DELETE, path, auth.into(), Repeat::Safe)
    }

    /// Makes or replaces something where a second time changes nothing: it may be repeated.
    pub(crate) fn again(
        method: Method,
        path: Vec<&'a str>,
        auth: impl Into<Auth<'a>>,
        body: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self { body: Some(body), ..Self::new(method, path, auth.into(), Repeat::Safe) }
    }

    /// Makes or replaces something: sent once.
    pub(crate) fn once(
        method: Method,
        path: Vec<&'a str>,
        auth: impl Into<Auth<'a>>,
        body: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self { body: Some(body), ..Self::new(method, path, auth.into(), Repeat::Never) }
    }

    fn new(method: Method, path: Vec<&'a str>, auth: Auth<'a>, repeat: Repeat) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            auth,
            headers: Vec::new(),
            body: None,
            content_type: "application/json",
            max_body: None,
            repeat,
        }
    }

    /// The address of the call: the base, the segments, the query.
    pub(super) fn url(&self, base: &Url) -> Result<Url, Fault> {
        // `.` and `..` would be dropped silently by the URL standard, and the call would hit the parent path.
        if self.path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Fault::NotSent { why: "a part of the path is empty or dots".to_owned() });
        }
        let mut url = base.clone();
        if self.path.is_empty() && self.query.is_empty() {
            return Ok(url);
        }
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(&self.path);
            }
            Err(()) => return Err(Fault::NotSent { why: "the base URL holds no path".to_owned() }),
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }

    /// Every header besides the HTTP library's own. The credential's is marked so that no layer below prints it; it is
    /// made for each attempt and dropped with it, yet the HTTP library's copy can't be wiped.
    pub(super) fn headers(&self, url: &Url) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(HeaderName::from_static(name), plain(value)?);
        }
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        match self.auth {
            Auth::Nobody => {}
            Auth::Bearer(secret) => {
                let text = Zeroizing::new(format!("Bearer {}", secret.expose_secret()));
                headers.insert(AUTHORIZATION, sensitive(&text)?);
            }
            Auth::Header(name, secret) => {
                headers.insert(HeaderName::from_static(name), sensitive(secret.expose_secret())?);
            }
            Auth::Signed(signer) => {
                let body = self.body.as_ref().map_or(&[][..], |body| body.as_slice());
                signer.sign(self.method.as_str(), url, &mut headers, body)?;
            }
        }
        Ok(headers)
    }
}

fn plain(text: &str) -> Result<HeaderValue, Fault> {
    let why = || Fault::NotSent { why: "a setting holds characters that no header may".to_owned() };
    HeaderValue::from_str(text).map_err(|_| why())
}

pub(super) fn sensitive(text: &str) -> Result<HeaderValue, Fault> {
    let why = || Fault::NotSent { why: "the credential holds characters that no header may".to_owned() };
    let mut value = HeaderValue::from_str(text).map_err(|_| why())?;
    value.set_sensitive(true);
    Ok(value)
}

impl<'a> From<&'a Secret> for Auth<'a> {
    fn from(secret: &'a Secret) -> Self {
        Self::Bearer(secret)
    }
}

impl<'a> From<&'a Signer> for Auth<'a> {
    fn from(signer: &'a Signer) -> Self {
        Self::Signed(signer)
    }
}
