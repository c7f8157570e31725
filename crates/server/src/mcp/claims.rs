//! What a client says about itself. Recorded as claimed; nothing is decided by it.

use std::collections::BTreeMap;

use keywright_core::name::AgentName;
use keywright_core::text::Untrusted;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

/// The longest claim, in characters.
const LONGEST: usize = 200;

/// Variables that clients set for the programs that they start.
const VARIABLES: [(&str, &str); 3] = [
    ("CLAUDE_CODE_SESSION_ID", "claude_code_session"),
    ("CLAUDECODE", "claude_code"),
    ("AI_AGENT", "ai_agent"),
];

/// Claims that are the same for every call of this process.
#[derive(Debug, Clone)]
pub(super) struct Claims(BTreeMap<String, String>);

impl Claims {
    /// The agent's name as the command line says it, and what the client put into the environment.
    pub(super) fn of_this_process(agent: &AgentName) -> Self {
        let mut claims = BTreeMap::from([("agent".to_owned(), agent.to_string())]);
        for (variable, name) in VARIABLES {
            if let Some(text) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
                claims.insert(name.to_owned(), capped(&text));
            }
        }
        Self(claims)
    }

    /// With what came along with one call.
    pub(super) fn with(&self, context: &RequestContext<RoleServer>) -> BTreeMap<String, String> {
        let mut claims = self.0.clone();
        if let Some(client) = context.client_info() {
            claims.insert("client".to_owned(), capped(&client.name));
            claims.insert("client_version".to_owned(), capped(&client.version));
        }
        if let Some(trace) = context.meta.get_traceparent().filter(|text| is_traceparent(text)) {
            claims.insert("traceparent".to_owned(), trace.to_owned());
        }
        claims
    }
}

fn capped(text: &str) -> String {
    Untrusted::capped(text, LONGEST).raw().to_owned()
}

/// `version-traceid-parentid-flags` in lower-case hex (W3C Trace Context, section 3.2).
fn is_traceparent(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([2, 32, 16, 2]) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_taken_along() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in ["", "00-4BF9-x-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
