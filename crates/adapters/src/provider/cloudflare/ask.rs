//! From a grant to the token that is asked for.
//!
//! Fail-open traps that are closed here: no token without permissions, without resources, or without an expiry, and
//! no resource that no permission applies to (the key would look confined and not be).

use std::collections::{BTreeMap, BTreeSet};

use keywright_core::grant::{Grant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::provider::ProviderError;
use keywright_core::text::escaped;

use super::KIND;
use super::owner::Owner;
use super::resource::{Kind, Scope, is_id};
use super::shapes::{ConditionBody, CreateBody, GroupBody, PolicyBody, RequestIpBody, ResourceBody};

/// The longest name of a token (API schema).
const LONGEST_NAME: usize = 120;

/// The body of the create.
///
/// # Errors
/// When the grant can't be expressed exactly.
pub(super) fn create_body<'a>(grant: &'a Grant, marker: &'a Marker) -> Result<CreateBody<'a>, ProviderError> {
    let name = marker.as_str();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(unsupported(format!("a name has 1 to {LONGEST_NAME} characters")));
    }
    let expires_at =
        grant.expires_at.ok_or_else(|| unsupported("a token without an expiry is never made".to_owned()))?;
    if grant.budget_cents.is_some() {
        return Err(unsupported("it has no budgets".to_owned()));
    }
    let policies = policies(grant)?;
    let condition = (!grant.ip_allow.is_empty())
        .then_some(ConditionBody { request_ip: RequestIpBody { allowed: &grant.ip_allow } });
    Ok(CreateBody { name, policies, expires_on: whole_seconds(expires_at), condition })
}

/// Adds the account or the user that permissions need and no parameter names; see
/// [`keywright_core::provider::Provider::confine`].
pub(super) fn confine(
    permissions: &[Permission],
    mut given: Vec<Resource>,
    owner: &Owner,
    account: Option<&str>,
    user: Option<&str>,
) -> Result<Vec<Resource>, ProviderError> {
    for permission in permissions {
        let scope = scope_of(permission)?;
        if scope == Scope::User && *owner != Owner::User {
            return Err(unsupported(format!(
                "an account-owned token can't hold `{}`; use a user-owned connection",
                escaped(&permission.name)
            )));
        }
        if reaches(&given, scope)? {
            continue;
        }
        let added = match scope {
            Scope::Account => account.map(|id| Kind::Account.resource(id, id)),
            Scope::User => user.map(|id| Kind::User.resource(id, id)),
            Scope::Zone | Scope::Bucket => None,
        };
        given.push(added.ok_or_else(|| lacks_resource(permission, scope))?);
    }
    let mut scopes = BTreeSet::new();
    for permission in permissions {
        scopes.insert(scope_of(permission)?);
    }
    for resource in &given {
        check_own(resource, owner)?;
        if !scopes.contains(&kind_of(resource)?.scope()) {
            return Err(unsupported(format!(
                "no permission applies to {} `{}`, so the key would not be confined to it",
                escaped(&resource.kind),
                escaped(&resource.name)
            )));
        }
    }
    given.sort();
    given.dedup_by(|one, two| one.kind == two.kind && one.id == two.id);
    Ok(given)
}

/// One policy for each scope and form of resource.
fn policies(grant: &Grant) -> Result<Vec<PolicyBody<'_>>, ProviderError> {
    let mut groups: BTreeMap<Scope, Vec<GroupBody<'_>>> = BTreeMap::new();
    for permission in &grant.permissions {
        if !is_id(&permission.id) {
            return Err(unsupported(format!("`{}` is no permission group's id", escaped(&permission.id))));
        }
        groups.entry(scope_of(permission)?).or_default().push(GroupBody { id: &permission.id });
    }
    // The flat and the nested notation never stand in one policy.
    let mut resources: BTreeMap<(Scope, bool), BTreeMap<String, ResourceBody>> = BTreeMap::new();
    for resource in &grant.resources {
        let kind = kind_of(resource)?;
        if !groups.contains_key(&kind.scope()) {
            return Err(unsupported(format!(
                "no permission applies to {} `{}`",
                kind.name(),
                escaped(&resource.name)
            )));
        }
        let (key, value) = kind.write(&resource.id);
        resources.entry((kind.scope(), kind == Kind::AllZones)).or_default().insert(key, value);
    }
    if let Some(permission) = grant.permissions.first().filter(|_| resources.is_empty()) {
        return Err(lacks_resource(permission, scope_of(permission)?));
    }
    for permission in &grant.permissions {
        let scope = scope_of(permission)?;
        if !resources.keys().any(|(covered, _)| *covered == scope) {
            return Err(lacks_resource(permission, scope));
        }
    }
    if groups.is_empty() {
        return Err(unsupported("a token without permissions is never made".to_owned()));
    }
    let policy = |((scope, _), resources): ((Scope, bool), _)| PolicyBody {
        effect: "allow",
        resources,
        permission_groups: groups.get(&scope).cloned().unwrap_or_default(),
    };
    Ok(resources.into_iter().map(policy).collect())
}

/// RFC 3339 in whole seconds with `Z`, the form that the API documents.
fn whole_seconds(at: jiff::Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn reaches(given: &[Resource], scope: Scope) -> Result<bool, ProviderError> {
    for resource in given {
        if kind_of(resource)?.scope() == scope {
            return Ok(true);
        }
    }
    Ok(false)
}

fn kind_of(resource: &Resource) -> Result<Kind, ProviderError> {
    let kind = Kind::parse(&resource.kind).ok_or_else(|| {
        unsupported(format!("`{}` is no kind of resource it knows", escaped(&resource.kind)))
    })?;
    if kind.fits(&resource.id) {
        Ok(kind)
    } else {
        Err(unsupported(format!("`{}` is no id of a {}", escaped(&resource.id), kind.name())))
    }
}

/// An account's tokens reach that account only, so another one is a mistake or worse.
fn check_own(resource: &Resource, owner: &Owner) -> Result<(), ProviderError> {
    let Owner::Account(own) = owner else { return Ok(()) };
    let foreign = match kind_of(resource)? {
        Kind::Account | Kind::AllZones => resource.id != *own,
        Kind::Bucket => !resource.id.starts_with(&format!("{own}_")),
        Kind::Zone => false,
        Kind::User => true,
    };
    if foreign {
        Err(unsupported(format!(
            "{} `{}` is not of the connection's account",
            resource.kind,
            escaped(&resource.id)
        )))
    } else {
        Ok(())
    }
}

fn scope_of(permission: &Permission) -> Result<Scope, ProviderError> {
    Scope::parse(&permission.scope).ok_or_else(|| {
        let (name, scope) = (escaped(&permission.name), escaped(&permission.scope));
        unsupported(format!("permission `{name}` has the scope `{scope}`, which it does not know"))
    })
}

fn lacks_resource(permission: &Permission, scope: Scope) -> ProviderError {
    let hint = match scope {
        Scope::Account => {
            "name the account in the connection, or give the template a `cloudflare.account` parameter"
        }
        Scope::Zone => "give the template a parameter of kind `cloudflare.zone`",
        Scope::Bucket => "give the template a parameter of kind `cloudflare.r2_bucket`",
        Scope::User => "set `user_id` in the connection, or give the template a `cloudflare.user` parameter",
    };
    unsupported(format!("`{}` must be confined to {}; {hint}", escaped(&permission.name), scope.needs()))
}

fn unsupported(why: String) -> ProviderError {
    ProviderError::Unsupported { provider: KIND, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ACCOUNT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const ZONE: &str = "00000000000000000000000000000001";
    const DNS_WRITE: &str = "4755a26eedb94da69e1066d98aa820be";
    const SCRIPTS_WRITE: &str = "e086da7e2179491d91ee5f35b3ca210a";
    const BUCKET_READ: &str = "6a018a9f2fc74eb6b293b0c548f38b39";

    fn permission(id: &str, scope: &str) -> Permission {
        Permission { id: id.to_owned(), name: "It".to_owned(), scope: scope.to_owned() }
    }

    fn grant(permissions: Vec<Permission>, resources: Vec<Resource>) -> Grant {
        Grant {
            permissions,
            resources,
            expires_at: Some("2027-01-02T03:04:05.678Z".parse().unwrap()),
            ip_allow: vec!["192.0.2.0/24".to_owned()],
            budget_cents: None,
        }
    }

    fn body(grant: &Grant) -> Result<serde_json::Value, ProviderError> {
        let marker = Marker::from_ledger("kw-x".to_owned());
        create_body(grant, &marker).map(|body| serde_json::to_value(body).unwrap())
    }

    #[test]
    fn each_scope_becomes_one_policy_in_the_right_notation() {
        let bucket = format!("{ACCOUNT}_default_assets");
        let grant = grant(
            vec![
                permission(DNS_WRITE, "com.cloudflare.api.account.zone"),
                permission(SCRIPTS_WRITE, "account"),
                permission(BUCKET_READ, "com.cloudflare.edge.r2.bucket"),
            ],
            vec![
                Kind::Zone.resource(ZONE, "example.com"),
                Kind::AllZones.resource(ACCOUNT, "all"),
                Kind::Account.resource(ACCOUNT, "us"),
                Kind::Bucket.resource(&bucket, "assets"),
            ],
        );
        let dns = json!([{ "id": DNS_WRITE }]);
        let account_key = format!("com.cloudflare.api.account.{ACCOUNT}");
        assert_eq!(
            body(&grant).unwrap(),
            json!({
                "name": "kw-x",
                "policies": [
                    {"effect": "allow", "resources": {&account_key: "*"}, "permission_groups": [{"id": SCRIPTS_WRITE}]},
                    {
                        "effect": "allow",
                        "resources": {format!("com.cloudflare.api.account.zone.{ZONE}"): "*"},
                        "permission_groups": dns,
                    },
                    {
                        "effect": "allow",
                        "resources": {&account_key: {"com.cloudflare.api.account.zone.*": "*"}},
                        "permission_groups": dns,
                    },
                    {
                        "effect": "allow",
                        "resources": {format!("com.cloudflare.edge.r2.bucket.{bucket}"): "*"},
                        "permission_groups": [{"id": BUCKET_READ}],
                    },
                ],
                "expires_on": "2027-01-02T03:04:05Z",
                "condition": {"request_ip": {"in": ["192.0.2.0/24"]}},
            })
        );
    }

    #[test]
    fn nothing_wider_than_asked_is_ever_written() {
        let zone = || Kind::Zone.resource(ZONE, "example.com");
        let dns = || permission(DNS_WRITE, "zone");
        let good = || grant(vec![dns()], vec![zone()]);
        assert!(body(&good()).is_ok());
        for (what, bad) in [
            ("no permissions", grant(vec![], vec![zone()])),
            ("nothing at all", grant(vec![], vec![])),
            ("no resources", grant(vec![dns()], vec![])),
            ("no expiry", Grant { expires_at: None, ..good() }),
            ("a budget", Grant { budget_cents: Some(1), ..good() }),
            (
                "a resource without permission",
                grant(vec![dns()], vec![zone(), Kind::Account.resource(ACCOUNT, "a")]),
            ),
            (
                "a permission without resource",
                grant(vec![dns(), permission(SCRIPTS_WRITE, "account")], vec![zone()]),
            ),
            ("an unknown scope", grant(vec![permission(DNS_WRITE, "planet")], vec![zone()])),
            ("an id that is none", grant(vec![permission("*", "zone")], vec![zone()])),
            ("a wildcard zone", grant(vec![dns()], vec![Kind::Zone.resource("*", "all")])),
        ] {
            assert!(matches!(body(&bad), Err(ProviderError::Unsupported { .. })), "{what}");
        }
    }

    #[test]
    fn a_name_may_have_120_characters_and_no_more() {
        let grant =
            grant(vec![permission(DNS_WRITE, "zone")], vec![Kind::Zone.resource(ZONE, "example.com")]);
        for (length, fits) in [(0, false), (1, true), (120, true), (121, false)] {
            let marker = Marker::from_ledger("k".repeat(length));
            assert_eq!(create_body(&grant, &marker).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn a_permission_is_confined_without_a_parameter_exactly_where_the_registry_says_so() {
        for told in super::super::PARAMETERS {
            for scope in told.scopes {
                let confined =
                    confine(&[permission(DNS_WRITE, scope)], vec![], &Owner::User, Some(ACCOUNT), Some(ZONE));
                assert_eq!(confined.is_ok(), told.from_connection, "{}: {confined:?}", told.kind);
            }
        }
    }

    #[test]
    fn confining_adds_the_account_and_refuses_what_would_not_confine() {
        let us = Owner::Account(ACCOUNT.to_owned());
        let zone = || Kind::Zone.resource(ZONE, "example.com");
        let (dns, scripts) = (permission(DNS_WRITE, "zone"), permission(SCRIPTS_WRITE, "account"));
        let both = [dns.clone(), scripts.clone()];
        let confined = confine(&both, vec![zone()], &us, Some(ACCOUNT), None).unwrap();
        assert_eq!(confined, [Kind::Account.resource(ACCOUNT, ACCOUNT), zone()]);
        let foreign = Kind::Account.resource(&ACCOUNT.replace('a', "b"), "them");
        for (what, permissions, given, account) in [
            ("a zone that limits nothing", vec![scripts.clone()], vec![zone()], Some(ACCOUNT)),
            ("a zone permission without zone", vec![dns.clone()], vec![], Some(ACCOUNT)),
            ("an account permission without account", vec![scripts.clone()], vec![], None),
            ("another account", vec![scripts], vec![foreign], Some(ACCOUNT)),
            ("a user permission", vec![permission(DNS_WRITE, "user")], vec![], Some(ACCOUNT)),
            (
                "an unknown kind",
                vec![dns],
                vec![Resource { kind: "aws.role".to_owned(), ..zone() }],
                Some(ACCOUNT),
            ),
        ] {
            assert!(confine(&permissions, given, &us, account, None).is_err(), "{what}");
        }
    }
}
