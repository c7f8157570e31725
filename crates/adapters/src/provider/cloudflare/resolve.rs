//! From what a person writes to a resource: zone names to zone ids, and so on.
//!
//! A name is compared exactly, in ASCII lower case, with what the provider returns, never trusted to the provider's
//! filter. Names beyond ASCII are refused (the API speaks punycode) and shown in punycode; when one imitates a zone of
//! the connection, the error says which ([`super::lookalike`]).

use std::collections::BTreeMap;

use keywright_core::grant::Resource;
use keywright_core::provider::ProviderError;
use keywright_core::text::Untrusted;

use super::envelope::{About, is_denied};
use super::list::PAGE_SIZE;
use super::lookalike;
use super::owner::Owner;
use super::resource::{Kind, bucket_id, is_id};
use super::shapes::Named;
use super::{Cloudflare, KIND};

/// The longest domain name (RFC 1035).
const LONGEST_NAME: usize = 253;
/// How many pages of zones are searched for a look-alike. A hint may be missed; nothing is decided by it.
const HINT_PAGES: usize = 10;
const ZONE_READ: About = About { what: "zone", needs: "Zone Read" };
const ACCOUNT_READ: About = About { what: "account", needs: "Account Settings Read" };
const USER_READ: About = About { what: "user", needs: "User Details Read" };

impl Cloudflare {
    /// See [`keywright_core::provider::Provider::resolve`].
    pub(super) async fn resolve_parameter(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        let Some(kind) = Kind::parse(kind) else {
            let shown = Untrusted::capped(kind, 60);
            let why = format!("`{shown}` is no kind of resource it knows (it knows {})", Kind::names());
            return Err(ProviderError::Unsupported { provider: KIND, why });
        };
        match kind {
            Kind::Zone => self.zone(value).await,
            Kind::Account => self.account_by(value, Kind::Account).await,
            Kind::AllZones => self.account_by(value, Kind::AllZones).await,
            Kind::Bucket => self.bucket(value),
            Kind::User => self.user_by(value).await,
        }
    }

    async fn zone(&self, value: &str) -> Result<Resource, ProviderError> {
        if is_id(value) {
            return self.zone_by_id(value).await;
        }
        let name = value.to_ascii_lowercase();
        let plausible = name.is_ascii() && name.len() <= LONGEST_NAME && name.contains('.');
        if plausible {
            let query = BTreeMap::from([("name", name.clone())]);
            let mut found = self.zones(query, 1).await?;
            found.retain(|zone| zone.name.eq_ignore_ascii_case(&name));
            match found.as_slice() {
                [] => {}
                [zone] if is_id(&zone.id) => return Ok(Kind::Zone.resource(&zone.id, &name)),
                [_] => return Err(no_such(Kind::Zone, value, "; the provider gave it an id that is none")),
                _ => return Err(no_such(Kind::Zone, value, ", but several of that name; use the zone's id")),
            }
        }
        let hint = self.zone_hint(value).await?;
        Err(no_such(Kind::Zone, value, &hint))
    }

    /// A zone by its id. A parent that may only make tokens sees no zones at all; then the id is taken as it is,
    /// because the provider checks it when the token is made, and the read-back compares it.
    async fn zone_by_id(&self, id: &str) -> Result<Resource, ProviderError> {
        match self.api.show::<Named>(vec!["zones", id], ZONE_READ).await {
            // Nobody is shown a sentence for a name.
            Ok(zone) if !is_host_name(&zone.name) => {
                Err(no_such(Kind::Zone, id, "; the provider calls it by a name that is none"))
            }
            Ok(zone) if zone.id == id && self.is_of_account(&zone) => {
                Ok(Kind::Zone.resource(id, &zone.name.to_ascii_lowercase()))
            }
            Ok(_) => Err(no_such(Kind::Zone, id, "")),
            Err(failure) if is_denied(&failure) => {
                if self.zones(BTreeMap::new(), 1).await?.is_empty() {
                    Ok(Kind::Zone.resource(id, id))
                } else {
                    Err(no_such(Kind::Zone, id, ""))
                }
            }
            Err(failure) => match failure.error {
                ProviderError::NotFound { .. } => Err(no_such(Kind::Zone, id, "")),
                error => Err(error),
            },
        }
    }

    /// The zones of the account, as far as so many pages show them. A parent without rights to zones sees none. When the
    /// list itself is refused, the credential is at fault, and never the name that was looked up in it.
    async fn zones(
        &self,
        filter: BTreeMap<&'static str, String>,
        pages: usize,
    ) -> Result<Vec<Named>, ProviderError> {
        let mut zones = Vec::new();
        for page in 1..=pages {
            let mut query: Vec<_> = filter.clone().into_iter().collect();
            query.extend([("page", page.to_string()), ("per_page", PAGE_SIZE.to_string())]);
            query.extend(self.account.iter().map(|account| ("account.id", account.clone())));
            let answer = self.api.get::<Vec<Named>>(vec!["zones"], query, ZONE_READ).await?;
            let is_last = answer.result.len() < PAGE_SIZE;
            zones.extend(answer.result.into_iter().filter(|zone| self.is_of_account(zone)));
            if is_last {
                break;
            }
        }
        Ok(zones)
    }

    fn is_of_account(&self, zone: &Named) -> bool {
        let of = zone.account.as_ref().map(|account| account.id.as_str());
        self.account.as_deref().is_none_or(|own| of == Some(own))
    }

    async fn zone_hint(&self, value: &str) -> Result<String, ProviderError> {
        let zones = match self.zones(BTreeMap::new(), HINT_PAGES).await {
            Err(denied @ ProviderError::Unauthorized { .. }) => return Err(denied),
            // Nothing is decided by a hint: without the zones there is still what the name itself tells.
            Err(_) => return Ok(lookalike::hint(value, &[]).unwrap_or_default()),
            Ok(zones) => zones,
        };
        let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
        Ok(lookalike::hint(value, &names).unwrap_or_else(|| {
            if names.is_empty() {
                "; the connection's token sees no zones at all: give it `Zone Read`, or use the zone's id"
                    .to_owned()
            } else {
                String::new()
            }
        }))
    }

    /// The account itself, or all of its zones: by id or by exact name.
    async fn account_by(&self, value: &str, kind: Kind) -> Result<Resource, ProviderError> {
        let own = match (&self.owner, self.account.as_deref()) {
            (Owner::Account(own), _) => Some(own.as_str()),
            (Owner::User, own) => own,
        };
        if let Some(own) = own {
            if value == own {
                return Ok(kind.resource(own, own));
            }
            let account: Named = match self.api.show(vec!["accounts", own], ACCOUNT_READ).await {
                Ok(account) => account,
                Err(failure) if is_denied(&failure) => {
                    return Err(no_such(kind, value, "; its name can't be read, so use the account's id"));
                }
                Err(failure) => return Err(failure.into()),
            };
            let fits = account.id == own && !value.is_empty() && account.name == value;
            return if fits { Ok(kind.resource(own, value)) } else { Err(no_such(kind, value, "")) };
        }
        if is_id(value) {
            // As with zones: the provider checks it when the token is made, and the read-back compares it.
            return Ok(kind.resource(value, value));
        }
        let query = vec![("name", value.to_owned()), ("per_page", PAGE_SIZE.to_string())];
        let mut found = self.api.get::<Vec<Named>>(vec!["accounts"], query, ACCOUNT_READ).await?.result;
        found.retain(|account| account.name == value && is_id(&account.id));
        match found.as_slice() {
            [account] => Ok(kind.resource(&account.id, value)),
            [] => Err(no_such(kind, value, "")),
            _ => Err(no_such(kind, value, ", but several of that name; use the account's id")),
        }
    }

    /// A bucket by its name, with its jurisdiction in front where it has one (`eu/assets`). Only the form is checked:
    /// the parent of a broker has no rights to R2, and a bucket that does not exist gives access to nothing.
    fn bucket(&self, value: &str) -> Result<Resource, ProviderError> {
        let Some(account) = &self.account else {
            return Err(no_such(Kind::Bucket, value, "; name the account in the connection"));
        };
        match bucket_id(account, value) {
            Some(id) => Ok(Kind::Bucket.resource(&id, value)),
            None => Err(no_such(
                Kind::Bucket,
                value,
                "; write `bucket` or `jurisdiction/bucket`: 3 to 63 lower-case letters, digits and hyphens",
            )),
        }
    }

    /// The user whom a user-owned parent belongs to: `me`, or the id.
    async fn user_by(&self, value: &str) -> Result<Resource, ProviderError> {
        if self.owner != Owner::User {
            return Err(no_such(Kind::User, value, "; an account-owned token reaches no user"));
        }
        let own = match &self.user {
            Some(user) => user.clone(),
            None => self.api.show::<Named>(vec!["user"], USER_READ).await?.id,
        };
        if is_id(&own) && (value == "me" || value == own) {
            Ok(Kind::User.resource(&own, value))
        } else {
            Err(no_such(Kind::User, value, "; write `me`"))
        }
    }
}

/// Whether a name is one that the name system has, as the provider gives it: international ones in punycode, or in their letters.
fn is_host_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || "-_".contains(letter);
    name.len() <= LONGEST_NAME
        && name.split('.').all(|label| !label.is_empty() && label.chars().all(is_letter))
}

fn no_such(kind: Kind, value: &str, hint: &str) -> ProviderError {
    let shown = if kind == Kind::Zone { lookalike::plain(value) } else { value.to_owned() };
    ProviderError::NoSuchResource {
        provider: KIND,
        kind: kind.name().to_owned(),
        value: Untrusted::capped(&shown, LONGEST_NAME),
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_a_name_and_not_a_sentence() {
        for name in
            ["example.com", "_acme.example.com", "xn--mller-kva.example", "m\u{fc}ller.example", "com"]
        {
            assert!(is_host_name(name), "{name}");
        }
        let sentence = "example.com\u{201d} (verified by keywright) \u{201c}";
        for name in
            [sentence, "\u{202e}moc.elpmaxe", "a b.com", "a..com", "", "<b>.com", "x\u{1b}[2j.com", "a\n.com"]
        {
            assert!(!is_host_name(name), "{name:?}");
        }
    }
}
