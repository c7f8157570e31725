//! What can be done, as the log names it.

use serde::{Deserialize, Serialize};

/// What kind of record an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Written before the outside world is touched. If it can't be written, the deed is refused.
    Intent,
    /// Written after: how it went.
    Outcome,
    /// A fact that needed no call to the outside world.
    Note,
}

/// A deed's name that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a deed that the log knows; was the entry written by a newer version?")]
pub struct UnknownDeed {
    given: String,
}

/// Lists each deed once: its variant, its name in the log, its meaning. The name is part of persisted
/// entries, so it never changes; a new deed is a new line.
macro_rules! deeds {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// A deed, named `noun.verb` in the log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Deed {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl Deed {
            /// Every deed, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the log, such as `key.mint`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

deeds! {
    RequestDecide = "request.decide", "An agent's or operator's request met the policy.";
    RequestRepeat = "request.repeat", "What waits for approval was asked for once more.";
    RequestReject = "request.reject", "An operator turned a pending request down.";
    RequestNarrow = "request.narrow", "An operator cut a pending request down before approving it.";
    RequestExpire = "request.expire", "A pending request ran out of time.";
    ApprovalGive = "approval.give", "An operator signed a plan's digest.";
    KeyMint = "key.mint", "A version was made at the provider.";
    KeyPlace = "key.place", "A version's secret was written to a store.";
    KeyRotate = "key.rotate", "A key moved from one version to the next.";
    KeyRevoke = "key.revoke", "A version was revoked at the provider.";
    KeySweep = "key.sweep", "Reconciling found a version that nobody owned, and dealt with it.";
    KeyDisable = "key.disable", "A key was switched off at the provider, and can be switched on again.";
    KeyEnable = "key.enable", "A key that was switched off was switched on again.";
    KeyAdopt = "key.adopt", "A key made elsewhere came under management.";
    SecretRead = "secret.read", "A workload's or operator's run read secrets.";
    TemplatePropose = "template.propose", "An agent proposed a template.";
    TemplateApply = "template.apply", "An operator put a template into force.";
    PolicyApply = "policy.apply", "An operator put a policy into force.";
    CatalogImport = "catalog.import", "An operator imported a provider's permission data.";
    AgentAdd = "agent.add", "An agent got a token.";
    AgentRemove = "agent.remove", "An agent's token was withdrawn.";
    AgentPause = "agent.pause", "An agent was paused: what it asks for is refused.";
    AgentResume = "agent.resume", "An agent that was paused may ask again.";
    AgentRevokeAll = "agent.revoke-all", "Everything of an agent was ended: its keys, and what waited from it.";
    GrantAdd = "grant.add", "An operator approved a class of requests in advance.";
    GrantRemove = "grant.remove", "What was approved in advance is approved no more.";
    GrantUse = "grant.use", "A request was approved by what an operator had approved in advance.";
    OperatorAdd = "operator.add", "An operator was added.";
    OperatorRemove = "operator.remove", "An operator was removed.";
    OperatorTouch = "operator.touch", "An operator's passkey signed a deed; the deed's own entries follow.";
    PasskeyAdd = "passkey.add", "An operator enrolled a passkey.";
    PasskeyHold = "passkey.hold", "A passkey was made with an operator's code, and counts only once they say that it is theirs.";
    PasskeyRefuse = "passkey.refuse", "What was made with an operator's code was not theirs, and never counted.";
    PasskeyRemove = "passkey.remove", "An operator's passkey was removed.";
    WorkloadAdd = "workload.add", "A workload got a token.";
    WorkloadRemove = "workload.remove", "A workload's token was withdrawn.";
    ProviderAdd = "provider.add", "A connection to a provider was added.";
    ProviderRemove = "provider.remove", "A connection to a provider was removed.";
    ProviderRotateParent = "provider.rotate-parent", "A connection's parent credential was replaced.";
    StoreAdd = "store.add", "A store was added.";
    StoreRemove = "store.remove", "A store was removed.";
    ConsumerAdd = "consumer.add", "An operator had somebody told of successors.";
    ConsumerRemove = "consumer.remove", "Somebody is told of successors no more.";
    ConsumerTell = "consumer.tell", "Somebody was told, or could not be, that a key has a successor.";
    ChannelAdd = "channel.add", "An operator had people told of what waits for them.";
    ChannelRemove = "channel.remove", "A channel tells people no more.";
    ChannelTell = "channel.tell", "A channel told people of something that waits, or could not.";
    ProjectTeardown = "project.teardown", "All keys of a project were given up.";
    PassphraseChange = "passphrase.change", "An operator's passphrase changed.";
    SessionOpen = "session.open", "An operator opened a session.";
    SessionRefuse = "session.refuse", "Passphrases that fit no operator were given, more than somebody mistypes.";
    AuditAccept = "audit.accept", "An operator took the audit log as it is, after its files were lost.";
    RestoreAccept = "restore.accept", "An operator took a ledger as it is that is older than what was known of it.";
    BrokerStart = "broker.start", "The broker came up.";
}

impl std::fmt::Display for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Deed {
    type Err = UnknownDeed;
    fn from_str(text: &str) -> Result<Self, UnknownDeed> {
        Self::ALL
            .iter()
            .copied()
            .find(|deed| deed.as_str() == text)
            .ok_or_else(|| UnknownDeed { given: crate::text::Untrusted::capped(text, 80).to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deed_has_one_name_in_text_and_in_json() {
        for deed in Deed::ALL {
            assert_eq!(deed.as_str().parse::<Deed>().unwrap(), *deed);
            assert_eq!(serde_json::to_string(deed).unwrap(), format!("\"{deed}\""));
            let mut parts = deed.as_str().split('.');
            let well_formed = |part: Option<&str>| {
                part.is_some_and(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
            };
            assert!(
                well_formed(parts.next()) && well_formed(parts.next()) && parts.next().is_none(),
                "{deed}"
            );
        }
        assert!("key.teleport".parse::<Deed>().is_err());
    }
}
