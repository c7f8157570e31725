//! Policy texts: read, checked against the schema, or refused with a line and a column.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, PolicySet, PolicySetError, ValidationMode, Validator};

use super::names;
use super::vocabulary::VOCABULARY;
use super::weight::{DEEPEST, MOST_OPERATORS, too_heavy};
use crate::text::{Untrusted, escaped};

/// The longest policy text, in bytes: 20,000 policies of 200 bytes.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;
/// The most policies in one text.
pub const MAX_POLICIES: usize = 20_000;
const MAX_FAULTS: usize = 20;
const MAX_REASON: usize = 300;

/// Policies that were read and hold against the schema. An operator may apply them.
#[derive(Debug)]
pub struct PolicySetSource {
    policies: PolicySet,
    reasons: BTreeMap<String, String>,
}

/// A policy text that can't be applied.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The text is too long.
    #[error("a policy text has at most {MAX_TEXT} bytes, this one has {0}")]
    TooLong(usize),
    /// It holds too many policies.
    #[error("at most {MAX_POLICIES} policies can be in force, this text has {0}")]
    TooMany(usize),
    /// Something in it is wrong; the first twenty faults, in the order of the text.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
    /// The index did not take them.
    #[error("the policies can't be sorted: {0}")]
    Index(#[source] Box<PolicySetError>),
}

/// One thing that is wrong in a policy text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line's text.
    pub text: Untrusted,
}

impl PolicySetSource {
    /// Reads policies and checks them: Cedar's syntax, the schema (strictly, warnings are refusals too), ids that
    /// are plain names and stand once, entities whose names could exist, and no invisible characters anywhere.
    ///
    /// The id of a policy is its `@id`, or else `policy0`, `policy1` ... by its place in the text.
    ///
    /// # Errors
    /// The bound that is exceeded, or the faults with line, column and hint.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.len() > MAX_TEXT {
            return Err(SourceError::TooLong(text.len()));
        }
        faults(hidden_characters(text))?;
        if let Some(at) = too_heavy(text) {
            let problem = format!(
                "this policy has more than {MOST_OPERATORS} operators or brackets more than {DEEPEST} deep"
            );
            return Err(SourceError::Faults(vec![Fault::at(text, at, problem, "split it into several")]));
        }
        let read: PolicySet = text.parse().map_err(|errors| {
            SourceError::Faults(vec![Fault::from_cedar(text, &DetailedError::from(&errors))])
        })?;
        let count = read.num_of_policies();
        if count > MAX_POLICIES {
            return Err(SourceError::TooMany(count));
        }
        if let Some(template) = read.templates().next() {
            let at = text.find("?principal").or_else(|| text.find("?resource")).unwrap_or(0);
            let problem = format!("policy `{}` has a slot", template.id());
            return Err(SourceError::Faults(vec![Fault::at(text, at, problem, "write the name itself")]));
        }
        let (policies, reasons) = named(text, &read)?;
        faults(policies.policies().flat_map(|policy| strange_names(text, policy)).collect())?;
        faults(against_schema(text, &policies))?;
        Ok(Self { policies, reasons })
    }

    /// The ids with the effect (`permit` or `forbid`) and the reason, in the order of the text.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &'static str, Option<&str>)> {
        self.policies.policies().map(|policy| {
            let id: &str = policy.id().as_ref();
            let effect = if policy.effect() == Effect::Permit { "permit" } else { "forbid" };
            (id, effect, self.reasons.get(id).map(String::as_str))
        })
    }

    pub(super) fn into_parts(self) -> (PolicySet, BTreeMap<String, String>) {
        (self.policies, self.reasons)
    }
}

impl Fault {
    fn at(text: &str, offset: usize, problem: String, hint: &str) -> Self {
        let (line, column, content) = position(text, offset);
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Self { line, column, problem, hint, text: Untrusted::capped(content.trim(), 160) }
    }

    fn from_cedar(text: &str, error: &DetailedError) -> Self {
        let offset = error.source_locations.first().map_or(0, |label| label.loc.start);
        let mut problem = escaped(&error.message);
        let label = error.source_locations.first().and_then(|label| label.label.as_deref());
        if let Some(label) = label.filter(|label| !problem.contains(*label)) {
            problem = format!("{problem} ({})", escaped(label));
        }
        Self::at(text, offset, problem, &escaped(error.help.as_deref().unwrap_or_default()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}, in `{}`", self.line, self.column, self.problem, self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

fn faults(mut found: Vec<Fault>) -> Result<(), SourceError> {
    found.sort_by_key(|fault| (fault.line, fault.column));
    found.dedup();
    found.truncate(MAX_FAULTS);
    if found.is_empty() { Ok(()) } else { Err(SourceError::Faults(found)) }
}

/// A reviewer must see what Cedar reads: no bidirectional controls, no zero-width or control characters.
fn hidden_characters(text: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let hidden = |c: &char| *c != '\t' && escaped(c.encode_utf8(&mut [0; 4])) != c.to_string();
        let Some(at) = line.chars().position(|c| !c.is_ascii_graphic() && c != ' ' && hidden(&c)) else {
            continue;
        };
        found.push(Fault {
            line: number + 1,
            column: at + 1,
            problem: "an invisible or control character".to_owned(),
            hint: Some("remove it; a policy must read as it looks".to_owned()),
            text: Untrusted::capped(line.trim(), 160),
        });
    }
    found
}

/// Gives every policy its id and collects the reasons.
fn named(text: &str, read: &PolicySet) -> Result<(PolicySet, BTreeMap<String, String>), SourceError> {
    let (mut policies, mut reasons, mut found) = (PolicySet::new(), BTreeMap::new(), Vec::new());
    for policy in read.policies() {
        let own = policy.annotation("id");
        let id = own.map_or_else(|| policy.id().to_string(), str::to_owned);
        let at = || own.and_then(|own| text.rfind(&format!("\"{own}\""))).unwrap_or(0);
        if !names::is_policy_id(&id) {
            let problem = format!("`{}` is not a policy id", escaped(&id));
            found.push(Fault::at(text, at(), problem, "use 1 to 64 letters, digits, `-`, `_` or `.`"));
            continue;
        }
        if policies.add(policy.new_id(PolicyId::new(&id))).is_err() {
            found.push(Fault::at(
                text,
                at(),
                format!("two policies have the id `{id}`"),
                "give one another `@id`",
            ));
            continue;
        }
        match policy.annotation("reason") {
            Some(reason) if reason.trim().is_empty() || reason.chars().count() > MAX_REASON => {
                let problem =
                    format!("the `@reason` of `{id}` is empty or longer than {MAX_REASON} characters");
                found.push(Fault::at(text, text.find(reason).unwrap_or(0), problem, ""));
            }
            Some(reason) => drop(reasons.insert(id, escaped(reason))),
            None => {}
        }
    }
    faults(found).map(|()| (policies, reasons))
}

/// An entity whose name could not exist: a typing error, or a look-alike letter.
fn strange_names(text: &str, policy: &Policy) -> Vec<Fault> {
    let odd = policy.entity_literals().into_iter().filter_map(|uid| {
        let id = uid.id().unescaped().to_owned();
        names::problem(uid.type_name().basename(), &id).map(|problem| (id, problem))
    });
    odd.map(|(id, problem)| {
        let at = text.find(&format!("\"{id}\"")).unwrap_or(0);
        Fault::at(text, at, format!("{problem}, so policy `{}` can never match it", policy.id()), "")
    })
    .collect()
}

fn against_schema(text: &str, policies: &PolicySet) -> Vec<Fault> {
    let result = Validator::new(VOCABULARY.schema.clone()).validate(policies, ValidationMode::Strict);
    let errors = result.validation_errors().map(DetailedError::from);
    let warnings = result.validation_warnings().map(DetailedError::from);
    errors.chain(warnings).take(10 * MAX_FAULTS).map(|error| Fault::from_cedar(text, &error)).collect()
}

/// Line and column from 1, and the line, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize, &str) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column, line)
}
