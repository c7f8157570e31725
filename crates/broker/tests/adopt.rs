//! Keys that were made elsewhere: seen, put under management, switched off and on, replaced, revoked.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::admin::NewConnection;
use keywright_broker::adopt::{Adopted, Adoption};
use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::inventory::Unmanaged;
use keywright_broker::record::Caller;
use keywright_broker::switch_off::Switch;
use keywright_broker::trace::Trace;
use keywright_broker::{BrokerError, Code};
use keywright_core::audit::{Deed, Stage};
use keywright_core::inventory::Risk;
use keywright_core::key::{KeyState, PlacementState, VersionState};
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_sandbox::{Fault, FaultKind, TokenStatus};
use keywright_testkit::{DNS_EDIT, World, ask};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(20);
const DNS_WRITE: &str = "4755a26eedb94da69e1066d98aa820be";
const DNS_READ: &str = "82e64a83756745bbbb1c9c2701bf816b";
const MAKES_TOKENS: &str = "5bc3f8b21c554832afc660159ab75fa4";

async fn world() -> World {
    let world = World::new().await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\n";
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world
}

/// Makes a token as somebody with access to the account would.
async fn by_hand(world: &World, name: &str, groups: &[&str], resources: Value, end: Option<&str>) -> String {
    let sandbox = &world.sandbox;
    let groups: Vec<Value> = groups.iter().map(|id| json!({ "id": id })).collect();
    let mut body = json!({
        "name": name,
        "policies": [{ "effect": "allow", "resources": resources, "permission_groups": groups }],
    });
    if let Some(end) = end {
        body["expires_on"] = json!(end);
    }
    let url = format!("{}/accounts/{}/tokens", sandbox.base_url(), sandbox.account_id());
    let client = reqwest::Client::new().post(url).bearer_auth(sandbox.parent_token());
    let text = client.json(&body).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["result"]["id"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn zone(world: &World, name: &str) -> Value {
    let zone = world.sandbox.zones().into_iter().find(|zone| zone.name == name).unwrap();
    json!({ format!("com.cloudflare.api.account.zone.{}", zone.id): "*" })
}

/// The usual one: made in the dashboard, for one zone, for ever.
async fn usual(world: &World) -> String {
    by_hand(world, "prod dns (old laptop)", &[DNS_WRITE, DNS_READ], zone(world, "example.com"), None).await
}

fn bare(id: &str) -> Adoption {
    Adoption {
        connection: "cf".to_owned(),
        provider_key_id: id.to_owned(),
        ask: Ask {
            project: "web".to_owned(),
            environment: "dev".to_owned(),
            name: "CF_TOKEN".to_owned(),
            purpose: "it was there".to_owned(),
            ..Ask::default()
        },
    }
}

fn by_template(id: &str) -> Adoption {
    Adoption { ask: Ask { purpose: "it was there".to_owned(), ..ask("example.com", "CF_TOKEN") }, ..bare(id) }
}

async fn adopt(world: &World, adoption: &Adoption) -> Result<Adopted, BrokerError> {
    world.broker.adopt(&world.ana().await, adoption).await
}

async fn refused(world: &World, adoption: &Adoption) -> BrokerError {
    adopt(world, adoption).await.unwrap_err()
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

async fn unmanaged(world: &World) -> Vec<Unmanaged> {
    let inventory = world.broker.inventory(None).await.unwrap();
    assert!(inventory.unread.is_empty(), "{:?}", inventory.unread);
    inventory.keys
}

fn ana() -> Caller {
    Caller::plain(Principal::Operator("ana".parse().unwrap()))
}

fn status(world: &World, id: &str) -> Option<TokenStatus> {
    world.sandbox.tokens().into_iter().find(|token| token.id == id).map(|token| token.status)
}

async fn pass(world: &World, seconds: i64) {
    let by = SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

#[tokio::test]
async fn the_inventory_shows_what_nobody_manages_the_worst_first_and_nothing_else() {
    let world = world().await;
    world.request(&ask("example.com", "OURS")).await.unwrap();
    let good =
        by_hand(&world, "good", &[DNS_READ], zone(&world, "example.com"), Some("2099-01-01T00:00:00Z")).await;
    let account = json!({ format!("com.cloudflare.api.account.{}", world.sandbox.account_id()): "*" });
    let every = json!({ format!("com.cloudflare.api.account.{}", world.sandbox.account_id()):
        { "com.cloudflare.api.account.zone.*": "*" } });
    let maker = by_hand(&world, "ci", &[MAKES_TOKENS], account, Some("2099-01-01T00:00:00Z")).await;
    let endless = usual(&world).await;
    let wide = by_hand(&world, "wide\u{1b}[2J", &[DNS_READ], every, Some("2099-01-01T00:00:00Z")).await;
    let found = unmanaged(&world).await;
    let of = |id: &str| found.iter().find(|one| one.listed.provider_key_id == id).unwrap();
    let order: Vec<&str> = found
        .iter()
        .filter(|one| !one.is_parent)
        .map(|one| one.listed.provider_key_id.as_str())
        .filter(|id| [&good, &maker, &endless, &wide].iter().any(|known| known == id))
        .collect();
    assert_eq!(order, [&maker, &wide, &endless, &good]);
    assert_eq!(of(&maker).risks, [Risk::Escalation]);
    assert_eq!(of(&wide).risks, [Risk::EveryResource]);
    assert_eq!(of(&endless).risks, [Risk::NoExpiry]);
    assert_eq!(of(&good).risks, []);
    let names: Vec<&str> = of(&endless).permissions.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"DNS Write") && names.contains(&"DNS Read"), "{names:?}");
    assert!(!of(&wide).listed.label.to_string().contains('\u{1b}'));
    assert_eq!(found.iter().filter(|one| one.is_parent).count(), 1, "the connection's own is named as such");
    assert!(found.iter().all(|one| !one.listed.label.raw().starts_with("kw-")), "what is ours is managed");
    // Months later, and nobody used any of them.
    pass(&world, 91 * 86_400).await;
    let found = unmanaged(&world).await;
    let of = |id: &str| found.iter().find(|one| one.listed.provider_key_id == id).unwrap();
    assert_eq!(of(&good).risks, [Risk::Unused]);
    assert_eq!(of(&endless).risks, [Risk::NoExpiry, Risk::Unused]);
    // One that came under management is no part of it any more.
    adopt(&world, &bare(&endless)).await.unwrap();
    assert!(unmanaged(&world).await.iter().all(|one| one.listed.provider_key_id != endless));
}

#[tokio::test]
async fn without_a_template_a_key_is_known_switched_off_and_on_and_revoked_and_never_rotated() {
    let world = world().await;
    let id = usual(&world).await;
    let adopted = adopt(&world, &bare(&id)).await.unwrap();
    assert_eq!(adopted.key.state, KeyState::Active);
    let known = trace(&world).await;
    assert_eq!(known.plan.permissions.len(), 2);
    assert_eq!(known.plan.adopts.as_deref(), Some(id.as_str()));
    assert_eq!(known.request.status, Status::Active);
    let entry = known.entries.iter().find(|e| e.record().deed == Deed::KeyAdopt).unwrap().record();
    assert_eq!((entry.stage, &entry.who.name), (Stage::Outcome, &"ana".to_owned()));
    assert_eq!(entry.facts["provider_key_id"], json!(id));
    assert_eq!(world.broker.reconcile().await.unwrap().missing, Vec::<String>::new());
    let error = world.broker.rotate(&ana(), "CF_TOKEN", "it is time", WAIT).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    assert!(error.hint.as_deref().unwrap().contains(&format!("key adopt cf {id} --template")), "{error:?}");
    // Off, twice; then on.
    let proven = world.ana().await;
    for _ in 0..2 {
        world.broker.switch_key(&proven, "CF_TOKEN", Switch::Off, "somebody saw it").await.unwrap();
        assert_eq!(status(&world, &id), Some(TokenStatus::Disabled));
        assert!(trace(&world).await.disabled_at.is_some());
    }
    world.broker.switch_key(&proven, "CF_TOKEN", Switch::On, "false alarm").await.unwrap();
    assert_eq!(status(&world, &id), Some(TokenStatus::Active));
    assert_eq!(trace(&world).await.disabled_at, None);
    let receipt = world.broker.revoke(&ana(), "CF_TOKEN", "it is over").await.unwrap();
    assert_eq!(receipt.status, Status::Revoked, "{receipt:?}");
    assert!(status(&world, &id).is_none_or(|status| status != TokenStatus::Active));
    assert_eq!(trace(&world).await.key.state, KeyState::Revoked);
}

#[tokio::test]
async fn the_next_rotation_replaces_an_adopted_key_in_the_place_where_its_value_lay() {
    let world = world().await;
    let id = usual(&world).await;
    let secret = world.sandbox.secret_of(&id).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, format!("# ours\nDEBUG=1\nCF_TOKEN={secret}\n")).unwrap();
    let mut adoption = by_template(&id);
    adoption.ask.destinations = vec!["dotenv:./.env#CF_TOKEN".to_owned()];
    adoption.ask.cwd = Some(folder.path().display().to_string());
    let adopted = adopt(&world, &adoption).await.unwrap();
    assert_eq!(
        adopted.differences,
        ["it may do `DNS Read`, which its successor may not"],
        "the template gives only what the job needs"
    );
    let known = trace(&world).await;
    assert_eq!(known.placements.len(), 1);
    assert_eq!(known.placements[0].state, PlacementState::Adopted);
    assert_eq!(known.rotates_at, None, "an operator begins the first rotation");
    assert!(std::fs::read_to_string(&file).unwrap().contains(&secret), "nothing is written yet");
    let receipt = world.broker.rotate(&ana(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("DEBUG=1") && !text.contains(&secret), "{text}");
    assert_eq!(status(&world, &id), Some(TokenStatus::Active), "it drains first");
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    let done = trace(&world).await;
    assert!(done.saga.is_none(), "{:?}", done.saga);
    let states: Vec<_> = done.versions.iter().map(|v| v.state).collect();
    assert_eq!(states, [VersionState::Revoked, VersionState::Active]);
    assert!(status(&world, &id).is_none_or(|status| status != TokenStatus::Active));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "the successor's value stays");
    assert!(!done.plan.is_adoption());
    assert!(done.rotates_at.is_some(), "from now on by the template's schedule");
    // And again, as any other key.
    let receipt = world.broker.rotate(&ana(), "CF_TOKEN", "again", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

#[tokio::test]
async fn a_value_of_somebody_else_stays_when_an_adopted_key_is_revoked() {
    let world = world().await;
    let id = usual(&world).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "CF_TOKEN=by-hand\n").unwrap();
    let mut adoption = by_template(&id);
    adoption.ask.destinations = vec!["dotenv:./.env#CF_TOKEN".to_owned()];
    adoption.ask.cwd = Some(folder.path().display().to_string());
    adopt(&world, &adoption).await.unwrap();
    world.broker.revoke(&ana(), "CF_TOKEN", "it is over").await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "CF_TOKEN=by-hand\n");
    assert_eq!(trace(&world).await.placements[0].state, PlacementState::Left);
    // The place and the name are free again.
    let other = by_hand(&world, "other", &[DNS_WRITE], zone(&world, "example.com"), None).await;
    adopt(&world, &Adoption { provider_key_id: other, ..adoption }).await.unwrap();
}

#[tokio::test]
async fn a_template_can_be_named_later_and_only_once() {
    let world = world().await;
    let id = usual(&world).await;
    let first = adopt(&world, &bare(&id)).await.unwrap();
    let mut later = by_template(&id);
    (later.ask.project, later.ask.environment, later.ask.name) = Default::default();
    let second = adopt(&world, &later).await.unwrap();
    assert_eq!(second.key.id, first.key.id);
    assert_eq!(trace(&world).await.plan.template.as_str(), "cloudflare/dns-edit");
    let error = refused(&world, &later).await;
    assert_eq!(error.code, Code::Conflict);
    assert!(error.message.contains("under management already, as `web/dev/CF_TOKEN`"), "{error:?}");
    let receipt = world.broker.rotate(&ana(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

#[tokio::test]
async fn what_must_not_be_adopted_is_refused_with_words() {
    let world = world().await;
    let id = usual(&world).await;
    world.request(&ask("example.com", "OURS")).await.unwrap();
    let ours = world.sandbox.live_tokens_named_like("kw-").pop().unwrap();
    let parent =
        unmanaged(&world).await.into_iter().find(|one| one.is_parent).unwrap().listed.provider_key_id;
    let last = if ours.name.ends_with('a') { 'b' } else { 'a' };
    let forged = format!("{}{last}", &ours.name[..ours.name.len() - 1]);
    let forged = by_hand(&world, &forged, &[DNS_READ], zone(&world, "example.com"), None).await;
    let with = |change: fn(&mut Adoption)| {
        let mut adoption = bare(&id);
        change(&mut adoption);
        adoption
    };
    let cases: [(Adoption, Code, &str); 9] = [
        (bare("0123456789abcdef0123456789abcdef"), Code::NotFound, "sees no key with the id"),
        (bare(&parent), Code::Conflict, "is the credential of a connection of this home itself"),
        (bare(&ours.id), Code::Conflict, "is a key that this home made"),
        (bare(&forged), Code::Conflict, "named as Keywright names its keys, and not by this home"),
        (with(|a| a.connection = "nowhere".to_owned()), Code::NotFound, "nowhere"),
        (with(|a| a.ask.name = "PATH".to_owned()), Code::InvalidArgument, "would change how programs run"),
        (with(|a| a.ask.name = String::new()), Code::InvalidArgument, "it needs a name from now on"),
        (
            with(|a| a.ask.destinations = vec!["embedded:web/dev/X".to_owned()]),
            Code::InvalidArgument,
            "--template",
        ),
        (with(|a| a.ask.template = "cloudflare/none".to_owned()), Code::NotFound, "no template"),
    ];
    for (adoption, code, part) in cases {
        let error = refused(&world, &adoption).await;
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(part), "{error:?}");
    }
    assert_eq!(status(&world, &id), Some(TokenStatus::Active));
    let error = {
        let mut adoption = bare(&id);
        adoption.ask.name = "OURS".to_owned();
        refused(&world, &adoption).await
    };
    assert_eq!(error.code, Code::Conflict);
    assert!(error.message.contains("lives already"), "{error:?}");
}

#[tokio::test]
async fn an_adopted_key_that_somebody_deletes_is_noticed() {
    let world = world().await;
    let id = usual(&world).await;
    adopt(&world, &bare(&id)).await.unwrap();
    let sandbox = &world.sandbox;
    assert!(sandbox.delete_token(&id));
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!(found.missing.len(), 1);
    assert_eq!(trace(&world).await.key.state, KeyState::Active, "one answer may be wrong");
    world.clock.advance(jiff::SignedDuration::from_secs(121));
    world.broker.tick().await.unwrap();
    assert_eq!(trace(&world).await.key.state, KeyState::Revoked);
}

#[tokio::test]
async fn a_switch_that_the_provider_did_not_confirm_is_not_called_off() {
    let world = world().await;
    let id = usual(&world).await;
    adopt(&world, &bare(&id)).await.unwrap();
    let refuse =
        Fault::on("PUT", "/accounts/*/tokens/*", FaultKind::Status { status: 403, retry_after: None });
    world.sandbox.inject(refuse.times(100)).unwrap();
    let proven = world.ana().await;
    let error = world.broker.switch_key(&proven, "CF_TOKEN", Switch::Off, "now").await.unwrap_err();
    assert_eq!(status(&world, &id), Some(TokenStatus::Active), "{error:?}");
    let known = trace(&world).await;
    assert_eq!(known.disabled_at, None);
    let said: Vec<_> = known
        .entries
        .iter()
        .map(|e| e.record())
        .filter(|r| r.deed == Deed::KeyDisable)
        .map(|r| (r.stage, r.result.is_some()))
        .collect();
    assert_eq!(said, [(Stage::Intent, false), (Stage::Outcome, true)]);
    // A key of ours can be switched off as well, and is not rotated while it is.
    world.sandbox.clear_faults();
    world.request(&ask("example.com", "OURS")).await.unwrap();
    world.broker.switch_key(&proven, "OURS", Switch::Off, "now").await.unwrap();
    let error = world.broker.rotate(&ana(), "OURS", "it is time", WAIT).await.unwrap_err();
    assert!(error.message.contains("is switched off"), "{error:?}");
    pass(&world, 21 * 86_400).await;
    let ours = world.broker.trace("OURS").await.unwrap();
    assert_eq!(ours.versions.len(), 1, "nor by the schedule");
}

/// A second connection to the same provider, under another credential.
async fn second_connection(world: &World, name: &str, secret: String) -> Result<(), BrokerError> {
    let new = NewConnection {
        name: name.parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: std::collections::BTreeMap::new(),
        credential: Secret::new(secret),
    };
    world.broker.add_connection(&world.ana().await, new).await.map(drop)
}

/// A credential that could be a connection's.
async fn parent(world: &World) -> (String, String) {
    let account = json!({ format!("com.cloudflare.api.account.{}", world.sandbox.account_id()): "*" });
    let id = by_hand(world, "second parent", &[MAKES_TOKENS], account, Some("2099-01-01T00:00:00Z")).await;
    let secret = world.sandbox.secret_of(&id).unwrap();
    (id, secret)
}

#[tokio::test]
async fn the_first_successor_of_an_adopted_key_is_decided_as_a_new_key() {
    let world = world().await;
    let id = by_hand(&world, "prod", &[DNS_READ], zone(&world, "example.com"), None).await;
    let mut adoption = by_template(&id);
    adoption.ask.environment = "production".to_owned();
    adopt(&world, &adoption).await.unwrap();
    let receipt = world.broker.rotate(&ana(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::PendingApproval, "{receipt:?}");
    assert_eq!(receipt.approvals.needed, 2);
    assert_eq!(trace(&world).await.versions.len(), 1, "nothing was made");
    // Nor does time bring one.
    pass(&world, 40 * 86_400).await;
    assert_eq!(trace(&world).await.versions.len(), 1);
}

#[tokio::test]
async fn what_another_home_made_is_not_taken() {
    let (ours, theirs) = (world().await, world().await);
    theirs.request(&ask("example.com", "MINE")).await.unwrap();
    let name = theirs.sandbox.live_tokens_named_like("kw-").pop().unwrap().name;
    let id = by_hand(&ours, &name, &[DNS_READ], zone(&ours, "example.com"), None).await;
    let error = refused(&ours, &bare(&id)).await;
    assert!(error.message.contains("named as Keywright names its keys"), "{error:?}");
    let found = unmanaged(&ours).await;
    assert!(found.iter().find(|one| one.listed.provider_key_id == id).unwrap().is_marked);
}

#[tokio::test]
async fn no_connection_lives_by_a_key_and_no_key_is_a_connections() {
    let world = world().await;
    let (id, secret) = parent(&world).await;
    second_connection(&world, "cf2", secret).await.unwrap();
    let error = refused(&world, &bare(&id)).await;
    assert!(error.message.contains("is the credential of a connection of this home itself"), "{error:?}");
    let parents: Vec<_> = unmanaged(&world).await.into_iter().filter(|one| one.is_parent).collect();
    assert_eq!(parents.len(), 4, "both connections see both");
    // And the other way round.
    let (id, secret) = parent(&world).await;
    adopt(&world, &bare(&id)).await.unwrap();
    let error = second_connection(&world, "cf3", secret).await.unwrap_err();
    assert!(error.message.contains("is the key `web/dev/CF_TOKEN` of this home"), "{error:?}");
}

#[tokio::test]
async fn one_credential_is_one_key_however_often_and_from_wherever_it_is_adopted() {
    let world = world().await;
    let (_, secret) = parent(&world).await;
    second_connection(&world, "cf2", secret).await.unwrap();
    let id = usual(&world).await;
    let named = |connection: &str, name: &str| {
        let mut adoption = bare(&id);
        adoption.connection = connection.to_owned();
        adoption.ask.name = name.to_owned();
        adoption
    };
    let wishes = [named("cf", "ONE"), named("cf", "TWO"), named("cf2", "THREE")];
    let done = futures::future::join_all(wishes.iter().map(|wish| adopt(&world, wish))).await;
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 1, "{done:?}");
    let late = refused(&world, &named("cf2", "FOUR")).await;
    assert_eq!(late.code, Code::Conflict, "{late:?}");
    assert!(unmanaged(&world).await.iter().all(|one| one.listed.provider_key_id != id));
}

#[tokio::test]
async fn a_program_gets_the_keys_that_there_are_values_of() {
    let world = world().await;
    world.request(&ask("example.com", "OURS")).await.unwrap();
    let id = usual(&world).await;
    adopt(&world, &bare(&id)).await.unwrap();
    let ana_proven = world.ana().await;
    let read = || async {
        let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
        let delivered = world.broker.deliver(&Reader::Operator(&ana_proven), wanted).await.unwrap();
        delivered.into_iter().map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(read().await, ["OURS"]);
    adopt(&world, &by_template(&id)).await.unwrap();
    assert_eq!(read().await, ["OURS"], "nobody has its value yet");
    let receipt = world.broker.rotate(&ana(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    let mut names = read().await;
    names.sort();
    assert_eq!(names, ["CF_TOKEN", "OURS"]);
}

#[tokio::test]
async fn a_key_that_drains_is_switched_off_with_both_its_versions() {
    let world = world().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.broker.rotate(&ana(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    let ids: Vec<_> = trace(&world).await.versions.into_iter().map(|v| v.provider_key_id).collect();
    assert_eq!(ids.len(), 2);
    let proven = world.ana().await;
    let all = |expected: TokenStatus| ids.iter().all(|id| status(&world, id) == Some(expected));
    world.broker.switch_key(&proven, "CF_TOKEN", Switch::Off, "a leak").await.unwrap();
    assert!(all(TokenStatus::Disabled));
    world.broker.switch_key(&proven, "CF_TOKEN", Switch::On, "none").await.unwrap();
    assert!(all(TokenStatus::Active), "neither was switched off by the rotation");
}
