//! Workers KV and R2.

use std::time::Duration;

use serde_json::json;

use super::support::*;

#[tokio::test]
async fn kv_values_are_written_read_listed_and_erased() {
    let bench = Bench::start().await;
    let token = bench.account_token(KV_WRITE).await.value;
    let path = format!("/accounts/{}/storage/kv/namespaces", bench.sandbox.account_id());
    let first = bench.get(&token, &path).await.result()[0].clone();
    assert_eq!(first["title"], "sandbox-settings");
    let made = bench.call(&token, "POST", &path, json!({"title": "mine"})).await.result().clone();
    bench.call(&token, "POST", &path, json!({"title": "mine"})).await.assert_refused(400, 10_014);
    let namespace = format!("{path}/{}", made["id"].as_str().unwrap());

    let value = format!("{namespace}/values/a%2Fb%20c");
    bench.send(bench.request("PUT", &value, &token).body(vec![0_u8, 159, 146, 150])).await.result();
    let response = bench.request("GET", &value, &token).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.bytes().await.unwrap().as_ref(), [0_u8, 159, 146, 150]);
    for number in 0..12 {
        let value = format!("{namespace}/values/k{number:02}?expiration_ttl=60");
        bench.send(bench.request("PUT", &value, &token).body("v")).await.result();
    }
    let keys = bench.get(&token, &format!("{namespace}/keys?limit=10&prefix=k")).await;
    assert_eq!(keys.result().as_array().unwrap().len(), 10);
    let cursor = keys.body["result_info"]["cursor"].as_str().unwrap().to_owned();
    let rest = bench.get(&token, &format!("{namespace}/keys?limit=10&prefix=k&cursor={cursor}")).await;
    assert_eq!(rest.result().as_array().unwrap().len(), 2);
    assert_eq!(rest.body["result_info"]["cursor"], "");

    bench.sandbox.advance_clock(Duration::from_secs(61));
    let keys = bench.get(&token, &format!("{namespace}/keys")).await;
    assert_eq!(keys.result(), &json!([{"name": "a/b c"}]), "the others have expired");
    bench.get(&token, &format!("{namespace}/values/k00")).await.assert_refused(404, 10_009);
    bench.call(&token, "DELETE", &value, json!({})).await.result();
    bench.get(&token, &value).await.assert_refused(404, 10_009);
    bench.call(&token, "DELETE", &namespace, json!({})).await.result();
    bench.get(&token, &value).await.assert_refused(404, 10_013);
}

#[tokio::test]
async fn a_kv_reader_reads_and_a_dns_writer_does_not() {
    let bench = Bench::start().await;
    let reader = bench.account_token(KV_READ).await.value;
    let writer = bench.account_token(KV_WRITE).await.value;
    let dns = bench.zone_token(DNS_WRITE, "example.com").await.value;
    let path = format!("/accounts/{}/storage/kv/namespaces", bench.sandbox.account_id());
    let id = bench.get(&reader, &path).await.result()[0]["id"].as_str().unwrap().to_owned();
    let value = format!("{path}/{id}/values/k");
    bench.send(bench.request("PUT", &value, &writer).body("v")).await.result();
    assert_eq!(bench.get(&reader, &value).await.text, "v");
    bench.send(bench.request("PUT", &value, &reader).body("w")).await.assert_refused(403, 10_000);
    bench.call(&reader, "DELETE", &value, json!({})).await.assert_refused(403, 10_000);
    bench.call(&reader, "POST", &path, json!({"title": "x"})).await.assert_refused(403, 10_000);
    bench.call(&reader, "DELETE", &format!("{path}/{id}"), json!({})).await.assert_refused(403, 10_000);
    bench.get(&dns, &value).await.assert_refused(403, 10_000);
    assert_eq!(bench.get(&writer, &value).await.text, "v");
}

#[tokio::test]
async fn r2_buckets_need_the_account_and_objects_are_open_to_their_own_bucket() {
    let bench = Bench::start().await;
    let account = bench.sandbox.account_id().to_owned();
    let writer = bench.account_token(R2_WRITE).await.value;
    let buckets = format!("/accounts/{account}/r2/buckets");
    for name in ["photos", "backups"] {
        let made = bench.call(&writer, "POST", &buckets, json!({"name": name})).await;
        assert_eq!(made.result()["name"], name);
        let object = format!("{buckets}/{name}/objects/a/b.txt");
        bench.send(bench.request("PUT", &object, &writer).body("hello")).await.result();
    }
    bench.call(&writer, "POST", &buckets, json!({"name": "photos"})).await.assert_refused(409, 10_004);
    bench.call(&writer, "POST", &buckets, json!({"name": "No"})).await.assert_refused(400, 10_005);

    let bucket = json!({format!("com.cloudflare.edge.r2.bucket.{account}_default_photos"): "*"});
    let item = bench.make(json!([policy("allow", R2_ITEM_READ, bucket)])).await.value;
    assert_eq!(bench.get(&item, &format!("{buckets}/photos/objects/a/b.txt")).await.text, "hello");
    let listed = bench.get(&item, &format!("{buckets}/photos/objects")).await;
    assert_eq!(listed.result()[0]["key"], "a/b.txt");
    bench.get(&item, &format!("{buckets}/backups/objects/a/b.txt")).await.assert_refused(403, 10_000);
    bench.get(&item, &buckets).await.assert_refused(403, 10_000);
    let object = format!("{buckets}/photos/objects/a/b.txt");
    bench.send(bench.request("PUT", &object, &item).body("no")).await.assert_refused(403, 10_000);

    bench.call(&writer, "DELETE", &format!("{buckets}/photos"), json!({})).await.assert_refused(409, 10_008);
    bench.call(&writer, "DELETE", &object, json!({})).await.result();
    bench.call(&writer, "DELETE", &format!("{buckets}/photos"), json!({})).await.result();
    let names = bench.get(&writer, &buckets).await;
    assert_eq!(names.result()["buckets"].as_array().unwrap().len(), 1);
}
