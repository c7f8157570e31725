//! Standard output is data: it can be used, and it counts when it is lost.

use std::fs::File;
use std::process::Stdio;

use crate::support::{Serving, World, request};

#[test]
fn a_policy_that_was_shown_can_be_checked_and_applied() {
    let world = World::ready();
    let shown = world.alice(&["policy", "show"]).expect(0);
    assert!(shown.err.contains("applied by alice"), "{}", shown.err);
    let file = world.file("shown.cedar", &shown.out);
    world.plain(&["policy", "check", &file]).expect(0);
    world.ok(&["policy", "apply", &file]);
    let json = world.ok(&["policy", "show"]);
    assert_eq!(json["source"].as_str().unwrap(), shown.out, "byte for byte");
    let shown = world.alice(&["template", "show", "cloudflare/dns-edit"]).expect(0).out;
    let source = include_str!("../../../../templates/cloudflare/dns-edit.toml");
    assert!(shown.contains("DNS Write (zone)") && shown.contains(source.trim_end()), "{shown}");
    let empty = world.file("empty.cedar", "");
    assert!(world.plain(&["policy", "check", &empty]).expect(0).err.contains("denied"));
}

#[test]
fn data_that_does_not_arrive_is_a_failure() {
    let world = World::empty();
    world.init();
    let table: [&[&str]; 7] = [
        &["status"],
        &["status", "--json"],
        &["catalog", "list"],
        &["completions", "bash"],
        &["--help"],
        &["help", "key"],
        &["frobnicate", "--json"],
    ];
    for args in table {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = world.command(args).stdout(full).output().unwrap();
        assert!(!output.status.success() && output.stderr.starts_with(b"error: "), "{args:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.command(args).stdout(Stdio::from(writer)).output().unwrap();
        let code = if args[0] == "frobnicate" { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("standard output"), "{args:?}");
    }
}

#[test]
fn lists_show_what_people_need_and_programs_get_all() {
    let world = World::ready();
    let id = world.key("CF_TOKEN")["key"].as_str().unwrap().to_owned();
    world.key("OLD_TOKEN");
    world.ok(&["key", "revoke", "OLD_TOKEN"]);
    let live = world.alice(&["key", "list"]).expect(0);
    assert!(live.out.contains(&id) && !live.out.contains("OLD_TOKEN"), "{}", live.out);
    assert!(live.err.contains("1 key not shown") && live.err.contains("--all"), "{}", live.err);
    for args in [&["key", "list", "--all"][..], &["key", "list", "--state", "revoked"]] {
        assert!(world.alice(args).expect(0).out.contains("OLD_TOKEN"), "{args:?}");
    }
    assert_eq!(world.ok(&["key", "list"])["keys"].as_array().unwrap().len(), 2);
    world.ok(&["key", "revoke", "CF_TOKEN"]);
    assert!(world.alice(&["key", "list"]).expect(0).out.contains("no live keys"));
    let shown = world.alice(&["key", "show", "CF_TOKEN"]).expect(0).out;
    assert!(!shown.contains("owed"), "what was confirmed is not owed: {shown}");
    world.alice(&request("P", "production", &[])).expect(4);
    let review = world.alice(&["review"]).expect(0).out;
    let line = review.lines().nth(1).unwrap();
    for told in ["HIGH: ", "P → example.com", "web/production", "0 of 2"] {
        assert!(line.contains(told), "{told}: {review}");
    }
    assert_eq!(world.alice(&["audit", "log", "--from", "9999"]).expect(0).out.trim(), "no entries");
}

#[test]
fn a_template_is_confined_to_the_destinations_that_are_said_to_be_the_only_ones() {
    let world = World::ready();
    let destinations =
        || world.ok(&["template", "show", "cloudflare/dns-edit"])["limits"]["destinations"].clone();
    assert_eq!(destinations(), serde_json::json!(["embedded:*", "dotenv:./.env"]));
    world.ok(&["template", "apply", "cloudflare/dns-edit", "--only-destination", "embedded:web/*"]);
    assert_eq!(destinations(), serde_json::json!(["embedded:web/*"]));
    let to = ["--to", "dotenv:./.env"];
    world.alice(&crate::support::request("CF_TOKEN", "dev", &to)).expect(3);
    world.ok(&["template", "apply", "cloudflare/dns-edit", "--destination", "embedded:*"]);
    assert_eq!(destinations(), serde_json::json!(["embedded:*", "dotenv:./.env"]));
    let both =
        ["template", "apply", "cloudflare/dns-edit", "--destination", "a:*", "--only-destination", "b:*"];
    world.alice(&both).expect(2);
}

#[test]
fn a_template_whose_connection_is_not_there_is_put_in_force_with_a_warning_that_doctor_has_too() {
    let world = World::ready();
    let source = include_str!("../../../../templates/cloudflare/dns-edit.toml");
    let named = "provider = \"cloudflare\"\nconnection = \"later\"";
    let file = world.file("later.toml", &source.replace("provider = \"cloudflare\"", named));
    let said = "it names connection `later`, which is not there";
    let has = |value: &serde_json::Value| value.as_str().is_some_and(|text| text.contains(said));
    let applied = world.ok(&["template", "apply", &file]);
    let warnings = applied["templates"][0]["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(has), "{applied}");
    let text = world.alice(&["template", "apply", &file]).expect(0).out;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(said) && text.contains("keywright provider add cloudflare --name later"), "{text}");
    let listed = world.ok(&["template", "list"]);
    assert!(has(&listed["templates"][0]["unconnected"]), "{listed}");
    let list = world.alice(&["template", "list"]).expect(0).out;
    assert!(list.contains("connection is not there"), "{list}");
    let _broker = Serving::start(&world);
    let doctor = world.alice(&["doctor", "--json"]).json();
    let findings = doctor["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["check"] == "template").unwrap();
    assert!(has(&found["what"]) && found["verdict"] == "warning", "{found}");
}

#[test]
fn every_time_in_a_terminal_is_written_in_one_form() {
    let world = World::ready();
    let id = world.key("CF_TOKEN")["key"].as_str().unwrap().to_owned();
    let asked = world.alice(&request("ONE", "production", &[])).expect(4).out;
    let asked = asked.split_whitespace().find(|word| word.starts_with("req_")).unwrap();
    world.alice(&["review", "reject", asked, "--reason", "no"]).expect(0);
    let table: [&[&str]; 7] = [
        &["review", "show", asked],
        &["key", "show", &id],
        &["template", "show", "cloudflare/dns-edit"],
        &["policy", "show"],
        &["audit", "trace", &id],
        &["audit", "log"],
        &["agent", "list"],
    ];
    for args in table {
        let ran = world.alice(args).expect(0);
        let text = format!("{}{}", ran.out, ran.err);
        let days = text.match_indices("T").filter(|(at, _)| {
            let day = text.get(at.saturating_sub(10)..*at).unwrap_or_default();
            day.parse::<jiff::civil::Date>().is_ok()
        });
        let mut count = 0;
        for (at, _) in days {
            count += 1;
            let time = text.get(at..at + 10).unwrap_or_default();
            assert!(
                time.ends_with('Z') && time.get(7..9).is_some(),
                "{args:?}: {time}: to the second\n{text}"
            );
        }
        assert!(count > 0 || args[0] == "agent", "{args:?}: {text}");
        assert!(!text.contains(" UTC"), "{args:?}: {text}");
    }
}
