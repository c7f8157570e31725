//! The audit log on its pages: searched, downloaded, one entry.

use std::time::Duration;

use axum::http::Method;
use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::review::Pending;
use keywright_testkit::ask;
use reqwest::header;
use serde_json::Value;

use super::{Body, House};

/// A house with a key of an agent, one that two people approved, and one that was turned down.
async fn with_a_past() -> (House, String) {
    let house = House::new().await;
    let world = &house.world;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let wish = Ask { environment: "elsewhere".to_owned(), ..ask("example.com", "PROD") };
    let request = world.request(&wish).await.unwrap().request.to_string();
    let Pending::Key(review) = world.broker.review(&request, &Less::default()).await.unwrap() else {
        panic!()
    };
    let ana = world.ana().await;
    let (less, wait) = (Less::default(), Duration::from_secs(20));
    world.broker.approve(&ana, &request, &review.digest, &less, wait).await.unwrap();
    let (other, _) = house.waiting("OTHER", "no").await;
    world.broker.reject(&ana, &other, "not on a friday").await.unwrap();
    let session = house.comes_in().await;
    (house, session)
}

impl House {
    pub(super) async fn page(&self, session: &str, path: &str) -> (u16, String) {
        let answer = self.sends(&Method::GET, path, Body::None, &[("cookie", session)]).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn the_log_is_searched_by_key_who_deed_outcome_and_day() {
    let (house, session) = with_a_past().await;
    let page = async |query: &str| {
        let (status, text) = house.page(&session, &format!("/audit?{query}")).await;
        assert_eq!(status, 200, "{query}: {text}");
        assert!(text.contains("name=\"q\""), "{query}: the field is there whatever was found");
        text
    };
    // The entries before the key was reserved name the request only, and belong to its life all the same.
    let of_key = page("q=CF_TOKEN").await;
    for told in ["asked for; policy lets it", "is made, and sealed", "is in force", "dev/CF_TOKEN"] {
        assert!(of_key.contains(told), "{told}: {of_key}");
    }
    assert!(of_key.contains("it is written to ") && !of_key.contains("\">key.place</a>"), "{of_key}");
    assert!(!of_key.contains("PROD") && !of_key.contains("key.mint:"), "{of_key}");
    let minted = page("deed=key.mint").await;
    assert!(minted.contains("is in force") && !minted.contains("asked for"), "{minted}");
    let hers = page("who=ana").await;
    assert!(hers.contains("turned down") && hers.contains("not on a friday"), "why stands there: {hers}");
    assert!(!hers.contains("is in force"), "{hers}");
    let by_name = page("q=ana").await;
    assert!(by_name.contains("what somebody of that name did") && by_name.contains("turned down"));
    assert!(page("who=ana&deed=key.mint").await.contains("Nothing of that is on record"));
    assert!(page("went=badly").await.contains("Nothing of that is on record"));
    assert!(page("from=2999-01-01").await.contains("Nothing of that is on record"));
    let day = house.world.broker.now().strftime("%Y-%m-%d").to_string();
    assert!(page(&format!("from={day}&to={day}&deed=request.reject")).await.contains("turned down"));
    // What can't be read is said, and finds nothing.
    for (query, why) in [
        ("deed=key.teleport", "is not a deed that the log knows"),
        ("from=yesterday", "is no day as in 2026-12-24"),
        ("before=x", "names no place in the log"),
    ] {
        assert!(page(query).await.contains(why), "{query}");
    }
    let entry = house.sends(&Method::GET, "/audit?q=ent_3", Body::None, &[("cookie", &session)]).await;
    assert_eq!(
        (entry.status().as_u16(), &entry.headers()[header::LOCATION]),
        (303, &"/audit/ent_3".parse().unwrap())
    );
}

#[tokio::test]
async fn a_download_holds_all_that_was_searched_for_and_nothing_else() {
    let (house, session) = with_a_past().await;
    let deeds = async |query: &str| {
        let (status, text) = house.page(&session, &format!("/audit/download?{query}")).await;
        assert_eq!(status, 200);
        let deed =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["deed"].as_str().unwrap().to_owned();
        text.lines().map(deed).collect::<Vec<String>>()
    };
    let all = deeds("").await;
    assert_eq!(all.len() as u64, house.entries().await);
    let minted = deeds("deed=key.mint").await;
    assert!(minted.len() > 3 && minted.iter().all(|deed| deed == "key.mint"), "{minted:?}");
    assert_eq!(deeds("q=OTHER&who=ana").await, Vec::<String>::new(), "no key of that name was ever made");
    assert_eq!(deeds("who=ana&deed=request.reject").await, ["request.reject"]);
    assert!(deeds("q=CF_TOKEN").await.contains(&"request.decide".to_owned()));
    let (status, _) = house.page(&session, "/audit/download?deed=nonsense").await;
    assert_eq!(status, 400, "a file of everything is no answer to that");
}

#[tokio::test]
async fn an_entry_has_a_page_with_what_was_signed_and_whether_it_holds() {
    let (house, session) = with_a_past().await;
    let (_, log) = house.page(&session, "/audit?deed=approval.give").await;
    let id = log.split("/audit/ent_").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (status, text) = house.page(&session, &format!("/audit/ent_{id}")).await;
    assert_eq!(status, 200);
    for told in [
        "approved, with their signing key",
        "it checks out",
        "yes, with the public key that stands in the entry",
        "keywright/approval/1",
        "operator ana",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    // The key's own page says who approved it, and leads here.
    let (_, key) = house.page(&session, "/keys/PROD").await;
    let approved = key.split("approved by").nth(1).unwrap_or_else(|| panic!("{key}"));
    assert!(approved.split("</dd>").next().unwrap().contains(&format!("/audit/ent_{id}")), "{key}");
    assert!(key.contains(" UTC</time> with their signing key"), "in the reader's own time: {key}");
    // What somebody wrote into the row is not what this home wrote.
    let ledger = rusqlite::Connection::open(house.world.home.join("ledger.db")).unwrap();
    ledger.execute("UPDATE audit_entries SET at = at + 1 WHERE number = ?1", [&id]).unwrap();
    let (_, edited) = house.page(&session, &format!("/audit/ent_{id}")).await;
    assert!(edited.contains("is not as Keywright wrote it"), "{edited}");
    for nothing in ["/audit/ent_99999", "/audit/ent_x", "/audit/ent_01"] {
        let (status, text) = house.page(&session, nothing).await;
        assert!(matches!(status, 400 | 404) && text.contains("to the audit log"), "{nothing}: {status}");
    }
}

#[tokio::test]
async fn older_leads_through_everything_that_was_searched_for_once() {
    let (house, session) = with_a_past().await;
    for number in 0..18 {
        house.waiting(&format!("KEY_{number}"), "x").await;
    }
    let (mut path, mut seen) = ("/audit?deed=request.decide&who=bot".to_owned(), Vec::new());
    let total = loop {
        let (_, text) = house.page(&session, &path).await;
        let rows = text.split("<tbody>").nth(1).unwrap_or_default().split("</tbody>").next().unwrap();
        seen.extend(rows.split("/audit/ent_").skip(1).map(|part| part.split('"').next().unwrap().to_owned()));
        let older = text.split("<a href=\"/audit?").find(|part| part.contains(">older<"));
        match older {
            Some(part) => {
                path = format!(
                    "/audit?{}",
                    part.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&")
                );
                assert!(path.contains("deed=request.decide") && path.contains("who=bot"), "{path}");
            }
            None => break seen.len(),
        }
    };
    seen.sort();
    seen.dedup();
    // Each row leads there twice.
    assert_eq!(total, seen.len() * 2);
    let asked = 21;
    assert!(seen.len() >= asked, "{} of {asked}", seen.len());
}
