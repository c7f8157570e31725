//! A home with many keys, for benches.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "a bench prints its figures")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright_broker::admin::NewConnection;
use keywright_broker::ask::Ask;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::provider::Provider;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::Location;
use keywright_sandbox::{Sandbox, SandboxConfig};

use crate::{AtOnce, DNS_EDIT, TestClock, World, ask};

/// How many are made at a time: their commits are shared.
const AT_A_TIME: usize = 256;
/// Fewer than the default policy lets an agent ask for in an hour.
const AN_AGENT: usize = 90;
/// How many requests of one agent wait.
const WAITING: usize = 10;
/// How often each template's keys are rotated.
pub const EVERY: [&str; 5] = ["10d", "20d", "30d", "45d", "60d"];

/// Makes a home with many keys, by the broker as ever, at a provider that answers at once, from templates with different schedules.
pub async fn fill(home: &Path, location: &Location, clock: &TestClock, keys: usize) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let operator = "ana".parse().unwrap();
    drop(Home::at(home).init_with(location, &operator, World::passphrase(), clock.as_clock()).await.unwrap());
    let broker = open(home, clock).await;
    let ana = broker.operator(None, World::passphrase()).await.unwrap();
    broker.apply_default_policy(&ana).await.unwrap();
    for every in EVERY {
        let named = DNS_EDIT.replace("dns-edit", &format!("dns-edit-{every}"));
        let living = named.replace("\"30d\"", "\"80d\"");
        let rotation = format!(
            "[rotation]\nevery = \"{every}\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\non_unknowable = \"revoke-after-overlap\"\n"
        );
        broker.apply_template(&ana, &format!("{living}{rotation}")).await.unwrap();
    }
    let new = NewConnection {
        name: "cf".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(sandbox.base_url()),
        account: Some(sandbox.account_id().to_owned()),
        extra: BTreeMap::new(),
        credential: Secret::new(sandbox.parent_token().to_owned()),
    };
    broker.add_connection(&ana, new).await.unwrap();
    let (start, mut next, mut last) = (Instant::now(), 0, Instant::now());
    while next < keys {
        let group: Vec<_> = (next..keys.min(next + AT_A_TIME)).map(|number| mint(&broker, number)).collect();
        next += group.len();
        for task in group {
            task.await.unwrap();
        }
        if next / 10_000 > (next - AT_A_TIME.min(next)) / 10_000 {
            println!("  {next} keys, the last 10,000 in {:.1} s", last.elapsed().as_secs_f64());
            last = Instant::now();
        }
    }
    broker.publish_audit().await.unwrap();
    println!(
        "{keys} keys made, {AT_A_TIME} at a time   {:8.1} a second",
        keys as f64 / start.elapsed().as_secs_f64()
    );
}

fn mint(broker: &Arc<Broker>, number: usize) -> tokio::task::JoinHandle<()> {
    let broker = Arc::clone(broker);
    tokio::spawn(async move {
        let agent = World::agent(&format!("agent-{}", number / AN_AGENT));
        let template = format!("cloudflare/dns-edit-{}", EVERY.get(number % EVERY.len()).unwrap());
        let wish = Ask { template, ..ask("example.com", &format!("KEY_{number}")) };
        let receipt = broker.request(&agent, &wish, Duration::from_secs(60)).await.unwrap();
        assert_eq!(receipt.status, Status::Active);
    })
}

/// A broker of such a home.
pub async fn open(home: &Path, clock: &TestClock) -> Arc<Broker> {
    let provider: Arc<dyn Provider> = Arc::new(AtOnce::default());
    let options = Options {
        clock: clock.as_clock(),
        steady: clock.as_steady(),
        providers: HashMap::from([("cf".parse().unwrap(), provider)]),
        ..Options::at(Home::at(home))
    };
    Broker::open(options, World::passphrase()).await.unwrap()
}

/// Has requests wait, of agents of their own.
pub async fn wait(broker: &Arc<Broker>, requests: usize) {
    let ana = broker.operator(None, World::passphrase()).await.unwrap();
    for first in (0..requests).step_by(WAITING) {
        let name = format!("asking-{first}");
        broker.add_agent(&ana, &name.parse().unwrap()).await.unwrap();
        let group: Vec<_> = (first..requests.min(first + WAITING))
            .map(|number| {
                let (broker, agent) = (Arc::clone(broker), World::agent(&name));
                tokio::spawn(async move {
                    let template =
                        format!("cloudflare/dns-edit-{}", EVERY.get(number % EVERY.len()).unwrap());
                    let wish = Ask {
                        template,
                        environment: "production".to_owned(),
                        ..ask("example.com", &format!("WAITING_{number}"))
                    };
                    let receipt = broker.request(&agent, &wish, Duration::from_secs(60)).await.unwrap();
                    assert_eq!(receipt.status, Status::PendingApproval, "{receipt:?}");
                })
            })
            .collect();
        for task in group {
            task.await.unwrap();
        }
    }
}
