//! Secrets Manager and the parameters of Systems Manager.

use std::sync::Arc;

use keywright_adapters::store::{StoreConfig, connect};
use keywright_core::name::KeyName;
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode, Write, Written};

use super::{Aws, REGION, boto3};
use crate::support::contract::{Limits, Network, StoreCase, VALUE, keeps_the_stores_contract, origin};
use crate::support::{Fault, Proxy};

fn store(kind: &str, url: &str, credential: &str) -> Box<dyn Store> {
    let extra = [("region", REGION), ("timeout", "8s")];
    let extra = extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config = StoreConfig { name: kind.parse().unwrap(), address: Some(url.to_owned()), extra };
    connect(kind, config, Some(Secret::new(credential.to_owned()))).unwrap()
}

/// How boto3 reads a place, and how it puts something there.
#[derive(Clone, Copy)]
struct Peerly {
    read: &'static str,
    put: &'static str,
}

const SECRETS: (&str, Peerly) = (
    "aws-secrets-manager",
    Peerly {
        read: r#"
try: print(client("secretsmanager").get_secret_value(SecretId=arguments[0], VersionStage="AWSCURRENT")["SecretString"])
except ClientError as error: assert error.response["Error"]["Code"] in ("ResourceNotFoundException", "InvalidRequestException")
"#,
        put: r#"client("secretsmanager").create_secret(Name=arguments[0], SecretString=arguments[1])"#,
    },
);
const PARAMETERS: (&str, Peerly) = (
    "aws-ssm",
    Peerly {
        read: r#"
try:
    parameter = client("ssm").get_parameter(Name=arguments[0], WithDecryption=True)["Parameter"]
    assert parameter["Type"] in ("SecureString", "String"), parameter
    print(parameter["Value"])
except client("ssm").exceptions.ParameterNotFound: pass
"#,
        put: r#"client("ssm").put_parameter(Name=arguments[0], Value=arguments[1], Type="String")"#,
    },
);

/// A refusal of the JSON APIs, with the code that goes with the status.
fn said(status: u16) -> String {
    let code = match status {
        401 => "UnrecognizedClientException",
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        409 => "ResourceExistsException",
        _ => "ThrottlingException",
    };
    format!(r#"{{"__type":"{code}","message":"refused with {status}"}}"#)
}

async fn case(aws: &Arc<Aws>, (kind, peerly): (&'static str, Peerly)) -> StoreCase {
    let (reader, writer) = (Arc::clone(aws), Arc::clone(aws));
    let credential = aws.credential();
    let open = Box::new(move |url: &str| store(kind, url, &credential));
    let (store, network) = Network::before(&aws.url, said, open).await;
    StoreCase {
        store,
        network,
        place: "/it/place_{}".to_owned(),
        limits: Limits::of("/it/", 'a', if kind == PARAMETERS.0 { 896 } else { 508 }, ""),
        read: Box::new(move |place| {
            let aws = Arc::clone(&reader);
            Box::pin(async move {
                let said = aws.python(peerly.read, &[&place]).await;
                said.strip_suffix('\n').map(str::to_owned)
            })
        }),
        put_foreign: Box::new(move |place, value| {
            let aws = Arc::clone(&writer);
            Box::pin(async move { drop(aws.python(peerly.put, &[&place, &value]).await) })
        }),
        secrets: vec![aws.secret.clone()],
        peer: Box::new(Arc::clone(aws)),
    }
}

fn at(place: &str) -> Destination {
    Destination { place: Place { store: "it".parse().unwrap(), place: place.to_owned() }, base: None }
}

/// Writes as an attempt, under an expectation.
async fn put(
    store: &dyn Store,
    place: &str,
    seed: u8,
    value: &str,
    expected: Presence,
) -> Result<Written, StoreError> {
    let (destination, origin, secret) = (at(place), origin(seed), Secret::new(value.to_owned()));
    store.write(&Write { destination: &destination, expected, origin: &origin, secret: &secret }).await
}

async fn verify(
    store: &dyn Store,
    place: &str,
    seed: u8,
    value: &str,
    written: &Written,
) -> Result<VerifyMode, StoreError> {
    let (destination, origin, secret) = (at(place), origin(seed), Secret::new(value.to_owned()));
    let write =
        Write { destination: &destination, expected: Presence::Absent, origin: &origin, secret: &secret };
    store.verify(&write, written).await
}

/// The labels of a secret's versions, without those that have none.
const LABELS: &str = r#"
stages = client("secretsmanager").describe_secret(SecretId=arguments[0])["VersionIdsToStages"]
print(json.dumps({version[:4]: sorted(labels) for version, labels in sorted(stages.items()) if labels}),
      len([1 for labels in stages.values() if "AWSCURRENT" in labels]))
"#;

#[tokio::test]
async fn secrets_manager_keeps_the_contract() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    keeps_the_stores_contract(async || case(&aws, SECRETS).await).await;
}

#[tokio::test]
async fn parameters_keep_the_contract() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    keeps_the_stores_contract(async || case(&aws, PARAMETERS).await).await;
}

#[tokio::test]
async fn a_secret_takes_anothers_place_whatever_call_is_lost() {
    let Some(aws) = Aws::start().await else { return };
    let proxy = Proxy::start(&aws.url).await;
    let store = store(SECRETS.0, &proxy.url, &aws.credential());
    let calls = ["PutSecretValue", "UpdateSecretVersionStage"];
    let faults =
        [Fault::LostBefore, Fault::LostAfter, Fault::Echo { status: 500 }, Fault::Echo { status: 400 }];
    let mut number = 0;
    for call in calls {
        for fault in &faults {
            number += 1;
            let place = format!("it/{number}");
            let first = put(store.as_ref(), &place, 1, VALUE, Presence::Absent).await.unwrap();
            let present = store.look(&at(&place)).await.unwrap();
            let token = first.store_version.unwrap();
            assert!(
                matches!(&present, Presence::Ours { store_version: Some(version), .. } if *version == token)
            );
            for _ in 0..5 {
                proxy.next("POST", &format!("~{call}"), fault.clone());
            }
            let failed = put(store.as_ref(), &place, 2, "the next", present.clone()).await;
            assert!(proxy.unmet() < 5, "{call}: it was sent");
            assert!(
                failed.as_ref().err().is_none_or(StoreError::is_transient),
                "{call} {fault:?}: {failed:?}"
            );
            let written = put(store.as_ref(), &place, 2, "the next", present).await.unwrap();
            assert_eq!(
                verify(store.as_ref(), &place, 2, "the next", &written).await.unwrap(),
                VerifyMode::ReadBack
            );
            let (labels, current) = {
                let said = aws.python(LABELS, &[&place]).await;
                let (labels, current) = said.trim().rsplit_once(' ').unwrap();
                (labels.to_owned(), current.to_owned())
            };
            assert!(current == "1" && !labels.contains("AWSPENDING"), "{call} {fault:?}: {labels} {current}");
        }
    }
}

#[tokio::test]
async fn what_somebody_changed_by_hand_is_not_ours_any_more() {
    let Some(aws) = Aws::start().await else { return };
    let changes = [
        (
            SECRETS.0,
            r#"
secrets, version = client("secretsmanager"), "by-hand-by-hand-by-hand-by-hand-by-hand"
old = next(v for v, labels in secrets.describe_secret(SecretId=arguments[0])["VersionIdsToStages"].items() if "AWSCURRENT" in labels)
secrets.put_secret_value(SecretId=arguments[0], SecretString="mine", ClientRequestToken=version, VersionStages=["HAND"])
secrets.update_secret_version_stage(SecretId=arguments[0], VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=old)"#,
            SECRETS.1.read,
        ),
        (
            PARAMETERS.0,
            r#"client("ssm").put_parameter(Name=arguments[0], Value="mine", Type="SecureString", Overwrite=True)"#,
            PARAMETERS.1.read,
        ),
    ];
    for (kind, by_hand, read) in changes {
        let store = store(kind, &aws.url, &aws.credential());
        let place = "/it/changed";
        let written = put(store.as_ref(), place, 1, VALUE, Presence::Absent).await.unwrap();
        let present = store.look(&at(place)).await.unwrap();
        aws.python(by_hand, &[place]).await;
        assert_eq!(store.look(&at(place)).await.unwrap(), Presence::Foreign, "{kind}");
        let unseen = verify(store.as_ref(), place, 1, VALUE, &written).await;
        assert!(matches!(unseen, Err(StoreError::Mismatch { .. })), "{kind}: {unseen:?}");
        for (seed, expected) in [(1, Presence::Absent), (2, present)] {
            let refused = put(store.as_ref(), place, seed, "new", expected).await;
            assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{kind}: {refused:?}");
        }
        store.remove(&origin(1), &at(place)).await.unwrap();
        assert_eq!(aws.python(read, &[place]).await, "mine\n", "{kind}");
        // Unless an operator says so.
        put(store.as_ref(), place, 3, "adopted", Presence::Foreign).await.unwrap();
        assert_eq!(aws.python(read, &[place]).await, "adopted\n", "{kind}");
        assert!(matches!(store.look(&at(place)).await.unwrap(), Presence::Ours { .. }), "{kind}");
    }
}

#[tokio::test]
async fn an_expectation_that_is_not_true_any_more_stops_a_write() {
    let Some(aws) = Aws::start().await else { return };
    for (kind, read) in [(SECRETS.0, SECRETS.1.read), (PARAMETERS.0, PARAMETERS.1.read)] {
        let store = store(kind, &aws.url, &aws.credential());
        let place = "/it/raced";
        put(store.as_ref(), place, 1, "first", Presence::Absent).await.unwrap();
        let seen = store.look(&at(place)).await.unwrap();
        put(store.as_ref(), place, 2, "second", seen.clone()).await.unwrap();
        for expected in [seen, Presence::Absent, Presence::Foreign] {
            let refused = put(store.as_ref(), place, 3, "third", expected).await;
            assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{kind}: {refused:?}");
        }
        assert_eq!(aws.python(read, &[place]).await, "second\n", "{kind}");
    }
}

#[tokio::test]
async fn a_removed_secret_can_be_restored_and_its_name_is_free_for_us_only() {
    let Some(aws) = Aws::start().await else { return };
    let proxy = Proxy::start(&aws.url).await;
    let store = store(SECRETS.0, &proxy.url, &aws.credential());
    put(store.as_ref(), "it/ours", 1, VALUE, Presence::Absent).await.unwrap();
    store.remove(&origin(1), &at("it/ours")).await.unwrap();
    let deleted =
        r#"print("DeletedDate" in client("secretsmanager").describe_secret(SecretId=arguments[0]))"#;
    assert_eq!(aws.python(deleted, &["it/ours"]).await, "True\n");
    assert_eq!(store.look(&at("it/ours")).await.unwrap(), Presence::Absent);
    let written = put(store.as_ref(), "it/ours", 2, "again", Presence::Absent).await.unwrap();
    assert_eq!(verify(store.as_ref(), "it/ours", 2, "again", &written).await.unwrap(), VerifyMode::ReadBack);
    assert_eq!(aws.python(deleted, &["it/ours"]).await, "False\n");
    // Restored, and then the value is lost on its way: what lies there now is what the next try replaces.
    store.remove(&origin(2), &at("it/ours")).await.unwrap();
    for _ in 0..5 {
        proxy.next("POST", "~PutSecretValue", Fault::LostBefore);
    }
    let lost = put(store.as_ref(), "it/ours", 4, "a third", Presence::Absent).await;
    assert!(proxy.unmet() < 5 && lost.as_ref().is_err_and(StoreError::is_transient), "{lost:?}");
    let restored = store.look(&at("it/ours")).await.unwrap();
    assert!(matches!(&restored, Presence::Ours { marker: Some(marker), .. } if *marker == origin(2).marker));
    put(store.as_ref(), "it/ours", 4, "a third", restored).await.unwrap();
    assert_eq!(aws.python(SECRETS.1.read, &["it/ours"]).await, "a third\n");
    // What somebody else deleted may be restored by them.
    let theirs = r#"
secrets = client("secretsmanager")
secrets.create_secret(Name=arguments[0], SecretString="theirs")
secrets.delete_secret(SecretId=arguments[0], RecoveryWindowInDays=7)"#;
    aws.python(theirs, &["it/theirs"]).await;
    assert_eq!(store.look(&at("it/theirs")).await.unwrap(), Presence::Foreign);
    let refused = put(store.as_ref(), "it/theirs", 3, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(aws.python(deleted, &["it/theirs"]).await, "True\n");
}

#[tokio::test]
async fn a_credential_that_may_not_read_verifies_by_version() {
    let Some(aws) = Aws::start().await else { return };
    let writer = r#"
iam = client("iam")
iam.create_user(UserName="writer")
actions = ["secretsmanager:DescribeSecret", "secretsmanager:CreateSecret", "ssm:DescribeParameters", "ssm:PutParameter"]
iam.put_user_policy(UserName="writer", PolicyName="write", PolicyDocument=policy(actions, Resource="*"))
key = iam.create_access_key(UserName="writer")["AccessKey"]
print(key["AccessKeyId"] + ":" + key["SecretAccessKey"], end="")"#;
    let credential = aws.python(writer, &[]).await;
    for kind in [SECRETS.0, PARAMETERS.0] {
        let store = store(kind, &aws.url, &credential);
        store.check().await.unwrap();
        let written = put(store.as_ref(), "/it/blind", 1, VALUE, Presence::Absent).await.unwrap();
        let mode = verify(store.as_ref(), "/it/blind", 1, VALUE, &written).await.unwrap();
        assert_eq!(mode, VerifyMode::VersionMoved, "{kind}");
        // And it can't take it back, which it says.
        let kept = store.remove(&origin(1), &at("/it/blind")).await;
        assert!(kept.is_err(), "{kind}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_by_its_signature_and_quoted_nowhere() {
    let Some(aws) = Aws::start().await else { return };
    let wrong = "wrongwrongwrong/wrong+wrongwrongwrongwro";
    for kind in [SECRETS.0, PARAMETERS.0] {
        let error = store(kind, &aws.url, &format!("{}:{wrong}", aws.id)).check().await.unwrap_err();
        assert!(matches!(error, StoreError::Unauthorized { .. }), "{error}");
        assert!(!format!("{error:?} {error}").contains(wrong));
        // The same calls, signed with the right one.
        store(kind, &aws.url, &aws.credential()).check().await.unwrap();
        let said = boto3(
            &aws.url,
            &aws.id,
            &aws.secret,
            None,
            r#"print(client("sts").get_caller_identity()["Arn"])"#,
            &[],
        );
        assert!(said.await.contains("broker"));
    }
}

#[tokio::test]
async fn places_and_settings_are_judged_without_the_network() {
    let nowhere = "http://127.0.0.1:9";
    let accept = async |kind: &str, place: &str| {
        let name = KeyName::parse("IT_TOKEN").unwrap();
        store(kind, nowhere, "AKIAIOSFODNN7EXAMPLE:secret").accept(at(place), &name, None).await.is_ok()
    };
    for (kind, place, fits) in [
        (SECRETS.0, "web/dev/KEY", true),
        (SECRETS.0, "it/what-abcdef", false),
        (SECRETS.0, "it/a b", false),
        (SECRETS.0, "it/*", false),
        (PARAMETERS.0, "/web/dev/KEY", true),
        (PARAMETERS.0, "KEY", true),
        (PARAMETERS.0, "web/dev/KEY", false),
        (PARAMETERS.0, "/web//KEY", false),
        (PARAMETERS.0, "/aws/KEY", false),
        (PARAMETERS.0, "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", false),
        (PARAMETERS.0, "KEY:3", false),
    ] {
        assert_eq!(accept(kind, place).await, fits, "{kind} {place}");
    }
    let open = |extra: &[(&str, &str)], credential: &str| {
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = StoreConfig { name: "it".parse().unwrap(), address: None, extra };
        connect(SECRETS.0, config, Some(Secret::new(credential.to_owned())))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let good = "AKIAIOSFODNN7EXAMPLE:secret";
    open(&[("region", REGION), ("prefix", "keywright/"), ("recovery_days", "30")], good).unwrap();
    for (extra, credential, says) in [
        (&[][..], good, "region"),
        (&[("region", "evil.example/")], good, "no region"),
        (&[("region", REGION), ("recovery_days", "0")], good, "7 to 30"),
        (&[("region", REGION)], "secret-alone-secret-alone", "ACCESS_KEY_ID:SECRET_ACCESS_KEY"),
    ] {
        let error = open(extra, credential).unwrap_err();
        assert!(error.contains(says) && !error.contains("secret-alone"), "{error}");
    }
}

#[tokio::test]
async fn a_value_that_would_be_taken_for_a_reference_is_refused() {
    let store = store(PARAMETERS.0, "http://127.0.0.1:9", "AKIAIOSFODNN7EXAMPLE:secret");
    for value in ["{{ssm:/other}}".to_owned(), "x".repeat(4_097)] {
        let refused = put(store.as_ref(), "/it/odd", 1, &value, Presence::Absent).await;
        assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_as_that_by_both_stores() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    fn json(words: &str) -> (u16, String) {
        (400, serde_json::json!({"__type": "InvalidSignatureException", "message": words}).to_string())
    }
    for kind in [SECRETS, PARAMETERS] {
        let case = case(&aws, kind).await;
        let proxy = &case.network.as_ref().unwrap().proxy;
        let at = case.destination(1).await;
        for ahead in [3_600, -3_600] {
            proxy.fail_from(0, Fault::Clock { ahead, said: json });
            for error in [
                case.store.check().await.unwrap_err(),
                case.store.look(&at).await.unwrap_err(),
                case.put(&at, 1, VALUE, Presence::Absent).await.unwrap_err(),
            ] {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
                assert!(error.to_string().contains("this machine's clock is off"), "{error}");
            }
            assert!(proxy.met() >= 3);
        }
        proxy.fail_from(0, Fault::Clock { ahead: 600, said: json });
        assert_eq!(case.store.look(&at).await, Ok(Presence::Absent));
    }
}
