//! What every call to GitHub's REST API has in common, version 2022-11-28.

use crate::rest::{RefusalBody, Said};

/// GitHub's own address.
pub(crate) const PUBLIC: &str = "https://api.github.com";
/// The code of a refusal that is about the pace of calls: a 403 of GitHub may be one.
pub(crate) const PACE: &str = "rate limit";

pub(crate) fn headers() -> Vec<(&'static str, String)> {
    vec![
        ("accept", "application/vnd.github+json".to_owned()),
        ("x-github-api-version", "2022-11-28".to_owned()),
    ]
}

/// GitHub's refusals: `{message, documentation_url, errors}`.
pub(crate) fn said(body: &[u8]) -> Option<Said> {
    let message = RefusalBody::parse(body)?.text("/message")?;
    let code = message.to_ascii_lowercase().contains(PACE).then(|| PACE.to_owned());
    Some(Said { code, message })
}
