//! What the shipped Cloudflare catalog says, against counts that were taken from the vendor's data independently.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers fail by panicking")]

use std::collections::BTreeSet;

use keywright_catalog::built_in::every;
use keywright_catalog::{BUILT_IN, Catalog, CatalogError, Operation, Permission};
use proptest::prelude::*;

fn cloudflare() -> &'static Catalog {
    Catalog::cloudflare().unwrap()
}

fn id_of(label: &str) -> &'static str {
    let (name, scope) = label.split_once('@').map_or((label, None), |(name, scope)| (name, Some(scope)));
    cloudflare().permission(name, scope).unwrap().id
}

fn labels(holds: fn(&Permission) -> bool) -> Vec<&'static str> {
    cloudflare().permissions().iter().filter(|one| holds(one)).map(|one| one.name).collect()
}

#[test]
fn every_shipped_catalog_can_be_read_and_names_its_source() {
    for built_in in every() {
        let catalog = built_in.catalog().unwrap();
        assert_eq!(catalog.provider(), built_in.provider);
        let held: Vec<_> = catalog.sources().iter().map(|source| source.holds).collect();
        // Some vendors publish no data on which permission opens what.
        let complete = held == ["permissions", "operations"];
        assert!(complete || (held == ["permissions"] && catalog.all_operations().is_empty()), "{held:?}");
        // A page of documentation has no sum.
        let is_sum = |sum: &str| sum.len() == 64 || sum == "-";
        assert!(catalog.sources().iter().all(|s| is_sum(s.sha256) && !s.licence.is_empty()));
    }
}

#[test]
fn the_catalog_has_the_counts_of_the_vendor_data() {
    let catalog = cloudflare();
    let count =
        |holds: fn(&Operation) -> bool| catalog.all_operations().iter().filter(|one| holds(one)).count();
    assert_eq!(catalog.permissions().len(), 308);
    assert_eq!(catalog.all_operations().len(), 3239);
    assert_eq!(count(|one| one.unannotated), 549);
    assert_eq!(count(|one| one.wide), 45);
    assert_eq!(count(|one| one.credential), 3);
    assert_eq!(count(|one| one.unannotated && one.method == "GET"), 239);
    // 1264 annotated operations that no read permission opens, and 68 more that one does; 22 of those were
    // reviewed as pure queries.
    assert_eq!(count(|one| !one.unannotated && one.mutating), 1264 + 68 - 22);
}

#[test]
fn footprints_are_the_ones_counted_in_the_vendor_data() {
    // (permissions, mutating, total). A comment gives the count by the vendor's permission names alone, where the
    // rule that a non-GET counts as mutating until it was reviewed makes a difference.
    let golden: [(&[&str], usize, usize); 13] = [
        (&["DNS Read"], 0, 20),
        (&["DNS Write"], 25, 45),
        (&["DNS Read", "DNS Write"], 25, 45),
        (&["Zone DNS Settings Read"], 0, 2),
        (&["Cache Purge"], 2, 8),
        (&["Workers KV Storage Write"], 8, 23),
        (&["Pages Write"], 15, 23),
        (&["Account API Tokens Read"], 0, 3),
        (&["Account API Tokens Write"], 4, 7),
        (&["Zone Read"], 0, 19),
        // 66: opening and closing a live log is a mutation.
        (&["Workers Scripts Write", "Workers Routes Write"], 68, 142),
        // 0: restarting a certificate's validation is a mutation.
        (&["SSL and Certificates Read", "DNS Read"], 1, 54),
        (&[], 0, 0),
    ];
    for (permissions, mutating, total) in golden {
        let footprint = cloudflare().unlocks(permissions.iter().map(|label| id_of(label))).unwrap();
        assert_eq!((footprint.mutating, footprint.total), (mutating, total), "{permissions:?}");
        assert_eq!(footprint.operations().count(), total);
    }
    // By name, `Logs Write` opens 90 operations, 43 of them mutating; they belong to two permissions.
    let both = cloudflare().unlocks([id_of("Logs Write@zone"), id_of("Logs Write@account")]).unwrap();
    assert_eq!((both.mutating, both.total), (43, 90));
}

#[test]
fn the_tunnel_permission_is_known_to_open_a_credential() {
    let footprint = cloudflare().unlocks([id_of("Cloudflare Tunnel Write")]).unwrap();
    assert_eq!(footprint.credentials, 2);
}

#[test]
fn the_escalation_class_is_flagged_and_explained() {
    let expected = [
        "API Tokens Write",
        "Access: Organizations, Identity Providers, and Groups Write",
        "Access: Service Tokens Write",
        "Account API Tokens Write",
        "Account Settings Write",
        "SCIM Provisioning",
    ];
    assert_eq!(labels(|one| one.escalation), expected);
    assert!(expected.iter().all(|name| cloudflare().escalation(id_of(name)).unwrap().is_some()));
    assert_eq!(cloudflare().escalation(id_of("DNS Write")), Ok(None));
    assert!(matches!(cloudflare().escalation("f00d"), Err(CatalogError::UnknownPermission { .. })));
    for id in [
        "686d18d5ac6c441c867cbf6771e58a0a",
        "5bc3f8b21c554832afc660159ab75fa4",
        "1af1fa2adc104452b74a9a3364202f20",
        "d5812c023a5048b4882175a28952362d",
    ] {
        assert!(cloudflare().permission_by_id(id).unwrap().escalation, "{id}");
    }
}

#[test]
fn permissions_that_the_data_understates_are_flagged() {
    let expected = [
        "Access: Organizations, Identity Providers, and Groups Revoke",
        "Apps Write",
        "Bot Management Feedback Report Write",
        "URL Scanner Write",
    ];
    assert_eq!(labels(|one| one.suspicious), expected);
    assert!(labels(|one| one.high_blast).contains(&"Zone Write"));
    assert!(labels(|one| one.sensitive).contains(&"Workers Tail Read"));
}

#[test]
fn a_name_with_two_scopes_is_never_guessed() {
    let names: Vec<_> = cloudflare().permissions().iter().map(|one| one.name).collect();
    let twice: BTreeSet<_> =
        names.iter().filter(|name| cloudflare().permissions_named(name).len() > 1).collect();
    assert_eq!(twice.len(), 7);
    for name in twice {
        let error = cloudflare().permission(name, None).unwrap_err();
        let CatalogError::AmbiguousPermission { candidates, .. } = &error else { panic!("{error}") };
        for (id, scope) in candidates {
            assert_eq!(cloudflare().permission(name, Some(scope)).unwrap().id, id);
            assert_eq!(cloudflare().permission(id, None).unwrap().id, id);
        }
    }
    let said = cloudflare().permission("Logs Read", None).unwrap_err().to_string();
    assert_eq!(
        said,
        "`Logs Read` has one permission per scope: say which of `account` (6a315a56f18441e59ed03352369ae956), \
         `zone` (c4a30cd58c5d42619c86a3c36c441e2d)"
    );
}

#[test]
fn a_twin_opens_only_the_operations_of_its_own_scope() {
    for (label, prefix) in [("Logs Write@zone", "/zones/"), ("Logs Write@account", "/accounts/")] {
        let footprint = cloudflare().unlocks([id_of(label)]).unwrap();
        assert!(footprint.total > 0);
        assert!(footprint.operations().all(|operation| operation.path.starts_with(prefix)), "{label}");
    }
}

#[test]
fn a_wrong_name_comes_with_the_right_one() {
    for (asked, hint) in [
        ("DNS Wirte", "DNS Write"),
        ("dns write", "DNS Write"),
        ("DNS Edit", "DNS Write"),
        ("Zone Zone Read", "Zone Read"),
        ("Workers KV Write", "Workers KV Storage Write"),
    ] {
        let error = cloudflare().permission(asked, None).unwrap_err();
        let CatalogError::UnknownPermission { nearest, .. } = &error else { panic!("{error}") };
        assert!(nearest.iter().any(|name| name == hint), "{asked}: {nearest:?}");
    }
    assert!(
        cloudflare().permission("DNS Write", Some("account")).is_err(),
        "the scope is part of the question"
    );
    let error = Catalog::for_provider("cloudflair").unwrap_err().to_string();
    let named = BUILT_IN.iter().all(|built_in| error.contains(&format!("`{}`", built_in.provider)));
    assert!(
        error.starts_with("no catalog for provider `cloudflair`; there is one for `") && named,
        "{error}"
    );
}

#[test]
fn an_operation_is_found_by_id_and_by_path_whatever_its_parameters_are_called() {
    let by_path = cloudflare().operation("POST /zones/{zone_identifier}/dns_records").unwrap();
    assert_eq!(by_path.to_string(), "POST /zones/{zone_id}/dns_records");
    assert_eq!(cloudflare().operation(by_path.id).unwrap(), by_path);
    assert!(by_path.mutating && !by_path.deprecated);
    let accepted: Vec<_> = cloudflare().accepted(by_path).map(|one| one.name).collect();
    assert_eq!(accepted, ["DNS Write"]);
    assert!(by_path.tags().count() > 0);

    let error = cloudflare().operation("POST /zones/{zone_id}/dns_record").unwrap_err();
    let CatalogError::UnknownOperation { nearest, .. } = error else { panic!("{error}") };
    assert!(nearest.iter().any(|name| name == "POST /zones/{zone_id}/dns_records"), "{nearest:?}");
}

#[test]
fn what_the_vendor_does_not_say_is_not_computable() {
    for (name, unannotated, unresolved) in [
        ("GET /zones", false, vec!["Zone Zone Read"]),
        ("POST /zones", false, vec!["Zone DNS Edit", "Zone Zone Edit"]),
        ("GET /accounts/{account_id}/r2/buckets/{bucket_name}/objects", true, vec![]),
        ("PUT /accounts/{account_id}/r2/buckets/{bucket_name}/objects/{object_key}", true, vec![]),
    ] {
        let operation = cloudflare().operation(name).unwrap();
        assert!(!operation.is_computable(), "{name}");
        assert_eq!(operation.unannotated, unannotated, "{name}");
        assert_eq!(operation.unresolved().collect::<Vec<_>>(), unresolved, "{name}");
        assert_eq!(cloudflare().accepted(operation).count(), 0);
    }
}

#[test]
fn a_damaged_catalog_names_the_line() {
    const HEAD: &str = "keywright/catalog/2\tx\n[permissions]\n";
    let permission = "p1\tDNS Read\tzone\tread\t-\t-\n";
    let good = format!("{HEAD}{permission}[operations]\nGET\t/a\ta\t-\t-\tDNS Read\t-\t=\t-\n");
    assert!(Catalog::parse(good.clone().leak()).is_ok());
    for (damaged, line) in [
        (String::new(), 1),
        (good.replace("catalog/2", "catalog/3"), 1),
        (good.replace("[permissions]", "[secrets]"), 3),
        (good.replace("\tread\t", "\treads\t"), 3),
        (good.replace("\tread\t-\t", "\tread\tharmless\t"), 3),
        (good.replace("zone\t", ""), 3),
        (good.replace("\tDNS Read\t-\t=", "\tDNS Write\t-\t="), 5),
        (good.replace("\t=\t", "\tDNS Write\t"), 5),
        (good.replace("\t=\t", "\tDNS Read&\t"), 5),
        (good.replace("GET\t/a", "GET\t/a\tb"), 5),
        (good.replace("GET\t/a", "GET\t"), 5),
    ] {
        match Catalog::parse(damaged.clone().leak()) {
            Err(CatalogError::Damaged { line: found, .. }) => assert_eq!(found, line, "{damaged}"),
            other => panic!("{damaged}: {other:?}"),
        }
    }
}

/// Counts in the compiled text itself, without the code under test.
fn recount(labels: &BTreeSet<String>) -> (usize, usize) {
    let shipped = BUILT_IN.iter().find(|built_in| built_in.provider == "cloudflare").unwrap();
    let operations = shipped.text().unwrap().split_once("[operations]\n").unwrap().1;
    let opened =
        |line: &&str| line.split('\t').nth(5).unwrap().split(';').any(|label| labels.contains(label));
    let lines: Vec<&str> = operations.lines().filter(|line| !line.starts_with('#')).filter(opened).collect();
    (lines.len(), lines.iter().filter(|line| line.split('\t').nth(4).unwrap().contains("mutating")).count())
}

proptest! {
    #[test]
    fn a_footprint_is_what_the_text_says(picked in prop::collection::btree_set(0usize..308, 0..6)) {
        let permissions: Vec<&Permission> = picked.iter().map(|at| &cloudflare().permissions()[*at]).collect();
        let label = |one: &&Permission| {
            let twins = cloudflare().permissions_named(one.name).len() > 1;
            if twins { format!("{}@{}", one.name, one.scope) } else { one.name.to_owned() }
        };
        let footprint = cloudflare().unlocks(permissions.iter().map(|one| one.id)).unwrap();
        prop_assert_eq!((footprint.total, footprint.mutating), recount(&permissions.iter().map(label).collect()));
        let again = cloudflare().unlocks(permissions.iter().rev().chain(&permissions).map(|one| one.id)).unwrap();
        prop_assert_eq!(footprint, again, "order and repeats do not matter");
    }

    #[test]
    fn an_unknown_id_is_an_error_in_any_company(at in 0usize..308, id in "[0-9a-f]{31}") {
        let known = cloudflare().permissions()[at].id;
        prop_assert!(cloudflare().unlocks([known, id.as_str()]).is_err());
    }

    #[test]
    fn any_question_has_an_answer(asked in "\\PC{0,200}") {
        prop_assert!(cloudflare().search(&asked, 5).len() <= 5);
        prop_assert!(cloudflare().permission(&asked, None).is_err());
        prop_assert!(cloudflare().operation(&asked).is_err());
    }
}
