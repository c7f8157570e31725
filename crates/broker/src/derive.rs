//! From an ask to its exact effect. The same derivation runs when something is asked and again right before the
//! deed: if the two plans differ in anything, what was approved is not what would happen.

use std::collections::BTreeSet;
use std::sync::Arc;

use keywright_catalog::Catalog;
use keywright_core::grant::Resource;
use keywright_core::id::RequestId;
use keywright_core::name::{ConnectionName, Kind, TemplateId};
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::provider::Provider;
use keywright_core::text::Untrusted;
use keywright_ledger::{AppliedTemplate, Connection, LedgerError, Tx};

use crate::ask::ParsedAsk;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::guards::count;
use crate::outside::EMBEDDED;
use crate::rails::{CONNECTION, STORE, of_connection, of_store};

impl Broker {
    /// The exact effect of an ask. Reads from the provider (a zone's name becomes its id), changes nothing.
    pub(crate) async fn derive(
        &self,
        request: RequestId,
        principal: &Principal,
        ask: &ParsedAsk,
    ) -> Result<(Plan, AppliedTemplate)> {
        let applied = self.applied(&ask.template).await?;
        self.rails.check_held(ask.template.as_str())?;
        let template = &applied.resolved.template;
        let connection = self.connection_for(&applied, ask.through.as_ref()).await?;
        let provider = self.outside.provider(&connection).await?;
        let parameters = fill(&applied, ask)?;
        let ttl = ask.ttl.unwrap_or_else(|| template.default_ttl());
        if ttl.seconds() < SHORTEST_LIFE {
            return Err(BrokerError::invalid(format_args!("a key lives for at least a minute, not {ttl}")));
        }
        let wanted = self.wanted(ask).await?;
        let mut plan = Plan {
            request,
            principal: principal.clone(),
            template: template.id.clone(),
            template_version: applied.version,
            tier: template.tier,
            provider: template.provider.clone(),
            connection,
            project: ask.project.clone(),
            environment: ask.environment.clone(),
            name: ask.name.clone(),
            parameters,
            permissions: applied.resolved.permissions.clone(),
            escalation: applied.resolved.escalation.clone(),
            withheld: ask.withheld.clone(),
            resources: Vec::new(),
            ttl,
            ip_allow: template.limits.ip_allow.clone(),
            budget_cents: template.limits.budget_usd.map(|usd| usd.0),
            destinations: wanted.into_iter().map(|place| Destination { place, base: None }).collect(),
            rotation: template.rotation.clone(),
            rotates: ask.rotates,
            adopts: ask.adopts.clone(),
            ending: ask.ending,
            unlocks: applied.resolved.unlocks,
            mutating: applied.resolved.mutating,
            needs: count(template.operations.len()),
            purpose: ask.purpose.clone(),
        };
        if !ask.withheld.is_empty() {
            withhold(&mut plan)?;
        }
        // The ceiling comes before any store or provider is looked at: what it forbids is not even tried.
        plan.within(&applied.resolved)?;
        plan.destinations = self.accepted(&plan.destinations, ask).await?;
        plan.resources = resolve(&provider, &applied, &plan).await?;
        Ok((plan, applied))
    }

    /// The same derivation for a plan that was recorded: what would happen now.
    pub(crate) async fn rederive(&self, plan: &Plan) -> Result<Plan> {
        let ask = ParsedAsk {
            through: Some(plan.connection.clone()),
            template: plan.template.clone(),
            parameters: plan.parameters.clone(),
            project: plan.project.clone(),
            environment: plan.environment.clone(),
            name: plan.name.clone(),
            destinations: plan.destinations.iter().map(|d| d.place.clone()).collect(),
            ttl: Some(plan.ttl),
            purpose: plan.purpose.clone(),
            prompt: None,
            idempotency_key: None,
            cwd: plan.destinations.iter().find_map(|d| d.base.clone()),
            withheld: plan.withheld.clone(),
            rotates: plan.rotates,
            adopts: plan.adopts.clone(),
            ending: plan.ending,
            digest: [0; 32],
        };
        self.derive(plan.request, &plan.principal, &ask).await.map(|(plan, _)| plan)
    }

    /// The template in force under an id, or an error that names those that look like it.
    pub(crate) async fn applied(&self, id: &TemplateId) -> Result<AppliedTemplate> {
        let wanted = id.clone();
        let (found, all) = self
            .ledger
            .read(move |tx| {
                let found = tx.template(&wanted)?;
                let all = if found.is_some() { Vec::new() } else { tx.templates()? };
                Ok::<_, keywright_ledger::LedgerError>((found, all))
            })
            .await?;
        self.ledger.catch_up().await?;
        if let Some(applied) = &found {
            self.rails.check_template(applied)?;
        }
        found.ok_or_else(|| {
            let near = nearest(id.as_str(), all.iter().map(|t| t.resolved.template.id.as_str()));
            BrokerError::missing(format!("no template `{id}` is in force"))
                .hint("templates count once an operator applied them: `keywright template apply FILE`")
                .alternatives(near)
        })
    }

    async fn connection_for(
        &self,
        applied: &AppliedTemplate,
        through: Option<&ConnectionName>,
    ) -> Result<ConnectionName> {
        let template = &applied.resolved.template;
        let connections = self.ledger.read(|tx| tx.connections()).await?;
        self.ledger.catch_up().await?;
        let as_added = |connection: &Connection| {
            self.rails.check_way(CONNECTION, connection.name.as_str(), &of_connection(connection))
        };
        if let Some(name) = &template.connection {
            return match connections.iter().find(|c| c.name == *name) {
                None => Ok(name.clone()),
                Some(fitting) if fitting.kind == template.provider => {
                    as_added(fitting).map(|()| name.clone())
                }
                Some(other) => Err(BrokerError::new(
                    Code::Conflict,
                    format!(
                        "template `{}` is for provider `{}`, and connection `{name}`, which it names, is one to `{}`",
                        template.id, template.provider, other.kind
                    ),
                )
                .hint("an operator has the template name another connection and applies it again")),
            };
        }
        let fitting: Vec<_> = connections.iter().filter(|c| c.kind == template.provider).collect();
        if let Some(known) = fitting.iter().find(|one| Some(&one.name) == through) {
            return as_added(known).map(|()| known.name.clone());
        }
        match fitting.as_slice() {
            [one] => as_added(one).map(|()| one.name.clone()),
            [] => Err(BrokerError::missing(format!(
                "there is no connection to provider `{}`",
                template.provider
            ))
            .hint(format!(
                "an operator adds one: `keywright provider add {} --name NAME`",
                template.provider
            ))),
            several => Err(BrokerError::new(
                Code::Conflict,
                format!(
                    "there are several connections to provider `{}` ({}), and template `{}` does not say which",
                    template.provider,
                    several.iter().map(|c| format!("`{}`", c.name)).collect::<Vec<_>>().join(", "),
                    template.id
                ),
            )
            .hint(
                "an operator writes `connection = \"NAME\"` below the template's `provider` line and applies it \
                 again; a connection that is not needed goes with `keywright provider remove NAME`",
            )
            .alternatives(several.iter().map(|c| c.name.to_string()).collect())),
        }
    }

    /// The places as asked, or the project's default place.
    async fn wanted(&self, ask: &ParsedAsk) -> Result<Vec<Place>> {
        if !ask.destinations.is_empty() {
            return Ok(ask.destinations.clone());
        }
        let store = keywright_core::name::StoreName::parse(EMBEDDED).map_err(BrokerError::invalid)?;
        let place =
            self.outside.store(&store).await?.default_place(&ask.project, &ask.environment, &ask.name);
        Ok(vec![Place { store, place }])
    }

    async fn accepted(&self, wanted: &[Destination], ask: &ParsedAsk) -> Result<Vec<Destination>> {
        let mut accepted = Vec::with_capacity(wanted.len());
        let configured = self.ledger.read(|tx| tx.stores()).await?;
        self.ledger.catch_up().await?;
        for destination in wanted {
            if let Some(found) = configured.iter().find(|store| store.name == destination.place.store) {
                self.rails.check_way(STORE, found.name.as_str(), &of_store(found))?;
            }
            let store = self.outside.store(&destination.place.store).await?;
            let own = format!("{}/{}/", ask.project, ask.environment);
            if destination.place.store.as_str() == EMBEDDED && !destination.place.place.starts_with(&own) {
                let message = format!("`{}` is not a place of project `{}`", destination.place, ask.project);
                return Err(BrokerError::new(Code::Denied, message)
                    .hint("leave the destination out: the project has a place of its own")
                    .alternatives(vec![format!("{EMBEDDED}:{own}{}", ask.name)]));
            }
            accepted.push(store.accept(destination.clone(), &ask.name, ask.cwd.as_deref()).await?);
        }
        accepted.sort();
        accepted.dedup();
        Ok(accepted)
    }
}

/// Shorter than this, a key would be gone before its program has started.
const SHORTEST_LIFE: u64 = 60;

/// Takes the withheld permissions out, and counts again what the rest unlocks.
fn withhold(plan: &mut Plan) -> Result<()> {
    let is_kept = |id: &str| !plan.withheld.iter().any(|withheld| withheld == id);
    plan.permissions.retain(|permission| is_kept(&permission.id));
    plan.escalation.retain(|id| is_kept(id));
    let catalog = Catalog::for_provider(plan.provider.as_str()).map_err(BrokerError::invalid)?;
    let kept = catalog.unlocks(plan.permissions.iter().map(|p| p.id.as_str()));
    let kept = kept.map_err(BrokerError::invalid)?;
    (plan.unlocks, plan.mutating) = (count(kept.total), count(kept.mutating));
    Ok(())
}

/// The template's parameters with the ask's values; unknown and missing ones are refused.
fn fill(applied: &AppliedTemplate, ask: &ParsedAsk) -> Result<std::collections::BTreeMap<String, String>> {
    let template = &applied.resolved.template;
    let known = || template.parameters.keys().cloned().collect::<Vec<_>>();
    if let Some(unknown) = ask.parameters.keys().find(|name| !template.parameters.contains_key(*name)) {
        let shown = Untrusted::capped(unknown, 64);
        return Err(BrokerError::invalid(format_args!(
            "template `{}` has no parameter `{shown}`",
            template.id
        ))
        .alternatives(known()));
    }
    let mut filled = std::collections::BTreeMap::new();
    for (name, parameter) in &template.parameters {
        match ask.parameters.get(name).or(parameter.default.as_ref()) {
            Some(value) => drop(filled.insert(name.clone(), value.clone())),
            // The connection's own account is the only one that it has.
            None if parameter.kind.ends_with(".account") && parameter.allow.is_none() => {}
            None => {
                return Err(BrokerError::invalid(format_args!(
                    "template `{}` needs parameter `{name}` ({})",
                    template.id, parameter.kind
                ))
                .hint(format!("give it as --param {name}=VALUE, or in `parameters`")));
            }
        }
    }
    Ok(filled)
}

async fn resolve(
    provider: &Arc<dyn Provider>,
    applied: &AppliedTemplate,
    plan: &Plan,
) -> Result<Vec<Resource>> {
    let template = &applied.resolved.template;
    let mut resources = Vec::new();
    for (name, value) in &plan.parameters {
        if let Some(parameter) = template.parameters.get(name) {
            let found = provider.resolve(&parameter.kind, value).await;
            let resource = found.map_err(|error| BrokerError::from(error).through(&plan.connection))?;
            // The provider's own name for it has to be inside the constraint too: an id must not be a way round.
            if !parameter.allows(&resource.name) && !parameter.allows(&resource.id) {
                let allowed = parameter.allow.as_ref().map_or_else(String::new, |a| a.join(", "));
                let what = Untrusted::capped(&resource.name, 120);
                return Err(BrokerError::new(
                    Code::Denied,
                    format!(
                        "`{what}` is outside what parameter `{name}` of template `{}` allows ({allowed})",
                        template.id
                    ),
                ));
            }
            resources.push(resource);
        }
    }
    let mut resources = provider.confine(&plan.permissions, resources)?;
    resources.sort();
    resources.dedup();
    Ok(resources)
}

/// The names that share the most with what was typed, at most three.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let parts: Vec<&str> = typed.split(['/', '-', '_', '.']).filter(|p| p.len() > 1).collect();
    let mut scored: Vec<(usize, &str)> =
        names.map(|name| (parts.iter().filter(|part| name.contains(*part)).count(), name)).collect();
    scored.retain(|(score, _)| *score > 0);
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// What to say of templates that name no connection, where there are several to their provider.
pub(crate) fn ambiguous(tx: &Tx<'_>, kind: &Kind) -> std::result::Result<Option<String>, LedgerError> {
    if tx.sound_connections()?.iter().filter(|one| one.kind == *kind).count() < 2 {
        return Ok(None);
    }
    let all = tx.templates()?.into_iter().map(|applied| applied.resolved.template);
    let without = all.filter(|one| one.provider == *kind && one.connection.is_none());
    let without: Vec<String> = without.map(|one| format!("`{}`", one.id)).collect();
    Ok((!without.is_empty()).then(|| {
        format!(
            "there are several connections to provider `{kind}`, and no key is made by {}, which do not say through which: \
             write `connection = \"NAME\"` below the `provider` line of each, and apply it again (a new version voids the standing \
             grants for the one before)",
            without.join(", ")
        )
    }))
}

/// The same, of every provider.
pub(crate) fn all_ambiguous(tx: &Tx<'_>) -> std::result::Result<Vec<String>, LedgerError> {
    let kinds: BTreeSet<Kind> = tx.sound_connections()?.into_iter().map(|one| one.kind).collect();
    kinds.iter().filter_map(|kind| ambiguous(tx, kind).transpose()).collect()
}
