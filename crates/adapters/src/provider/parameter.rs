//! What a provider's parameters are, told without a connection: a template can be judged before anything is dialled.

/// A kind of parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterKind {
    /// Its name, as templates write it: `cloudflare.zone`.
    pub kind: &'static str,
    /// The scopes of the permissions that such a parameter confines, in the words of the provider's catalog: `zone`.
    pub scopes: &'static [&'static str],
    /// Whether permissions of these scopes are confined without such a parameter too, by what the connection is
    /// configured with: its account, or its user.
    pub from_connection: bool,
    /// What to write, in one line.
    pub help: &'static str,
}

impl ParameterKind {
    /// Whether a permission of this scope can be confined by such a parameter.
    #[must_use]
    pub fn confines(&self, scope: &str) -> bool {
        self.scopes.contains(&scope)
    }
}
