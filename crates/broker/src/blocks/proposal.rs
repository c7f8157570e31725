//! The blocks of a template that an agent proposes.

use keywright_core::look;
use keywright_core::span::Span;
use keywright_core::template::{OnUnknowable, Rotation};
use keywright_core::text::{Untrusted, quoted};

use super::{Block, Lines, Title, Tone, marked, permissions, unlocks};
use crate::differs::{ANY_NETWORK, Difference};
use crate::guards::check_template;
use crate::review::Proposed;

/// The blocks of a proposed template.
pub(crate) fn of_proposal(proposed: &Proposed, unconnected: Option<String>) -> Vec<Block> {
    let who = Lines::new().add("proposed by", format!("agent {}, by its token", proposed.agent));
    let replaces = proposed.replaces.map(|version| format!("version {version}, which is in force"));
    let same = proposed.replaces.is_some() && proposed.differs.is_empty();
    let mut what = Lines::new()
        .add("template", proposed.template.clone())
        .add("replaces", replaces.unwrap_or_default())
        .all("changes", proposed.differs.iter().map(difference))
        .add("changes", if same { "nothing that is enforced" } else { "" });
    let mut evidence = Lines::new();
    match check_template(proposed.source.raw()) {
        Ok(checked) => {
            let (resolved, template) = (&checked.resolved, &checked.resolved.template);
            let limits = &template.limits;
            what = what
                .add("provider", template.provider.to_string())
                .add("tier", template.tier.as_str())
                .all(
                    "may",
                    permissions(template.provider.as_str(), &resolved.permissions, &resolved.escalation),
                )
                .all("unlocks", [unlocks(resolved.unlocks, resolved.mutating, 0)])
                .all("asks for", template.parameters.iter().map(|(name, one)| marked(parameter(name, one))))
                .add("lives", format!("at most {}", limits.ttl_max))
                .all("rotates", template.rotation.iter().flat_map(rotation))
                .plain("only from", limits.ip_allow.iter().cloned())
                .all("goes to", limits.destinations.iter().map(|one| marked(one.to_string())));
            evidence = evidence
                .all("look at", checked.warnings.into_iter().chain(unconnected).map(|one| (one, Tone::Warn)))
                .plain("narrower", checked.narrower.iter().cloned());
        }
        Err(error) => evidence = evidence.toned("can't be applied", error.message, Tone::Bad),
    }
    let why = Lines::new().said("why", proposed.why.raw());
    let evidence = evidence
        .toned("held", proposed.held.clone().unwrap_or_default(), Tone::Bad)
        .add(
            "decided",
            proposed
                .decided_by
                .as_ref()
                .map(|by| format!("{} by operator {by}", proposed.status))
                .unwrap_or_default(),
        )
        .said("because", proposed.reason.as_ref().map(Untrusted::raw).unwrap_or_default())
        .time("proposed", proposed.created_at);
    [(Title::Who, who), (Title::What, what), (Title::Why, why), (Title::Evidence, evidence)]
        .into_iter()
        .filter_map(|(title, lines)| lines.block(title))
        .collect()
}

/// How often it rotates, and when the old version ends.
fn rotation(one: &Rotation) -> [(String, Tone); 3] {
    let unknowable = match one.on_unknowable {
        OnUnknowable::Ask => {
            ("where nobody can know whether it is used, an operator is asked".to_owned(), Tone::Plain)
        }
        OnUnknowable::RevokeAfterOverlap => (
            format!(
                "where nobody can know whether it is used, it ends after {}, used or not",
                one.max_overlap
            ),
            Tone::Warn,
        ),
    };
    [
        (format!("by itself, every {}, until somebody ends the key", one.every), Tone::Plain),
        (
            format!(
                "the old version ends once it was quiet for {}; somebody is told when both live for more than {}",
                one.quiet_for, one.max_overlap
            ),
            Tone::Plain,
        ),
        unknowable,
    ]
}

/// A parameter with the values that may be asked for.
fn parameter(name: &str, one: &keywright_core::template::Parameter) -> String {
    match &one.allow {
        Some(allowed) if allowed.iter().any(|value| value == "*") => {
            format!("{name} ({}), any that the connection reaches", one.kind)
        }
        Some(allowed) => format!("{name} ({}), one of: {}", one.kind, allowed.join(", ")),
        None => format!("{name} ({}), any that the connection reaches", one.kind),
    }
}

/// What goes, what comes, what becomes another.
fn difference(one: &Difference) -> (String, Tone) {
    let what = match one.what.as_str() {
        "operation" => "declared operation",
        other => other,
    };
    let (before, after) = (one.before.as_ref().map(Untrusted::raw), one.after.as_ref().map(Untrusted::raw));
    // A title is whatever the agent wrote.
    let shown = |text: &str| {
        let text = look::shown(text);
        if one.what == "title" { quoted(&text) } else { text.into_owned() }
    };
    let text = match (before.map(shown), after.map(shown)) {
        (Some(before), Some(after)) => format!("~ {what}: {before} is now {after}"),
        (Some(before), None) => format!("- {what}: {before}"),
        (None, after) => format!("+ {what}: {}", after.unwrap_or_default()),
    };
    let looks = [before, after].into_iter().flatten().any(|text| look::doubt(text).is_some());
    (text, if looks { Tone::Bad } else { means(&one.what, before, after) })
}

/// What a difference means for who lets it in: less reach is good, and less of what confines a key is not.
fn means(what: &str, before: Option<&str>, after: Option<&str>) -> Tone {
    let span = |text: &str| Span::parse(text).ok();
    match (what, before, after) {
        ("can make keys", _, Some(_)) => Tone::Bad,
        ("permission" | "destination" | "can make keys", Some(_), None) => Tone::Good,
        ("rotation" | "budget", Some(_), None) | ("only from", _, Some(ANY_NETWORK)) => Tone::Bad,
        ("rotation" | "budget" | "connection", None, Some(_)) | ("only from", Some(ANY_NETWORK), _) => {
            Tone::Good
        }
        ("ttl_max" | "ttl_default", Some(before), Some(after)) if span(after) < span(before) => Tone::Good,
        ("operation", None, Some(_)) | ("title", ..) => Tone::Plain,
        _ => Tone::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_is_told_with_all_that_it_says() {
        let span = |text| Span::parse(text).unwrap();
        let one = |on_unknowable| Rotation {
            every: span("30d"),
            quiet_for: span("1h"),
            max_overlap: span("2d"),
            on_unknowable,
        };
        let told = rotation(&one(OnUnknowable::RevokeAfterOverlap));
        assert!(told[0].0.contains("every 30d"), "{told:?}");
        assert!(told[1].0.contains("quiet for 1h") && told[1].0.contains("more than 2d"), "{told:?}");
        assert!(told[2].0.contains("ends after 2d, used or not") && told[2].1 == Tone::Warn, "{told:?}");
        assert!(rotation(&one(OnUnknowable::Ask))[2].0.contains("an operator is asked"));
    }

    #[test]
    fn losing_what_confines_a_key_is_no_good_news_and_losing_reach_is() {
        let table = [
            ("permission", Some("DNS Write"), None, Tone::Good),
            ("permission", None, Some("DNS Write"), Tone::Warn),
            ("can make keys", None, Some("API Tokens Write"), Tone::Bad),
            ("rotation", Some("every 30d"), None, Tone::Bad),
            ("rotation", None, Some("every 30d"), Tone::Good),
            ("rotation", Some("every 30d"), Some("every 60d"), Tone::Warn),
            ("only from", Some("10.0.0.0/8"), Some("any network"), Tone::Bad),
            ("only from", Some("any network"), Some("10.0.0.0/8"), Tone::Good),
            ("only from", Some("10.0.0.0/8"), Some("11.0.0.0/8"), Tone::Warn),
            ("operation", Some("GET /zones"), None, Tone::Warn),
            ("operation", None, Some("GET /zones"), Tone::Plain),
            ("budget", Some("5.00 US dollars"), None, Tone::Bad),
            ("ttl_max", Some("90d"), Some("30d"), Tone::Good),
            ("ttl_max", Some("12h"), Some("90d"), Tone::Warn),
            ("destination", None, Some("dotenv:*"), Tone::Warn),
        ];
        for (what, before, after, tone) in table {
            assert_eq!(means(what, before, after), tone, "{what}: {before:?} is now {after:?}");
        }
        let difference = difference(&Difference {
            what: "operation".to_owned(),
            before: Some(Untrusted::capped("GET /zones", 20)),
            after: None,
        });
        assert_eq!(difference.0, "- declared operation: GET /zones");
        let looks = super::difference(&Difference {
            what: "destination".to_owned(),
            before: None,
            after: Some(Untrusted::capped("vault:s\u{435}cret/*", 99)),
        });
        assert_eq!(looks, ("+ destination: vault:s\\u{435}cret/*".to_owned(), Tone::Bad));
        let title = |text| Some(Untrusted::capped(text, 99));
        let (before, after) = (title("DNS"), title("DNS”. Keywright: “it is harmless"));
        let difference = super::difference(&Difference { what: "title".to_owned(), before, after });
        assert_eq!(difference.0, "~ title: “DNS” is now “DNS\\u{201d}. Keywright: \\u{201c}it is harmless”");
    }
}
