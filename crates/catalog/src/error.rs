//! What can go wrong with permission data, and what to try next.

use crate::permission::Permission;

/// Why a question to a catalog has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No catalog ships for this provider.
    #[error("no catalog for provider `{provider}`; there is one for {}", quoted(known))]
    UnknownProvider {
        /// What was asked for.
        provider: String,
        /// The providers that have a catalog.
        known: Vec<String>,
    },
    /// No permission has this name or id.
    #[error("no permission `{asked}`{}", hint(nearest))]
    UnknownPermission {
        /// What was asked for.
        asked: String,
        /// Names that come close, best first.
        nearest: Vec<String>,
    },
    /// A name that stands for several permissions, one per scope.
    #[error("`{name}` has one permission per scope: say which of {}", candidates_listed(candidates))]
    AmbiguousPermission {
        /// What was asked for.
        name: String,
        /// What it could be, as `(id, scope)`.
        candidates: Vec<(String, String)>,
    },
    /// The provider has no such operation.
    #[error("no operation `{asked}`{}", hint(nearest))]
    UnknownOperation {
        /// What was asked for.
        asked: String,
        /// Operations that come close, best first.
        nearest: Vec<String>,
    },
    /// Nobody says what opens the operation, so nothing is concluded about it.
    #[error("nothing is known to open `{asked}`{}{}", unresolved_listed(unresolved), instead(nearest))]
    NotComputable {
        /// The operation.
        asked: String,
        /// Permissions that the vendor names for it, but whose ids are not known.
        unresolved: Vec<String>,
        /// Operations like it about which something is known, best first.
        nearest: Vec<String>,
    },
    /// What the operation needs depends on something that its path does not say.
    #[error("what `{asked}` needs depends: say `{asked}#...` with one of {}", quoted(variants))]
    VariantNeeded {
        /// The operation.
        asked: String,
        /// What it can be.
        variants: Vec<String>,
    },
    /// A call to a host that is not the provider's documented one.
    #[error(
        "`{host}` is not where {provider} documents its API{}; nothing is concluded about calls to it, so give `METHOD /path` alone \
         if it is one of {provider}'s",
        documented(bases)
    )]
    ForeignHost {
        /// The host.
        host: String,
        /// The provider.
        provider: &'static str,
        /// Where its API is.
        bases: Vec<String>,
    },
    /// A concrete path that several operations fit equally well.
    #[error("`{asked}` may be {}: say which", quoted(candidates))]
    AmbiguousCall {
        /// What was asked for.
        asked: String,
        /// The operations.
        candidates: Vec<String>,
    },
    /// A path or URL alone.
    #[error("`{asked}` does not say how it is called: write the method before it, as in `GET {asked}`")]
    MethodNeeded {
        /// What was asked for.
        asked: String,
    },
    /// A job without operations, or with too many to search through.
    #[error("a job has from 1 to {most} operations that can be searched through")]
    JobSize {
        /// The most that a job may have.
        most: usize,
    },
    /// The compiled data itself is damaged.
    #[error("the catalog is damaged at line {line}: {what}")]
    Damaged {
        /// Line number, from 1.
        line: usize,
        /// What was expected there.
        what: &'static str,
    },
}

impl CatalogError {
    pub(crate) fn ambiguous(name: &str, candidates: &[&Permission]) -> Self {
        let pair = |permission: &&Permission| (permission.id.to_owned(), permission.scope.to_owned());
        Self::AmbiguousPermission { name: name.to_owned(), candidates: candidates.iter().map(pair).collect() }
    }
}

fn documented(bases: &[String]) -> String {
    if bases.is_empty() { String::new() } else { format!(" ({})", quoted(bases)) }
}

fn unresolved_listed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; no id is known for {}", quoted(names)) }
}

fn instead(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; something is known about {}", quoted(nearest)) }
}

fn hint(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; did you mean {}?", quoted(nearest)) }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn candidates_listed(candidates: &[(String, String)]) -> String {
    candidates.iter().map(|(id, scope)| format!("`{scope}` ({id})")).collect::<Vec<_>>().join(", ")
}
