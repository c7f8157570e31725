//! What a reviewer sees of a template that an agent proposed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use keywright_broker::approve::Less;
use keywright_broker::drift::{Widening, Wider, mark};
use keywright_broker::review::Pending;
use keywright_catalog::Catalog;
use keywright_testkit::{DNS_EDIT, World};
use serde_json::{Value, json};

/// The proposal as its reviewer gets it.
async fn shown(world: &World, source: &str) -> Value {
    let request = world.broker.propose_template(&World::agent("bot"), source, "for a look").await.unwrap();
    let pending = world.broker.review(&request.to_string(), &Less::default()).await.unwrap();
    let listed = world.broker.inbox().await.unwrap();
    let is_it = |one: &&Pending| matches!(one, Pending::Template(proposed) if proposed.request == request);
    let listed = serde_json::to_value(listed.iter().find(is_it).unwrap()).unwrap();
    let mut pending = serde_json::to_value(pending).unwrap();
    let blocks = pending.as_object_mut().unwrap().remove("blocks").unwrap();
    assert!(blocks.as_array().is_some_and(|all| all.len() >= 3), "{blocks}");
    assert_eq!(listed, pending, "the list says the same, but for the blocks");
    pending["blocks"] = blocks;
    pending
}

fn flags(pending: &Value) -> Vec<&str> {
    pending["red_flags"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// What an import says: this permission opens these operations more.
fn widening(permission: &str, more: &[&str], from: &str) -> Widening {
    let found = Catalog::cloudflare().unwrap().permission(permission, None).unwrap();
    let wider = Wider {
        permission: found.id.to_owned(),
        name: found.name.to_owned(),
        operations: more.len(),
        mutating: more.len(),
        mark: mark(more.iter().copied()),
    };
    let provider = "cloudflare".parse().unwrap();
    Widening { provider, from: from.to_owned(), sha256: "00".repeat(32), widened: vec![wider] }
}

#[tokio::test]
async fn a_proposal_in_place_of_a_template_in_force_says_what_would_change() {
    let world = World::new().await;
    let wider = DNS_EDIT
        .replace("operations = [\"POST /zones/{zone_id}/dns_records\"]\n", "")
        .replace("\"DNS Write\"", "\"Cache Purge\", \"DNS Read\"")
        .replace("ttl_max = \"90d\"", "ttl_max = \"365d\"")
        .replace("allow = [\"example.com\"", "allow = [\"other.example\", \"example.com\"")
        .replace("destinations = [\"embedded:*\"", "destinations = [\"vault:secret/*\", \"embedded:*\"");
    let pending = shown(&world, &wider).await;
    assert_eq!(pending["replaces"], 1);
    let differs = pending["differs"].as_array().unwrap();
    let has = |what: &str, before: Value, after: Value| {
        differs.iter().any(|one| one["what"] == what && one["before"] == before && one["after"] == after)
    };
    for (what, before, after) in [
        ("permission", json!("DNS Write (zone)"), Value::Null),
        ("permission", Value::Null, json!("DNS Read (zone)")),
        ("permission", Value::Null, json!("Cache Purge (zone)")),
        ("ttl_max", json!("90d"), json!("365d")),
        ("destination", Value::Null, json!("vault:secret/*")),
    ] {
        assert!(has(what, before, after), "{what}: {differs:#?}");
    }
    let zone = differs.iter().find(|one| one["what"] == "parameter zone").unwrap();
    assert!(zone["after"].as_str().unwrap().contains("other.example"), "{zone}");
    assert!(differs.iter().any(|one| one["what"] == "unlocks"), "{differs:#?}");
    // One of its own id replaces nothing, and one that is the same changes nothing.
    let other = shown(&world, &DNS_EDIT.replace("cloudflare/dns-edit", "cloudflare/dns-other")).await;
    assert_eq!((&other["replaces"], &other["differs"]), (&Value::Null, &json!([])));
    let same = shown(&world, &DNS_EDIT.replace("title", "# a comment\ntitle")).await;
    assert_eq!((&same["replaces"], &same["differs"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn names_that_imitate_others_are_told_with_their_code_points() {
    let world = World::new().await;
    let imitating = DNS_EDIT
        .replace("cloudflare/dns-edit", "cloudflare/dns-ed1t")
        .replace("title = \"", "title = \"D\u{39d}S: ")
        .replace("allow = [\"example.com\"", "allow = [\"ex\u{430}mple.com\", \"examp1e.com\"");
    let pending = shown(&world, &imitating).await;
    for told in [
        "the title: `D\\u{39d}S",
        "a value of parameter `zone`: `ex\\u{430}mple.com` has letters that look like others: it could be taken for \
         `example.com`",
        "`examp1e.com` looks like `example.com`, which `cloudflare/dns-edit` allows",
    ] {
        assert!(flags(&pending).iter().any(|flag| flag.contains(told)), "{told}: {:#?}", flags(&pending));
    }
    assert!(flags(&pending).iter().all(|flag| flag.is_ascii()), "{:#?}", flags(&pending));
    // What is below is spelled and marked in the same way.
    let lines: Vec<&Value> = pending["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|block| block["lines"].as_array().unwrap())
        .collect();
    let with = |part: &str| lines.iter().filter(|line| line["text"].as_str().unwrap().contains(part)).count();
    assert_eq!(with("ex\u{430}mple"), 0, "{lines:#?}");
    assert!(with("ex\\u{430}mple.com") > 0, "{lines:#?}");
    let is_marked = |line: &&&Value| line["tone"] == "bad" || line["tone"] == "warn";
    assert_eq!(
        lines
            .iter()
            .filter(is_marked)
            .filter(|line| line["text"].as_str().unwrap().contains("\\u{430}"))
            .count(),
        with("\\u{430}"),
        "{lines:#?}"
    );
    // `1` looks like `l`, so this is another name; `rn` looks like `m`.
    let id = shown(&world, &DNS_EDIT.replace("cloudflare/dns-edit", "cloudflare/dns-other")).await;
    assert!(flags(&id).is_empty(), "{:#?}", flags(&id));
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &DNS_EDIT.replace("dns-edit", "mail")).await.unwrap();
    let alike = shown(&world, &DNS_EDIT.replace("dns-edit", "rnail")).await;
    assert!(
        flags(&alike).contains(&"its id looks like `cloudflare/mail`, which is in force"),
        "{:#?}",
        flags(&alike)
    );
}

#[tokio::test]
async fn what_an_import_found_wider_is_told_and_held_once() {
    let world = World::new().await;
    let ana = world.ana().await;
    let november = widening("DNS Write", &["DELETE /zones/{zone_id}/dns_records/wipe"], "November");
    let held = world.broker.hold_wider(&ana, &november).await.unwrap();
    assert!(held["cloudflare/dns-edit"].contains("`DNS Write` opens 1 operations more"), "{held:?}");
    // A proposal under its id says that it would release it.
    let pending = shown(&world, &DNS_EDIT.replace("ttl_max = \"90d\"", "ttl_max = \"60d\"")).await;
    assert!(pending["held"].as_str().unwrap().contains("`DNS Write`"), "{pending}");
    assert!(
        flags(&pending).iter().any(|flag| flag.contains("is held, and this would release it")),
        "{pending}"
    );
    assert!(
        flags(&pending).iter().any(|flag| flag.contains("(November): it may do more than is counted")),
        "{pending}"
    );

    // One that comes new has it in its warnings, and is not held for what was known.
    let new = DNS_EDIT.replace("cloudflare/dns-edit", "cloudflare/dns-new");
    let (checked, _) = world.broker.apply_template(&ana, &new).await.unwrap();
    let told = "`DNS Write` opens 1 operations more, of which 1 change something (November): it may do more than is counted here";
    assert!(checked.warnings.iter().any(|warning| warning == told), "{:?}", checked.warnings);
    let (checked, _) = world.broker.apply_template(&ana, DNS_EDIT).await.unwrap();
    assert!(checked.warnings.iter().any(|warning| warning == told), "{:?}", checked.warnings);

    // The same again holds nothing that was released, also for a broker that reads the log anew; what is wider still does.
    let world = world.restart().await;
    let ana = world.ana().await;
    assert!(world.broker.held("cloudflare/dns-edit").is_none());
    assert!(world.broker.hold_wider(&ana, &november).await.unwrap().is_empty());
    let same_count = widening("DNS Write", &["DELETE /zones/{zone_id}/dns_records/other"], "December");
    let held = world.broker.hold_wider(&ana, &same_count).await.unwrap();
    assert_eq!(held.keys().collect::<Vec<_>>(), ["cloudflare/dns-edit", "cloudflare/dns-new"]);
    let world = world.restart().await;
    assert!(world.broker.held("cloudflare/dns-edit").is_some());
    let wider = world.broker.wider_of(&world.broker.template("cloudflare/dns-edit").await.unwrap().resolved);
    assert_eq!(wider, ["`DNS Write` opens 1 operations more, of which 1 change something (December)"]);
}

#[tokio::test]
async fn an_import_that_no_entry_of_the_log_could_hold_is_refused() {
    let world = World::new().await;
    let ana = world.ana().await;
    let mut huge = widening("DNS Write", &["x"], "odd");
    let one = huge.widened[0].clone();
    huge.widened = (0..501).map(|at| Wider { permission: format!("{at:032x}"), ..one.clone() }).collect();
    let error = world.broker.hold_wider(&ana, &huge).await.unwrap_err();
    assert!(error.message.contains("more than 500"), "{error}");
    huge.widened.truncate(500);
    world.broker.hold_wider(&ana, &huge).await.unwrap();
}

#[tokio::test]
async fn many_proposals_at_once_are_no_more_than_one_after_the_other() {
    let world = World::new().await;
    let source =
        |number: usize| DNS_EDIT.replace("cloudflare/dns-edit", &format!("cloudflare/edit-{number}"));
    let proposing = (0..40).map(|number| {
        let broker = std::sync::Arc::clone(&world.broker);
        async move { broker.propose_template(&World::agent("bot"), &source(number), "at once").await }
    });
    let kept = futures::future::join_all(proposing).await.into_iter().filter(Result::is_ok).count();
    assert_eq!(kept, 10);
    assert_eq!(world.broker.inbox().await.unwrap().len(), 10);
}
