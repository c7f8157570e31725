//! Work on files, where it may block.

use std::time::Duration;

use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, Write};

use super::trouble::Trouble;
use crate::store::remote::At;

/// Longer than a disk, git and the lock together may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A write, for work that may outlive the call that asked for it.
pub(in crate::store) struct OwnedWrite {
    pub(in crate::store) expected: Presence,
    pub(in crate::store) origin: Origin,
    pub(in crate::store) secret: Secret,
}

impl OwnedWrite {
    pub(in crate::store) fn of(write: &Write<'_>) -> Self {
        Self {
            expected: write.expected.clone(),
            origin: write.origin.clone(),
            secret: Secret::new(write.secret.expose_secret().to_owned()),
        }
    }
}

/// Does the work. `late` is what it means when it does not end in time.
pub(in crate::store) async fn blocking<T: Send + 'static>(
    at: At<'_>,
    late: fn(String) -> Trouble,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, StoreError> {
    let task = tokio::task::spawn_blocking(work);
    let result = match tokio::time::timeout(DEADLINE, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(late(format!("the work on the file stopped: {error}"))),
        Err(_) => Err(late(format!("the file did not answer in {} seconds", DEADLINE.as_secs()))),
    };
    result.map_err(|trouble| trouble.at(at.store, at.place))
}
