//! The tools against a real broker and the sandbox provider, in every era.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod mcp_support;

use std::time::Duration;

use keywright_broker::approve::Less;
use keywright_broker::review::Pending;
use keywright_core::policy::DEFAULT_POLICIES;
use keywright_testkit::{Canaries, DNS_EDIT, World};
use mcp_support::{Client, ERAS, Serving};
use rmcp::model::{CallToolRequestParams, RequestMetaObject};
use serde_json::{Value, json};

fn ask(name: &str) -> Value {
    json!({
        "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" }, "project": "web",
        "environment": "dev", "name": name, "purpose": "update a TXT record",
        "prompt": "please verify our domain", "idempotency_key": format!("key-{name}"),
    })
}

fn with(mut ask: Value, field: &str, value: Value) -> Value {
    ask[field] = value;
    ask
}

/// A template whose keys may live so long that somebody has to approve.
async fn apply_long(world: &World) {
    let long = DNS_EDIT.replace("dns-edit", "dns-long").replace("ttl_max = \"90d\"", "ttl_max = \"180d\"");
    world.broker.apply_template(&world.ana().await, &long).await.unwrap();
}

fn long(name: &str) -> Value {
    with(with(ask(name), "template", json!("cloudflare/dns-long")), "ttl", json!("120d"))
}

async fn review(world: &World, request: &str) -> keywright_broker::review::Review {
    match world.broker.review(request, &Less::default()).await.unwrap() {
        Pending::Key(review) => *review,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_found_planned_requested_listed_and_revoked_and_no_message_holds_a_secret() {
    let serving = Serving::new().await;
    for era in ERAS {
        let setup = serving.agent(&format!("bot-{era}")).await;
        let client = Client::connect(setup, era).await;
        let name = format!("CF_{}", era.replace('-', "_"));

        let found = client.call("find_permissions", json!({ "query": "edit dns records", "limit": 3 })).await;
        assert!(found["permissions"].as_array().unwrap().iter().any(|p| p["name"] == "DNS Write"), "{found}");
        let templates = client.call("list_templates", json!({})).await;
        assert_eq!(templates["templates"][0]["id"], "cloudflare/dns-edit");
        let operations = json!({ "operations": ["POST /zones/{zone_id}/dns_records"] });
        let answer = client.call("plan_key", operations).await;
        assert_eq!(answer["templates"][0]["id"], "cloudflare/dns-edit", "{answer}");
        let plan = json!({ "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" } });
        let plan = client.call("plan_key", plan).await;
        assert_eq!(plan["decision"]["effect"], "allow");
        assert_eq!(plan["assumed"]["environment"], "dev");

        let before = serving.world.sandbox.live_tokens_named_like("kw-").len();
        let receipt = client.call("request_key", ask(&name)).await;
        assert_eq!((&receipt["status"], &receipt["name"]), (&json!("active"), &json!(name)), "{receipt}");
        assert_eq!(receipt["placements"][0]["verified"], "read-back");
        assert_eq!(serving.world.sandbox.live_tokens_named_like("kw-").len(), before + 1);
        let again = client.call("request_key", ask(&name)).await;
        assert_eq!(again["request"], receipt["request"], "the same key again is the same request");
        assert_eq!(serving.world.sandbox.live_tokens_named_like("kw-").len(), before + 1);
        let other = with(ask(&name), "purpose", json!("something else"));
        assert_eq!(client.refusal("request_key", other).await["code"], "conflict");
        let checked = client.call("check_request", json!({ "request": receipt["request"] })).await;
        assert_eq!(checked["status"], "active");
        let keys = client.call("list_keys", json!({ "project": "web", "state": "active" })).await;
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "its own only: {keys}");
        assert_eq!(keys["keys"][0]["id"], receipt["key"]);

        let revoke = json!({ "key": receipt["key"], "reason": "the job is done" });
        let revoked = client.call("revoke_key", revoke).await;
        assert_eq!(revoked["status"], "revoked", "{revoked}");
        assert_eq!(serving.world.sandbox.live_tokens_named_like("kw-").len(), before);

        let mut secrets = serving.world.sandbox.secret_values();
        assert!(secrets.len() >= 2, "the parent's and at least one that was made");
        secrets.push(World::passphrase().expose_secret().to_owned());
        Canaries::new(secrets).absent_from("what the door said", &client.said.bytes());
    }
}

#[tokio::test]
async fn no_agent_is_answered_for_another_provider_than_it_names_without_being_told() {
    let serving = Serving::new().await;
    let client = Client::connect(serving.agent("bot").await, ERAS[0]).await;
    // Only Cloudflare is connected.
    let plan = |intent: &str| json!({ "intent": intent });
    for (asked, provider, note) in [
        (plan("list the DNS records of example.com"), "cloudflare", ""),
        (plan("list the DNS records of example.com at cloudflare"), "cloudflare", ""),
        (plan("list the buckets at aws"), "aws", "no connection to it"),
        (plan("add a deploy key to acme/web on GitHub"), "github", "no connection to it"),
        (plan("list the models in our openai account"), "openai", "no connection to it"),
        (
            plan("add the TXT record that GitHub wants for example.com"),
            "cloudflare",
            "though the words name `github`",
        ),
        (
            json!({ "intent": "list the buckets at aws", "provider": "cloudflare" }),
            "cloudflare",
            "as was said, though the words name `aws`",
        ),
        (
            json!({ "operations": ["get https://api.github.com/repos/acme/web/issues"] }),
            "github",
            "no connection to it",
        ),
        (
            json!({ "operations": ["get /zones/023e105f4ecef8ad9ca31a8372d0c353/dns_records?page=2"] }),
            "cloudflare",
            "",
        ),
    ] {
        let answer = client.call("plan_key", asked.clone()).await;
        assert_eq!(answer["provider"], provider, "{asked}: {answer}");
        let said = answer["note"].as_str().unwrap_or_default();
        assert!(if note.is_empty() { said.is_empty() } else { said.contains(note) }, "{asked}: {said}");
    }
    let found = client.call("find_permissions", json!({ "query": "read objects at aws" })).await;
    assert!(found["permissions"].as_array().unwrap().iter().all(|one| one["provider"] == "aws"), "{found}");
    assert!(found["note"].as_str().unwrap().contains("no connection to it"), "{found}");
}

#[tokio::test]
async fn a_pending_request_is_polled_and_the_wait_holds_up_no_other_call() {
    let serving = Serving::new().await;
    apply_long(&serving.world).await;
    for era in ERAS {
        let client = Client::connect(serving.agent(&format!("bot-{era}")).await, era).await;
        let name = format!("CF_{}", era.replace('-', "_"));
        let result = client.try_call("request_key", &long(&name)).await.unwrap();
        assert_eq!(result.is_error, Some(false), "pending is no error");
        let receipt = result.structured_content.unwrap();
        assert_eq!(receipt["status"], "pending_approval");
        let request = receipt["request"].as_str().unwrap().to_owned();
        let advice = &result.content[1].as_text().unwrap().text;
        assert!(advice.contains(&format!("keywright review show {request}")), "{advice}");
        assert!(advice.contains(receipt["match_code"].as_str().unwrap()), "{advice}");

        let wait = json!({ "request": request, "wait_seconds": 25 });
        let mut waiting = std::pin::pin!(client.call("check_request", wait));
        tokio::select! {
            biased;
            early = &mut waiting => panic!("nothing has changed yet: {early}"),
            keys = client.call("list_keys", json!({})) => assert_eq!(keys["keys"], json!([])),
        }
        let ana = serving.world.ana().await;
        let shown = review(&serving.world, &request).await;
        assert_eq!(shown.match_code, receipt["match_code"].as_str().unwrap());
        serving
            .world
            .broker
            .approve(&ana, &request, &shown.digest, &Less::default(), Duration::from_secs(20))
            .await
            .unwrap();
        waiting.await;
        let mut settled =
            client.call("check_request", json!({ "request": request, "wait_seconds": 25 })).await;
        while settled["status"] == "in_progress" {
            settled = client.call("check_request", json!({ "request": request, "wait_seconds": 25 })).await;
        }
        assert_eq!(settled["status"], "active", "{settled}");
        assert_eq!(settled["approvals"], json!({ "needed": 1, "given": 1 }));
    }
}

#[tokio::test]
async fn a_human_who_says_no_is_an_answer_and_not_an_error() {
    let serving = Serving::new().await;
    apply_long(&serving.world).await;
    let client = Client::connect(serving.agent("bot").await, "2026-07-28").await;
    let request = client.call("request_key", long("CF")).await["request"].as_str().unwrap().to_owned();
    let ana = serving.world.ana().await;
    serving.world.broker.reject(&ana, &request, "use the other zone").await.unwrap();
    let checked = client.call("check_request", json!({ "request": request })).await;
    assert_eq!(checked["status"], "rejected");
    assert!(checked["reasons"].to_string().contains("use the other zone"), "{checked}");
}

#[tokio::test]
async fn a_denial_is_an_error_with_reasons_alternatives_and_a_receipt() {
    let serving = Serving::new().await;
    let no_long_ones = r#"
        @id("short-lives-only")
        @reason("keys live a week at most here")
        forbid (principal is Keywright::Agent, action == Keywright::Action::"mint", resource)
        when { context.ttl_seconds > 604800 };
    "#;
    let ana = serving.world.ana().await;
    serving.world.broker.apply_policy(&ana, &format!("{DEFAULT_POLICIES}\n{no_long_ones}")).await.unwrap();
    for era in ERAS {
        let client = Client::connect(serving.agent(&format!("bot-{era}")).await, era).await;
        let refusal = client.refusal("request_key", ask("CF")).await;
        assert_eq!(refusal["code"], "denied", "{refusal}");
        assert!(refusal["reasons"].to_string().contains("keys live a week at most here"), "{refusal}");
        assert!(refusal["alternatives"][0].as_str().unwrap().contains("7d"), "{refusal}");
        assert_eq!(refusal["receipt"]["status"], "denied");
        let checked =
            client.refusal("check_request", json!({ "request": refusal["receipt"]["request"] })).await;
        assert_eq!(checked["code"], "denied");
    }
    assert_eq!(serving.world.sandbox.live_tokens_named_like("kw-").len(), 0);
}

#[tokio::test]
async fn what_the_template_forbids_is_refused_before_anything_is_done() {
    let serving = Serving::new().await;
    let client = Client::connect(serving.agent("bot").await, "2025-11-25").await;
    let cases = [
        ("parameters", json!({ "zone": "example.net" }), "denied"),
        ("ttl", json!("91d"), "denied"),
        ("destinations", json!(["vault:secret/apps/x#TOKEN"]), "denied"),
        ("destinations", json!(["nonsense"]), "invalid_argument"),
        ("template", json!("cloudflare/dns-edits"), "not_found"),
        ("name", json!("NOT-A-VARIABLE"), "invalid_argument"),
    ];
    for (field, value, code) in cases {
        let refusal = client.refusal("request_key", with(ask("CF"), field, value)).await;
        assert_eq!(refusal["code"], code, "{field}: {refusal}");
    }
    assert_eq!(serving.world.sandbox.live_tokens_named_like("kw-").len(), 0);
}

#[tokio::test]
async fn another_agents_requests_and_keys_look_like_none_at_all() {
    let serving = Serving::new().await;
    let one = Client::connect(serving.agent("one").await, "2026-07-28").await;
    let two = Client::connect(serving.agent("two").await, "2025-11-25").await;
    let receipt = one.call("request_key", ask("CF")).await;
    for (tool, given) in [
        ("check_request", json!({ "request": receipt["request"] })),
        ("revoke_key", json!({ "key": receipt["key"], "reason": "r" })),
        ("rotate_key", json!({ "key": receipt["key"], "reason": "r" })),
    ] {
        assert_eq!(two.refusal(tool, given).await["code"], "not_found", "{tool}");
    }
    assert_eq!(two.call("list_keys", json!({})).await["keys"], json!([]));
    assert_eq!(serving.world.sandbox.live_tokens_named_like("kw-").len(), 1);
}

#[tokio::test]
async fn an_agent_that_was_removed_is_told_so() {
    let serving = Serving::new().await;
    let client = Client::connect(serving.agent("bot").await, "2026-07-28").await;
    client.call("list_keys", json!({})).await;
    serving.world.broker.remove_agent(&serving.world.ana().await, &"bot".parse().unwrap()).await.unwrap();
    let refusal = client.refusal("list_keys", json!({})).await;
    assert_eq!(refusal["code"], "unauthenticated");
    assert!(refusal["hint"].as_str().unwrap().contains("keywright agent add"), "{refusal}");
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_recorded_as_claimed() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let serving = Serving::new().await;
    apply_long(&serving.world).await;
    for era in ERAS {
        let client = Client::connect(serving.agent(&format!("bot-{era}")).await, era).await;
        let mut meta = RequestMetaObject::new();
        meta.set_traceparent(TRACE);
        let arguments = long("CF").as_object().unwrap().clone();
        let mut call = CallToolRequestParams::new("request_key").with_arguments(arguments);
        call.meta = Some(meta);
        let receipt = client.service.call_tool(call).await.unwrap().structured_content.unwrap();
        let shown = review(&serving.world, receipt["request"].as_str().unwrap()).await;
        let claimed = |name: &str| shown.claimed.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!(claimed("agent"), format!("bot-{era}"));
        assert_eq!(
            (claimed("client"), claimed("client_version")),
            ("test-client".to_owned(), "1.2.3".to_owned())
        );
        assert_eq!(claimed("traceparent"), TRACE, "{era}");
        assert_eq!(
            shown.prompt.map(|prompt| prompt.to_string()),
            Some("please verify our domain".to_owned())
        );
    }
}

#[tokio::test]
async fn a_proposed_template_waits_for_review_and_can_not_be_used() {
    let serving = Serving::new().await;
    let client = Client::connect(serving.agent("bot").await, "2026-07-28").await;
    let proposal = json!({
        "id": "cloudflare/dns-look", "title": "Read the DNS records of one zone", "provider": "cloudflare",
        "tier": "standard", "permissions": ["DNS Read"], "parameters": { "zone": { "kind": "cloudflare.zone" } },
        "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] }, "why": "the report needs the records",
    });
    let answer = client.call("propose_template", proposal.clone()).await;
    let request = answer["request"].as_str().unwrap();
    let Pending::Template(proposed) = serving.world.broker.review(request, &Less::default()).await.unwrap()
    else {
        panic!("it is a proposal");
    };
    assert_eq!(
        (proposed.template.as_str(), proposed.why.to_string().as_str()),
        ("cloudflare/dns-look", "the report needs the records")
    );
    let early = with(ask("CF"), "template", json!("cloudflare/dns-look"));
    assert_eq!(client.refusal("request_key", early).await["code"], "not_found");
    let unknown = with(proposal.clone(), "permissions", json!(["No Such Permission"]));
    assert_eq!(client.refusal("propose_template", unknown).await["code"], "invalid_argument");
    let escalating = with(proposal, "permissions", json!(["API Tokens Write"]));
    assert_eq!(client.refusal("propose_template", escalating).await["code"], "denied");
    // As with a key, both sides have a code, and the agent is told why it was turned down.
    assert_eq!(answer["match_code"], proposed.match_code);
    let look = async || client.call("check_request", json!({ "request": request })).await;
    assert_eq!(
        (&look().await["status"], &look().await["match_code"]),
        (&json!("pending_review"), &answer["match_code"])
    );
    let ana = serving.world.ana().await;
    serving.world.broker.reject(&ana, request, "use pages instead").await.unwrap();
    let settled = look().await;
    assert_eq!(
        (&settled["status"], &settled["reasons"]),
        (&json!("rejected"), &json!(["use pages instead"]))
    );
    assert_eq!(settled.get("match_code"), None);
}

#[tokio::test]
async fn a_paused_agent_is_told_so_by_every_tool_that_asks_and_may_still_look_and_give_up() {
    let serving = Serving::new().await;
    let client = Client::connect(serving.agent("bot").await, ERAS[1]).await;
    let receipt = client.call("request_key", ask("CF_TOKEN")).await;
    let (world, bot) = (&serving.world, "bot".parse().unwrap());
    world.broker.pause_agent(&world.ana().await, &bot, Some("it asks in circles")).await.unwrap();
    let key = json!({ "key": receipt["key"], "reason": "r" });
    let proposal = json!({
        "id": "cloudflare/look", "title": "Read DNS records", "provider": "cloudflare", "tier": "standard",
        "permissions": ["DNS Read"], "parameters": { "zone": { "kind": "cloudflare.zone" } },
        "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] }, "why": "to look",
    });
    for (tool, input) in
        [("request_key", ask("MORE")), ("rotate_key", key.clone()), ("propose_template", proposal)]
    {
        let said = client.refusal(tool, input).await;
        assert_eq!(said["code"], "denied", "{tool}: {said}");
        let message = said["message"].as_str().unwrap();
        assert!(message.contains("ana paused it") && message.contains("asks in circles"), "{tool}: {said}");
    }
    client.call("check_request", json!({ "request": receipt["request"] })).await;
    client.call("list_keys", json!({})).await;
    assert_eq!(client.call("revoke_key", key).await["status"], "revoked");
}

#[tokio::test]
async fn a_receipt_says_that_a_standing_grant_approved_it() {
    let serving = Serving::new().await;
    let client = Client::connect(serving.agent("bot").await, ERAS[1]).await;
    let world = &serving.world;
    let lab = |name: &str| with(ask(name), "environment", json!("lab"));
    assert_eq!(client.call("request_key", lab("BEFORE")).await["status"], "pending_approval");
    let new = keywright_broker::grants::NewGrant {
        agent: "bot".parse().unwrap(),
        template: "cloudflare/dns-edit".parse().unwrap(),
        project: "web".parse().unwrap(),
        environment: "lab".parse().unwrap(),
        parameters: [].into(),
        any_parameters: true,
        destinations: Vec::new(),
        directory: None,
        ttl_max: None,
        uses: None,
        lasts: "7d".parse().unwrap(),
    };
    let grant = world.broker.add_grant(&world.ana().await, new).await.unwrap().id;
    let receipt = client.call("request_key", lab("AFTER")).await;
    assert_eq!((&receipt["status"], &receipt["approvals"]["given"]), (&json!("active"), &json!(1)));
    assert_eq!(receipt["reasons"], json!([format!("approved by standing grant {grant} of ana")]));
}
