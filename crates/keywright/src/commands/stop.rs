//! `keywright stop`

use std::time::Duration;

use keywright_broker::Code;
use keywright_server::answer::Failure;
use keywright_server::call::Call;
use serde_json::json;

use crate::app::App;
use crate::output::{Done, Output};

/// End the broker of this home.
///
/// Work that is under way is on record and goes on when it is started again. None running is fine.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// How long the broker may take to let go of its home: longer than it lets itself take.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) async fn run(app: &App, _: Args) -> Done {
    if !app.is_serving().await? {
        let value = json!({ "schema": "keywright/status/1", "serving": false, "stopped": false });
        return Ok(Output::new(value, "no broker runs on this home"));
    }
    match app.call(&Call::Stop).await {
        Ok(_) => {}
        // It may be gone before its answer is through.
        Err(failure) if failure.kind() == Some(Code::TryAgain) && !app.is_serving().await? => {}
        Err(failure) => return Err(failure),
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while app.is_serving().await? || app.home.lock().is_err() {
        if tokio::time::Instant::now() > deadline {
            return Err(Failure::new(Code::TryAgain, "the broker was told to stop, and has not yet"));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let value = json!({ "schema": "keywright/status/1", "serving": false, "stopped": true });
    Ok(Output::new(value, "the broker has stopped"))
}
