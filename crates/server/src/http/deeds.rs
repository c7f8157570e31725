//! What is done through the pages. Nothing here decides: each verb is the broker's own, and takes what it takes everywhere.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, Json};
use keywright_broker::Code;
use keywright_broker::approve::Less;
use keywright_broker::passkey::{Act, Challenge, Done, Likes};
use keywright_core::approval::Assertion;
use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::pages::door as door_page;
use super::session::{Looks, Which};
use super::{Door, pages};
use crate::answer::Failure;
use crate::call::Passed;

/// How long a page waits for what follows from a touch; then it goes on by itself.
const WAIT: Duration = Duration::from_secs(20);

/// What tells a page's script that what the page shows is not so any more.
const OUTDATED: HeaderName = HeaderName::from_static("keywright-outdated");

type Answered = Result<Json<Value>, Response>;

/// A failure as an answer to a script.
pub(super) fn refused(failure: impl Into<Failure>) -> Response {
    let failure = failure.into();
    let mark = failure.outdated.then(|| [(OUTDATED, HeaderValue::from_static("1"))]);
    (status(&failure), mark, Json(failure)).into_response()
}

/// The status that says the same.
pub(super) fn status(failure: &Failure) -> StatusCode {
    match failure.kind() {
        Some(Code::InvalidArgument) => StatusCode::BAD_REQUEST,
        Some(Code::Unauthenticated) => StatusCode::UNAUTHORIZED,
        Some(Code::Forbidden | Code::Denied) => StatusCode::FORBIDDEN,
        Some(Code::NotFound) => StatusCode::NOT_FOUND,
        Some(Code::Conflict) => StatusCode::CONFLICT,
        Some(Code::TryAgain) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Response> {
    body.map(|Json(value)| value).map_err(|_| {
        // What was wrong with it may be a secret.
        refused(Failure::new(Code::InvalidArgument, "that is not what this page sends; load it anew"))
    })
}

/// The passphrase, typed into the page.
#[derive(Deserialize)]
pub(super) struct Typed {
    passphrase: Passed,
    #[serde(default)]
    to: String,
}

/// Lets somebody look who knows a passphrase.
pub(super) async fn enter(
    State(door): State<Arc<Door>>,
    typed: Result<Form<Typed>, FormRejection>,
) -> Response {
    let Ok(Form(typed)) = typed else {
        let failure = Failure::new(Code::InvalidArgument, "that is not what this page sends; load it anew");
        return door_page::again(&door, "", &failure).await;
    };
    let Typed { passphrase, to } = typed;
    if let Err(waits) = door.sessions.take_try() {
        let message = format!(
            "too many wrong passphrases; wait {} s (a passkey, and the terminal, work all the same)",
            waits.as_secs() + 1
        );
        return door_page::again(&door, &to, &Failure::new(Code::TryAgain, message)).await;
    }
    let secret: Secret = passphrase.into_secret();
    let _turn = door.sessions.stretching.acquire().await;
    let entered = async {
        let operator = door.broker.operator(None, secret).await?;
        door.broker.note_session(&operator, &door.origin).await?;
        Ok::<_, keywright_broker::BrokerError>(operator.name().clone())
    };
    match entered.await {
        Ok(name) => {
            door.sessions.was_right();
            let Ok(word) = door.broker.new_session_word() else {
                let failure = Failure::new(Code::Internal, "there is no randomness");
                return door_page::again(&door, &to, &failure).await;
            };
            let cookie = door.sessions.open(&word, name);
            ([(header::SET_COOKIE, cookie)], Redirect::to(&door_page::local(&to))).into_response()
        }
        Err(error) => door_page::again(&door, &to, &error.into()).await,
    }
}

/// What an authenticator is asked to sign.
fn asked(challenge: &Challenge) -> Json<Value> {
    Json(json!({ "id": challenge.id.to_string(), "options": challenge.options }))
}

pub(super) async fn offer_entry(State(door): State<Arc<Door>>) -> Answered {
    Ok(asked(&door.broker.offer_entry(&door.origin).await.map_err(refused)?))
}

/// What it answered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Touched {
    id: String,
    assertion: Assertion,
}

pub(super) async fn enter_with_passkey(
    State(door): State<Arc<Door>>,
    body: Result<Json<Touched>, JsonRejection>,
) -> Result<Response, Response> {
    let Touched { id, assertion } = read(body)?;
    let name = door.broker.enter_with_passkey(&id, &door.origin, &assertion).await.map_err(refused)?;
    let word = door.broker.new_session_word().map_err(refused)?;
    let cookie = door.sessions.open(&word, name);
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({ "entered": true }))).into_response())
}

pub(super) async fn leave(State(door): State<Arc<Door>>, _: Looks, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let cookie = door.sessions.close(&parts);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/door")).into_response()
}

/// A link's word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Word {
    word: String,
}

pub(super) async fn begin_passkey(
    State(door): State<Arc<Door>>,
    body: Result<Json<Word>, JsonRejection>,
) -> Answered {
    let Word { word } = read(body)?;
    let options = door.broker.begin_passkey(&word, &door.origin).await.map_err(refused)?;
    Ok(Json(json!({ "options": options })))
}

/// What an authenticator made for a link.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    word: String,
    credential: Value,
}

pub(super) async fn add_passkey(
    State(door): State<Arc<Door>>,
    body: Result<Json<Made>, JsonRejection>,
) -> Answered {
    let Made { word, credential } = read(body)?;
    let added = door.broker.add_passkey_as_sent(&word, &door.origin, credential).await.map_err(refused)?;
    Ok(Json(json!({ "passkey": added.passkey, "held": added.held })))
}

/// A deed that a page wants signed.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Wish {
    /// To approve.
    Approve(Approve),
    /// To approve several.
    Together(Together),
    /// To approve others like one in advance.
    Grant(Grant),
    /// Another one.
    Act(Act),
}

/// An approval of what a page showed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    #[expect(dead_code, reason = "it tells this from the others")]
    act: Approving,
    request: String,
    digest: String,
    #[serde(default)]
    less: Less,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Approving {
    Approve,
}

/// An approval of several requests, as a page showed them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Together {
    #[expect(dead_code, reason = "it tells this from the others")]
    act: Joining,
    /// Each with its digest.
    requests: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Joining {
    ApproveTogether,
}

/// A standing grant for requests like one that a page showed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    #[expect(dead_code, reason = "it tells this from the others")]
    act: Granting,
    request: String,
    digest: String,
    days: u64,
    uses: Option<u64>,
    any_name: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Granting {
    Grant,
}

pub(super) async fn offer(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Extension(session): Extension<Which>,
    body: Result<Json<Wish>, JsonRejection>,
) -> Answered {
    let challenge = match read(body)? {
        Wish::Approve(Approve { request, digest, less, .. }) => {
            door.broker.offer_approval(&operator, &door.origin, &request, &digest, &less).await
        }
        Wish::Together(Together { requests, .. }) => {
            door.broker.offer_approvals(&operator, &door.origin, &requests).await
        }
        Wish::Grant(Grant { request, digest, days, uses, any_name, .. }) => {
            let likes = Likes { request, digest, days, uses, any_name };
            door.broker.offer_grant(&operator, &door.origin, &likes).await
        }
        Wish::Act(act) => door.broker.offer_act(&operator, &door.origin, act).await,
    };
    let challenge = challenge.map_err(refused)?;
    door.broker.withdraw_offers(&door.sessions.offered(session, challenge.id));
    Ok(asked(&challenge))
}

/// Does what was offered, with what the authenticator answered.
pub(super) async fn touch(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    body: Result<Json<Touched>, JsonRejection>,
) -> Answered {
    let Touched { id, assertion } = read(body)?;
    let done =
        door.broker.touched_by(&operator, &id, &door.origin, assertion, WAIT).await.map_err(refused)?;
    let to = match done {
        Done::Request(request) => decided(&door, &operator, &request).await,
        Done::Requests(requests) => {
            let done: Vec<String> = requests.iter().map(|one| format!("done={one}")).collect();
            format!("/?{}", done.join("&"))
        }
        Done::Agents => "/agents".to_owned(),
        Done::Agent(agent) => format!("/agents/{agent}"),
        Done::Ended(agent) => format!("/agents/{agent}?ended=1"),
        Done::Granted(agent, grant) => format!("/agents/{agent}?granted={grant}"),
        Done::Key(key) => format!("/keys/{key}"),
        Done::Word(word) => return Ok(Json(json!({ "code": word, "at": format!("{}/enrol", door.origin) }))),
        Done::Passkey(_) => "/passkeys".to_owned(),
    };
    Ok(Json(json!({ "to": pages::local(&to) })))
}

/// Where it goes on for somebody who decided a request: to the next that waits for them, or to the inbox, which say what came of it.
async fn decided(door: &Door, operator: &OperatorName, request: &str) -> String {
    match door.broker.after(operator, request).await {
        Ok(Some(next)) => format!("/r/{next}?done={request}"),
        _ => format!("/?done={request}"),
    }
}
