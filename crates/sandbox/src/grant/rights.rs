//! Which permission groups an operation accepts: any one of a list suffices.
//!
//! Compiled from the operations of the published OpenAPI document (api-schemas, July 2026). Groups of another scope than
//! the path's are left out: a resource string of their scope could never cover the thing that the path names.

/// Reads tokens and permission groups of an account.
pub(crate) const ACCOUNT_TOKENS_READ: &[&str] = &[
    "5bc3f8b21c554832afc660159ab75fa4", // Account API Tokens Write
    "eb56a6953c034b9d97dd838155666f06", // Account API Tokens Read
];
/// Creates, changes, rolls and deletes tokens of an account.
pub(crate) const ACCOUNT_TOKENS_WRITE: &[&str] = &["5bc3f8b21c554832afc660159ab75fa4"];
/// Reads the user's tokens.
pub(crate) const USER_TOKENS_READ: &[&str] = &[
    "686d18d5ac6c441c867cbf6771e58a0a", // API Tokens Write
    "0cc3a61731504c89b99ec1be78b77aa0", // API Tokens Read
];
/// Creates, changes, rolls and deletes the user's tokens.
pub(crate) const USER_TOKENS_WRITE: &[&str] = &["686d18d5ac6c441c867cbf6771e58a0a"];
/// Reads the user. The published groups (User Details Read and Write) have no known id, so any user group counts.
pub(crate) const USER_READ: &[&str] = &[
    "686d18d5ac6c441c867cbf6771e58a0a", // API Tokens Write
    "0cc3a61731504c89b99ec1be78b77aa0", // API Tokens Read
    "3518d0f75557482e952c6762d3e64903", // Memberships Read
];
/// Reads DNS records.
pub(crate) const DNS_READ: &[&str] = &[
    "82e64a83756745bbbb1c9c2701bf816b", // DNS Read
    "4755a26eedb94da69e1066d98aa820be", // DNS Write
];
/// Writes DNS records.
pub(crate) const DNS_WRITE: &[&str] = &["4755a26eedb94da69e1066d98aa820be"];
/// Purges the cache of a zone.
pub(crate) const CACHE_PURGE: &[&str] = &["e17beae8b8cb423a99b1730f21238bed"];
/// Reads Workers KV.
pub(crate) const KV_READ: &[&str] = &[
    "f7f0eda5697f475c90846e879bab8666", // Workers KV Storage Write
    "8b47d2786a534c08a1f94ee8f9f599ef", // Workers KV Storage Read
];
/// Writes Workers KV.
pub(crate) const KV_WRITE: &[&str] = &["f7f0eda5697f475c90846e879bab8666"];
/// Lists R2 buckets.
pub(crate) const R2_READ: &[&str] = &[
    "bf7481a1826f439697cb59a20b22293e", // Workers R2 Storage Write
    "b4992e1108244f5d8bfbd5744320c2e1", // Workers R2 Storage Read
];
/// Makes and removes R2 buckets.
pub(crate) const R2_WRITE: &[&str] = &["bf7481a1826f439697cb59a20b22293e"];
/// Reads objects of one bucket (no published annotation: the bucket-scope group's own meaning).
pub(crate) const R2_ITEM_READ: &[&str] = &[
    "2efd5506f9c8494dacb1fa10a3e7d5b6", // Workers R2 Storage Bucket Item Write
    "6a018a9f2fc74eb6b293b0c548f38b39", // Workers R2 Storage Bucket Item Read
];
/// Writes objects of one bucket.
pub(crate) const R2_ITEM_WRITE: &[&str] = &["2efd5506f9c8494dacb1fa10a3e7d5b6"];

/// Reads a zone: nearly every zone group does. `GET /zones` shows the zones that one of these covers; its own published
/// group has no id, and this is how the real service is believed to filter.
pub(crate) const ZONE_READ: &[&str] = &[
    "eb258a38ea634c86a0c89da6b27cb6b6", // Access: Apps and Policies Read
    "6db4e222e21248ac96a3f4c2a81e3b41", // Access: Apps and Policies Revoke
    "959972745952452f8be2452be8cbb9f2", // Access: Apps and Policies Write
    "9c88f9c5bce24ce7af9a958ba9c504db", // Analytics Read
    "094547ab6e77498c8c4dfa87fadd5c51", // Apps Write
    "e17beae8b8cb423a99b1730f21238bed", // Cache Purge
    "82e64a83756745bbbb1c9c2701bf816b", // DNS Read
    "4755a26eedb94da69e1066d98aa820be", // DNS Write
    "4ec32dfcb35641c5bb32d5ef1ab963b4", // Firewall Services Read
    "43137f8d07884d3198dc0ee77ca6e79b", // Firewall Services Write
    "e9a975f628014f1d85b723993116f7d5", // Load Balancers Read
    "6d7f2f5f5b1d4a0e9081fdc98d432fd1", // Load Balancers Write
    "c4a30cd58c5d42619c86a3c36c441e2d", // Logs Read
    "3e0b5820118e47f3922f7c989e673882", // Logs Write
    "b415b70a4fd1412886f164451f20405c", // Page Rules Read
    "ed07f6c337da4195b4e72a1fb2c6bcae", // Page Rules Write
    "7b7216b327b04b8fbc8f524e1f9b7531", // SSL and Certificates Read
    "c03055bc037c4ea9afb9a9f104b7b721", // SSL and Certificates Write
    "2072033d694d415a936eaeb94e6405b8", // Workers Routes Read
    "28f4b596e7d643029c524985477ae49a", // Workers Routes Write
    "cdeb15b336e640a2965df8c65052f1e0", // Zaraz Admin
    "89d5bf002389496e9994b8c30608b5d0", // Zaraz Edit
    "5bdbde7e76144204a244274eac3eb0eb", // Zaraz Read
    "c8fed203ed3043cba015a93ad1616f1f", // Zone Read
    "517b21aee92c4d89936c976ba6e4be55", // Zone Settings Read
    "3030687196b94b638145a3953da2b699", // Zone Settings Write
    "e6d2666161e84845a636613608cee8d5", // Zone Write
];

/// Reads an account.
pub(crate) const ACCOUNT_READ: &[&str] = &[
    "de7a688cc47d43bd9ea700b467a09c96", // Account Firewall Access Rules Read
    "a416acf9ef5a4af19fb11ed3b96b1fe6", // Account Firewall Access Rules Write
    "c1fde68c7bcc44588cbb6ddbc16d6480", // Account Settings Read
    "1af1fa2adc104452b74a9a3364202f20", // Account Settings Write
    "7cf72faf220841aabcfdfab81c43c4f6", // Billing Read
    "6c80e02421494afc9ae14414ed442632", // Billing Write
    "dee7c22a57674abea8f942110b094717", // DDoS Botnet Feed Read
    "0caa90c9b186447397c8b00358d34a76", // DDoS Botnet Feed Write
    "af1c363c35ba45b9a8c682ae50eb3f99", // DDoS Protection Read
    "d44ed14bcc4340b194d3824d60edad3f", // DDoS Protection Write
    "5f48a472240a4b489a21d43bd19a06e1", // DNS Firewall Read
    "da6d2d6f2ec8442eaadda60d13f42bca", // DNS Firewall Write
    "95d69e8d6d5144bfb0923667355d9f11", // DNS View Read
    "5b7aedd821a548b9bf5a2acabbce98c7", // DNS View Write
    "59059f0c977b44f8b1c18e0aaf91c369", // Load Balancers Account Read
    "419ec42810af4659ade77716dbe47bc6", // Load Balancers Account Write
    "9d24387c6e8544e2bc4024a03991339f", // Load Balancing: Monitors and Pools Read
    "d2a1802cc9a34e30852f8b33869b2f3c", // Load Balancing: Monitors and Pools Write
    "d5812c023a5048b4882175a28952362d", // SCIM Provisioning
    "f0ba3733e746429182fcd40ec648c066", // Trust and Safety Read
    "120f843a9c074f399b830e542e5616b8", // Trust and Safety Write
    "8b47d2786a534c08a1f94ee8f9f599ef", // Workers KV Storage Read
    "f7f0eda5697f475c90846e879bab8666", // Workers KV Storage Write
    "b4992e1108244f5d8bfbd5744320c2e1", // Workers R2 Storage Read
    "bf7481a1826f439697cb59a20b22293e", // Workers R2 Storage Write
    "1a71c399035b4950a1bd1466bbe4f420", // Workers Scripts Read
    "e086da7e2179491d91ee5f35b3ca210a", // Workers Scripts Write
    "05880cd1bdc24d8bae0be2136972816b", // Workers Tail Read
    "f5d857f67f144e3c8bacea88c17d4a13", // Zero Trust: PII Read
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::group::{Group, Scope};

    #[test]
    fn every_accepted_group_exists_and_has_the_scope_of_its_path() {
        let lists: [(Scope, &[&[&str]]); 4] = [
            (
                Scope::Account,
                &[
                    ACCOUNT_TOKENS_READ,
                    ACCOUNT_TOKENS_WRITE,
                    KV_READ,
                    KV_WRITE,
                    R2_READ,
                    R2_WRITE,
                    ACCOUNT_READ,
                ],
            ),
            (Scope::Zone, &[DNS_READ, DNS_WRITE, CACHE_PURGE, ZONE_READ]),
            (Scope::User, &[USER_TOKENS_READ, USER_TOKENS_WRITE, USER_READ]),
            (Scope::Bucket, &[R2_ITEM_READ, R2_ITEM_WRITE]),
        ];
        for (scope, groups) in lists {
            for id in groups.iter().copied().flatten() {
                assert_eq!(Group::find(id).unwrap().scope, scope, "{id}");
            }
        }
    }
}
