//! Policy: who may do what, where, how often, with how many approvals.
//!
//! Policies are [Cedar](https://docs.cedarpolicy.com): nothing is allowed unless a `permit` says so, a `forbid`
//! always wins, and every text is checked against a schema before it can be applied. The template is the other
//! gate and stands above: what exceeds it is refused in code, whatever a policy permits.
//!
//! | you have | and want | take |
//! |---|---|---|
//! | a policy text | to know whether it can be applied | [`PolicySetSource::parse`], [`SourceError`], [`Fault`] |
//! | a checked text | to put it in force | [`Policies::new`] or, in one step, [`Policies::parse`] |
//! | a request | to know what it needs | [`Question`], [`Policies::decide`], [`Decision`], [`Effect`] |
//! | a request and an operator | to know whether their approval counts | [`Policies::may_approve`] |
//! | a decision | to tell somebody | [`explain`], [`Policies::nearest`] |
//! | a plan and approvals | to act | [`Policies::authorize`], [`Policies::authorize_rotation`], [`Authorized`] |
//! | a verb on a key or template | to act | [`Policies::authorize_key_action`], [`Policies::authorize_template_action`] |
//! | a file of test cases | to run it | [`run_cases`], [`CaseResult`] |
//! | nothing yet | a start | [`DEFAULT_POLICIES`], [`DEFAULT_CASES`], [`SCHEMA`] |
//!
//! Inside: `vocabulary` (the schema and its names), `facts` and `question` (what Cedar is told), `index` (which
//! policies a question has to meet), `decision` (the quorum), `thresholds` (numbers of approvals that ask for none),
//! `authorized` (the proof).

mod action;
mod authorized;
mod cases;
mod decision;
mod explain;
mod facts;
mod index;
mod names;
mod question;
mod source;
mod statements;
mod thresholds;
mod vocabulary;

pub use action::Action;
pub use authorized::{Authorized, Ceiling, KeyAction, Refusal, TemplateAction};
pub use cases::{CaseError, CaseResult, run_cases};
pub use decision::{Answer, Decision, Effect, MOST_APPROVALS, Policies};
pub use explain::explain;
pub use facts::{Actor, Ask, Behind, Counts, Facts, KeyFacts, TemplateFacts};
pub use question::{Prepared, Question};
pub use source::{Fault, MAX_POLICIES, MAX_TEXT, PolicySetSource, SourceError};
pub use vocabulary::{DEFAULT_CASES, DEFAULT_POLICIES, SCHEMA};

use question::Subject;
