//! The wire: the one place that dials out, for providers and stores alike.
//!
//! What it promises to the adapters above it:
//! * It talks to the host of its base URL and to no other: https (http for loopback only), no proxy (an environment
//!   variable must not decide where credentials go), no redirects, no URL from a reply. A name is resolved, the
//!   addresses are judged, and exactly those addresses are dialled. A private network is reached only where an operator
//!   named the address.
//! * Every call has a deadline and every body a limit; both are enforced while the answer streams in.
//! * Only calls that say so are repeated ([`Repeat::Safe`]), a bounded number of times, on a failed connection, a
//!   closed connection, 429 or 5xx. A call that says [`Repeat::Never`] leaves this machine at most once, over a
//!   connection of its own, so that "the connection failed" means "nothing was sent".
//! * After a 429 with `Retry-After` nothing goes out until that time is over: a call waits for a few seconds at most, and
//!   otherwise ends as [`Fault::Closed`] without touching the network. Only a DELETE goes out once all the same: a leaked
//!   key is not to live for a quarter of an hour because something else was too much.
//! * Nothing that it says about a failure quotes a body, a header or a query.
//!
//! What is no HTTP (mail) gets a bare connection from here, to addresses that were judged likewise ([`Endpoint`]).
//!
//! Plain HTTP/1.1 is used on purpose: one request on a connection at a time makes "was it sent?" answerable.

mod address;
mod body;
mod call;
mod endpoint;
mod pace;
mod retry;
mod scrub;
mod sign;
#[cfg(test)]
mod tests;
mod trust;

use std::time::{Duration, Instant};

use reqwest::header::{DATE, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, redirect};
use url::Url;

pub(crate) use address::AddressError;
pub(crate) use call::{Auth, Call, Fault, Repeat, Reply};
pub(crate) use endpoint::{Bounded, Endpoint};
pub(crate) use pace::Pace;
pub(crate) use retry::{Retry, jittered};
pub(crate) use scrub::{Scrub, json_fault};
pub(crate) use sign::Signer;
pub(crate) use trust::{Authority, CA_FILE};

use address::Reach;
use pace::Limiter;

/// How a wire is set up.
pub(crate) struct WireConfig {
    /// The kind of provider or store, for traces.
    pub(crate) label: &'static str,
    /// Where everything goes: scheme, host, port and the path that all calls are below.
    pub(crate) base_url: String,
    /// Whether an operator named it: then it may be of a private network.
    pub(crate) is_given: bool,
    /// Whose certificates are trusted besides those that this machine trusts.
    pub(crate) authority: Authority,
    /// How long a connection may take to come about.
    pub(crate) connect_timeout: Duration,
    /// How long one attempt may take, from dialling to the last byte of the answer.
    pub(crate) deadline: Duration,
    /// The largest answer in bytes, unless a call allows more.
    pub(crate) max_body: usize,
    /// How fast calls may follow each other; `None` for no limit.
    pub(crate) pace: Option<Pace>,
    /// How calls are repeated that may be.
    pub(crate) retry: Retry,
}

/// A line to one host.
pub(crate) struct Wire {
    config: WireConfig,
    base: Url,
    reach: Reach,
    /// Keeps connections open between calls.
    pooled: Client,
    /// A new connection for each call: what must be sent at most once never meets a connection that went stale.
    fresh: Client,
    limiter: Limiter,
}

/// Why a wire could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The base URL is not one that credentials may be sent to.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The file of certificates can't be used.
    #[error("the `ca_file` {0}")]
    Authority(String),
    /// The TLS library did not start.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
}

impl WireConfig {
    /// The usual bounds: 5 s to connect, 30 s in all, 1 MiB, three attempts.
    pub(crate) fn new(label: &'static str, base_url: &str) -> Self {
        Self {
            label,
            base_url: base_url.to_owned(),
            is_given: false,
            authority: Authority::Never,
            connect_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            max_body: 1 << 20,
            pace: None,
            retry: Retry::default(),
        }
    }
}

impl Wire {
    /// Checks the base URL, reads the certificates and prepares the clients. Dials nothing yet.
    ///
    /// # Errors
    /// When the base URL is not allowed, or TLS can't be set up.
    pub(crate) fn new(config: WireConfig) -> Result<Self, WireError> {
        Self::with_lookup(config, &address::system_lookup())
    }

    /// As [`Wire::new`], with the names resolved by `lookup`.
    fn with_lookup(config: WireConfig, lookup: &address::Lookup) -> Result<Self, WireError> {
        let (base, reach) = address::parse_base(&config.base_url, config.is_given)?;
        let certificates = config.authority.certificates()?;
        let build = |idle: usize| {
            let mut client = Client::builder();
            // Only then: with none it stays the verifier of this machine alone.
            if !certificates.is_empty() {
                client = client.tls_certs_merge(certificates.clone());
            }
            client
                .no_proxy()
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .http1_only()
                .https_only(base.scheme() == "https")
                .connect_timeout(config.connect_timeout)
                .pool_max_idle_per_host(idle)
                .dns_resolver(address::Guarded::new(reach, lookup))
                .build()
                .map_err(|error| WireError::Tls(innermost(&error)))
        };
        let (pooled, fresh) = (build(4)?, build(0)?);
        let limiter = Limiter::new(config.pace.as_ref());
        Ok(Self { config, base, reach, pooled, fresh, limiter })
    }

    /// Whether everything stays on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.reach == Reach::Loopback
    }

    /// Sends a call and reads its answer, whatever the status. A call that may be repeated is repeated on a failed
    /// or closed connection, 429 and 5xx; the last answer counts.
    ///
    /// # Errors
    /// When there is no complete answer; only [`Fault::NotSent`] and [`Fault::Closed`] promise that nothing was sent.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Reply, Fault> {
        let (mut attempt, mut may_be_done) = (1, false);
        loop {
            let mut outcome = self.attempt(&call, attempt).await;
            let wait = match call.repeat {
                Repeat::Never => None,
                Repeat::Safe => self.config.retry.wait_after(attempt, &outcome),
            };
            if let Ok(reply) = &mut outcome {
                reply.is_repeated = may_be_done;
            }
            let Some(wait) = wait else { return outcome };
            may_be_done |= match &outcome {
                Ok(reply) => reply.status >= 500,
                Err(fault) => !matches!(fault, Fault::NotSent { .. } | Fault::Closed { .. }),
            };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call<'_>, attempt: u32) -> Result<Reply, Fault> {
        match self.limiter.wait(self.config.deadline).await {
            Err(Fault::Closed { .. }) if call.method == reqwest::Method::DELETE && attempt == 1 => {}
            waited => waited?,
        }
        let request = self.request(call)?;
        let started = Instant::now();
        let outcome = match tokio::time::timeout(self.config.deadline, self.exchange(request, call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::TimedOut { after: self.config.deadline }),
        };
        tracing::debug!(
            label = self.config.label,
            method = %call.method,
            path = %call.path.join("/").escape_default(),
            attempt,
            status = outcome.as_ref().ok().map(|reply| reply.status),
            fault = outcome.as_ref().err().map(tracing::field::display),
            elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "call"
        );
        outcome
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, call: &Call<'_>) -> Result<Reply, Fault> {
        let response =
            request.send().await.map_err(|error| without_answer(&error, &self.config.authority))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Fault::Redirected { status: status.as_u16() });
        }
        let retry_after = retry_after(&response);
        // Before the body is read: it may never end.
        if let (429, Some(wait)) = (status.as_u16(), retry_after) {
            self.limiter.close_for(wait);
        }
        let limit = call.max_body.unwrap_or(self.config.max_body);
        let body = body::read(response, limit).await?;
        Ok(Reply { status: status.as_u16(), retry_after, body, is_repeated: false })
    }

    fn request(&self, call: &Call<'_>) -> Result<reqwest::RequestBuilder, Fault> {
        let client = match call.repeat {
            Repeat::Never => &self.fresh,
            Repeat::Safe => &self.pooled,
        };
        let url = call.url(&self.base)?;
        let headers = call.headers(&url)?;
        let request = client
            .request(call.method.clone(), url)
            .header(USER_AGENT, concat!("keywright/", env!("CARGO_PKG_VERSION")))
            .headers(headers);
        Ok(match &call.body {
            Some(body) => request.body(body.to_vec()),
            None => request,
        })
    }
}

/// What a failure before the answer's head means. Connecting (name, TCP, TLS) comes before the first byte of a
/// request, so only there it is certain that nothing was sent.
fn without_answer(error: &reqwest::Error, authority: &Authority) -> Fault {
    if error.is_connect() || error.is_builder() {
        let why = innermost(error);
        let of = if is_tls(error) { "TLS: " } else { "" };
        Fault::NotSent { why: format!("no connection: {of}{why}{}", authority.hint(&why)) }
    } else {
        Fault::Lost { why: innermost(error) }
    }
}

/// Whether TLS did not come about: what it could not make sense of, a certificate first of all, is invalid data.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(one) = cause {
        let mut io = one.downcast_ref::<std::io::Error>();
        while let Some(one) = io {
            if one.kind() == std::io::ErrorKind::InvalidData {
                return true;
            }
            io = one.get_ref().and_then(|inner| inner.downcast_ref());
        }
        cause = one.source();
    }
    false
}

/// The root cause, which names no URL, cut and escaped: a certificate or a name server may have written parts of it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    keywright_core::text::Untrusted::capped(&cause.to_string(), 200).to_string()
}

/// What the answer asks for. A date is measured by the clock of who wrote it, where the answer shows that clock.
fn retry_after(response: &Response) -> Option<Duration> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let now = header(DATE).and_then(retry::parse_http_date).unwrap_or_else(jiff::Timestamp::now);
    retry::parse_retry_after(header(RETRY_AFTER)?, now)
}
