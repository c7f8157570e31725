//! What is asked, as it comes through a door, and as it is after parsing.

use std::collections::BTreeMap;

use keywright_core::id::KeyId;
use keywright_core::name::{ConnectionName, EnvironmentName, KeyName, ProjectName, TemplateId};
use keywright_core::place::Place;
use keywright_core::plan::Ending;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{BrokerError, Result};

/// An ask as a door takes it: every field is text that somebody else wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// The template's id.
    pub template: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The key's name.
    pub name: String,
    /// Where it goes, as `STORE:PLACE`; empty = the project's default place.
    pub destinations: Vec<String>,
    /// How long it lives; absent = the template's default.
    pub ttl: Option<String>,
    /// What it is for.
    pub purpose: String,
    /// The prompt that triggered it.
    pub prompt: Option<String>,
    /// The asker's key against doubles.
    pub idempotency_key: Option<String>,
    /// The directory that relative places start from.
    pub cwd: Option<String>,
}

/// An ask that was read.
#[derive(Debug, Clone)]
pub(crate) struct ParsedAsk {
    /// The connection through which it is made already, where it is: that counts where the template names none.
    pub(crate) through: Option<ConnectionName>,
    pub(crate) template: TemplateId,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) project: ProjectName,
    pub(crate) environment: EnvironmentName,
    pub(crate) name: KeyName,
    pub(crate) destinations: Vec<Place>,
    pub(crate) ttl: Option<Span>,
    pub(crate) purpose: Untrusted,
    pub(crate) prompt: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) cwd: Option<String>,
    /// What an operator took out; an asker has no such word.
    pub(crate) withheld: Vec<String>,
    /// The key whose version is to be replaced; an asker says that with another verb.
    pub(crate) rotates: Option<KeyId>,
    /// The credential that comes under management; said with another verb too.
    pub(crate) adopts: Option<String>,
    /// How the version before it ends, where not as usual.
    pub(crate) ending: Option<Ending>,
    pub(crate) digest: [u8; 32],
}

const MOST_PARAMETERS: usize = 16;
const MOST_DESTINATIONS: usize = 8;
const LONGEST_VALUE: usize = 253;
const LONGEST_KEY: usize = 128;
/// Characters, before the ellipsis that marks a cut.
pub(crate) const LONGEST_PURPOSE: usize = 999;
pub(crate) const LONGEST_PROMPT: usize = 7_999;

impl Ask {
    /// Reads every field. Bounds: 16 parameters of 253 characters, 8 destinations, a purpose of 1,000 and a prompt of
    /// 8,000 characters (both are cut, not refused).
    pub(crate) fn parse(&self) -> Result<ParsedAsk> {
        if self.parameters.len() > MOST_PARAMETERS || self.destinations.len() > MOST_DESTINATIONS {
            return Err(BrokerError::invalid(format_args!(
                "an ask has at most {MOST_PARAMETERS} parameters and {MOST_DESTINATIONS} destinations"
            )));
        }
        for (name, value) in &self.parameters {
            if value.chars().count() > LONGEST_VALUE || value.is_empty() || name.len() > 64 {
                return Err(BrokerError::invalid(format_args!(
                    "parameter `{}` has a value of 1 to {LONGEST_VALUE} characters",
                    Untrusted::capped(name, 64)
                )));
            }
        }
        let idempotency_key = self.idempotency_key.clone().filter(|key| !key.is_empty());
        if idempotency_key.as_ref().is_some_and(|key| key.chars().count() > LONGEST_KEY) {
            return Err(BrokerError::invalid(format_args!(
                "an idempotency key has at most {LONGEST_KEY} characters"
            )));
        }
        let name = KeyName::parse(&self.name).map_err(BrokerError::invalid)?;
        if name.is_reserved() {
            return Err(BrokerError::invalid(format_args!(
                "a variable named `{name}` would change how programs run"
            ))
            .hint("name the key after what it opens, as in CLOUDFLARE_API_TOKEN"));
        }
        let mut destinations = self
            .destinations
            .iter()
            .map(|text| Place::parse(text).map_err(BrokerError::invalid))
            .collect::<Result<Vec<_>>>()?;
        for place in &destinations {
            // Where the value lands under a name, that name counts too.
            let field = place.place.rsplit(['#', '/']).next().unwrap_or_default();
            if KeyName::parse(field).is_ok_and(|field| field.is_reserved()) {
                return Err(BrokerError::invalid(format_args!(
                    "a variable named `{field}` would change how programs run"
                ))
                .hint("name the key after what it opens, as in CLOUDFLARE_API_TOKEN"));
            }
        }
        destinations.sort();
        destinations.dedup();
        Ok(ParsedAsk {
            through: None,
            template: TemplateId::parse(&self.template).map_err(BrokerError::invalid)?,
            parameters: self.parameters.clone(),
            project: ProjectName::parse(&self.project).map_err(BrokerError::invalid)?,
            environment: EnvironmentName::parse(&self.environment).map_err(BrokerError::invalid)?,
            name,
            destinations,
            ttl: self.ttl.as_deref().map(Span::parse).transpose().map_err(BrokerError::invalid)?,
            purpose: Untrusted::capped(&self.purpose, LONGEST_PURPOSE),
            prompt: self
                .prompt
                .as_deref()
                .map(|text| Untrusted::capped(text, LONGEST_PROMPT).raw().to_owned()),
            idempotency_key,
            cwd: self.cwd.clone(),
            withheld: Vec::new(),
            rotates: None,
            adopts: None,
            ending: None,
            digest: self.digest(),
        })
    }

    /// Tells one ask from another: everything but the prompt and the idempotency key.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"keywright/ask/1\n");
        let without = Self { prompt: None, idempotency_key: None, ..self.clone() };
        // A struct of strings always serialises.
        hash.update(serde_json::to_vec(&without).unwrap_or_default());
        hash.finalize().into()
    }
}
