//! The provider: sessions of a role, and users of their own.

mod parent;
mod renew;
mod sessions;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Permission, Resource};
use keywright_core::provider::Provider;
use keywright_core::secret::Secret;
use serde_json::Value;

use super::{ACCOUNT, Aws, REGION, boto3};
use crate::support::Proxy;
use crate::support::contract::{Count, ProviderCase, Wish, keeps_the_providers_contract};

pub const ROLE: &[(&str, &str)] = &[("role", "minting")];

pub const USER: &[(&str, &str)] = &[("mode", "user")];

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
