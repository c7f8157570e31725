//! Policy texts: read, checked against the schema, or refused with a line and a column.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Effect, Policy, PolicyId, PolicySet, PolicySetError, ValidationMode, Validator};

use super::decision::MOST_APPROVALS;
use super::names;
use super::statements::{DEEPEST, MOST_OPERATORS, statements};
use super::thresholds;
use super::vocabulary::VOCABULARY;
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
    policies: Vec<Policy>,
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
        Self::read(text, true)
    }

    /// Reads policies that are in force already. A number of approvals that asks for nobody is no fault any more: what was applied
    /// goes on deciding as it did.
    ///
    /// # Errors
    /// As [`PolicySetSource::parse`].
    pub fn stored(text: &str) -> Result<Self, SourceError> {
        Self::read(text, false)
    }

    fn read(text: &str, is_new: bool) -> Result<Self, SourceError> {
        if text.len() > MAX_TEXT {
            return Err(SourceError::TooLong(text.len()));
        }
        faults(hidden_characters(text))?;
        let pieces = statements(text).map_err(|at| {
            let problem = format!(
                "this policy has more than {MOST_OPERATORS} operators or brackets more than {DEEPEST} deep"
            );
            SourceError::Faults(vec![Fault::at(text, at, problem, "split it into several")])
        })?;
        if pieces.len() > MAX_POLICIES {
            return Err(SourceError::TooMany(pieces.len()));
        }
        let mut read = Reading::new(text, is_new);
        for (number, piece) in pieces.into_iter().enumerate() {
            read.policy(number, piece);
            if read.faults.len() >= MAX_FAULTS {
                break;
            }
        }
        faults(read.faults)?;
        Ok(Self { policies: read.policies, reasons: read.reasons })
    }

    /// The ids with the effect (`permit` or `forbid`) and the reason, in the order of the text.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &'static str, Option<&str>)> {
        self.policies.iter().map(|policy| {
            let id: &str = policy.id().as_ref();
            let effect = if policy.effect() == Effect::Permit { "permit" } else { "forbid" };
            (id, effect, self.reasons.get(id).map(String::as_str))
        })
    }

    pub(super) fn into_parts(self) -> (Vec<Policy>, BTreeMap<String, String>) {
        (self.policies, self.reasons)
    }
}

impl Fault {
    fn at(text: &str, offset: usize, problem: String, hint: &str) -> Self {
        let (line, column, content) = position(text, offset);
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Self { line, column, problem, hint, text: Untrusted::capped(content.trim(), 160) }
    }

    /// `base` is where the policy begins that Cedar speaks of.
    fn from_cedar(text: &str, base: usize, error: &DetailedError) -> Self {
        let within = error.source_locations.first().map(|label| label.loc.start);
        let offset = base + within.unwrap_or_else(|| first_word(text.get(base..).unwrap_or_default()));
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

/// A text that is being read, policy by policy.
struct Reading<'a> {
    text: &'a str,
    /// It is to be applied, and not in force yet.
    is_new: bool,
    validator: Validator,
    policies: Vec<Policy>,
    ids: HashSet<String>,
    reasons: BTreeMap<String, String>,
    faults: Vec<Fault>,
}

impl<'a> Reading<'a> {
    fn new(text: &'a str, is_new: bool) -> Self {
        let validator = Validator::new(VOCABULARY.schema.clone());
        let (policies, faults) = (Vec::new(), Vec::new());
        Self { text, is_new, validator, policies, ids: HashSet::new(), reasons: BTreeMap::new(), faults }
    }

    fn policy(&mut self, number: usize, piece: Range<usize>) {
        let own = self.text.get(piece.clone()).unwrap_or_default().trim_start();
        let base = piece.end - own.len();
        match Policy::parse(Some(PolicyId::new(format!("policy{number}"))), own) {
            Err(errors) => {
                self.faults.push(Fault::from_cedar(self.text, base, &DetailedError::from(&errors)))
            }
            Ok(policy) => {
                if let Some(policy) = self.named(&policy, base, own) {
                    self.strange_names(&policy, base, own);
                    self.against_schema(&policy, base);
                    if self.is_new {
                        self.empty_thresholds(&policy, base, own);
                        self.idle_permit(&policy, base, own);
                    }
                    self.policies.push(policy);
                }
            }
        }
    }

    /// Gives the policy its own id and keeps its reason.
    fn named(&mut self, policy: &Policy, base: usize, own: &str) -> Option<Policy> {
        let given = policy.annotation("id");
        let id = given.map_or_else(|| policy.id().to_string(), str::to_owned);
        let at = base + given.and_then(|given| own.find(&format!("\"{given}\""))).unwrap_or(0);
        if !names::is_policy_id(&id) {
            let problem = format!("`{}` is not a policy id", escaped(&id));
            self.fault(at, problem, "use 1 to 64 letters, digits, `-`, `_` or `.`");
            return None;
        }
        if !self.ids.insert(id.clone()) {
            self.fault(at, format!("two policies have the id `{id}`"), "give one another `@id`");
            return None;
        }
        let policy = policy.new_id(PolicyId::new(&id));
        match policy.annotation("reason") {
            Some(reason) if reason.trim().is_empty() || reason.chars().count() > MAX_REASON => {
                let problem =
                    format!("the `@reason` of `{id}` is empty or longer than {MAX_REASON} characters");
                self.fault(base + own.find(reason).unwrap_or(0), problem, "say it in one sentence");
            }
            Some(reason) => drop(self.reasons.insert(id, escaped(reason))),
            None => {}
        }
        Some(policy)
    }

    /// An entity whose name could not exist: a typing error, or a look-alike letter.
    fn strange_names(&mut self, policy: &Policy, base: usize, own: &str) {
        for uid in policy.entity_literals() {
            let id = uid.id().unescaped();
            let Some(problem) = names::problem(uid.type_name().basename(), id) else { continue };
            let at = base + own.find(&format!("\"{id}\"")).unwrap_or(0);
            self.fault(at, problem, &format!("policy `{}` could never match it", policy.id()));
        }
    }

    fn against_schema(&mut self, policy: &Policy, base: usize) {
        let mut alone = PolicySet::new();
        if alone.add(policy.clone()).is_err() {
            return self.fault(base, "this is not a policy by itself".to_owned(), "");
        }
        let result = self.validator.validate(&alone, ValidationMode::Strict);
        let errors = result.validation_errors().map(DetailedError::from);
        let warnings = result.validation_warnings().map(DetailedError::from);
        let found = errors.chain(warnings).map(|error| Fault::from_cedar(self.text, base, &error));
        self.faults.extend(found.take(MAX_FAULTS));
    }

    /// Operators may approve whatever no `forbid` names: a `permit` would look as if it kept the others out, and keeps nobody out.
    fn idle_permit(&mut self, policy: &Policy, base: usize, own: &str) {
        if policy.effect() == Effect::Permit && thresholds::is_of_approvers(policy) {
            self.fault(
                base + own.find("approve").unwrap_or(0),
                "a `permit` on `approve` keeps nobody from approving: every operator may, whom no `forbid` names".to_owned(),
                "write `forbid (principal, action == Keywright::Action::\"approve\", resource) unless { principal == \
                 Keywright::Operator::\"NAME\" };`",
            );
        }
    }

    /// A number of approvals that is reached by nobody's, or by no number of people.
    fn empty_thresholds(&mut self, policy: &Policy, base: usize, own: &str) {
        let at = base + own.find("approvals").unwrap_or(0);
        let found = match thresholds::empty(policy) {
            Ok(found) => found,
            Err(why) => {
                return self.fault(at, format!("its approvals can't be looked at: {}", escaped(&why)), "");
            }
        };
        for found in found {
            let problem = if found.always { "always holds, whoever approved" } else { "can never hold" };
            self.fault(
                at,
                format!("`context.approvals {} {}` {problem}", found.operator, found.number),
                &format!("between 1 and {MOST_APPROVALS} distinct operators can be asked for"),
            );
        }
    }

    fn fault(&mut self, at: usize, problem: String, hint: &str) {
        self.faults.push(Fault::at(self.text, at, problem, hint));
    }
}

/// Where the first word stands that is no comment.
fn first_word(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim_start();
        if !words.trim_end().is_empty() && !words.starts_with("//") {
            return at + line.len() - words.len();
        }
        at += line.len();
    }
    0
}

/// Line and column from 1, and the line, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize, &str) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column, line)
}
