//! Plain words find the right permission and the right operation.
#![allow(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use keywright_catalog::Catalog;

#[test]
fn plain_words_find_the_permission() {
    let catalog = Catalog::cloudflare().unwrap();
    let table = [
        ("DNS Write", "DNS Write"),
        ("edit dns records", "DNS Write"),
        ("list dns records", "DNS Read"),
        ("add a TXT record", "DNS Write"),
        ("purge the cache", "Cache Purge"),
        ("flush the CDN", "Cache Purge"),
        ("read kv values", "Workers KV Storage Read"),
        ("write to a kv namespace", "Workers KV Storage Write"),
        ("upload objects to an R2 bucket", "Workers R2 Storage Bucket Item Write"),
        ("view zone settings", "Zone Settings Read"),
        ("change zone settings", "Zone Settings Write"),
        ("order an SSL certificate", "SSL and Certificates Read"),
        ("captcha widget", "Turnstile Sites Read"),
        ("query a sql database", "D1 Read"),
        ("traffic metrics of a zone", "Analytics Read"),
        ("update page rules", "Page Rules Write"),
        ("upload videos", "Stream Write"),
        ("cloudflared", "Cloudflare One Connector: cloudflared Read"),
        ("query embeddings", "Vectorize Read"),
    ];
    let top = |query: &str| catalog.search(query, 3).first().map(|found| found.item.name);
    let wrong: Vec<_> =
        table.iter().filter(|(query, name)| top(query) != Some(*name)).map(|(q, n)| (q, n, top(q))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn plain_words_find_the_operation() {
    let catalog = Catalog::cloudflare().unwrap();
    let table = [
        ("create dns record", "POST /zones/{zone_id}/dns_records"),
        ("list dns records", "GET /zones/{zone_id}/dns_records"),
        ("purge cache", "POST /zones/{zone_id}/purge_cache"),
        ("delete workers route", "DELETE /zones/{zone_id}/workers/routes/{route_id}"),
        ("list kv namespaces", "GET /accounts/{account_id}/storage/kv/namespaces"),
        ("create d1 database", "POST /accounts/{account_id}/d1/database"),
    ];
    let found = |query: &str| -> Vec<String> {
        catalog.operations(query, 3).iter().map(|found| found.item.to_string()).collect()
    };
    let wrong: Vec<_> = table
        .iter()
        .filter(|(query, name)| !found(query).iter().any(|one| one == name))
        .map(|(q, n)| (q, n, found(q)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_search_is_bounded_ordered_and_the_same_every_time() {
    let catalog = Catalog::cloudflare().unwrap();
    let all = catalog.search("read", usize::MAX);
    assert!(all.len() > 100 && all.len() <= catalog.permissions().len());
    assert!(all.is_sorted_by(|a, b| a.score >= b.score));
    assert_eq!(catalog.search("read", 7), all.get(..7).unwrap());
    assert_eq!(catalog.search("read", 0), []);
    assert_eq!(catalog.search("quetzalcoatl", 5), []);
    assert_eq!(catalog.search(&"dns ".repeat(100_000), 1).len(), 1);
}

#[test]
fn among_equals_the_read_comes_first() {
    let catalog = Catalog::cloudflare().unwrap();
    let names: Vec<_> = catalog.search("turnstile", 2).iter().map(|found| found.item.name).collect();
    assert_eq!(names, ["Turnstile Sites Read", "Turnstile Sites Write"]);
}
