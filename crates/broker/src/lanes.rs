//! Work that goes on from tick to tick, in a lane for each of those that may not answer: a provider or a store that hangs
//! holds up its own lane.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinSet};

/// The lanes that are busy.
pub(crate) struct Lanes<K> {
    tasks: JoinSet<()>,
    busy: HashMap<Id, K>,
}

impl<K: Clone> Lanes<K> {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), busy: HashMap::new() }
    }

    /// The lanes in which something goes on.
    pub(crate) fn busy(&self) -> Vec<K> {
        self.busy.values().cloned().collect()
    }

    /// Has something done in a lane.
    pub(crate) fn spawn(&mut self, lane: K, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(work);
        self.busy.insert(task.id(), lane);
    }

    /// Waits for something to end. `false` when nothing is under way.
    pub(crate) async fn freed(&mut self) -> bool {
        // One that panicked is free again as well.
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return false,
        };
        self.busy.remove(&id);
        true
    }

    /// How much is under way.
    pub(crate) fn len(&self) -> usize {
        self.busy.len()
    }

    /// The lanes in which so much goes on, or more.
    pub(crate) fn crowded(&self, from: usize) -> Vec<K>
    where
        K: Eq + std::hash::Hash,
    {
        let mut counts: HashMap<&K, usize> = HashMap::new();
        for lane in self.busy.values() {
            *counts.entry(lane).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count >= from).map(|(lane, _)| lane.clone()).collect()
    }

    /// Takes note of what has ended, without waiting.
    pub(crate) fn tidy(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            self.busy.remove(&id);
        }
    }

    /// Lets what is under way come to its end, for a while.
    pub(crate) async fn finish(mut self, grace: Duration) {
        let _ = tokio::time::timeout(grace, async { while self.freed().await {} }).await;
    }
}
