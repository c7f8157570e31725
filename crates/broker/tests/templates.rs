//! What `template check` says, from tables: no broker is needed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use keywright_broker::Code;
use keywright_broker::guards::check_template;
use keywright_catalog::templates::PACK;

/// A template with these permissions, operations and further lines.
fn template(permissions: &str, operations: &str, destinations: &str) -> String {
    format!(
        "id = \"cloudflare/t\"\ntitle = \"t\"\nprovider = \"cloudflare\"\ntier = \"standard\"\n\
         permissions = [{permissions}]\noperations = [{operations}]\n[parameters.zone]\nkind = \"cloudflare.zone\"\n\
         allow = [\"example.com\"]\n[limits]\nttl_max = \"30d\"\ndestinations = [{destinations}]\n"
    )
}

const RECORDS: &str = "\"POST /zones/{zone_id}/dns_records\"";
const BOTH: &str = "\"POST /zones/{zone_id}/dns_records\", \"POST /zones/{zone_id}/purge_cache\"";

#[test]
fn a_template_that_says_what_its_job_calls_grants_nothing_more() {
    let table = [
        ("\"DNS Write\"", RECORDS, None),
        ("\"DNS Write\", \"Cache Purge\"", BOTH, None),
        ("\"DNS Write\", \"Cache Purge\"", "", None),
        ("\"DNS Write\", \"Zone Settings Write\"", RECORDS, Some("`Zone Settings Write` is more than")),
        ("\"DNS Write\", \"DNS Read\"", RECORDS, Some("`DNS Read` is more than")),
    ];
    for (permissions, operations, refused) in table {
        let checked = check_template(&template(permissions, operations, "\"embedded:*\""));
        match (checked, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(says)) => {
                assert!(error.code == Code::InvalidArgument && error.message.contains(says), "{error}");
            }
            (checked, _) => panic!("{permissions} for {operations}: {:?}", checked.map(|c| c.warnings)),
        }
    }
}

#[test]
fn what_deserves_a_second_look_is_a_warning() {
    let table = [
        (template("\"DNS Write\"", "", "\"dotenv:*\""), "outside of the directory"),
        (template("\"DNS Write\"", "", "\"dotenv:/etc/*\""), "outside of the directory"),
        (
            template("\"DNS Write\"", "", "\"embedded:*\"")
                .replace("allow = [\"example.com\"]", "allow = [\"example.com\", \"*\"]"),
            "allows every cloudflare.zone that the connection reaches by `*`",
        ),
        (
            template("\"DNS Write\"", "", "\"embedded:*\"")
                .replace("allow = [\"example.com\"]", "allow = [\"*.com\"]"),
            "allows every cloudflare.zone that ends with `.com`",
        ),
        (
            template("\"DNS Write\"", "", "\"embedded:*\"")
                .replace("allow = [\"example.com\"]", "allow = [\"*.co.uk\"]"),
            "allows every cloudflare.zone that ends with `.co.uk`",
        ),
        (template("\"DNS Write\"", BOTH, "\"embedded:*\""), "none of the permissions opens it"),
        (
            template("\"DNS Write\"", "", "\"embedded:*\"").replace("allow = [\"example.com\"]\n", ""),
            "allows every cloudflare.zone",
        ),
    ];
    for (source, says) in table {
        let warnings = check_template(&source).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains(says)), "{says}: {warnings:?}");
    }
}

#[test]
fn a_template_whose_keys_could_not_be_made_is_refused() {
    let good = template("\"DNS Write\"", "", "\"embedded:*\"");
    let table = [
        (good.replace("cloudflare.zone", "cloudflare.zoo"), "unknown kind `cloudflare.zoo`"),
        (
            good.replace("[parameters.zone]\nkind = \"cloudflare.zone\"\nallow = [\"example.com\"]\n", ""),
            "which zone",
        ),
    ];
    for (source, says) in table {
        let error = check_template(&source).unwrap_err();
        assert!(error.message.contains(says) && !error.alternatives.is_empty(), "{says}: {error}");
    }
}

#[test]
fn a_budget_that_the_provider_does_not_have_is_left_out() {
    let source = template("\"DNS Write\"", "", "\"embedded:*\"") + "budget_usd = 20\n";
    let checked = check_template(&source).unwrap();
    assert_eq!(checked.resolved.template.limits.budget_usd, None);
    assert!(
        checked.warnings.iter().any(|warning| warning.contains("has no budgets")),
        "{:?}",
        checked.warnings
    );
}

#[test]
fn every_shipped_template_can_be_applied_and_keeps_its_conditions() {
    for (path, source) in PACK {
        let checked = check_template(source).unwrap_or_else(|error| panic!("{path}: {error}"));
        let kept = checked.resolved.template.limits.budget_usd.is_some();
        assert_eq!(kept, source.contains("budget_usd"), "{path}: {:?}", checked.warnings);
        assert!(checked.resolved.escalation.is_empty(), "{path}");
    }
}

#[test]
fn a_template_that_grants_more_than_its_operations_need_is_told_the_narrower_set() {
    let read = "\"GET /zones/{zone_id}/dns_records\"";
    let checked = check_template(&template("\"DNS Write\"", read, "\"embedded:*\"")).unwrap();
    assert_eq!(checked.narrower, ["DNS Read"]);
    let warned = checked.warnings.iter().any(|warning| {
        warning.contains("`DNS Read`") && warning.contains("25 operations more, of which 25 change")
    });
    assert!(warned, "{:?}", checked.warnings);
    for (permissions, operations) in
        [("\"DNS Read\"", read), ("\"DNS Write\"", RECORDS), ("\"DNS Write\"", "")]
    {
        let checked = check_template(&template(permissions, operations, "\"embedded:*\"")).unwrap();
        assert_eq!(checked.narrower, [""; 0], "{permissions} for {operations}");
    }
}

#[test]
fn no_template_that_ships_grants_more_than_its_operations_need() {
    for (path, source) in PACK {
        let checked = check_template(source).unwrap();
        assert_eq!(checked.narrower, [""; 0], "{path}");
    }
}
