//! Every shipped template is proved against the catalog: it is what it says, and nothing wider.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test helpers fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use keywright_catalog::templates::PACK;
use keywright_catalog::{Access, Catalog, Operation, Permission, Wanted};
use toml::{Table, Value};

/// Templates that grant more than their operations need, each with its reason.
const WIDER_ON_PURPOSE: [(&str, &str); 1] =
    [("cloudflare/waf-edit", "the data names every ruleset permission for every phase")];

/// Templates that grant something else than the planner finds for their operations, each with its reason.
const OTHERWISE: [(&str, &str); 0] = [];

/// Templates without operations: the data names none for their permissions.
const DATA_PLANE: [&str; 2] = ["cloudflare/r2-bucket-read", "cloudflare/r2-bucket-write"];

/// Providers whose templates say in permissions what they are for, each with the reason why no operations have to be declared.
const BY_PERMISSION: [(&str, &str); 7] = [
    ("aws", "an action and the operation that it opens have one name"),
    ("gitlab", "people listed everyday operations only, and a role goes with each scope"),
    ("huggingface", "people listed everyday operations only"),
    ("openai", "a key has one permission for everything"),
    ("openrouter", "a key has one permission for everything"),
    ("sendgrid", "people listed everyday operations only"),
    ("tailscale", "options of auth keys open no operation of the API"),
];

struct Shipped {
    path: &'static str,
    text: &'static str,
    table: Table,
}

impl Shipped {
    fn all() -> Vec<Self> {
        let read = |(path, text): &(&'static str, &'static str)| Self {
            path,
            text,
            table: text.parse().unwrap_or_else(|error| panic!("{path}: {error}")),
        };
        PACK.iter().map(read).collect()
    }

    fn id(&self) -> &str {
        self.table.get("id").and_then(Value::as_str).unwrap()
    }

    fn provider(&self) -> &str {
        self.table.get("provider").and_then(Value::as_str).unwrap()
    }

    fn catalog(&self) -> &'static Catalog {
        Catalog::for_provider(self.provider()).unwrap()
    }

    fn permissions(&self) -> Vec<&'static Permission> {
        let resolve = |value: &Value| {
            let (name, scope) = match value {
                Value::String(name) => (name.as_str(), None),
                other => (
                    other.get("name").and_then(Value::as_str).unwrap(),
                    other.get("scope").and_then(Value::as_str),
                ),
            };
            self.catalog().permission(name, scope).unwrap_or_else(|error| panic!("{}: {error}", self.path))
        };
        self.table.get("permissions").and_then(Value::as_array).unwrap().iter().map(resolve).collect()
    }

    /// The operations as the template names them, with their variants.
    fn named(&self) -> Vec<String> {
        let named = self.table.get("operations").and_then(Value::as_array).cloned().unwrap_or_default();
        named.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    fn operations(&self) -> Vec<&'static Operation> {
        let find = |name: &String| {
            let operation =
                self.catalog().operation(name).unwrap_or_else(|error| panic!("{}: {error}", self.path));
            let bare = name.split('#').next().unwrap();
            assert_eq!(operation.to_string(), bare, "{}: spelt as the catalog spells it", self.path);
            operation
        };
        self.named().iter().map(find).collect()
    }

    fn table(&self, name: &str) -> &Table {
        self.table.get(name).and_then(Value::as_table).unwrap_or_else(|| panic!("{}: no [{name}]", self.path))
    }

    /// None where the connection alone confines the key.
    fn parameters(&self) -> Table {
        self.table.get("parameters").and_then(Value::as_table).cloned().unwrap_or_default()
    }

    /// None where a key ends too soon to be rotated.
    fn rotation(&self) -> Option<&Table> {
        let rotation = self.table.get("rotation").and_then(Value::as_table);
        let default = self.table("limits").get("ttl_default").and_then(Value::as_str).unwrap();
        assert!(rotation.is_some() || days(default) <= 1, "{}: without rotation", self.path);
        rotation
    }

    fn opens(&self, permission: &Permission, operation: &Operation) -> bool {
        self.catalog().accepted(operation).any(|accepted| accepted.id == permission.id)
    }
}

fn days(span: &str) -> u32 {
    let (number, unit) = span.split_at(span.len() - 1);
    let number: u32 = number.parse().unwrap();
    match unit {
        "h" => number.div_ceil(24),
        "d" => number,
        other => panic!("`{other}` is not a unit of the pack"),
    }
}

#[test]
fn the_pack_is_the_directory_and_is_large_enough() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
    let names = |of: &Path| {
        let entries = std::fs::read_dir(of).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let vendors: Vec<String> = names(&root).into_iter().filter(|name| root.join(name).is_dir()).collect();
    let files: Vec<String> = vendors
        .iter()
        .flat_map(|vendor| names(&root.join(vendor)).into_iter().map(move |name| format!("{vendor}/{name}")))
        .collect();
    let packed: Vec<&str> = PACK.iter().map(|(path, _)| *path).collect();
    assert_eq!(packed, files);
    for (vendor, least) in [
        ("aws", 12),
        ("cloudflare", 20),
        ("github", 10),
        ("gitlab", 5),
        ("huggingface", 4),
        ("openai", 4),
        ("openrouter", 4),
        ("sendgrid", 4),
        ("tailscale", 4),
    ] {
        let shipped = packed.iter().filter(|path| path.starts_with(&format!("{vendor}/"))).count();
        assert!(shipped >= least, "{vendor}: {shipped}");
    }
    for shipped in Shipped::all() {
        assert_eq!(format!("{}.toml", shipped.id()), shipped.path, "the id is the path");
    }
}

#[test]
fn only_known_fields_of_the_right_kind_are_used() {
    let keys = |table: &Table| table.keys().cloned().collect::<BTreeSet<_>>();
    let known = |names: &str| names.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    let kinds = [
        "cloudflare.zone",
        "cloudflare.account",
        "cloudflare.r2_bucket",
        "openai.models",
        "openai.spend_limit",
        "openrouter.guardrail",
    ];
    for shipped in Shipped::all() {
        let top = known("id title provider tier permissions operations parameters limits rotation");
        assert!(keys(&shipped.table).is_subset(&top), "{}", shipped.path);
        let mut limits = keys(shipped.table("limits"));
        // OpenRouter makes no key without a limit.
        assert_eq!(limits.remove("budget_usd"), shipped.id().starts_with("openrouter/"), "{}", shipped.path);
        assert_eq!(limits, known("ttl_default ttl_max destinations"), "{}", shipped.path);
        let rotation = known("every quiet_for max_overlap on_unknowable");
        assert_eq!(shipped.rotation().map_or_else(|| rotation.clone(), keys), rotation, "{}", shipped.path);
        for (name, parameter) in shipped.parameters() {
            let parameter = parameter.as_table().unwrap();
            assert!(keys(parameter).is_subset(&known("kind allow")), "{}", shipped.path);
            let kind = parameter.get("kind").and_then(Value::as_str).unwrap();
            let known = kinds.contains(&kind) || shipped.provider() != "cloudflare";
            assert!(known && kind.starts_with(&format!("{}.", shipped.provider())), "{}", shipped.path);
            assert!(kind.ends_with(name.as_str()), "{}", shipped.path);
        }
        for entry in shipped.table.get("permissions").and_then(Value::as_array).unwrap() {
            let right =
                entry.is_str() || entry.as_table().is_some_and(|table| keys(table) == known("name scope"));
            assert!(right, "{}", shipped.path);
        }
    }
}

#[test]
fn every_permission_resolves_and_none_is_dangerous() {
    for shipped in Shipped::all() {
        let permissions = shipped.permissions();
        let ids: BTreeSet<_> = permissions.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), permissions.len(), "{}: named once", shipped.path);
        for one in permissions {
            assert!(
                !(one.escalation || one.high_blast || one.suspicious),
                "{}: {}",
                shipped.path,
                one.label()
            );
        }
    }
}

#[test]
fn every_declared_operation_is_opened_and_every_permission_is_needed() {
    for shipped in Shipped::all() {
        let (permissions, operations) = (shipped.permissions(), shipped.operations());
        let by_permission = BY_PERMISSION.iter().any(|(provider, _)| *provider == shipped.provider())
            && operations.is_empty();
        if by_permission || shipped.catalog().all_operations().is_empty() {
            continue;
        }
        if operations.is_empty() {
            assert!(DATA_PLANE.contains(&shipped.id()), "{}: declare what the job calls", shipped.path);
            let named = shipped.catalog().unlocks(permissions.iter().map(|one| one.id)).unwrap();
            assert_eq!(named.total, 0, "{}: the data names operations now, declare them", shipped.path);
            assert!(shipped.text.contains("there are no `operations` to check"), "{}: say why", shipped.path);
            continue;
        }
        for operation in &operations {
            let opened = permissions.iter().any(|one| shipped.opens(one, operation));
            assert!(
                opened && !operation.unannotated && !operation.deprecated,
                "{}: {operation}",
                shipped.path
            );
            assert!(!operation.credential, "{}: {operation} answers with a credential", shipped.path);
        }
        for one in &permissions {
            let needed = operations.iter().any(|operation| {
                permissions
                    .iter()
                    .filter(|other| shipped.opens(other, operation))
                    .map(|other| other.id)
                    .eq([one.id])
            });
            assert!(needed, "{}: no declared operation needs {}", shipped.path, one.label());
        }
    }
}

/// For each permission: nothing milder opens what it alone opens among the declared operations.
#[test]
fn no_milder_permission_would_do() {
    for shipped in Shipped::all() {
        let catalog = shipped.catalog();
        let weight = |one: &Permission| {
            let footprint = catalog.unlocks([one.id]).unwrap();
            (one.access != Access::Read, footprint.mutating, footprint.total)
        };
        let mut wider = Vec::new();
        for granted in shipped.permissions() {
            let mut job = shipped.operations();
            job.retain(|operation| shipped.opens(granted, operation));
            let does_it = |one: &&Permission| {
                !job.is_empty() && job.iter().all(|operation| shipped.opens(one, operation))
            };
            let candidates = catalog.permissions().iter().filter(|one| !one.suspicious).filter(does_it);
            wider.extend(
                candidates.filter(|one| weight(one) < weight(granted)).map(|one| (one.name, granted.name)),
            );
        }
        let excused = WIDER_ON_PURPOSE.iter().any(|(id, _)| *id == shipped.id());
        assert_eq!(wider.is_empty(), !excused, "{}: (milder, granted) {wider:?}", shipped.path);
    }
}

/// What a template grants is what the planner finds for the operations that it declares, or the list says why not.
#[test]
fn what_a_template_grants_is_the_least_for_its_operations() {
    let mut other = Vec::new();
    for shipped in Shipped::all() {
        let operations = shipped.named();
        if operations.is_empty() {
            continue;
        }
        let wanted: Vec<Wanted<'_>> = operations.iter().map(|one| Wanted::from(one.as_str())).collect();
        let granted: BTreeSet<&str> = shipped.permissions().iter().map(|one| one.name).collect();
        let found = match shipped.catalog().least(&wanted, &[]) {
            Ok(least) => {
                let sets = std::iter::once(&least.permissions).chain(&least.ties);
                let sets: Vec<BTreeSet<&str>> =
                    sets.map(|set| set.iter().map(|one| one.name).collect()).collect();
                if sets.contains(&granted) {
                    continue;
                }
                format!("{sets:?}")
            }
            Err(error) => error.to_string(),
        };
        other.push((shipped.id().to_owned(), format!("grants {granted:?}, the planner: {found}")));
    }
    let named: Vec<&str> = other.iter().map(|(id, _)| id.as_str()).collect();
    let excused: Vec<&str> = OTHERWISE.iter().map(|(id, _)| *id).collect();
    assert_eq!(named, excused, "{other:#?}");
}

#[test]
fn parameters_are_the_resources_that_the_permissions_are_confined_to() {
    // Cloudflare's kinds are called like its scopes. Elsewhere the connection confines a key, or one resource has several
    // scopes: the broker's tests hold every template against what its adapter says.
    for shipped in Shipped::all().iter().filter(|shipped| shipped.provider() == "cloudflare") {
        let scopes: BTreeSet<&str> = shipped.permissions().iter().map(|one| one.scope).collect();
        let parameters: BTreeSet<String> = shipped.parameters().keys().cloned().collect();
        assert_eq!(
            parameters.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            scopes,
            "{}",
            shipped.path
        );
    }
}

#[test]
fn limits_are_sane_and_rotation_comes_before_the_key_ends() {
    for shipped in Shipped::all() {
        let span =
            |table: &str, key: &str| days(shipped.table(table).get(key).and_then(Value::as_str).unwrap());
        let (default, most) = (span("limits", "ttl_default"), span("limits", "ttl_max"));
        assert!(default <= most && most <= 90, "{}", shipped.path);
        if shipped.rotation().is_some() {
            let (every, overlap) = (span("rotation", "every"), span("rotation", "max_overlap"));
            assert!(every + overlap <= default, "{}: the successor must come in time", shipped.path);
            assert!(span("rotation", "quiet_for") < overlap, "{}", shipped.path);
        }
        let destinations = shipped.table("limits").get("destinations").and_then(Value::as_array).unwrap();
        let destinations: Vec<_> = destinations.iter().filter_map(Value::as_str).collect();
        assert_eq!(destinations, ["embedded:*", "dotenv:./.env"], "{}", shipped.path);
    }
}

#[test]
fn a_sandbox_template_changes_nothing_and_shows_nothing_sensitive() {
    let mut sandboxes = 0;
    for shipped in Shipped::all() {
        let tier = shipped.table.get("tier").and_then(Value::as_str).unwrap();
        assert!(["sandbox", "standard"].contains(&tier), "{}", shipped.path);
        if tier == "sandbox" {
            sandboxes += 1;
            let harmless =
                shipped.permissions().iter().all(|one| one.access == Access::Read && !one.sensitive);
            assert!(harmless && shipped.operations().iter().all(|one| !one.mutating), "{}", shipped.path);
        }
    }
    assert!(sandboxes >= 3);
}

#[test]
fn a_template_says_that_its_parameters_are_open() {
    for shipped in Shipped::all() {
        let said = shipped.text.matches("# No `allow`: any ").count();
        let parameters = shipped.parameters();
        let open = parameters.values().filter(|parameter| parameter.get("allow").is_none()).count();
        assert_eq!(said, open, "{}", shipped.path);
    }
}
