//! A template as an agent proposes it, field by field, and the file that operators read, change and apply.
//!
//! There is no field for the escalation class: only an operator marks that. What the fields mean is the template
//! file's business (`templates/README.md`); the broker reads the file as it reads any other.

use std::collections::BTreeMap;

use keywright_broker::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::Failure;

/// The fields, in the order of the file.
#[derive(Deserialize, Serialize, JsonSchema)]
pub(super) struct Proposal {
    /// Its id: `provider/job`, as in `cloudflare/dns-edit`.
    #[schemars(length(min = 1, max = 129))]
    id: String,
    /// What it is for, in one line.
    #[schemars(length(min = 1, max = 200))]
    title: String,
    /// The provider, as in `cloudflare`.
    #[schemars(length(min = 1, max = 64))]
    provider: String,
    /// How much care it asks for.
    tier: Tier,
    /// The permissions, by id (from `find_permissions`) or by name; as few as do the job.
    #[schemars(length(min = 1, max = 50), inner(length(min = 1, max = 200)))]
    permissions: Vec<String>,
    /// The API calls that the job makes, as `METHOD /path`; reviewers see what the permissions open beyond them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 300)))]
    operations: Vec<String>,
    /// What an ask fills in, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    parameters: BTreeMap<String, Parameter>,
    /// What no key of this template may exceed.
    limits: Limits,
    /// How keys are rotated; by hand only when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Tier {
    Sandbox,
    Standard,
    Production,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameter {
    /// What it is, as in `cloudflare.zone` or `cloudflare.account`.
    #[schemars(length(min = 1, max = 128))]
    kind: String,
    /// The values that may be asked for, `*` for any text; whatever the connection reaches when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    allow: Option<Vec<String>>,
    /// Used when an ask leaves the parameter out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    default: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// How long keys live unless asked otherwise, as in `30d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    ttl_default: Option<String>,
    /// The longest that keys may live, as in `90d`.
    #[schemars(length(min = 1, max = 16))]
    ttl_max: String,
    /// Where keys may be placed, as in `embedded:*`, `dotenv:./.env`, `vault:secret/apps/*`.
    #[schemars(length(min = 1, max = 20), inner(length(min = 1, max = 500)))]
    destinations: Vec<String>,
    /// Networks (CIDR) from which keys work; any when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 64)))]
    ip_allow: Vec<String>,
    /// A cap in US dollars that the provider enforces, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    budget_usd: Option<f64>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How often, as in `30d`.
    #[schemars(length(min = 1, max = 16))]
    every: String,
    /// How long the old version must have been quiet before it is revoked, as in `24h`.
    #[schemars(length(min = 1, max = 16))]
    quiet_for: String,
    /// How long two versions may live side by side, as in `7d`.
    #[schemars(length(min = 1, max = 16))]
    max_overlap: String,
    /// What to do where nobody can know whether the old version is idle; `ask` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unknowable: Option<OnUnknowable>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OnUnknowable {
    Ask,
    RevokeAfterOverlap,
}

impl Proposal {
    /// The file.
    pub(super) fn into_file(self) -> Result<String, Failure> {
        toml::to_string(&self).map_err(|_| {
            Failure::new(Code::InvalidArgument, "the fields can't be written as a template file")
        })
    }
}

#[cfg(test)]
mod tests {
    use keywright_core::template::Template;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_arrives_in_the_file() {
        let fields = json!({
            "id": "cloudflare/txt", "title": "TXT \"records\" of a zone", "provider": "cloudflare", "tier": "standard",
            "permissions": ["DNS Write"], "operations": ["POST /zones/{zone_id}/dns_records"],
            "parameters": { "zone": { "kind": "cloudflare.zone", "allow": ["example.com"], "default": "example.com" } },
            "limits": {
                "ttl_default": "1d", "ttl_max": "7d", "destinations": ["embedded:*"], "ip_allow": ["192.0.2.0/24"],
                "budget_usd": 2.5,
            },
            "rotation": {
                "every": "4d", "quiet_for": "1d", "max_overlap": "2d", "on_unknowable": "revoke-after-overlap",
            },
        });
        let proposal: Proposal = serde_json::from_value(fields.clone()).unwrap();
        let template = Template::parse(&proposal.into_file().unwrap()).unwrap();
        let mut back = serde_json::to_value(&template).unwrap();
        assert_eq!(template.limits.budget_usd.map(|usd| usd.0), Some(250));
        back["limits"]["budget_usd"] = json!(2.5);
        assert_eq!(back, fields);
    }

    #[test]
    fn what_is_left_out_is_left_out_of_the_file() {
        let proposal: Proposal = serde_json::from_value(json!({
            "id": "cloudflare/txt", "title": "TXT records", "provider": "cloudflare", "tier": "sandbox",
            "permissions": ["DNS Write"], "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] },
        }))
        .unwrap();
        let file = proposal.into_file().unwrap();
        assert!(Template::parse(&file).is_ok(), "{file}");
        for word in ["rotation", "parameters", "operations", "budget", "escalation"] {
            assert!(!file.contains(word), "{file}");
        }
    }
}
