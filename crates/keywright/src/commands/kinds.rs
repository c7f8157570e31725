//! Which kinds of providers and stores there are: said before anybody is asked for a credential.
//!
//! The adapters are behind the broker, so their names are repeated here; a test keeps the two alike.

use keywright_core::text::escaped;
use keywright_server::answer::Failure;

use crate::errors;

/// The kinds of providers.
pub(super) const PROVIDERS: [&str; 1] = ["cloudflare"];
/// The kinds of stores that can be added.
pub(super) const STORES: [&str; 1] = ["dotenv"];

/// Refuses a kind that there is not.
pub(super) fn check(what: &str, kind: &str, known: &[&str]) -> Result<(), Failure> {
    if known.contains(&kind) {
        return Ok(());
    }
    let all = known.join(", ");
    Err(errors::usage(format!("there is no kind of {what} `{}`", escaped(kind)))
        .hint(format!("there is: {all}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_are_those_of_the_adapters() {
        assert_eq!(PROVIDERS.as_slice(), keywright_adapters::provider::KINDS);
        assert_eq!(STORES.as_slice(), keywright_adapters::store::KINDS);
    }
}
