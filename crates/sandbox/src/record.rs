//! The log of calls: bounded, without bodies and without secrets.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

/// One call that reached the sandbox.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// Counts from 1; never reused, so a gap at the start shows that older records were dropped.
    pub number: u64,
    /// When it was judged (by the sandbox's clock).
    pub at: Timestamp,
    /// HTTP method.
    pub method: String,
    /// Path below the base path, without the query.
    pub path: String,
    /// The id of the token it carried, if the sandbox knows it (refused ones included).
    pub token: Option<String>,
    /// The status that was sent; absent when no reply was sent.
    pub status: Option<u16>,
    /// The faults that hit it, by kind.
    pub faults: Vec<&'static str>,
}

/// The last calls.
pub(crate) struct CallLog {
    calls: VecDeque<CallRecord>,
    limit: usize,
    next: u64,
}

impl CallLog {
    /// A log that keeps the last `limit` calls.
    pub(crate) fn new(limit: usize) -> Self {
        Self { calls: VecDeque::new(), limit, next: 1 }
    }

    /// Appends a record, giving it its number.
    pub(crate) fn push(&mut self, mut call: CallRecord) {
        call.number = self.next;
        self.next += 1;
        self.calls.push_back(call);
        while self.calls.len() > self.limit {
            self.calls.pop_front();
        }
    }

    /// Forgets what it kept; numbers go on.
    pub(crate) fn clear(&mut self) {
        self.calls.clear();
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &CallRecord> {
        self.calls.iter()
    }
}
