//! What a login gave, a token above all: good for a while, and shared by the calls of that time.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use crate::rest::Failure;

/// What a login gave, and when it is time for another.
pub(crate) struct Login<T> {
    pub(crate) given: T,
    pub(crate) until: Instant,
}

/// The last login, if there was one.
pub(crate) struct Logins<T>(Mutex<Option<(Arc<T>, Instant)>>);

impl<T> Default for Logins<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Logins<T> {
    /// What the last login gave. Another one is made when there was none, its time is over, or what it gave is the one that
    /// turned out to be `dead`.
    pub(crate) async fn current(
        &self,
        dead: Option<&Arc<T>>,
        log_in: impl Future<Output = Result<Login<T>, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        let mut last = self.0.lock().await;
        if let Some((given, until)) = last.as_ref()
            && Instant::now() < *until
            && dead.is_none_or(|dead| !Arc::ptr_eq(dead, given))
        {
            return Ok(Arc::clone(given));
        }
        let Login { given, until } = log_in.await?;
        let given = Arc::new(given);
        *last = Some((Arc::clone(&given), until));
        Ok(given)
    }

    /// Another login, whatever there was.
    pub(crate) async fn renewed(
        &self,
        log_in: impl Future<Output = Result<Login<T>, Failure>>,
    ) -> Result<(), Failure> {
        let Login { given, until } = log_in.await?;
        *self.0.lock().await = Some((Arc::new(given), until));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_login_serves_until_its_time_is_over_or_it_is_dead() {
        let logins = Logins::default();
        let log_in = |given: u32, seconds| async move {
            Ok(Login { given, until: Instant::now() + Duration::from_secs(seconds) })
        };
        let first = logins.current(None, log_in(1, 60)).await.unwrap();
        assert_eq!((*first, *logins.current(None, log_in(2, 60)).await.unwrap()), (1, 1));
        let third = logins.current(Some(&first), log_in(3, 60)).await.unwrap();
        // Whoever comes later with the dead one is given what came in its place.
        assert_eq!((*third, *logins.current(Some(&first), log_in(4, 60)).await.unwrap()), (3, 3));
        logins.renewed(log_in(5, 0)).await.unwrap();
        assert_eq!(*logins.current(None, log_in(6, 60)).await.unwrap(), 6);
        let refused = async { Err(Failure::garbled("no".to_owned())) };
        assert!(logins.renewed(refused).await.is_err());
        assert_eq!(*logins.current(None, log_in(7, 60)).await.unwrap(), 6);
    }
}
