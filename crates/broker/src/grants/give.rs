//! How a standing grant is given, by the passphrase or by a touch: what it may say, and how it goes on record.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keywright_core::approval::Signed;
use keywright_core::audit::{Deed, Record, SignatureRecord};
use keywright_core::id::{GrantId, PasskeyId};
use keywright_core::name::{AgentName, EnvironmentName, OperatorName, ProjectName, TemplateId};
use keywright_core::place::DestinationPattern;
use keywright_core::plan::Principal;
use keywright_core::span::Span;
use keywright_core::standing::{LONGEST, MESSAGE, StandingGrant};
use keywright_core::template::{ResolvedTemplate, Tier};
use keywright_core::text::{Untrusted, escaped};
use keywright_core::verdict::sounds_like_production;
use keywright_ledger::{LedgerError, Tx};

use crate::admin::vouched;
use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::outside::{DOTENV, EMBEDDED};
use crate::passkey::{ED25519, copied};
use crate::rails::{GRANT, known_as};
use crate::record::who;

/// How many an agent has at most.
const EACH: usize = 100;
/// The longest value of a parameter, as in an ask.
const LONGEST_VALUE: usize = 253;
/// More places than this are not read by whoever looks at a grant.
const PLACES: usize = 20;
/// The longest path, as the kernel has it.
const LONGEST_PATH: usize = 4_096;

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
    /// Where the keys may go; where nothing is named, into the sealed store as far as the template allows it.
    pub destinations: Vec<DestinationPattern>,
    /// The directory that relative places start from.
    pub directory: Option<String>,
    /// How long they may live; as long as one lives by default when absent.
    pub ttl_max: Option<Span>,
    /// For how many requests; for any number when absent.
    pub uses: Option<u64>,
    /// For how long.
    pub lasts: Span,
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
        let grant = self.drafted(operator.name(), new).await?;
        let signature = grant.sign(signing);
        let proof = SignatureRecord {
            by: operator.name().to_string(),
            method: ED25519.to_owned(),
            key: STANDARD.encode(signing.verifying_key().as_bytes()),
            over: STANDARD.encode(grant.message()),
            signature: STANDARD.encode(signature),
            with: BTreeMap::new(),
        };
        self.keep_grant(&grant, Signed::Key(signature), proof, None).await?;
        Ok(grant)
    }

    /// A grant as it will be signed: what it does not say is filled in, and it would count for something.
    ///
    /// # Errors
    /// When it would not, or reaches further than its template.
    pub(crate) async fn drafted(&self, operator: &OperatorName, new: NewGrant) -> Result<StandingGrant> {
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
        let destinations = named_destinations(&applied.resolved, &new)?;
        let directory = self.named_directory(&destinations, new.directory).await?;
        let ttl_max = named_life(&applied.resolved, new.ttl_max)?;
        // Kept and signed alike.
        let given_at = Timestamp::from_millisecond(self.now().as_millisecond()).unwrap_or(self.now());
        Ok(StandingGrant {
            id: GrantId::generate(given_at, entropy()?),
            operator: operator.clone(),
            agent: new.agent,
            template: new.template,
            template_version: applied.version,
            project: new.project,
            environment: new.environment,
            parameters,
            any_parameters: new.any_parameters,
            destinations,
            directory,
            ttl_max,
            uses: new.uses,
            given_at,
            until: new.lasts.after(given_at),
        })
    }

    /// Keeps a grant that was signed, on record with the signature. `used` is the passkey that signed, and its counter.
    ///
    /// # Errors
    /// When its agent is not there or has too many, or the passkey's counter did not go on.
    pub(crate) async fn keep_grant(
        &self,
        grant: &StandingGrant,
        signature: Signed,
        proof: SignatureRecord,
        used: Option<(PasskeyId, u32)>,
    ) -> Result<()> {
        let (keyring, rails) = (Arc::clone(&self.keyring), Arc::clone(&self.rails));
        let adding = grant.clone();
        let written = self.ledger.write(move |tx| {
            // Whoever was removed since approves nothing.
            tx.operator(&adding.operator, &keyring)?;
            if let Some((passkey, counter)) = used {
                tx.use_passkey(passkey, counter).map_err(copied)?;
            }
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
            Ok::<_, BrokerError>(tx.audit(of_grant(tx, &adding, &mac, proof))?)
        });
        written.await.map(drop)
    }

    /// The directory that a grant's relative places start from; none where there are no such places.
    async fn named_directory(
        &self,
        destinations: &[DestinationPattern],
        named: Option<String>,
    ) -> Result<Option<String>> {
        let mut relative = None;
        for pattern in destinations.iter().filter(|one| !one.within().starts_with('/')) {
            if self.outside.store(pattern.store()).await?.facts().kind == DOTENV {
                relative = Some(pattern);
            }
        }
        let Some(relative) = relative else { return Ok(None) };
        let is_one = |path: &String| {
            Path::new(path).is_absolute() && path.len() <= LONGEST_PATH && escaped(path) == *path
        };
        match named {
            Some(path) if is_one(&path) => Ok(Some(path)),
            _ => Err(BrokerError::invalid(format!(
                "`{relative}` is relative, and the directory that it starts from is not known"
            ))
            .hint("write an absolute path, or say it in that directory")),
        }
    }
}

/// What an operator approved in advance, on record with their signature.
fn of_grant(tx: &Tx<'_>, grant: &StandingGrant, mac: &str, proof: SignatureRecord) -> Record {
    let by = who(&Principal::Operator(grant.operator.clone()));
    let mut record = vouched(tx.now(), Deed::GrantAdd, by, &grant.id.to_string(), mac);
    record.subject.template = Some(grant.template.to_string());
    record.subject.project = Some(grant.project.to_string());
    record.subject.environment = Some(grant.environment.to_string());
    for (name, value) in [
        ("agent", serde_json::json!(grant.agent)),
        ("template_version", serde_json::json!(grant.template_version)),
        ("parameters", serde_json::json!(grant.parameters)),
        ("any_parameters", serde_json::json!(grant.any_parameters)),
        ("destinations", serde_json::json!(grant.destinations)),
        ("directory", serde_json::json!(grant.directory)),
        ("ttl_max", serde_json::json!(grant.ttl_max)),
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
    // As they are signed: a text has its quotes, and one that is missing is `null`.
    let json = |name: &str| record.facts.get(name).cloned().unwrap_or_default().to_string();
    let parameters = record.facts.get("parameters").cloned().unwrap_or_default();
    let parameters = serde_json::from_value::<BTreeMap<String, String>>(parameters).unwrap_or_default();
    let said = [
        MESSAGE.to_owned(),
        subject(&record.subject.name),
        by.to_owned(),
        text("agent"),
        subject(&record.subject.template),
        text("template_version"),
        subject(&record.subject.project),
        subject(&record.subject.environment),
        serde_json::to_string(&parameters).unwrap_or_default(),
        text("any_parameters"),
        json("destinations"),
        json("directory"),
        text("ttl_max"),
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

/// Where a grant's keys may go: what was said, as far as the template allows it; the sealed store where nothing was.
fn named_destinations(resolved: &ResolvedTemplate, new: &NewGrant) -> Result<Vec<DestinationPattern>> {
    let template = &resolved.template;
    let allowed = &template.limits.destinations;
    let mut all = new.destinations.clone();
    if all.is_empty() {
        all = allowed.iter().filter(|one| one.store().as_str() == EMBEDDED).cloned().collect();
    }
    all.sort();
    all.dedup();
    let may_be = || allowed.iter().map(ToString::to_string).collect::<Vec<_>>();
    if all.is_empty() {
        let message = format!(
            "template `{}` lets no key into the sealed store, and the grant does not say where they go",
            template.id
        );
        return Err(BrokerError::invalid(message)
            .hint("give it as --to STORE:PATTERN")
            .alternatives(may_be()));
    }
    if all.len() > PLACES {
        return Err(BrokerError::invalid(format!("a grant is for at most {PLACES} destinations")));
    }
    if let Some(other) = all.iter().find(|one| !allowed.iter().any(|pattern| pattern.holds(one))) {
        let message = format!("template `{}` lets no key go to all of `{other}`", template.id);
        return Err(BrokerError::invalid(message)
            .hint("name places that lie within those of the template")
            .alternatives(may_be()));
    }
    Ok(all)
}

/// How long a grant's keys may live: what was said, at most what the template allows; its default where nothing was.
fn named_life(resolved: &ResolvedTemplate, named: Option<Span>) -> Result<Span> {
    let template = &resolved.template;
    let (life, longest) = (named.unwrap_or_else(|| template.default_ttl()), template.limits.ttl_max);
    if life > longest {
        let message = format!("keys of template `{}` live for {longest} at most, not {life}", template.id);
        return Err(BrokerError::invalid(message).hint(format!("give --ttl {longest}, or less")));
    }
    Ok(life)
}
