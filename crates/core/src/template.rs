//! Templates: bundles of permissions, typed parameters and limits that an operator approved.
//!
//! A template is a ceiling. Whatever policy says, a plan can't go beyond it: that is enforced in
//! [`crate::plan`], not by convention. The file form is TOML and is described in `templates/README.md`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grant::Permission;
use crate::name::{ConnectionName, Kind, TemplateId};
use crate::place::DestinationPattern;
use crate::span::Span;

/// How much care a template asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Play: nothing that matters can be reached.
    Sandbox,
    /// Everyday work.
    Standard,
    /// What customers depend on.
    Production,
}

impl Tier {
    /// The word used in files and policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Standard => "standard",
            Self::Production => "production",
        }
    }
}

/// A permission as a template names it: by id, by name, or by name and scope where the name stands for several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PermissionRef {
    /// A name or an id.
    Named(String),
    /// A name that is not unique, with the scope that picks one.
    Scoped {
        /// The provider's name.
        name: String,
        /// The provider's scope.
        scope: String,
    },
}

/// One typed parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is, as in `cloudflare.zone`; the provider resolves it and checks that it exists.
    pub kind: String,
    /// Allowed values, `*` for any text. Absent: whatever the connection reaches. Empty: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Used when the ask leaves the parameter out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// What no plan of this template may exceed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The lifetime when the ask names none; at most `ttl_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_default: Option<Span>,
    /// The longest lifetime. Without it the template is refused.
    pub ttl_max: Span,
    /// Where keys may be placed.
    pub destinations: Vec<DestinationPattern>,
    /// Networks (CIDR) from which the key works; empty = any.
    #[serde(default)]
    pub ip_allow: Vec<String>,
    /// A cap that the provider enforces, in whole US dollars or with cents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<Usd>,
}

/// How the key is rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How often.
    pub every: Span,
    /// The drain window: how long the old version must have been quiet.
    pub quiet_for: Span,
    /// How long two versions may live side by side before somebody is told.
    pub max_overlap: Span,
    /// What to do where idleness can't be known.
    #[serde(default)]
    pub on_unknowable: OnUnknowable,
}

impl Rotation {
    /// What holds for a key whose template says nothing and that somebody rotates by hand. Nothing is due by itself.
    pub const BY_HAND: Self = Self {
        every: Span::from_seconds(u64::MAX),
        quiet_for: Span::from_seconds(24 * 3_600),
        max_overlap: Span::from_seconds(7 * 24 * 3_600),
        on_unknowable: OnUnknowable::Ask,
    };

    /// The longest that a version is in force before its successor is made: four fifths of its life at most.
    #[must_use]
    pub fn longest(&self, ttl: Span) -> Span {
        Span::from_seconds(self.every.seconds().min(ttl.seconds() / 5 * 4))
    }

    /// When a version that came into force at `start` is due to be replaced. `ttl` is how long it lives: it is replaced in
    /// time. Keys that were made together are spread over the last tenth of the time by `spread`, any number that stays the
    /// same for a key.
    #[must_use]
    pub fn due(&self, start: Timestamp, ttl: Span, spread: u64) -> Timestamp {
        let life = self.longest(ttl).seconds();
        let early = spread % (life / 10).max(1);
        Span::from_seconds(life - early).after(start)
    }
}

/// What to do with an old version whose use can't be observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknowable {
    /// Ask an operator.
    #[default]
    Ask,
    /// Revoke it when `max_overlap` has passed.
    RevokeAfterOverlap,
}

/// US dollars, held as whole cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(pub u64);

/// A template as written in its file, before its permissions are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Its id; the part before `/` is the provider's kind.
    pub id: TemplateId,
    /// One line for people.
    pub title: String,
    /// The provider's kind.
    pub provider: Kind,
    /// Which connection to use, where there are several to one provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// How much care it asks for.
    pub tier: Tier,
    /// What the key may do.
    pub permissions: Vec<PermissionRef>,
    /// What the job calls, as `METHOD /path`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Permissions of the escalation class that an operator lets through on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<PermissionRef>,
    /// Typed parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// The ceiling.
    pub limits: Limits,
    /// How the key is rotated; absent = by hand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// A template whose permissions were looked up, and which an operator may apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedTemplate {
    /// The file's content.
    pub template: Template,
    /// Its permissions by id, sorted.
    pub permissions: Vec<Permission>,
    /// The ids among them that can make keys or change permissions.
    pub escalation: Vec<String>,
    /// How many operations of the provider the permissions unlock.
    pub unlocks: u32,
    /// How many of those change something.
    pub mutating: u32,
}

/// A template that can't be accepted.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Not TOML, or not the fields of a template.
    #[error("the template can't be read: {0}")]
    Form(#[source] Box<toml::de::Error>),
    /// The file is too large to be a template.
    #[error("a template has at most {max} bytes, this one has {got}")]
    TooLarge {
        /// The bound.
        max: usize,
        /// The size.
        got: usize,
    },
    /// The id does not begin with the provider.
    #[error("template `{id}` is for provider `{provider}`, so its id must start with `{provider}/`")]
    Id {
        /// The template's id.
        id: TemplateId,
        /// The provider it names.
        provider: Kind,
    },
    /// A rule that needs no outside knowledge is broken.
    #[error("template `{id}`: {rule}")]
    Rule {
        /// The template's id.
        id: TemplateId,
        /// Which rule.
        rule: &'static str,
    },
}

const MAX_FILE: usize = 64 * 1024;

impl Template {
    /// Reads a template file and checks everything that needs no outside knowledge.
    ///
    /// # Errors
    /// When the text is not TOML, has unknown fields, misses a required one (`limits.ttl_max` and
    /// `limits.destinations` among them), or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_FILE {
            return Err(TemplateError::TooLarge { max: MAX_FILE, got: text.len() });
        }
        let template: Self = toml::from_str(text).map_err(|e| TemplateError::Form(Box::new(e)))?;
        template.check()?;
        Ok(template)
    }

    /// The lifetime for an ask that names none.
    #[must_use]
    pub fn default_ttl(&self) -> Span {
        self.limits.ttl_default.unwrap_or(self.limits.ttl_max).min(self.limits.ttl_max)
    }

    fn check(&self) -> Result<(), TemplateError> {
        let provider = self.id.as_str().split('/').next();
        if provider != Some(self.provider.as_str()) {
            return Err(TemplateError::Id { id: self.id.clone(), provider: self.provider.clone() });
        }
        let rules: [(bool, &'static str); 9] = [
            (self.id.is_of_adopted(), "`adopted` stands for keys without a template; give it another name"),
            (self.permissions.is_empty(), "a template without permissions makes no key; name at least one"),
            (self.permissions.len() > 100, "a template has at most 100 permissions"),
            (self.title.trim().is_empty() || self.title.len() > 200, "give it a title of 1 to 200 bytes"),
            (
                crate::text::escaped(&self.title) != self.title,
                "the title has invisible or control characters",
            ),
            (self.limits.destinations.is_empty(), "without `limits.destinations` its keys could go nowhere"),
            (
                self.limits.ttl_default.is_some_and(|default| default > self.limits.ttl_max),
                "`ttl_default` is longer than `ttl_max`",
            ),
            (
                !self.limits.ip_allow.iter().all(|net| is_network(net)),
                "`ip_allow` takes networks such as `192.0.2.0/24` or `2001:db8::/32`",
            ),
            (
                self.rotation.as_ref().is_some_and(|r| r.every > self.limits.ttl_max),
                "`rotation.every` is longer than `ttl_max`: the key would expire before its successor comes",
            ),
        ];
        match rules.iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(TemplateError::Rule { id: self.id.clone(), rule }),
            None => Ok(()),
        }
    }
}

impl Parameter {
    /// Whether the value is inside the constraint. Compared without regard to ASCII case.
    #[must_use]
    pub fn allows(&self, value: &str) -> bool {
        let value = value.to_ascii_lowercase();
        match &self.allow {
            None => true,
            Some(patterns) => {
                patterns.iter().any(|p| crate::place::wildcard(&p.to_ascii_lowercase(), &value))
            }
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{}.{:02}", self.0 / 100, self.0 % 100))
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Whole(u32),
            Text(String),
            Decimal(f64),
        }
        let text = match Form::deserialize(d)? {
            Form::Whole(dollars) => return Ok(Self(u64::from(dollars) * 100)),
            Form::Text(text) => text,
            Form::Decimal(number) => number.to_string(),
        };
        let cents = |text: &str| -> Option<u64> {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let part = format!("{part:0<2}");
            (part.len() == 2).then_some(())?;
            whole
                .parse::<u32>()
                .ok()
                .map(u64::from)?
                .checked_mul(100)?
                .checked_add(part.parse::<u8>().ok()?.into())
        };
        cents(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{}` is not an amount such as 20 or 19.99",
                crate::text::escaped(&text)
            ))
        })
    }
}

fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text, Some(0)),
    };
    match (address.parse::<std::net::IpAddr>(), bits) {
        (Ok(std::net::IpAddr::V4(_)), Some(bits)) => bits <= 32,
        (Ok(std::net::IpAddr::V6(_)), Some(bits)) => bits <= 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        id = "cloudflare/dns-edit"
        title = "Edit the DNS records of one zone"
        provider = "cloudflare"
        tier = "standard"
        permissions = ["DNS Write", { name = "Logs Read", scope = "zone" }]
        operations = ["POST /zones/{zone_id}/dns_records"]
        [parameters.zone]
        kind = "cloudflare.zone"
        allow = ["example.com", "*.dev.example.com"]
        [limits]
        ttl_default = "30d"
        ttl_max = "90d"
        destinations = ["embedded:*", "vault:secret/apps/*", "dotenv:./.env"]
        ip_allow = []
        budget_usd = 20
        [rotation]
        every = "30d"
        quiet_for = "24h"
        max_overlap = "7d"
        on_unknowable = "ask"
    "#;

    #[test]
    fn the_documented_form_is_read() {
        let template = Template::parse(GOOD).unwrap();
        assert_eq!(template.default_ttl().to_string(), "30d");
        assert_eq!(template.limits.budget_usd, Some(Usd(2_000)));
        let zone = &template.parameters["zone"];
        for (value, inside) in [
            ("example.com", true),
            ("EXAMPLE.com", true),
            ("a.dev.example.com", true),
            ("dev.example.com", false),
            ("evil.com", false),
        ] {
            assert_eq!(zone.allows(value), inside, "{value}");
        }
    }

    #[test]
    fn a_template_with_a_hole_is_refused() {
        let holes = [
            ("ttl_max = \"90d\"", "", "ttl_max"),
            (
                "permissions = [\"DNS Write\", { name = \"Logs Read\", scope = \"zone\" }]",
                "permissions = []",
                "at least one",
            ),
            ("id = \"cloudflare/dns-edit\"", "id = \"aws/dns-edit\"", "must start with"),
            ("ttl_default = \"30d\"", "ttl_default = \"91d\"", "longer than"),
            ("every = \"30d\"", "every = \"91d\"", "successor"),
            ("ip_allow = []", "ip_allow = [\"example.com\"]", "networks"),
            ("tier = \"standard\"", "tier = \"standard\"\nsurprise = 1", "unknown field"),
            ("budget_usd = 20", "budget_usd = 19.999", "amount"),
        ];
        for (good, bad, says) in holes {
            let error = Template::parse(&GOOD.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
}
