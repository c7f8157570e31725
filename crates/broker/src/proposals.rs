//! Proposals: templates that agents put forward. They count for nothing until an operator puts one in force, exactly
//! as it was shown.

use std::sync::Arc;

use keywright_core::audit::{Deed, Record, Stage, Subject};
use keywright_core::channel::Matter;
use keywright_core::id::RequestId;
use keywright_core::look::{look, spelled};
use keywright_core::plan::Principal;
use keywright_core::policy::{Action, Actor, Behind, Facts, TemplateFacts};
use keywright_core::template::{Template, Tier};
use keywright_core::text::Untrusted;
use keywright_core::verdict::{Level, Verdict};
use keywright_ledger::{AppliedTemplate, LedgerError, Proposal};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::differs::between;
use crate::error::{BrokerError, Code, Result};
use crate::guards::{CheckedTemplate, check_template, doubts, written_anywhere};
use crate::notify::owe_notices;
use crate::record::Caller;
use crate::request::nobody;
use crate::review::{Pending, Proposed};

/// How many proposals of one agent may wait at a time.
const PENDING_AT_MOST: usize = 10;
/// How many names that look like others are told.
const ALIKE: usize = 10;

/// How a proposal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// `pending`, `applied` or `rejected`.
    pub state: String,
    /// Who decided.
    pub by: Option<String>,
    /// Why it was turned down.
    pub reason: Option<String>,
}

impl Broker {
    /// Keeps an agent's proposal for review. It counts for nothing until an operator applies it.
    ///
    /// # Errors
    /// As [`check_template`], or when policy does not let the agent propose.
    pub async fn propose_template(&self, caller: &Caller, source: &str, why: &str) -> Result<RequestId> {
        let Principal::Agent(agent) = &caller.principal else {
            return Err(BrokerError::new(Code::Forbidden, "only agents propose; operators apply"));
        };
        let checked = check_template(source)?;
        self.may_propose(caller, &checked.resolved.template.id, why).await?;
        let counts = self.counts(&caller.principal).await?;
        let (_, policies) = self.policies().await?;
        let nobody = nobody();
        policies
            .authorize_template_action(
                Actor::from(caller.principal.clone()),
                Action::Propose,
                &TemplateFacts::of(&checked.resolved),
                &Facts { counts, approvals: &nobody, behind: &Behind::Nobody },
            )
            .map(drop)
            .map_err(|refusal| BrokerError::new(Code::Denied, refusal.to_string()))?;
        let id = RequestId::generate(self.now(), entropy()?);
        let proposal = Proposal {
            request: id,
            agent: agent.clone(),
            template: checked.resolved.template.id.clone(),
            source: source.to_owned(),
            why: self.kept(why, 1_000).await?.raw().to_owned(),
            state: String::new(),
            created_at: self.now(),
        };
        let (who, rails, principal) = (caller.who(), Arc::clone(&self.rails), caller.principal.clone());
        let written = self.ledger.write(move |tx| {
            rails.pauses().check(&principal)?;
            // Counted where it is added: many at once are no more than one after the other.
            if tx.proposals()?.iter().filter(|p| p.agent == proposal.agent).count() >= PENDING_AT_MOST {
                let message = format!("{PENDING_AT_MOST} proposals of this agent wait for review already");
                return Err(BrokerError::new(Code::TryAgain, message).hint("wait until some are reviewed"));
            }
            tx.add_proposal(&proposal)?;
            owe_notices(tx, Matter::Proposal, &id.to_string())?;
            let mut record = Record::new(tx.now(), Deed::TemplatePropose, Stage::Note, who);
            record.subject = Subject {
                request: Some(id.to_string()),
                template: Some(proposal.template.to_string()),
                ..Subject::default()
            };
            record.why = keywright_core::audit::Why::new(&proposal.why, None);
            Ok::<_, BrokerError>(tx.audit(record)?)
        });
        written.await?;
        Ok(id)
    }

    /// How a proposal of this agent stands. `None` when it made none of this id.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn proposal_state(&self, principal: &Principal, request: &str) -> Result<Option<Stands>> {
        let (Ok(id), Principal::Agent(agent)) = (Self::find_request(request), principal) else {
            return Ok(None);
        };
        let read =
            self.ledger.read(move |tx| Ok::<_, LedgerError>((tx.proposal(id)?, tx.proposal_outcome(id)?)));
        let (found, (by, reason)) = read.await?;
        let found = found.filter(|proposal| proposal.agent == *agent);
        Ok(found.map(|proposal| Stands { state: proposal.state, by, reason }))
    }

    /// Puts a proposed template in force. `shown` is the text that the operator read, `version` what it becomes: the one after what it
    /// was shown beside.
    ///
    /// # Errors
    /// When it no longer waits, or is not what was shown; else as [`Broker::apply_template`].
    pub async fn apply_proposal(
        &self,
        operator: &Proven,
        request: &str,
        shown: &str,
        version: u64,
    ) -> Result<(CheckedTemplate, u64)> {
        operator.deciding()?;
        let id = Self::find_request(request)?;
        let found = self.ledger.read(move |tx| tx.proposal(id)).await?;
        let proposal = found.ok_or_else(|| BrokerError::missing(format!("there is no proposal `{id}`")))?;
        if proposal.state != "pending" {
            let message = format!("{id} does not wait for review any more; it is {}", proposal.state);
            return Err(BrokerError::outdated(message));
        }
        if proposal.source != shown {
            let message = "the template is not the one that you were shown; look again";
            return Err(BrokerError::outdated(message));
        }
        self.put_in_force(operator, shown, Some((id, version))).await
    }

    /// A proposal as a reviewer sees it, beside what it would replace, given the templates in force.
    pub(crate) async fn pending_template(
        &self,
        proposal: Proposal,
        templates: &[AppliedTemplate],
    ) -> Result<Pending> {
        let waits = proposal.state == "pending";
        let in_force = templates.iter().find(|one| waits && one.resolved.template.id == proposal.template);
        let checked = check_template(&proposal.source).ok();
        let held = in_force.and_then(|_| self.held(proposal.template.as_str()));
        let mut red_flags = Vec::new();
        if let Some(checked) = &checked {
            red_flags.extend(doubts(&checked.resolved.template));
            red_flags.extend(alike(&checked.resolved.template, templates));
            let wider = self.wider_of(&checked.resolved).into_iter();
            red_flags.extend(wider.map(|said| format!("{said}: it may do more than is counted here")));
        }
        if let Some(why) = &held {
            red_flags.push(format!("the one in force is held, and this would release it: {why}"));
        }
        let differs = match (in_force, &checked) {
            (Some(in_force), Some(checked)) => between(&in_force.resolved, &checked.resolved),
            _ => Vec::new(),
        };
        let verdict = comes_to(&proposal, checked.as_ref(), in_force, &red_flags, differs.len());
        Ok(Pending::Template(Box::new(Proposed {
            request: proposal.request,
            match_code: proposal.request.match_code(),
            decided_by: None,
            reason: None,
            verdict,
            status: proposal.state,
            agent: proposal.agent.to_string(),
            template: proposal.template.to_string(),
            why: Untrusted::capped(&proposal.why, 1_000),
            source: Untrusted::capped(&proposal.source, 64 * 1_024),
            red_flags,
            replaces: in_force.map(|applied| applied.version),
            differs,
            held,
            in_force: in_force.map(|applied| Untrusted::capped(&applied.source, 64 * 1_024)),
            created_at: proposal.created_at,
            blocks: Vec::new(),
        })))
    }
}

/// What a proposal comes to: by rule, like that of a plan.
fn comes_to(
    proposal: &Proposal,
    checked: Option<&CheckedTemplate>,
    in_force: Option<&AppliedTemplate>,
    red_flags: &[String],
    differences: usize,
) -> Verdict {
    let what = match in_force {
        Some(one) => {
            let changes =
                if differences == 1 { "1 change".to_owned() } else { format!("{differences} changes") };
            format!("{changes} to template {}, version {}", proposal.template, one.version)
        }
        None => format!("new template {}", proposal.template),
    };
    let Some(checked) = checked else {
        return Verdict { level: Level::High, line: format!("{what}, which can't be applied") };
    };
    let resolved = &checked.resolved;
    let worst = !red_flags.is_empty()
        || !resolved.escalation.is_empty()
        || written_anywhere(&resolved.template).next().is_some()
        || resolved.template.tier == Tier::Production;
    let level = match (worst, resolved.unlocks > 0 && resolved.mutating == 0) {
        (true, _) => Level::High,
        (false, true) => Level::Low,
        (false, false) => Level::Medium,
    };
    let opens = match resolved.unlocks {
        0 => "nobody knows how many operations".to_owned(),
        all => format!("{all} operations, {} of them change something", resolved.mutating),
    };
    Verdict { level, line: format!("{what}: {opens}") }
}

/// What a proposed template has under a name that looks like one of those in force: its id, and the values that it allows.
fn alike(proposed: &Template, templates: &[AppliedTemplate]) -> Vec<String> {
    let mut found = Vec::new();
    let values = |of: &Template| -> Vec<String> {
        of.parameters
            .values()
            .flat_map(|one| one.allow.iter().flatten().chain(&one.default))
            .cloned()
            .collect()
    };
    let own: Vec<(String, String)> =
        values(proposed).into_iter().map(|value| (look(&value), value)).collect();
    let id = look(proposed.id.as_str());
    for known in templates.iter().map(|one| &one.resolved.template) {
        if known.id != proposed.id && look(known.id.as_str()) == id {
            found.push(format!("its id looks like `{}`, which is in force", known.id));
        }
        for value in values(known) {
            let seen = look(&value);
            for (_, other) in
                own.iter().filter(|(look, own)| *look == seen && !own.eq_ignore_ascii_case(&value))
            {
                let shown = |text: &str| Untrusted::capped(&spelled(text), 120);
                found.push(format!(
                    "`{}` looks like `{}`, which `{}` allows",
                    shown(other),
                    shown(&value),
                    known.id
                ));
            }
        }
    }
    found.sort();
    found.dedup();
    found.truncate(ALIKE);
    found
}
