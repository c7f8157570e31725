//! Standing grants: an operator approves a class of requests in advance, for a time. A grant stands for the approval of that
//! one operator, and only where one is what policy wants; whatever is risky waits for humans all the same.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::Serialize;

use crate::id::GrantId;
use crate::name::{AgentName, EnvironmentName, OperatorName, ProjectName, TemplateId};
use crate::place::{DestinationPattern, Place};
use crate::plan::{Plan, Principal};
use crate::span::Span;
use crate::template::Tier;
use crate::text::Untrusted;
use crate::verdict::Level;

/// The longest that one lasts: 90 days.
pub const LONGEST: Span = Span::from_seconds(90 * 86_400);

/// The first line of what is signed.
pub const MESSAGE: &str = "keywright/grant/2";

/// What an operator approved in advance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StandingGrant {
    /// Its id.
    pub id: GrantId,
    /// Who gave it.
    pub operator: OperatorName,
    /// Whose requests it approves.
    pub agent: AgentName,
    /// For keys of this template.
    pub template: TemplateId,
    /// As the template was when it was given: one that was applied anew since is another one.
    pub template_version: u64,
    /// In this project.
    pub project: ProjectName,
    /// In this environment.
    pub environment: EnvironmentName,
    /// The parameters that have to be exactly these.
    pub parameters: BTreeMap<String, String>,
    /// Whether the others may be whatever the template allows; else there may be no others.
    pub any_parameters: bool,
    /// Where the keys may go, and nowhere else. Sorted; never empty.
    pub destinations: Vec<DestinationPattern>,
    /// The real path of the directory that relative places start from; without one no relative place is covered.
    pub directory: Option<String>,
    /// How long they may live.
    pub ttl_max: Span,
    /// For how many requests it is good; for any number when absent.
    pub uses: Option<u64>,
    /// When it was given.
    pub given_at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// Why a grant counts for nothing in a request that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Void {
    /// The template was applied anew since: this version is in force.
    Template(u64),
    /// This parameter is another one than it names, or is not named in it.
    Parameter(String),
    /// The key would go to this place, which is none of these.
    Destination(Place, Vec<DestinationPattern>),
    /// The key would go to a place in this directory, and it is for another one, or for none.
    Directory(String, Option<String>),
    /// The key would live for the first of these, and it is for the second at most.
    Life(Span, Span),
    /// The connection was added at this time, after it was given: it may be to another account.
    Connection(Timestamp),
    /// It was given later than now: the clock was set back.
    NotYet(Timestamp),
    /// Its time is over.
    Ended(Timestamp),
    /// All its uses are.
    UsedUp(u64),
    /// The template's tier is production.
    Production,
    /// There is too much to lose.
    High,
    /// Policy wants so many operators.
    Needs(u8),
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(version) => {
                write!(
                    f,
                    "it was given for another version of the template than {version}, which is in force"
                )
            }
            Self::Parameter(name) => {
                write!(f, "it is for another value of parameter `{}`", Untrusted::capped(name, 64))
            }
            Self::Destination(place, allowed) => {
                let place = Untrusted::capped(&place.to_string(), 160);
                write!(
                    f,
                    "it is for keys that go to {}, not to `{place}`: ask for such a destination, or for none",
                    list(allowed)
                )
            }
            Self::Directory(asked, given) => {
                let asked = Untrusted::capped(asked, 160);
                match given {
                    Some(given) => {
                        let given = Untrusted::capped(given, 160);
                        write!(f, "it is for places in directory `{given}`, not in `{asked}`: ask from there")
                    }
                    None => write!(
                        f,
                        "it is for no place in a directory such as `{asked}`: ask for another destination"
                    ),
                }
            }
            Self::Life(asked, longest) => {
                write!(
                    f,
                    "it is for keys that live for {longest} at most, not {asked}: ask for a `ttl` of {longest} or less"
                )
            }
            Self::Connection(at) => write!(
                f,
                "it was given before the connection was added ({}), which may be to another account",
                at.strftime("%Y-%m-%dT%H:%M:%SZ")
            ),
            Self::NotYet(at) => {
                write!(f, "it was given at {}, which is later than now", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
            }
            Self::Ended(at) => write!(f, "it ended at {}", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Self::UsedUp(uses) => write!(f, "all of its uses ({uses}) are used up"),
            Self::Production => f.write_str("production is approved one by one"),
            Self::High => f.write_str("the verdict is HIGH"),
            Self::Needs(needed) => write!(f, "policy wants {needed} operators, and it stands for one"),
        }
    }
}

/// Patterns as people read them.
fn list(patterns: &[DestinationPattern]) -> String {
    let shown: Vec<String> =
        patterns.iter().map(|one| format!("`{}`", Untrusted::capped(&one.to_string(), 160))).collect();
    shown.join(", ")
}

impl StandingGrant {
    /// The signed bytes: every field on its own line, so that none can be read as another.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        // Strings, and lists and maps of them, always serialise, without line ends; a map is sorted.
        let parameters = serde_json::to_string(&self.parameters).unwrap_or_default();
        let destinations = serde_json::to_string(&self.destinations).unwrap_or_default();
        let directory = serde_json::to_string(&self.directory).unwrap_or_default();
        let uses = self.uses.map_or_else(|| "-".to_owned(), |uses| uses.to_string());
        format!(
            "{MESSAGE}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{parameters}\n{}\n{destinations}\n{directory}\n{}\n{uses}\n{}\n{}\n",
            self.id,
            self.operator,
            self.agent,
            self.template,
            self.template_version,
            self.project,
            self.environment,
            self.any_parameters,
            self.ttl_max,
            self.given_at,
            self.until,
        )
        .into_bytes()
    }

    /// Signs it with the operator's own key.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> [u8; 64] {
        key.sign(&self.message()).to_bytes()
    }

    /// Whether a signature over it is of this key.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey, signature: &[u8; 64]) -> bool {
        key.verify_strict(&self.message(), &Signature::from_bytes(signature)).is_ok()
    }

    /// Whether it is about a plan: a new key for its agent, of its template, in its place.
    #[must_use]
    pub fn is_about(&self, plan: &Plan) -> bool {
        matches!(&plan.principal, Principal::Agent(agent) if *agent == self.agent)
            && (&plan.template, &plan.project, &plan.environment)
                == (&self.template, &self.project, &self.environment)
            && plan.rotates.is_none()
            && plan.adopts.is_none()
    }

    /// Whether it approves a plan that it is about, as far as it says itself: `level` is the plan's verdict, `needed` how many
    /// operators policy wants, `used` how often it was used, `at` when it is to be used, `added_at` when the plan's connection was
    /// added.
    ///
    /// # Errors
    /// Why it does not.
    pub fn covers(
        &self,
        plan: &Plan,
        (level, needed): (Level, u8),
        used: u64,
        (at, added_at): (Timestamp, Timestamp),
    ) -> Result<(), Void> {
        let is_other = |(name, value): (&String, &String)| match self.parameters.get(name) {
            Some(named) => named != value,
            None => !self.any_parameters,
        };
        let missing = || self.parameters.keys().find(|name| !plan.parameters.contains_key(*name)).cloned();
        let other = plan.parameters.iter().find(|one| is_other(*one)).map(|(name, _)| name.clone());
        if let Some(name) = other.or_else(missing) {
            return Err(Void::Parameter(name));
        }
        self.reaches(plan)?;
        match self.uses.filter(|uses| used >= *uses) {
            _ if plan.ttl > self.ttl_max => Err(Void::Life(plan.ttl, self.ttl_max)),
            _ if plan.template_version != self.template_version => Err(Void::Template(plan.template_version)),
            // A time that has not come says only that a clock was ahead.
            _ if added_at > self.given_at && added_at <= at => Err(Void::Connection(added_at)),
            _ if at < self.given_at => Err(Void::NotYet(self.given_at)),
            _ if at >= self.until => Err(Void::Ended(self.until)),
            Some(uses) => Err(Void::UsedUp(uses)),
            None if plan.tier == Tier::Production => Err(Void::Production),
            None if level >= Level::High => Err(Void::High),
            None if needed != 1 => Err(Void::Needs(needed)),
            None => Ok(()),
        }
    }

    /// Whether it is for every place that a plan's key goes to.
    fn reaches(&self, plan: &Plan) -> Result<(), Void> {
        for destination in &plan.destinations {
            let (place, base) = (&destination.place, &destination.base);
            // One that starts from the directory of the grant holds no place that starts from the root.
            let starts_alike = |pattern: &&DestinationPattern| {
                self.directory.is_none() || !place.place.starts_with('/') || pattern.within().starts_with('/')
            };
            if !self.destinations.iter().filter(starts_alike).any(|pattern| pattern.allows(place)) {
                return Err(Void::Destination(place.clone(), self.destinations.clone()));
            }
            if let Some(base) = base.as_ref().filter(|base| self.directory.as_ref() != Some(base)) {
                return Err(Void::Directory(base.clone(), self.directory.clone()));
            }
        }
        Ok(())
    }
}

/// What is said of a request that a grant approved.
#[must_use]
pub fn approved_by(grant: GrantId, operator: &OperatorName) -> String {
    format!("approved by standing grant {grant} of {operator}")
}
