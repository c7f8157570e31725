//! `keywright passkey`

use std::time::{Duration, Instant};

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_broker::passkey::Counts;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use keywright_server::when;
use owo_colors::OwoColorize as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::app::App;
use crate::input::{self, Enter};
use crate::output::{Done, Output, say};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items};

/// How long a code is good.
const GOOD_FOR: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Passkeys: what you approve with on the review pages.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Get a code with which your browser enrols a passkey, once, within five minutes.
    ///
    /// In a terminal it waits until that is done, and asks whether your browser shows the same fingerprint as it does; until you
    /// said so the passkey approves nothing. If not, somebody else was faster, and theirs is thrown away.
    ///
    /// It takes your passphrase, and a broker that serves the pages (`serve --listen`). A passkey is good where it was made: at
    /// another port or host you enrol another one.
    Add {
        /// What you call it, as in `laptop`.
        #[arg(long, value_name = "TEXT", default_value = "passkey")]
        name: String,
    },
    /// List the passkeys.
    List,
    /// Remove one; what was approved with it and not used yet counts no more.
    Remove {
        /// Its id, as `list` shows it.
        passkey: String,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add { name } => {
            let waits = !app.json && input::can_prompt(app.no_input);
            let counts = if waits { Counts::Compared } else { Counts::AtOnce };
            let before = app.signed(OperatorCall::PasskeyList).await?;
            let link = app.signed(OperatorCall::PasskeyInvite { label: name, counts }).await?;
            let text = format!(
                "open this in the browser with which you want to approve, and type the code, within five minutes:\n\n  {}\n  {}",
                field(&link, "url"),
                field(&link, "code").bold()
            );
            if !waits {
                return Ok(Output::new(link, text)
                    .talk("whoever types it first becomes able to approve as you: give it to nobody")
                    .talk("then compare the fingerprint that the page tells: keywright passkey list"));
            }
            say(&text);
            say("then come back here: it counts once you said that it is yours");
            compared(app, &before, &link).await
        }
        Command::List => list(app.everyday(|| OperatorCall::PasskeyList).await?),
        Command::Remove { passkey } => {
            let removed = app.signed(OperatorCall::PasskeyRemove { passkey }).await?;
            let text = format!("passkey {} was removed", field(&removed, "id"));
            Ok(Output::new(removed, text))
        }
    }
}

/// Waits for what is made with the code, and asks whether it is what the browser shows: somebody who read the code here may have
/// been faster. It counts once the answer is yes.
async fn compared(app: &App, before: &Value, link: &Value) -> Done {
    let known: Vec<String> = items(before, "held").iter().map(|one| field(one, "id")).collect();
    let began = Instant::now();
    let made = loop {
        if began.elapsed() > GOOD_FOR {
            let failure = Failure::new(Code::TryAgain, "nobody used the code, and it is good no more");
            return Err(failure.hint("have another one made: `keywright passkey add`"));
        }
        sleep(LOOK_AGAIN).await;
        let now = app.everyday(|| OperatorCall::PasskeyList).await?;
        let is_ours = |one: &&Value| {
            !known.contains(&field(one, "id"))
                && ["operator", "name"].iter().all(|part| field(one, part) == field(link, part))
        };
        if let Some(made) = items(&now, "held").iter().find(is_ours) {
            break made.clone();
        }
    };
    say(&format!(
        "\na passkey was made at {}; its fingerprint is {}",
        field(&made, "origin"),
        field(&made, "fingerprint").bold()
    ));
    let passkey = field(&made, "id");
    if input::agrees("does your browser show the same?", Enter::Declines)? {
        app.signed(OperatorCall::PasskeyKeep { passkey }).await?;
        let text = format!("passkey {} is enrolled: you approve with it from now on", field(&made, "name"));
        return Ok(Output::new(made, text));
    }
    app.signed(OperatorCall::PasskeyRemove { passkey }).await?;
    let failure =
        Failure::new(Code::Conflict, "then it was somebody else's: it is thrown away, and approved nothing");
    Err(failure.hint("find out who reads this terminal; then `keywright passkey add` once more"))
}

fn list(passkeys: Value) -> Done {
    let now = Timestamp::now();
    let held = held(&passkeys, now);
    if items(&passkeys, "passkeys").is_empty() {
        let text = format!("no passkeys yet{held}");
        let output = Output::new(passkeys, text);
        return Ok(if held.is_empty() { output.talk("next: keywright passkey add") } else { output });
    }
    let mut list =
        List::new(&["passkey", "operator", "name", "good at", "fingerprint", "added", "last used"]);
    for one in items(&passkeys, "passkeys") {
        list.row(vec![
            strong(field(one, "id")),
            plain(field(one, "operator")),
            plain(field(one, "name")),
            plain(field(one, "origin")),
            plain(field(one, "fingerprint")),
            plain(when::short(&field(one, "added_at"), now)),
            plain(match field(one, "used_at").as_str() {
                "" => "never".to_owned(),
                at => when::short(at, now),
            }),
        ]);
    }
    let text = format!("{}{held}", list.render().trim_end());
    Ok(Output::new(passkeys, text))
}

/// What is held: no passkeys yet, and what to do about each.
fn held(passkeys: &Value, now: Timestamp) -> String {
    let told = |one: &Value| {
        let field = |name| field(one, name);
        let at = when::short(&field("added_at"), now);
        format!(
            "\n\nheld: {} was made with a code of {} at {} ({at}), with the fingerprint {}\n  \
             Nobody can approve with it. It counts only if the terminal that told the code is answered with yes, and is gone after five \
             minutes.\n  Not yours: keywright passkey remove {}",
            field("name"),
            field("operator"),
            field("origin"),
            field("fingerprint"),
            field("id"),
        )
    };
    items(passkeys, "held").iter().map(told).collect()
}
