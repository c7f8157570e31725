//! Sessions of a role: asked for with all that confines them.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_core::provider::{ProviderError, Recovery};
use serde_json::{Value, json};

use super::{ACCOUNT, Aws, REGION, ROLE, boto3, case, sessions, wish};
use crate::support::Fault;
use crate::support::contract::{ProviderCase, Wish, marker};

#[tokio::test]
async fn a_session_is_asked_for_with_everything_that_confines_and_names_it() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    let case = case(&aws, ROLE, "~Action=AssumeRole&", sessions(&aws)).await;
    assert_eq!(case.provider.facts().recovery, Recovery::Expiry);
    let (grant, minted) = case.mint(7).await;
    let minted = minted.unwrap();
    let seen = case.proxy.seen();
    let call = seen.iter().find(|call| call.is("POST", "~Action=AssumeRole&")).unwrap();
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&call.body).into_owned().collect();
    let policy: Value = serde_json::from_str(&form["Policy"]).unwrap();
    let ends = grant.expires_at.unwrap().to_string();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Condition"]["DateLessThan"]["aws:CurrentTime"], json!(ends));
    }
    assert_eq!(policy["Statement"][2]["Resource"], json!([format!("arn:aws:sqs:{REGION}:{ACCOUNT}:jobs")]));
    assert_eq!(form["RoleArn"], format!("arn:aws:iam::{ACCOUNT}:role/minting"));
    assert_eq!(form["RoleSessionName"], marker(7).to_string());
    assert_eq!(
        (form["SourceIdentity"].as_str(), form["Tags.member.1.Value"].as_str()),
        ("builder", "builder")
    );
    assert!(form["Tags.member.2.Value"].starts_with("req_"));
    assert!((3_590..=3_600).contains(&form["DurationSeconds"].parse::<i64>().unwrap()));
    // The document that the AWS CLI and the SDKs read.
    let document: Value = serde_json::from_str(minted.secret.expose_secret()).unwrap();
    assert_eq!((&document["Version"], &document["AccessKeyId"]), (&json!(1), &json!(minted.provider_key_id)));
    let part = |name: &str| document[name].as_str().unwrap().to_owned();
    let who = boto3(
        &aws.url,
        &part("AccessKeyId"),
        &part("SecretAccessKey"),
        Some(&part("SessionToken")),
        r#"print(client("sts").get_caller_identity()["Arn"])"#,
        &[],
    )
    .await;
    assert!(who.trim().ends_with(&format!("assumed-role/minting/{}", marker(7))));
    let boto_reads = r#"
from botocore.credentials import ProcessProvider
import tempfile
path = tempfile.mkdtemp() + "/key.json"
open(path, "w").write(arguments[0])
profile = {"profiles": {"it": {"credential_process": f"cat {path}"}}}
credentials = ProcessProvider("it", lambda: profile).load().get_frozen_credentials()
print(credentials.access_key, credentials.secret_key == json.loads(arguments[0])["SecretAccessKey"])"#;
    let said = aws.python(boto_reads, &[minted.secret.expose_secret()]).await;
    assert_eq!(said.trim(), format!("{} True", minted.provider_key_id));
}

#[tokio::test]
async fn a_session_that_is_not_what_was_asked_for_is_no_key() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    let case = case(&aws, ROLE, "~Action=AssumeRole&", sessions(&aws)).await;
    let answer = |name: &str, ends: &str, id: &str| Fault::Answer {
        status: 200,
        headers: "Content-Type: text/xml\r\n",
        body: format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>{ends}</Expiration></Credentials><AssumedRoleUser><Arn>arn:aws:sts::{ACCOUNT}:\
             assumed-role/minting/{name}</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
        ),
    };
    let (own, soon) =
        (marker(11).to_string(), (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string());
    for (what, fault) in [
        ("another name", answer("somebody", &soon, "ASIAIOSFODNN7EXAMPLE")),
        ("a later end", answer(&own, "2099-01-01T00:00:00Z", "ASIAIOSFODNN7EXAMPLE")),
        ("no end", answer(&own, "", "ASIAIOSFODNN7EXAMPLE")),
        ("no id", answer(&own, &soon, "")),
    ] {
        case.proxy.next("POST", "~Action=AssumeRole&", fault);
        let error = case.mint(11).await.1.err().unwrap();
        assert!(matches!(error, ProviderError::OutcomeUnknown { .. }), "{what}: {error}");
    }
    case.proxy.next("POST", "~Action=AssumeRole&", answer(&own, &soon, "ASIAIOSFODNN7EXAMPLE"));
    assert_eq!(case.mint(11).await.1.unwrap().provider_key_id, "ASIAIOSFODNN7EXAMPLE");
    // Longer than any session.
    let long = ProviderCase { wish: Wish { ttl: "13h", ..wish() }, ..case };
    let error = long.mint(12).await.1.err().unwrap();
    assert!(error.to_string().contains("12 hours"), "{error}");
}
