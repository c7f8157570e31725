//! Paths: which operation a call means, and what it needs.

use crate::grant::resource::Target;
use crate::grant::rights;
use crate::ids::is_id;
use crate::token::Owner;

/// An operation that the sandbox serves, with the identifiers from its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `.../tokens/verify`
    VerifyToken(Owner),
    /// `.../tokens/permission_groups`
    PermissionGroups(Owner),
    /// `.../tokens` and below
    Tokens(Owner, TokenVerb),
    /// `/accounts`
    ListAccounts,
    /// `/accounts/{a}`
    ShowAccount(String),
    /// `/user`
    ShowUser,
    /// `/zones`
    ListZones,
    /// `/zones/{z}`
    ShowZone(String),
    /// `/zones/{z}/purge_cache`
    PurgeCache(String),
    /// `/zones/{z}/dns_records` and below
    Records(String, RecordVerb),
    /// `/accounts/{a}/storage/kv/namespaces` and below
    Kv(String, KvVerb),
    /// `/accounts/{a}/r2/buckets` and below
    R2(String, R2Verb),
}

/// What to do with tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenVerb {
    List,
    Create,
    Show(String),
    Replace(String),
    Delete(String),
    Roll(String),
}

/// What to do with DNS records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordVerb {
    List,
    Create,
    Show(String),
    Replace(String),
    Patch(String),
    Delete(String),
}

/// What to do with Workers KV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KvVerb {
    List,
    Create,
    Show(String),
    Delete(String),
    Keys(String),
    Read(String, String),
    Write(String, String),
    Erase(String, String),
}

/// What to do with R2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum R2Verb {
    List,
    Create,
    Delete(String),
    Objects(String),
    Read(String, String),
    Write(String, String),
    Erase(String, String),
}

/// One way to be allowed: any of these groups, on this target.
pub(crate) struct Need {
    pub(crate) accepted: &'static [&'static str],
    pub(crate) target: Target,
}

impl Route {
    /// Reads a method and the decoded segments below the base path.
    pub(crate) fn parse(method: &str, segments: &[String]) -> Option<Self> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (method, segments.as_slice()) {
            ("GET", ["user"]) => Some(Self::ShowUser),
            (_, ["user", "tokens", rest @ ..]) => Self::tokens(method, Owner::User, rest),
            ("GET", ["accounts"]) => Some(Self::ListAccounts),
            ("GET", ["zones"]) => Some(Self::ListZones),
            (_, ["accounts", account, rest @ ..]) if is_id(account) => {
                Self::in_account(method, (*account).to_owned(), rest)
            }
            (_, ["zones", zone, rest @ ..]) if is_id(zone) => Self::in_zone(method, (*zone).to_owned(), rest),
            _ => None,
        }
    }

    /// The alternatives of which one must hold. `None`: no permission is needed beyond a working token, or (for the two
    /// lists) the answer is filtered instead.
    pub(crate) fn needs(&self, account_of: impl Fn(&str) -> Option<String>, user: &str) -> Option<Vec<Need>> {
        let need = |accepted, target| Some(vec![Need { accepted, target }]);
        match self {
            Self::VerifyToken(_) | Self::ListAccounts | Self::ListZones => None,
            Self::ShowUser => need(rights::USER_READ, Target::User(user.to_owned())),
            Self::PermissionGroups(owner) | Self::Tokens(owner, TokenVerb::List | TokenVerb::Show(_)) => {
                match owner {
                    Owner::Account(account) => {
                        need(rights::ACCOUNT_TOKENS_READ, Target::Account(account.clone()))
                    }
                    Owner::User => need(rights::USER_TOKENS_READ, Target::User(user.to_owned())),
                }
            }
            Self::Tokens(Owner::Account(account), _) => {
                need(rights::ACCOUNT_TOKENS_WRITE, Target::Account(account.clone()))
            }
            Self::Tokens(Owner::User, _) => need(rights::USER_TOKENS_WRITE, Target::User(user.to_owned())),
            Self::ShowAccount(account) => need(rights::ACCOUNT_READ, Target::Account(account.clone())),
            Self::ShowZone(zone) | Self::PurgeCache(zone) | Self::Records(zone, _) => {
                // A zone that does not exist is refused like one that is not covered.
                let account = account_of(zone).unwrap_or_default();
                need(self.zone_groups(), Target::Zone { zone: zone.clone(), account })
            }
            Self::Kv(account, verb) => {
                let reads =
                    matches!(verb, KvVerb::List | KvVerb::Show(_) | KvVerb::Keys(_) | KvVerb::Read(..));
                let accepted = if reads { rights::KV_READ } else { rights::KV_WRITE };
                need(accepted, Target::Account(account.clone()))
            }
            Self::R2(account, verb) => Some(Self::bucket_needs(account, verb)),
        }
    }

    fn zone_groups(&self) -> &'static [&'static str] {
        match self {
            Self::PurgeCache(_) => rights::CACHE_PURGE,
            Self::Records(_, RecordVerb::List | RecordVerb::Show(_)) => rights::DNS_READ,
            Self::Records(..) => rights::DNS_WRITE,
            _ => rights::ZONE_READ,
        }
    }

    /// Buckets need the account's groups; objects are also open to the groups of their own bucket.
    fn bucket_needs(account: &str, verb: &R2Verb) -> Vec<Need> {
        let (bucket, reads) = match verb {
            R2Verb::List => (None, true),
            R2Verb::Create | R2Verb::Delete(_) => (None, false),
            R2Verb::Objects(bucket) | R2Verb::Read(bucket, _) => (Some(bucket), true),
            R2Verb::Write(bucket, _) | R2Verb::Erase(bucket, _) => (Some(bucket), false),
        };
        let (whole, item) = if reads {
            (rights::R2_READ, rights::R2_ITEM_READ)
        } else {
            (rights::R2_WRITE, rights::R2_ITEM_WRITE)
        };
        let mut needs = vec![Need { accepted: whole, target: Target::Account(account.to_owned()) }];
        if let Some(name) = bucket {
            let target = Target::Bucket { account: account.to_owned(), name: name.clone() };
            needs.push(Need { accepted: item, target });
        }
        needs
    }

    fn tokens(method: &str, owner: Owner, rest: &[&str]) -> Option<Self> {
        let verb = match (method, rest) {
            ("GET", ["verify"]) => return Some(Self::VerifyToken(owner)),
            ("GET", ["permission_groups"]) => return Some(Self::PermissionGroups(owner)),
            ("GET", []) => TokenVerb::List,
            ("POST", []) => TokenVerb::Create,
            ("GET", [id]) => TokenVerb::Show((*id).to_owned()),
            ("PUT", [id]) => TokenVerb::Replace((*id).to_owned()),
            ("DELETE", [id]) => TokenVerb::Delete((*id).to_owned()),
            ("PUT", [id, "value"]) => TokenVerb::Roll((*id).to_owned()),
            _ => return None,
        };
        Some(Self::Tokens(owner, verb))
    }

    fn in_account(method: &str, account: String, rest: &[&str]) -> Option<Self> {
        match (method, rest) {
            ("GET", []) => Some(Self::ShowAccount(account)),
            (_, ["tokens", rest @ ..]) => Self::tokens(method, Owner::Account(account), rest),
            (_, ["storage", "kv", "namespaces", rest @ ..]) => {
                let verb = match (method, rest) {
                    ("GET", []) => KvVerb::List,
                    ("POST", []) => KvVerb::Create,
                    ("GET", [id]) => KvVerb::Show((*id).to_owned()),
                    ("DELETE", [id]) => KvVerb::Delete((*id).to_owned()),
                    ("GET", [id, "keys"]) => KvVerb::Keys((*id).to_owned()),
                    ("GET", [id, "values", key]) => KvVerb::Read((*id).to_owned(), (*key).to_owned()),
                    ("PUT", [id, "values", key]) => KvVerb::Write((*id).to_owned(), (*key).to_owned()),
                    ("DELETE", [id, "values", key]) => KvVerb::Erase((*id).to_owned(), (*key).to_owned()),
                    _ => return None,
                };
                Some(Self::Kv(account, verb))
            }
            (_, ["r2", "buckets", rest @ ..]) => {
                let verb = match (method, rest) {
                    ("GET", []) => R2Verb::List,
                    ("POST", []) => R2Verb::Create,
                    ("DELETE", [name]) => R2Verb::Delete((*name).to_owned()),
                    ("GET", [name, "objects"]) => R2Verb::Objects((*name).to_owned()),
                    ("GET", [name, "objects", key @ ..]) => R2Verb::Read((*name).to_owned(), key.join("/")),
                    ("PUT", [name, "objects", key @ ..]) => R2Verb::Write((*name).to_owned(), key.join("/")),
                    ("DELETE", [name, "objects", key @ ..]) => {
                        R2Verb::Erase((*name).to_owned(), key.join("/"))
                    }
                    _ => return None,
                };
                Some(Self::R2(account, verb))
            }
            _ => None,
        }
    }

    fn in_zone(method: &str, zone: String, rest: &[&str]) -> Option<Self> {
        match (method, rest) {
            ("GET", []) => Some(Self::ShowZone(zone)),
            ("POST", ["purge_cache"]) => Some(Self::PurgeCache(zone)),
            (_, ["dns_records", rest @ ..]) => {
                let verb = match (method, rest) {
                    ("GET", []) => RecordVerb::List,
                    ("POST", []) => RecordVerb::Create,
                    ("GET", [id]) => RecordVerb::Show((*id).to_owned()),
                    ("PUT", [id]) => RecordVerb::Replace((*id).to_owned()),
                    ("PATCH", [id]) => RecordVerb::Patch((*id).to_owned()),
                    ("DELETE", [id]) => RecordVerb::Delete((*id).to_owned()),
                    _ => return None,
                };
                Some(Self::Records(zone, verb))
            }
            _ => None,
        }
    }
}

/// The decoded segments of a path; `None` when an escape is broken or not UTF-8.
pub(crate) fn segments(path: &str) -> Option<Vec<String>> {
    path.split('/').skip(1).map(decode).collect()
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_strictly() {
        let id = "0123456789abcdef0123456789abcdef";
        let parse = |method: &str, path: String| Route::parse(method, &segments(&path).unwrap());
        let owner = || Owner::Account(id.to_owned());
        assert_eq!(parse("GET", format!("/accounts/{id}/tokens/verify")), Some(Route::VerifyToken(owner())));
        let roll = Route::Tokens(Owner::User, TokenVerb::Roll("t".to_owned()));
        assert_eq!(parse("PUT", "/user/tokens/t/value".to_owned()), Some(roll));
        let read = KvVerb::Read("n".to_owned(), "a/b c".to_owned());
        let path = format!("/accounts/{id}/storage/kv/namespaces/n/values/a%2Fb%20c");
        assert_eq!(parse("GET", path), Some(Route::Kv(id.to_owned(), read)));
        for (method, path) in [
            ("POST", "/zones".to_owned()),
            ("GET", "/zones/short".to_owned()),
            ("GET", format!("/zones/{id}/")),
            ("PATCH", format!("/accounts/{id}/tokens/t")),
            ("POST", format!("/accounts/{id}/tokens/verify")),
        ] {
            assert_eq!(parse(method, path.clone()), None, "{method} {path}");
        }
        assert_eq!(segments("/a%2"), None);
        assert_eq!(segments("/%ff"), None);
    }
}
