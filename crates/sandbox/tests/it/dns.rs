//! DNS records behave like records.

use serde_json::{Value, json};

use super::support::*;

#[tokio::test]
async fn a_record_lives_through_create_replace_patch_and_delete() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_WRITE, "example.com").await.value;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    let made = bench.call(&token, "POST", &path, record("www")).await.result().clone();
    assert_eq!(
        (&made["name"], &made["ttl"], &made["proxied"]),
        (&json!("www.example.com"), &json!(300), &json!(false))
    );
    let one = format!("{path}/{}", made["id"].as_str().unwrap());

    let put =
        json!({"type": "CNAME", "name": "www.example.com", "content": "origin.example.net", "proxied": true});
    let replaced = bench.call(&token, "PUT", &one, put).await.result().clone();
    assert_eq!(
        (&replaced["type"], &replaced["ttl"]),
        (&json!("CNAME"), &json!(1)),
        "what is left out is reset"
    );
    let patched = bench.call(&token, "PATCH", &one, json!({"comment": "hello"})).await.result().clone();
    assert_eq!(
        (&patched["type"], &patched["comment"]),
        (&json!("CNAME"), &json!("hello")),
        "what is left out stays"
    );
    assert_eq!(patched["proxied"], true);

    assert_eq!(bench.call(&token, "DELETE", &one, json!({})).await.result()["id"], made["id"]);
    bench.get(&token, &one).await.assert_refused(404, 81_044);
    bench.call(&token, "DELETE", &one, json!({})).await.assert_refused(404, 81_044);
    bench.call(&token, "PATCH", &one, json!({})).await.assert_refused(404, 81_044);
}

#[tokio::test]
async fn wrong_records_are_refused() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_WRITE, "example.com").await.value;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    bench.call(&token, "POST", &path, record("www")).await.result();
    let of = |kind: &str, name: &str, content: &str| json!({"type": kind, "name": name, "content": content});
    let cases = [
        (record("www"), 81_058),
        (of("CNAME", "www", "example.net"), 81_053),
        (of("A", "a", "example.net"), 9005),
        (of("AAAA", "a", "192.0.2.1"), 9005),
        (of("TXT", "a", ""), 9005),
        (of("SRV", "a", "ignored"), 9005),
        (of("NOPE", "a", "x"), 9000),
        (of("MX", "a", "mail.example.net"), 9000),
        (json!({"name": "a", "content": "x"}), 9000),
        (json!({"type": "A", "content": "192.0.2.1"}), 9000),
        (of("A", "bad name", "192.0.2.1"), 9000),
        (json!({"type": "A", "name": "a", "content": "192.0.2.1", "ttl": 5}), 9021),
        (json!({"type": "TXT", "name": "a", "content": "x", "proxied": true}), 9004),
    ];
    for (body, code) in cases {
        let reply = bench.call(&token, "POST", &path, body.clone()).await;
        assert_eq!((reply.status, reply.code()), (400, code), "{body} {}", reply.text);
    }
    let raw = bench.request("POST", &path, &token).body("{not json");
    bench.send(raw).await.assert_refused(400, 6007);
    for body in [
        json!({"type": "MX", "name": "@", "content": "mail.example.net", "priority": 10}),
        json!({"type": "SRV", "name": "_sip._tcp", "data": {"port": 1, "priority": 2, "target": "a.example", "weight": 3}}),
        json!({"type": "A", "name": "*.wild", "content": "192.0.2.1", "ttl": 1}),
        json!({"type": "A", "name": "www", "content": "192.0.2.8"}),
    ] {
        bench.call(&token, "POST", &path, body).await.result();
    }
    assert_eq!(bench.get(&token, &path).await.result().as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn lists_filter_order_and_page() {
    let bench = Bench::start().await;
    let token = bench.zone_token(DNS_WRITE, "example.com").await.value;
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    for (name, content) in [("b", "192.0.2.2"), ("a", "192.0.2.1"), ("c", "192.0.2.3")] {
        let body = json!({"type": "A", "name": name, "content": content});
        bench.call(&token, "POST", &path, body).await.result();
    }
    bench
        .call(&token, "POST", &path, json!({"type": "TXT", "name": "a", "content": "hi", "comment": "note"}))
        .await;
    let names = async |query: &str| -> Vec<String> {
        let reply = bench.get(&token, &format!("{path}?{query}")).await;
        let result: Vec<Value> = reply.result().as_array().unwrap().clone();
        result.iter().map(|record| record["name"].as_str().unwrap().replace(".example.com", "")).collect()
    };
    assert_eq!(names("type=A&order=name").await, ["a", "b", "c"]);
    assert_eq!(names("type=A&order=name&direction=desc").await, ["c", "b", "a"]);
    assert_eq!(names("name=a.example.com&type=TXT").await, ["a"]);
    assert_eq!(names("name.startswith=b&content.contains=2.3&match=any").await, ["b", "c"]);
    assert_eq!(names("comment.present").await, ["a"]);
    assert_eq!(names("per_page=2&page=2").await, ["c", "a"]);
    bench.get(&token, &format!("{path}?tag=x")).await.assert_refused(400, 1001);
    bench.get(&token, &format!("{path}?per_page=0")).await.assert_refused(400, 1001);
}
