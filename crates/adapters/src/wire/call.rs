//! What goes over the wire, and what comes back.

use std::time::Duration;

use keywright_core::secret::Secret;
use reqwest::Method;
use reqwest::header::HeaderValue;
use url::Url;
use zeroize::Zeroizing;

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// The segments below the base URL; each is percent-encoded on its own, so none can leave its place.
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(&'static str, String)>,
    /// Sent as `Authorization: Bearer`.
    pub(crate) secret: &'a Secret,
    /// JSON.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
    /// A limit for this answer in bytes, where the wire's does not fit.
    pub(crate) max_body: Option<usize>,
    pub(crate) repeat: Repeat,
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
    pub(crate) fn get(path: Vec<&'a str>, secret: &'a Secret) -> Self {
        Self::new(Method::GET, path, secret, Repeat::Safe)
    }

    /// Ends something.
    pub(crate) fn delete(path: Vec<&'a str>, secret: &'a Secret) -> Self {
        Self::new(Method::DELETE, path, secret, Repeat::Safe)
    }

    /// Makes or replaces something: sent once.
    pub(crate) fn once(
        method: Method,
        path: Vec<&'a str>,
        secret: &'a Secret,
        body: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self { body: Some(body), ..Self::new(method, path, secret, Repeat::Never) }
    }

    fn new(method: Method, path: Vec<&'a str>, secret: &'a Secret, repeat: Repeat) -> Self {
        Self { method, path, query: Vec::new(), secret, body: None, max_body: None, repeat }
    }

    /// The address of the call: the base, the segments, the query.
    pub(super) fn url(&self, base: &Url) -> Result<Url, Fault> {
        // `.` and `..` would be dropped silently by the URL standard, and the call would hit the parent path.
        if self.path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(Fault::NotSent { why: "a part of the path is empty or dots".to_owned() });
        }
        let mut url = base.clone();
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

    /// The credential's header, marked so that no layer below prints it. Made for each call and dropped with it; the
    /// HTTP library's copy can't be wiped.
    pub(super) fn bearer(&self) -> Result<HeaderValue, Fault> {
        let text = Zeroizing::new(format!("Bearer {}", self.secret.expose_secret()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| Fault::NotSent {
            why: "the credential holds characters that no header may".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}
