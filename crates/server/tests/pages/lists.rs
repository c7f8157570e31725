//! Lists and what one thing's page says: keys, agents, templates, requests that were turned down, health.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::record::Caller;
use keywright_broker::review::Pending;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::KeysSought;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{DNS_EDIT, World, ask};

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
async fn a_key_of_which_nothing_was_made_has_no_end_and_one_that_lives_has_one() {
    let house = House::new().await;
    let world = &house.world;
    world.request(&ask("example.com", "LIVES")).await.unwrap();
    let refused = Fault::on("POST", "/accounts/*/tokens", FaultKind::Says { message: "no".to_owned() });
    world.sandbox.inject(refused.times(9)).unwrap();
    world.request(&ask("example.com", "FAILED")).await.unwrap();
    world.settle().await;
    world.sandbox.clear_faults();
    let session = house.comes_in().await;
    let (_, keys) = house.page(&session, "/keys").await;
    let end = |name: &str| {
        let row = keys.split(&format!("\">{name}</a>")).nth(1).unwrap().split("</tr>").next().unwrap();
        let cell = row.split("data-of=\"expires\">").nth(1).unwrap();
        assert!(row.contains(if name == "FAILED" { "failed" } else { "active" }), "{row}");
        cell.split("</td>").next().unwrap().to_owned()
    };
    assert_eq!(end("FAILED"), "");
    assert!(end("LIVES").starts_with("<time"), "{}", end("LIVES"));
}

#[tokio::test]
async fn a_template_that_names_a_connection_which_is_not_there_says_so_until_it_is() {
    let house = House::new().await;
    let ana = house.world.ana().await;
    let naming = |name: &str| {
        DNS_EDIT.replace(
            "provider = \"cloudflare\"",
            &format!("provider = \"cloudflare\"\nconnection = \"{name}\""),
        )
    };
    let (checked, _) = house.world.broker.apply_template(&ana, &naming("later")).await.unwrap();
    let said = "it names connection `later`, which is not there";
    assert!(checked.warnings.iter().any(|one| one.contains(said)), "{:?}", checked.warnings);
    let session = house.comes_in().await;
    let (_, list) = house.page(&session, "/templates").await;
    assert!(list.contains("names a connection that is not there"), "{list}");
    let (_, one) = house.page(&session, "/templates/cloudflare/dns-edit").await;
    assert!(one.contains(said) && one.contains("keywright provider add cloudflare --name later"), "{one}");
    let there = house.world.broker.connections().await.unwrap()[0].name.to_string();
    let (checked, _) = house.world.broker.apply_template(&ana, &naming(&there)).await.unwrap();
    assert_eq!(checked.warnings.iter().filter(|one| one.contains("connection")).count(), 0);
    let (_, list) = house.page(&session, "/templates").await;
    assert!(!list.contains("is not there"), "{list}");
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
    assert!(
        well.contains("Nothing is wrong. One thing below deserves a look.")
            || well.contains("things below deserve a look."),
        "{well}"
    );
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

#[tokio::test]
async fn a_long_prompt_is_cut_with_a_number_outside_of_its_quotation_and_can_be_read_whole() {
    let house = House::new().await;
    let long = format!("{}the end", "what was said before ".repeat(300));
    let (short, said) = ("a record".to_owned(), long.chars().count());
    let wish = Ask {
        environment: "production".to_owned(),
        purpose: short,
        prompt: Some(long),
        ..ask("example.com", "LONG")
    };
    let request = house.world.request(&wish).await.unwrap().request;
    let entries = house.entries().await;
    let session = house.comes_in().await;
    let (_, cut) = house.page(&session, &format!("/r/{request}")).await;
    let more = format!(
        "”<span class=\"heard\"> end of the quotation</span></q> <small>… {} more characters</small>",
        said - 2_000
    );
    assert!(cut.contains(&more) && !cut.contains("the end”"), "{cut}");
    let all = format!("/r/{request}?whole=1");
    assert!(cut.contains(&format!("<a href=\"{all}\">show all of it</a>")), "{cut}");
    let (_, whole) = house.page(&session, &all).await;
    assert!(whole.contains("the end”") && !whole.contains("more characters"), "{whole}");
    let mut found = 0;
    for number in 0..entries {
        let (_, entry) = house.page(&session, &format!("/audit/ent_{number}")).await;
        assert!(!entry.contains("more characters"), "{entry}");
        found += usize::from(entry.contains("the end”"));
    }
    assert!(found > 0, "an entry has all of it");
}

#[tokio::test]
async fn an_inbox_says_the_codes_of_proposals_and_that_a_row_has_several_and_a_page_how_many_more_wait() {
    let house = House::new().await;
    let world = &house.world;
    let agent = World::agent("bot");
    let proposal =
        world.broker.propose_template(&agent, &DNS_EDIT.replace("dns-edit", "dns-look"), "x").await.unwrap();
    let Pending::Template(proposed) =
        world.broker.review(&proposal.to_string(), &Less::default()).await.unwrap()
    else {
        panic!()
    };
    let mut first = None;
    for number in 0..12 {
        let wish = Ask {
            environment: "elsewhere".to_owned(),
            purpose: "one of many".to_owned(),
            ..ask("example.com", &format!("KEY_{number}"))
        };
        // An agent has fewer waiting than that.
        let Ok(receipt) = world.request(&wish).await else { break };
        if receipt.status == Status::PendingApproval {
            first.get_or_insert(receipt);
        }
    }
    let first = first.unwrap();
    let session = house.comes_in().await;
    let (_, inbox) = house.page(&session, "/").await;
    assert!(inbox.contains(&format!("data-of=\"code\">{}</td>", proposed.match_code)), "{inbox}");
    assert!(inbox.contains(" more codes</td>") && inbox.contains(" like it"), "{inbox}");
    let alike: usize = inbox.split(", and ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let (_, page) = house.page(&session, &format!("/r/{}", first.request)).await;
    match alike.checked_sub(9).filter(|more| *more > 0) {
        Some(more) => assert!(page.contains(&format!("{more} more like th")), "{page}"),
        None => assert!(!page.contains("more like these"), "{page}"),
    }
    assert_eq!(alike, 11, "so that there are more than one touch is for: {inbox}");
}

#[tokio::test]
async fn whoever_approved_all_of_it_reads_that_a_colleague_approved_less_and_each_approval_leads_to_its_entry()
 {
    let house = House::new().await;
    let world = &house.world;
    let ana = world.ana().await;
    let (request, digest) = house.waiting("PROD", "x").await;
    let wait = std::time::Duration::from_secs(20);
    world.broker.approve(&ana, &request, &digest, &Less::default(), wait).await.unwrap();
    let session = house.comes_in().await;
    let (_, before) = house.page(&session, &format!("/r/{request}")).await;
    let evidence = before.split("<dt>approvals</dt>").nth(1).unwrap();
    assert!(evidence.starts_with("<dd>1 of 2</dd>"), "{evidence}");
    assert!(
        evidence.contains("<a href=\"/audit/ent_") && evidence.contains("with their signing key"),
        "{evidence}"
    );
    assert!(evidence.contains("<time datetime=") && !before.contains("counts no more"), "{evidence}");
    let less = Less { ttl: Some("1d".to_owned()), ..Less::default() };
    let Pending::Key(smaller) = world.broker.review(&request, &less).await.unwrap() else { panic!() };
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&ana, &"ben".parse().unwrap(), passphrase()).await.unwrap();
    let ben = world.broker.operator(Some(&"ben".parse().unwrap()), passphrase()).await.unwrap();
    world.broker.approve(&ben, &request, &smaller.digest, &less, wait).await.unwrap();
    let (_, after) = house.page(&session, &format!("/r/{request}")).await;
    assert!(
        after.contains("You approved all of it; operator ben approved less since (1d instead of "),
        "{after}"
    );
    assert!(after.contains("so your approval counts no more. Look at what is left"), "{after}");
    assert!(after.contains("of more than this; it counts no more"), "{after}");
    let (_, asked) = house.page(&session, &format!("/r/{request}?ttl=1h")).await;
    assert!(!asked.contains("all of it</a> If"), "{asked}");
}
