//! Plans: the exact effect of a request, and its digest.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::grant::{Grant, Permission, Resource};
use crate::id::{KeyId, RequestId};
use crate::name::{
    AgentName, ConnectionName, EnvironmentName, KeyName, Kind, OperatorName, ProjectName, TemplateId,
    WorkloadName,
};
use crate::place::Place;
use crate::span::Span;
use crate::template::{ResolvedTemplate, Rotation, Tier};
use crate::text::Untrusted;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Principal {
    /// An agent that asks.
    Agent(AgentName),
    /// A human who sets policy, approves and administers.
    Operator(OperatorName),
    /// A program that reads a key at run time.
    Workload(WorkloadName),
    /// The scheduler.
    Schedule,
}

impl Principal {
    /// The word for its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Operator(_) => "operator",
            Self::Workload(_) => "workload",
            Self::Schedule => "schedule",
        }
    }

    /// Its name; the scheduler's is `schedule`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(name) => name.as_str(),
            Self::Operator(name) => name.as_str(),
            Self::Workload(name) => name.as_str(),
            Self::Schedule => "schedule",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule => f.write_str("schedule"),
            named => write!(f, "{} {}", named.kind(), named.name()),
        }
    }
}

/// A place in a plan. Relative places (`dotenv:./.env`) carry the directory that they start from, so that what
/// was approved is one file and not whatever directory the broker happens to run in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    /// The place as it was asked for.
    pub place: Place,
    /// The absolute directory that a relative place starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// How a rotation ends the version that it replaced, where not as usual. Only operators can say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Not before an operator says so: once idle it is switched off, where that can be taken back.
    Kept,
    /// It leaked: as soon as its successor is in force and consumers were told, used or not.
    Leaked,
}

impl Ending {
    /// As in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Leaked => "leaked",
        }
    }
}

/// The exact effect of a request. Everything that will happen is in here, and the digest covers all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The request that it answers; makes the digest, and so every approval, good for this request only.
    pub request: RequestId,
    /// Who asked.
    pub principal: Principal,
    /// The template and which of its versions.
    pub template: TemplateId,
    /// Counts up with every `template apply`.
    pub template_version: u64,
    /// The template's tier.
    pub tier: Tier,
    /// The provider's kind.
    pub provider: Kind,
    /// The connection that mints.
    pub connection: ConnectionName,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The key's name.
    pub name: KeyName,
    /// The parameters as asked, by name.
    pub parameters: BTreeMap<String, String>,
    /// What the key may do, sorted by id.
    pub permissions: Vec<Permission>,
    /// Those of them that can make keys or change permissions.
    pub escalation: Vec<String>,
    /// Permissions of the template that an operator took out before approving, by id, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// The resources it is confined to, sorted.
    pub resources: Vec<Resource>,
    /// How long it lives, counted from the moment it is minted.
    pub ttl: Span,
    /// Networks from which it works; empty = any.
    pub ip_allow: Vec<String>,
    /// The provider's cap in US cents.
    pub budget_cents: Option<u64>,
    /// Where it goes, sorted.
    pub destinations: Vec<Destination>,
    /// How it is rotated.
    pub rotation: Option<Rotation>,
    /// The key whose version it replaces; absent for a new key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotates: Option<KeyId>,
    /// The credential, by the provider's id of it, that was made elsewhere and comes under management, or is replaced for the
    /// first time; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopts: Option<String>,
    /// How the version before it ends, where not as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Operations that the permissions unlock, and how many of them change something.
    pub unlocks: u32,
    /// How many of `unlocks` change something.
    pub mutating: u32,
    /// How many operations the template says that its job calls; 0 where it does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub needs: u32,
    /// What the asker says it is for. Shown to people, decides nothing.
    pub purpose: Untrusted,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The SHA-256 of a plan's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// What makes a plan exceed its template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeilingError {
    /// The lifetime is longer than the template allows.
    #[error("a lifetime of {asked} is longer than the {max} that template `{template}` allows")]
    Ttl {
        /// What was asked.
        asked: Span,
        /// The ceiling.
        max: Span,
        /// Whose ceiling.
        template: TemplateId,
    },
    /// A destination is not on the template's list.
    #[error("`{place}` is not among the destinations of template `{template}` (allowed: {allowed})")]
    Destination {
        /// What was asked.
        place: Place,
        /// Whose list.
        template: TemplateId,
        /// The list.
        allowed: String,
    },
    /// The plan's permissions are not the template's.
    #[error("the plan's permissions are not those of template `{0}`")]
    Permissions(TemplateId),
    /// A parameter is outside its constraint.
    #[error(
        "`{value}` is outside what parameter `{name}` of template `{template}` allows (allowed: {allowed})"
    )]
    Parameter {
        /// The parameter.
        name: String,
        /// What was asked.
        value: Untrusted,
        /// Whose constraint.
        template: TemplateId,
        /// The constraint.
        allowed: String,
    },
    /// The network condition or the budget is not the template's.
    #[error("the plan's conditions are not those of template `{0}`")]
    Conditions(TemplateId),
}

impl Plan {
    /// Whether another plan has the same effect, whichever requests the two answer and whatever they are said to be for.
    #[must_use]
    pub fn comes_to_the_same_as(&self, other: &Self) -> bool {
        let alike = Self { request: self.request, purpose: self.purpose.clone(), ..other.clone() };
        *self == alike
    }

    /// The canonical form: JSON with the fields in the order of this type, sorted lists and maps.
    ///
    /// # Errors
    /// Never in practice; the serialiser's error is passed on rather than hidden.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// The digest that approvals sign: `SHA-256("keywright/plan/1\n" || canonical form)`.
    ///
    /// # Errors
    /// As [`Plan::canonical`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let mut hash = Sha256::new();
        hash.update(b"keywright/plan/1\n");
        hash.update(self.canonical()?);
        Ok(Digest(hash.finalize().into()))
    }

    /// Whether it only puts a key that was made elsewhere under management.
    #[must_use]
    pub fn is_adoption(&self) -> bool {
        self.adopts.is_some() && self.rotates.is_none()
    }

    /// What the provider is asked for when the key is minted at `now`. Expiry is cut to whole seconds.
    #[must_use]
    pub fn grant(&self, now: Timestamp) -> Grant {
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Grant {
            permissions: self.permissions.clone(),
            resources: self.resources.clone(),
            expires_at: Some(self.ttl.after(whole)),
            ip_allow: self.ip_allow.clone(),
            budget_cents: self.budget_cents,
        }
        .canonical()
    }

    /// Enforces the ceiling of the template, whatever policy says.
    ///
    /// # Errors
    /// The first way in which the plan goes beyond the template.
    pub fn within(&self, ceiling: &ResolvedTemplate) -> Result<(), CeilingError> {
        let limits = &ceiling.template.limits;
        let template = || ceiling.template.id.clone();
        if self.ttl > limits.ttl_max {
            return Err(CeilingError::Ttl { asked: self.ttl, max: limits.ttl_max, template: template() });
        }
        for destination in &self.destinations {
            if !limits.destinations.iter().any(|pattern| pattern.allows(&destination.place)) {
                let allowed =
                    limits.destinations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                return Err(CeilingError::Destination {
                    place: destination.place.clone(),
                    template: template(),
                    allowed,
                });
            }
        }
        let beyond = |p: &Permission| !ceiling.permissions.iter().any(|allowed| allowed.id == p.id);
        if self.permissions.is_empty() || self.permissions.iter().any(beyond) {
            return Err(CeilingError::Permissions(template()));
        }
        for (name, value) in &self.parameters {
            match ceiling.template.parameters.get(name) {
                Some(parameter) if parameter.allows(value) => {}
                other => {
                    let allowed =
                        other.and_then(|p| p.allow.as_ref()).map_or_else(String::new, |a| a.join(", "));
                    let value = Untrusted::capped(value, 120);
                    return Err(CeilingError::Parameter {
                        name: name.clone(),
                        value,
                        template: template(),
                        allowed,
                    });
                }
            }
        }
        let budget = limits.budget_usd.map(|usd| usd.0);
        if self.ip_allow != limits.ip_allow
            || self.budget_cents.or(budget) != self.budget_cents
            || self.budget_cents > budget
        {
            return Err(CeilingError::Conditions(template()));
        }
        Ok(())
    }
}

impl Digest {
    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
