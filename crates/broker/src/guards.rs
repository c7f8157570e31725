//! The guard rails: templates and policies. Files are proposals; they count once an operator applied them.

use std::sync::Arc;

use ed25519_dalek::Signer as _;
use keywright_adapters::provider;
use keywright_catalog::solve::Wanted;
use keywright_catalog::{Catalog, CatalogError};
use keywright_core::audit::{Deed, Record, Stage, Subject};
use keywright_core::grant::Permission;
use keywright_core::id::RequestId;
use keywright_core::key::Key;
use keywright_core::look::doubt;
use keywright_core::name::TemplateId;
use keywright_core::place::DestinationPattern;
use keywright_core::policy::{CaseResult, DEFAULT_POLICIES, Policies, Question, explain, run_cases};
use keywright_core::template::{PermissionRef, ResolvedTemplate, Template, Tier};
use keywright_core::text::escaped;
use keywright_ledger::{AppliedPolicy, AppliedTemplate, LedgerError};
use sha2::{Digest as _, Sha256};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::limits::counts_besides;
use crate::outside::DOTENV;
use crate::rails::{FACT, POLICY, of_policy, of_template};
use crate::remove::end_what_waits;

/// Longer lives than this, in days, deserve a look.
const LONG: u64 = 180;

/// A template that was checked against the catalog, with what an operator should know before applying it.
#[derive(Debug, Clone)]
pub struct CheckedTemplate {
    /// What it means.
    pub resolved: ResolvedTemplate,
    /// What deserves a second look.
    pub warnings: Vec<String>,
    /// A narrower set of permissions, by name, that opens all of the declared operations; empty where there is none.
    pub narrower: Vec<String>,
}

/// Reads a template and looks its permissions up. Needs no broker.
///
/// # Errors
/// When it is not well formed, a permission or operation is unknown or ambiguous, or it could make keys and nobody
/// marked that.
pub fn check_template(source: &str) -> Result<CheckedTemplate> {
    let mut template = Template::parse(source).map_err(BrokerError::invalid)?;
    let catalog = Catalog::for_provider(template.provider.as_str()).map_err(BrokerError::invalid)?;
    let mut permissions = Vec::new();
    let mut escalation = Vec::new();
    for reference in &template.permissions {
        let found = lookup(catalog, reference)?;
        if found.escalation {
            if !marked(catalog, &template, found.id)? {
                return Err(BrokerError::new(
                    Code::Denied,
                    format!("permission `{}` can make keys or change permissions", found.name),
                )
                .hint(format!(
                    "use a narrower permission; if it is really wanted, an operator marks it in the template: \
                     escalation = [\"{}\"]",
                    found.id
                )));
            }
            escalation.push(found.id.to_string());
        }
        permissions.push(Permission {
            id: found.id.to_string(),
            name: found.name.to_string(),
            scope: found.scope.to_string(),
        });
    }
    permissions.sort();
    permissions.dedup_by(|a, b| a.id == b.id);
    let footprint =
        catalog.unlocks(permissions.iter().map(|p| p.id.as_str())).map_err(BrokerError::invalid)?;
    let mut warnings = Vec::new();
    let narrower = hold_against_least(catalog, &template, &permissions, &mut warnings)?;
    refuse_unconfined(&template, &permissions)?;
    fit_conditions(&mut template, &mut warnings)?;
    for destination in written_anywhere(&template) {
        warnings.push(format!(
            "`{destination}` lets agents write into files outside of the directory in which they work; `dotenv:./.env` is narrower"
        ));
    }
    if template.limits.ttl_max.seconds() > LONG * 86_400 {
        warnings.push(format!("its keys live for up to {}", template.limits.ttl_max));
    }
    if template.tier == Tier::Sandbox && footprint.mutating > 0 {
        warnings.push(format!(
            "its tier is sandbox, so its keys are called harmless, and they open {} operations that change things",
            footprint.mutating
        ));
    }
    if footprint.credentials > 0 {
        warnings.push(format!(
            "its permissions open {} operations that return a credential",
            footprint.credentials
        ));
    }
    warnings.extend(doubts(&template));
    for (name, parameter) in &template.parameters {
        let broad = parameter.allow.iter().flatten().find(|value| is_broad(value));
        let by = match (&parameter.allow, broad) {
            (None, _) => String::new(),
            (Some(_), Some(pattern)) => format!(" by `{}`", escaped(pattern)),
            (Some(_), None) => continue,
        };
        let kind = &parameter.kind;
        warnings.push(match broad {
            Some(pattern) if pattern.contains('.') => {
                format!(
                    "parameter `{name}` allows every {kind} that ends with `{}`",
                    escaped(pattern.trim_start_matches('*'))
                )
            }
            _ => format!("parameter `{name}` allows every {kind} that the connection reaches{by}"),
        });
    }
    let (unlocks, mutating) = (count(footprint.total), count(footprint.mutating));
    Ok(CheckedTemplate {
        resolved: ResolvedTemplate { template, permissions, escalation, unlocks, mutating },
        warnings,
        narrower,
    })
}

/// A pattern that narrows nothing, or no more than a domain does below which anybody may have theirs: `*.com`, `*.co.uk`.
pub(crate) fn is_broad(pattern: &str) -> bool {
    pattern.strip_prefix('*').is_some_and(|rest| {
        let rest = rest.trim_start_matches(['*', '.']).trim_end_matches('.').to_ascii_lowercase();
        let is_open = |domain: &str| public_suffix::DEFAULT_PROVIDER.is_effective_tld(domain);
        rest.split('.').count() < 2 || rest.is_ascii() && (is_open(&rest) || is_open(&format!("one.{rest}")))
    })
}

/// The destinations of a template that are files outside of the directory in which an agent works.
pub(crate) fn written_anywhere(template: &Template) -> impl Iterator<Item = &DestinationPattern> {
    let patterns = template.limits.destinations.iter();
    patterns.filter(|one| one.store().as_str() == DOTENV && one.is_anywhere())
}

/// What in a template looks like something else.
pub(crate) fn doubts(template: &Template) -> Vec<String> {
    let mut texts: Vec<(String, &str)> = vec![("the title".to_owned(), &template.title)];
    for (name, parameter) in &template.parameters {
        texts.push(("the name of a parameter".to_owned(), name));
        let values = parameter.allow.iter().flatten().chain(&parameter.default);
        texts.extend(
            values.map(|value| (format!("a value of parameter `{}`", escaped(name)), value.as_str())),
        );
    }
    let places: Vec<String> = template.limits.destinations.iter().map(ToString::to_string).collect();
    texts.extend(places.iter().map(|place| ("a destination".to_owned(), place.as_str())));
    texts.extend(template.operations.iter().map(|one| ("an operation".to_owned(), one.as_str())));
    texts.into_iter().filter_map(|(what, text)| Some(format!("{what}: {}", doubt(text)?))).collect()
}

/// A template whose keys could never be made is not put in force: each parameter is of a kind that the provider knows, and
/// each permission is confined by a parameter, or by the connection itself.
fn refuse_unconfined(template: &Template, permissions: &[Permission]) -> Result<()> {
    if let Some(instead) = provider::facts_of(template.provider.as_str()).and_then(|facts| facts.no_mint) {
        let message = format!("no template makes keys at `{}`: {instead}", template.provider);
        return Err(BrokerError::new(Code::Denied, message));
    }
    let Some(kinds) = provider::kinds(template.provider.as_str()) else {
        return Err(BrokerError::invalid(format_args!(
            "this version makes no keys at `{}`",
            template.provider
        )));
    };
    let mut given = Vec::new();
    for (name, parameter) in &template.parameters {
        let known = kinds.iter().find(|kind| kind.kind == parameter.kind).ok_or_else(|| {
            let shown = keywright_core::text::Untrusted::capped(&parameter.kind, 80);
            BrokerError::invalid(format_args!("parameter `{name}` is of the unknown kind `{shown}`"))
                .alternatives(kinds.iter().map(|kind| kind.kind.to_owned()).collect())
        })?;
        given.push(known);
    }
    let is_confined = |p: &&Permission| {
        let by_connection = kinds.iter().filter(|kind| kind.from_connection);
        given.iter().copied().chain(by_connection).any(|kind| kind.confines(&p.scope))
    };
    match permissions.iter().find(|p| !is_confined(p)) {
        None => Ok(()),
        Some(open) => {
            let fitting = kinds.iter().filter(|kind| kind.confines(&open.scope));
            let message = format!("no parameter says which {} `{}` is for", open.scope, open.name);
            Err(BrokerError::invalid(message)
                .hint("add a parameter of one of these kinds")
                .alternatives(fitting.map(|kind| kind.kind.to_owned()).collect()))
        }
    }
}

/// Conditions that the provider keeps. A cap that it does not have is left out, with a warning; a network condition that
/// it would ignore is refused, because the key would work from everywhere.
fn fit_conditions(template: &mut Template, warnings: &mut Vec<String>) -> Result<()> {
    let Some(facts) = provider::facts_of(template.provider.as_str()) else { return Ok(()) };
    if !facts.has_ip_condition && !template.limits.ip_allow.is_empty() {
        return Err(BrokerError::invalid(format_args!(
            "{} can't confine a key to networks, so `ip_allow` would not be kept",
            template.provider
        )));
    }
    if !facts.has_budget && template.limits.budget_usd.take().is_some() {
        warnings.push(format!("{} has no budgets, so `budget_usd` is left out", template.provider));
    }
    Ok(())
}

/// Where a template says what its job calls, it grants nothing that the job does not need: with any of its permissions taken
/// away, some operation would be closed. Operations without permission data are not guessed about. Answers with the names of a
/// narrower set that opens the same.
fn hold_against_least(
    catalog: &Catalog,
    template: &Template,
    permissions: &[Permission],
    warnings: &mut Vec<String>,
) -> Result<Vec<String>> {
    let wanted: Vec<Wanted<'_>> =
        template.operations.iter().map(|name| Wanted::from(name.as_str())).collect();
    let mut is_known = !wanted.is_empty();
    for one in &wanted {
        match catalog.least(std::slice::from_ref(one), &[]) {
            Ok(_) => {}
            Err(CatalogError::NotComputable { .. }) => {
                is_known = false;
                let name = one.operation;
                warnings
                    .push(format!("`{name}` has no permission data, so what the job needs can't be checked"));
            }
            Err(error) => return Err(BrokerError::invalid(error)),
        }
    }
    if !is_known {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = permissions.iter().map(|p| p.id.as_str()).collect();
    let measured = catalog.measure(&ids, &wanted, &[]).map_err(BrokerError::invalid)?;
    for operation in &measured.unopened {
        warnings.push(format!("`{operation}` is declared, but none of the permissions opens it"));
    }
    if let Some(superfluous) = measured.superfluous.first() {
        let message = format!("permission `{}` is more than the declared operations need", superfluous.name);
        return Err(BrokerError::invalid(message)
            .hint("take it out, or declare under `operations` what the job calls with it"));
    }
    if measured.is_least || measured.beyond_the_least.is_empty() || !measured.unopened.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = measured.least.permissions.iter().map(|p| p.name.to_owned()).collect();
    let more = &measured.beyond_the_least;
    warnings.push(format!(
        "a narrower set opens all of the declared operations: {}. This one opens {} operations more, of which {} change something",
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        more.len(),
        more.iter().filter(|operation| operation.mutating).count(),
    ));
    Ok(names)
}

impl Broker {
    /// The templates in force, by id.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn templates(&self) -> Result<Vec<AppliedTemplate>> {
        let mut templates = self.ledger.scan(|tx| tx.templates()).await?;
        self.ledger.catch_up().await?;
        templates.retain(|applied| match self.rails.check_template(applied) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(message = %error.message, "left out");
                false
            }
        });
        Ok(templates)
    }

    /// One template in force.
    ///
    /// # Errors
    /// When none of this id is.
    pub async fn template(&self, id: &str) -> Result<AppliedTemplate> {
        self.applied(&TemplateId::parse(id).map_err(BrokerError::invalid)?).await
    }

    /// Puts a template in force: checked, signed, on record. Says which version it is.
    ///
    /// # Errors
    /// As [`check_template`], or when the operator came without a passphrase.
    pub async fn apply_template(&self, operator: &Proven, source: &str) -> Result<(CheckedTemplate, u64)> {
        self.put_in_force(operator, source, None).await
    }

    /// As [`Broker::apply_template`], and a proposal is applied with it that still waits.
    pub(crate) async fn put_in_force(
        &self,
        operator: &Proven,
        source: &str,
        proposal: Option<(RequestId, u64)>,
    ) -> Result<(CheckedTemplate, u64)> {
        self.refuse_if_forked()?;
        let mut checked = check_template(source)?;
        let wider = self.wider_of(&checked.resolved);
        checked
            .warnings
            .extend(wider.iter().map(|said| format!("{said}: it may do more than is counted here")));
        checked.warnings.extend(self.unconnected(&checked.resolved.template).await?);
        // A passkey's signature stands in the entry, and so does what it says: which proposal, and the digest of its text.
        let touch = operator.deciding()?;
        let signature = match operator.signing() {
            Ok(key) => key.sign(&signed("template", source)).to_bytes(),
            Err(_) => [0; 64],
        };
        let (resolved, source, by) = (checked.resolved.clone(), source.to_owned(), operator.name().clone());
        let who = operator.caller().who();
        let (name, rails) = (resolved.template.id.to_string(), Arc::clone(&self.rails));
        let written = self.ledger.write(move |tx| {
            if let Some((proposal, _)) = proposal {
                tx.settle_proposal(proposal, "applied", (by.as_str(), None))?;
            }
            let version = tx.apply_template(&source, &resolved, &by, &signature)?;
            if proposal.is_some_and(|(_, shown)| shown != version) {
                let message = "the template that is in force is another one than was shown beside the proposal; look again";
                return Err(BrokerError::outdated(message));
            }
            let digest = of_template(&source, &resolved, version);
            rails.coming(resolved.template.id.as_str(), &digest);
            let mut record = Record::new(tx.now(), Deed::TemplateApply, Stage::Note, who);
            record.subject =
                Subject { template: Some(resolved.template.id.to_string()), ..Subject::default() };
            record.facts.insert("version".to_owned(), serde_json::json!(version));
            record.facts.insert(FACT.to_owned(), serde_json::json!(digest));
            if let Some((proposal, _)) = proposal {
                let text = hex::encode(Sha256::digest(source.as_bytes()));
                record.facts.insert("proposal".to_owned(), serde_json::json!(proposal));
                record.facts.insert("source".to_owned(), serde_json::json!(text));
            }
            record.signatures.extend(touch);
            record.facts.insert("unlocks".to_owned(), serde_json::json!(resolved.unlocks));
            record.facts.insert("mutating".to_owned(), serde_json::json!(resolved.mutating));
            let names: Vec<&str> = resolved.permissions.iter().map(|p| p.name.as_str()).collect();
            record.facts.insert("permissions".to_owned(), serde_json::json!(names));
            if !wider.is_empty() {
                record.facts.insert("wider".to_owned(), serde_json::json!(wider.len()));
            }
            let ends = record.who.clone();
            tx.audit(record)?;
            let id = &resolved.template.id;
            let reason = format!(
                "template `{id}` was put in force anew (version {version}) since this was asked; ask again if it is still needed"
            );
            end_what_waits(tx, &ends, &reason, |plan| {
                plan.template == *id && plan.template_version != version
            })?;
            Ok::<_, BrokerError>((version, digest))
        });
        let (version, digest) = written.await?;
        self.rails.came(&name, &digest);
        Ok((checked, version))
    }

    /// The policy in force.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn policy(&self) -> Result<AppliedPolicy> {
        Ok(self.ledger.read(|tx| tx.policy()).await?)
    }

    /// Puts a policy in force: checked, signed, on record. Says which version it is.
    ///
    /// # Errors
    /// When it does not parse or does not fit the schema.
    pub async fn apply_policy(&self, operator: &Proven, source: &str) -> Result<u64> {
        self.refuse_if_forked()?;
        let count = Policies::parse(source).map_err(BrokerError::invalid)?.count();
        let signature = operator.signing()?.sign(&signed("policy", source)).to_bytes();
        let (source, by, who) = (source.to_owned(), operator.name().clone(), operator.caller().who());
        let rails = Arc::clone(&self.rails);
        let written = self.ledger.write(move |tx| {
            let version = tx.apply_policy(&source, &by, &signature)?;
            let digest = of_policy(&source, version);
            rails.coming(POLICY, &digest);
            let mut record = Record::new(tx.now(), Deed::PolicyApply, Stage::Note, who);
            record.facts.insert("version".to_owned(), serde_json::json!(version));
            record.facts.insert(FACT.to_owned(), serde_json::json!(digest));
            record.facts.insert("policies".to_owned(), serde_json::json!(count));
            tx.audit(record)?;
            Ok::<_, LedgerError>((version, digest))
        });
        let (version, digest) = written.await?;
        self.rails.came(POLICY, &digest);
        Ok(version)
    }

    /// Puts the default pack in force.
    ///
    /// # Errors
    /// As [`Broker::apply_policy`].
    pub async fn apply_default_policy(&self, operator: &Proven) -> Result<u64> {
        self.apply_policy(operator, DEFAULT_POLICIES).await
    }

    /// Runs a file of cases against the policy in force.
    ///
    /// # Errors
    /// When the file can't be read as cases.
    pub async fn test_policy(&self, cases: &str) -> Result<Vec<CaseResult>> {
        let (_, policies) = self.policies().await?;
        run_cases(&policies, cases).map_err(BrokerError::invalid)
    }

    /// Why a request was decided as it was, by the policy in force now.
    ///
    /// # Errors
    /// When there is no such request, or its template is no longer in force.
    pub async fn explain(&self, request: &str) -> Result<Vec<String>> {
        let id = Self::find_request(request)?;
        let request = self.ledger.read(move |tx| tx.request(id)).await?;
        let applied = self.applied(&request.plan.template).await?;
        let asked = request.clone();
        let counts = self.ledger.read(move |tx| counts_besides(tx, &asked)).await?;
        let (_, policies) = self.policies().await?;
        let question = Question::plan(&request.plan, &applied.resolved, counts);
        Ok(explain(&policies.decide(&question), &question))
    }

    /// The template that a key was made from, as it is in force; its last known form when it no longer is.
    pub(crate) async fn template_of(&self, key: &Key) -> Result<ResolvedTemplate> {
        let of = key.clone();
        let (id, found) = self
            .ledger
            .read(move |tx| {
                let id = tx.request_in_force(&of)?.plan.template;
                tx.template(&id).map(|found| (id, found))
            })
            .await?;
        found
            .map(|applied| applied.resolved)
            .ok_or_else(|| BrokerError::missing(format!("template `{id}` of the key is no longer in force")))
    }
}

fn lookup<'c>(catalog: &'c Catalog, reference: &PermissionRef) -> Result<&'c keywright_catalog::Permission> {
    let found = match reference {
        PermissionRef::Named(name) => catalog.permission(name, None),
        PermissionRef::Scoped { name, scope } => catalog.permission(name, Some(scope)),
    };
    found.map_err(BrokerError::invalid)
}

fn marked(catalog: &Catalog, template: &Template, id: &str) -> Result<bool> {
    for reference in &template.escalation {
        if lookup(catalog, reference)?.id == id {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an operator signs when a guard rail is applied.
fn signed(kind: &str, source: &str) -> Vec<u8> {
    format!("keywright/{kind}/1\n{source}").into_bytes()
}

/// A number of operations; no catalog comes near the limit.
pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::is_broad;

    #[test]
    fn a_pattern_is_broad_below_which_anybody_may_have_a_domain() {
        for pattern in ["*", "*.com", "*.co.uk", "*.CO.UK", "*.com.au.", "*.kawasaki.jp", "*.github.io"] {
            assert!(is_broad(pattern), "{pattern}");
        }
        for pattern in ["example.com", "co.uk", "*.example.com", "*.example.co.uk", "*.t.co", "*.bücher.de"]
        {
            assert!(!is_broad(pattern), "{pattern}");
        }
    }
}
