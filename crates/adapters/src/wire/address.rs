//! Which addresses may be dialled.
//!
//! A base URL is either loopback (the sandbox, tests) or public (everything else). A public name must never lead to
//! this machine, its networks or a cloud's metadata service, and a loopback name never away from this machine. One that an
//! operator gave may also lead to a private network, where people run servers of their own; never to this link or to a
//! metadata service, which hand credentials to whoever asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use keywright_core::text::Untrusted;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// How many addresses of a name are looked at.
const MOST_ADDRESSES: usize = 64;

/// Where a base URL may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// This machine only.
    Loopback,
    /// The public internet only.
    Public,
    /// The public internet and private networks.
    Given,
}

/// Why a base URL is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    /// It does not parse, or holds more than scheme, host, port and path.
    #[error("`{0}` is not a base URL; write `https://host/path`, without user, query or fragment")]
    Form(Untrusted),
    /// Credentials would travel in the clear.
    #[error("`{0}` is not https; plain http is for loopback only")]
    Plain(Untrusted),
    /// The host is an address of this link, of a metadata service, or of no single machine; or of a private network that
    /// nobody named.
    #[error("`{0}` is not a public address, nor one of a private network")]
    Private(Untrusted),
}

/// Resolves a name to addresses (the port is 0: the URL's counts).
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// A resolver that hands on addresses only after all of them were judged. The client dials what it is handed, so the
/// address that was checked is the address that is connected.
pub(super) struct Guarded {
    reach: Reach,
    lookup: Lookup,
}

/// A name led somewhere that it must not.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to `{0}`, which may not be dialled")]
struct Forbidden(IpAddr);

/// The operating system's resolver.
pub(super) fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
}

/// Checks a base URL. The URL standard has already turned decimal, octal and hexadecimal hosts into addresses.
pub(super) fn parse_base(text: &str, is_given: bool) -> Result<(Url, Reach), AddressError> {
    let shown = || shown(text);
    let url = Url::parse(text).map_err(|_| AddressError::Form(shown()))?;
    let extras = !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some();
    if extras || !matches!(url.scheme(), "http" | "https") {
        return Err(AddressError::Form(shown()));
    }
    let Some(reach) = reach_of(&url, is_given) else { return Err(AddressError::Private(shown())) };
    if reach != Reach::Loopback && url.scheme() != "https" {
        return Err(AddressError::Plain(shown()));
    }
    Ok((url, reach))
}

/// An address for an error: without what may be a credential in it, before the host or behind the path.
fn shown(text: &str) -> Untrusted {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let bare = text.rsplit_once('@').map(|(before, host)| {
        let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
        format!("{scheme}://[...]@{host}")
    });
    Untrusted::capped(bare.as_deref().unwrap_or(text), 120)
}

/// Where a URL's host leads, as far as it shows without resolving; `None` when it may not be dialled.
fn reach_of(url: &Url, is_given: bool) -> Option<Reach> {
    let away = if is_given { Reach::Given } else { Reach::Public };
    let ip = match url.host()? {
        Host::Domain(name) => {
            let local = name.trim_end_matches('.') == "localhost";
            return Some(if local { Reach::Loopback } else { away });
        }
        Host::Ipv4(ip) => IpAddr::V4(ip),
        Host::Ipv6(ip) => IpAddr::V6(ip),
    };
    [Reach::Loopback, away].into_iter().find(|reach| reach.admits(ip))
}

impl Reach {
    /// Whether an address is within reach.
    pub(super) fn admits(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match self {
            Self::Loopback => ip.is_loopback(),
            Self::Public => match ip {
                IpAddr::V4(ip) => is_public_v4(ip),
                IpAddr::V6(ip) => is_public_v6(ip),
            },
            Self::Given => Self::Public.admits(ip) || is_private(ip),
        }
    }
}

impl Guarded {
    pub(super) fn new(reach: Reach, lookup: &Lookup) -> Self {
        Self { reach, lookup: Arc::clone(lookup) }
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        let reach = self.reach;
        Box::pin(async move {
            let mut addresses = found.await?;
            addresses.truncate(MOST_ADDRESSES);
            // One bad address spoils the name: dropping it would let whoever answers choose when to rebind.
            if let Some(bad) = addresses.iter().find(|address| !reach.admits(address.ip())) {
                return Err(Forbidden(bad.ip()).into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Of a network that people have to themselves: RFC 1918, carrier NAT (which overlay networks use), RFC 4193. Within them
/// lie some metadata services.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b) && ip != ALIBABA;
            ip.is_private() || is_shared
        }
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            (0xfc00..0xfe00).contains(&a) && !CLOUDS.contains(&(a, b))
        }
    }
}

/// Azure's own services, beside the usual metadata service; a public address by its number.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
/// Alibaba Cloud's metadata service.
const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// Where clouds keep theirs by IPv6: Amazon, Google, Oracle, Scaleway.
const CLOUDS: [(u16, u16); 4] = [(0xfd00, 0x0ec2), (0xfd20, 0x00ce), (0xfd00, 0x00c1), (0xfd00, 0x0042)];

/// Globally reachable unicast, after the IANA special-purpose registry (RFC 6890).
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b)) // carrier NAT, and one cloud's metadata service
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || ip == AZURE
        || a >= 224;
    !special
}

/// Global unicast is 2000::/3; within it, what wraps an IPv4 address counts as that address.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let embedded = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match (a, b) {
        (0x64, 0xff9b) => [c, d, e, f] == [0; 4] && embedded(g, h),
        (0x2002, _) => embedded(b, c),
        (0x2001, 0..=0x01ff | 0x0db8) | (0x3fff, 0..=0x0fff) => false,
        _ => (0x2000..0x4000).contains(&a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_https_or_loopback() {
        for (text, expected) in [
            ("https://api.cloudflare.com/client/v4", Some(Reach::Public)),
            ("https://1.1.1.1/", Some(Reach::Public)),
            ("http://127.0.0.1:8787/client/v4", Some(Reach::Loopback)),
            ("http://127.9.9.9", Some(Reach::Loopback)),
            ("http://localhost:1", Some(Reach::Loopback)),
            ("http://[::1]:1", Some(Reach::Loopback)),
            ("https://[::1]:1", Some(Reach::Loopback)),
            // Other spellings of 127.0.0.1.
            ("http://2130706433/", Some(Reach::Loopback)),
            ("http://0x7f.1/", Some(Reach::Loopback)),
            ("http://[::ffff:127.0.0.1]/", Some(Reach::Loopback)),
        ] {
            assert_eq!(parse_base(text, false).ok().map(|(_, reach)| reach), expected, "{text}");
        }
        for text in [
            "http://api.cloudflare.com/client/v4",
            "http://localhost.example.com/",
            "https://user@api.cloudflare.com/",
            "https://api.cloudflare.com/?x=1",
            "https://api.cloudflare.com/#x",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://",
            "",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://2852039166/", // the same address, in decimal
            "https://0xa9.0xfe.0xa9.0xfe/",
            "https://[::ffff:169.254.169.254]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
            "https://[::]/",
        ] {
            assert!(parse_base(text, false).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_known_in_every_dress() {
        for text in [
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
        ] {
            assert!(!Reach::Public.admits(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "104.16.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::101:101"]
        {
            let ip = text.parse().unwrap();
            assert!(Reach::Public.admits(ip) && !Reach::Loopback.admits(ip), "{text}");
        }
    }

    #[test]
    fn an_address_that_was_given_may_be_of_a_private_network_by_https() {
        for text in [
            "https://10.0.0.1:8200",
            "https://172.16.0.1",
            "https://192.168.1.1/api/v4",
            "https://100.64.0.1",
            "https://[fd12:3456::1]",
            "https://[fc00::1]",
            "https://vault.internal:8200",
            "https://1.1.1.1",
        ] {
            assert_eq!(parse_base(text, true).map(|(_, reach)| reach), Ok(Reach::Given), "{text}");
            let plain = text.replacen("https", "http", 1);
            assert!(matches!(parse_base(&plain, true), Err(AddressError::Plain(_))), "{plain}");
        }
        assert_eq!(parse_base("http://127.0.0.1:1", true).map(|(_, reach)| reach), Ok(Reach::Loopback));
        for text in [
            "https://169.254.169.254/",
            "https://169.254.1.1/",
            "https://100.100.100.200/",
            "https://[fe80::1]/",
            "https://[febf::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fd00:ec2::23]/",
            "https://[fd20:ce::254]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[2002:a00:1::]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://224.0.0.1/",
            "https://[ff02::1]/",
            "https://255.255.255.255/",
            "https://198.18.0.1/",
            "https://192.0.0.192/",
            "https://168.63.129.16/",
        ] {
            assert!(matches!(parse_base(text, true), Err(AddressError::Private(_))), "{text}");
        }
    }

    #[test]
    fn an_error_repeats_nothing_that_may_be_a_credential() {
        for (text, says) in [
            ("https://ana:hunter2@vault.example/v1", "`https://[...]@vault.example/v1`"),
            ("https://vault.example/?token=hunter2", "`https://vault.example/`"),
            ("https://vault.example/#hunter2", "`https://vault.example/`"),
            ("https://ana:hunter2@x@10.0.0.1:99999/", "`https://[...]@10.0.0.1:99999/`"),
            ("hunter2@", "`://[...]@`"),
        ] {
            let error = parse_base(text, false).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads_and_by_who_named_it() {
        for (address, public, given) in [
            ("1.1.1.1:0", true, true),
            ("10.1.2.3:0", false, true),
            ("[::ffff:10.1.2.3]:0", false, true),
            ("[fd12::1]:0", false, true),
            ("127.0.0.1:0", false, false),
            ("[::1]:0", false, false),
            ("169.254.169.254:0", false, false),
            ("[fd00:ec2::254]:0", false, false),
            ("[fe80::1]:0", false, false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            // One bad address among good ones is enough.
            let lookup: Lookup = Arc::new(move |_| {
                let all = vec![SocketAddr::from(([1, 1, 1, 1], 0)), address];
                Box::pin(async move { Ok(all) })
            });
            for (reach, expected) in [(Reach::Public, public), (Reach::Given, given)] {
                let resolved = Guarded::new(reach, &lookup).resolve("vault.example".parse().unwrap()).await;
                assert_eq!(resolved.is_ok(), expected, "{address} {reach:?}");
            }
        }
    }
}
