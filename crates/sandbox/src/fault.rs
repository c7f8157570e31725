//! Faults: how the sandbox misbehaves on request.

use serde::{Deserialize, Serialize};

use crate::error::SandboxError;

/// How many faults may wait at once.
const MOST_FAULTS: usize = 1_000;
/// The longest delay, in milliseconds.
const LONGEST_DELAY_MS: u64 = 600_000;
/// The largest body that a fault produces, in bytes.
const LARGEST_BODY: u64 = 1 << 32;

/// A fault and the calls that it hits.
///
/// Over HTTP: `POST /_sandbox/faults` with `{"method": "POST", "path": "/accounts/*/tokens", "skip": 0, "count": 1,
/// "kind": "reply_lost_after_commit"}`, the kind's own fields beside `kind`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// The HTTP method; absent for all.
    #[serde(default)]
    pub method: Option<String>,
    /// A pattern for the path below the base path: `*` stands for one segment, `**` at the end for any number.
    pub path: String,
    /// How many matching calls pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many matching calls it then hits.
    #[serde(default = "one")]
    pub count: u32,
    /// What happens to them.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What a fault does. "Commit" is the moment when the call's work is done and visible to other calls.
///
/// Several faults can hit one call: the first that ends it before the commit wins; otherwise the work is done (with every
/// grant fault applied), and the first that changes the reply wins. `Slow` delays replies in the envelope only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The work is done, then the connection closes without an answer.
    ReplyLostAfterCommit,
    /// The connection closes without an answer, and nothing was done.
    ReplyLostBeforeCommit,
    /// An error status (400 to 599) in the envelope, and nothing was done.
    Status {
        /// HTTP status.
        status: u16,
        /// Sent as `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The work is done, then status 500.
    #[serde(rename = "500_after_commit")]
    ServerErrorAfterCommit,
    /// The work is done and answered, late or in small pieces.
    Slow {
        /// How long before the head of the answer, in milliseconds.
        #[serde(default)]
        delay_ms: u64,
        /// How long between pieces of 16 bytes of the body, in milliseconds; 0 sends it whole.
        #[serde(default)]
        trickle_ms: u64,
    },
    /// No answer, and the connection stays open until the client gives up or the sandbox stops.
    Hang {
        /// Whether the work is done.
        #[serde(default)]
        commit: bool,
    },
    /// On a list of tokens: leaves out those that are younger than this. With `count` it lasts for so many lists.
    LaggingList {
        /// The age from which a token is listed, in milliseconds.
        ms: u64,
    },
    /// On a create of a token (or a roll): its value is refused this many times before it works.
    LaggingVerify {
        /// How many uses are refused.
        uses: u32,
    },
    /// Status 400 whose message quotes the bearer token and, with `commit`, the value that the call produced.
    EchoSecretInError {
        /// Whether the work is done before the error.
        #[serde(default)]
        commit: bool,
    },
    /// Status 400 with this message, whatever stands in it, and nothing was done.
    Says {
        /// The message.
        message: String,
    },
    /// The work is done, then status 200 with a page instead of JSON.
    Garbage,
    /// The work is done, then status 200 with valid JSON of this many bytes and more.
    HugeBody {
        /// How large, in bytes.
        bytes: u64,
    },
    /// Status 302 to another host, and nothing was done.
    Redirect {
        /// The `Location`.
        location: String,
    },
    /// On a create or replacement of a token: stores more than was asked, and answers as if it had not.
    WiderGrant {
        /// What is wider.
        grant: Widening,
    },
    /// The same as `WiderGrant` with `DropCondition`.
    DropCondition,
}

/// How a stored token differs from what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Widening {
    /// One more zone of the account: in a policy that names zones, or in a policy of its own (Zone Read).
    OtherZone,
    /// One more permission group, of a scope that a policy already covers; one that writes, where there is one.
    ExtraGroup,
    /// No expiry.
    NoExpiry,
    /// No address condition.
    DropCondition,
}

/// Names an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultId(pub u64);

/// A fault and how far it got.
#[derive(Clone, Debug, Serialize)]
pub struct FaultView {
    /// Its id.
    pub id: FaultId,
    /// The fault, with `skip` and `count` counted down.
    pub fault: Fault,
    /// How many calls it has hit.
    pub hits: u32,
}

/// The faults that wait, oldest first, and those that are spent until room is needed.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Vec<FaultView>,
    next: u64,
}

impl Fault {
    /// A fault that hits the next matching call.
    #[must_use]
    pub fn on(method: &str, path: &str, kind: FaultKind) -> Self {
        Self { method: Some(method.to_owned()), path: path.to_owned(), skip: 0, count: 1, kind }
    }

    /// Lets `skip` matching calls pass first.
    #[must_use]
    pub fn skipping(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Hits `count` calls instead of one.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    fn check(&self) -> Result<(), SandboxError> {
        let problem = match &self.kind {
            FaultKind::Status { status, .. } if !(400..=599).contains(status) => {
                "`status` must be 400 to 599"
            }
            FaultKind::Slow { delay_ms, trickle_ms }
                if *delay_ms > LONGEST_DELAY_MS || *trickle_ms > LONGEST_DELAY_MS =>
            {
                "a delay is at most 600000 ms"
            }
            FaultKind::HugeBody { bytes } if *bytes > LARGEST_BODY => "`bytes` is at most 4294967296",
            FaultKind::Redirect { location } if axum::http::HeaderValue::from_str(location).is_err() => {
                "`location` is not a header value"
            }
            _ if !self.path.starts_with('/') => "`path` must start with `/`",
            _ => return Ok(()),
        };
        Err(SandboxError::Fault(problem.to_owned()))
    }

    fn matches(&self, method: &str, segments: &[String]) -> bool {
        let method_matches = self.method.as_deref().is_none_or(|mine| mine.eq_ignore_ascii_case(method));
        let mut pattern = self.path.split('/').skip(1);
        let mut actual = segments.iter();
        method_matches
            && loop {
                match (pattern.next(), actual.next()) {
                    (Some("**"), _) | (None, None) => break true,
                    (Some("*"), Some(_)) => {}
                    (Some(expected), Some(found)) if expected == found => {}
                    _ => break false,
                }
            }
    }
}

impl FaultKind {
    /// Its name, as the control path writes it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ReplyLostAfterCommit => "reply_lost_after_commit",
            Self::ReplyLostBeforeCommit => "reply_lost_before_commit",
            Self::Status { .. } => "status",
            Self::ServerErrorAfterCommit => "500_after_commit",
            Self::Slow { .. } => "slow",
            Self::Hang { .. } => "hang",
            Self::LaggingList { .. } => "lagging_list",
            Self::LaggingVerify { .. } => "lagging_verify",
            Self::EchoSecretInError { .. } => "echo_secret_in_error",
            Self::Says { .. } => "says",
            Self::Garbage => "garbage",
            Self::HugeBody { .. } => "huge_body",
            Self::Redirect { .. } => "redirect",
            Self::WiderGrant { .. } => "wider_grant",
            Self::DropCondition => "drop_condition",
        }
    }
}

impl Faults {
    /// Adds a fault.
    pub(crate) fn add(&mut self, fault: Fault) -> Result<FaultId, SandboxError> {
        fault.check()?;
        if self.faults.len() >= MOST_FAULTS {
            self.faults.retain(|view| view.fault.count > 0);
        }
        if self.faults.len() >= MOST_FAULTS {
            return Err(SandboxError::Fault(format!("at most {MOST_FAULTS} faults can wait")));
        }
        self.next += 1;
        let id = FaultId(self.next);
        self.faults.push(FaultView { id, fault, hits: 0 });
        Ok(id)
    }

    /// The kinds of fault that hit this call, counting it.
    pub(crate) fn take(&mut self, method: &str, segments: &[String]) -> Vec<FaultKind> {
        let mut hits = Vec::new();
        for view in &mut self.faults {
            if view.fault.count == 0 || !view.fault.matches(method, segments) {
                continue;
            }
            if view.fault.skip > 0 {
                view.fault.skip -= 1;
                continue;
            }
            view.fault.count -= 1;
            view.hits += 1;
            hits.push(view.fault.kind.clone());
        }
        hits
    }

    /// Forgets all faults.
    pub(crate) fn clear(&mut self) {
        self.faults.clear();
    }

    /// All faults, oldest first.
    pub(crate) fn views(&self) -> &[FaultView] {
        &self.faults
    }
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_then_hits_then_is_spent() {
        let mut faults = Faults::default();
        faults.add(Fault::on("post", "/accounts/*/tokens", FaultKind::Garbage).skipping(1).times(2)).unwrap();
        let path = ["accounts".to_owned(), "a".to_owned(), "tokens".to_owned()];
        let hits: Vec<usize> = (0..5).map(|_| faults.take("POST", &path).len()).collect();
        assert_eq!(hits, [0, 1, 1, 0, 0]);
        assert!(faults.take("GET", &path).is_empty());
    }

    #[test]
    fn patterns_match_whole_paths() {
        let cases = [
            ("/zones/*/dns_records", "/zones/z/dns_records", true),
            ("/zones/*/dns_records", "/zones/z/dns_records/r", false),
            ("/zones/**", "/zones/z/dns_records/r", true),
            ("/zones/**", "/zones", true),
            ("/**", "/user", true),
            ("/zones", "/user", false),
        ];
        for (pattern, path, expected) in cases {
            let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
            assert_eq!(
                Fault::on("GET", pattern, FaultKind::Garbage).matches("GET", &segments),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_fault_out_of_bounds_is_refused() {
        let mut faults = Faults::default();
        for kind in [
            FaultKind::Status { status: 200, retry_after: None },
            FaultKind::Slow { delay_ms: 600_001, trickle_ms: 0 },
            FaultKind::HugeBody { bytes: u64::MAX },
            FaultKind::Redirect { location: "http://x\r\nset-cookie: y".to_owned() },
        ] {
            assert!(faults.add(Fault::on("GET", "/zones", kind.clone())).is_err(), "{kind:?}");
        }
        assert!(faults.add(Fault::on("GET", "zones", FaultKind::Garbage)).is_err());
        for _ in 0..MOST_FAULTS {
            faults.add(Fault::on("GET", "/zones", FaultKind::Garbage)).unwrap();
        }
        assert!(faults.add(Fault::on("GET", "/zones", FaultKind::Garbage)).is_err());
        faults.take("GET", &["zones".to_owned()]);
        faults.add(Fault::on("GET", "/zones", FaultKind::Garbage)).unwrap();
    }
}
