//! Passkeys: enrolled by the passphrase, good for one deed each, and for nothing that an authenticator was not asked. The
//! authenticator is one in software, and so is the browser before it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::home::Home;
use keywright_broker::passkey::{
    Act, Challenge, Counts, Done, Enrolled, Likes, OnKey, signed_as_said, signed_by_whom_it_says, verifies,
};
use keywright_broker::review::Pending;
use keywright_broker::{BrokerError, Code};
use keywright_core::approval::Assertion;
use keywright_core::audit::{Deed, Record};
use keywright_core::key::KeyState;
use keywright_core::name::OperatorName;
use keywright_core::place::DestinationPattern;
use keywright_core::receipt::{Receipt, Status};
use keywright_core::secret::Secret;
use keywright_ledger::audit_files::verify_with;
use keywright_testkit::{World, ask};
use passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData};
use passkey::crypto::rust_crypto::RustCryptoBackend;
use passkey::types::Passkey;
use passkey::types::ctap2::{Aaguid, Ctap2Error};
use serde_json::Value;
use url::Url;

const WAIT: Duration = Duration::from_secs(20);
const PROPOSED: &str = include_str!("../../../templates/cloudflare/dns-read.toml");
const ORIGIN: &str = "http://localhost:4777";

/// A person before their authenticator, who may not be recognised.
struct Person(Arc<AtomicBool>);

#[async_trait::async_trait]
impl UserValidationMethod for Person {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _: UiHint<'a, Passkey>,
        _: bool,
        _: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence: true, verification: self.0.load(Ordering::SeqCst) })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// A browser with an authenticator.
struct Browser {
    client: Client<Option<Passkey>, Person, RustCryptoBackend, public_suffix::PublicSuffixList, ()>,
    is_recognised: Arc<AtomicBool>,
}

impl Browser {
    fn new() -> Self {
        let is_recognised = Arc::new(AtomicBool::new(true));
        let person = Person(Arc::clone(&is_recognised));
        let mut authenticator = Authenticator::new(Aaguid::new_empty(), None, person, RustCryptoBackend);
        authenticator.set_make_credentials_with_signature_counter(true);
        Self { client: Client::new(authenticator).allows_insecure_localhost(true), is_recognised }
    }

    async fn enrols(&mut self, world: &World, word: &str, origin: &str) -> Result<Enrolled, BrokerError> {
        let options = world.broker.begin_passkey(word, origin).await?;
        let options = serde_json::from_value(serde_json::to_value(options).unwrap()).unwrap();
        let url = Url::parse(origin).unwrap();
        let made = self.client.register(&url, options, DefaultClientData).await.unwrap();
        let made = serde_json::from_value(as_browsers_do(serde_json::to_value(made).unwrap())).unwrap();
        world.broker.add_passkey(word, origin, &made).await
    }

    async fn signs(&mut self, challenge: &Challenge) -> Assertion {
        self.signs_at(challenge, ORIGIN, |_| ()).await
    }

    /// What comes of a page at another origin, or of one that asks for something else.
    async fn signs_at(
        &mut self,
        challenge: &Challenge,
        origin: &str,
        change: impl Fn(&mut Value),
    ) -> Assertion {
        let mut options = serde_json::to_value(&challenge.options).unwrap();
        change(&mut options);
        let options = serde_json::from_value(options).unwrap();
        let url = Url::parse(origin).unwrap();
        let answer = self.client.authenticate(&url, options, DefaultClientData).await.unwrap();
        let answer = as_browsers_do(serde_json::to_value(answer).unwrap());
        let of = |name: &str| answer["response"][name].as_str().unwrap().to_owned();
        Assertion {
            credential: answer["id"].as_str().unwrap().to_owned(),
            authenticator_data: of("authenticatorData"),
            client_data: of("clientDataJSON"),
            signature: of("signature"),
            together: Vec::new(),
        }
    }
}

/// Bytes in base64url, where the library has them as numbers.
fn as_browsers_do(value: Value) -> Value {
    match value {
        Value::Array(parts) if parts.iter().all(Value::is_u64) && !parts.is_empty() => {
            let bytes: Vec<u8> =
                parts.iter().map(|part| u8::try_from(part.as_u64().unwrap()).unwrap()).collect();
            URL_SAFE_NO_PAD.encode(bytes).into()
        }
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, as_browsers_do(value))).collect()
        }
        other => other,
    }
}

fn reject(request: &str, reason: &str) -> Act {
    Act::Reject { request: request.to_owned(), reason: reason.to_owned() }
}

fn named(name: &str) -> OperatorName {
    name.parse().unwrap()
}

/// A request that waits, and the digest of its plan.
async fn waiting(world: &World, name: &str) -> (String, String) {
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", name) };
    let receipt = world.request(&wish).await.unwrap();
    assert_eq!(receipt.status, Status::PendingApproval);
    let id = receipt.request.to_string();
    let Pending::Key(review) = world.broker.review(&id, &Less::default()).await.unwrap() else { panic!() };
    (id, review.digest)
}

async fn enrolled(world: &World) -> Browser {
    let mut browser = Browser::new();
    let word = world.broker.invite_passkey(&world.ana().await, "laptop", Counts::AtOnce).await.unwrap();
    browser.enrols(world, &word, ORIGIN).await.unwrap();
    browser
}

async fn offered(world: &World, who: &str, request: &str, digest: &str) -> Challenge {
    world.broker.offer_approval(&named(who), ORIGIN, request, digest, &Less::default()).await.unwrap()
}

async fn approves(world: &World, who: &str, id: &str, assertion: Assertion) -> Result<Receipt, BrokerError> {
    let wait = Duration::from_secs(20);
    world.broker.approve_with_passkey(&named(who), id, ORIGIN, assertion, wait).await
}

async fn given(world: &World, request: &str) -> Vec<String> {
    let Pending::Key(review) = world.broker.review(request, &Less::default()).await.unwrap() else {
        panic!()
    };
    review.approved_by
}

#[tokio::test]
async fn a_touch_approves_what_was_shown_and_anybody_can_check_it_again() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let ana = world.ana().await;
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&ana, &named("bo"), passphrase()).await.unwrap();
    let bo = world.broker.operator(Some(&named("bo")), passphrase()).await.unwrap();
    let (request, digest) = waiting(&world, "CF_TOKEN").await;
    let challenge = offered(&world, "ana", &request, &digest).await;
    let assertion = browser.signs(&challenge).await;
    let one = approves(&world, "ana", &challenge.id.to_string(), assertion.clone()).await.unwrap();
    assert_eq!((one.status, one.approvals.given), (Status::PendingApproval, 1));
    let replayed = approves(&world, "ana", &challenge.id.to_string(), assertion).await;
    assert_eq!(replayed.unwrap_err().code, Code::Conflict, "it was used up");
    // The other one at a terminal: either way counts.
    let wait = Duration::from_secs(20);
    let two = world.broker.approve(&bo, &request, &digest, &Less::default(), wait).await.unwrap();
    assert_eq!(two.status, Status::Active, "{two:?}");

    let trace = world.broker.trace("CF_TOKEN").await.unwrap();
    let of = |entry: &&keywright_core::audit::Entry| entry.record().deed == Deed::ApprovalGive;
    let signatures: Vec<_> =
        trace.entries.iter().filter(of).flat_map(|entry| entry.record().signatures.clone()).collect();
    let methods: Vec<_> = signatures.iter().map(|one| (one.by.as_str(), one.method.as_str())).collect();
    assert_eq!(methods, [("ana", "webauthn"), ("bo", "ed25519")]);
    for signature in &signatures {
        assert_eq!(verifies(signature), Ok(()));
        let mut other = signature.clone();
        other.over =
            base64::engine::general_purpose::STANDARD.encode("keywright/approval/1\nsomething else\n");
        assert!(verifies(&other).is_err(), "{}", other.method);
    }
    for entry in trace.entries.iter().filter(of) {
        assert_eq!(signed_as_said(entry.record()), Ok(()));
        let lies: [fn(&mut Record); 4] = [
            |record| record.plan_digest = Some("ab".repeat(32)),
            |record| record.subject.request = None,
            |record| record.signatures[0].by = "eve".to_owned(),
            |record| record.signatures[0].signature = "AAAA".to_owned(),
        ];
        for lie in lies {
            let mut record = entry.record().clone();
            lie(&mut record);
            assert!(signed_as_said(&record).is_err(), "{record:?}");
        }
    }
    let passkeys = world.broker.passkeys().await.unwrap();
    assert!(passkeys[0].used_at.is_some() && passkeys[0].name == "laptop", "{passkeys:?}");

    // Whoever verifies the log has these looked at, and is told where one is not as it should be.
    world.broker.publish_audit().await.unwrap();
    let (audit, ledger) = (world.home.join("audit"), Home::at(&world.home).location().unwrap());
    let sound = verify_with(&audit, ledger.clone(), None, None, &signed_as_said).unwrap();
    assert!(sound.is_sound(), "{:?}", sound.findings);
    let nothing_of_ana = |record: &Record| match record.signatures.iter().find(|one| one.by == "ana") {
        Some(_) => Err("it is not hers".to_owned()),
        None => Ok(()),
    };
    let doubted = verify_with(&audit, ledger, None, None, &nothing_of_ana).unwrap();
    let place = trace.entries.iter().find(of).unwrap().index();
    assert_eq!(doubted.first_bad().map(|entry| entry.0), Some(place), "{:?}", doubted.findings);
}

#[tokio::test]
async fn no_answer_but_the_right_one_approves() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let (request, digest) = waiting(&world, "CF_TOKEN").await;
    let (other_request, other_digest) = waiting(&world, "OTHER_TOKEN").await;
    let mut refused = 0;
    let mut no = async |what: &str, offer: &Challenge, assertion: Assertion| {
        let tried = approves(&world, "ana", &offer.id.to_string(), assertion).await;
        let error = tried.expect_err(what);
        assert_eq!(error.code, Code::Unauthenticated, "{what}: {error}");
        assert_eq!(given(&world, &request).await, Vec::<String>::new(), "{what}");
        refused += 1;
    };
    let offer = async || offered(&world, "ana", &request, &digest).await;

    // What a page that is not ours has signed.
    let challenge = offer().await;
    browser.is_recognised.store(false, Ordering::SeqCst);
    let unseen = browser
        .signs_at(&challenge, ORIGIN, |options| {
            options["publicKey"]["userVerification"] = "discouraged".into()
        })
        .await;
    browser.is_recognised.store(true, Ordering::SeqCst);
    no("nobody was recognised", &challenge, unseen).await;
    for origin in ["http://localhost:4778", "http://localhost", "https://localhost:4777"] {
        let challenge = offer().await;
        let elsewhere = browser.signs_at(&challenge, origin, |_| ()).await;
        no(origin, &challenge, elsewhere).await;
    }
    let (first, challenge) = (offer().await, offer().await);
    let of_first = browser.signs(&first).await;
    no("it was signed for another approval of the same plan", &challenge, of_first).await;
    let (foreign, challenge) = (offered(&world, "ana", &other_request, &other_digest).await, offer().await);
    let of_other = browser.signs(&foreign).await;
    no("it was signed for another request", &challenge, of_other).await;
    let challenge = offer().await;
    let rejection = world.broker.offer_act(&named("ana"), ORIGIN, reject(&request, "no")).await.unwrap();
    let of_rejection = browser.signs(&rejection).await;
    no("it was signed to turn it down", &challenge, of_rejection).await;

    // What somebody makes of a good answer on its way.
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let flipped = |of: &str, at: usize| {
        let mut bytes = bytes(of);
        let at = at % bytes.len();
        bytes[at] ^= 1;
        text(&bytes)
    };
    for at in [0, 13, 31, 32, 33, 36] {
        let challenge = offer().await;
        let good = browser.signs(&challenge).await;
        let bad = Assertion { authenticator_data: flipped(&good.authenticator_data, at), ..good };
        no(&format!("authenticator data, byte {at}"), &challenge, bad).await;
    }
    for at in [0, 9, 20, 40] {
        let challenge = offer().await;
        let good = browser.signs(&challenge).await;
        let bad = Assertion { signature: flipped(&good.signature, at), ..good };
        no(&format!("signature, byte {at}"), &challenge, bad).await;
    }
    let said: [(&str, fn(&mut Value)); 7] = [
        ("type", |said| said["type"] = "webauthn.create".into()),
        ("no type", |said| drop(said.as_object_mut().unwrap().remove("type"))),
        ("challenge", |said| said["challenge"] = URL_SAFE_NO_PAD.encode([7; 32]).into()),
        ("origin", |said| said["origin"] = "https://example.com".into()),
        ("null origin", |said| said["origin"] = "null".into()),
        ("cross origin", |said| said["crossOrigin"] = true.into()),
        ("more", |said| said["more"] = 1.into()),
    ];
    for (what, change) in said {
        let challenge = offer().await;
        let good = browser.signs(&challenge).await;
        let mut said: Value = serde_json::from_slice(&bytes(&good.client_data)).unwrap();
        change(&mut said);
        let bad = Assertion { client_data: text(said.to_string().as_bytes()), ..good };
        no(&format!("client data: {what}"), &challenge, bad).await;
    }
    type Change = fn(Assertion) -> Assertion;
    let fields: [(&str, Change); 9] = [
        ("no signature", |good| Assertion { signature: String::new(), ..good }),
        ("no client data", |good| Assertion { client_data: String::new(), ..good }),
        ("no authenticator data", |good| Assertion { authenticator_data: String::new(), ..good }),
        ("no credential", |good| Assertion { credential: String::new(), ..good }),
        ("another credential", |good| Assertion { credential: URL_SAFE_NO_PAD.encode([1; 16]), ..good }),
        ("not base64", |good| Assertion { signature: "not base64!".to_owned(), ..good }),
        ("swapped", |good| Assertion {
            signature: good.authenticator_data.clone(),
            authenticator_data: good.signature,
            ..good
        }),
        ("cut", |good| Assertion { authenticator_data: good.authenticator_data[..40].to_owned(), ..good }),
        ("longer", |good| Assertion { authenticator_data: good.authenticator_data.clone() + "AAAA", ..good }),
    ];
    for (what, change) in fields {
        let challenge = offer().await;
        let good = browser.signs(&challenge).await;
        no(what, &challenge, change(good)).await;
    }
    assert!(refused >= 30, "{refused}");

    // The same passkey, asked as it should be, still approves.
    let challenge = offer().await;
    let good = browser.signs(&challenge).await;
    approves(&world, "ana", &challenge.id.to_string(), good).await.unwrap();
    assert_eq!(given(&world, &request).await, ["ana"]);
}

#[tokio::test]
async fn nobody_approves_with_somebody_elses_passkey_or_offer() {
    let world = World::new().await;
    let ana = world.ana().await;
    let mut browser = enrolled(&world).await;
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&ana, &named("bo"), passphrase()).await.unwrap();
    let bo = world.broker.operator(Some(&named("bo")), passphrase()).await.unwrap();
    let (request, digest) = waiting(&world, "CF_TOKEN").await;
    let none = world.broker.offer_approval(&named("bo"), ORIGIN, &request, &digest, &Less::default()).await;
    assert_eq!(none.unwrap_err().code, Code::Conflict, "bo has no passkey");
    let word = world.broker.invite_passkey(&bo, "phone", Counts::AtOnce).await.unwrap();
    let mut of_bo = Browser::new();
    of_bo.enrols(&world, &word, ORIGIN).await.unwrap();
    let again = Browser::new().enrols(&world, &word, ORIGIN).await.unwrap_err();
    assert_eq!(again.code, Code::Unauthenticated, "a link is good once");

    // Ana's touch on what was offered to bo, and the other way round.
    let challenge = offered(&world, "bo", &request, &digest).await;
    let touch = browser.signs_at(&challenge, ORIGIN, |options| {
        options["publicKey"]["allowCredentials"] = Value::Array(Vec::new());
    });
    let touch = touch.await;
    let tried = approves(&world, "bo", &challenge.id.to_string(), touch).await;
    assert_eq!(tried.unwrap_err().code, Code::Unauthenticated);
    let challenge = offered(&world, "bo", &request, &digest).await;
    let touch = of_bo.signs(&challenge).await;
    let tried = approves(&world, "ana", &challenge.id.to_string(), touch).await;
    assert_eq!(tried.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(given(&world, &request).await, Vec::<String>::new());

    // What bo approved counts for nothing once the passkey is removed.
    let challenge = offered(&world, "bo", &request, &digest).await;
    let touch = of_bo.signs(&challenge).await;
    approves(&world, "bo", &challenge.id.to_string(), touch).await.unwrap();
    assert_eq!(given(&world, &request).await, ["bo"]);
    let passkeys = world.broker.passkeys().await.unwrap();
    let phone = passkeys.iter().find(|one| one.name == "phone").unwrap().id.to_string();
    world.broker.remove_passkey(&ana, &phone).await.unwrap();
    assert_eq!(given(&world, &request).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_copied_authenticator_is_noticed() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let (request, digest) = waiting(&world, "CF_TOKEN").await;
    let (other_request, other_digest) = waiting(&world, "OTHER_TOKEN").await;
    let (early, late) = (
        offered(&world, "ana", &other_request, &other_digest).await,
        offered(&world, "ana", &request, &digest).await,
    );
    let (first, second) = (browser.signs(&early).await, browser.signs(&late).await);
    approves(&world, "ana", &late.id.to_string(), second).await.unwrap();
    let behind = approves(&world, "ana", &early.id.to_string(), first).await.unwrap_err();
    assert_eq!(behind.code, Code::Unauthenticated);
    assert!(behind.message.contains("counter"), "{behind}");
}

#[tokio::test]
async fn a_touch_turns_down_and_says_so_in_the_log() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let (request, _) = waiting(&world, "CF_TOKEN").await;
    let ana = named("ana");
    let challenge = world.broker.offer_act(&ana, ORIGIN, reject(&request, "not today")).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    world.broker.act_with_passkey(&ana, &id, ORIGIN, &touch, WAIT).await.unwrap();
    let Pending::Key(review) = world.broker.review(&request, &Less::default()).await.unwrap() else {
        panic!()
    };
    assert_eq!(review.status, Status::Rejected);
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let entry = log.iter().find(|entry| entry.record().deed == Deed::RequestReject).unwrap();
    assert_eq!(verifies(&entry.record().signatures[0]), Ok(()));
}

#[tokio::test]
async fn a_touch_does_the_one_deed_that_was_shown_and_the_log_says_which() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let ana = named("ana");
    let first = world.request(&ask("example.com", "FIRST")).await.unwrap().key.unwrap().to_string();
    let second = world.request(&ask("example.com", "SECOND")).await.unwrap().key.unwrap().to_string();
    let on = |key: &str| OnKey { key: key.to_owned(), reason: "it is over".to_owned() };
    let offer = async |act: Act| world.broker.offer_act(&ana, ORIGIN, act).await.unwrap();
    let done = async |challenge: &Challenge, touch: &Assertion| {
        world.broker.act_with_passkey(&ana, &challenge.id.to_string(), ORIGIN, touch, WAIT).await
    };

    // The answer to another offer, to another deed on the same key, to the same deed on another key.
    for other in [Act::Revoke(on(&first)), Act::Disable(on(&first)), Act::Revoke(on(&second))] {
        let (other, offered) = (offer(other).await, offer(Act::Revoke(on(&first))).await);
        let touch = browser.signs(&other).await;
        assert_eq!(done(&offered, &touch).await.unwrap_err().code, Code::Unauthenticated);
        assert_eq!(done(&offered, &touch).await.unwrap_err().code, Code::Conflict, "the offer is used up");
    }
    // Of an approval's offer nothing comes but an approval.
    let (request, digest) = waiting(&world, "THIRD").await;
    let approval = offered(&world, "ana", &request, &digest).await;
    let touch = browser.signs(&approval).await;
    assert_eq!(done(&approval, &touch).await.unwrap_err().code, Code::Unauthenticated);
    // Somebody else's touch, and a key that is none.
    let challenge = offer(Act::Revoke(on(&first))).await;
    let touch = browser.signs(&challenge).await;
    let (bea, id) = (named("bea"), challenge.id.to_string());
    let hers = world.broker.act_with_passkey(&bea, &id, ORIGIN, &touch, WAIT).await;
    assert_eq!(hers.unwrap_err().code, Code::Unauthenticated);
    let none = world.broker.offer_act(&ana, ORIGIN, Act::Revoke(on("NONE"))).await;
    assert_eq!(none.unwrap_err().code, Code::NotFound);
    let is_alive = async |key: &str| world.broker.trace(key).await.unwrap().key.state == KeyState::Active;
    assert!(is_alive(&first).await && is_alive(&second).await, "nothing of all that did anything");

    // By name, signed by id.
    let challenge = offer(Act::Revoke(on("FIRST"))).await;
    let touch = browser.signs(&challenge).await;
    assert_eq!(done(&challenge, &touch).await.unwrap(), Done::Key(first.clone()));
    assert!(!is_alive(&first).await && is_alive(&second).await);
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let touches: Vec<&Record> =
        log.iter().map(|entry| entry.record()).filter(|record| record.deed == Deed::OperatorTouch).collect();
    assert_eq!(touches.len(), 1);
    assert_eq!(signed_as_said(touches[0]), Ok(()));
    let mut edited = touches[0].clone();
    edited.facts.insert("subject".to_owned(), second.into());
    assert!(signed_as_said(&edited).is_err(), "an entry says what was signed");
}

#[tokio::test]
async fn a_touch_lets_in_and_makes_a_link_for_another_passkey() {
    let world = World::new().await;
    assert_eq!(world.broker.offer_entry(ORIGIN).await.unwrap_err().code, Code::Conflict, "nobody has one");
    let mut browser = enrolled(&world).await;
    let challenge = world.broker.offer_entry(ORIGIN).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    let elsewhere = world.broker.enter_with_passkey(&id, "http://localhost:4778", &touch).await;
    assert_eq!(elsewhere.unwrap_err().code, Code::Conflict);
    // However many knock, and whatever they try, it stays good; once.
    for _ in 0..1_000 {
        world.broker.offer_entry(ORIGIN).await.unwrap();
    }
    let name = world.broker.enter_with_passkey(&id, ORIGIN, &touch).await.unwrap();
    assert_eq!(name, named("ana"));
    assert_eq!(world.broker.enter_with_passkey(&id, ORIGIN, &touch).await.unwrap_err().code, Code::Conflict);
    // Nobody makes an id themselves, and none is good for long.
    let challenge = world.broker.offer_entry(ORIGIN).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    let own = format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { "1" } else { "0" });
    assert_eq!(world.broker.enter_with_passkey(&own, ORIGIN, &touch).await.unwrap_err().code, Code::Conflict);
    world.clock.advance(jiff::SignedDuration::from_mins(6));
    assert_eq!(world.broker.enter_with_passkey(&id, ORIGIN, &touch).await.unwrap_err().code, Code::Conflict);
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let entry = log.iter().rfind(|entry| entry.record().deed == Deed::SessionOpen).unwrap();
    assert_eq!(signed_as_said(entry.record()), Ok(()));

    let invite = Act::Invite { label: "phone".to_owned() };
    let challenge = world.broker.offer_act(&name, ORIGIN, invite).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    let done = world.broker.act_with_passkey(&name, &id, ORIGIN, &touch, WAIT).await.unwrap();
    let Done::Word(word) = done else { panic!("{done:?}") };
    let phone = Browser::new().enrols(&world, &word, ORIGIN).await.unwrap().passkey;
    assert_eq!(phone.name, "phone");
    let forget = Act::Forget { passkey: phone.id.to_string() };
    let challenge = world.broker.offer_act(&name, ORIGIN, forget).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    world.broker.act_with_passkey(&name, &id, ORIGIN, &touch, WAIT).await.unwrap();
    assert_eq!(world.broker.passkeys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_touch_puts_a_proposal_in_force_as_it_was_shown() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let ana = named("ana");
    let source = PROPOSED;
    let agent = World::agent("bot");
    let request = world.broker.propose_template(&agent, source, "to look").await.unwrap().to_string();
    // Somebody else has put a narrower one in force while the page was open.
    world.broker.apply_template(&world.ana().await, source).await.unwrap();
    let act = |source: &str, version| Act::Apply {
        request: request.clone(),
        source: hex::encode(<sha2::Sha256 as sha2::Digest>::digest(source.as_bytes())),
        version,
    };
    for (text, version) in [("another text", 2), (source, 1), (source, 3)] {
        let other = world.broker.offer_act(&ana, ORIGIN, act(text, version)).await.unwrap();
        let touch = browser.signs(&other).await;
        let id = other.id.to_string();
        let refused = world.broker.act_with_passkey(&ana, &id, ORIGIN, &touch, WAIT).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict, "{version}: {refused}");
    }
    let challenge = world.broker.offer_act(&ana, ORIGIN, act(source, 2)).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    world.broker.act_with_passkey(&ana, &id, ORIGIN, &touch, WAIT).await.unwrap();
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let entry = log.iter().rfind(|entry| entry.record().deed == Deed::TemplateApply).unwrap();
    assert_eq!(entry.record().signatures.len(), 1);
    assert_eq!(signed_as_said(entry.record()), Ok(()));
    let mut edited = entry.record().clone();
    edited.facts.insert("source".to_owned(), "0".into());
    assert!(signed_as_said(&edited).is_err());
}

#[tokio::test]
async fn passkeys_are_enrolled_where_browsers_have_them_and_with_a_good_name() {
    let world = World::new().await;
    let ana = world.ana().await;
    for bad in ["", "  ", "a\u{202e}b", "a\nb", &"x".repeat(61)] {
        assert_eq!(
            world.broker.invite_passkey(&ana, bad, Counts::AtOnce).await.unwrap_err().code,
            Code::InvalidArgument,
            "{bad:?}"
        );
    }
    let word = world.broker.invite_passkey(&ana, "laptop", Counts::AtOnce).await.unwrap();
    for origin in
        ["http://example.com", "http://127.0.0.1:4777", "https://127.0.0.1", "https://example.com/path", "x"]
    {
        let refused = world.broker.begin_passkey(&word, origin).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict, "{origin}");
    }
    assert_eq!(
        world.broker.begin_passkey("kwp_guess", ORIGIN).await.unwrap_err().code,
        Code::Unauthenticated
    );
    world.broker.begin_passkey(&word, ORIGIN).await.unwrap();
}

#[tokio::test]
async fn what_is_made_while_a_terminal_waits_counts_once_its_operator_said_so() {
    let world = World::new().await;
    let ana = world.ana().await;
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&ana, &named("bo"), passphrase()).await.unwrap();
    let bo = world.broker.operator(Some(&named("bo")), passphrase()).await.unwrap();
    let (request, digest) = waiting(&world, "CF_TOKEN").await;
    let held = async |browser: &mut Browser| {
        let word = world.broker.invite_passkey(&ana, "laptop", Counts::Compared).await.unwrap();
        let made = browser.enrols(&world, &word, ORIGIN).await.unwrap();
        assert!(made.held);
        assert_eq!(world.broker.held_passkeys(), std::slice::from_ref(&made.passkey));
        made.passkey.id.to_string()
    };
    let mut browser = Browser::new();
    let id = held(&mut browser).await;
    // Whoever held it is on record, and not in the operator's name: who used the code is not known yet.
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let hold = log.iter().find(|entry| entry.record().deed == Deed::PasskeyHold).unwrap().record();
    assert_eq!(hold.subject.name.as_deref(), Some(id.as_str()));
    assert_eq!((&hold.facts["operator"], &hold.facts["label"]), (&"ana".into(), &"laptop".into()));
    assert_eq!(hold.who.kind, keywright_core::audit::Principal::System);
    let told = log.iter().map(|entry| keywright_broker::timeline::told(entry).0);
    let words = "the passkey laptop was made with the code of operator ana: nobody can approve with it until they say that it is theirs";
    assert!(told.into_iter().any(|one| one == words));
    // It is no passkey yet: it lets nobody in, and nothing can be offered to it.
    assert_eq!(world.broker.passkeys().await.unwrap(), []);
    assert_eq!(world.broker.offer_entry(ORIGIN).await.unwrap_err().code, Code::Conflict);
    let offered_to =
        world.broker.offer_approval(&named("ana"), ORIGIN, &request, &digest, &Less::default()).await;
    assert_eq!(offered_to.unwrap_err().code, Code::Conflict);
    // Nobody else's word has it count.
    assert_eq!(world.broker.keep_passkey(&bo, &id).await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.broker.keep_passkey(&ana, &id).await.unwrap().id.to_string(), id);
    assert_eq!(world.broker.keep_passkey(&ana, &id).await.unwrap_err().code, Code::NotFound);
    let challenge = offered(&world, "ana", &request, &digest).await;
    let touch = browser.signs(&challenge).await;
    approves(&world, "ana", &challenge.id.to_string(), touch).await.unwrap();
    assert_eq!(given(&world, &request).await, ["ana"]);

    // Somebody else was faster: it is thrown away, and that is on record; so are the operator's other codes.
    let other = world.broker.invite_passkey(&ana, "phone", Counts::Compared).await.unwrap();
    let theirs = held(&mut Browser::new()).await;
    world.broker.remove_passkey(&ana, &theirs).await.unwrap();
    assert_eq!(world.broker.held_passkeys(), []);
    assert_eq!(world.broker.keep_passkey(&ana, &theirs).await.unwrap_err().code, Code::NotFound);
    let late = Browser::new().enrols(&world, &other, ORIGIN).await.unwrap_err();
    assert_eq!(late.code, Code::Unauthenticated);
    let ids: Vec<_> = world.broker.passkeys().await.unwrap().iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids, [id]);
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let refused = log.iter().find(|entry| entry.record().deed == Deed::PasskeyRefuse).unwrap();
    assert_eq!(refused.record().subject.name.as_deref(), Some(theirs.as_str()));
    assert_eq!(refused.record().facts["operator"], "ana");
}

#[tokio::test]
async fn whoever_types_a_code_that_was_used_is_told_what_came_of_it() {
    let world = World::new().await;
    let ana = world.ana().await;
    let types = async |word: &str| {
        let error = world.broker.begin_passkey(word, ORIGIN).await.unwrap_err();
        assert_eq!(error.code, Code::Unauthenticated);
        format!("{}; {}", error.message, error.hint.unwrap())
    };
    let word = world.broker.invite_passkey(&ana, "laptop", Counts::Compared).await.unwrap();
    let id = Browser::new().enrols(&world, &word, ORIGIN).await.unwrap().passkey.id.to_string();
    let held = types(&word.to_lowercase()).await;
    assert!(held.contains("held: nobody can approve with it yet"), "{held}");
    assert!(held.contains(&format!("passkey remove {id}")) && !held.contains("as you now"), "{held}");
    world.broker.keep_passkey(&ana, &id).await.unwrap();
    let counts = types(&word).await;
    assert!(counts.contains("somebody else can approve as you now"), "{counts}");
    assert!(counts.contains(&format!("passkey remove {id}")), "{counts}");
    world.broker.remove_passkey(&ana, &id).await.unwrap();
    let gone = types(&word).await;
    assert!(gone.contains("nobody can approve with it") && !gone.contains("as you now"), "{gone}");
    // One that counts at once.
    let word = world.broker.invite_passkey(&ana, "phone", Counts::AtOnce).await.unwrap();
    Browser::new().enrols(&world, &word, ORIGIN).await.unwrap();
    assert!(types(&word).await.contains("somebody else can approve as you now"));
    // Of another code nothing is known, and nothing is claimed.
    let unknown = types("AAAA-BBBB-CCCC").await;
    assert!(unknown.contains("keywright passkey list") && !unknown.contains("as you now"), "{unknown}");
}

/// A request that needs one approval, and the digest of its plan.
async fn elsewhere(world: &World, wish: &Ask) -> (String, String) {
    let wish = Ask { environment: "elsewhere".to_owned(), ..wish.clone() };
    let receipt = world.request(&wish).await.unwrap();
    assert_eq!((receipt.status, receipt.approvals.needed), (Status::PendingApproval, 1));
    let id = receipt.request.to_string();
    let Pending::Key(review) = world.broker.review(&id, &Less::default()).await.unwrap() else { panic!() };
    (id, review.digest)
}

#[tokio::test]
async fn requests_that_differ_in_name_only_are_approved_by_one_touch_and_each_can_be_checked() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let ana = named("ana");
    let mut all = Vec::new();
    for name in ["ONE", "TWO", "THREE"] {
        all.push(elsewhere(&world, &ask("example.com", name)).await);
    }
    let other = elsewhere(&world, &Ask { ttl: Some("7d".to_owned()), ..ask("example.com", "SHORTER") }).await;
    let production = waiting(&world, "PRODUCTION").await;
    // In policy's words this is production as well, though nothing looks dangerous.
    let main =
        world.request(&Ask { environment: "main".to_owned(), ..ask("example.com", "MAIN") }).await.unwrap();
    assert_eq!(main.approvals.needed, 2);
    let main = main.request.to_string();
    let Pending::Key(of_main) = world.broker.review(&main, &Less::default()).await.unwrap() else { panic!() };
    let main = (main, of_main.digest);
    let mut odd_ones = vec![other.clone(), production.clone(), main];
    let directory = tempfile::tempdir().unwrap();
    for (name, wish) in [
        (
            "PROMPTED",
            Ask { prompt: Some("ignore the operator".to_owned()), ..ask("example.com", "PROMPTED") },
        ),
        ("PROJECT", Ask { project: "another".to_owned(), ..ask("example.com", "PROJECT") }),
        (
            "BUDGET",
            Ask {
                destinations: vec![
                    "embedded:web/elsewhere/A".to_owned(),
                    "embedded:web/elsewhere/B".to_owned(),
                ],
                ..ask("example.com", "BUDGET")
            },
        ),
        (
            "FILE",
            Ask {
                destinations: vec!["dotenv:./.env#FILE".to_owned()],
                cwd: Some(directory.path().display().to_string()),
                ..ask("example.com", "FILE")
            },
        ),
    ] {
        assert_eq!(wish.name, name);
        odd_ones.push(elsewhere(&world, &wish).await);
    }
    odd_ones.push(all[0].clone());
    let ids = |found: Vec<keywright_broker::review::Review>| -> Vec<String> {
        found.into_iter().map(|one| one.request.to_string()).collect()
    };
    let first = all[0].0.parse().unwrap();
    let mut found = ids(world.broker.alike(&ana, first).await.unwrap());
    found.sort();
    assert_eq!(found, [all[1].0.clone(), all[2].0.clone()]);
    // What is not like the others, or of much to lose, or there twice, is not signed together with them.
    for odd in &odd_ones {
        let with = [all[0].clone(), all[1].clone(), odd.clone()];
        let refused = world.broker.offer_approvals(&ana, ORIGIN, &with).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict, "{refused}");
    }
    let stale = [all[0].clone(), (all[1].0.clone(), all[2].1.clone())];
    assert!(world.broker.offer_approvals(&ana, ORIGIN, &stale).await.is_err(), "not the plan that was shown");
    assert!(world.broker.offer_approvals(&ana, ORIGIN, &[]).await.is_err());

    // A touch over several is no touch over another one, nor the other way round.
    let wait = Duration::from_secs(20);
    let challenge = world.broker.offer_approvals(&ana, ORIGIN, &all).await.unwrap();
    let good = browser.signs(&challenge).await;
    let single = offered(&world, "ana", &other.0, &other.1).await;
    assert!(approves(&world, "ana", &single.id.to_string(), good.clone()).await.is_err());
    let single = offered(&world, "ana", &other.0, &other.1).await;
    let of_other = browser.signs(&single).await;
    let id = challenge.id.to_string();
    let together = async |id: String, assertion| {
        world.broker.approve_together_with_passkey(&ana, &id, ORIGIN, assertion, wait).await
    };
    assert!(together(id.clone(), of_other).await.is_err());
    let gone = together(id, good).await.unwrap_err();
    assert_eq!(gone.code, Code::Conflict, "the offer was used up");
    assert!(world.broker.key(&keywright_core::plan::Principal::Operator(ana.clone()), "ONE").await.is_err());

    let challenge = world.broker.offer_approvals(&ana, ORIGIN, &all).await.unwrap();
    let mut assertion = browser.signs(&challenge).await;
    // What a browser says of it counts for nothing.
    assertion.together = vec!["ab".repeat(32)];
    let receipts = together(challenge.id.to_string(), assertion).await.unwrap();
    assert_eq!(receipts.len(), 3);
    for receipt in receipts {
        assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    }
    assert_eq!(given(&world, &other.0).await, Vec::<String>::new());
    let trace = world.broker.trace("TWO").await.unwrap();
    let entry = trace.entries.iter().find(|one| one.record().deed == Deed::ApprovalGive).unwrap();
    assert_eq!(signed_as_said(entry.record()), Ok(()));
    let lies: [fn(&mut Record); 3] = [
        |record| drop(record.signatures[0].with.remove("together")),
        |record| drop(record.signatures[0].with.insert("together".to_owned(), "ab".repeat(32))),
        |record| {
            let together = record.signatures[0].with.get_mut("together").unwrap();
            *together = together.split(' ').rev().collect::<Vec<_>>().join(" ");
        },
    ];
    for lie in lies {
        let mut record = entry.record().clone();
        lie(&mut record);
        assert!(signed_as_said(&record).is_err(), "{:?}", record.signatures[0].with);
    }
    let mut many = entry.record().signatures[0].clone();
    many.with.insert("together".to_owned(), vec!["ab".repeat(32); 11].join(" "));
    assert_eq!(verifies(&many).unwrap_err(), "one touch is good for 10 at most");
    world.broker.publish_audit().await.unwrap();
    assert_eq!(world.broker.verify_audit().await.unwrap().findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_signature_of_another_key_in_the_same_name_is_found_in_the_log() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let ana = world.ana().await;
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&ana, &named("bo"), passphrase()).await.unwrap();
    let bo = world.broker.operator(Some(&named("bo")), passphrase()).await.unwrap();
    let (request, digest) = waiting(&world, "CF_TOKEN").await;
    let challenge = offered(&world, "ana", &request, &digest).await;
    let assertion = browser.signs(&challenge).await;
    approves(&world, "ana", &challenge.id.to_string(), assertion).await.unwrap();
    world.broker.approve(&bo, &request, &digest, &Less::default(), WAIT).await.unwrap();
    world.broker.publish_audit().await.unwrap();
    assert_eq!(world.broker.verify_audit().await.unwrap().findings, Vec::<String>::new());

    // The same entries, with what somebody could write who has the log's own key and nobody's passphrase or passkey.
    let filter = keywright_ledger::AuditFilter { limit: 10_000, ..keywright_ledger::AuditFilter::default() };
    let log = world.broker.log(filter).await.unwrap();
    let records = || -> Vec<Record> {
        let mut entries: Vec<_> = log.iter().collect();
        entries.sort_by_key(|entry| entry.index());
        entries.into_iter().map(|entry| entry.record().clone()).collect()
    };
    let read = |records: &[Record]| -> Vec<String> {
        let looks = signed_by_whom_it_says();
        records.iter().filter_map(|record| looks(record).err()).collect()
    };
    assert_eq!(read(&records()), Vec::<String>::new());
    // bo's approval by another key.
    let mut forged = records();
    let other = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    for record in &mut forged {
        for signature in record.signatures.iter_mut().filter(|one| one.by == "bo") {
            use ed25519_dalek::Signer as _;
            let over = STANDARD.decode(&signature.over).unwrap();
            signature.key = STANDARD.encode(other.verifying_key().as_bytes());
            signature.signature = STANDARD.encode(other.sign(&over).to_bytes());
        }
    }
    assert_eq!(read(&forged), ["it is signed with a key that is on record as none of `bo`"]);
    // A passkey that was never added, or was removed before.
    let mut forged = records();
    forged.retain(|record| record.deed != Deed::PasskeyAdd);
    assert_eq!(read(&forged), ["it is signed with a key that is on record as none of `ana`"]);
    let approved = |record: &Record, by: &str| record.deed == Deed::ApprovalGive && record.who.name == by;
    // An approval that nobody signed.
    let mut forged = records();
    for record in forged.iter_mut().filter(|record| approved(record, "bo")) {
        record.signatures.clear();
    }
    assert_eq!(read(&forged), ["nobody signed it"]);
    // bo's own, shown in ana's name; and both.
    let mut forged = records();
    for record in forged.iter_mut().filter(|record| approved(record, "bo")) {
        record.who.name = "ana".to_owned();
    }
    assert_eq!(read(&forged), ["`bo` signed it, and it is in the name of `ana`"]);
    let mut forged = records();
    let again = forged.iter().find(|record| approved(record, "bo")).unwrap().clone();
    forged.push(again);
    assert_eq!(read(&forged), ["what is signed in it was signed in another entry already"]);
    // Another key for somebody who has one, and one of somebody who was removed.
    let mut forged = records();
    let mut again = forged
        .iter()
        .find(|record| record.deed == Deed::OperatorAdd && record.subject.name.as_deref() == Some("bo"))
        .unwrap()
        .clone();
    let key = STANDARD.encode(other.verifying_key().as_bytes());
    again.facts.insert("public_key".to_owned(), serde_json::json!(key));
    let at = forged.iter().position(|record| approved(record, "bo")).unwrap();
    forged.insert(at, again.clone());
    assert_eq!(read(&forged), ["operator `bo` is added, and was one already"]);
    forged[at].deed = Deed::OperatorRemove;
    assert_eq!(read(&forged), ["it is signed with a key that is on record as none of `bo`"]);
}

#[tokio::test]
async fn a_request_that_somebody_approved_or_may_not_approve_does_not_keep_them_from_the_others() {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    let ana = named("ana");
    let mut all = Vec::new();
    for name in ["ONE", "TWO", "THREE"] {
        all.push(elsewhere(&world, &ask("example.com", name)).await);
    }
    let first = all[0].0.parse().unwrap();
    let rule = r#"
        @id("never-two") @reason("TWO is for others")
        forbid (principal == Keywright::Operator::"ana", action == Keywright::Action::"approve", resource)
        when { context.destinations.contains("embedded:web/elsewhere/TWO") };"#;
    let policies = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.apply_policy(&world.ana().await, &format!("{policies}{rule}")).await.unwrap();
    let found = world.broker.alike(&ana, first).await.unwrap();
    assert_eq!(found.len(), 1, "TWO is left out");
    assert_eq!(found[0].request.to_string(), all[2].0);
    let together = [all[0].clone(), all[2].clone()];
    let challenge = world.broker.offer_approvals(&ana, ORIGIN, &together).await.unwrap();
    let assertion = browser.signs(&challenge).await;
    let id = challenge.id.to_string();
    let receipts =
        world.broker.approve_together_with_passkey(&ana, &id, ORIGIN, assertion, WAIT).await.unwrap();
    assert!(receipts.iter().all(|receipt| receipt.status == Status::Active), "{receipts:?}");
    let refused = world.broker.offer_approvals(&ana, ORIGIN, &all[1..2]).await.unwrap_err();
    assert!(refused.message.contains("TWO is for others"), "{refused}");
}

#[tokio::test]
async fn what_takes_more_people_by_now_or_tells_others_is_not_approved_together() {
    let world = World::new().await;
    let _browser = enrolled(&world).await;
    let ana = named("ana");
    let mut all = Vec::new();
    for name in ["ONE", "TWO", "TOLD"] {
        all.push(elsewhere(&world, &ask("example.com", name)).await);
    }
    let first = all[0].0.parse().unwrap();
    assert_eq!(world.broker.alike(&ana, first).await.unwrap().len(), 2);
    let told = keywright_broker::consumers::NewConsumer {
        name: "deploy".parse().unwrap(),
        uses: keywright_core::consumer::Uses {
            project: "web".parse().unwrap(),
            environment: None,
            names: "TOLD*".parse().unwrap(),
        },
        way: keywright_broker::consumers::Way::Command(vec!["/bin/true".to_owned()]),
        patience: keywright_broker::consumers::PATIENCE,
    };
    world.broker.add_consumer(&world.ana().await, told).await.unwrap();
    assert_eq!(world.broker.alike(&ana, first).await.unwrap().len(), 1, "TOLD tells somebody else");
    let refused = world.broker.offer_approvals(&ana, ORIGIN, &all).await.unwrap_err();
    assert!(refused.message.contains("somebody else is told"), "{refused}");
    world.broker.offer_approvals(&ana, ORIGIN, &all[..2]).await.unwrap();

    // What waits was asked when one person was enough.
    let rule = r#"
        @id("two-now") @reason("two people look at it")
        forbid (principal, action == Keywright::Action::"mint", resource) when { context.approvals < 2 };"#;
    let policies = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.apply_policy(&world.ana().await, &format!("{policies}{rule}")).await.unwrap();
    assert_eq!(world.broker.alike(&ana, first).await.unwrap().len(), 0);
    let refused = world.broker.offer_approvals(&ana, ORIGIN, &all[..2]).await.unwrap_err();
    assert!(refused.message.contains("more than one person"), "{refused}");
    let shown = world.broker.review(&all[0].0, &Less::default()).await.unwrap();
    let keywright_broker::review::Pending::Key(review) = shown else { panic!("it is a key") };
    assert_eq!(review.needed, 2, "what is shown is what policy wants now");
}

/// A world with an agent, a person with a passkey, and a request that a touch approved; and that again as a grant would have it.
async fn approved(name: &str) -> (World, Browser, Likes) {
    let world = World::new().await;
    let mut browser = enrolled(&world).await;
    world.broker.add_agent(&world.ana().await, &"bot".parse().unwrap()).await.unwrap();
    let (request, digest) = elsewhere(&world, &ask("example.com", name)).await;
    let challenge = offered(&world, "ana", &request, &digest).await;
    let touch = browser.signs(&challenge).await;
    let receipt = approves(&world, "ana", &challenge.id.to_string(), touch).await.unwrap();
    assert_eq!(receipt.status, Status::Active);
    (world, browser, Likes { request, digest, days: 7, uses: Some(2), any_name: true })
}

fn pattern(text: &str) -> Vec<DestinationPattern> {
    vec![DestinationPattern::parse(text).unwrap()]
}

async fn grants_by(world: &World, who: &str, likes: &Likes) -> Result<Challenge, BrokerError> {
    world.broker.offer_grant(&named(who), ORIGIN, likes).await
}

async fn touches(world: &World, who: &str, id: &Challenge, touch: Assertion) -> Result<Done, BrokerError> {
    world.broker.touched_by(&named(who), &id.id.to_string(), ORIGIN, touch, WAIT).await
}

async fn asked_elsewhere(world: &World, name: &str) -> Receipt {
    let wish = Ask { environment: "elsewhere".to_owned(), ..ask("example.com", name) };
    world.request(&wish).await.unwrap()
}

#[tokio::test]
async fn a_touch_approves_requests_like_one_in_advance_and_anybody_can_check_it_again() {
    let (world, mut browser, likes) = approved("FIRST").await;
    let shown = world.broker.grant_like(&named("ana"), likes.request.parse().unwrap()).await.unwrap();
    assert_eq!(shown.grant.destinations, pattern("embedded:web/elsewhere/FIRST"));
    assert_eq!(shown.any_name, Some(pattern("embedded:web/elsewhere/*")));
    assert!(shown.is_taken, "the key that was made lies where a grant for its name only would lead");
    let challenge = grants_by(&world, "ana", &likes).await.unwrap();
    let touch = browser.signs(&challenge).await;
    let done = touches(&world, "ana", &challenge, touch.clone()).await.unwrap();
    assert!(matches!(&done, Done::Granted(agent, _) if agent == "bot"), "{done:?}");
    let replayed = touches(&world, "ana", &challenge, touch).await.unwrap_err();
    assert_eq!(replayed.code, Code::Conflict, "it was used up");

    // It says what the request was, and nothing more.
    let [given] = &world.broker.grants().await.unwrap()[..] else { panic!("one grant") };
    let grant = &given.grant;
    assert_eq!((grant.operator.as_str(), grant.agent.as_str(), grant.uses), ("ana", "bot", Some(2)));
    assert_eq!((grant.template.as_str(), grant.template_version), ("cloudflare/dns-edit", 1));
    assert_eq!((grant.project.as_str(), grant.environment.as_str()), ("web", "elsewhere"));
    assert_eq!(grant.parameters, [("zone".to_owned(), "example.com".to_owned())].into());
    assert!(!grant.any_parameters && grant.directory.is_none() && given.void.is_none());
    assert_eq!(grant.destinations, pattern("embedded:web/elsewhere/*"));
    assert_eq!(grant.ttl_max.to_string(), "30d");
    assert_eq!(grant.until.duration_since(grant.given_at), jiff::SignedDuration::from_hours(7 * 24));

    // It is used like any other, and what it does not cover waits.
    let second = asked_elsewhere(&world, "SECOND").await;
    assert_eq!(second.status, Status::Active, "{second:?}");
    assert_eq!(second.reasons, [format!("approved by standing grant {} of ana", grant.id)]);
    let long = Ask {
        environment: "elsewhere".to_owned(),
        ttl: Some("31d".to_owned()),
        ..ask("example.com", "LONG")
    };
    assert_eq!(world.request(&long).await.unwrap().status, Status::PendingApproval);
    let covered = world.broker.grant_like(&named("ana"), likes.request.parse().unwrap()).await.unwrap_err();
    assert!(covered.message.contains("covers such requests"), "{covered}");
    let by_grant = world.broker.grant_like(&named("ana"), second.request).await.unwrap_err();
    assert!(by_grant.message.contains("one did so already"), "{by_grant}");

    // The log keeps all of it, and each fact of the entry is what was signed.
    let filter = keywright_ledger::AuditFilter { limit: 10_000, ..keywright_ledger::AuditFilter::default() };
    let log = world.broker.log(filter).await.unwrap();
    let entry = log.iter().find(|entry| entry.record().deed == Deed::GrantAdd).unwrap().record();
    assert_eq!(entry.signatures[0].method, "webauthn");
    assert_eq!(signed_as_said(entry), Ok(()));
    for fact in [
        "agent",
        "template_version",
        "parameters",
        "any_parameters",
        "destinations",
        "directory",
        "ttl_max",
        "uses",
    ] {
        let mut edited = entry.clone();
        edited.facts.insert(fact.to_owned(), serde_json::json!({ "x": "y" }));
        assert!(signed_as_said(&edited).is_err(), "{fact}");
    }
    world.broker.publish_audit().await.unwrap();
    assert_eq!(world.broker.verify_audit().await.unwrap().findings, Vec::<String>::new());
    let never_added: Vec<Record> = log
        .iter()
        .map(|entry| entry.record().clone())
        .filter(|record| record.deed != Deed::PasskeyAdd)
        .collect();
    let looks = signed_by_whom_it_says();
    assert!(never_added.iter().any(|record| record.deed == Deed::GrantAdd && looks(record).is_err()));

    // As good after a restart, until the passkey is removed: then it counts for nothing, and says why.
    let world = world.restart().await;
    world
        .broker
        .remove_passkey(&world.ana().await, &world.broker.passkeys().await.unwrap()[0].id.to_string())
        .await
        .unwrap();
    let void = world.broker.grants().await.unwrap()[0].void.clone().unwrap();
    assert_eq!(void, "the passkey of ana that signed it was removed");
    let waits = asked_elsewhere(&world, "THIRD").await;
    assert_eq!(waits.status, Status::PendingApproval);
    assert!(waits.reasons.iter().any(|why| why.contains(&void)), "{waits:?}");
}

#[tokio::test]
async fn a_grant_for_a_place_that_is_taken_serves_when_its_key_has_ended_and_is_made_anew() {
    let (world, mut browser, likes) = approved("FIRST").await;
    let only = Likes { any_name: false, ..likes };
    let challenge = grants_by(&world, "ana", &only).await.unwrap();
    let touch = browser.signs(&challenge).await;
    touches(&world, "ana", &challenge, touch).await.unwrap();
    let grant = world.broker.grants().await.unwrap()[0].grant.clone();
    assert_eq!(grant.destinations, pattern("embedded:web/elsewhere/FIRST"));
    // Another name is none of it.
    assert_eq!(asked_elsewhere(&world, "SECOND").await.status, Status::PendingApproval);
    let ended = world.broker.revoke(&World::agent("bot"), "web/elsewhere/FIRST", "done").await.unwrap();
    assert_eq!(ended.status, Status::Revoked);
    let anew = asked_elsewhere(&world, "FIRST").await;
    assert_eq!(anew.status, Status::Active, "{anew:?}");
    assert_eq!(anew.reasons, [format!("approved by standing grant {} of ana", grant.id)]);
}

#[tokio::test]
async fn no_answer_but_the_right_one_gives_a_grant() {
    let (world, mut browser, likes) = approved("FIRST").await;
    let ana = world.ana().await;
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&ana, &named("bo"), passphrase()).await.unwrap();
    let bo = world.broker.operator(Some(&named("bo")), passphrase()).await.unwrap();
    let word = world.broker.invite_passkey(&bo, "phone", Counts::AtOnce).await.unwrap();
    let mut of_bo = Browser::new();
    of_bo.enrols(&world, &word, ORIGIN).await.unwrap();
    let offer = async || grants_by(&world, "ana", &likes).await.unwrap();
    let no = async |what: &str, who: &str, challenge: &Challenge, touch: Assertion| {
        let refused = touches(&world, who, challenge, touch).await.expect_err(what);
        assert_eq!(refused.code, Code::Unauthenticated, "{what}: {refused}");
        assert!(world.broker.grants().await.unwrap().is_empty(), "{what}");
    };
    // Signed for another grant of the very same kind, for a longer one, and for another deed.
    let longer = grants_by(&world, "ana", &Likes { days: 30, uses: None, ..likes.clone() }).await.unwrap();
    let pause = Act::Pause { agent: "bot".to_owned(), reason: "no".to_owned() };
    let pause = world.broker.offer_act(&named("ana"), ORIGIN, pause).await.unwrap();
    for (what, other) in [("another grant", offer().await), ("a longer one", longer), ("another deed", pause)]
    {
        let touch = browser.signs(&other).await;
        no(what, "ana", &offer().await, touch).await;
    }
    // Another operator's passkey, under either name, and a page of another origin.
    let challenge = offer().await;
    let any = |options: &mut Value| options["publicKey"]["allowCredentials"] = Value::Array(Vec::new());
    let touch = of_bo.signs_at(&challenge, ORIGIN, any).await;
    no("bo's passkey", "ana", &challenge, touch).await;
    let challenge = offer().await;
    let touch = browser.signs(&challenge).await;
    no("bo, with what was offered to ana", "bo", &challenge, touch).await;
    let challenge = offer().await;
    let touch = of_bo.signs_at(&challenge, ORIGIN, any).await;
    no("bo's passkey on what was offered to ana", "bo", &challenge, touch).await;
    for origin in ["http://localhost:4778", "https://localhost:4777"] {
        let challenge = offer().await;
        let touch = browser.signs_at(&challenge, origin, |_| ()).await;
        no(origin, "ana", &challenge, touch).await;
    }
    browser.is_recognised.store(false, Ordering::SeqCst);
    let challenge = offer().await;
    let discouraged = |options: &mut Value| options["publicKey"]["userVerification"] = "discouraged".into();
    let touch = browser.signs_at(&challenge, ORIGIN, discouraged).await;
    browser.is_recognised.store(true, Ordering::SeqCst);
    no("nobody was recognised", "ana", &challenge, touch).await;
    // Something that the page says was signed together with it makes no difference.
    let challenge = offer().await;
    let touch = Assertion { together: vec!["ab".repeat(32)], ..browser.signs(&offer().await).await };
    no("together", "ana", &challenge, touch).await;

    // A template that was applied anew between the page and the touch.
    let challenge = offer().await;
    let touch = browser.signs(&challenge).await;
    let other = keywright_testkit::DNS_EDIT.replace("90d", "80d");
    world.broker.apply_template(&ana, &other).await.unwrap();
    let anew = touches(&world, "ana", &challenge, touch).await.unwrap_err();
    assert!(anew.code == Code::Conflict && anew.message.contains("applied anew"), "{anew}");
    let anew = grants_by(&world, "ana", &likes).await.unwrap_err();
    assert!(anew.message.contains("applied anew"), "{anew}");
    assert!(world.broker.grants().await.unwrap().is_empty());
}

#[tokio::test]
async fn no_grant_is_offered_that_would_count_for_nothing_or_that_nobody_approved() {
    let (world, mut browser, likes) = approved("FIRST").await;
    let refused = async |likes: &Likes| grants_by(&world, "ana", likes).await.unwrap_err().message;
    let like = |(request, digest): (String, String)| Likes { request, digest, ..likes.clone() };
    let stale = Likes { digest: "ab".repeat(32), ..likes.clone() };
    assert!(refused(&stale).await.contains("not the one that you were shown"));
    let too_long = Likes { days: 91, ..likes.clone() };
    assert!(refused(&too_long).await.contains("at most 90d"));
    assert!(refused(&Likes { uses: Some(0), ..likes.clone() }).await.contains("at least one use"));
    let waits = elsewhere(&world, &ask("example.com", "WAITS")).await;
    assert!(refused(&like(waits)).await.contains("not one that was approved"));
    let production = waiting(&world, "PRODUCTION").await;
    let challenge = offered(&world, "ana", &production.0, &production.1).await;
    let touch = browser.signs(&challenge).await;
    approves(&world, "ana", &challenge.id.to_string(), touch).await.unwrap();
    assert!(refused(&like(production.clone())).await.contains("not one that was approved"));
    let passphrase = || Secret::new("another long passphrase".to_owned());
    world.broker.add_operator(&world.ana().await, &named("bo"), passphrase()).await.unwrap();
    let bo = world.broker.operator(Some(&named("bo")), passphrase()).await.unwrap();
    let less = Less::default();
    let made = world.broker.approve(&bo, &production.0, &production.1, &less, WAIT).await.unwrap();
    assert_eq!(made.status, Status::Active);
    assert!(refused(&like(production)).await.contains("production"));
    // Approved with a shorter life: the grant gives no longer one.
    let (id, _) = elsewhere(&world, &ask("example.com", "LESS")).await;
    let short = Less { ttl: Some("1d".to_owned()), without: Vec::new() };
    let Pending::Key(review) = world.broker.review(&id, &short).await.unwrap() else { panic!() };
    let made = world.broker.approve(&bo, &id, &review.digest, &short, WAIT).await.unwrap();
    assert_eq!(made.status, Status::Active);
    let shorter = world.broker.grant_like(&named("ana"), id.parse().unwrap()).await.unwrap();
    assert_eq!(shorter.grant.ttl_max.to_string(), "1d", "as it was approved, not as it was asked");
    // Approved without one of its template's permissions: a grant would give that one, too.
    let both = keywright_testkit::DNS_EDIT
        .replace("cloudflare/dns-edit", "cloudflare/dns-and-cache")
        .replace("[\"DNS Write\"]", "[\"DNS Write\", \"Cache Purge\"]")
        .replace("operations = [\"POST /zones/{zone_id}/dns_records\"]\n", "");
    world.broker.apply_template(&world.ana().await, &both).await.unwrap();
    let wish = Ask { template: "cloudflare/dns-and-cache".to_owned(), ..ask("example.com", "WITHOUT") };
    let (id, _) = elsewhere(&world, &wish).await;
    let without = Less { ttl: None, without: vec!["Cache Purge".to_owned()] };
    let Pending::Key(review) = world.broker.review(&id, &without).await.unwrap() else { panic!() };
    world.broker.approve(&bo, &id, &review.digest, &without, WAIT).await.unwrap();
    assert!(refused(&like((id, review.digest))).await.contains("approved with less"));
    // In `dev` policy lets it happen by itself.
    let at_once = world.request(&ask("example.com", "AT_ONCE")).await.unwrap();
    let Pending::Key(review) =
        world.broker.review(&at_once.request.to_string(), &Less::default()).await.unwrap()
    else {
        panic!()
    };
    let at_once = like((at_once.request.to_string(), review.digest));
    assert!(refused(&at_once).await.contains("policy wants no approval"));
    // Whoever may not approve the request gives no grant for its like, and somebody without a passkey there has nothing to sign.
    let rule = r#"
        @id("nobody-alone") @reason("ana approves nothing elsewhere")
        forbid (principal == Keywright::Operator::"ana", action == Keywright::Action::"approve", resource)
        when { context.environment == "elsewhere" };"#;
    let policies = keywright_core::policy::DEFAULT_POLICIES;
    let ana = world.ana().await;
    world.broker.apply_policy(&ana, &format!("{policies}{rule}")).await.unwrap();
    assert!(refused(&likes).await.contains("ana approves nothing elsewhere"));
    world.broker.apply_policy(&ana, policies).await.unwrap();
    world.broker.remove_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    assert!(refused(&likes).await.contains("the agent was removed"));
}

#[tokio::test]
async fn a_grant_that_a_touch_gave_counts_only_as_it_was_signed() {
    if keywright_testkit::Database::wanted().is_some() {
        return;
    }
    let (world, mut browser, likes) = approved("FIRST").await;
    for days in [7, 30] {
        let challenge = grants_by(&world, "ana", &Likes { days, ..likes.clone() }).await.unwrap();
        let touch = browser.signs(&challenge).await;
        touches(&world, "ana", &challenge, touch).await.unwrap();
    }
    let edit = |sql: &str| {
        let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
        ledger.busy_timeout(Duration::from_secs(10)).unwrap();
        ledger.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        ledger.execute_batch(sql).unwrap();
    };
    for (number, change) in [
        "uses = NULL",
        "ttl_max = ttl_max * 2",
        "destinations = '[\"dotenv:*\",\"embedded:*\"]'",
        "signature = (SELECT signature FROM kept ORDER BY name DESC LIMIT 1)",
        "signature = zeroblob(64)",
        "signature = replace(CAST(signature AS TEXT), 'authenticatorData', 'x')",
    ]
    .into_iter()
    .enumerate()
    {
        edit(&format!(
            "CREATE TABLE kept AS SELECT * FROM grants; UPDATE grants SET {change} WHERE name = (SELECT MIN(name) FROM kept); \
                       UPDATE grants SET removed_at = 1 WHERE name <> (SELECT MIN(name) FROM kept)"
        ));
        let waits = asked_elsewhere(&world, &format!("EDITED_{number}")).await;
        assert_eq!(waits.status, Status::PendingApproval, "{change}");
        edit("DELETE FROM grants; INSERT INTO grants SELECT * FROM kept; DROP TABLE kept");
    }
    assert_eq!(asked_elsewhere(&world, "AS_SIGNED").await.status, Status::Active);
}

#[tokio::test]
async fn a_touch_removes_one_grant_and_the_log_says_which() {
    let (world, mut browser, likes) = approved("FIRST").await;
    let given = async |browser: &mut Browser, likes: &Likes| {
        let challenge = grants_by(&world, "ana", likes).await.unwrap();
        let touch = browser.signs(&challenge).await;
        touches(&world, "ana", &challenge, touch).await.unwrap();
    };
    given(&mut browser, &likes).await;
    given(&mut browser, &Likes { days: 1, ..likes.clone() }).await;
    let ids: Vec<String> =
        world.broker.grants().await.unwrap().iter().map(|one| one.grant.id.to_string()).collect();
    let offer = async |grant: &str| {
        let act = Act::RemoveGrant { grant: grant.to_owned() };
        world.broker.offer_act(&named("ana"), ORIGIN, act).await
    };
    assert_eq!(offer("none").await.unwrap_err().code, Code::InvalidArgument);
    // Signed for the other one.
    let (other, challenge) = (offer(&ids[1]).await.unwrap(), offer(&ids[0]).await.unwrap());
    let touch = browser.signs(&other).await;
    assert_eq!(touches(&world, "ana", &challenge, touch).await.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(world.broker.grants().await.unwrap().len(), 2);
    let challenge = offer(&ids[0]).await.unwrap();
    let touch = browser.signs(&challenge).await;
    assert_eq!(touches(&world, "ana", &challenge, touch).await.unwrap(), Done::Agent("bot".to_owned()));
    let left: Vec<String> =
        world.broker.grants().await.unwrap().iter().map(|one| one.grant.id.to_string()).collect();
    assert_eq!(left, ids[1..]);
    let log = world.broker.log(keywright_ledger::AuditFilter::default()).await.unwrap();
    let touch =
        log.iter().map(|entry| entry.record()).find(|record| record.deed == Deed::OperatorTouch).unwrap();
    assert_eq!(signed_as_said(touch), Ok(()));
    assert_eq!(
        (&touch.facts["deed"], &touch.facts["subject"]),
        (&"grant.remove".into(), &ids[0].as_str().into())
    );
    assert!(log.iter().any(|entry| entry.record().deed == Deed::GrantRemove));
}
