//! `keywright login` and `keywright logout`

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_server::call::OperatorCall;
use serde_json::json;

use crate::app::App;
use crate::errors;
use crate::output::{Done, Output};
use crate::show::{field, when};

/// Open a session of a quarter of an hour for this terminal.
///
/// Everyday commands then need no passphrase here. Whatever changes the guard rails, approves or reads a secret still
/// does.
#[derive(clap::Args)]
pub(crate) struct LoginArgs {}

/// End the session of this terminal.
#[derive(clap::Args)]
pub(crate) struct LogoutArgs {}

pub(crate) async fn login(app: &App, _: LoginArgs) -> Done {
    if !app.is_serving().await? {
        return Err(errors::no_broker(app.home.root(), "a session"));
    }
    let session = app.signed(OperatorCall::Login).await?;
    let until = when::both(&field(&session, "until"), Timestamp::now());
    let text = format!("logged in as {} until {until}", field(&session, "operator"));
    Ok(Output::new(session, text))
}

pub(crate) async fn logout(app: &App, _: LogoutArgs) -> Done {
    let none =
        || Output::new(json!({ "schema": "keywright/session/1", "until": null }), "no session is open here");
    if !app.is_serving().await? {
        return Ok(none());
    }
    match app.session_only(OperatorCall::Logout).await {
        Ok(session) => Ok(Output::new(session, "logged out")),
        Err(failure) if failure.kind() == Some(Code::Unauthenticated) => Ok(none()),
        Err(failure) => Err(failure),
    }
}
