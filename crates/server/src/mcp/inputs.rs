//! What the tools take, and the call that it becomes. The schemas that clients see come from these types; the
//! comments on the fields are the descriptions that models read.

use std::collections::BTreeMap;

use keywright_broker::Code;
use keywright_broker::ask::Ask;
use keywright_core::key::KeyState;
use schemars::JsonSchema;
use serde::Deserialize;

use super::proposal::Proposal;
use crate::answer::Failure;
use crate::call::AgentCall;

/// A call, and what was assumed where the agent left something out.
pub(super) struct Asked {
    pub(super) call: AgentCall,
    pub(super) assumed: BTreeMap<&'static str, String>,
}

impl From<AgentCall> for Asked {
    fn from(call: AgentCall) -> Self {
        Self { call, assumed: BTreeMap::new() }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FindPermissions {
    /// What the job needs, in a few words, as in `edit DNS records`.
    #[schemars(length(min = 1, max = 400))]
    query: String,
    /// Only of this provider, as in `cloudflare`.
    #[schemars(length(min = 1, max = 64))]
    provider: Option<String>,
    /// At most so many permissions; 10 when left out.
    #[schemars(range(min = 1, max = 50))]
    limit: Option<u32>,
}

impl FindPermissions {
    pub(super) fn asked(self) -> Asked {
        let Self { query, provider, limit } = self;
        AgentCall::FindPermissions { query, provider, limit }.into()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListTemplates {
    /// Only those that match these words; all when left out.
    #[schemars(length(max = 400))]
    query: Option<String>,
}

impl ListTemplates {
    pub(super) fn asked(self) -> Asked {
        AgentCall::ListTemplates { query: self.query }.into()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanKey {
    /// The job in plain words, when you know neither operations nor template.
    #[schemars(length(min = 1, max = 1000))]
    intent: Option<String>,
    /// The API calls that the job makes, as `METHOD /path` or `METHOD URL`: the most exact way to ask.
    #[serde(default)]
    #[schemars(length(max = 50), inner(length(min = 1, max = 300)))]
    operations: Vec<String>,
    /// For intent or operations: only of this provider, as in `cloudflare`.
    #[schemars(length(min = 1, max = 64))]
    provider: Option<String>,
    /// With operations: the key to which the provider refused them (403, code 10000 and alike), by its id or name. The answer
    /// says which permission it lacks, and which request would do.
    #[schemars(length(min = 1, max = 200))]
    key: Option<String>,
    /// A template's id, to see exactly what `request_key` would do with it.
    #[schemars(length(min = 1, max = 129))]
    template: Option<String>,
    /// The template's parameters, by name.
    #[serde(default)]
    #[schemars(transform = parameters)]
    parameters: BTreeMap<String, String>,
    /// The project; an example when left out.
    #[schemars(length(min = 1, max = 64))]
    project: Option<String>,
    /// The environment; `dev` when left out.
    #[schemars(length(min = 1, max = 64))]
    environment: Option<String>,
    /// The variable's name; an example when left out.
    #[schemars(length(min = 1, max = 128))]
    name: Option<String>,
    /// Where the key would go, as `STORE:PLACE`; the project's default place when left out.
    #[serde(default)]
    #[schemars(length(max = 8), inner(length(min = 1, max = 500)))]
    destinations: Vec<String>,
    /// How long it would live, as in `30d` or `12h`; the template's default when left out.
    #[schemars(length(min = 1, max = 16))]
    ttl: Option<String>,
}

impl PlanKey {
    pub(super) fn asked(self, cwd: Option<&str>) -> Result<Asked, Failure> {
        let Some(template) = self.template else {
            let Self { intent, operations, provider, key, .. } = self;
            if key.is_some() && operations.is_empty() {
                return Err(Failure::new(
                    Code::InvalidArgument,
                    "a key alone says not what was refused to it",
                )
                .hint("give `operations` as well, as in `POST /zones/{zone_id}/dns_records`"));
            }
            if intent.is_none() && operations.is_empty() {
                return Err(Failure::new(Code::InvalidArgument, "there is nothing to plan for")
                    .hint("give `intent`, or `operations`, or `template` with its `parameters`"));
            }
            return Ok(AgentCall::PlanKey { intent, operations, provider, key, ask: None }.into());
        };
        let mut assumed = BTreeMap::new();
        let mut or = |field: &'static str, given: Option<String>, otherwise: &str| {
            given.unwrap_or_else(|| {
                assumed.insert(field, otherwise.to_owned());
                otherwise.to_owned()
            })
        };
        let ask = Ask {
            template,
            parameters: self.parameters,
            project: or("project", self.project, "example"),
            environment: or("environment", self.environment, "dev"),
            name: or("name", self.name, "EXAMPLE_KEY"),
            destinations: self.destinations,
            ttl: self.ttl,
            purpose: self.intent.unwrap_or_else(|| "a plan only".to_owned()),
            prompt: None,
            idempotency_key: None,
            cwd: cwd.map(str::to_owned),
        };
        let ask = Some(Box::new(ask));
        let call =
            AgentCall::PlanKey { intent: None, operations: Vec::new(), provider: None, key: None, ask };
        Ok(Asked { call, assumed })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestKey {
    /// The template's id, from `list_templates`.
    #[schemars(length(min = 1, max = 129))]
    template: String,
    /// The template's parameters, by name; the values are text.
    #[serde(default)]
    #[schemars(transform = parameters)]
    parameters: BTreeMap<String, String>,
    /// The project that the key belongs to.
    #[schemars(length(min = 1, max = 64))]
    project: String,
    /// The project's environment, in lower case: `dev`, `staging`, `production` ...
    #[schemars(length(min = 1, max = 64))]
    environment: String,
    /// The variable under which programs read the key, as in `CLOUDFLARE_API_TOKEN`.
    #[schemars(length(min = 1, max = 128))]
    name: String,
    /// Where the key goes, as `STORE:PLACE`, as in `dotenv:./.env#CF_TOKEN`; rarely needed: the project has a default
    /// place.
    #[serde(default)]
    #[schemars(length(max = 8), inner(length(min = 1, max = 500)))]
    destinations: Vec<String>,
    /// How long it lives, as in `30d` or `12h`; the template's default when left out.
    #[schemars(length(min = 1, max = 16))]
    ttl: Option<String>,
    /// What the key is for, in one sentence, for the people who review it.
    #[schemars(length(min = 1, max = 1000))]
    purpose: String,
    /// The user's words that led to this request, as they were said. Put no secrets in here.
    #[schemars(length(min = 1, max = 8000))]
    prompt: String,
    /// Any text that is unique to this request. The same one again answers with the same request: use it to retry.
    #[schemars(length(min = 1, max = 128))]
    idempotency_key: String,
}

impl RequestKey {
    pub(super) fn asked(self, cwd: Option<&str>) -> Asked {
        let ask = Ask {
            template: self.template,
            parameters: self.parameters,
            project: self.project,
            environment: self.environment,
            name: self.name,
            destinations: self.destinations,
            ttl: self.ttl,
            purpose: self.purpose,
            prompt: Some(self.prompt),
            idempotency_key: Some(self.idempotency_key),
            cwd: cwd.map(str::to_owned),
        };
        AgentCall::RequestKey { ask: Box::new(ask) }.into()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    /// The request's id, from the receipt.
    #[schemars(length(min = 1, max = 64))]
    request: String,
    /// Wait so many seconds for a change; 0 when left out.
    #[schemars(range(min = 0, max = 25))]
    wait_seconds: Option<u32>,
}

impl CheckRequest {
    pub(super) fn asked(self) -> Asked {
        let Self { request, wait_seconds } = self;
        AgentCall::CheckRequest { request, wait_seconds }.into()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListKeys {
    /// Only of this project.
    #[schemars(length(min = 1, max = 64))]
    project: Option<String>,
    /// Only of this environment.
    #[schemars(length(min = 1, max = 64))]
    environment: Option<String>,
    /// Only in this state.
    #[schemars(extend("enum" = states()))]
    state: Option<String>,
}

impl ListKeys {
    pub(super) fn asked(self) -> Asked {
        let Self { project, environment, state } = self;
        AgentCall::ListKeys { project, environment, state }.into()
    }
}

/// For `rotate_key` and `revoke_key`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyAndReason {
    /// The key's id, from the receipt or `list_keys`.
    #[schemars(length(min = 1, max = 128))]
    key: String,
    /// Why, in one sentence.
    #[schemars(length(min = 1, max = 1000))]
    reason: String,
}

impl KeyAndReason {
    pub(super) fn rotate(self) -> Asked {
        AgentCall::RotateKey { key: self.key, reason: self.reason }.into()
    }

    pub(super) fn revoke(self) -> Asked {
        AgentCall::RevokeKey { key: self.key, reason: self.reason }.into()
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ProposeTemplate {
    #[serde(flatten)]
    proposal: Proposal,
    /// Why the templates there are do not do, for the people who review it.
    #[schemars(length(min = 1, max = 1000))]
    why: String,
}

impl ProposeTemplate {
    pub(super) fn asked(self) -> Result<Asked, Failure> {
        let source = self.proposal.into_file()?;
        Ok(AgentCall::ProposeTemplate { source, why: self.why }.into())
    }
}

/// The bounds of an object of texts, which no attribute can say.
fn parameters(schema: &mut schemars::Schema) {
    let text = serde_json::json!({ "type": "string", "maxLength": 253 });
    schema.insert("additionalProperties".to_owned(), text);
    schema.insert("maxProperties".to_owned(), 16.into());
}

fn states() -> Vec<&'static str> {
    KeyState::ALL.iter().map(|state| state.as_str()).collect()
}
