//! What world a sandbox starts with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How a sandbox is set up. `SandboxConfig::default()` is the demo's world: the account `Sandbox Inc` with four zones and
/// a KV namespace, on a free loopback port, control path off.
///
/// Not `Debug`: it may hold a token value.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Where to listen: loopback only. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// With a seed, accounts, zones, tokens and records get the same ids in every run. Token values stay random.
    pub seed: Option<u64>,
    /// The accounts; the first one owns the parent token.
    pub accounts: Vec<AccountSpec>,
    /// The parent token's value (40 to 80 characters); generated when absent.
    pub parent_token: Option<String>,
    /// Whether `/_sandbox/faults`, `/_sandbox/state` and `/_sandbox/clock` answer. Whoever reaches the port can then
    /// inject faults.
    pub control: bool,
    /// How many tokens an account may own, the parent included.
    pub account_token_quota: usize,
    /// How many tokens the user may own, the user's parent included.
    pub user_token_quota: usize,
    /// How far `last_used_on` lags behind the real last use.
    pub last_used_lag: Duration,
    /// How many calls the log keeps.
    pub call_log: usize,
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// How many DNS records a zone, keys a namespace, namespaces and buckets an account may hold.
    pub stored_limit: usize,
}

/// One account.
#[derive(Clone, Debug)]
pub struct AccountSpec {
    /// 32 lower-case hex digits; generated when absent.
    pub id: Option<String>,
    /// Its name, at most 100 characters.
    pub name: String,
    /// Its zones.
    pub zones: Vec<ZoneSpec>,
    /// The titles of its Workers KV namespaces.
    pub kv_namespaces: Vec<String>,
}

/// One zone.
#[derive(Clone, Debug)]
pub struct ZoneSpec {
    /// 32 lower-case hex digits; generated when absent.
    pub id: Option<String>,
    /// Its domain name.
    pub name: String,
}

impl AccountSpec {
    /// An account with generated ids.
    #[must_use]
    pub fn new(name: &str, zones: &[&str]) -> Self {
        Self {
            id: None,
            name: name.to_owned(),
            zones: zones.iter().map(|zone| ZoneSpec { id: None, name: (*zone).to_owned() }).collect(),
            kv_namespaces: Vec::new(),
        }
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let mut account = AccountSpec::new(
            "Sandbox Inc",
            &["example.com", "shop.example.com", "example.net", "dev.example.com"],
        );
        account.kv_namespaces.push("sandbox-settings".to_owned());
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: None,
            accounts: vec![account],
            parent_token: None,
            control: false,
            account_token_quota: 500,
            user_token_quota: 50,
            last_used_lag: Duration::ZERO,
            call_log: 10_000,
            body_limit: 1 << 20,
            stored_limit: 10_000,
        }
    }
}
