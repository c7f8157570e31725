//! The life of a token: create, list, replace, roll, delete, quota.

use std::time::Duration;

use keywright_sandbox::{SandboxConfig, TokenOwner, TokenStatus};
use serde_json::{Value, json};

use super::support::*;

#[tokio::test]
async fn a_value_is_shown_once_and_never_listed() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_READ, "example.com").await;
    assert_eq!(token.value.len(), 40);
    let parent = bench.sandbox.parent_token();
    let list = bench.get(parent, &bench.tokens_path()).await;
    let one = bench.get(parent, &format!("{}/{}", bench.tokens_path(), token.id)).await;
    let state = format!("{:?} {:?}", bench.sandbox.tokens(), bench.sandbox.calls());
    let values = bench.sandbox.secret_values();
    assert!(values.contains(&token.value) && values.contains(&parent.to_owned()));
    for value in &values {
        for channel in [&list.text, &one.text, &state] {
            assert!(!channel.contains(value.as_str()));
        }
    }
    assert!(
        list.text.contains(&token.id) && state.contains(&token.id),
        "the search looked at the right thing"
    );
}

#[tokio::test]
async fn roll_kills_the_old_value_at_once() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_READ, "example.com").await;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    assert_eq!(bench.get(&token.value, &path).await.status, 200);
    let roll = format!("{}/{}/value", bench.tokens_path(), token.id);
    let reply = bench.call(bench.sandbox.parent_token(), "PUT", &roll, json!({})).await;
    let new = reply.result().as_str().unwrap().to_owned();
    assert_ne!(new, token.value);
    assert_eq!(new.len(), 40);
    bench.get(&token.value, &path).await.assert_refused(403, 9109);
    assert_eq!(bench.get(&new, &path).await.status, 200);
    assert!(bench.sandbox.secret_values().contains(&token.value), "dead values stay searchable");
    assert_eq!(bench.sandbox.secret_of(&token.id), Some(new));
}

#[tokio::test]
async fn a_deleted_token_is_gone_and_deleting_it_again_is_a_404() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_READ, "example.com").await;
    let one = format!("{}/{}", bench.tokens_path(), token.id);
    let parent = bench.sandbox.parent_token();
    // The real API's document asks for a body; a client without one is served too.
    let reply = bench.send(bench.request("DELETE", &one, parent)).await;
    assert_eq!(reply.result()["id"], token.id.as_str());
    bench.get(&token.value, "/zones").await.assert_refused(403, 9109);
    bench.get(parent, &one).await.assert_refused(404, 1003);
    bench.call(parent, "DELETE", &one, json!({})).await.assert_refused(404, 1003);
    bench.call(parent, "PUT", &format!("{one}/value"), json!({})).await.assert_refused(404, 1003);
}

#[tokio::test]
async fn replacing_a_token_replaces_all_of_it() {
    let bench = Bench::start().await;
    let policies = json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]);
    let token = bench
        .make_with(json!({
            "name": "before",
            "policies": policies,
            "expires_on": "2099-01-01T00:00:00Z",
            "not_before": "2020-01-01T00:00:00Z",
            "condition": {"request_ip": {"in": ["127.0.0.1/32"]}},
        }))
        .await;
    let before = bench.read_back(&token.id).await;
    assert_eq!(before["expires_on"], "2099-01-01T00:00:00Z");
    assert_eq!(before["not_before"], "2020-01-01T00:00:00Z");
    bench.sandbox.advance_clock(Duration::from_secs(5));
    let one = format!("{}/{}", bench.tokens_path(), token.id);
    let put = json!({"name": "after", "policies": policies});
    bench.call(bench.sandbox.parent_token(), "PUT", &one, put).await.result();
    let after = bench.read_back(&token.id).await;
    for dropped in ["expires_on", "not_before", "condition"] {
        assert!(after.get(dropped).is_none(), "{dropped} was left out, so it is gone");
    }
    assert_eq!((&after["name"], &after["status"]), (&json!("after"), &json!("active")));
    assert_eq!(after["issued_on"], before["issued_on"]);
    assert_ne!(after["modified_on"], before["modified_on"]);
    let wrong = json!({"name": "after", "policies": policies, "status": "expired"});
    bench.call(bench.sandbox.parent_token(), "PUT", &one, wrong).await.assert_refused(400, 1001);
}

#[tokio::test]
async fn a_read_token_written_back_whole_changes_nothing_but_the_time() {
    let bench = Bench::start().await;
    let policies = json!([policy("allow", DNS_READ, all_zones(bench.sandbox.account_id()))]);
    let token = bench
        .make_with(json!({
            "name": "n", "policies": policies, "expires_on": "2099-01-01T00:00:00Z",
            "condition": {"request_ip": {"in": ["127.0.0.1/32"]}},
        }))
        .await;
    let mut before = bench.read_back(&token.id).await;
    let one = format!("{}/{}", bench.tokens_path(), token.id);
    bench.call(bench.sandbox.parent_token(), "PUT", &one, before.clone()).await.result();
    let mut after = bench.read_back(&token.id).await;
    for token in [&mut before, &mut after] {
        token["modified_on"] = Value::Null;
        token["policies"][0]["id"] = Value::Null;
    }
    assert_eq!(before, after);
}

#[tokio::test]
async fn wrong_asks_are_refused_and_create_nothing() {
    let bench = Bench::start().await;
    let zone = bench.zone("example.com");
    let account = bench.sandbox.account_id().to_owned();
    let good = || policy("allow", DNS_READ, zone_resource(&zone));
    let resource = |key: String| json!({key: "*"});
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "x", "policies": [good()]});
        body[field] = value;
        body
    };
    let one = |policy: Value| json!({"name": "x", "policies": [policy]});
    let unknown = "0".repeat(32);
    let wrong = [
        ("no name", json!({"policies": [good()]})),
        ("empty name", with("name", json!(" "))),
        ("long name", with("name", json!("ü".repeat(121)))),
        ("no policies", json!({"name": "x"})),
        ("empty policies", with("policies", json!([]))),
        ("unknown group", one(policy("allow", &unknown, zone_resource(&zone)))),
        (
            "group by name only",
            one(
                json!({"effect": "allow", "permission_groups": [{"name": "DNS Read"}], "resources": zone_resource(&zone)}),
            ),
        ),
        (
            "no group",
            one(json!({"effect": "allow", "permission_groups": [], "resources": zone_resource(&zone)})),
        ),
        ("no resource", one(policy("allow", DNS_READ, json!({})))),
        ("wrong effect", one(policy("maybe", DNS_READ, zone_resource(&zone)))),
        ("account resource for a zone group", one(policy("allow", DNS_READ, account_resource(&account)))),
        ("zone resource for an account group", one(policy("allow", KV_READ, zone_resource(&zone)))),
        ("unknown zone", one(policy("allow", DNS_READ, zone_resource(&unknown)))),
        ("unknown account", one(policy("allow", KV_READ, account_resource(&unknown)))),
        ("all zones of another account", one(policy("allow", DNS_READ, all_zones(&unknown)))),
        ("nonsense resource", one(policy("allow", DNS_READ, resource("zone:1".to_owned())))),
        (
            "value other than a star",
            one(policy(
                "allow",
                DNS_READ,
                json!({format!("com.cloudflare.api.account.zone.{zone}"): "read"}),
            )),
        ),
        (
            "user group on an account token",
            one(policy(
                "allow",
                USER_TOKENS_WRITE,
                resource(format!("com.cloudflare.api.user.{}", bench.sandbox.user_id())),
            )),
        ),
        ("past expiry", with("expires_on", json!("2020-01-01T00:00:00Z"))),
        ("expiry that is no time", with("expires_on", json!("next week"))),
        (
            "ends before it starts",
            json!({"name": "x", "policies": [good()], "not_before": "2099-01-02T00:00:00Z", "expires_on": "2099-01-01T00:00:00Z"}),
        ),
        ("no address range", with("condition", json!({"request_ip": {"in": ["10.0.0.0/64"]}}))),
        ("not an object", json!([1, 2, 3])),
    ];
    let before = bench.sandbox.tokens().len();
    for (name, body) in wrong {
        let reply = bench.ask(body).await;
        assert_eq!((reply.status, reply.code()), (400, 1001), "{name}: {}", reply.text);
        reply.assert_refused(400, 1001);
    }
    assert_eq!(bench.sandbox.tokens().len(), before);
    assert_eq!(bench.ask(with("name", json!("ü".repeat(120)))).await.status, 200);
    assert_eq!(bench.ask(with("name", json!("ü".repeat(120)))).await.status, 200, "names need not be unique");
}

#[tokio::test]
async fn the_quota_counts_the_parent_and_frees_up_on_delete() {
    let config = SandboxConfig { account_token_quota: 3, user_token_quota: 1, ..SandboxConfig::default() };
    let bench = Bench::with(config).await;
    let first = bench.zone_token(DNS_READ, "example.com").await;
    bench.zone_token(DNS_READ, "example.com").await;
    let body = json!({"name": "x", "policies": [policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]});
    bench.ask(body.clone()).await.assert_refused(400, 1011);
    let one = format!("{}/{}", bench.tokens_path(), first.id);
    bench.call(bench.sandbox.parent_token(), "DELETE", &one, json!({})).await.result();
    assert_eq!(bench.ask(body.clone()).await.status, 200);
    let user = bench.call(bench.sandbox.user_parent_token(), "POST", "/user/tokens", body).await;
    user.assert_refused(400, 1011);
}

#[tokio::test]
async fn the_default_quota_is_five_hundred() {
    let bench = Bench::start().await;
    let body = json!({"name": "x", "policies": [policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]});
    for _ in 1..500 {
        assert_eq!(bench.ask(body.clone()).await.status, 200);
    }
    bench.ask(body).await.assert_refused(400, 1011);
    assert_eq!(bench.sandbox.live_tokens_named_like("x").len(), 499);
}

#[tokio::test]
async fn pages_cover_every_token_once_in_both_directions() {
    let bench = Bench::start().await;
    for number in 0..12 {
        let policies = json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]);
        bench.make_with(json!({"name": format!("t{number:02}"), "policies": policies})).await;
    }
    let parent = bench.sandbox.parent_token();
    let page = async |query: &str| bench.get(parent, &format!("{}?{query}", bench.tokens_path())).await;
    let mut names = Vec::new();
    for number in 1..=4 {
        let reply = page(&format!("page={number}&per_page=5")).await;
        let shown: Vec<String> = reply
            .result()
            .as_array()
            .unwrap()
            .iter()
            .map(|token| token["name"].as_str().unwrap().to_owned())
            .collect();
        let info = &reply.body["result_info"];
        assert_eq!((&info["page"], &info["per_page"]), (&json!(number), &json!(5)));
        assert_eq!((&info["total_count"], &info["count"]), (&json!(13), &json!(shown.len())));
        names.extend(shown);
    }
    let mut expected = vec!["parent".to_owned()];
    expected.extend((0..12).map(|number| format!("t{number:02}")));
    assert_eq!(names, expected);
    let last_first = page("direction=desc&per_page=50").await;
    assert_eq!(last_first.result()[0]["name"], "t11");
    for wrong in ["per_page=4", "per_page=51", "page=0", "page=x", "page=-1", "direction=up"] {
        page(wrong).await.assert_refused(400, 1001);
    }
    assert_eq!(page("page=18446744073709551615&per_page=50").await.result(), &json!([]));
}

#[tokio::test]
async fn last_used_moves_with_use_and_can_lag() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_READ, "example.com").await;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    let shown = async || bench.read_back(&token.id).await.get("last_used_on").cloned();
    assert_eq!(shown().await, None);
    bench.get(&token.value, &path).await.result();
    let first = shown().await.unwrap();
    bench.sandbox.advance_clock(Duration::from_secs(60));
    assert_eq!(shown().await.unwrap(), first, "looking at a token is not using it");
    bench.get(&token.value, &path).await.result();
    let second = shown().await.unwrap();
    assert_ne!(first, second);
    bench.sandbox.lag_last_used(Duration::from_secs(30));
    assert_eq!(shown().await.unwrap(), first, "the second use is too young to show");
    bench.sandbox.advance_clock(Duration::from_secs(31));
    assert_eq!(shown().await.unwrap(), second);
    let view = bench.sandbox.tokens().into_iter().find(|view| view.id == token.id).unwrap();
    assert_eq!(view.uses, 2);
    // A call that is refused for want of permission was authenticated, so it counts; one with a dead value does not.
    bench.get(&token.value, &bench.tokens_path()).await.assert_refused(403, 10_000);
    let view = bench.sandbox.tokens().into_iter().find(|view| view.id == token.id).unwrap();
    assert_eq!(view.uses, 3);
}

#[tokio::test]
async fn user_tokens_live_beside_account_tokens() {
    let bench = Bench::start().await;
    let parent = bench.sandbox.user_parent_token();
    let groups = bench.get(parent, "/user/tokens/permission_groups").await;
    assert_eq!(groups.result().as_array().unwrap().len(), 308);
    let policies = json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]);
    let body = json!({"name": "mine", "policies": policies});
    let token = Made::of(&bench.call(parent, "POST", "/user/tokens", body.clone()).await);
    assert_eq!(bench.get(&token.value, "/user/tokens/verify").await.result()["id"], token.id.as_str());
    let account_verify = format!("{}/verify", bench.tokens_path());
    bench.get(&token.value, &account_verify).await.assert_refused(401, 1000);
    bench.get(bench.sandbox.parent_token(), "/user/tokens/verify").await.assert_refused(401, 1000);
    bench.get(bench.sandbox.parent_token(), "/user/tokens").await.assert_refused(403, 10_000);
    bench.get(parent, &bench.tokens_path()).await.assert_refused(403, 10_000);
    let user = json!({format!("com.cloudflare.api.user.{}", bench.sandbox.user_id()): "*"});
    let escalated = json!({"name": "maker", "policies": [policy("allow", USER_TOKENS_WRITE, user)]});
    let maker = Made::of(&bench.call(parent, "POST", "/user/tokens", escalated).await);
    assert_eq!(bench.call(&maker.value, "POST", "/user/tokens", body).await.status, 200);
    // Each owner's path knows its own tokens only, whatever the id.
    let others = bench.zone_token(DNS_READ, "example.com").await;
    let foreign = format!("/user/tokens/{}", others.id);
    bench.get(parent, &foreign).await.assert_refused(404, 1003);
    bench.call(parent, "DELETE", &foreign, json!({})).await.assert_refused(404, 1003);
    bench.call(parent, "PUT", &format!("{foreign}/value"), json!({})).await.assert_refused(404, 1003);
    assert_eq!(bench.sandbox.secret_of(&others.id).as_ref(), Some(&others.value));
    let views = bench.sandbox.live_tokens_named_like("mine");
    assert_eq!(views.len(), 2);
    assert_eq!((&views[0].owner, views[0].status), (&TokenOwner::User, TokenStatus::Active));
    assert_eq!(bench.get(parent, "/user").await.result()["id"], bench.sandbox.user_id());
}

#[tokio::test]
async fn permission_groups_filter_by_name_and_scope() {
    let bench = Bench::start().await;
    let path = format!("{}/permission_groups", bench.tokens_path());
    let count = async |query: &str| {
        let reply = bench.get(bench.sandbox.parent_token(), &format!("{path}{query}")).await;
        reply.result().as_array().unwrap().len()
    };
    assert_eq!(count("").await, 305, "without the user's");
    assert_eq!(count("?scope=com.cloudflare.api.account.zone").await, 86);
    assert_eq!(count("?scope=com.cloudflare.edge.r2.bucket").await, 2);
    assert_eq!(count("?name=DNS%20Write").await, 1);
    assert_eq!(count("?name=Access%3A%20Apps%20and%20Policies%20Read").await, 2, "one name, two scopes");
    assert_eq!(count("?name=nothing").await, 0);
}
