//! Users of their own: made in steps, with one policy and one key.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_core::provider::{Listing, ProviderError, Recovery};

use super::{ACCOUNT, Aws, USER, case, provider, users};
use crate::support::Fault;
use crate::support::contract::marker;

/// moto forgets the boundary of a user.
const BOUNDED: &[(&str, &str)] = &[("mode", "user"), ("boundary", "bound")];

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
