//! The right token may, every other one may not.

use std::time::Duration;

use keywright_sandbox::{AccountSpec, SandboxConfig};
use serde_json::json;

use super::support::*;

#[tokio::test]
async fn a_write_token_writes_its_zone_and_no_other() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_WRITE, "example.com").await;
    let mine = format!("/zones/{}/dns_records", bench.zone("example.com"));
    let other = format!("/zones/{}/dns_records", bench.zone("example.net"));
    assert_eq!(bench.call(&token.value, "POST", &mine, record("www")).await.status, 200);
    assert_eq!(bench.get(&token.value, &mine).await.result().as_array().unwrap().len(), 1);
    bench.get(&token.value, &other).await.assert_refused(403, 10_000);
    bench.call(&token.value, "POST", &other, record("www")).await.assert_refused(403, 10_000);
    let zones = bench.sandbox.zones();
    assert_eq!(
        zones.iter().map(|zone| zone.records).sum::<usize>(),
        1,
        "the refused write left nothing behind"
    );
}

#[tokio::test]
async fn a_read_token_cannot_write() {
    let bench = Bench::start().await;
    let writer = bench.zone_token(DNS_WRITE, "example.com").await;
    let reader = bench.zone_token(DNS_READ, "example.com").await;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    let made = bench.call(&writer.value, "POST", &path, record("www")).await;
    let one = format!("{path}/{}", made.result()["id"].as_str().unwrap());
    assert_eq!(bench.get(&reader.value, &path).await.status, 200);
    assert_eq!(bench.get(&reader.value, &one).await.status, 200);
    bench.call(&reader.value, "POST", &path, record("api")).await.assert_refused(403, 10_000);
    bench.call(&reader.value, "PUT", &one, record("api")).await.assert_refused(403, 10_000);
    bench.call(&reader.value, "PATCH", &one, json!({"ttl": 60})).await.assert_refused(403, 10_000);
    bench.call(&reader.value, "DELETE", &one, json!({})).await.assert_refused(403, 10_000);
    let purge = format!("/zones/{}/purge_cache", bench.zone("example.com"));
    bench
        .call(&reader.value, "POST", &purge, json!({"purge_everything": true}))
        .await
        .assert_refused(403, 10_000);
    assert_eq!(bench.get(&reader.value, &one).await.result()["name"], "www.example.com");
}

#[tokio::test]
async fn purge_needs_cache_purge_and_gives_nothing_else() {
    let bench = Bench::start().await;
    let token = bench.zone_token(CACHE_PURGE, "example.com").await;
    let zone = bench.zone("example.com");
    let path = format!("/zones/{zone}/purge_cache");
    let reply = bench.call(&token.value, "POST", &path, json!({"purge_everything": true})).await;
    assert_eq!(reply.result()["id"], zone.as_str());
    bench.call(&token.value, "POST", &path, json!({"files": ["https://example.com/a"]})).await.result();
    assert_eq!(bench.call(&token.value, "POST", &path, json!({})).await.status, 400);
    bench.get(&token.value, &format!("/zones/{zone}/dns_records")).await.assert_refused(403, 10_000);
    let purges: Vec<u64> = bench.sandbox.zones().iter().map(|zone| zone.purges).collect();
    assert_eq!(purges, [2, 0, 0, 0]);
}

#[tokio::test]
async fn deny_beats_allow() {
    let bench = Bench::start().await;
    let denied = bench.zone("example.net");
    let token = bench
        .make(json!([
            policy("allow", DNS_WRITE, all_zones(bench.sandbox.account_id())),
            policy("deny", DNS_WRITE, zone_resource(&denied)),
        ]))
        .await;
    let open = format!("/zones/{}/dns_records", bench.zone("example.com"));
    assert_eq!(bench.call(&token.value, "POST", &open, record("www")).await.status, 200);
    let shut = format!("/zones/{denied}/dns_records");
    bench.get(&token.value, &shut).await.assert_refused(403, 10_000);
    bench.call(&token.value, "POST", &shut, record("www")).await.assert_refused(403, 10_000);
}

#[tokio::test]
async fn a_group_counts_only_on_resources_of_its_own_scope() {
    let bench = Bench::start().await;
    let zone = bench.zone("example.com");
    let account = bench.sandbox.account_id();
    let mixed = json!({
        "effect": "allow",
        "permission_groups": [{"id": DNS_READ}, {"id": KV_READ}],
        "resources": {
            format!("com.cloudflare.api.account.zone.{zone}"): "*",
            format!("com.cloudflare.api.account.{account}"): "*",
        },
    });
    let token = bench.make(json!([mixed])).await;
    assert_eq!(bench.get(&token.value, &format!("/zones/{zone}/dns_records")).await.status, 200);
    let namespaces = format!("/accounts/{account}/storage/kv/namespaces");
    assert_eq!(bench.get(&token.value, &namespaces).await.status, 200);
    let other = format!("/zones/{}/dns_records", bench.zone("example.net"));
    bench.get(&token.value, &other).await.assert_refused(403, 10_000);
}

#[tokio::test]
async fn the_ip_condition_is_enforced_on_every_call() {
    let bench = Bench::start().await;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    let policies = json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]);
    let cases = [
        (json!({"in": ["127.0.0.1/32"]}), true),
        (json!({"in": ["203.0.113.0/24"]}), false),
        (json!({"in": ["127.0.0.0/8"], "not_in": ["127.0.0.1/32"]}), false),
        (json!({"not_in": ["203.0.113.0/24", "2001:db8::/32"]}), true),
        (json!({"in": ["203.0.113.0/24", "127.0.0.1"]}), true),
    ];
    for (request_ip, admitted) in cases {
        let body = json!({"name": "ip", "policies": policies, "condition": {"request_ip": request_ip}});
        let token = bench.make_with(body).await;
        assert_eq!(bench.read_back(&token.id).await["condition"]["request_ip"], request_ip);
        let verify = bench.get(&token.value, &format!("{}/verify", bench.tokens_path())).await;
        let reply = bench.get(&token.value, &path).await;
        if admitted {
            assert_eq!((reply.status, verify.status), (200, 200), "{request_ip}");
        } else {
            reply.assert_refused(403, 9109);
            verify.assert_refused(403, 9109);
        }
    }
}

#[tokio::test]
async fn an_unknown_condition_key_is_ignored_and_missing_when_read_back() {
    let bench = Bench::start().await;
    let policies = json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]);
    let condition = json!({"request.ip": {"in": ["203.0.113.0/24"]}});
    let token = bench.make_with(json!({"name": "drift", "policies": policies, "condition": condition})).await;
    assert!(bench.read_back(&token.id).await.get("condition").is_none());
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    assert_eq!(bench.get(&token.value, &path).await.status, 200, "there is no address limit");
}

#[tokio::test]
async fn expired_disabled_and_premature_tokens_are_refused() {
    let bench = Bench::start().await;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    let verify = format!("{}/verify", bench.tokens_path());
    let policies = json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]);
    let in_an_hour = jiff_after(&bench, 3600);

    let expiring = json!({"name": "expiring", "policies": policies, "expires_on": in_an_hour});
    let expiring = bench.make_with(expiring).await;
    let later =
        bench.make_with(json!({"name": "later", "policies": policies, "not_before": in_an_hour})).await;
    let disabled = bench.make_with(json!({"name": "off", "policies": policies})).await;
    let off = json!({"name": "off", "policies": policies, "status": "disabled"});
    let one = format!("{}/{}", bench.tokens_path(), disabled.id);
    bench.call(bench.sandbox.parent_token(), "PUT", &one, off).await.result();

    assert_eq!(bench.get(&expiring.value, &path).await.status, 200);
    bench.get(&later.value, &path).await.assert_refused(403, 9109);
    bench.get(&later.value, &verify).await.assert_refused(401, 1000);
    bench.get(&disabled.value, &path).await.assert_refused(403, 9109);
    assert_eq!(bench.get(&disabled.value, &verify).await.result()["status"], "disabled");

    bench.sandbox.advance_clock(Duration::from_secs(3601));
    bench.get(&expiring.value, &path).await.assert_refused(403, 9109);
    assert_eq!(bench.get(&expiring.value, &verify).await.result()["status"], "expired");
    assert_eq!(bench.get(&later.value, &path).await.status, 200);

    let on = json!({"name": "off", "policies": policies, "status": "active"});
    bench.call(bench.sandbox.parent_token(), "PUT", &one, on).await.result();
    assert_eq!(bench.get(&disabled.value, &path).await.status, 200);
}

#[tokio::test]
async fn missing_malformed_and_unknown_tokens_get_the_real_envelopes() {
    let bench = Bench::start().await;
    let account = bench.tokens_path();
    let url = |path: &str| format!("{}{path}", bench.sandbox.base_url());
    bench.send(bench.http.get(url("/zones"))).await.assert_refused(401, 9106);
    let basic = bench.http.get(url("/zones")).header("authorization", "Basic abc");
    bench.send(basic).await.assert_refused(400, 6003);
    bench.get("no-such-token", "/zones").await.assert_refused(403, 9109);
    bench.get("no-such-token", &format!("{account}/verify")).await.assert_refused(401, 1000);
    bench.get(bench.sandbox.parent_token(), "/nowhere").await.assert_refused(404, 7003);
    bench.get(bench.sandbox.parent_token(), "/zones/short").await.assert_refused(404, 7003);
    bench.get(bench.sandbox.parent_token(), "x/zones").await.assert_refused(404, 7003);
}

#[tokio::test]
async fn only_token_writers_make_tokens_and_readers_list_them() {
    let bench = Bench::start().await;
    let path = bench.tokens_path();
    let reader = bench.account_token(TOKENS_READ).await;
    let writer = bench.account_token(TOKENS_WRITE).await;
    let dns = bench.zone_token(DNS_WRITE, "example.com").await;
    let body = json!({"name": "x", "policies": [policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]});
    for (token, list, create) in [(&reader, 200, 403), (&writer, 200, 200), (&dns, 403, 403)] {
        assert_eq!(bench.get(&token.value, &path).await.status, list);
        assert_eq!(bench.get(&token.value, &format!("{path}/permission_groups")).await.status, list);
        assert_eq!(bench.call(&token.value, "POST", &path, body.clone()).await.status, create);
    }
    let victim = format!("{path}/{}", dns.id);
    for (method, path) in [("PUT", &victim), ("DELETE", &victim), ("PUT", &format!("{victim}/value"))] {
        bench.call(&reader.value, method, path, body.clone()).await.assert_refused(403, 10_000);
    }
    let one = format!("{path}/{}", reader.id);
    bench.call(&writer.value, "DELETE", &one, json!({})).await.result();
    bench.get(&reader.value, &path).await.assert_refused(403, 9109);
}

#[tokio::test]
async fn zones_are_listed_only_as_far_as_the_token_reaches() {
    let bench = Bench::start().await;
    let names = async |token: &str, query: &str| -> Vec<String> {
        let reply = bench.get(token, &format!("/zones{query}")).await;
        let zones = reply.result().as_array().unwrap().clone();
        zones.iter().map(|zone| zone["name"].as_str().unwrap().to_owned()).collect()
    };
    let one = bench.zone_token(DNS_READ, "example.net").await;
    let none = bench.account_token(KV_READ).await;
    assert_eq!(names(&one.value, "").await, ["example.net"]);
    assert_eq!(names(&none.value, "").await, [""; 0]);
    let parent = bench.sandbox.parent_token();
    let all = ["example.com", "shop.example.com", "example.net", "dev.example.com"];
    assert_eq!(names(parent, "").await, all);
    assert_eq!(names(parent, "?name=shop.example.com").await, ["shop.example.com"]);
    assert_eq!(names(parent, "?name=nobody.example").await, [""; 0]);
    let account = bench.sandbox.account_id();
    assert_eq!(names(parent, &format!("?account.id={account}&name=example.com")).await, ["example.com"]);
    assert_eq!(names(parent, "?account.id=0123").await, [""; 0]);
    assert_eq!(names(parent, "?order=name&direction=desc").await[0], "shop.example.com");
    let other = format!("/zones/{}", bench.zone("example.com"));
    bench.get(&one.value, &other).await.assert_refused(403, 10_000);
    assert_eq!(bench.get(parent, &other).await.result()["name"], "example.com");
}

#[tokio::test]
async fn an_account_token_never_reaches_another_account() {
    let second = AccountSpec::new("Other Ltd", &["other.example"]);
    let mut config = SandboxConfig::default();
    config.accounts.push(second);
    let bench = Bench::with(config).await;
    let foreign = bench.sandbox.zones().into_iter().find(|zone| zone.name == "other.example").unwrap();
    let resource = zone_resource(&foreign.id);
    let reply = bench.ask(json!({"name": "x", "policies": [policy("allow", DNS_READ, resource)]})).await;
    reply.assert_refused(400, 1001);
    let star = json!({"com.cloudflare.api.account.zone.*": "*"});
    let token = bench.make(json!([policy("allow", DNS_READ, star)])).await;
    let near = format!("/zones/{}/dns_records", bench.zone("example.com"));
    assert_eq!(bench.get(&token.value, &near).await.status, 200);
    let far = format!("/zones/{}/dns_records", foreign.id);
    bench.get(&token.value, &far).await.assert_refused(403, 10_000);
    let tokens = format!("/accounts/{}/tokens", foreign.account_id);
    bench.get(bench.sandbox.parent_token(), &tokens).await.assert_refused(403, 10_000);
    let verify = format!("{tokens}/verify");
    bench.get(&token.value, &verify).await.assert_refused(401, 1000);
    let accounts = bench.get(bench.sandbox.parent_token(), "/accounts").await;
    assert_eq!(accounts.result().as_array().unwrap().len(), 1);
}

fn jiff_after(bench: &Bench, seconds: u64) -> String {
    let time = bench.sandbox.now() + Duration::from_secs(seconds);
    time.to_string()
}
