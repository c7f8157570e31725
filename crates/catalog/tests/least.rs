//! Operations to the least permissions: the answers that were computed independently, and what holds for every job.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test helpers fail by panicking"
)]

use std::collections::BTreeSet;

use keywright_catalog::{Access, Catalog, CatalogError, Least, Operation, Wanted};
use proptest::prelude::*;

fn catalog(provider: &str) -> &'static Catalog {
    Catalog::for_provider(provider).unwrap()
}

fn least(provider: &str, operations: &[&str]) -> Result<Least<'static>, CatalogError> {
    let wanted: Vec<Wanted<'_>> = operations.iter().map(|one| Wanted::from(*one)).collect();
    catalog(provider).least(&wanted, &[])
}

fn names(least: &Least<'_>) -> Vec<&'static str> {
    least.permissions.iter().map(|one| one.name).collect()
}

const DNS: &str = "GET /zones/{zone_id}/dns_records";

/// The goldens of the vendor data, where the review did not judge otherwise: reading a zone is of the permission that says so,
/// though nearly any other opens it.
#[test]
fn cloudflare_jobs_have_the_least_permissions() {
    let script = "PUT /accounts/{account_id}/workers/scripts/{script_name}";
    let value = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}";
    let project = "/accounts/{account_id}/pages/projects/{project_name}";
    let phase = "/zones/{zone_id}/rulesets/phases/{ruleset_phase}/entrypoint";
    let cases: Vec<(Vec<String>, Vec<&str>)> = vec![
        (vec![DNS.into()], vec!["DNS Read"]),
        (vec!["POST /zones/{zone_id}/dns_records".into()], vec!["DNS Write"]),
        (vec![DNS.into(), "POST /zones/{zone_id}/dns_records".into()], vec!["DNS Write"]),
        (vec!["GET /zones/{zone_id}/dns_records/usage".into()], vec!["Zone DNS Settings Read"]),
        (vec!["GET /zones/{zone_id}/dns_records/usage".into(), DNS.into()], vec!["DNS Read"]),
        (vec!["POST /zones/{zone_id}/purge_cache".into()], vec!["Cache Purge"]),
        (
            vec![
                script.into(),
                "GET /zones/{zone_id}/workers/routes".into(),
                "POST /zones/{zone_id}/workers/routes".into(),
            ],
            vec!["Workers Routes Write", "Workers Scripts Write"],
        ),
        (vec![format!("GET {value}"), format!("PUT {value}")], vec!["Workers KV Storage Write"]),
        (vec![format!("POST {project}/deployments"), format!("GET {project}")], vec!["Pages Write"]),
        (
            vec!["GET /zones/{zone_id}/ssl/certificate_packs".into(), DNS.into()],
            vec!["DNS Read", "SSL and Certificates Read"],
        ),
        (vec!["GET /zones/{zone_id}/logpush/jobs".into()], vec!["Logs Write"]),
        (vec!["GET /accounts/{account_id}/tokens".into()], vec!["Account API Tokens Read"]),
        (vec!["GET /zones/{zone_id}".into()], vec!["Zone Read"]),
        (vec!["GET /zones".into()], vec!["Zone Read"]),
        (
            vec!["GET /accounts/{account_id}/r2/buckets/{bucket_name}/objects/{object_key}".into()],
            vec!["Workers R2 Storage Bucket Item Read"],
        ),
        (vec!["GET /radar/bgp/leaks/events".into()], vec!["Radar Read"]),
        (vec![format!("PUT {phase}#http_request_cache_settings")], vec!["Cache Settings Write"]),
        (vec![format!("GET {phase}#http_request_cache_settings")], vec!["Cache Settings Read"]),
        (vec![format!("PUT {phase}#http_ratelimit")], vec!["Zone WAF Write"]),
    ];
    for (operations, expected) in cases {
        let operations: Vec<&str> = operations.iter().map(String::as_str).collect();
        let answer = least("cloudflare", &operations).unwrap();
        assert_eq!(names(&answer), expected, "{operations:?}");
        assert!(answer.ties.is_empty() && answer.needs_a_human.is_empty(), "{operations:?}");
    }
}

#[test]
fn the_proof_counts_what_a_permission_opens_and_says_what_forces_it() {
    let post = "POST /zones/{zone_id}/dns_records";
    let answer = least("cloudflare", &[DNS, post, DNS]).unwrap();
    assert_eq!(answer.operations, [DNS, post], "each once");
    let [proof] = answer.proof.as_slice() else { panic!("{answer:?}") };
    assert_eq!((proof.mutating, proof.unlocks, proof.beyond_the_job.len()), (25, 45, 43));
    assert_eq!(proof.forced_by, [DNS, post]);
    assert_eq!((answer.mutating, answer.unlocks), (25, 45));
    assert!(!proof.read_needs_write);
    let logs = least("cloudflare", &["GET /zones/{zone_id}/logpush/jobs"]).unwrap();
    assert!(logs.proof[0].read_needs_write, "this read needs a write");
    let fields = least("cloudflare", &["GET /zones/{zone_id}/logs/received/fields"]).unwrap();
    assert_eq!(fields.proof[0].sensitive, Some("shows visitors' requests and addresses"));

    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(
        json["permissions"],
        serde_json::json!([{
            "id": catalog("cloudflare").permission("DNS Write", None).unwrap().id,
            "name": "DNS Write", "scope": "zone", "access": "write",
        }])
    );
    assert_eq!(json["provider"], "cloudflare");
    assert_eq!(json["proof"][0]["beyond_the_job"], 43);
    assert_eq!(json["proof"][0]["forced_by"][1], post);
    assert!(json.get("ties").is_none() && json.get("policy").is_none());
}

#[test]
fn what_makes_keys_needs_a_human() {
    let answer = least("cloudflare", &["POST /accounts/{account_id}/tokens"]).unwrap();
    assert_eq!(names(&answer), ["Account API Tokens Write"]);
    assert_eq!(
        answer.needs_a_human,
        ["`Account API Tokens Write`: makes account tokens with any permission of the account"]
    );
    let tunnel = least("cloudflare", &["GET /accounts/{account_id}/cfd_tunnel/{tunnel_id}/token"]).unwrap();
    assert!(tunnel.needs_a_human.iter().any(|why| why.contains("itself a credential")), "{tunnel:?}");
    for (provider, operation) in [
        ("openrouter", "keys_manage"),
        ("aws", "iam:CreateAccessKey"),
        ("gcp", "iam.projects.serviceAccounts.keys.create"),
        ("tailscale", "createKey#client"),
        ("digitalocean", "spacesKey_create"),
        ("sendgrid", "api_key_create"),
    ] {
        let answer = least(provider, &[operation]).unwrap();
        assert!(!answer.needs_a_human.is_empty(), "{operation}");
    }
}

#[test]
fn jobs_at_other_providers_have_the_least_permissions() {
    let cases: [(&str, &[&str], &[&str]); 19] = [
        ("github", &["GET /repos/{owner}/{repo}/contents/{path}"], &["contents:read"]),
        (
            "github",
            &["GET /repos/{owner}/{repo}/contents/{path}", "PUT /repos/{owner}/{repo}/contents/{path}"],
            &["contents:write"],
        ),
        (
            "github",
            &["PUT /repos/{owner}/{repo}/contents/{path}#workflows"],
            &["contents:write", "workflows:write"],
        ),
        ("github", &["POST /repos/{owner}/{repo}/issues/{issue_number}/comments"], &["issues:write"]),
        ("github", &["POST /repos/{owner}/{repo}/pages"], &["administration:write", "pages:write"]),
        ("aws", &["s3:ListObjectsV2", "s3:GetObject"], &["s3:GetObject", "s3:ListBucket"]),
        ("aws", &["stepfunctions:StartExecution"], &["states:StartExecution"]),
        ("aws", &["stepfunctions:StopExecution"], &["states:StopExecution"]),
        ("aws", &["bedrock-runtime:Converse"], &["bedrock:InvokeModel"]),
        ("aws", &["s3:CopyObject"], &["s3:GetObject", "s3:PutObject"]),
        ("aws", &["sts:GetCallerIdentity"], &[]),
        ("gcp", &["compute.instances.get"], &["compute.instances.get"]),
        ("digitalocean", &["GET /v2/account"], &["account:read"]),
        ("digitalocean", &["oneClicks_install_kubernetes"], &["addon:create", "kubernetes:update"]),
        ("tailscale", &["getPolicyFile", "setPolicyFile"], &["policy_file"]),
        ("sendgrid", &["bounces_list", "mail_send"], &["mail.send", "suppression.bounces.read"]),
        ("openrouter", &["inference"], &["inference"]),
        ("gitlab", &["GET /projects/{id}/issues"], &["read_api", "role reporter"]),
        ("huggingface", &["chat_completion"], &["inference.serverless.write"]),
    ];
    for (provider, operations, expected) in cases {
        let answer = least(provider, operations).unwrap();
        assert_eq!(names(&answer), expected, "{operations:?}");
    }
}

#[test]
fn what_is_not_known_is_refused_with_what_is() {
    let UnknownAnd { asked, nearest } =
        UnknownAnd::of(least("cloudflare", &[DNS, "GET /zones/{zone_id}/dns_recrods"]));
    assert_eq!(asked, "GET /zones/{zone_id}/dns_recrods");
    assert!(nearest.iter().any(|one| one.contains("/zones/{zone_id}")), "{nearest:?}");

    let error = least("cloudflare", &["GET /user"]).unwrap_err();
    let CatalogError::NotComputable { unresolved, nearest, .. } = &error else { panic!("{error}") };
    assert!(unresolved.iter().any(|name| name == "User Details Read") && !nearest.is_empty(), "{error}");
    assert!(error.to_string().contains("no id is known for"), "{error}");

    let error = least("cloudflare", &["PUT /zones/{zone_id}/rulesets/{ruleset_id}"]).unwrap_err();
    let CatalogError::VariantNeeded { variants, .. } = &error else { panic!("{error}") };
    assert!(variants.iter().any(|phase| phase == "http_ratelimit"), "{error}");
    for wrong in ["PUT /zones/{zone_id}/rulesets/{ruleset_id}#nosuch", "GET /zones/{zone_id}/dns_records#x"] {
        let refused = least("cloudflare", &[wrong]);
        assert!(
            matches!(
                refused,
                Err(CatalogError::UnknownOperation { .. } | CatalogError::VariantNeeded { .. })
            ),
            "{wrong}"
        );
    }
    assert!(matches!(least("tailscale", &["createKey"]), Err(CatalogError::VariantNeeded { .. })));
    assert!(matches!(least("cloudflare", &[]), Err(CatalogError::JobSize { .. })));
    assert!(matches!(least("cloudflare", &[DNS; 65]), Err(CatalogError::JobSize { .. })));
    assert!(matches!(
        least("digitalocean", &["inference_create_response"]),
        Err(CatalogError::NotComputable { .. })
    ));
    assert!(matches!(least("tailscale", &["createUserInvites"]), Err(CatalogError::UnknownOperation { .. })));
}

struct UnknownAnd {
    asked: String,
    nearest: Vec<String>,
}

impl UnknownAnd {
    fn of(answer: Result<Least<'_>, CatalogError>) -> Self {
        match answer {
            Err(CatalogError::UnknownOperation { asked, nearest }) => Self { asked, nearest },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_query_that_changes_something_is_no_read() {
    let query = "POST /accounts/{account_id}/d1/database/{database_id}/query";
    assert_eq!(names(&least("cloudflare", &[query]).unwrap()), ["D1 Read"]);
    let writes = Wanted { writes: true, ..Wanted::from(query) };
    assert_eq!(names(&catalog("cloudflare").least(&[writes], &[]).unwrap()), ["D1 Write"]);
}

#[test]
fn granted_permissions_are_held_against_the_least() {
    let cloudflare = catalog("cloudflare");
    let id = |name: &str| cloudflare.permission(name, None).unwrap().id;
    let job = [Wanted::from(DNS), Wanted::from("POST /zones/{zone_id}/purge_cache")];
    let measured = |names: &[&str]| {
        let ids: Vec<&str> = names.iter().map(|name| id(name)).collect();
        cloudflare.measure(&ids, &job, &[]).unwrap()
    };
    let least = measured(&["Cache Purge", "DNS Read"]);
    assert!(least.is_least && least.superfluous.is_empty() && least.beyond_the_least.is_empty());
    let wide = measured(&["Cache Purge", "DNS Write"]);
    assert!(!wide.is_least && wide.superfluous.is_empty() && wide.unopened.is_empty());
    assert_eq!(wide.beyond_the_least.len(), 25);
    let much = measured(&["Cache Purge", "DNS Read", "Zone Read"]);
    assert_eq!(much.superfluous.iter().map(|one| one.name).collect::<Vec<_>>(), ["Zone Read"]);
    let little = measured(&["Cache Purge"]);
    assert!(!little.is_least && little.unopened == [DNS]);
    let json = serde_json::to_value(&much).unwrap();
    assert_eq!(json["superfluous"][0]["name"], "Zone Read");
    assert_eq!(json["least"]["permissions"][1]["name"], "DNS Read");
}

#[test]
fn a_permission_that_opens_no_operation_can_be_named() {
    let cloudflare = catalog("cloudflare");
    let id = |name: &str| cloudflare.permission(name, None).unwrap().id;
    let answer = cloudflare.least_beside(&[Wanted::from(DNS)], &[id("Email Sending Write")], &[]).unwrap();
    assert_eq!(names(&answer), ["DNS Read", "Email Sending Write"]);
    assert!(answer.proof[1].forced_by.is_empty() && answer.operations == [DNS]);
    // What is held anyway is used.
    let answer = cloudflare.least_beside(&[Wanted::from(DNS)], &[id("DNS Write")], &[]).unwrap();
    assert_eq!(names(&answer), ["DNS Write"]);
    let answer = cloudflare.least_beside(&[], &[id("API Tokens Write")], &[]).unwrap();
    assert!(!answer.needs_a_human.is_empty());
    assert!(cloudflare.least_beside(&[], &["f00d"], &[]).is_err());
    assert!(cloudflare.least_beside(&[], &[], &[]).is_err());
}

/// The operations that a job may be made of.
fn solvable(provider: &str) -> Vec<&'static Operation> {
    let catalog = catalog(provider);
    catalog
        .all_operations()
        .iter()
        .filter(|one| !one.depends && catalog.needs(one).next().is_some())
        .collect()
}

fn opens(catalog: &Catalog, held: &BTreeSet<&str>, operation: &Operation) -> bool {
    catalog.needs(operation).any(|way| way.iter().all(|one| held.contains(one.id)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn an_answer_opens_every_operation_and_nothing_in_it_can_be_left_out(
        provider in prop::sample::select(vec!["cloudflare", "github", "digitalocean", "gitlab", "sendgrid", "tailscale"]),
        near in any::<prop::sample::Index>(),
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let catalog = catalog(provider);
        let all = solvable(provider);
        // Half of the operations are neighbours: of one product.
        let near = near.index(all.len());
        let job: Vec<&Operation> = steps
            .iter()
            .map(|(beside, at)| if *beside { all[(near + at.index(12)) % all.len()] } else { all[at.index(all.len())] })
            .collect();
        let spelt: Vec<String> = job.iter().map(ToString::to_string).collect();
        let spelt: Vec<&str> = spelt.iter().map(String::as_str).collect();
        let answer = least(provider, &spelt).unwrap();
        for set in std::iter::once(&answer.permissions).chain(&answer.ties) {
            let held: BTreeSet<&str> = set.iter().map(|one| one.id).collect();
            prop_assert!(job.iter().all(|one| opens(catalog, &held, one)), "{spelt:?}: {held:?}");
            for one in &held {
                let without: BTreeSet<&str> = held.iter().copied().filter(|other| other != one).collect();
                prop_assert!(!job.iter().all(|one| opens(catalog, &without, one)), "{spelt:?}: {one} is too much");
            }
        }
        for proof in &answer.proof {
            prop_assert!(!proof.forced_by.is_empty());
            prop_assert!(proof.beyond_the_job.iter().filter(|one| one.mutating).count() <= proof.mutating);
            prop_assert!(proof.unlocks > proof.beyond_the_job.len(), "it opens what forces it");
        }

        // Where each operation can be read, nothing that writes is given.
        let can_read = |one: &&Operation| {
            catalog.needs(one).any(|way| way.iter().all(|one| one.access == Access::Read && !one.high_blast && !one.escalation))
        };
        if job.iter().all(can_read) {
            prop_assert!(answer.permissions.iter().all(|one| one.access == Access::Read), "{spelt:?}");
        }

        let mut turned = spelt.clone();
        turned.reverse();
        turned.push(spelt[0]);
        let again = least(provider, &turned).unwrap();
        prop_assert_eq!(&again.permissions, &answer.permissions);
        prop_assert_eq!(&again.ties, &answer.ties);

        let mut unknown = spelt.clone();
        unknown.push("GET /nobody/knows/this");
        prop_assert!(least(provider, &unknown).is_err());
    }
}
