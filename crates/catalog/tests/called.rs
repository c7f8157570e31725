//! Operations as somebody has them after a refusal.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use keywright_catalog::called::provider_called;
use keywright_catalog::{Catalog, CatalogError};

const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";

/// The operation, and what the path names as `kind=value`.
fn called(provider: &str, text: &str) -> Result<(String, Vec<String>), CatalogError> {
    let called = Catalog::for_provider(provider).unwrap().called(text)?;
    let named = called.resources.iter().map(|one| format!("{}={}", one.kind, one.value)).collect();
    Ok((called.operation, named))
}

#[test]
fn a_call_is_its_operation_in_whatever_form_it_is_written() {
    let list = "GET /zones/{zone_id}/dns_records";
    let zone = format!("zone={ZONE}");
    for (text, operation, named) in [
        (format!("GET /zones/{ZONE}/dns_records"), list, vec![zone.as_str()]),
        (format!("get /zones/{ZONE}/dns_records/"), list, vec![&zone]),
        (format!("GET /zones/{ZONE}/dns_records?type=TXT&per_page=100"), list, vec![&zone]),
        (
            format!("GET https://api.cloudflare.com/client/v4/zones/{ZONE}/dns_records?type=A"),
            list,
            vec![&zone],
        ),
        (
            format!("GET HTTPS://API.Cloudflare.com:443/client/v4//zones/{ZONE}/dns_records"),
            list,
            vec![&zone],
        ),
        (format!("GET api.cloudflare.com/client/v4/zones/{ZONE}/dns_records"), list, vec![&zone]),
        (format!("GET /client/v4/zones/{ZONE}/dns_records HTTP/1.1"), list, vec![&zone]),
        (format!("HEAD \"/zones/{ZONE}/dns_records\""), list, vec![&zone]),
        ("GET /zones/{id}/dns_records".to_owned(), "GET /zones/{id}/dns_records", vec![]),
        ("get /zones/:zone_id/dns_records".to_owned(), list, vec![]),
        ("get /zones/$ZONE_ID/dns_records".to_owned(), list, vec![]),
        (
            format!("PATCH /zones/{ZONE}/dns_records/372e67954025e0ba6aaa6d586b9e0b59"),
            "PATCH /zones/{zone_id}/dns_records/{dns_record_id}",
            vec![&zone, "dns_record=372e67954025e0ba6aaa6d586b9e0b59"],
        ),
        // The path says the variant.
        (
            format!("PUT /zones/{ZONE}/rulesets/phases/http_ratelimit/entrypoint"),
            "PUT /zones/{zone_id}/rulesets/phases/{ruleset_phase}/entrypoint#http_ratelimit",
            vec![&zone, "ruleset_phase=http_ratelimit"],
        ),
    ] {
        let got = called("cloudflare", &text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(got, (operation.to_owned(), named.into_iter().map(str::to_owned).collect()), "{text}");
    }
}

#[test]
fn what_a_template_says_literally_wins_over_its_parameters() {
    for (provider, text, operation, named) in [
        ("github", "GET /repos/acme/web/issues", "GET /repos/{owner}/{repo}/issues", vec!["repo=acme/web"]),
        (
            "github",
            "GET /repos/acme/web/commits/abc123/status",
            "GET /repos/{owner}/{repo}/commits/{ref}/status",
            vec!["repo=acme/web"],
        ),
        (
            "github",
            "get https://api.github.com/repos/acme/web/contents/src/a/b.rs?ref=main",
            "GET /repos/{owner}/{repo}/contents/{path}",
            vec!["repo=acme/web"],
        ),
        (
            "github",
            "PUT /repos/acme/web/contents/.github/workflows/ci.yml",
            "PUT /repos/{owner}/{repo}/contents/{path}#workflows",
            vec!["repo=acme/web"],
        ),
        (
            "github",
            "GET /repos/acme/web/issues/comments/7",
            "GET /repos/{owner}/{repo}/issues/comments/{comment_id}",
            vec!["repo=acme/web", "comment=7"],
        ),
        (
            "gitlab",
            "GET https://gitlab.com/api/v4/projects/group%2Fweb/issues?state=opened",
            "GET /projects/{id}/issues",
            vec!["project=group/web"],
        ),
        (
            "gitlab",
            "GET https://gitlab.com/group/web.git/info/refs?service=git-upload-pack",
            "GET /{namespace}/{project}.git/info/refs",
            vec![],
        ),
        ("openai", "POST https://api.openai.com/v1/chat/completions", "POST /chat/completions", vec![]),
        (
            "digitalocean",
            "delete https://api.digitalocean.com/v2/droplets/3164494",
            "DELETE /v2/droplets/{droplet_id}",
            vec!["droplet=3164494"],
        ),
        (
            "cloudflare",
            "GET /accounts/1a/urlscanner/v2/screenshots/77.png",
            "GET /accounts/{account_id}/urlscanner/v2/screenshots/{scan_id}.png",
            vec!["account=1a"],
        ),
    ] {
        let (got, of) = called(provider, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(
            (got.as_str(), of),
            (operation, named.into_iter().map(str::to_owned).collect::<Vec<_>>()),
            "{text}"
        );
    }
}

#[test]
fn a_foreign_host_is_refused_with_words() {
    for (text, host) in [
        (
            format!("GET https://api.cloudflare.com.evil.com/client/v4/zones/{ZONE}/dns_records"),
            "api.cloudflare.com.evil.com",
        ),
        (
            format!("GET https://api.cloudflare.com@evil.com/client/v4/zones/{ZONE}/dns_records"),
            "api.cloudflare.com@evil.com",
        ),
        (format!("GET https://api.cloudflare.com:8443/client/v4/zones/{ZONE}"), "api.cloudflare.com:8443"),
        (format!("GET http://api.cloudflare.com/client/v4/zones/{ZONE}"), "api.cloudflare.com"),
        (format!("GET https://evil.com\\@api.cloudflare.com/client/v4/zones/{ZONE}"), "evil.com"),
        ("GET https://api.github.com/repos/a/b/issues".to_owned(), "api.github.com"),
        (format!("GET evil.com/client/v4/zones/{ZONE}"), "evil.com"),
    ] {
        let error = called("cloudflare", &text).unwrap_err();
        let CatalogError::ForeignHost { host: told, bases, .. } = &error else { panic!("{text}: {error:?}") };
        assert_eq!(
            (told.as_str(), bases.as_slice()),
            (host, ["https://api.cloudflare.com/client/v4".to_owned()].as_slice())
        );
        assert!(error.to_string().contains("documents its API"), "{error}");
    }
    assert!(matches!(
        called("aws", "GET https://s3.amazonaws.com/bucket").unwrap_err(),
        CatalogError::ForeignHost { .. }
    ));
}

#[test]
fn what_is_no_call_stays_unknown() {
    for text in [
        "GET /zones/../accounts",
        "GET /zones/%2e%2e/accounts/x/y",
        "GET /nowhere/at/all",
        "GET https://api.cloudflare.com/zones",
        "GET",
        "nonsense",
        "FETCH /zones",
        "GET /zones and more",
    ] {
        let error = called("cloudflare", text).unwrap_err();
        assert!(matches!(error, CatalogError::UnknownOperation { .. }), "{text}: {error:?}");
    }
    for text in ["/zones/1/dns_records", "https://api.cloudflare.com/client/v4/zones"] {
        let error = called("cloudflare", text).unwrap_err();
        assert!(matches!(error, CatalogError::MethodNeeded { .. }), "{text}: {error:?}");
    }
    let wrong =
        called("cloudflare", &format!("PUT /zones/{ZONE}/rulesets/phases/http_ratelimit/entrypoint#nothing"));
    assert!(matches!(wrong.unwrap_err(), CatalogError::UnknownOperation { .. }));
}

#[test]
fn where_two_operations_fit_equally_both_are_named() {
    let text = "keywright/catalog/2\tx\n[sources]\n[permissions]\nr\t=\tx\tread\t-\t-\n[operations]\n\
                GET\t/a/{b}/c\tone\t-\t-\tr\t-\t=\t-\nGET\t/{a}/b/c\ttwo\t-\t-\tr\t-\t=\t-\nGET\t/a/b/{c}\tthree\t-\t-\tr\t-\t=\t-\n";
    let catalog = Catalog::parse(text).unwrap();
    let error = catalog.called("GET /a/b/c").unwrap_err();
    let CatalogError::AmbiguousCall { candidates, .. } = &error else { panic!("{error:?}") };
    assert_eq!(candidates, &["GET /a/{b}/c", "GET /{a}/b/c", "GET /a/b/{c}"]);
    assert!(error.to_string().contains("`GET /a/{b}/c` or `GET /{a}/b/c`"), "{error}");
    assert_eq!(catalog.called("GET /a/z/c").unwrap().operation, "GET /a/{b}/c");
}

#[test]
fn every_operation_is_found_by_a_path_of_its_own() {
    for provider in
        ["cloudflare", "github", "digitalocean", "gitlab", "sendgrid", "tailscale", "openai", "openrouter"]
    {
        let catalog = Catalog::for_provider(provider).unwrap();
        let plain = |path: &str| path.starts_with('/') && !path.contains('<');
        for operation in catalog.all_operations().iter().filter(|one| plain(one.path)).step_by(3) {
            let concrete = operation.path.replace(['{', '}'], "zq");
            let text = format!("{} {concrete}", operation.method.to_lowercase());
            let found = catalog.called(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let same = catalog.operation(&found.operation).unwrap();
            assert_eq!((same.method, shape(same.path)), (operation.method, shape(operation.path)), "{text}");
        }
    }
}

/// A path without the names of its parameters.
fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.contains('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn the_host_of_a_call_says_the_provider() {
    for (text, provider) in [
        ("GET https://api.github.com/repos/a/b", Some("github")),
        ("get https://gitlab.com/api/v4/projects/1/issues", Some("gitlab")),
        ("GET https://evil.com/x", None),
        ("GET /zones", None),
        ("s3:GetObject", None),
    ] {
        assert_eq!(provider_called(text), provider, "{text}");
    }
}
