//! What a consumer is told, as variables and as JSON.

use std::ffi::OsString;

use keywright_core::consumer::{News, Numbered};
use serde_json::{Value, json};

/// For a program: whatever it is not told is not there.
pub(super) fn variables(news: &News) -> Vec<(&'static str, OsString)> {
    let ids = |versions: &[Numbered]| {
        let ids: Vec<String> = versions.iter().map(|version| version.id.to_string()).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    };
    [
        ("KEYWRIGHT_EVENT", Some(news.event.as_str().to_owned())),
        ("KEYWRIGHT_ID", Some(news.id.to_string())),
        ("KEYWRIGHT_CONSUMER", Some(news.consumer.to_string())),
        ("KEYWRIGHT_AT", Some(news.at.to_string())),
        ("KEYWRIGHT_KEY", news.key.map(|key| key.to_string())),
        ("KEYWRIGHT_NAME", Some(news.name.to_string())),
        ("KEYWRIGHT_PROJECT", Some(news.project.to_string())),
        ("KEYWRIGHT_ENVIRONMENT", Some(news.environment.to_string())),
        ("KEYWRIGHT_VERSION", news.version.map(|version| version.id.to_string())),
        ("KEYWRIGHT_REPLACED", ids(&news.replaced)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?.into())))
    .collect()
}

/// For an address: `type`, `timestamp` and `data`, as Standard Webhooks has it.
pub(super) fn body(news: &News) -> Value {
    let version = |version: &Numbered| json!({ "id": version.id, "number": version.number });
    json!({
        "type": news.event.as_str(),
        "timestamp": news.at.to_string(),
        "data": {
            "consumer": news.consumer,
            "key": news.key,
            "name": news.name,
            "project": news.project,
            "environment": news.environment,
            "version": news.version.as_ref().map(version),
            "replaced": news.replaced.iter().map(version).collect::<Vec<_>>(),
        },
    })
}
