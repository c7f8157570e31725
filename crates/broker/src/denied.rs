//! A key that the provider refused something: what it lacks for the call, and a request that would do.

use std::collections::BTreeMap;

use keywright_catalog::Called;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, TemplateId};
use keywright_core::plan::{Plan, Principal};
use keywright_core::text::Untrusted;
use keywright_ledger::AppliedTemplate;
use serde::Serialize;

use crate::broker::Broker;
use crate::error::Result;
use crate::find;

/// What a key lacks for some operations.
#[derive(Debug, Clone, Serialize)]
pub struct Denied {
    /// The key.
    pub key: String,
    /// The provider's kind.
    pub provider: String,
    /// What it may do, by name.
    pub holds: Vec<String>,
    /// What it lacks, by name; empty where its permissions open all of the operations, so that the refusal has another cause.
    pub missing: Vec<String>,
    /// A request within a template in force that would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amended: Option<Amended>,
    /// What to do about it.
    pub advice: String,
}

/// A request that would do, as `request_key` takes it; the purpose and the prompt are the asker's to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amended {
    /// The template.
    pub template: TemplateId,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The name: the key's own where the new key does everything that it does, so that it can take its place.
    pub name: KeyName,
    /// The parameters, as far as the key's own request says them.
    pub parameters: BTreeMap<String, String>,
    /// The parameters that have to be said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
    /// Whether it does everything that the key does.
    pub replaces: bool,
}

impl Broker {
    /// Why a provider refused these operations to a key, as far as permissions tell, and a narrow request that would do.
    ///
    /// # Errors
    /// When the key is not the principal's to see, or an operation is not known.
    pub async fn denied(&self, principal: &Principal, key: &str, operations: &[String]) -> Result<Denied> {
        let trace = self.key(principal, key).await?;
        let plan = &trace.request.plan;
        let held: Vec<&str> = plan.permissions.iter().map(|p| p.id.as_str()).collect();
        let calls = find::called(plan.provider.as_str(), operations)?;
        let operations: Vec<String> = calls.iter().map(|call| call.operation.clone()).collect();
        let missing = find::missing(plan.provider.as_str(), &held, &operations)?;
        let mut denied = Denied {
            key: trace.key.id.to_string(),
            provider: plan.provider.to_string(),
            holds: plan.permissions.iter().map(|p| p.name.clone()).collect(),
            missing: missing.iter().map(|p| p.name.to_owned()).collect(),
            amended: None,
            advice: String::new(),
        };
        if missing.is_empty() {
            let on: Vec<&str> = plan.resources.iter().map(|r| r.name.as_str()).collect();
            let beyond = beyond(plan, &calls);
            denied.advice = match beyond.is_empty() {
                true => format!(
                    "its permissions open these operations, so look elsewhere: it is confined to {}, ends at its time, and may \
                     be confined to networks",
                    on.join(", ")
                ),
                false => format!(
                    "its permissions open these operations, but it is confined to {}, and the call is about {}: ask for a key \
                     for that",
                    on.join(", "),
                    beyond.join(", ")
                ),
            };
            return Ok(denied);
        }
        let wider = self.wider(principal, &held, &operations, plan.provider.as_str()).await?;
        let Some((template, replaces)) = wider else {
            denied.advice = format!(
                "no template that you may use has {}; propose one with exactly these permissions, and a human decides",
                denied.missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            );
            return Ok(denied);
        };
        let wanted = &template.resolved.template;
        let said = |name: &String| Some((name.clone(), plan.parameters.get(name)?.clone()));
        let parameters: BTreeMap<_, _> = wanted.parameters.keys().filter_map(said).collect();
        let open = wanted.parameters.keys().filter(|name| !parameters.contains_key(*name)).cloned().collect();
        denied.advice = if replaces {
            format!("request it from `{}`; it does what this key does and what it lacks", wanted.id)
        } else {
            format!("request a second key from `{}`, under another name", wanted.id)
        };
        denied.amended = Some(Amended {
            template: wanted.id.clone(),
            project: plan.project.clone(),
            environment: plan.environment.clone(),
            name: plan.name.clone(),
            parameters,
            open,
            replaces,
        });
        Ok(denied)
    }

    /// The narrowest template in force that opens the operations; one that also opens what is held comes first.
    async fn wider(
        &self,
        principal: &Principal,
        held: &[&str],
        operations: &[String],
        provider: &str,
    ) -> Result<Option<(AppliedTemplate, bool)>> {
        let mut fitting: Vec<(AppliedTemplate, bool)> = Vec::new();
        for (applied, _) in self.usable_templates(principal).await? {
            let ids: Vec<&str> = applied.resolved.permissions.iter().map(|p| p.id.as_str()).collect();
            let is_of_it = applied.resolved.template.provider.as_str() == provider;
            if is_of_it && find::opens(provider, &ids, operations) {
                let replaces = held.iter().all(|one| ids.contains(one));
                fitting.push((applied, replaces));
            }
        }
        let narrow = |(applied, replaces): &(AppliedTemplate, bool)| {
            (!replaces, applied.resolved.mutating, applied.resolved.unlocks)
        };
        fitting.sort_by_key(narrow);
        Ok(fitting.into_iter().next())
    }
}

/// What the calls name of a kind that the key is confined to, and that is none of its own.
fn beyond(plan: &Plan, calls: &[Called]) -> Vec<String> {
    let mut beyond = Vec::new();
    for called in calls.iter().flat_map(|call| &call.resources) {
        let of_kind =
            || plan.resources.iter().filter(|own| own.kind.rsplit('.').next() == Some(called.kind.as_str()));
        let is_own = of_kind().any(|own| own.id == called.value || own.name == called.value);
        if of_kind().next().is_some() && !is_own {
            beyond.push(format!("{} {}", called.kind, Untrusted::capped(&called.value, 200)));
        }
    }
    beyond.dedup();
    beyond
}
