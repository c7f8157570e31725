//! Ways into the pages and back: what somebody sees who went astray, came without a session, or has no passkey.

use axum::http::Method;
use keywright_testkit::ask;
use reqwest::header;
use serde_json::{Value, json};

use super::{Body, House};

#[tokio::test]
async fn whoever_went_astray_finds_back_and_a_stranger_learns_nothing() {
    let house = House::new().await;
    let session = house.comes_in().await;
    for (path, status) in [
        ("/nowhere", 404),
        ("/keys/nothing-of-this-name", 404),
        ("/keys?after=a&after=b", 400),
        ("/agents/nobody", 404),
        ("/agents/%FF", 400),
        ("/audit/ent_77777", 404),
        ("/templates/cloudflare/none", 404),
        ("/r/req_x", 400),
    ] {
        let answer = house.sends(&Method::GET, path, Body::None, &[("cookie", &session)]).await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"), "{path}");
        let text = answer.text().await.unwrap();
        assert!(
            text.contains("<nav aria-label=\"pages\">") && text.contains("class=\"more\""),
            "{path}: {text}"
        );
        assert!(!text.contains("that did not work"), "{path}");
        let stranger = house.sends(&Method::GET, path, Body::None, &[]).await;
        assert!(!stranger.text().await.unwrap().contains("<nav"), "{path}");
    }
}

#[tokio::test]
async fn the_door_leads_back_to_the_whole_address_and_nowhere_else() {
    let house = House::new().await;
    let answer = house.sends(&Method::GET, "/audit?q=CF_TOKEN&who=ana", Body::None, &[]).await;
    let to = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    assert_eq!(to, "/door?to=%2Faudit%3Fq%3DCF_TOKEN%26who%3Dana");
    let page = house.sends(&Method::GET, &to, Body::None, &[]).await.text().await.unwrap();
    assert!(page.contains("value=\"/audit?q=CF_TOKEN&#38;who=ana\""), "{page}");
    for elsewhere in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example%3Fx", "%2F%5Cevil.example"] {
        let page = house.sends(&Method::GET, &format!("/door?to={elsewhere}"), Body::None, &[]).await;
        assert!(page.text().await.unwrap().contains("name=\"to\" value=\"/\""), "{elsewhere}");
    }
    // A page whose session is over is told where the door is.
    let over = house.sends(&Method::POST, "/touch/offer", Body::None, &[]).await;
    assert_eq!((over.status().as_u16(), &over.headers()["keywright-door"]), (401, &"/door".parse().unwrap()));
}

#[tokio::test]
async fn no_deed_is_offered_to_a_session_without_a_passkey_or_to_anybody_else() {
    let house = House::new().await;
    let key = house.world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().key.unwrap().to_string();
    let (request, digest) = house.waiting("PROD", "x").await;
    house.world.broker.add_agent(&house.world.ana().await, &"bot".parse().unwrap()).await.unwrap();
    let session = house.comes_in().await;
    let before = house.entries().await;
    let on_key = |act: &str| json!({ "act": act, "key": key, "reason": "x" });
    let mut acts: Vec<Value> =
        ["revoke", "disable", "enable", "rotate", "rotate_leaked", "end_old"].map(on_key).into();
    acts.extend([
        json!({ "act": "approve", "request": request, "digest": digest }),
        json!({ "act": "approve_together", "requests": [[request, digest]] }),
        json!({ "act": "reject", "request": request, "reason": "x" }),
        json!({ "act": "reject_and_pause", "request": request, "reason": "x" }),
        json!({ "act": "apply", "request": request, "source": digest, "version": 1 }),
        json!({ "act": "pause", "agent": "bot", "reason": "x" }),
        json!({ "act": "resume", "agent": "bot" }),
        json!({ "act": "revoke_all", "agent": "bot", "reason": "x" }),
        json!({ "act": "invite", "label": "x" }),
        json!({ "act": "forget", "passkey": "pky_01a21dbbbd2872b89405dbb2efeabe3f" }),
    ]);
    for act in acts {
        for (who, cookie, expected) in
            [("a session", session.as_str(), [409, 400]), ("nobody", "x=y", [401, 401])]
        {
            let body = Body::Json(act.clone());
            let answer = house.sends(&Method::POST, "/touch/offer", body, &[("cookie", cookie)]).await;
            let status = answer.status().as_u16();
            assert!(expected.contains(&status), "{who}, {act}: {status} {}", answer.text().await.unwrap());
        }
    }
    assert_eq!(house.entries().await, before, "nothing of all that is on record");
}

#[tokio::test]
async fn without_a_passkey_nothing_looks_as_if_it_could_be_pressed() {
    let house = House::new().await;
    house.world.broker.add_agent(&house.world.ana().await, &"bot".parse().unwrap()).await.unwrap();
    house.world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let (request, _) = house.waiting("PROD", "x").await;
    let session = house.comes_in().await;
    for (path, command) in [
        ("/keys/CF_TOKEN".to_owned(), "keywright key revoke"),
        ("/agents/bot".to_owned(), "keywright agent pause bot"),
        ("/passkeys".to_owned(), "keywright passkey add"),
        (format!("/r/{request}"), "keywright review reject"),
    ] {
        let answer = house.sends(&Method::GET, &path, Body::None, &[("cookie", &session)]).await;
        let text = answer.text().await.unwrap();
        assert!(text.contains("You have no passkey") && text.contains(command), "{path}: {text}");
        assert!(!text.contains("class=\"deed\"") && !text.contains("name=\"reason\""), "{path}: {text}");
    }
}

#[tokio::test]
async fn only_what_says_that_a_page_is_outdated_is_taken_for_it() {
    let house = House::new().await;
    let (request, digest) = house.waiting("PROD", "x").await;
    let session = house.comes_in().await;
    let offers = async |digest: &str| {
        let act = json!({ "act": "approve", "request": request, "digest": digest });
        let cookie = [("cookie", session.as_str())];
        let answer = house.sends(&Method::POST, "/touch/offer", Body::Json(act), &cookie).await;
        let is_marked = answer.headers().contains_key("keywright-outdated");
        (answer.status().as_u16(), is_marked, answer.text().await.unwrap())
    };
    let (status, is_marked, said) = offers(&digest).await;
    assert!(status == 409 && !is_marked && said.contains("you have no passkey"), "{status} {said}");
    let (status, is_marked, said) = offers(&"0".repeat(64)).await;
    assert!(
        status == 409 && is_marked && said.contains("not the one that you were shown"),
        "{status} {said}"
    );
    house.world.broker.reject(&house.world.ana().await, &request, "x").await.unwrap();
    let (status, is_marked, said) = offers(&digest).await;
    assert!(status == 409 && is_marked && said.contains("does not wait"), "{status} {said}");
    // Nothing of it stands in what is said.
    assert!(!said.contains("outdated"), "{said}");
}
