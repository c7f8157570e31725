//! Where a PostgreSQL server is, as a URL says it, and the rules for getting there: TLS to every host but one's own, and a
//! password from a file only.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::{LedgerError, Result};

/// Which parameters of a URL are handed on; what is not known is refused, because it would be without effect.
const HANDED_ON: [&str; 8] = [
    "host",
    "hostaddr",
    "port",
    "user",
    "dbname",
    "connect_timeout",
    "target_session_attrs",
    "load_balance_hosts",
];
/// Where Debian's servers and most others listen, when no host is named.
const LOCAL_SOCKET: &str = "/var/run/postgresql";

/// A PostgreSQL database. Holds no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    pub(super) config: Config,
    pub(super) has_tls: bool,
    pub(super) roots: Option<PathBuf>,
    pub(super) passfile: Option<PathBuf>,
}

impl Address {
    /// The URL as it was given; it has no password in it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    fn read(url: &str) -> Result<Self> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut handed_on, mut mode, mut roots, mut passfile) = (Vec::new(), None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| bad("a parameter has no value"))?;
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => roots = Some(path(name, value)?),
                "passfile" => passfile = Some(path(name, value)?),
                "password" => return Err(with_password()),
                known if HANDED_ON.contains(&known) => handed_on.push(pair),
                other => {
                    return Err(bad(&format!(
                        "it has a parameter `{}`",
                        keywright_core::text::escaped(other)
                    )));
                }
            }
        }
        // What the parser says may repeat a part of what it was given.
        let mut config = Config::from_str(&format!("{base}?{}", handed_on.join("&")))
            .map_err(|_| bad("it is not of the form postgres://USER@HOST:PORT/DATABASE"))?;
        if config.get_password().is_some() {
            return Err(with_password());
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(LOCAL_SOCKET);
        }
        let has_tls = has_tls(mode, is_own_host(&config))?;
        config.ssl_mode(if has_tls { SslMode::Require } else { SslMode::Disable });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(30));
        config.application_name("keywright");
        Ok(Self { url: url.to_owned(), config, has_tls, roots, passfile })
    }
}

impl FromStr for Address {
    type Err = LedgerError;

    fn from_str(url: &str) -> Result<Self> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::read(url)
        } else {
            Err(bad("it does not begin with postgres://"))
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.url).finish()
    }
}

/// Whether every host is this machine.
fn is_own_host(config: &Config) -> bool {
    let by_name = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    });
    by_name && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// A certificate is always checked in full: TLS with somebody unknown keeps nothing from anybody.
fn has_tls(mode: Option<&str>, is_own_host: bool) -> Result<bool> {
    match mode {
        None => Ok(!is_own_host),
        Some("require" | "verify-ca" | "verify-full") => Ok(true),
        Some("disable" | "allow" | "prefer") if is_own_host => Ok(false),
        Some("disable" | "allow" | "prefer") => Err(bad(
            "only a server on this machine can be used without TLS; leave `sslmode` away, or say `verify-full`",
        )),
        Some(_) => Err(bad("`sslmode` is `disable` or `verify-full`")),
    }
}

fn path(name: &str, value: &str) -> Result<PathBuf> {
    let decoded = decode(value).ok_or_else(|| bad(&format!("`{name}` is no path")))?;
    let path = PathBuf::from(decoded);
    if path.is_absolute() { Ok(path) } else { Err(bad(&format!("`{name}` is not an absolute path"))) }
}

/// Percent-encoding (RFC 3986).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(if byte == b'%' {
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

fn bad(why: &str) -> LedgerError {
    LedgerError::Address(why.to_owned())
}

fn with_password() -> LedgerError {
    bad(
        "it has a password in it, which other programs can see; put the password into a file as for psql (~/.pgpass, mode 0600), or name one with `?passfile=/PATH`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(url: &str) -> String {
        Address::from_str(url).unwrap_err().to_string()
    }

    #[test]
    fn other_machines_are_reached_with_tls_only() {
        let tls = |url: &str| Address::from_str(url).unwrap().has_tls;
        for own in ["127.0.0.1", "localhost", "[::1]", "127.8.0.1:5433", "%2Ftmp%2Fsockets", ""] {
            assert!(!tls(&format!("postgres://kw@{own}/kw")), "{own}");
            assert!(tls(&format!("postgres://kw@{own}/kw?sslmode=verify-full")), "{own}");
        }
        for other in
            ["db.example.com", "10.0.0.7", "localhost.example.com", "127.0.0.1,db.example.com", "0.0.0.0"]
        {
            assert!(tls(&format!("postgresql://kw@{other}/kw")), "{other}");
            for mode in ["disable", "allow", "prefer"] {
                let said = said(&format!("postgres://kw@{other}/kw?sslmode={mode}"));
                assert!(said.contains("without TLS"), "{other}: {said}");
            }
        }
        assert!(tls("postgres://kw@localhost/kw?hostaddr=10.0.0.7"), "a name that leads elsewhere");
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in [
            "postgres://kw:hunter2@localhost/kw",
            "postgres://kw@localhost/kw?password=hunter2",
            "postgres://kw:hunter2@localhost:port/kw",
            "postgres://kw:hunter2@local host:1:2/kw?sslmode=disable",
        ] {
            assert!(!said(url).contains("hunter2"), "{}", said(url));
        }
        assert!(said("postgres://kw:hunter2@localhost/kw").contains(".pgpass"));
    }

    #[test]
    fn what_would_be_without_effect_is_refused() {
        for url in [
            "mysql://kw@localhost/kw",
            "postgres://kw@localhost/kw?options=-csearch_path%3Devil",
            "postgres://kw@localhost/kw?sslmode=on",
            "postgres://kw@localhost/kw?sslrootcert=relative.pem",
            "postgres://kw@localhost/kw?passfile",
        ] {
            assert!(matches!(Address::from_str(url), Err(LedgerError::Address(_))), "{url}");
        }
        let address =
            Address::from_str("postgres://kw@db/kw?sslrootcert=%2Fetc%2Fca%20of%20ours.pem").unwrap();
        assert_eq!(address.roots, Some(PathBuf::from("/etc/ca of ours.pem")));
    }
}
