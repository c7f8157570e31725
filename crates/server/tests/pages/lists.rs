//! Lists and what one thing's page says: keys, agents, templates, requests that were turned down, health.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use keywright_broker::ask::Ask;
use keywright_broker::record::Caller;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_ledger::KeysSought;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{World, ask};

use super::House;

#[tokio::test]
async fn keys_are_found_by_a_part_of_their_name_their_state_and_whose_they_are() {
    let house = House::new().await;
    let world = &house.world;
    let mut ids = Vec::new();
    for name in ["CF_TOKEN", "CF_OTHER", "SHOP_KEY"] {
        ids.push(world.request(&ask("example.com", name)).await.unwrap());
    }
    let ana = world.ana().await;
    let caller = keywright_broker::record::Caller::plain(keywright_core::plan::Principal::Operator(
        ana.name().clone(),
    ));
    world.broker.revoke(&caller, "SHOP_KEY", "over").await.unwrap();
    world.settle().await;
    let session = house.comes_in().await;
    let names = async |query: &str| {
        let (status, text) = house.page(&session, &format!("/keys?{query}")).await;
        assert_eq!(status, 200, "{query}");
        assert!(
            text.contains("name=\"q\"") && text.contains("name=\"state\""),
            "{query}: the fields are there"
        );
        let all = ["CF_TOKEN", "CF_OTHER", "SHOP_KEY"];
        let found: Vec<&str> =
            all.into_iter().filter(|name| text.contains(&format!("\">{name}</a>"))).collect();
        found.join(" ")
    };
    assert_eq!(names("").await, "CF_TOKEN CF_OTHER SHOP_KEY");
    assert_eq!(names("q=cf_").await, "CF_TOKEN CF_OTHER");
    assert_eq!(names("q=c__t").await, "", "an underscore stands for itself");
    assert_eq!(names("q=c%25").await, "", "and so does a per cent sign");
    assert_eq!(names("q=Token&state=active").await, "CF_TOKEN");
    assert_eq!(names("state=revoked").await, "SHOP_KEY");
    assert_eq!(names("state=owed").await, "");
    assert_eq!(names("state=late").await, "");
    assert_eq!(names("state=failing").await, "");
    assert_eq!(names("state=off").await, "");
    assert_eq!(names("project=web").await, "CF_TOKEN CF_OTHER SHOP_KEY");
    assert_eq!(names("project=other").await, "");
    assert_eq!(names("agent=bot&q=shop").await, "SHOP_KEY");
    assert_eq!(names("agent=nobody").await, "");
    assert_eq!(names("q=%3Cscript%3E").await, "", "what is no name finds nothing, and is no error");
    assert_eq!(names("project=%3Cscript%3E").await, "");
    assert_eq!(names(&format!("q={}", ids[0].key.unwrap())).await, "CF_TOKEN");
    assert_eq!(names(&format!("q={}", ids[1].request)).await, "CF_OTHER");
    // In parts, what was searched for stays.
    let sought = |before| KeysSought { part: "cf_".to_owned(), before, ..KeysSought::default() };
    let first = world.broker.keys_part(sought(None), 1).await.unwrap();
    let second = world.broker.keys_part(sought(Some(first[0].key.id)), 1).await.unwrap();
    let third = world.broker.keys_part(sought(Some(second[0].key.id)), 1).await.unwrap();
    assert_eq!(
        (first[0].key.name.as_str(), second[0].key.name.as_str(), third.len()),
        ("CF_OTHER", "CF_TOKEN", 0)
    );
}

#[tokio::test]
async fn the_list_of_agents_tells_what_each_has_and_a_template_who_may_ask_for_it() {
    let house = House::new().await;
    let world = &house.world;
    world.broker.add_agent(&world.ana().await, &"bot".parse().unwrap()).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    house.waiting("PROD", "x").await;
    let session = house.comes_in().await;
    let (_, agents) = house.page(&session, "/agents").await;
    let row = agents.split("href=\"/agents/bot\"").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("data-of=\"keys\">1</td>"), "{row}");
    assert!(row.contains("data-of=\"waits\"><span class=\"warn\">1</span></td>"), "{row}");
    assert!(row.contains("data-of=\"last asked\"><time"), "{row}");
    let (_, template) = house.page(&session, "/templates/cloudflare/dns-edit").await;
    let may = template.split("who may ask for it, by policy").nth(1).unwrap();
    for told in ["/agents/bot", "at once", "after 2 approvals"] {
        assert!(may.contains(told), "{told}: {may}");
    }
    let (_, agent) = house.page(&session, "/agents/bot").await;
    assert!(agent.contains("waits for approval") && !agent.contains("pending_approval"), "{agent}");
}

#[tokio::test]
async fn a_request_that_was_turned_down_says_who_did_it_and_what_policy_had_said() {
    let house = House::new().await;
    let (request, _) = house.waiting("PROD", "x").await;
    let session = house.comes_in().await;
    let path = format!("/r/{request}");
    let because = |text: &str| {
        let after = text.split("<dt>because</dt>").nth(1).unwrap_or_default();
        after.split("</div>").next().unwrap_or_default().to_owned()
    };
    let (_, before) = house.page(&session, &path).await;
    // What a permission is needs no colour.
    assert!(before.contains("DNS Write (zone): changes"), "{before}");
    house.world.broker.reject(&house.world.ana().await, &request, "not on a friday").await.unwrap();
    let (_, after) = house.page(&session, &path).await;
    assert!(after.contains("· turned down by operator ana, "), "at the top: {after}");
    assert!(after.contains("by operator ana, ") && after.contains("“not on a friday”"), "{after}");
    assert!(!because(&before).is_empty() && because(&before) == because(&after), "{after}");
    // Its agent is told of it as ever.
    let receipt = house.world.request(&ask("example.com", "X")).await.unwrap();
    assert_eq!(receipt.status, Status::Active);
}

#[tokio::test]
async fn nothing_is_wrong_only_if_nothing_is() {
    let house = House::new().await;
    let session = house.comes_in().await;
    let (_, well) = house.page(&session, "/health").await;
    assert!(well.contains("Nothing is wrong.") && well.contains("href=\"/keys?state=owed\""), "{well}");
    assert!(well.contains("this machine") && well.contains("other users can&#39;t read it"), "{well}");
    assert!(well.contains("would not be noticed: the audit log&#39;s head has no copy"), "{well}");
    // Somebody opens the home to others.
    let home = &house.world.home;
    let set = |mode| std::fs::set_permissions(home, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o755);
    let (_, open) = house.page(&session, "/health").await;
    assert!(!open.contains("Nothing is wrong.") && open.contains("chmod -R go-rwx"), "{open}");
    set(0o700);
    // Its parent credential grows old.
    house.world.clock.advance(jiff::SignedDuration::from_hours(24 * 100));
    let (_, old) = house.page(&session, "/health").await;
    assert!(
        !old.contains("Nothing is wrong.") && old.contains("the parent credential of cf is in use since"),
        "{old}"
    );
}

#[tokio::test]
async fn what_is_owed_stands_in_the_inbox_and_leads_to_the_key() {
    let house = House::new().await;
    let world = &house.world;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let session = house.comes_in().await;
    let (_, before) = house.page(&session, "/").await;
    assert!(before.contains("Nothing waits for you.") && !before.contains("to look after"), "{before}");
    let broken = FaultKind::Status { status: 500, retry_after: None };
    world.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", broken).times(1_000)).unwrap();
    let by = Principal::Operator(world.ana().await.name().clone());
    let _ = world.broker.revoke(&Caller::plain(by), "CF_TOKEN", "over").await;
    let (_, inbox) = house.page(&session, "/").await;
    let after = inbox.split("to look after").nth(1).unwrap();
    assert!(after.contains("href=\"/keys?state=owed\"") && after.contains("1 revocation is owed"), "{after}");
    let (_, owed) = house.page(&session, "/keys?state=owed").await;
    assert!(owed.contains("\">CF_TOKEN</a>") && owed.contains("revocation owed"), "{owed}");
    let (_, health) = house.page(&session, "/health").await;
    assert!(!health.contains("Nothing is wrong.") && health.contains("1 revocation is owed"), "{health}");
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_quoted_on_the_page() {
    let house = House::new().await;
    let mut caller = World::agent("bot");
    caller.claimed = BTreeMap::from([("model".to_owned(), "<b>gpt</b>\u{202e}".to_owned())]);
    let wish =
        keywright_broker::ask::Ask { environment: "production".to_owned(), ..ask("example.com", "SAID") };
    let receipt = house.world.broker.request(&caller, &wish, std::time::Duration::ZERO).await.unwrap();
    let session = house.comes_in().await;
    let (_, text) = house.page(&session, &format!("/r/{}", receipt.request)).await;
    assert!(text.contains("“model = &#60;b&#62;gpt&#60;/b&#62;\\u{202e}”"), "{text}");
}

#[tokio::test]
async fn nothing_that_an_agent_wrote_ends_its_quotation() {
    let house = House::new().await;
    let world = &house.world;
    let said = "set the TXT record”. Keywright: the operator ben has found it harmless (LOW). The agent adds: “thanks";
    let asks = async |name: &str| {
        let wish = Ask {
            environment: "elsewhere".to_owned(),
            purpose: said.to_owned(),
            prompt: Some(said.to_owned()),
            ..ask("example.com", name)
        };
        world.request(&wish).await.unwrap()
    };
    let first = asks("ONE").await;
    asks("OTHER").await;
    let made = Ask { purpose: said.to_owned(), ..ask("example.com", "MADE") };
    let key = world.request(&made).await.unwrap().key.unwrap();
    let entries = house.entries().await;
    let session = house.comes_in().await;
    let quotation = "<q class=\"said\"><span class=\"heard\">quoted: </span>“set the TXT record\\u{201d}. Keywright: the operator ben \
                     has found it harmless (LOW). The agent adds: \\u{201c}thanks”<span class=\"heard\"> end of the quotation</span></q>";
    let mut paths =
        vec![(format!("/r/{}", first.request), 3), (format!("/keys/{key}"), 1), ("/audit".to_owned(), 3)];
    paths.extend((0..entries).map(|number| (format!("/audit/ent_{number}"), 0)));
    let mut all = 0;
    for (path, least) in paths {
        let (_, text) = house.page(&session, &path).await;
        // As it stands in the log it is shown as a file.
        let text = text.split("<pre").next().unwrap_or_default();
        let found = text.matches(quotation).count();
        assert!(found >= least, "{path}: {found} of {least}: {text}");
        assert!(!text.contains("record”") && !text.contains("“thanks"), "{path}: {text}");
        assert_eq!(text.matches("thanks").count(), found, "{path}: nowhere else");
        all += found;
    }
    assert!(all > 10, "the log has it, too: {all}");
}
