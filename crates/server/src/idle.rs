//! Connections that wait for a line. They cost their owner nothing, so that when all places are taken the one that has
//! waited longest makes room: nobody can keep others out by saying nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The connections that wait, by when they began to.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    all: BTreeMap<u64, oneshot::Sender<()>>,
}

/// One connection's wait.
pub(crate) struct Turn {
    idle: Arc<Idle>,
    number: u64,
    told: oneshot::Receiver<()>,
}

impl Idle {
    /// Begins to wait.
    pub(crate) fn enter(self: &Arc<Self>) -> Turn {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.insert(number, tell);
        drop(waiting);
        Turn { idle: Arc::clone(self), number, told }
    }

    /// Has the one that has waited longest go. False when none waits.
    pub(crate) fn oldest_goes(&self) -> bool {
        let oldest = self.lock().all.pop_first();
        // Where nobody listens any more, it has just gone by itself.
        oldest.map(|(_, tell)| tell.send(())).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// What was waited for. None when it did not come, or somebody else needed the place.
    pub(crate) async fn wait<T>(mut self, coming: impl Future<Output = Option<T>>) -> Option<T> {
        let came = tokio::select! {
            came = coming => came,
            _ = &mut self.told => None,
        };
        // Whoever was told to go goes, even if the line came at the same moment: its place is given away.
        let stays = self.idle.lock().all.remove(&self.number).is_some();
        came.filter(|_| stays)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.idle.lock().all.remove(&self.number);
    }
}
