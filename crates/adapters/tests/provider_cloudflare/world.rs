//! A sandbox, a connection to it, and plans that policy really allowed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Difference, Grant, Permission, Resource};
use keywright_core::id::RequestId;
use keywright_core::marker::Marker;
use keywright_core::name::AgentName;
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::policy::{Authorized, Behind, Ceiling, Counts, Facts, Policies};
use keywright_core::provider::{Minted, Provider, ProviderError};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::template::{ResolvedTemplate, Template};
use keywright_core::text::Untrusted;
use keywright_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig, TokenView};

pub(crate) const DNS_READ: (&str, &str) = ("82e64a83756745bbbb1c9c2701bf816b", "zone");
pub(crate) const DNS_WRITE: (&str, &str) = ("4755a26eedb94da69e1066d98aa820be", "zone");
pub(crate) const ZONE_READ: (&str, &str) = ("c8fed203ed3043cba015a93ad1616f1f", "zone");
pub(crate) const CACHE_PURGE: (&str, &str) = ("e17beae8b8cb423a99b1730f21238bed", "zone");
pub(crate) const R2_WRITE: (&str, &str) = ("bf7481a1826f439697cb59a20b22293e", "account");
pub(crate) const ACCOUNT_READ: (&str, &str) = ("c1fde68c7bcc44588cbb6ddbc16d6480", "account");
pub(crate) const KV_WRITE: (&str, &str) = ("f7f0eda5697f475c90846e879bab8666", "account");
pub(crate) const BUCKET_READ: (&str, &str) = ("6a018a9f2fc74eb6b293b0c548f38b39", "bucket");
pub(crate) const TOKENS_WRITE: (&str, &str) = ("5bc3f8b21c554832afc660159ab75fa4", "account");
pub(crate) const TOKENS_READ: (&str, &str) = ("eb56a6953c034b9d97dd838155666f06", "account");

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) provider: Box<dyn Provider>,
}

impl World {
    /// An account-owned connection.
    pub(crate) async fn start() -> Self {
        Self::with(SandboxConfig::default(), &[]).await
    }

    pub(crate) async fn with(config: SandboxConfig, extra: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::start(config).await.unwrap();
        let provider = connect_account(&sandbox, &sandbox.base_url(), sandbox.parent_token(), extra);
        Self { sandbox, provider }
    }

    /// A user-owned connection.
    pub(crate) async fn of_user() -> Self {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let parent = Secret::new(sandbox.user_parent_token().to_owned());
        let extra = [("owner", "user")];
        let config = config(&sandbox.base_url(), Some(sandbox.account_id()), &extra);
        Self { provider: connect("cloudflare", config, parent).unwrap(), sandbox }
    }

    pub(crate) fn zone(&self, name: &str) -> Resource {
        let zone = self.sandbox.zones().into_iter().find(|zone| zone.name == name).unwrap();
        resource("cloudflare.zone", &zone.id)
    }

    pub(crate) fn fault(&self, method: &str, path: &str, kind: FaultKind) {
        self.sandbox.inject(Fault::on(method, path, kind).times(100)).unwrap();
    }

    pub(crate) fn token(&self, id: &str) -> Option<TokenView> {
        self.sandbox.tokens().into_iter().find(|token| token.id == id)
    }

    /// Mints a key that may read the DNS records of `example.com`.
    pub(crate) async fn mint(&self, marker: &str) -> Result<Minted, ProviderError> {
        let wish = Wish::new(&[DNS_READ], vec![self.zone("example.com")]);
        self.mint_wish(&wish, marker).await
    }

    pub(crate) async fn mint_wish(&self, wish: &Wish, marker: &str) -> Result<Minted, ProviderError> {
        let plan = wish.authorized();
        let grant = plan.get().grant(Timestamp::now());
        self.provider.mint(&plan, &grant, &Marker::from_ledger(marker.to_owned())).await
    }

    /// Mints, reads back, and says how the two differ.
    pub(crate) async fn differences(&self, wish: &Wish, marker: &str) -> Vec<Difference> {
        let plan = wish.authorized();
        let grant = plan.get().grant(Timestamp::now());
        let minted =
            self.provider.mint(&plan, &grant, &Marker::from_ledger(marker.to_owned())).await.unwrap();
        grant.differences(&self.provider.read_back(&minted.provider_key_id).await.unwrap())
    }

    /// Calls of this method to a path with this end.
    pub(crate) fn count(&self, method: &str, end: &str) -> usize {
        let calls = self.sandbox.calls();
        calls.iter().filter(|call| call.method == method && call.path.ends_with(end)).count()
    }
}

/// What a key shall do.
pub(crate) struct Wish {
    pub(crate) permissions: Vec<Permission>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) ip_allow: Vec<String>,
}

impl Wish {
    pub(crate) fn new(permissions: &[(&str, &str)], resources: Vec<Resource>) -> Self {
        Self { permissions: permissions.iter().map(permission).collect(), resources, ip_allow: Vec::new() }
    }

    /// The plan, with the proof that a template and a policy allow it.
    pub(crate) fn authorized(&self) -> Authorized<Plan> {
        let networks: Vec<String> = self.ip_allow.iter().map(|network| format!("\"{network}\"")).collect();
        let file = format!(
            "id = \"cloudflare/test\"\ntitle = \"t\"\nprovider = \"cloudflare\"\ntier = \"standard\"\n\
             permissions = [\"DNS Read\"]\n[limits]\nttl_max = \"90d\"\ndestinations = [\"embedded:*\"]\n\
             ip_allow = [{}]\n",
            networks.join(", ")
        );
        let template = ResolvedTemplate {
            template: Template::parse(&file).unwrap(),
            permissions: self.permissions.clone(),
            escalation: Vec::new(),
            unlocks: 40,
            mutating: 25,
        };
        let ceiling = Ceiling { template: &template, version: 1 };
        let counts = Counts { keys_active: 0, requests_last_hour: 0 };
        let facts = Facts { counts, approvals: &BTreeSet::new(), behind: &Behind::Nobody };
        let policies = Policies::parse("permit (principal, action, resource);").unwrap();
        policies.authorize(self.plan(&template), ceiling, &facts).unwrap()
    }

    fn plan(&self, template: &ResolvedTemplate) -> Plan {
        Plan {
            request: RequestId::generate(Timestamp::UNIX_EPOCH, [1; 10]),
            principal: Principal::Agent(AgentName::parse("builder").unwrap()),
            template: template.template.id.clone(),
            template_version: 1,
            tier: template.template.tier,
            provider: template.template.provider.clone(),
            connection: "cf".parse().unwrap(),
            project: "web".parse().unwrap(),
            environment: "dev".parse().unwrap(),
            name: "CF_TOKEN".parse().unwrap(),
            parameters: BTreeMap::new(),
            permissions: self.permissions.clone(),
            escalation: Vec::new(),
            withheld: Vec::new(),
            resources: self.resources.clone(),
            ttl: Span::parse("30d").unwrap(),
            ip_allow: self.ip_allow.clone(),
            budget_cents: None,
            destinations: vec![Destination {
                place: Place::parse("embedded:web/dev/CF_TOKEN").unwrap(),
                base: None,
            }],
            rotation: None,
            rotates: None,
            adopts: None,
            ending: None,
            unlocks: template.unlocks,
            mutating: template.mutating,
            needs: 0,
            purpose: Untrusted::capped("dns", 10),
        }
    }
}

pub(crate) fn permission((id, scope): &(&str, &str)) -> Permission {
    let scope = match *scope {
        "zone" => "com.cloudflare.api.account.zone",
        "account" => "com.cloudflare.api.account",
        "bucket" => "com.cloudflare.edge.r2.bucket",
        other => other,
    };
    Permission { id: (*id).to_owned(), name: "Some Permission".to_owned(), scope: scope.to_owned() }
}

pub(crate) fn resource(kind: &str, id: &str) -> Resource {
    Resource { kind: kind.to_owned(), id: id.to_owned(), name: id.to_owned() }
}

/// Quick ends for what never comes, and no pace.
pub(crate) fn config(base_url: &str, account: Option<&str>, extra: &[(&str, &str)]) -> ConnectionConfig {
    let defaults = [("timeout", "1s"), ("probe_for", "1s"), ("requests_per_minute", "1000000")];
    let all = defaults.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ConnectionConfig {
        base_url: Some(base_url.to_owned()),
        account: account.map(str::to_owned),
        extra: all.collect(),
    }
}

pub(crate) fn connect_account(
    sandbox: &Sandbox,
    base_url: &str,
    parent: &str,
    extra: &[(&str, &str)],
) -> Box<dyn Provider> {
    let config = config(base_url, Some(sandbox.account_id()), extra);
    connect("cloudflare", config, Secret::new(parent.to_owned())).unwrap()
}

/// A grant that is not the one of its plan.
pub(crate) fn widened(mut grant: Grant) -> Grant {
    grant.permissions.push(permission(&DNS_WRITE));
    grant
}
