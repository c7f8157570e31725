//! Which kinds of providers and stores there are: said before anybody is asked for a credential.

use keywright_core::text::escaped;
use keywright_server::answer::Failure;

use crate::errors;

/// Refuses a kind that there is not.
pub(super) fn check(what: &str, kind: &str, known: &[&str]) -> Result<(), Failure> {
    if known.contains(&kind) {
        return Ok(());
    }
    let all = known.join(", ");
    Err(errors::usage(format!("there is no kind of {what} `{}`", escaped(kind)))
        .hint(format!("there is: {all}")))
}
