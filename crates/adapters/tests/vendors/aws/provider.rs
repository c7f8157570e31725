//! The provider: sessions of a role, and users of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Permission, Resource};
use keywright_core::provider::{Listing, Provider, ProviderError, Recovery};
use keywright_core::secret::Secret;
use serde_json::{Value, json};

use super::{ACCOUNT, Aws, REGION, boto3};
use crate::support::contract::{Count, ProviderCase, Wish, keeps_the_providers_contract, marker};
use crate::support::{Fault, Proxy};

pub const ROLE: &[(&str, &str)] = &[("role", "minting")];
pub const USER: &[(&str, &str)] = &[("mode", "user")];
/// moto forgets the boundary of a user.
const BOUNDED: &[(&str, &str)] = &[("mode", "user"), ("boundary", "bound")];

fn config(url: &str, account: &str, settings: &[(&str, &str)]) -> ConnectionConfig {
    let mut extra: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    extra.entry("region".to_owned()).or_insert_with(|| REGION.to_owned());
    extra.entry("probe_for".to_owned()).or_insert_with(|| "1s".to_owned());
    extra.entry("timeout".to_owned()).or_insert_with(|| "8s".to_owned());
    ConnectionConfig { base_url: Some(url.to_owned()), account: Some(account.to_owned()), extra }
}

fn provider(url: &str, credential: &str, settings: &[(&str, &str)]) -> Box<dyn Provider> {
    connect("aws", config(url, ACCOUNT, settings), Secret::new(credential.to_owned())).unwrap()
}

fn wish() -> Wish {
    let permission =
        |id: &str, scope: &str| Permission { id: id.into(), name: id.into(), scope: scope.into() };
    Wish {
        provider: "aws",
        permissions: vec![
            permission("s3:GetObject", "s3_object"),
            permission("s3:ListBucket", "s3_bucket"),
            permission("sqs:SendMessage", "sqs_queue"),
        ],
        resources: vec![
            Resource {
                kind: "aws.s3_bucket".into(),
                id: "arn:aws:s3:::assets".into(),
                name: "assets".into(),
            },
            Resource {
                kind: "aws.sqs_queue".into(),
                id: format!("arn:aws:sqs:{REGION}:{ACCOUNT}:jobs"),
                name: "jobs".into(),
            },
        ],
        ttl: "1h",
        budget_cents: None,
    }
}

/// How many users or sessions of a name there are.
const USERS: &str = r#"print(sum(user["UserName"] == arguments[0] for page in client("iam").get_paginator("list_users").paginate() for user in page["Users"]))"#;

/// A refusal of the Query APIs, with the code that goes with the status.
fn said(status: u16) -> String {
    let code = match status {
        401 => "InvalidClientTokenId",
        403 => "AccessDenied",
        404 => "NoSuchEntity",
        409 => "EntityAlreadyExists",
        _ => "Throttling",
    };
    format!("<ErrorResponse><Error><Code>{code}</Code><Message>refused</Message></Error></ErrorResponse>")
}

async fn case(aws: &Arc<Aws>, settings: &[(&str, &str)], create: &'static str, live: Count) -> ProviderCase {
    let proxy = Proxy::start(&aws.url).await;
    ProviderCase {
        provider: provider(&proxy.url, &aws.credential(), settings),
        create: ("POST", create),
        live,
        secrets: vec![aws.secret.clone()],
        peer: Box::new(Arc::clone(aws)),
        ..before(proxy, settings)
    }
}

/// A case that nobody answers yet.
pub fn before(proxy: Proxy, settings: &[(&str, &str)]) -> ProviderCase {
    ProviderCase {
        provider: provider(&proxy.url, "AKIAIOSFODNN7EXAMPLE:secret", settings),
        proxy,
        wish: wish(),
        create: ("POST", ""),
        live: Box::new(|_| Box::pin(async { 0 })),
        resolve: ("aws.s3_bucket", "assets".to_owned()),
        said,
        secrets: Vec::new(),
        believed: &[],
        is_slow: true,
        peer: Box::new(()),
    }
}

fn users(aws: &Arc<Aws>) -> Count {
    let aws = Arc::clone(aws);
    Box::new(move |name| {
        let aws = Arc::clone(&aws);
        Box::pin(async move { aws.python(USERS, &[&name]).await.trim().parse().unwrap() })
    })
}

/// What moto knows of sessions; AWS says nothing about them.
fn sessions(aws: &Arc<Aws>) -> Count {
    let url = aws.url.clone();
    Box::new(move |name| {
        let url = format!("{url}/moto-api/data.json");
        Box::pin(async move {
            let data: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
            let all = data["sts"]["AssumedRole"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|session| session["session_name"] == name.as_str()).count()
        })
    })
}

#[tokio::test]
async fn sessions_keep_the_contract() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    keeps_the_providers_contract(async || case(&aws, ROLE, "~Action=AssumeRole&", sessions(&aws)).await)
        .await;
}

#[tokio::test]
async fn users_keep_the_contract() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    keeps_the_providers_contract(async || case(&aws, USER, "~Action=CreateAccessKey&", users(&aws)).await)
        .await;
}

#[tokio::test]
async fn no_step_of_making_a_user_leaves_one_behind_that_nobody_knows_of() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    let case = case(&aws, USER, "", users(&aws)).await;
    let refused = |status: u16, code: &str| Fault::Answer {
        status,
        headers: "Content-Type: text/xml\r\n",
        body: format!(
            "<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
        ),
    };
    let faults = [
        (Fault::LostBefore, false),
        (Fault::LostAfter, false),
        (Fault::Echo { status: 400 }, false),
        (refused(403, "AccessDenied"), true),
        (refused(409, "LimitExceeded"), true),
        (refused(400, "MalformedPolicyDocument"), true),
    ];
    let mut number = 500;
    for step in ["CreateUser", "PutUserPolicy", "CreateAccessKey"] {
        for (fault, is_certain) in &faults {
            number += 1;
            case.proxy.next("POST", &format!("~Action={step}&"), fault.clone());
            let error = case.mint(number).await.1.err().unwrap();
            assert_eq!(case.proxy.unmet(), 0, "{step}: it was sent");
            let name = marker(number).to_string();
            let left = (case.live)(name.clone()).await;
            let unknown = matches!(error, ProviderError::OutcomeUnknown { .. });
            assert_eq!(unknown, !is_certain, "{step} {fault:?}: {error}");
            assert!(unknown || left == 0, "{step} {fault:?}: {error}");
            // What the broker does with what it finds.
            let listed = case.provider.list(Listing::Marked).await.unwrap();
            let found: Vec<_> = listed.iter().filter(|one| one.label.raw() == name).collect();
            assert_eq!(found.len(), left);
            for one in found {
                case.provider.revoke(&one.provider_key_id).await.unwrap();
            }
            assert_eq!((case.live)(name).await, 0, "{step} {fault:?}");
        }
    }
}

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
async fn a_user_has_one_policy_and_one_key_and_anything_else_is_seen() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    let case = case(&aws, USER, "~Action=CreateAccessKey&", users(&aws)).await;
    assert_eq!(case.provider.facts().recovery, Recovery::Container);
    let (grant, minted) = case.mint(8).await;
    let id = minted.unwrap().provider_key_id;
    let seen = case.proxy.seen();
    let about_keys = |call: &&crate::support::proxy::Seen| call.is("POST", "~AccessKey");
    assert!(seen.iter().filter(about_keys).all(|call| call.is("POST", &format!("~UserName={id}"))));
    let changes = [
        (
            "an attached policy",
            r#"iam.attach_user_policy(UserName=arguments[0], PolicyArn=arguments[1])"#,
            r#"iam.detach_user_policy(UserName=arguments[0], PolicyArn=arguments[1])"#,
        ),
        (
            "a policy more",
            r#"iam.put_user_policy(UserName=arguments[0], PolicyName="more", PolicyDocument=policy("*", Resource="*"))"#,
            r#"iam.delete_user_policy(UserName=arguments[0], PolicyName="more")"#,
        ),
        (
            "a group",
            r#"iam.create_group(GroupName="all"); iam.add_user_to_group(GroupName="all", UserName=arguments[0])"#,
            r#"iam.remove_user_from_group(GroupName="all", UserName=arguments[0])"#,
        ),
        (
            "a key more",
            r#"iam.create_access_key(UserName=arguments[0])"#,
            r#"iam.delete_access_key(UserName=arguments[0], AccessKeyId=iam.list_access_keys(UserName=arguments[0])["AccessKeyMetadata"][-1]["AccessKeyId"])"#,
        ),
        (
            "a key that is off",
            r#"iam.update_access_key(UserName=arguments[0], Status="Inactive", AccessKeyId=iam.list_access_keys(UserName=arguments[0])["AccessKeyMetadata"][0]["AccessKeyId"])"#,
            r#"iam.update_access_key(UserName=arguments[0], Status="Active", AccessKeyId=iam.list_access_keys(UserName=arguments[0])["AccessKeyMetadata"][0]["AccessKeyId"])"#,
        ),
        (
            "another policy",
            r#"iam.put_user_policy(UserName=arguments[0], PolicyName="keywright", PolicyDocument=policy("*", Resource="*"))"#,
            "",
        ),
    ];
    let attached = aws.python(r#"print(client("iam").create_policy(PolicyName="more", PolicyDocument=policy("*", Resource="*"))["Policy"]["Arn"], end="")"#, &[]).await;
    for (what, change, undo) in changes {
        assert_eq!(grant.differences(&case.provider.read_back(&id).await.unwrap()), [], "before {what}");
        aws.python(&format!("iam = client('iam')\n{change}"), &[&id, &attached]).await;
        assert_ne!(grant.differences(&case.provider.read_back(&id).await.unwrap()), [], "{what}");
        if !undo.is_empty() {
            aws.python(&format!("iam = client('iam')\n{undo}"), &[&id, &attached]).await;
        }
    }
    case.provider.revoke(&id).await.unwrap();
    assert!(matches!(case.provider.read_back(&id).await, Err(ProviderError::NotFound { .. })));
    // Never a user that is not ours.
    let foreign = case.provider.revoke("broker").await;
    assert!(matches!(foreign, Err(ProviderError::Unsupported { .. })), "{foreign:?}");
    assert_eq!((case.live)("broker".to_owned()).await, 1);
}

#[tokio::test]
async fn a_user_is_made_within_the_boundary_and_read_back_with_it() {
    let Some(aws) = Aws::start().await else { return };
    let made = r#"client("iam").create_policy(PolicyName="bound", PolicyDocument=policy("*", Resource="*"))"#;
    aws.python(made, &[]).await;
    let aws = Arc::new(aws);
    let case = case(&aws, BOUNDED, "~Action=CreateAccessKey&", users(&aws)).await;
    let (grant, minted) = case.mint(14).await;
    let id = minted.unwrap().provider_key_id;
    let seen = case.proxy.seen();
    let create = seen.iter().find(|call| call.is("POST", "~Action=CreateUser&")).unwrap();
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&create.body).into_owned().collect();
    let own = format!("arn:aws:iam::{ACCOUNT}:policy/bound");
    assert_eq!(form["PermissionsBoundary"], own);
    assert_eq!((form["Path"].as_str(), form["UserName"].as_str()), ("/keywright/", id.as_str()));
    assert_eq!(form["Tags.member.1.Value"], "builder");
    let answer = |boundary: &str| Fault::Answer {
        status: 200,
        headers: "Content-Type: text/xml\r\n",
        body: format!(
            "<GetUserResponse><GetUserResult><User><UserName>{id}</UserName>{boundary}</User></GetUserResult></GetUserResponse>"
        ),
    };
    let bound = |arn: &str| {
        format!(
            "<PermissionsBoundary><PermissionsBoundaryArn>{arn}</PermissionsBoundaryArn></PermissionsBoundary>"
        )
    };
    for (boundary, fits) in
        [(bound(&own), true), (bound("arn:aws:iam::aws:policy/All"), false), (String::new(), false)]
    {
        case.proxy.next("POST", "~Action=GetUser&", answer(&boundary));
        let observed = case.provider.read_back(&id).await.unwrap();
        assert_eq!(grant.differences(&observed).is_empty(), fits, "{boundary}: {observed:?}");
    }
}

#[tokio::test]
async fn a_key_says_when_it_was_used_and_can_be_switched_off() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    let case = case(&aws, USER, "~Action=CreateAccessKey&", users(&aws)).await;
    let minted = case.mint(9).await.1.unwrap();
    let id = minted.provider_key_id.as_str();
    let uses = case.provider.last_used().unwrap();
    assert_eq!(uses.last_used(id).await.unwrap(), None);
    case.provider.probe(&minted.secret, id).await.unwrap();
    let status = r#"print([key["Status"] for key in client("iam").list_access_keys(UserName=arguments[0])["AccessKeyMetadata"]])"#;
    let switch = case.provider.disabling().unwrap();
    switch.disable(id).await.unwrap();
    assert_eq!(aws.python(status, &[id]).await.trim(), "['Inactive']");
    switch.enable(id).await.unwrap();
    assert_eq!(aws.python(status, &[id]).await.trim(), "['Active']");
    // A secret of somebody else is not this key's.
    let other = case.mint(10).await.1.unwrap();
    assert!(case.provider.probe(&other.secret, id).await.is_err());
    case.provider.revoke(id).await.unwrap();
    let dead = case.provider.probe(&minted.secret, id).await;
    assert!(matches!(dead, Err(ProviderError::Unauthorized { .. })), "{dead:?}");
}

#[tokio::test]
async fn a_list_goes_through_every_page() {
    let Some(aws) = Aws::start().await else { return };
    let many = r#"
iam = client("iam")
for number in range(205): iam.create_user(UserName=f"kw-many-{number:03}", Path="/keywright/")
iam.create_user(UserName="kw-elsewhere")
iam.create_user(UserName="somebody", Path="/keywright/")"#;
    aws.python(many, &[]).await;
    let users = provider(&aws.url, &aws.credential(), USER);
    assert_eq!(users.list(Listing::Marked).await.unwrap().len(), 205);
    assert_eq!(users.list(Listing::All).await.unwrap().len(), 208);
}

#[tokio::test]
async fn a_check_says_who_the_parent_is_and_what_is_wrong_with_it() {
    let Some(aws) = Aws::start().await else { return };
    let health = provider(&aws.url, &aws.credential(), ROLE).check().await.unwrap();
    assert!(health.what.ends_with("user/broker"), "{}", health.what);
    // moto can't simulate.
    assert!(health.warnings.iter().any(|said| said.contains("can't be seen")), "{:?}", health.warnings);
    let users = provider(&aws.url, &aws.credential(), &[("mode", "user")]).check().await.unwrap();
    assert!(users.warnings.iter().any(|said| said.contains("no `boundary`")), "{:?}", users.warnings);
    assert!(users.quota.is_some_and(|(used, most)| used >= 1 && most == 5_000), "{:?}", users.quota);

    let nobody = r#"
iam = client("iam")
iam.create_user(UserName="nobody")
key = iam.create_access_key(UserName="nobody")["AccessKey"]
print(key["AccessKeyId"] + ":" + key["SecretAccessKey"], end="")"#;
    let weak = aws.python(nobody, &[]).await;
    for (settings, lacks) in [(ROLE, "sts:AssumeRole"), (USER, "iam:ListUsers")] {
        let error = provider(&aws.url, &weak, settings).check().await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, ProviderError::Unauthorized { .. }) && said.contains(lacks), "{said}");
    }
    let other =
        connect("aws", config(&aws.url, "999999999999", ROLE), Secret::new(aws.credential())).unwrap();
    let error = other.check().await.unwrap_err();
    assert!(error.to_string().contains(&format!("belongs to account {ACCOUNT}")), "{error}");
    let wrong =
        provider(&aws.url, &format!("{}:wrongwrongwrongwrong", aws.id), ROLE).check().await.unwrap_err();
    assert!(matches!(wrong, ProviderError::Unauthorized { .. }) && !wrong.to_string().contains("wrongwrong"));
}

/// What AWS answers to a simulation; moto can't.
fn simulated(allowed: &[&str]) -> Fault {
    let member = |action: &&str| {
        format!(
            "<member><EvalActionName>{action}</EvalActionName><EvalDecision>allowed</EvalDecision></member>"
        )
    };
    let members: String = allowed.iter().map(member).collect();
    let result = format!("<EvaluationResults>{members}</EvaluationResults><IsTruncated>false</IsTruncated>");
    let body = format!(
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>{result}</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    );
    Fault::Answer { status: 200, headers: "Content-Type: text/xml\r\n", body }
}

#[tokio::test]
async fn a_parent_that_may_too_little_or_too_much_is_told_by_name() {
    let Some(aws) = Aws::start().await else { return };
    let proxy = Proxy::start(&aws.url).await;
    let users = provider(&proxy.url, &aws.credential(), USER);
    let simulate = "~Action=SimulatePrincipalPolicy&";
    proxy.next("POST", simulate, simulated(&["iam:CreateUser", "iam:TagUser"]));
    let error = users.check().await.unwrap_err().to_string();
    assert!(
        error.contains("it lacks iam:PutUserPolicy, iam:CreateAccessKey") && !error.contains("TagUser"),
        "{error}"
    );
    proxy.unmet();
    let sessions = provider(&proxy.url, &aws.credential(), ROLE);
    for (allowed, says) in
        [(&[][..], None), (&["iam:PassRole", "s3:GetObject"][..], Some("iam:PassRole, s3:GetObject"))]
    {
        proxy.next("POST", simulate, simulated(allowed));
        let warnings = sessions.check().await.unwrap().warnings;
        assert_eq!(
            warnings.iter().any(|said| says.is_none_or(|says| said.contains(says))),
            says.is_some(),
            "{warnings:?}"
        );
    }
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

#[tokio::test]
async fn a_connection_is_refused_when_its_settings_do_not_fit() {
    let open = |account: &str, settings: &[(&str, &str)], credential: &str| {
        let opened = connect(
            "aws",
            config("http://127.0.0.1:9", account, settings),
            Secret::new(credential.to_owned()),
        );
        opened.map(drop).map_err(|error| error.to_string())
    };
    let good = "AKIAIOSFODNN7EXAMPLE:secret";
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/path/minting");
    let session = format!("{good}:token");
    for (settings, credential) in [
        (&[("role", arn.as_str())][..], good),
        (&[("role", "minting"), ("mode", "session")], session.as_str()),
        (&[("mode", "user")], good),
        (USER, good),
    ] {
        open(ACCOUNT, settings, credential).unwrap();
    }
    let foreign = "arn:aws:iam::999999999999:role/minting";
    for (account, settings, credential, says) in [
        (ACCOUNT, &[][..], good, "role"),
        ("1234", ROLE, good, "12 digits"),
        (ACCOUNT, &[("role", foreign)], good, "connection's account"),
        (ACCOUNT, &[("role", "minting"), ("mode", "user")], good, "mode=session"),
        (ACCOUNT, &[("role", "minting"), ("boundary", "b")], good, "mode=user"),
        (ACCOUNT, &[("mode", "root")], good, "`session` or `user`"),
        (ACCOUNT, &[("role", "minting"), ("region", "x.evil.example/")], good, "region"),
        (ACCOUNT, &[("role", "minting"), ("colour", "x")], good, "no setting `colour`"),
        (ACCOUNT, ROLE, "only-one-part-only-one-part", "ACCESS_KEY_ID:SECRET_ACCESS_KEY"),
    ] {
        let error = open(account, settings, credential).unwrap_err();
        assert!(error.contains(says) && !error.contains("only-one-part"), "{says}: {error}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_as_that_and_not_as_a_bad_credential() {
    let Some(aws) = Aws::start().await else { return };
    let aws = Arc::new(aws);
    fn xml(code: &str, words: &str) -> String {
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>{words}</Message></Error></ErrorResponse>")
    }
    for settings in [ROLE, USER] {
        let create = if settings == ROLE { "~Action=AssumeRole&" } else { "~Action=CreateUser&" };
        let case = case(&aws, settings, create, users(&aws)).await;
        for ahead in [3_600, -3_600] {
            let clock = Fault::Clock { ahead, said: |words| (403, xml("SignatureDoesNotMatch", words)) };
            case.proxy.fail_from(0, clock.clone());
            is_about_the_clock(&case.provider.check().await.unwrap_err());
            case.proxy.fail_from(0, clock);
            is_about_the_clock(&case.mint(700).await.1.err().unwrap());
            assert!(case.proxy.met() > 0);
            assert_eq!(case.live(700).await, 0);
        }
        // A few minutes are none.
        let clock = Fault::Clock { ahead: 600, said: |words| (403, xml("SignatureDoesNotMatch", words)) };
        case.proxy.fail_from(0, clock);
        case.provider.check().await.unwrap();
        assert!(case.proxy.met() > 0);
        for (status, code) in [(400, "RequestExpired"), (403, "RequestTimeTooSkewed")] {
            let answer = Fault::Answer { status, headers: "", body: xml(code, "Request has expired.") };
            case.proxy.fail_from(0, answer);
            is_about_the_clock(&case.provider.check().await.unwrap_err());
            case.proxy.met();
        }
        // Another signature that does not match is a bad credential.
        let answer =
            Fault::Answer { status: 403, headers: "", body: xml("SignatureDoesNotMatch", "no match") };
        case.proxy.fail_from(0, answer);
        let error = case.provider.check().await.unwrap_err();
        assert!(matches!(error, ProviderError::Unauthorized { .. }), "{error}");
        case.proxy.met();
    }
}

fn is_about_the_clock(error: &ProviderError) {
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("this machine's clock is off"), "{error}");
}
