//! Successors of parent credentials: what every provider has to keep that makes them.

use jiff::Timestamp;
use keywright_core::id::AttemptId;
use keywright_core::marker::{Epoch, InstanceTag, Marker, MarkerKey};
use keywright_core::provider::{Minted, Provider, ProviderError, RenewsParent, Switched};
use keywright_core::secret::Secret;

use crate::support::{Fault, Proxy};

/// A provider that renews its parent, behind a proxy.
pub struct Case {
    pub proxy: Proxy,
    /// The provider as somebody sees it who holds a credential.
    pub open: Box<dyn Fn(&str) -> Box<dyn Provider> + Send + Sync>,
    pub credential: String,
    /// The call that creates.
    pub create: (&'static str, &'static str),
}

fn marker(number: u8) -> Marker {
    let key = MarkerKey::new(InstanceTag::from_instance(&[1; 16]), [1; 32]);
    key.marker(Epoch(1), AttemptId::generate(Timestamp::UNIX_EPOCH, [number; 10]))
}

fn able(provider: &dyn Provider) -> &dyn RenewsParent {
    provider.renewing().expect("it renews its parent")
}

/// Made, tried, compared; then the first one goes by the word of the second. Every verb twice.
pub async fn a_successor_takes_over(case: &Case) -> Minted {
    let first = (case.open)(&case.credential);
    let by_first = able(first.as_ref());
    let (parent, since, marker) = (by_first.parent().await.unwrap(), Timestamp::now(), marker(1));
    assert!(by_first.left_by(&parent, &marker, since).await.unwrap().is_empty());
    let made = by_first.succeed(&parent, &marker, since).await.unwrap();
    let id = made.provider_key_id.as_str();
    assert_ne!(id, parent.id);
    assert_eq!(by_first.left_by(&parent, &marker, since).await.unwrap(), [id]);
    for _ in 0..2 {
        by_first.tried(&made.secret, id).await.unwrap();
        assert_eq!(by_first.differences(&parent.id, id).await.unwrap(), Vec::<String>::new());
    }
    by_first.tried(&made.secret, &parent.id).await.unwrap_err();
    by_first.tried(&Secret::new(case.credential.clone()), id).await.unwrap_err();
    let second = (case.open)(made.secret.expose_secret());
    second.check().await.unwrap();
    let by_second = able(second.as_ref());
    // What the connection lives by is nothing that was left, whoever asks.
    assert!(by_second.left_by(&parent, &marker, since).await.unwrap().is_empty());
    for _ in 0..2 {
        assert_eq!(by_second.switch_off(&parent.id).await.unwrap(), Switched::Off);
    }
    for _ in 0..2 {
        by_second.switch_on(&parent.id).await.unwrap();
    }
    assert!(!by_second.is_gone(&parent.id).await.unwrap());
    for _ in 0..2 {
        by_second.end(&parent.id).await.unwrap();
        assert!(by_second.is_gone(&parent.id).await.unwrap());
    }
    assert_eq!(by_second.switch_off(&parent.id).await.unwrap(), Switched::Off);
    let missing = by_second.differences(&parent.id, id).await.unwrap_err();
    assert!(matches!(missing, ProviderError::NotFound { .. }), "{missing}");
    second.check().await.unwrap();
    first.check().await.unwrap_err();
    made
}

/// Whatever comes in place of an answer: what was made is found, and a refusal is one.
pub async fn a_bad_answer_to_the_create_hides_nothing(case: &Case) {
    let first = (case.open)(&case.credential);
    let by_first = able(first.as_ref());
    let answer = |status| Fault::Answer { status, headers: "", body: "<html>no</html>".to_owned() };
    let after = |status| Fault::AnswerAfter { status, headers: "", body: "<html>no</html>".to_owned() };
    let faults = [
        Fault::LostBefore,
        Fault::LostAfter,
        answer(403),
        answer(500),
        after(200),
        after(403),
        after(404),
        after(429),
        after(502),
        Fault::Echo { status: 400 },
        Fault::Echo { status: 500 },
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let (what, lies) = (format!("{fault:?}"), matches!(fault, Fault::AnswerAfter { .. }));
        let marker = marker(u8::try_from(number).unwrap() + 10);
        let (parent, since) = (by_first.parent().await.unwrap(), Timestamp::now());
        case.proxy.next(case.create.0, case.create.1, fault);
        let error = by_first.succeed(&parent, &marker, since).await.err().expect(&what);
        assert_eq!(case.proxy.unmet(), 0, "{what}");
        assert!(!error.to_string().contains(&case.credential), "{what}: {error}");
        let left = by_first.left_by(&parent, &marker, since).await.unwrap();
        let is_unknown = matches!(error, ProviderError::OutcomeUnknown { .. });
        // A refusal of something that was made is found out by whoever looks, as the broker does.
        assert!(left.len() <= 1 && (is_unknown || lies || left.is_empty()), "{what}: {error}: {left:?}");
        for id in &left {
            by_first.end(id).await.unwrap();
            assert!(by_first.is_gone(id).await.unwrap(), "{what}");
        }
        assert!(by_first.left_by(&parent, &marker, since).await.unwrap().is_empty(), "{what}");
        first.check().await.unwrap();
    }
}
