//! What a minted key does, through a contract proxy ([`crate::prism`]): the sandbox's zones, DNS records, cache purge,
//! KV and R2 answer as the provider's document says, refusals included.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::openapi;
use crate::prism::{Prism, peers};
use crate::world::*;

/// What the sandbox serves beside tokens.
const PATHS: [&str; 13] = [
    "/accounts",
    "/accounts/{account_id}",
    "/accounts/{account_id}/r2/buckets",
    "/accounts/{account_id}/r2/buckets/{bucket_name}",
    "/accounts/{account_id}/r2/buckets/{bucket_name}/objects",
    "/accounts/{account_id}/r2/buckets/{bucket_name}/objects/{object_key}",
    "/accounts/{account_id}/storage/kv/namespaces",
    "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}",
    "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/keys",
    "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}",
    "/zones",
    "/zones/{zone_id}",
    "/zones/{zone_id}/purge_cache",
];
const RECORDS: [&str; 2] = ["/zones/{zone_id}/dns_records", "/zones/{zone_id}/dns_records/{dns_record_id}"];

/// A key behind the proxy.
struct Bench {
    http: Client,
    base: String,
    key: String,
}

impl Bench {
    /// Sends a call; the status must be this one, and a refusal of the proxy is told in full.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>, expected: u16) -> Value {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.base)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        assert_eq!(status, expected, "{method} {path}: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["success"], expected == 200, "{method} {path}: {text}");
        answer["result"].clone()
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, None, 200).await
    }

    async fn delete(&self, path: &str) -> Value {
        self.call(Method::DELETE, path, None, 200).await
    }

    /// With an empty body, which the document asks for on some deletes and forbids on others.
    async fn delete_with_body(&self, path: &str) -> Value {
        self.call(Method::DELETE, path, Some(&json!({})), 200).await
    }

    /// Stores bytes and reads them back.
    async fn put_bytes(&self, path: &str, bytes: &str) {
        let url = format!("{}{path}", self.base);
        let put =
            self.http.put(&url).bearer_auth(&self.key).header("content-type", "application/octet-stream");
        let stored = put.body(bytes.to_owned()).send().await.unwrap();
        let (status, text) = (stored.status().as_u16(), stored.text().await.unwrap());
        assert_eq!(status, 200, "PUT {path}: {text}");
        let read = self.http.get(&url).bearer_auth(&self.key).send().await.unwrap();
        let (status, text) = (read.status().as_u16(), read.text().await.unwrap());
        assert_eq!((status, text.as_str()), (200, bytes), "GET {path}");
    }
}

async fn records(bench: &Bench, zone: &str) {
    let records = format!("/zones/{zone}/dns_records");
    let body = json!({"type": "A", "name": "www.example.com", "content": "192.0.2.7", "ttl": 300});
    let made = bench.call(Method::POST, &records, Some(&body), 200).await;
    let record = format!("{records}/{}", made["id"].as_str().unwrap());
    let text = json!({"type": "TXT", "name": "example.com", "content": "\"v=spf1 -all\"", "ttl": 1});
    bench.call(Method::POST, &records, Some(&text), 200).await;
    let mail =
        json!({"type": "MX", "name": "example.com", "content": "mx.example.com", "priority": 10, "ttl": 1});
    bench.call(Method::POST, &records, Some(&mail), 200).await;
    assert_eq!(bench.get(&records).await.as_array().unwrap().len(), 3);
    assert_eq!(bench.get(&format!("{records}?type=A&per_page=1&page=1")).await[0]["content"], "192.0.2.7");
    assert_eq!(bench.get(&record).await["id"], made["id"]);
    let other = json!({"type": "A", "name": "www.example.com", "content": "192.0.2.8", "ttl": 300});
    bench.call(Method::PUT, &record, Some(&other), 200).await;
    let patch = json!({"type": "A", "name": "www.example.com", "ttl": 60, "content": "192.0.2.8"});
    assert_eq!(bench.call(Method::PATCH, &record, Some(&patch), 200).await["ttl"], 60);
    bench.call(Method::POST, &records, Some(&patch), 400).await;
    bench.delete_with_body(&record).await;
    bench.call(Method::GET, &record, None, 404).await;
}

async fn values(bench: &Bench, account: &str) {
    let namespaces = format!("/accounts/{account}/storage/kv/namespaces");
    assert_eq!(bench.get(&namespaces).await.as_array().unwrap().len(), 1);
    let made = bench.call(Method::POST, &namespaces, Some(&json!({"title": "fresh"})), 200).await;
    let namespace = format!("{namespaces}/{}", made["id"].as_str().unwrap());
    assert_eq!(bench.get(&namespace).await["title"], "fresh");
    let value = format!("{namespace}/values/greeting");
    bench.put_bytes(&value, "good morning").await;
    assert_eq!(bench.get(&format!("{namespace}/keys")).await[0]["name"], "greeting");
    bench.delete_with_body(&value).await;
    bench.call(Method::GET, &value, None, 404).await;
    bench.delete_with_body(&namespace).await;
}

async fn buckets(bench: &Bench, account: &str) {
    let buckets = format!("/accounts/{account}/r2/buckets");
    bench.call(Method::POST, &buckets, Some(&json!({"name": "assets"})), 200).await;
    assert_eq!(bench.get(&buckets).await["buckets"][0]["name"], "assets");
    let bucket = format!("{buckets}/assets");
    let object = format!("{bucket}/objects/logo.txt");
    bench.put_bytes(&object, "a logo").await;
    bench.get(&format!("{bucket}/objects")).await;
    bench.delete(&object).await;
    bench.call(Method::GET, &object, None, 404).await;
    bench.delete(&bucket).await;
}

#[tokio::test]
async fn what_a_key_can_do_at_the_sandbox_fits_the_providers_own_document() {
    let Some((program, document)) = peers("cloudflare-openapi.full.json.gz") else { return };
    let world = World::with(Default::default(), &[("timeout", "30s")]).await;
    let document = openapi::cut(&openapi::read(&document), &[&PATHS[..], &RECORDS[..]].concat());
    let prism = Prism::start(&program, &document, &world.sandbox.base_url()).await;
    let permissions = [DNS_WRITE, CACHE_PURGE, ZONE_READ, KV_WRITE, R2_WRITE, ACCOUNT_READ];
    let mut wish = Wish::new(&permissions, vec![world.zone("example.com")]);
    wish.resources = world.provider.confine(&wish.permissions, wish.resources).unwrap();
    let key = world.mint_wish(&wish, "kw-data").await.unwrap().secret.expose_secret().to_owned();
    let http = Client::builder().no_proxy().build().unwrap();
    let bench = Bench { http, base: prism.url(), key };
    let (zone, account) = (world.zone("example.com").id, world.sandbox.account_id().to_owned());

    assert_eq!(bench.get("/zones?name=example.com&page=1&per_page=50").await[0]["id"], zone.as_str());
    assert_eq!(bench.get(&format!("/zones/{zone}")).await["name"], "example.com");
    assert_eq!(bench.get("/accounts").await[0]["id"], account.as_str());
    assert_eq!(bench.get(&format!("/accounts/{account}")).await["id"], account.as_str());
    records(&bench, &zone).await;
    let purge = format!("/zones/{zone}/purge_cache");
    bench.call(Method::POST, &purge, Some(&json!({"purge_everything": true})), 200).await;
    bench.call(Method::POST, &purge, Some(&json!({"files": ["https://example.com/a.css"]})), 200).await;
    values(&bench, &account).await;
    buckets(&bench, &account).await;

    // Another zone is out of reach, and the refusal fits the document too.
    let other = world.zone("example.net").id;
    bench.call(Method::GET, &format!("/zones/{other}/dns_records"), None, 403).await;
    // What the document forbids does not get through: the proxy is awake.
    let calls = world.sandbox.calls().len();
    let nameless =
        bench.http.post(format!("{}/zones/{zone}/dns_records", bench.base)).bearer_auth(&bench.key);
    let nameless = nameless.header("content-type", "application/json").body("[]").send().await.unwrap();
    assert_eq!((nameless.status().as_u16(), world.sandbox.calls().len()), (422, calls));
}
