//! The connection: its settings, its parent, and the clock that signs.

use std::sync::Arc;

use keywright_adapters::provider::connect;
use keywright_core::provider::ProviderError;
use keywright_core::secret::Secret;

use super::{ACCOUNT, Aws, ROLE, USER, case, config, provider, users};
use crate::support::{Fault, Proxy};

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
    assert!(matches!(error, ProviderError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("this machine's clock is off"), "{error}");
}
