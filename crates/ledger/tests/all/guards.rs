//! Templates, policies, proposals; and what the embedded store holds.

use keywright_core::id::{KeyId, PlacementId, RequestId, SealedId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::name::{OperatorName, TemplateId};
use keywright_core::secret::Secret;
use keywright_core::template::ResolvedTemplate;
use keywright_ledger::{EmbeddedValue, LedgerError, Proposal};
use serde_json::json;

use crate::support::Home;
use crate::things::id;

fn template(id: &str, ttl: &str) -> ResolvedTemplate {
    serde_json::from_value(json!({
        "template": {
            "id": id, "title": "Edit the DNS records of one zone", "provider": "cloudflare", "tier": "standard",
            "permissions": ["DNS Write"], "parameters": {},
            "limits": { "ttl_max": ttl, "destinations": ["embedded:*"] },
        },
        "permissions": [{ "id": "4755", "name": "DNS Write", "scope": "zone" }],
        "escalation": [], "unlocks": 9, "mutating": 5,
    }))
    .unwrap()
}

fn ada() -> OperatorName {
    "ada".parse().unwrap()
}

#[tokio::test]
async fn each_apply_of_a_template_is_a_new_version_and_the_old_ones_stay_on_record() {
    let home = Home::new();
    let ledger = home.open();
    let versions = ledger
        .write(|tx| {
            let mut versions = Vec::new();
            for (id, ttl, source) in
                [("cloudflare/a", "30d", "one"), ("cloudflare/b", "1d", "b"), ("cloudflare/a", "7d", "two")]
            {
                versions.push(tx.apply_template(source, &template(id, ttl), &ada(), &[9; 64])?);
            }
            Ok::<_, LedgerError>(versions)
        })
        .await
        .unwrap();
    assert_eq!(versions, [1, 1, 2]);
    let (in_force, a) = ledger
        .read(|tx| {
            Ok::<_, LedgerError>((
                tx.templates()?,
                tx.template(&"cloudflare/a".parse::<TemplateId>().unwrap())?,
            ))
        })
        .await
        .unwrap();
    let a = a.unwrap();
    assert_eq!((a.version, a.source.as_str(), a.applied_by, a.signature), (2, "two", ada(), [9; 64]));
    assert_eq!(a.resolved, template("cloudflare/a", "7d"));
    assert_eq!(in_force.len(), 2);
    assert_eq!(home.values("SELECT COUNT(*) FROM templates"), ["3"]);
}

#[tokio::test]
async fn the_newest_policy_is_in_force_and_the_old_ones_stay_on_record() {
    let home = Home::new();
    let ledger = home.open();
    assert!(matches!(ledger.read(|tx| tx.policy()).await, Err(LedgerError::Missing { .. })));
    for (version, source) in [(1, "permit (principal, action, resource);"), (2, "// nothing")] {
        let applied = ledger.write(move |tx| tx.apply_policy(source, &ada(), &[3; 64])).await.unwrap();
        assert_eq!(applied, version);
        let policy = ledger.read(|tx| tx.policy()).await.unwrap();
        assert_eq!((policy.version, policy.source.as_str(), policy.signature), (version, source, [3; 64]));
    }
}

#[tokio::test]
async fn a_proposal_waits_until_it_is_applied_or_rejected_once() {
    let home = Home::new();
    let ledger = home.open();
    for (n, id) in [(0u32, "cloudflare/a"), (1, "cloudflare/b")] {
        let proposal = Proposal {
            request: id!(RequestId, n),
            agent: "builder".parse().unwrap(),
            template: id.parse().unwrap(),
            source: "text".to_owned(),
            why: "the shop needs it".to_owned(),
            state: "pending".to_owned(),
            created_at: ledger.now(),
        };
        ledger.write(move |tx| tx.add_proposal(&proposal)).await.unwrap();
    }
    ledger
        .write(|tx| tx.apply_template("text", &template("cloudflare/a", "30d"), &ada(), &[9; 64]))
        .await
        .unwrap();
    ledger.write(|tx| tx.settle_proposal(id!(RequestId, 0u32), "applied", ("ana", None))).await.unwrap();
    let waiting = ledger.read(|tx| tx.proposals()).await.unwrap();
    assert_eq!(waiting.iter().map(|p| p.template.as_str()).collect::<Vec<_>>(), ["cloudflare/b"]);
    ledger
        .write(|tx| tx.settle_proposal(id!(RequestId, 1u32), "rejected", ("ana", Some("no"))))
        .await
        .unwrap();
    for n in 0..2u32 {
        let again =
            ledger.write(move |tx| tx.settle_proposal(id!(RequestId, n), "rejected", ("ana", None))).await;
        assert!(matches!(again, Err(LedgerError::Conflict { .. })));
    }
}

#[tokio::test]
async fn embedded_values_keep_older_versions_until_each_is_removed() {
    let home = Home::new();
    let ledger = home.open();
    let place = "shop/dev/CF_TOKEN";
    for n in 1..=2u32 {
        let owner = format!("placement:{n}");
        let sealed = home.ring.seal(&owner, &Secret::new(format!("value {n}"))).unwrap();
        let value = EmbeddedValue {
            place: place.to_owned(),
            number: n.into(),
            placement: id!(PlacementId, n),
            key: id!(KeyId, 1u32),
            version: id!(VersionId, n),
            marker: Marker::from_ledger(format!("marker-{n}")),
            sealed: id!(SealedId, n),
        };
        ledger
            .write(move |tx| {
                tx.put_sealed(value.sealed, &owner, &sealed)?;
                tx.add_embedded(&value)
            })
            .await
            .unwrap();
    }
    let number = || async { ledger.read(|tx| tx.embedded_current(place)).await.unwrap().map(|v| v.number) };
    assert_eq!(number().await, Some(2));
    // The newer one is taken back: the older one counts again.
    for _ in 0..2 {
        ledger.write(|tx| tx.remove_embedded(id!(PlacementId, 2u32))).await.unwrap();
        assert_eq!(number().await, Some(1));
    }
    let sealed = ledger.read(|tx| tx.sealed_of("placement:1")).await.unwrap().unwrap();
    assert_eq!(home.ring.open("placement:1", &sealed).unwrap().expose_secret(), "value 1");
    assert!(
        ledger.read(|tx| tx.sealed_of("placement:2")).await.unwrap().is_none(),
        "the sealed form goes with it"
    );
    // A value whose sealed form does not exist can't be added.
    let dangling = EmbeddedValue {
        place: place.to_owned(),
        number: 3,
        placement: id!(PlacementId, 3u32),
        key: id!(KeyId, 1u32),
        version: id!(VersionId, 3u32),
        marker: Marker::from_ledger("marker-3".to_owned()),
        sealed: id!(SealedId, 3u32),
    };
    ledger.write(move |tx| tx.add_embedded(&dangling)).await.unwrap_err();
    assert_eq!(number().await, Some(1));
}
