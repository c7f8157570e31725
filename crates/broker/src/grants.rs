//! Standing grants: an operator approves a class of an agent's requests in advance, for at most 90 days. What a grant covers
//! goes ahead as if that operator had approved it; it stands for one approval where one is wanted, and for nothing where more
//! are, where the verdict is HIGH, and in production.
//!
//! A grant counts while its row is as it was added, its operator's signature is over it, that operator is still one, and the
//! template is the one that they saw. Each use is counted where it is used, and known from the audit log as well.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keywright_core::audit::{Deed, Record, SignatureRecord, Stage};
use keywright_core::id::{GrantId, RequestId};
use keywright_core::name::{AgentName, EnvironmentName, OperatorName, ProjectName, TemplateId};
use keywright_core::plan::{Plan, Principal};
use keywright_core::policy::{Decision, Effect};
use keywright_core::span::Span;
use keywright_core::standing::{LONGEST, StandingGrant, Void};
use keywright_core::template::{ResolvedTemplate, Tier};
use keywright_core::text::Untrusted;
use keywright_core::verdict::{Level, sounds_like_production, verdict};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{GivenGrant, GrantUse, LedgerError, Request, RowMac, Tx};
use serde::Serialize;

use crate::admin::{named, vouched};
use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::passkey::ED25519;
use crate::rails::{AGENT, GRANT, LetIn, OPERATOR, Rails, known_as};
use crate::record::{of_request, who};

/// How many an agent has at most.
const EACH: usize = 100;
/// How many reasons a request is told why none of them covers it.
const TOLD: usize = 3;
/// The longest value of a parameter, as in an ask.
const LONGEST_VALUE: usize = 253;
/// The fact of a use that names the grant.
const FACT: &str = "grant";

/// A grant as an operator asks for it.
#[derive(Debug, Clone)]
pub struct NewGrant {
    /// Whose requests.
    pub agent: AgentName,
    /// For keys of this template.
    pub template: TemplateId,
    /// In this project.
    pub project: ProjectName,
    /// In this environment.
    pub environment: EnvironmentName,
    /// The parameters that have to be exactly these.
    pub parameters: BTreeMap<String, String>,
    /// Whether the others may be whatever the template allows.
    pub any_parameters: bool,
    /// For how many requests; for any number when absent.
    pub uses: Option<u64>,
    /// For how long.
    pub lasts: Span,
}

/// A grant as lists show it.
#[derive(Debug, Clone, Serialize)]
pub struct GrantShown {
    /// What was approved.
    #[serde(flatten)]
    pub grant: StandingGrant,
    /// How often it was used.
    pub used: u64,
    /// When it was used last.
    pub used_at: Option<Timestamp>,
    /// Why it counts for nothing just now, where it does not.
    pub void: Option<String>,
}

/// How often grants were used, as the log has it.
#[derive(Default)]
pub(crate) struct Uses(RwLock<HashMap<String, HashSet<RequestId>>>);

impl Uses {
    /// Takes in an entry.
    pub(crate) fn take(&self, record: &Record) {
        let grant = record.facts.get(FACT).and_then(serde_json::Value::as_str);
        let request = record.subject.request.as_deref().and_then(|id| RequestId::parse(id).ok());
        if let (Some(grant), Some(request)) = (grant, request) {
            self.used(grant, request);
        }
    }

    /// It was used for a request, and that is on record.
    pub(crate) fn used(&self, grant: &str, request: RequestId) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(grant.to_owned()).or_default().insert(request);
    }

    fn of(&self, grant: GrantId) -> u64 {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&grant.to_string()).map_or(0, |requests| requests.len() as u64)
    }

    /// What the log says now, in place of what it said.
    pub(crate) fn replace(&self, fresh: Self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            fresh.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    }
}

impl LetIn for GivenGrant {
    fn as_logged(&self) -> (&'static str, Cow<'_, str>, RowMac) {
        (GRANT, self.grant.id.to_string().into(), self.mac)
    }
}

impl Broker {
    /// Approves a class of an agent's requests in advance.
    ///
    /// # Errors
    /// When the operator came with a session only; when no such agent or template is there, or a grant for it would count for
    /// nothing.
    pub async fn add_grant(&self, operator: &Proven, new: NewGrant) -> Result<StandingGrant> {
        self.refuse_if_forked()?;
        let signing = operator.signing()?;
        if new.lasts > LONGEST {
            return Err(BrokerError::invalid(format!("a grant lasts at most {LONGEST}, not {}", new.lasts))
                .hint("give a shorter one now, and another one when it has ended"));
        }
        if new.uses == Some(0) {
            return Err(BrokerError::invalid("a grant is for at least one use"));
        }
        let applied = self.applied(&new.template).await?;
        self.rails.check_held(new.template.as_str())?;
        refuse_useless(&applied.resolved, &new.environment)?;
        let parameters = named_parameters(&applied.resolved, &new)?;
        // Kept and signed alike.
        let given_at = Timestamp::from_millisecond(self.now().as_millisecond()).unwrap_or(self.now());
        let grant = StandingGrant {
            id: GrantId::generate(given_at, entropy()?),
            operator: operator.name().clone(),
            agent: new.agent,
            template: new.template,
            template_version: applied.version,
            project: new.project,
            environment: new.environment,
            parameters,
            any_parameters: new.any_parameters,
            uses: new.uses,
            given_at,
            until: new.lasts.after(given_at),
        };
        let signature = grant.sign(signing);
        let proof = SignatureRecord {
            by: operator.name().to_string(),
            method: ED25519.to_owned(),
            key: STANDARD.encode(signing.verifying_key().as_bytes()),
            over: STANDARD.encode(grant.message()),
            signature: STANDARD.encode(signature),
            with: BTreeMap::new(),
        };
        let (who, keyring, rails) =
            (operator.caller().who(), Arc::clone(&self.keyring), Arc::clone(&self.rails));
        let adding = grant.clone();
        let written = self.ledger.write(move |tx| {
            // Whoever was removed since approves nothing.
            tx.operator(&adding.operator, &keyring)?;
            if !tx.has_agent(&adding.agent)? {
                let name = adding.agent.to_string();
                return Err(LedgerError::Missing { what: "agent", name }.into());
            }
            if tx.grants_of(&adding.agent)?.len() >= EACH {
                let message = format!("agent `{}` has {EACH} grants, which is the most", adding.agent);
                return Err(BrokerError::new(Code::Conflict, message)
                    .hint("remove those that have ended: `keywright grant list`"));
            }
            let mac = tx.add_grant(&adding, &signature, &keyring)?.to_string();
            rails.coming(&known_as(GRANT, &adding.id.to_string()), &mac);
            Ok::<_, BrokerError>(tx.audit(of_grant(tx, who, &adding, &mac, proof))?)
        });
        written.await?;
        Ok(grant)
    }

    /// The standing grants that were not removed, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn grants(&self) -> Result<Vec<GrantShown>> {
        let keyring = Arc::clone(&self.keyring);
        let (found, templates) =
            self.ledger.scan(move |tx| Ok::<_, LedgerError>((tx.grants(&keyring)?, tx.templates()?))).await?;
        self.ledger.catch_up().await?;
        let mut shown = Vec::new();
        for GivenGrant { grant, used, used_at, .. } in self.rails.counting(found) {
            let used = used.max(self.rails.uses().of(grant.id));
            let in_force = templates.iter().find(|one| one.resolved.template.id == grant.template);
            let is_gone = |noun, name: &str| self.rails.is_removed(noun, name);
            let void = if is_gone(OPERATOR, grant.operator.as_str()) {
                Some(format!("operator {}, who gave it, was removed", grant.operator))
            } else if is_gone(AGENT, grant.agent.as_str()) {
                Some("the agent was removed".to_owned())
            } else if let Some(other) =
                in_force.map(|one| one.version).filter(|version| *version != grant.template_version)
            {
                Some(Void::Template(other).to_string())
            } else if self.now() >= grant.until {
                Some(Void::Ended(grant.until).to_string())
            } else if let Some(uses) = grant.uses.filter(|uses| used >= *uses) {
                Some(Void::UsedUp(uses).to_string())
            } else {
                self.paused(&grant.agent).map(|_| "the agent is paused".to_owned())
            };
            shown.push(GrantShown { grant, used, used_at, void });
        }
        Ok(shown)
    }

    /// Removes a grant. What was made by it stays; what it approved and was not made yet is not made.
    ///
    /// # Errors
    /// When there is none of this id.
    pub async fn remove_grant(&self, operator: &Proven, id: &str) -> Result<GrantId> {
        let id = GrantId::parse(id).map_err(BrokerError::invalid)?;
        let (who, keyring) = (operator.caller().who(), Arc::clone(&self.keyring));
        let written = self.ledger.write(move |tx| {
            tx.remove_grant(id, &keyring)?;
            tx.audit(named(tx.now(), Deed::GrantRemove, who, &id.to_string()))
        });
        written.await?;
        self.rails.went(GRANT, &id.to_string());
        Ok(id)
    }

    /// How much there is to lose by a plan.
    pub(crate) fn level_of(&self, plan: &Plan) -> Level {
        verdict(plan, &self.red_flags(plan)).level
    }

    /// The operator whose standing grant approved a request, if one did. It counts still: nothing of it changed since.
    ///
    /// # Errors
    /// [`Code::Denied`] when it counts no more.
    pub(crate) async fn granted(&self, request: &Request) -> Result<Option<OperatorName>> {
        let (rails, keyring, level) =
            (Arc::clone(&self.rails), Arc::clone(&self.keyring), self.level_of(&request.plan));
        self.ledger.catch_up().await?;
        let asked = request.clone();
        let found = self.ledger.read(move |tx| {
            let Some(used) = tx.grant_use(asked.id)? else { return Ok(None) };
            let void = match tx.grant(used.grant, &keyring)? {
                Some(_) if used.digest != asked.digest => Some("it approved another plan".to_owned()),
                Some(given) => counts(tx, (&*rails, &*keyring), &given)?.or_else(|| {
                    let grant = StandingGrant { uses: None, ..given.grant };
                    let covers = grant
                        .is_about(&asked.plan)
                        .then(|| grant.covers(&asked.plan, (level, asked.approvals_needed), 0, used.used_at));
                    match covers {
                        None => Some("it is about something else".to_owned()),
                        Some(covers) => covers.err().map(|void| void.to_string()),
                    }
                }),
                None => Some("it was removed".to_owned()),
            };
            Ok::<_, LedgerError>(Some((used, void)))
        });
        match found.await? {
            None => Ok(None),
            Some((used, None)) => Ok(Some(used.operator)),
            Some((GrantUse { grant, .. }, Some(why))) => {
                let message = format!("standing grant {grant}, which approved it, counts no more: {why}");
                Err(BrokerError::new(Code::Denied, message).hint("ask again"))
            }
        }
    }
}

/// Why a row counts for nothing, whatever it is about: it is not as the log has it, or nobody vouches for it any more.
fn counts(
    tx: &Tx<'_>,
    (rails, keyring): (&Rails, &Keyring),
    given: &GivenGrant,
) -> std::result::Result<Option<String>, LedgerError> {
    if let Err(error) = rails.check_row(given) {
        return Ok(Some(error.message));
    }
    let gone = || format!("operator {}, who gave it, was removed", given.grant.operator);
    let operator = match tx.operator(&given.grant.operator, keyring) {
        Ok(operator) => operator,
        Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => return Ok(Some(gone())),
        Err(error) => return Err(error),
    };
    let is_theirs = rails.check_row(&operator).is_ok()
        && given.grant.is_signed_by(&operator.public_key, &given.signature);
    Ok((!is_theirs).then(gone))
}

/// The standing grant that approves a plan for which policy wants `needed` operators; or why none of those does that are
/// about it. Looked for in the transaction that uses it.
pub(crate) fn standing_for(
    tx: &Tx<'_>,
    (rails, keyring): (&Rails, &Keyring),
    plan: &Plan,
    (level, effect): (Level, Effect),
    may_approve: impl Fn(&OperatorName) -> std::result::Result<(), Decision>,
) -> std::result::Result<(Option<StandingGrant>, Vec<String>), LedgerError> {
    let (Principal::Agent(agent), Effect::NeedsApprovals(needed)) = (&plan.principal, effect) else {
        return Ok((None, Vec::new()));
    };
    let mut found = rails.counting(tx.grants_for(agent, plan, keyring)?);
    found.retain(|given| given.grant.is_about(plan));
    // What ends first is used first.
    found.sort_by_key(|given| (given.grant.until, given.grant.id));
    let (mut reasons, mut elsewhere) = (Vec::new(), Vec::new());
    for given in found {
        let used = given.used.max(rails.uses().of(given.grant.id));
        let said = |why: String| format!("standing grant {} does not cover it: {why}", given.grant.id);
        match given.grant.covers(plan, (level, needed), used, tx.now()) {
            Ok(()) => match counts(tx, (rails, keyring), &given)?.or_else(|| refused(&given, &may_approve)) {
                None => return Ok((Some(given.grant), Vec::new())),
                Some(why) => reasons.push(said(why)),
            },
            Err(void @ Void::Parameter(_)) => elsewhere.push(said(void.to_string())),
            Err(void) => reasons.push(said(void.to_string())),
        }
    }
    reasons.append(&mut elsewhere);
    reasons.truncate(TOLD);
    Ok((None, reasons))
}

/// Why an operator's grant is none of theirs to give, as policy has it.
fn refused(
    given: &GivenGrant,
    may_approve: &impl Fn(&OperatorName) -> std::result::Result<(), Decision>,
) -> Option<String> {
    let decision = may_approve(&given.grant.operator).err()?;
    Some(format!("operator {} may not approve it: {}", given.grant.operator, decision.reasons.join("; ")))
}

/// Uses a grant for a request, on record.
pub(crate) fn use_for(
    tx: &Tx<'_>,
    grant: &StandingGrant,
    request: &Request,
) -> std::result::Result<(), LedgerError> {
    let used = tx.use_grant(grant, request.id, request.digest)?;
    let mut record = of_request(tx.now(), Deed::GrantUse, Stage::Note, who(&request.plan.principal), request);
    record.facts.insert(FACT.to_owned(), serde_json::json!(grant.id.to_string()));
    record.facts.insert("operator".to_owned(), serde_json::json!(grant.operator.as_str()));
    record.facts.insert("because".to_owned(), serde_json::json!(used.said()));
    tx.audit(record).map(drop)
}

/// What an operator approved in advance, on record with their signature.
fn of_grant(
    tx: &Tx<'_>,
    who: keywright_core::audit::Who,
    grant: &StandingGrant,
    mac: &str,
    proof: SignatureRecord,
) -> Record {
    let mut record = vouched(tx.now(), Deed::GrantAdd, who, &grant.id.to_string(), mac);
    record.subject.template = Some(grant.template.to_string());
    record.subject.project = Some(grant.project.to_string());
    record.subject.environment = Some(grant.environment.to_string());
    for (name, value) in [
        ("agent", serde_json::json!(grant.agent)),
        ("template_version", serde_json::json!(grant.template_version)),
        ("parameters", serde_json::json!(grant.parameters)),
        ("any_parameters", serde_json::json!(grant.any_parameters)),
        ("uses", serde_json::json!(grant.uses)),
        ("until", serde_json::json!(grant.until.to_string())),
    ] {
        record.facts.insert(name.to_owned(), value);
    }
    record.signatures.push(proof);
    record
}

/// Whether what was signed, line by line, is what an entry says that an operator approved in advance.
pub(crate) fn is_as_said(record: &Record, signed: &[&str], by: &str) -> bool {
    let subject = |part: &Option<String>| part.clone().unwrap_or_default();
    let text = |name: &str| match record.facts.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let parameters = record.facts.get("parameters").cloned().unwrap_or_default();
    let parameters = serde_json::from_value::<BTreeMap<String, String>>(parameters).unwrap_or_default();
    let said = [
        "keywright/grant/1".to_owned(),
        subject(&record.subject.name),
        by.to_owned(),
        text("agent"),
        subject(&record.subject.template),
        text("template_version"),
        subject(&record.subject.project),
        subject(&record.subject.environment),
        serde_json::to_string(&parameters).unwrap_or_default(),
        text("any_parameters"),
        text("uses"),
    ];
    // Between them stands when it was given, which the signed text alone says.
    signed.len() == said.len() + 2
        && signed.iter().zip(&said).all(|(signed, said)| *signed == said.as_str())
        && signed.last() == Some(&text("until").as_str())
}

/// What would never be approved by a grant gets none.
fn refuse_useless(resolved: &ResolvedTemplate, environment: &EnvironmentName) -> Result<()> {
    let template = &resolved.template;
    let why = if template.tier == Tier::Production {
        format!("template `{}` is one for production", template.id)
    } else if sounds_like_production(environment) {
        format!("`{environment}` sounds like production")
    } else if !resolved.escalation.is_empty() {
        format!("a key of template `{}` could make keys or change permissions", template.id)
    } else {
        return Ok(());
    };
    Err(BrokerError::new(Code::Denied, format!("a standing grant would count for nothing: {why}"))
        .hint("such requests are approved one by one: `keywright review`"))
}

/// The parameters that a grant names: those that were said, and the defaults of others. Without a word that the others may be
/// anything, none may be left open.
fn named_parameters(resolved: &ResolvedTemplate, new: &NewGrant) -> Result<BTreeMap<String, String>> {
    let template = &resolved.template;
    let known = || template.parameters.keys().cloned().collect::<Vec<_>>();
    let mut all = new.parameters.clone();
    for (name, value) in &all {
        if !template.parameters.contains_key(name) {
            let shown = Untrusted::capped(name, 64);
            let message = format!("template `{}` has no parameter `{shown}`", template.id);
            return Err(BrokerError::invalid(message).alternatives(known()));
        }
        if value.is_empty() || value.chars().count() > LONGEST_VALUE {
            return Err(BrokerError::invalid(format!(
                "parameter `{name}` has a value of 1 to {LONGEST_VALUE} characters"
            )));
        }
    }
    if new.any_parameters {
        return Ok(all);
    }
    for (name, parameter) in &template.parameters {
        let is_own_account = parameter.kind.ends_with(".account") && parameter.allow.is_none();
        if let Some(default) = parameter.default.as_ref().filter(|_| !all.contains_key(name)) {
            all.insert(name.clone(), default.clone());
        } else if !all.contains_key(name) && !is_own_account {
            let message = format!("the grant does not say for which `{name}`");
            return Err(BrokerError::invalid(message).hint(format!(
                "give it as --param {name}=VALUE; or --any-parameters, for whatever the template allows"
            )));
        }
    }
    Ok(all)
}
