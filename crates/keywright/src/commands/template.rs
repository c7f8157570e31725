//! `keywright template`

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_broker::guards::{CheckedTemplate, check_template};
use keywright_catalog::templates::PACK;
use keywright_core::text::escaped;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use keywright_server::views;
use serde_json::{Value, json};
use toml_edit::{Array, DocumentMut, Item};

use crate::app::App;
use crate::input;
use crate::output::{Done, Output, source_lines};
use crate::show::facts::Facts;
use crate::show::list::{List, Tone, plain, strong};
use crate::show::plan::unlocks;
use crate::show::receipt::permission;
use crate::show::{field, items, joined, number, outside, when};

/// Templates: the menu that agents choose from. A file counts only once an operator applied it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the templates in force.
    List {
        /// List those that ship with this version instead; they count once they are applied.
        #[arg(long)]
        pack: bool,
    },
    /// Show one template in force; one that ships if none is.
    Show {
        /// Its id, as in `cloudflare/dns-edit`.
        id: String,
    },
    /// Check a file without applying it; needs neither home nor passphrase.
    Check {
        /// The file, or the id of a template that ships.
        file: PathBuf,
    },
    /// Put templates in force, signed with your key.
    Apply {
        /// Files, or ids of templates that ship, as in `cloudflare/dns-edit`.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Also let keys be placed here, as in `vault:secret/apps/*`; added to the destinations that the file names. May be
        /// given again.
        #[arg(long, value_name = "STORE:PLACE")]
        destination: Vec<String>,
        /// Let keys be placed here and nowhere else, as in `embedded:*`; instead of the destinations that the file names. May be
        /// given again.
        #[arg(long, value_name = "STORE:PLACE", conflicts_with = "destination")]
        only_destination: Vec<String>,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::List { pack: true } => list_pack(),
        Command::List { pack: false } => list(app.everyday(|| OperatorCall::TemplateList).await?),
        Command::Show { id } => show(app, &id).await,
        Command::Check { file } => {
            let checked = check_template(&source(app, &file)?)?;
            let value = views::checked(&checked, None);
            let text = checked_text(&value, "can be applied");
            Ok(Output::new(value, text))
        }
        Command::Apply { files, destination, only_destination } => {
            let destinations = match only_destination.as_slice() {
                [] => Destinations::AlsoTo(destination),
                _ => Destinations::OnlyTo(only_destination),
            };
            apply(app, &files, &destinations).await
        }
    }
}

async fn apply(app: &App, files: &[PathBuf], destinations: &Destinations) -> Done {
    // All of them are read and checked before the first one counts.
    let read = |file: &PathBuf| destinations.of(source(app, file)?);
    let sources = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for (file, source) in files.iter().zip(&sources) {
        check_template(source).map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("{}: {}", file.display(), failure.message), ..failure }
        })?;
    }
    let mut applied = Vec::new();
    let mut text = String::new();
    for source in sources {
        let one = app.signed(OperatorCall::TemplateApply { source }).await?;
        text.push_str(&checked_text(&one, &format!("is in force (version {})", number(&one, "version"))));
        applied.push(one);
    }
    let value = json!({ "schema": "keywright/templates/1", "templates": applied });
    Ok(Output::new(value, text).talk("next: keywright agent add NAME, or keywright key request TEMPLATE"))
}

/// Where keys may go, beside or instead of what a file says.
enum Destinations {
    AlsoTo(Vec<String>),
    OnlyTo(Vec<String>),
}

impl Destinations {
    /// A template's text with these; its comments and its order stay.
    fn of(&self, source: String) -> Result<String, Failure> {
        let (given, is_instead) = match self {
            Self::AlsoTo(given) if given.is_empty() => return Ok(source),
            Self::AlsoTo(given) => (given, false),
            Self::OnlyTo(given) => (given, true),
        };
        // What is wrong with the text as it stands is said by the check.
        let Ok(mut document) = source.parse::<DocumentMut>() else { return Ok(source) };
        let Some(limits) = document.get_mut("limits").and_then(Item::as_table_like_mut) else {
            return Ok(source);
        };
        let all = limits.entry("destinations").or_insert_with(|| toml_edit::value(Array::new()));
        let Some(all) = all.as_array_mut() else { return Ok(source) };
        if is_instead {
            all.clear();
        }
        for destination in given {
            if !all.iter().any(|one| one.as_str() == Some(destination)) {
                all.push(destination);
            }
        }
        Ok(document.to_string())
    }
}

/// A file's text; where no such file is, the template of that id that ships.
fn source(app: &App, file: &Path) -> Result<String, Failure> {
    match shipped(file) {
        Some(source) if !file.exists() => Ok(source.to_owned()),
        _ => input::text_file(&app.stdin, file, "the template").map_err(|failure| match failure.kind() {
            Some(Code::NotFound) => {
                failure.hint("`keywright template list --pack` shows the ids of those that ship")
            }
            _ => failure,
        }),
    }
}

fn shipped(id: &Path) -> Option<&'static str> {
    let path = format!("{}.toml", id.to_str()?);
    PACK.iter().find(|(name, _)| *name == path).map(|(_, source)| *source)
}

async fn show(app: &App, id: &str) -> Done {
    match app.everyday(|| OperatorCall::TemplateShow { id: id.to_owned() }).await {
        Ok(template) => {
            let head = format!("{}  {}", field(&template, "id"), field(&template, "title"));
            let source = source_lines(&field_raw(&template, "source"), "");
            let text = format!("{head}\n{}\n{source}", in_force(&template));
            Ok(Output::new(template, text))
        }
        Err(failure) if failure.kind() == Some(Code::NotFound) => match shipped(Path::new(id)) {
            Some(source) => {
                let checked = check_template(source)?;
                let mut value = views::checked(&checked, None);
                if let Some(object) = value.as_object_mut() {
                    object.insert("source".to_owned(), json!(source));
                }
                let text = format!(
                    "{}\n{}",
                    checked_text(&value, "ships, and is not in force"),
                    source_lines(source, "")
                );
                Ok(Output::new(value, text).talk(format!("next: keywright template apply {}", escaped(id))))
            }
            None => Err(failure),
        },
        Err(failure) => Err(failure),
    }
}

/// Why nothing is made from a template for now.
fn held(template: &Value) -> String {
    match field(template, "held") {
        why if why.is_empty() => why,
        why => format!(
            "it grants more than when it was applied, and makes no key until it is applied again: {why}"
        ),
    }
}

fn in_force(template: &Value) -> String {
    let limits = template.get("limits").cloned().unwrap_or_default();
    Facts::new()
        .add(
            "version",
            format!(
                "{}, applied by {} at {}",
                number(template, "version"),
                field(template, "applied_by"),
                when::both(&field(template, "applied_at"), Timestamp::now())
            ),
        )
        .add("held", held(template))
        .add("warning", field(template, "unconnected"))
        .add("tier", field(template, "tier"))
        .all("may", items(template, "permissions").iter().map(permission))
        .add("unlocks", unlocks(template))
        .all("wider now", items(template, "wider").iter().filter_map(Value::as_str).map(outside))
        .add(
            "",
            if items(template, "wider").is_empty() { "" } else { "what it unlocks is counted without that" },
        )
        .add("lives", format!("{}, at most {}", field(&limits, "ttl_default"), field(&limits, "ttl_max")))
        .add("goes to", joined(&limits, "destinations"))
        .render()
}

/// How many operations change something, of those that are unlocked.
fn changes(mutating: u64, unlocks: u64) -> String {
    if unlocks == 0 { "-".to_owned() } else { format!("{mutating} of {unlocks}") }
}

fn field_raw(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list(templates: Value) -> Done {
    let mut list = List::new(&["id", "tier", "lives", "changes", "title"]);
    for template in items(&templates, "templates") {
        let limits = template.get("limits").cloned().unwrap_or_default();
        list.row(vec![
            strong(field(template, "id")),
            plain(field(template, "tier")),
            plain(field(&limits, "ttl_default")),
            plain(match items(template, "wider").is_empty() {
                true => changes(number(template, "mutating"), number(template, "unlocks")),
                false => {
                    format!(
                        "{}, and more",
                        changes(number(template, "mutating"), number(template, "unlocks"))
                    )
                }
            }),
            match (held(template).is_empty(), field(template, "unconnected").is_empty()) {
                (true, true) => plain(field(template, "title")),
                (false, _) => (format!("{} (held)", field(template, "title")), Tone::Warn),
                (true, false) => {
                    (format!("{} (its connection is not there)", field(template, "title")), Tone::Warn)
                }
            },
        ]);
    }
    if items(&templates, "templates").is_empty() {
        return Ok(Output::new(templates, "no templates in force yet")
            .talk("next: keywright template list --pack, then keywright template apply ID"));
    }
    let text = list.render();
    let warnings: Vec<String> =
        items(&templates, "warnings").iter().filter_map(Value::as_str).map(outside).collect();
    Ok(warnings
        .into_iter()
        .fold(Output::new(templates, text), |output, one| output.talk(format!("warning: {one}"))))
}

fn list_pack() -> Done {
    let mut list = List::new(&["id", "tier", "changes", "title"]);
    let mut all = Vec::new();
    for (path, source) in PACK {
        let CheckedTemplate { resolved, .. } = check_template(source)
            .map_err(|error| Failure::new(Code::Internal, format!("{path}: {error}")))?;
        let template = &resolved.template;
        let tier = serde_json::to_value(template.tier).unwrap_or_default();
        list.row(vec![
            strong(template.id.as_str()),
            plain(tier.as_str().unwrap_or_default()),
            plain(changes(resolved.mutating.into(), resolved.unlocks.into())),
            plain(outside(&template.title)),
        ]);
        all.push(json!({
            "id": template.id, "title": template.title, "provider": template.provider, "tier": tier,
            "permissions": resolved.permissions, "unlocks": resolved.unlocks, "mutating": resolved.mutating,
        }));
    }
    let value = json!({ "schema": "keywright/templates/1", "shipped": true, "templates": all });
    Ok(Output::new(value, list.render()).talk("next: keywright template apply ID"))
}

/// What a template means, with what deserves a second look.
pub(crate) fn checked_text(checked: &Value, what: &str) -> String {
    let facts = Facts::new()
        .all("may", items(checked, "permissions").iter().map(permission))
        .add("unlocks", unlocks(checked))
        .add("can make keys", joined(checked, "escalation"))
        .all("warning", items(checked, "warnings").iter().filter_map(Value::as_str).map(outside));
    format!("{} {what}\n{}", field(checked, "id"), facts.render())
}
