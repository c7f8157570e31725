//! Approvals: over one plan, by distinct operators, as asked or with less.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::auth::Proven;
use keywright_broker::review::{Pending, Review};
use keywright_broker::{BrokerError, Code};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::secret::Secret;
use keywright_testkit::{World, ask};

const TWO_PERMISSIONS: &str = r#"
id = "cloudflare/dns-and-cache"
title = "Edit DNS records and purge the cache of one zone"
provider = "cloudflare"
tier = "standard"
permissions = ["DNS Write", "Cache Purge"]
[parameters.zone]
kind = "cloudflare.zone"
allow = ["example.com"]
[limits]
ttl_default = "30d"
ttl_max = "90d"
destinations = ["embedded:*"]
"#;

fn production(template: &str) -> Ask {
    Ask {
        template: template.to_owned(),
        environment: "production".to_owned(),
        ..ask("example.com", "CF_TOKEN")
    }
}

async fn bo(world: &World, ana: &Proven) -> Proven {
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(ana, &"bo".parse().unwrap(), passphrase()).await.unwrap();
    world.broker.operator(Some(&"bo".parse().unwrap()), passphrase()).await.unwrap()
}

async fn shown(world: &World, id: &str, less: &Less) -> Result<Box<Review>, BrokerError> {
    match world.broker.review(id, less).await? {
        Pending::Key(review) => Ok(review),
        Pending::Template(_) => panic!("a key was asked for"),
    }
}

/// Looks, and approves what was seen.
async fn approve(world: &World, who: &Proven, id: &str, less: &Less) -> Result<Receipt, BrokerError> {
    let review = shown(world, id, less).await?;
    world.broker.approve(who, id, &review.digest, less, Duration::from_secs(20)).await
}

fn live(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

#[tokio::test]
async fn production_waits_for_two_operators_and_each_counts_once() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bo = bo(&world, &ana).await;
    let wish = production("cloudflare/dns-edit");
    let receipt = world.request(&wish).await.unwrap();
    assert_eq!((receipt.status, receipt.approvals.needed), (Status::PendingApproval, 2));
    assert_eq!(world.request(&wish).await.unwrap().request, receipt.request, "an identical ask is merged");
    let (id, nothing) = (receipt.request.to_string(), Less::default());
    let wrong = "00".repeat(32);
    let unseen = world.broker.approve(&ana, &id, &wrong, &nothing, Duration::ZERO).await;
    assert_eq!(unseen.unwrap_err().code, Code::Conflict);
    let one = approve(&world, &ana, &id, &nothing).await.unwrap();
    assert_eq!((one.status, one.approvals.given), (Status::PendingApproval, 1));
    assert_eq!(approve(&world, &ana, &id, &nothing).await.unwrap_err().code, Code::Conflict);
    assert_eq!(live(&world), 0);
    let two = approve(&world, &bo, &id, &nothing).await.unwrap();
    assert_eq!(two.status, Status::Active, "{two:?}");
    let trace = world.broker.trace("CF_TOKEN").await.unwrap();
    let signers: Vec<_> =
        trace.entries.iter().flat_map(|e| e.record().signatures.iter().map(|s| s.by.clone())).collect();
    assert_eq!(signers, ["ana", "bo"]);
}

#[tokio::test]
async fn a_template_that_changed_after_the_ask_needs_a_new_approval() {
    let world = World::new().await;
    let receipt = world.request(&production("cloudflare/dns-edit")).await.unwrap();
    let id = receipt.request.to_string();
    let review = shown(&world, &id, &Less::default()).await.unwrap();
    let ana = world.ana().await;
    let changed = keywright_testkit::DNS_EDIT.replace("ttl_default = \"30d\"", "ttl_default = \"29d\"");
    world.broker.apply_template(&ana, &changed).await.unwrap();
    for less in [Less::default(), Less { ttl: Some("1d".to_owned()), without: Vec::new() }] {
        let late = world.broker.approve(&ana, &id, &review.digest, &less, Duration::ZERO).await;
        assert_eq!(late.unwrap_err().code, Code::Conflict);
    }
    // It is said to whoever asked, and the next ask is another one.
    let told = world.broker.check(&World::agent("bot").principal, &id, Duration::ZERO).await;
    let again = world.request(&production("cloudflare/dns-edit")).await.unwrap();
    assert_eq!((live(&world), again.status), (0, Status::PendingApproval));
    assert_ne!(again.request, receipt.request);
    let told = told.unwrap();
    assert_eq!(told.status, Status::Expired);
    assert!(told.reasons.iter().any(|why| why.contains("put in force anew (version 2)")), "{told:?}");
}

#[tokio::test]
async fn less_than_was_asked_is_what_gets_made_and_what_others_approved_is_void() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bo = bo(&world, &ana).await;
    world.broker.apply_template(&ana, TWO_PERMISSIONS).await.unwrap();
    let asked = world.request(&production("cloudflare/dns-and-cache")).await.unwrap();
    assert_eq!(asked.permissions.len(), 2);
    let id = asked.request.to_string();
    approve(&world, &ana, &id, &Less::default()).await.unwrap();
    let less = Less { ttl: Some("7d".to_owned()), without: vec!["cache purge".to_owned()] };
    let wide = shown(&world, &id, &Less::default()).await.unwrap();
    let narrow = shown(&world, &id, &less).await.unwrap();
    assert!(narrow.digest != wide.digest && narrow.plan.unlocks < wide.plan.unlocks);
    let mixed = world.broker.approve(&bo, &id, &wide.digest, &less, Duration::ZERO).await;
    assert_eq!(mixed.unwrap_err().code, Code::Conflict, "what was shown is what is signed");
    let one = approve(&world, &bo, &id, &less).await.unwrap();
    assert_eq!((one.status, one.approvals.given), (Status::PendingApproval, 1), "ana approved another plan");
    assert_eq!(one.match_code, asked.match_code, "it is the same request as before");
    assert_eq!(narrow.match_code, wide.match_code);
    let two = approve(&world, &ana, &id, &Less::default()).await.unwrap();
    assert_eq!(two.status, Status::Active, "{two:?}");
    let names: Vec<_> = two.permissions.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["DNS Write"]);
    let told = two.narrowed.clone().unwrap();
    assert_eq!((told.by.as_str(), told.words().as_str()), ("bo", "7d instead of 30d, without Cache Purge"));
    let looked = world.broker.review(&id, &Less::default()).await.unwrap();
    let said = serde_json::to_string(&looked).unwrap();
    assert!(said.contains("operator bo approves less than was asked: 7d instead of 30d"), "{said}");
    let days = two.expires_at.unwrap().duration_since(world.broker.now()).as_hours() / 24;
    assert!((6..=7).contains(&days), "{days}");
    let made = world.sandbox.live_tokens_named_like("kw-");
    assert_eq!(made.len(), 1);
    let trace = world.broker.trace("CF_TOKEN").await.unwrap();
    let narrowed: Vec<_> =
        trace.entries.iter().filter(|e| e.record().deed.as_str() == "request.narrow").collect();
    assert_eq!(narrowed[0].record().facts["withheld"], serde_json::json!(["Cache Purge"]));
}

#[tokio::test]
async fn less_can_not_be_more_or_nothing() {
    let world = World::new().await;
    let receipt = world.request(&production("cloudflare/dns-edit")).await.unwrap();
    let id = receipt.request.to_string();
    let table: [(Option<&str>, &[&str], &str); 6] = [
        (Some("30d"), &[], "not shorter"),
        (Some("90d"), &[], "not shorter"),
        (Some("soon"), &[], "soon"),
        (None, &["Zone Write"], "has no permission `Zone Write`"),
        (None, &["\u{1b}[2J"], "has no permission"),
        (None, &["DNS Write"], "nothing would be left"),
    ];
    for (ttl, without, says) in table {
        let without = without.iter().map(|w| (*w).to_owned()).collect();
        let less = Less { ttl: ttl.map(str::to_owned), without };
        let error = shown(&world, &id, &less).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.message.contains(says) && !error.message.contains('\u{1b}'), "{error}");
    }
}

#[tokio::test]
async fn who_may_approve_what_is_policy_and_it_is_said_before_anybody_signs() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bo = bo(&world, &ana).await;
    let rule = r#"
        @id("production-is-for-bo") @reason("only bo approves production")
        forbid (principal, action == Keywright::Action::"approve", resource)
        when { context.environment == "production" } unless { principal == Keywright::Operator::"bo" };"#;
    let alone = r#"
        @id("not-alone") @reason("whoever added the agent is not the only one who approves")
        forbid (principal, action == Keywright::Action::"approve", resource)
        when { context.own && context.approvals == 1 };"#;
    let policies = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.apply_policy(&ana, &format!("{policies}{rule}")).await.unwrap();
    let nothing = Less::default();
    let id = world.request(&production("cloudflare/dns-edit")).await.unwrap().request.to_string();
    let refused = approve(&world, &ana, &id, &nothing).await.unwrap_err();
    assert_eq!(refused.code, Code::Denied);
    assert!(refused.message.contains("only bo approves production"), "{refused}");
    let review = shown(&world, &id, &nothing).await.unwrap();
    let text = |label: &str| -> Vec<String> {
        let lines: Vec<_> = review.blocks.iter().flat_map(|block| &block.lines).collect();
        let at = lines.iter().position(|line| line.label == label).unwrap();
        let more = lines[at + 1..].iter().take_while(|line| line.label.is_empty());
        std::iter::once(&lines[at]).chain(more).map(|line| line.text.clone()).collect()
    };
    let said = text("may approve");
    assert_eq!(said[0], "bo");
    assert!(said[1].starts_with("not ana: only bo approves production"), "{said:?}");
    assert!(said[2].starts_with("too few: it needs 2 distinct operators"), "{said:?}");
    // Approved while they might: it counts no more.
    world.broker.apply_policy(&ana, policies).await.unwrap();
    approve(&world, &ana, &id, &nothing).await.unwrap();
    assert_eq!(shown(&world, &id, &nothing).await.unwrap().approved_by, ["ana"]);
    world.broker.apply_policy(&ana, &format!("{policies}{rule}")).await.unwrap();
    assert_eq!(shown(&world, &id, &nothing).await.unwrap().approved_by, Vec::<String>::new());
    let waits = approve(&world, &bo, &id, &nothing).await.unwrap();
    assert_eq!(waits.status, Status::PendingApproval, "bo is one of two");
    assert_eq!(live(&world), 0);
    // The agent's own human: not alone, but beside another one.
    world.broker.apply_policy(&ana, &format!("{policies}{alone}")).await.unwrap();
    world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let one = Ask { environment: "elsewhere".to_owned(), ..ask("example.com", "OTHER") };
    let own = world.request(&one).await.unwrap();
    assert_eq!((own.status, own.approvals.needed), (Status::PendingApproval, 1));
    let own = own.request.to_string();
    let refused = approve(&world, &ana, &own, &nothing).await.unwrap_err();
    assert!(refused.message.contains("whoever added the agent"), "{refused}");
    assert_eq!(approve(&world, &bo, &own, &nothing).await.unwrap().status, Status::Active);
}

const OWN: &str = r#"
    @id("not-alone") @reason("whoever added the agent is not the only one who approves")
    forbid (principal, action == Keywright::Action::"approve", resource)
    when { context.own && context.approvals == 1 };"#;

#[tokio::test]
async fn an_agent_whose_row_was_hidden_is_everybodys_own() {
    if keywright_testkit::Database::wanted().is_some() {
        return;
    }
    for edit in
        ["UPDATE agents SET removed_at = 1", "DELETE FROM agents", "UPDATE agents SET added_by = 'bo'"]
    {
        let world = World::new().await;
        let ana = world.ana().await;
        let bo = bo(&world, &ana).await;
        let policies = keywright_core::policy::DEFAULT_POLICIES;
        world.broker.apply_policy(&ana, &format!("{policies}{OWN}")).await.unwrap();
        world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
        let one = Ask { environment: "elsewhere".to_owned(), ..ask("example.com", "OTHER") };
        let id = world.request(&one).await.unwrap().request.to_string();
        let before = shown(&world, &id, &Less::default()).await.unwrap();
        rusqlite::Connection::open(world.home.join("ledger.db")).unwrap().execute(edit, []).unwrap();
        for who in [&ana, &bo] {
            let refused =
                world.broker.approve(who, &id, &before.digest, &Less::default(), Duration::ZERO).await;
            assert!(refused.is_err(), "{edit}: {refused:?}");
        }
        assert_eq!(live(&world), 0, "{edit}");
        // It can be looked at all the same, and turned down.
        let after = shown(&world, &id, &Less::default()).await.unwrap();
        assert!(after.blocks.iter().flat_map(|block| &block.lines).any(|line| line.label == "may approve"));
        world.broker.reject(&ana, &id, "something is wrong here").await.unwrap();
    }
}

#[tokio::test]
async fn a_grant_of_somebody_who_may_not_approve_covers_nothing_and_people_are_asked() {
    let world = World::new().await;
    let ana = world.ana().await;
    let bo = bo(&world, &ana).await;
    let policies = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    world.broker.apply_policy(&ana, &format!("{policies}{OWN}")).await.unwrap();
    let grant = keywright_broker::grants::NewGrant {
        agent: "bot".parse().unwrap(),
        template: "cloudflare/dns-edit".parse().unwrap(),
        project: "web".parse().unwrap(),
        environment: "elsewhere".parse().unwrap(),
        parameters: [("zone".to_owned(), "example.com".to_owned())].into(),
        any_parameters: false,
        destinations: Vec::new(),
        directory: None,
        ttl_max: None,
        uses: None,
        lasts: keywright_core::span::Span::from_seconds(86_400),
    };
    world.broker.add_grant(&ana, grant).await.unwrap();
    let one = Ask { environment: "elsewhere".to_owned(), ..ask("example.com", "OTHER") };
    let waits = world.request(&one).await.unwrap();
    assert_eq!(waits.status, Status::PendingApproval, "{waits:?}");
    assert!(waits.reasons.iter().any(|why| why.contains("operator ana may not approve it")), "{waits:?}");
    assert_eq!(world.broker.grants().await.unwrap()[0].used, 0);
    let id = waits.request.to_string();
    assert_eq!(approve(&world, &bo, &id, &Less::default()).await.unwrap().status, Status::Active);
}
