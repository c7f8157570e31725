//! The server itself: lists the tools, forwards the calls, keeps the bounds. It decides nothing and keeps nothing
//! between calls.

use std::borrow::Cow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keywright_broker::Code;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult,
    Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ProtocolVersion, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::check::quoted;
use super::claims::Claims;
use super::page::{self, Page};
use super::token::TokenFile;
use super::tools::{INSTRUCTIONS, VERBS, Verb};
use super::{Setup, outcome};
use crate::answer::Failure;
use crate::call::Call;
use crate::socket;

/// Both eras, as far back as tools answer with structure.
const VERSIONS: &[ProtocolVersion] =
    &[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];
/// How many bytes of arguments a call may have.
const LARGEST_CALL: usize = 64 * 1024;
/// How long a call may take: clients give up after 60 seconds, some after 30.
const SLOWEST: Duration = Duration::from_secs(30);
/// How many calls at a time.
const CALLS: usize = 16;
/// How long a client may keep the list of tools, which this process never changes.
const LIST_IS_FRESH_MS: u64 = 5 * 60 * 1000;

/// The agent's door.
pub(super) struct Door {
    socket: PathBuf,
    token: TokenFile,
    cwd: Option<String>,
    claims: Claims,
    places: Semaphore,
}

impl Door {
    pub(super) fn new(setup: Setup) -> Self {
        let Setup { socket, agent, token, cwd } = setup;
        let claims = Claims::of_this_process(&agent);
        Self { socket, token, cwd, claims, places: Semaphore::new(CALLS) }
    }

    /// One tool call, whole: whatever happens is a tool result.
    async fn answer(
        &self,
        verb: &Verb,
        arguments: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let done = tokio::select! {
            // The client does not wait for the answer any more. What the broker has begun, it ends.
            () = context.ct.cancelled() => Err(Failure::new(Code::TryAgain, "the call was cancelled")),
            done = tokio::time::timeout(SLOWEST, self.forward(verb, arguments, context)) => {
                done.unwrap_or_else(|_| Err(too_slow()))
            }
        };
        let outcome = done.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "answered");
        // The arguments stay out of the log: whatever an agent pasted is in them.
        tracing::debug!(tool = %verb.tool.name, outcome, "call");
        outcome::result(done)
    }

    /// Over the broker's socket, on a connection of its own, so that a call that waits holds up no other.
    async fn forward(
        &self,
        verb: &Verb,
        arguments: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, Failure> {
        let _place = self.places.try_acquire().map_err(|_| too_many())?;
        let size = serde_json::to_string(&arguments).map_or(usize::MAX, |text| text.len());
        if size > LARGEST_CALL {
            let message = format!("the arguments have {size} bytes; at most {LARGEST_CALL} are taken");
            return Err(Failure::new(Code::InvalidArgument, message).hint("shorten the longest texts"));
        }
        let asked = verb.ask(arguments, self.cwd.as_deref())?;
        refuse_foreign(&self.socket)?;
        let call =
            Call::Agent { token: self.token.read()?, claimed: self.claims.with(context), call: asked.call };
        let mut value = socket::call(&self.socket, &call).await?;
        if let Some(object) = value.as_object_mut().filter(|_| !asked.assumed.is_empty()) {
            object.insert("assumed".to_owned(), json!(asked.assumed));
        }
        Ok(value)
    }
}

impl ServerHandler for Door {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let this = Implementation::new("keywright", env!("CARGO_PKG_VERSION")).with_title("Keywright");
        ServerConfig::new(capabilities).with_server_info(this).with_instructions(INSTRUCTIONS)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = VERBS.iter().map(|verb| verb.tool.clone()).collect();
        let list = ListToolsResult::with_all_items(tools);
        Ok(list.with_ttl_ms(LIST_IS_FRESH_MS).with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        Verb::named(name).map(|verb| verb.tool.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let verb = Verb::named(&request.name).ok_or_else(|| no_such_tool(&request.name))?;
        let has_been_asked = request.request_state.is_some() || request.input_responses.is_some();
        let result = self.answer(verb, request.arguments.unwrap_or_default(), &context).await;
        // Whoever only looks how something stands has been sent there before.
        let is_look = verb.tool.annotations.as_ref().and_then(|said| said.read_only_hint) == Some(true);
        let page = Page::of(&result).filter(|_| !has_been_asked && !is_look && page::can_show(&context));
        match page {
            None => Ok(result.into()),
            Some(page) if context.protocol_version().is_none_or(|version| version.has_initialize()) => {
                page.ask(&context.peer).await;
                Ok(result.into())
            }
            Some(page) if page.may_call_again() => Ok(page.as_result().into()),
            Some(_) => Ok(result.into()),
        }
    }

    /// A call whose arguments are no object does not parse as a call and ends up here. The model can correct it, so it
    /// reads what is wrong.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let word = |name: &str| request.params.as_ref().and_then(|params| params.get(name));
        if request.method != "tools/call" || word("arguments").is_none_or(Value::is_object) {
            let method = quoted(&request.method);
            return Err(ErrorData::new(rmcp::model::ErrorCode::METHOD_NOT_FOUND, method, None));
        }
        let name = word("name").and_then(Value::as_str).unwrap_or_default();
        let verb = Verb::named(name).ok_or_else(|| no_such_tool(name))?;
        let failure = Failure::new(Code::InvalidArgument, "`arguments` is not an object")
            .hint(format!("send an object by the input schema of {}", verb.tool.name));
        let mut result = outcome::result(Err(failure));
        if context.protocol_version().is_some_and(|version| version.has_initialize()) {
            // The older versions do not know this word; for typed results the library takes it out.
            result.result_type = None;
        }
        Ok(CustomResult::new(serde_json::to_value(result).unwrap_or_default()))
    }
}

/// A token is sent to our own broker or root's, not to whoever put a socket there.
fn refuse_foreign(socket: &Path) -> Result<(), Failure> {
    let owner = std::fs::symlink_metadata(socket).map(|metadata| metadata.uid());
    match owner {
        Ok(uid) if uid != 0 && uid != rustix::process::geteuid().as_raw() => Err(Failure::new(
            Code::Forbidden,
            format!("the broker's socket {} belongs to another user", socket.display()),
        )),
        // None there is told as what it is, by whoever wants to connect.
        _ => Ok(()),
    }
}

fn no_such_tool(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("unknown tool: {}", quoted(name)), None)
}

fn too_many() -> Failure {
    Failure::new(Code::TryAgain, format!("{CALLS} calls are under way already"))
        .hint("wait for some of them to end")
}

fn too_slow() -> Failure {
    Failure::new(
        Code::TryAgain,
        format!("no answer within {} seconds; it may go on all the same", SLOWEST.as_secs()),
    )
    .hint("call it again: request_key with the same idempotency_key answers with the same request")
}
