//! `keywright notify`

use std::collections::BTreeMap;
use std::path::PathBuf;

use keywright_broker::kinds::channel;
use keywright_server::call::{NewNotify, OperatorCall};
use serde_json::Value;

use crate::app::{App, passed};
use crate::errors;
use crate::input;
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items, number, outside, when};

/// Channels: how people hear that something waits for them.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Have people told when a request or a proposal waits for them, or an old version lives too long.
    ///
    /// The broker tells, while it runs: the verdict, who asks, the match code, and where to go on. It never tells a secret or a
    /// prompt, and nothing can be approved by answering. What is secret (the address of a webhook of Slack or Discord, an ntfy
    /// topic with its token, the password of mail, what messages are signed with) comes on standard input, at a prompt, or from
    /// a file.
    Add(Box<Add>),
    /// List the channels, and how they went.
    List,
    /// Remove a channel, and its secret.
    Remove {
        /// The channel's name.
        name: String,
    },
    /// Have a channel tell that it works.
    Test {
        /// The channel's name.
        name: String,
    },
}

#[derive(clap::Args)]
struct Add {
    /// `desktop`, `webhook`, `slack`, `discord`, `ntfy` or `email`.
    kind: String,
    /// What it is called here.
    #[arg(long)]
    name: String,
    /// Of `webhook`: the address; plain http for loopback only.
    #[arg(long, value_name = "URL", help_heading = "Where")]
    url: Option<String>,
    /// Of `email`: `smtps://HOST` or `smtp://HOST`, which then has to offer STARTTLS.
    #[arg(long, value_name = "SERVER", help_heading = "Where")]
    server: Option<String>,
    /// Of `email`: as whom to log in.
    #[arg(long, value_name = "USER", help_heading = "Where")]
    user: Option<String>,
    /// Of `email`: the sender's address.
    #[arg(long, value_name = "ADDRESS", help_heading = "Where")]
    from: Option<String>,
    /// Of `email`: a receiver's address; may be repeated.
    #[arg(long, value_name = "ADDRESS", help_heading = "Where")]
    to: Vec<String>,
    /// Of `webhook`, `ntfy` and `email`: a PEM file of an authority that is trusted besides the machine's.
    #[arg(long, value_name = "PATH", help_heading = "Where")]
    ca_file: Option<String>,
    /// Of `desktop`: the session bus; that of the broker's environment without.
    #[arg(long, value_name = "ADDRESS", help_heading = "Where")]
    bus: Option<String>,
    /// A file that holds what is secret; without it, standard input or a prompt.
    #[arg(long, value_name = "PATH", help_heading = "Where")]
    credential_file: Option<PathBuf>,
    /// Only of what waits still after so long, as in `15m`: somebody else hears of it then.
    #[arg(long, value_name = "D", help_heading = "When")]
    after: Option<String>,
    /// Again each so long, while nobody has decided.
    #[arg(long, value_name = "D", help_heading = "When")]
    remind: Option<String>,
    /// Say nothing in these hours, as in `22:00-07:00`; what waits still is told when they end.
    #[arg(long, value_name = "HOURS", help_heading = "When")]
    quiet: Option<String>,
    /// The time zone of those hours, as in `Europe/Berlin`; the machine's without.
    #[arg(long, value_name = "ZONE", requires = "quiet", help_heading = "When")]
    zone: Option<String>,
    /// Tell of what is HIGH in those hours, too.
    #[arg(long, requires = "quiet", help_heading = "When")]
    urgent: bool,
    /// Tell why something was asked, too, in the asker's words.
    #[arg(long, help_heading = "What")]
    with_purpose: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add(add) => add_channel(app, *add).await,
        Command::List => list(app.everyday(|| OperatorCall::NotifyList).await?),
        Command::Remove { name } => {
            let removed = app.signed(OperatorCall::NotifyRemove { name }).await?;
            let text = format!("channel {} was removed", field(&removed, "name"));
            Ok(Output::new(removed, text))
        }
        Command::Test { name } => {
            let told = app.signed(OperatorCall::NotifyTest { name }).await?;
            let text = format!("channel {} told it: {}", field(&told, "name"), field(&told, "said"));
            Ok(Output::new(told, text))
        }
    }
}

async fn add_channel(app: &App, add: Add) -> Done {
    let kind = add
        .kind
        .parse()
        .map_err(|error: keywright_core::channel::NoSuchChannel| errors::usage(error.to_string()))?;
    app.require_home()?;
    let to = (!add.to.is_empty()).then(|| add.to.join(", "));
    let pairs = [
        ("url", add.url),
        ("server", add.server),
        ("user", add.user.clone()),
        ("from", add.from),
        ("to", to),
        ("ca_file", add.ca_file),
        ("bus", add.bus),
    ];
    let settings: BTreeMap<String, String> =
        pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let facts = channel(kind);
    // Mail that nobody logs in for has no password.
    let takes_one =
        facts.is_some_and(|facts| facts.credential.is_some() && (!facts.is_optional || add.user.is_some()));
    let credential = if takes_one || add.credential_file.is_some() {
        Some(passed(&input::credential(app, add.credential_file.as_deref(), "the channel's secret")?))
    } else {
        None
    };
    let new = NewNotify {
        name: add.name,
        kind: add.kind,
        settings,
        credential,
        after: add.after,
        remind: add.remind,
        quiet: add.quiet,
        zone: add.zone,
        urgent: add.urgent,
        with_purpose: add.with_purpose,
    };
    let added = app.signed(OperatorCall::NotifyAdd(Box::new(new))).await?;
    let name = field(&added, "name");
    Ok(Output::new(added, format!("channel {name} is there"))
        .talk(format!("next: try it with `keywright notify test {name}`")))
}

fn list(channels: Value) -> Done {
    if items(&channels, "channels").is_empty() {
        return Ok(Output::new(channels, "no channels yet").talk(
            "next: keywright notify add desktop --name me, or another kind: `keywright notify add --help`",
        ));
    }
    let mut list = List::new(&["name", "kind", "tells", "told last", "could not last"]);
    let now = jiff::Timestamp::now();
    for one in items(&channels, "channels") {
        let last = when::short(&field(one, "failed_at"), now);
        let trouble = match (last.is_empty(), number(one, "failures")) {
            (true, _) => String::new(),
            (false, 0) => last,
            (false, _) => format!("{last}: {}", field(one, "trouble")),
        };
        list.row(vec![
            strong(field(one, "name")),
            plain(field(one, "kind")),
            plain(tells(one)),
            plain(when::short(&field(one, "told_at"), now)),
            plain(trouble),
        ]);
    }
    let text = list.render();
    Ok(Output::new(channels, text))
}

/// When it tells, in words.
fn tells(channel: &Value) -> String {
    let said = |name: &str, before: &str| {
        let value = channel.get(name).and_then(Value::as_str)?;
        Some(format!("{before} {}", outside(value)))
    };
    let is = |name: &str| channel.get(name).and_then(Value::as_bool).unwrap_or(false);
    let mut words = vec![said("after", "after").unwrap_or_else(|| "at once".to_owned())];
    words.extend(said("remind", "again each"));
    words.extend(said("quiet", "not"));
    words.extend(is("urgent").then(|| "but what is HIGH".to_owned()));
    words.extend(is("with_purpose").then(|| "with the purpose".to_owned()));
    words.join(", ")
}
