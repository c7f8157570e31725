//! Faults that make a grant differ from what was asked.

use keywright_sandbox::{Fault, FaultKind, Widening};
use serde_json::{Value, json};

use super::support::*;

/// Creates a token under a fault; gives what was asked, what was answered and what is read back.
async fn create_under(bench: &Bench, kind: FaultKind, policies: Value) -> (Made, Value, Value) {
    let path = "/accounts/*/tokens";
    let fault = bench.sandbox.inject(Fault::on("POST", path, kind)).unwrap();
    let body = json!({
        "name": "asked",
        "policies": policies,
        "expires_on": "2099-01-01T00:00:00Z",
        "condition": {"request_ip": {"in": ["127.0.0.1/32"]}},
    });
    let reply = bench.ask(body).await;
    assert_eq!(bench.sandbox.fault_hits(fault), 1);
    let made = Made::of(&reply);
    let stored = bench.read_back(&made.id).await;
    (made, reply.result().clone(), stored)
}

fn one_zone(bench: &Bench) -> Value {
    json!([policy("allow", DNS_READ, zone_resource(&bench.zone("example.net")))])
}

#[tokio::test]
async fn a_grant_with_another_zone_shows_only_on_reading_back() {
    let bench = Bench::start().await;
    let kind = FaultKind::WiderGrant { grant: Widening::OtherZone };
    let (made, answered, stored) = create_under(&bench, kind.clone(), one_zone(&bench)).await;
    assert_eq!(answered["policies"][0]["resources"], zone_resource(&bench.zone("example.net")));
    assert_eq!(stored["policies"][0]["resources"].as_object().unwrap().len(), 2);
    let path = format!("/zones/{}/dns_records", bench.zone("example.com"));
    assert_eq!(bench.get(&made.value, &path).await.status, 200, "the wider grant works");

    let account = json!([policy("allow", KV_READ, account_resource(bench.sandbox.account_id()))]);
    let (_, answered, stored) = create_under(&bench, kind, account).await;
    assert_eq!(answered["policies"].as_array().unwrap().len(), 1);
    assert_eq!(stored["policies"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_grant_with_another_group_shows_only_on_reading_back() {
    let bench = Bench::start().await;
    let kind = FaultKind::WiderGrant { grant: Widening::ExtraGroup };
    let (_, answered, stored) = create_under(&bench, kind, one_zone(&bench)).await;
    assert_eq!(answered["policies"][0]["permission_groups"].as_array().unwrap().len(), 1);
    assert_eq!(stored["policies"][0]["permission_groups"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_grant_without_its_expiry_or_condition_shows_only_on_reading_back() {
    let bench = Bench::start().await;
    let cases = [
        (FaultKind::WiderGrant { grant: Widening::NoExpiry }, "expires_on"),
        (FaultKind::WiderGrant { grant: Widening::DropCondition }, "condition"),
        (FaultKind::DropCondition, "condition"),
    ];
    for (kind, field) in cases {
        let (_, answered, stored) = create_under(&bench, kind.clone(), one_zone(&bench)).await;
        assert!(answered.get(field).is_some(), "{kind:?}");
        assert!(stored.get(field).is_none(), "{kind:?}");
    }
    let (_, answered, stored) =
        create_under(&bench, FaultKind::Slow { delay_ms: 0, trickle_ms: 0 }, one_zone(&bench)).await;
    let mut answered = answered;
    answered.as_object_mut().unwrap().remove("value");
    assert_eq!(answered, stored, "without a fault, what is answered is what is stored");
}

#[tokio::test]
async fn a_replacement_can_be_widened_too() {
    let bench = Bench::start().await;
    let token = bench.make(one_zone(&bench)).await;
    let kind = FaultKind::WiderGrant { grant: Widening::OtherZone };
    bench.sandbox.inject(Fault::on("PUT", "/accounts/*/tokens/*", kind)).unwrap();
    let one = format!("{}/{}", bench.tokens_path(), token.id);
    let put = json!({"name": "x", "policies": one_zone(&bench), "status": "disabled"});
    bench.call(bench.sandbox.parent_token(), "PUT", &one, put).await.result();
    let stored = bench.read_back(&token.id).await;
    assert_eq!(stored["policies"][0]["resources"].as_object().unwrap().len(), 2);
    assert_eq!(stored["status"], "disabled");
}

#[tokio::test]
async fn a_new_token_can_be_refused_until_it_has_spread() {
    let bench = Bench::start().await;
    bench
        .sandbox
        .inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::LaggingVerify { uses: 3 }))
        .unwrap();
    let token = bench.make(one_zone(&bench)).await;
    let verify = format!("{}/verify", bench.tokens_path());
    let records = format!("/zones/{}/dns_records", bench.zone("example.net"));
    bench.get(&token.value, &verify).await.assert_refused(401, 1000);
    bench.get(&token.value, &records).await.assert_refused(403, 9109);
    bench.get(&token.value, &verify).await.assert_refused(401, 1000);
    assert_eq!(bench.get(&token.value, &verify).await.status, 200);
    assert_eq!(bench.get(&token.value, &records).await.status, 200);
}
