//! `keywright doctor`

mod checks;
mod place;

use keywright_broker::machine::{Finding, Verdict};
use serde_json::json;

use crate::app::App;
use crate::errors::Exit;
use crate::output::{Done, Output};
use crate::show::fit::wrapped;
use crate::show::list::{Tone, toned};
use crate::show::{count, width};

/// Check this installation and say plainly what protects it and what does not.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _: Args) -> Done {
    let mut findings = checks::home(app);
    findings.extend(checks::broker(app).await?);
    findings.extend(checks::audit(app).await?);
    findings.extend(checks::witness(app).await?);
    findings.extend(checks::rows(app).await?);
    findings.extend(checks::parents(app).await?);
    findings.extend(checks::templates(app).await?);
    findings.extend(checks::process());
    findings.extend(place::folder());
    let wrong = findings.iter().filter(|f| f.verdict == Verdict::Wrong).count();
    let warnings = findings.iter().filter(|f| f.verdict == Verdict::Warning).count();
    let mut text = String::new();
    for finding in &findings {
        text.push_str(&render(finding));
    }
    let (wrong, warnings) = (wrong as u64, warnings as u64);
    text.push_str(&format!("{wrong} wrong, {}", count(warnings, "warning", "warnings")));
    let value = json!({
        "schema": "keywright/doctor/1", "findings": findings, "wrong": wrong, "warnings": warnings,
    });
    Ok(Output::new(value, text).exit(if wrong == 0 { Exit::Done } else { Exit::Error }))
}

fn render(finding: &Finding) -> String {
    let (word, tone) = match finding.verdict {
        Verdict::Good => ("good ", Tone::Good),
        Verdict::Note => ("note ", Tone::Plain),
        Verdict::Warning => ("look ", Tone::Warn),
        Verdict::Wrong => ("wrong", Tone::Bad),
    };
    let room = width().map_or(usize::MAX, |width| width.saturating_sub(7).max(20));
    let mut lines = wrapped(&finding.what, room);
    lines.extend(finding.hint.iter().flat_map(|hint| wrapped(&format!("hint: {hint}"), room)));
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let word = if at == 0 { toned(word, tone) } else { "     ".to_owned() };
        text.push_str(&format!("{word}  {line}\n"));
    }
    text
}
