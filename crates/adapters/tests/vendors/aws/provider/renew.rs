//! The parent's successor: the other access key of its user.

use keywright_core::provider::ProviderError;

use super::{Aws, USER, provider};
use crate::renewing::{Case, a_bad_answer_to_the_create_hides_nothing, a_successor_takes_over};
use crate::support::Proxy;

async fn case() -> Option<(Aws, Case)> {
    let aws = Aws::start().await?;
    let proxy = Proxy::start(&aws.url).await;
    let url = proxy.url.clone();
    let case = Case {
        open: Box::new(move |credential| provider(&url, credential, USER)),
        credential: aws.credential(),
        create: ("POST", "~Action=CreateAccessKey&"),
        proxy,
    };
    Some((aws, case))
}

#[tokio::test]
async fn the_users_other_key_takes_over() {
    let Some((aws, case)) = case().await else { return };
    let made = a_successor_takes_over(&case).await;
    let script = r#"
keys = boto3.client("iam", endpoint_url=os.environ["AWS_URL"], aws_access_key_id=arguments[0], aws_secret_access_key=arguments[1])
print([key["AccessKeyId"] for key in keys.list_access_keys(UserName="broker")["AccessKeyMetadata"]], end="")"#;
    let (id, secret) = made.secret.expose_secret().split_once(':').unwrap();
    assert_eq!(aws.python(script, &[id, secret]).await, format!("['{}']", made.provider_key_id));
}

#[tokio::test]
async fn a_bad_answer_hides_no_key_of_the_user() {
    let Some((_aws, case)) = case().await else { return };
    a_bad_answer_to_the_create_hides_nothing(&case).await;
}

#[tokio::test]
async fn there_has_to_be_a_free_place_and_a_user() {
    let Some((aws, case)) = case().await else { return };
    let other = r#"
print(client("iam").create_access_key(UserName="broker")["AccessKey"]["AccessKeyId"], end="")"#;
    let other = aws.python(other, &[]).await;
    let first = (case.open)(&case.credential);
    let full = first.renewing().unwrap().parent().await.unwrap_err();
    assert!(matches!(full, ProviderError::Unsupported { .. }), "{full}");
    assert!(full.to_string().contains(&format!("end {other} at AWS first")), "{full}");
    let session = format!("{}:token", aws.credential());
    assert!((case.open)(&session).renewing().is_none());
}
