//! What operators approve in advance.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::admin::NewConnection;
use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::auth::{Proven, Terminal};
use keywright_broker::grants::NewGrant;
use keywright_broker::passkey::signed_as_said;
use keywright_broker::review::Pending;
use keywright_broker::{Broker, Code};
use keywright_core::audit::{Deed, Effect, Record};
use keywright_core::id::GrantId;
use keywright_core::name::AgentName;
use keywright_core::place::DestinationPattern;
use keywright_core::receipt::{Receipt, Status};
use keywright_core::secret::Secret;
use keywright_ledger::AuditFilter;
use keywright_ledger::audit_files::verify_with;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{Brokers, DNS_EDIT, Database, World, ask};

const WAIT: Duration = Duration::from_secs(20);
const DAY: u64 = 86_400;

fn bot() -> AgentName {
    "bot".parse().unwrap()
}

/// A world with an agent, where an ask in environment `lab` needs one approval.
async fn world() -> World {
    let world = World::new().await;
    world.broker.add_agent(&world.ana().await, &bot()).await.unwrap();
    world
}

fn wish(name: &str) -> Ask {
    Ask { environment: "lab".to_owned(), ..ask("example.com", name) }
}

fn in_lab() -> NewGrant {
    NewGrant {
        agent: bot(),
        template: "cloudflare/dns-edit".parse().unwrap(),
        project: "web".parse().unwrap(),
        environment: "lab".parse().unwrap(),
        parameters: [("zone".to_owned(), "example.com".to_owned())].into(),
        any_parameters: false,
        destinations: Vec::new(),
        directory: None,
        ttl_max: None,
        uses: None,
        lasts: keywright_core::span::Span::from_seconds(7 * DAY),
    }
}

async fn give(world: &World, new: NewGrant) -> GrantId {
    world.broker.add_grant(&world.ana().await, new).await.unwrap().id
}

/// Asks for something that no grant covers; what is said of the grants that are about it.
async fn waits(world: &World, wish: &Ask) -> String {
    let receipt = world.request(wish).await.unwrap();
    assert_eq!(receipt.status, Status::PendingApproval, "{receipt:?}");
    receipt.reasons.into_iter().filter(|why| why.contains("standing grant")).collect::<Vec<_>>().join("; ")
}

async fn log(broker: &Broker, deed: Deed) -> Vec<Record> {
    let filter = AuditFilter { limit: 10_000, ..AuditFilter::default() };
    let log = broker.log(filter).await.unwrap();
    log.iter().map(|entry| entry.record().clone()).filter(|record| record.deed == deed).collect()
}

fn edit(world: &World, sql: &str) {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    ledger.execute_batch(sql).unwrap();
    assert!(ledger.changes() > 0, "{sql}");
}

#[tokio::test]
async fn what_a_grant_covers_goes_ahead_as_approved_by_its_operator_and_says_so() {
    let world = world().await;
    assert_eq!(waits(&world, &wish("BEFORE")).await, "");
    let grant = give(&world, in_lab()).await;
    let said = format!("approved by standing grant {grant} of ana");
    let receipt = world.request(&wish("CF_TOKEN")).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    assert_eq!((receipt.approvals.needed, receipt.approvals.given), (1, 1));
    assert_eq!(receipt.reasons, std::slice::from_ref(&said));
    let agent = World::agent("bot").principal;
    let id = receipt.request.to_string();
    assert_eq!(
        world.broker.check(&agent, &id, Duration::ZERO).await.unwrap().reasons,
        std::slice::from_ref(&said)
    );

    let [used] = &log(&world.broker, Deed::GrantUse).await[..] else { panic!("one use") };
    assert_eq!(used.subject.request.as_deref(), Some(id.as_str()));
    assert_eq!(used.facts["grant"], grant.to_string());
    let decided = log(&world.broker, Deed::RequestDecide).await.pop().unwrap().decision.unwrap();
    assert_eq!((decided.effect, decided.approvals_needed, decided.approvals_given), (Effect::Allow, 1, 1));
    assert_eq!(decided.reasons, [said]);
    let trace = world.broker.trace("CF_TOKEN").await.unwrap();
    assert!(trace.entries.iter().any(|entry| entry.record().deed == Deed::GrantUse));
    let [shown] = &world.broker.grants().await.unwrap()[..] else { panic!("one grant") };
    assert_eq!((shown.grant.id, shown.used, &shown.void), (grant, 1, &None));

    // What was asked before waits on, and asking again does not change that.
    assert_eq!(waits(&world, &wish("BEFORE")).await, "");
    assert_eq!(world.broker.inbox().await.unwrap().len(), 1);
    // Another one counts after a restart, too.
    let world = world.restart().await;
    assert_eq!(world.request(&wish("SECOND")).await.unwrap().status, Status::Active);
    assert_eq!(world.broker.grants().await.unwrap()[0].used, 2);
    assert!(world.broker.soundness().await.unwrap().1.is_empty());
}

#[tokio::test]
async fn what_was_approved_in_advance_is_signed_and_each_line_of_it_is_what_the_entry_says() {
    let world = world().await;
    give(&world, NewGrant { uses: Some(4), ..in_lab() }).await;
    give(&world, NewGrant { parameters: [].into(), any_parameters: true, ..in_lab() }).await;
    let given = log(&world.broker, Deed::GrantAdd).await;
    assert_eq!(given.len(), 2);
    for record in &given {
        assert_eq!(record.signatures.len(), 1);
        assert_eq!(signed_as_said(record), Ok(()));
        let mut others = Vec::new();
        for fact in [
            "agent",
            "template_version",
            "parameters",
            "any_parameters",
            "destinations",
            "directory",
            "ttl_max",
            "uses",
            "until",
        ] {
            let mut other = record.clone();
            other.facts.insert(fact.to_owned(), serde_json::json!({ "x": "y" }));
            others.push(other);
        }
        for change in [
            |record: &mut Record| record.subject.name = Some("grt_x".to_owned()),
            |record: &mut Record| record.subject.template = None,
            |record: &mut Record| record.subject.project = Some("other".to_owned()),
            |record: &mut Record| record.subject.environment = Some("dev".to_owned()),
            |record: &mut Record| record.signatures[0].by = "bo".to_owned(),
        ] {
            let mut other = record.clone();
            change(&mut other);
            others.push(other);
        }
        for other in others {
            assert!(signed_as_said(&other).is_err(), "{other:?}");
        }
    }
    let (dir, location) = (world.home.join("audit"), world.location());
    world.broker.publish_audit().await.unwrap();
    let closed = world.closed().await;
    let report =
        tokio::task::spawn_blocking(move || verify_with(&dir, location, None, None, &signed_as_said));
    assert!(report.await.unwrap().unwrap().is_sound());
    drop(closed);
}

#[tokio::test]
async fn what_a_grant_does_not_cover_waits_and_is_told_why() {
    let world = world().await;
    let ana = world.ana().await;
    give(&world, in_lab()).await;
    // It is about something else, or for another value of a parameter.
    for other in [
        Ask { project: "other".to_owned(), ..wish("A") },
        Ask { environment: "field".to_owned(), ..wish("A") },
    ] {
        assert_eq!(waits(&world, &other).await, "");
    }
    let by_other = world.broker.request(&World::agent("other"), &wish("A"), WAIT).await.unwrap();
    assert_eq!(by_other.status, Status::PendingApproval);
    let elsewhere =
        Ask { parameters: [("zone".to_owned(), "dev.example.com".to_owned())].into(), ..wish("B") };
    assert!(waits(&world, &elsewhere).await.contains("another value of parameter `zone`"));
    give(&world, NewGrant { parameters: [].into(), any_parameters: true, ..in_lab() }).await;
    let elsewhere = Ask { name: "C".to_owned(), ..elsewhere };
    assert_eq!(world.request(&elsewhere).await.unwrap().status, Status::Active, "any of them");

    // Policy wants two.
    give(&world, NewGrant { environment: "main".parse().unwrap(), ..in_lab() }).await;
    let two = Ask { environment: "main".to_owned(), ..wish("D") };
    assert!(waits(&world, &two).await.contains("policy wants 2 operators"));
    // The verdict is high: it reaches every zone.
    let wide = DNS_EDIT
        .replace("dns-edit", "dns-all")
        .replace("allow = [\"example.com\", \"*.example.com\"]\n", "")
        .replace("\"cloudflare.zone\"", "\"cloudflare.all_zones\"");
    world.broker.apply_template(&ana, &wide).await.unwrap();
    let all = "cloudflare/dns-all".to_owned();
    let account = BTreeMap::from([("zone".to_owned(), world.sandbox.account_id().to_owned())]);
    let new = NewGrant { template: all.parse().unwrap(), parameters: account.clone(), ..in_lab() };
    give(&world, new).await;
    let all = Ask { template: all, parameters: account, ..wish("E") };
    assert!(waits(&world, &all).await.contains("the verdict is HIGH"));
    // The template is another one than when it was given.
    world.broker.apply_template(&ana, &DNS_EDIT.replace("90d", "80d")).await.unwrap();
    assert!(waits(&world, &wish("F")).await.contains("another version of the template"));
    // Its uses are used up, or its time is.
    give(&world, NewGrant { uses: Some(1), ..in_lab() }).await;
    assert_eq!(world.request(&wish("G")).await.unwrap().status, Status::Active);
    assert!(waits(&world, &wish("H")).await.contains("all of its uses (1) are used up"));
    give(&world, in_lab()).await;
    assert_eq!(world.request(&wish("I")).await.unwrap().status, Status::Active);
    world.clock.advance(SignedDuration::from_hours(7 * 24));
    assert!(waits(&world, &wish("J")).await.contains("it ended at"));
    let shown = world.broker.grants().await.unwrap();
    assert!(shown.iter().filter(|one| one.grant.environment.as_str() == "lab").all(|one| one.void.is_some()));
}

fn to(patterns: &[&str]) -> Vec<DestinationPattern> {
    patterns.iter().map(|one| DestinationPattern::parse(one).unwrap()).collect()
}

#[tokio::test]
async fn a_grant_covers_no_other_place_and_no_longer_life_than_it_names() {
    let world = world().await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let folder = |at: usize| folders[at].path().canonicalize().unwrap().to_str().unwrap().to_owned();
    let into = |name: &str, destinations: &[&str], at: usize| Ask {
        destinations: destinations.iter().map(|one| (*one).to_owned()).collect(),
        cwd: Some(folder(at)),
        ..wish(name)
    };
    // Where nothing is said: the sealed store, and the life that the template gives by default.
    let grant = give(&world, in_lab()).await;
    let [shown] = &world.broker.grants().await.unwrap()[..] else { panic!("one grant") };
    assert_eq!(shown.grant.destinations, to(&["embedded:*"]));
    assert_eq!((shown.grant.ttl_max.to_string().as_str(), &shown.grant.directory), ("30d", &None));
    let file = waits(&world, &into("A", &["dotenv:./.env#A"], 0)).await;
    assert!(file.contains("that go to `embedded:*`, not to `dotenv:./.env#A`"), "{file}");
    let both = waits(&world, &into("B", &["embedded:web/lab/B", "dotenv:./.env#B"], 0)).await;
    assert!(both.contains("not to `dotenv:./.env#B`"), "{both}");
    let long = waits(&world, &Ask { ttl: Some("31d".to_owned()), ..wish("C") }).await;
    assert!(long.contains("live for 30d at most, not 31d: ask for a `ttl` of 30d or less"), "{long}");
    let receipt = world.request(&Ask { ttl: Some("30d".to_owned()), ..wish("D") }).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    world.broker.remove_grant(&world.ana().await, &grant.to_string()).await.unwrap();

    // A relative place starts from one directory, and not from wherever somebody asks.
    let here = NewGrant {
        destinations: to(&["dotenv:./.env"]),
        directory: Some(folder(0)),
        ttl_max: Some("1d".parse().unwrap()),
        ..in_lab()
    };
    give(&world, here).await;
    let day = |ask: Ask| Ask { ttl: Some("1d".to_owned()), ..ask };
    let elsewhere = waits(&world, &day(into("E", &["dotenv:./.env#E"], 1))).await;
    assert!(
        elsewhere.contains(&format!("in directory `{}`, not in `{}`", folder(0), folder(1))),
        "{elsewhere}"
    );
    let sealed = waits(&world, &day(wish("F"))).await;
    assert!(sealed.contains("not to `embedded:web/lab/F`"), "{sealed}");
    let by_default = waits(&world, &into("G", &["dotenv:./.env#G"], 0)).await;
    assert!(by_default.contains("live for 1d at most, not 30d"), "{by_default}");
    let receipt = world.request(&day(into("H", &["dotenv:./.env#H"], 0))).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    assert!(folders[0].path().join(".env").exists() && !folders[1].path().join(".env").exists());
}

#[tokio::test]
async fn a_grant_reaches_no_further_than_its_template() {
    let world = world().await;
    let ana = world.ana().await;
    let many: Vec<String> = (0..21).map(|number| format!("embedded:web/lab/{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let aims = |patterns: &[&str]| NewGrant { destinations: to(patterns), ..in_lab() };
    for (new, why) in [
        (aims(&["vault:*"]), "lets no key go to all of `vault:*`"),
        (aims(&["embedded:*", "vault:secret/x"]), "lets no key go to all of `vault:secret/x`"),
        (aims(&["dotenv:./.env"]), "the directory that it starts from is not known"),
        (
            NewGrant { directory: Some("somewhere".to_owned()), ..aims(&["dotenv:./.env"]) },
            "the directory that it starts from is not known",
        ),
        (aims(&many), "at most 20 destinations"),
        (NewGrant { ttl_max: Some("91d".parse().unwrap()), ..in_lab() }, "live for 90d at most, not 91d"),
    ] {
        let refused = world.broker.add_grant(&ana, new).await.unwrap_err();
        assert!(refused.code == Code::InvalidArgument && refused.message.contains(why), "{why}: {refused:?}");
        assert!(refused.hint.is_some() || why.contains("20"), "{refused:?}");
    }
    let only = DNS_EDIT.replace("\"embedded:*\", ", "");
    world.broker.apply_template(&ana, &only).await.unwrap();
    let refused = world.broker.add_grant(&ana, in_lab()).await.unwrap_err();
    assert!(refused.message.contains("lets no key into the sealed store"), "{refused:?}");
    assert_eq!(refused.alternatives, ["dotenv:*"]);
    // A directory says nothing where no place is relative.
    let absolute = NewGrant { directory: Some("/srv".to_owned()), ..aims(&["dotenv:/srv/app/.env"]) };
    assert_eq!(world.broker.add_grant(&ana, absolute).await.unwrap().directory, None);
}

#[tokio::test]
async fn a_grant_of_somebody_who_may_not_approve_is_shown_as_one_that_counts_for_nothing() {
    let world = world().await;
    let (ana, bo) = (world.ana().await, bo(&world).await);
    give(&world, in_lab()).await;
    world.broker.add_grant(&bo, in_lab()).await.unwrap();
    let elsewhere = NewGrant { environment: "field".parse().unwrap(), ..in_lab() };
    give(&world, elsewhere).await;
    let voids = async || {
        let shown = world.broker.grants().await.unwrap();
        shown.into_iter().map(|one| (one.grant.operator.to_string(), one.void)).collect::<Vec<_>>()
    };
    assert!(voids().await.iter().all(|(_, void)| void.is_none()));
    let rule = r#"
        @id("the-lab-is-for-bo") @reason("only bo approves in the lab")
        forbid (principal, action == Keywright::Action::"approve", resource)
        when { context.environment == "lab" } unless { principal == Keywright::Operator::"bo" };"#;
    let policies = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.apply_policy(&ana, &format!("{policies}{rule}")).await.unwrap();
    let why = "operator ana may not approve it: only bo approves in the lab";
    let [(_, anas), (_, bos), (_, in_field)] = &voids().await[..] else { panic!("three grants") };
    assert!(anas.as_ref().is_some_and(|void| void.starts_with(why)), "{anas:?}");
    assert_eq!((bos, in_field), (&None, &None));
    // Whoever added the agent is its human; nobody else is.
    let own = r#"
        @id("not-alone") @reason("whoever added the agent is not the only one who approves")
        forbid (principal, action == Keywright::Action::"approve", resource)
        when { context.own && context.approvals == 1 };"#;
    world.broker.apply_policy(&ana, &format!("{policies}{own}")).await.unwrap();
    let [(_, anas), (_, bos), (_, in_field)] = &voids().await[..] else { panic!("three grants") };
    assert!(anas.as_ref().is_some_and(|void| void.contains("whoever added the agent")), "{anas:?}");
    assert!(bos.is_none() && in_field.is_some());
    world.broker.apply_policy(&ana, policies).await.unwrap();
    assert!(voids().await.iter().all(|(_, void)| void.is_none()), "as policy has it now");
}

#[tokio::test]
async fn what_would_count_for_nothing_is_not_given_and_a_session_gives_none() {
    let world = world().await;
    let (ana, terminal) = (world.ana().await, Terminal { uid: 1, session: 1, began: 1 });
    let days = |days: u64| keywright_core::span::Span::from_seconds(days * DAY);
    let tier = |id: &str, tier: &str| {
        DNS_EDIT.replace("dns-edit", id).replace("tier = \"standard\"", &format!("tier = \"{tier}\""))
    };
    world.broker.apply_template(&ana, &tier("dns-prod", "production")).await.unwrap();
    let other_zone = [("planet".to_owned(), "mars".to_owned())];
    for (new, code, why) in [
        (NewGrant { lasts: days(91), ..in_lab() }, Code::InvalidArgument, "90d"),
        (NewGrant { uses: Some(0), ..in_lab() }, Code::InvalidArgument, "at least one"),
        (NewGrant { parameters: [].into(), ..in_lab() }, Code::InvalidArgument, "for which `zone`"),
        (
            NewGrant { parameters: other_zone.into(), ..in_lab() },
            Code::InvalidArgument,
            "no parameter `planet`",
        ),
        (
            NewGrant { template: "cloudflare/none".parse().unwrap(), ..in_lab() },
            Code::NotFound,
            "no template",
        ),
        (NewGrant { agent: "nobody".parse().unwrap(), ..in_lab() }, Code::NotFound, "nobody"),
        (NewGrant { environment: "production".parse().unwrap(), ..in_lab() }, Code::Denied, "production"),
        (
            NewGrant { template: "cloudflare/dns-prod".parse().unwrap(), ..in_lab() },
            Code::Denied,
            "production",
        ),
    ] {
        let refused = world.broker.add_grant(&ana, new).await.unwrap_err();
        assert!(refused.code == code && refused.message.contains(why), "{why}: {refused:?}");
    }
    world.broker.open_session(&ana, terminal).await.unwrap();
    let session = world.broker.session(terminal).await.unwrap();
    let refused = world.broker.add_grant(&session, in_lab()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated);
    assert!(world.broker.grants().await.unwrap().is_empty());
    world.broker.add_grant(&ana, NewGrant { lasts: days(90), ..in_lab() }).await.unwrap();
}

/// Asks for so many keys at the same moment, at brokers in turn.
async fn ask_at_once(brokers: &[&Arc<Broker>], asks: usize) -> Vec<Receipt> {
    let asked: Vec<_> = (0..asks)
        .map(|number| {
            let broker = Arc::clone(brokers[number % brokers.len()]);
            let wish = wish(&format!("CF_{number}"));
            tokio::spawn(async move { broker.request(&World::agent("bot"), &wish, WAIT).await.unwrap() })
        })
        .collect();
    let mut receipts = Vec::new();
    for one in asked {
        receipts.push(one.await.unwrap());
    }
    receipts
}

fn with(receipts: &[Receipt], status: Status) -> usize {
    receipts.iter().filter(|receipt| receipt.status == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_asks_that_come_together_as_many_pass_as_a_grant_has_uses() {
    let world = world().await;
    give(&world, NewGrant { uses: Some(2), ..in_lab() }).await;
    give(&world, NewGrant { uses: Some(1), ..in_lab() }).await;
    let receipts = ask_at_once(&[&world.broker], 12).await;
    assert_eq!((with(&receipts, Status::Active), with(&receipts, Status::PendingApproval)), (3, 9));
    assert_eq!(log(&world.broker, Deed::GrantUse).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn across_brokers_a_grant_is_used_no_more_often() {
    let Some(database) = Database::where_there_is_one() else { return };
    let house = Brokers::new(database, 1).await;
    let (one, other) = (house.open(0).await, house.open(1).await);
    let ana = one.operator(None, World::passphrase()).await.unwrap();
    one.add_agent(&ana, &bot()).await.unwrap();
    let grant = one.add_grant(&ana, NewGrant { uses: Some(3), ..in_lab() }).await.unwrap();
    let receipts = ask_at_once(&[&one, &other], 12).await;
    assert_eq!((with(&receipts, Status::Active), with(&receipts, Status::PendingApproval)), (3, 9));
    assert_eq!(log(&other, Deed::GrantUse).await.len(), 3);
    let again = one.add_grant(&ana, in_lab()).await.unwrap();
    assert_ne!(again.id, grant.id);
    let asked =
        async |name: &str| other.request(&World::agent("bot"), &wish(name), WAIT).await.unwrap().status;
    assert_eq!(asked("MORE").await, Status::Active);
    one.remove_grant(&ana, &again.id.to_string()).await.unwrap();
    assert_eq!(asked("LAST").await, Status::PendingApproval, "what one removed the other does not use");
}

async fn bo(world: &World) -> Proven {
    let words = || Secret::new("another passphrase".to_owned());
    let name = "bo".parse().unwrap();
    if !world.broker.operators().await.unwrap().iter().any(|(known, _)| *known == name) {
        world.broker.add_operator(&world.ana().await, &name, words()).await.unwrap();
    }
    world.broker.operator(Some(&name), words()).await.unwrap()
}

#[tokio::test]
async fn a_grant_ends_with_its_operator_its_agent_or_a_word() {
    let world = world().await;
    let ana = world.ana().await;
    let of_bo = world.broker.add_grant(&bo(&world).await, in_lab()).await.unwrap();
    assert_eq!(
        world.request(&wish("A")).await.unwrap().reasons[0],
        format!("approved by standing grant {} of bo", of_bo.id)
    );
    world.broker.remove_operator(&ana, &"bo".parse().unwrap()).await.unwrap();
    assert!(waits(&world, &wish("B")).await.contains("operator bo, who gave it, was removed"));
    let grant = give(&world, in_lab()).await;
    assert_eq!(world.request(&wish("C")).await.unwrap().status, Status::Active);
    world.broker.pause_agent(&ana, &bot(), None).await.unwrap();
    assert_eq!(world.request(&wish("D")).await.unwrap_err().code, Code::Denied);
    world.broker.resume_agent(&ana, &bot()).await.unwrap();
    assert_eq!(world.request(&wish("D")).await.unwrap().status, Status::Active);
    world.broker.remove_grant(&ana, &grant.to_string()).await.unwrap();
    assert!(!waits(&world, &wish("E")).await.contains(&grant.to_string()));
    let twice = world.broker.remove_grant(&ana, &grant.to_string()).await.unwrap_err();
    assert_eq!(twice.code, Code::NotFound);
    // Ending everything of an agent takes them along, so that a later resume brings none back.
    give(&world, in_lab()).await;
    world.broker.revoke_all_of(&ana.caller(), &bot(), "it leaked").await.unwrap();
    world.broker.resume_agent(&ana, &bot()).await.unwrap();
    assert_eq!(world.request(&wish("F")).await.unwrap().status, Status::PendingApproval);
    let world = world.restart().await;
    assert_eq!(world.request(&wish("G")).await.unwrap().status, Status::PendingApproval);
}

/// The connection is taken away, and another one added under its name: to another account, for all that anybody knows.
async fn connected_anew(world: &World) {
    let ana = world.ana().await;
    let name = "cf".parse().unwrap();
    world.broker.remove_connection(&ana, &name).await.unwrap();
    world.clock.advance(SignedDuration::from_secs(60));
    let new = NewConnection {
        name,
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: BTreeMap::new(),
        credential: Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&ana, new).await.unwrap();
}

#[tokio::test]
async fn what_was_approved_for_a_connection_is_not_approved_for_another_of_its_name() {
    let world = world().await;
    give(&world, in_lab()).await;
    // Half approved when the connection changes.
    let production = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let receipt = world.request(&production).await.unwrap();
    let request = receipt.request.to_string();
    let ana = world.ana().await;
    let Pending::Key(review) = world.broker.review(&request, &Less::default()).await.unwrap() else {
        panic!("a key")
    };
    let digest = review.digest;
    world.broker.approve(&ana, &request, &digest, &Less::default(), WAIT).await.unwrap();
    connected_anew(&world).await;
    assert!(waits(&world, &wish("A")).await.contains("before the connection was added"));
    let [shown] = &world.broker.grants().await.unwrap()[..] else { panic!("one grant") };
    assert!(shown.void.as_ref().unwrap().contains("before the connection was added"), "{shown:?}");
    let bo = bo(&world).await;
    let refused = world.broker.approve(&bo, &request, &digest, &Less::default(), WAIT).await;
    let said = match refused {
        Ok(receipt) => format!("{receipt:?}"),
        Err(error) => error.to_string(),
    };
    assert!(said.contains("does not wait for approval any more; it is expired"), "{said}");
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
    // One that is given now is for the connection that there is.
    give(&world, in_lab()).await;
    assert_eq!(world.request(&wish("B")).await.unwrap().status, Status::Active);
}

#[tokio::test]
async fn a_connection_that_was_added_while_the_clock_was_ahead_makes_keys_all_the_same() {
    let world = world().await;
    world.clock.set(SignedDuration::from_hours(3));
    connected_anew(&world).await;
    world.clock.set(SignedDuration::from_hours(-3));
    give(&world, in_lab()).await;
    assert_eq!(world.request(&wish("A")).await.unwrap().status, Status::Active);
    let [shown] = &world.broker.grants().await.unwrap()[..] else { panic!("one grant") };
    assert_eq!(shown.void, None);
}

#[tokio::test]
async fn a_clock_that_is_set_back_brings_no_grant_back() {
    let world = world().await;
    world.clock.advance(SignedDuration::from_hours(24));
    give(&world, in_lab()).await;
    assert_eq!(world.request(&wish("A")).await.unwrap().status, Status::Active);
    world.clock.set(SignedDuration::from_hours(-2));
    assert!(waits(&world, &wish("B")).await.contains("later than now"));
}

#[tokio::test]
async fn what_a_grant_approved_is_not_made_once_it_counts_no_more() {
    let world = world().await;
    let (ana, grant) = (world.ana().await, give(&world, in_lab()).await);
    let busy = FaultKind::Status { status: 429, retry_after: Some(1) };
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", busy).times(100_000)).unwrap();
    let receipt = world.broker.request(&World::agent("bot"), &wish("A"), Duration::ZERO).await.unwrap();
    let (id, agent) = (receipt.request.to_string(), World::agent("bot").principal);
    // Its first try has come to nothing, and it waits for the next.
    while world.broker.trace(&id).await.unwrap().saga.unwrap().tries == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.broker.remove_grant(&ana, &grant.to_string()).await.unwrap();
    world.sandbox.clear_faults();
    world.settle().await;
    let ended = world.broker.check(&agent, &id, Duration::ZERO).await.unwrap();
    assert_eq!(ended.status, Status::Failed, "{ended:?}");
    assert!(ended.reasons.iter().any(|why| why.contains("counts no more: it was removed")), "{ended:?}");
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
}

#[tokio::test]
async fn no_edit_of_the_ledgers_file_makes_a_grant_cover_more() {
    let world = world().await;
    let ana = world.ana().await;
    give(&world, NewGrant { uses: Some(1), ..in_lab() }).await;
    edit(&world, "CREATE TABLE kept AS SELECT * FROM grants WHERE 0; INSERT INTO kept SELECT * FROM grants");
    assert_eq!(world.request(&wish("A")).await.unwrap().status, Status::Active);
    // How often it was used is known from the log.
    edit(&world, "UPDATE grants SET used = 0");
    assert!(waits(&world, &wish("B")).await.contains("used up"));
    edit(&world, "DELETE FROM grant_uses; DELETE FROM grants; INSERT INTO grants SELECT * FROM kept");
    assert!(waits(&world, &wish("C")).await.contains("used up"));
    edit(&world, "DROP TABLE kept; UPDATE grants SET used = 0");
    let world = world.restart().await;
    assert!(waits(&world, &wish("D")).await.contains("used up"), "after a restart");
    let changes = [
        "uses = 100",
        "uses = NULL",
        "until = until + 1000000",
        "agent = 'other'",
        "any_parameters = 1",
        "destinations = '[\"dotenv:*\",\"embedded:*\"]'",
        "directory = '/tmp'",
        "ttl_max = ttl_max + 1000000",
        "template_version = 9",
        "operator = 'bo'",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        edit(&world, &format!("CREATE TABLE kept AS SELECT * FROM grants; UPDATE grants SET {change}"));
        let wish = wish(&format!("E{number}"));
        assert_eq!(waits(&world, &wish).await, "", "an edited row is none: {change}");
        let asked = world.broker.request(&World::agent("other"), &wish, WAIT).await.unwrap();
        assert_eq!(asked.status, Status::PendingApproval, "{change}");
        assert!(!world.broker.soundness().await.unwrap().1.is_empty(), "{change}");
        edit(&world, "DELETE FROM grants; INSERT INTO grants SELECT * FROM kept; DROP TABLE kept");
    }
    assert!(world.broker.soundness().await.unwrap().1.is_empty());
    // One that was removed does not come back.
    let grant = give(&world, in_lab()).await;
    edit(&world, "CREATE TABLE kept AS SELECT * FROM grants WHERE 0; INSERT INTO kept SELECT * FROM grants");
    world.broker.remove_grant(&ana, &grant.to_string()).await.unwrap();
    edit(&world, "DELETE FROM grants; INSERT INTO grants SELECT * FROM kept; DROP TABLE kept");
    assert_eq!(world.request(&wish("F")).await.unwrap().status, Status::PendingApproval);
    let world = world.restart().await;
    assert_eq!(world.request(&wish("G")).await.unwrap().status, Status::PendingApproval);
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
}
