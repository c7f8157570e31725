//! What a vendor would take for "everything" or "for ever" when it is left out: no kind may ever ask so.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keywright_adapters::provider::KINDS;

use crate::support::Proxy;
use crate::support::contract::{ProviderCase, marker};
use crate::support::stand_in::Vendor;
use crate::{aws, cloudflare, github, gitlab, huggingface, openai, openrouter, sendgrid, tailscale};

/// What is left out of a key that is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    Permissions,
    Resources,
    Expiry,
    Budget,
}

async fn of(vendor: &Vendor) -> ProviderCase {
    let running = vendor.start().await;
    let proxy = Proxy::start(&running.base_url).await;
    let provider = vendor.connect(&proxy.url, &running.parent);
    vendor.case(running, proxy, provider, ("POST", "/")).await
}

async fn all() -> Vec<ProviderCase> {
    let mut all = vec![
        cloudflare::case("account").await,
        cloudflare::case("user").await,
        github::case().await.0,
        gitlab::case("project").await.0,
        gitlab::case("group").await.0,
        gitlab::case("fine").await.0,
        tailscale::auth_keys().await,
        tailscale::oauth_clients().await,
    ];
    for vendor in [&sendgrid::VENDOR, &openai::VENDOR, &openrouter::VENDOR, &huggingface::VENDOR] {
        all.push(of(vendor).await);
    }
    // Nothing is sent, so that nobody has to answer.
    let nobody = Proxy::start("http://127.0.0.1:9").await;
    all.push(aws::provider::before(nobody, aws::provider::ROLE));
    let nobody = Proxy::start("http://127.0.0.1:9").await;
    all.push(aws::provider::before(nobody, aws::provider::USER));
    all
}

#[tokio::test]
async fn no_kind_sends_a_wish_that_leaves_out_what_bounds_a_key() {
    let mut holes = Vec::new();
    let mut tried = BTreeSet::from(["anthropic"]);
    for case in all().await {
        let (provider, facts) = (case.provider.as_ref(), case.provider.facts());
        tried.insert(facts.kind);
        for hole in [Hole::Permissions, Hole::Resources, Hole::Expiry, Hole::Budget] {
            let has_it = match hole {
                Hole::Permissions | Hole::Resources => true,
                Hole::Expiry => facts.has_expiry,
                Hole::Budget => facts.has_budget,
            };
            if !has_it {
                continue;
            }
            let mut wish = case.wish.clone();
            match hole {
                Hole::Permissions => wish.permissions.clear(),
                Hole::Resources => wish.resources.clear(),
                Hole::Budget => wish.budget_cents = None,
                Hole::Expiry => {}
            }
            // A plan of that kind, where the policy lets it come so far, and a grant that is not the one of its plan.
            let whole = case.wish.authorized();
            let mut grant = facts.asked(whole.get().grant(Timestamp::now()));
            match hole {
                Hole::Permissions => grant.permissions.clear(),
                Hole::Resources => grant.resources.clear(),
                Hole::Budget => grant.budget_cents = None,
                Hole::Expiry => grant.expires_at = None,
            }
            let mut wishes = vec![(whole, grant)];
            match wish.judged() {
                Ok(plan) if hole != Hole::Expiry => {
                    let grant = facts.asked(plan.get().grant(Timestamp::now()));
                    wishes.push((plan, grant));
                }
                Ok(_) => {}
                Err(refusal) => assert_eq!(hole, Hole::Permissions, "{}: {refusal:?}", facts.kind),
            }
            for (plan, grant) in wishes {
                case.proxy.seen();
                let minted = provider.mint(&plan, &grant, &marker(1)).await;
                let sent: Vec<String> = case.proxy.seen().iter().map(|call| call.name()).collect();
                let came = minted.err().map_or_else(|| "minted".to_owned(), |error| format!("{error:?}"));
                if !came.starts_with("Unsupported") || !sent.is_empty() {
                    holes.push(format!("{} without {hole:?}: {came}, after {sent:?}", facts.kind));
                }
            }
        }
    }
    assert_eq!(holes, Vec::<String>::new());
    // The one kind that makes no keys has a test of its own for that.
    assert_eq!(tried, BTreeSet::from(KINDS));
}
