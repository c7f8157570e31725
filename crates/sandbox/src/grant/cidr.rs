//! Address ranges: the `request_ip` condition.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// Where a token may be used from. Read back under the key `request_ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpCondition {
    /// If not empty, only from these ranges.
    pub(crate) allowed: Vec<Cidr>,
    /// Never from these.
    pub(crate) refused: Vec<Cidr>,
}

/// A range, remembered as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    text: String,
    network: u128,
    mask: u128,
    is_v4: bool,
}

impl IpCondition {
    /// Whether a call from `ip` is within the condition.
    pub(crate) fn admits(&self, ip: IpAddr) -> bool {
        let inside = self.allowed.is_empty() || self.allowed.iter().any(|range| range.contains(ip));
        inside && !self.refused.iter().any(|range| range.contains(ip))
    }

    /// As the API shows it; empty lists are left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut request_ip = Map::new();
        for (key, ranges) in [("in", &self.allowed), ("not_in", &self.refused)] {
            if !ranges.is_empty() {
                request_ip.insert(key.to_owned(), ranges.iter().map(|range| range.text.as_str()).collect());
            }
        }
        json!({"request_ip": request_ip})
    }
}

impl Cidr {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or a single address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(bits);
        if length > bits {
            return None;
        }
        // A shift by the full width is undefined, so a prefix of 0 is spelled out.
        let mask = if length == 0 { 0 } else { u128::MAX << (bits - length) };
        Some(Self { text: text.to_owned(), network: number(address) & mask, mask, is_v4: address.is_ipv4() })
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.is_v4 == ip.is_ipv4() && number(ip) & self.mask == self.network
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_should() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.0.0.1/32", "127.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (range, ip, expected) in cases {
            let found = Cidr::parse(range).unwrap().contains(ip.parse().unwrap());
            assert_eq!(found, expected, "{range} {ip}");
        }
        for wrong in ["", "127.0.0.1/33", "::/129", "127.0.0/8", "example.com", "1.2.3.4/-1", "1.2.3.4/"] {
            assert_eq!(Cidr::parse(wrong), None, "{wrong}");
        }
    }
}
