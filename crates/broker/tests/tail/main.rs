//! The newest entries of the audit log, which no checkpoint covers yet, in the hands of somebody who may write the home's
//! files while no broker runs.
//!
//! | module | what it holds |
//! |---|---|
//! | `home` | how a home is edited, and how a broker shows that it does not believe it |
//! | `entries` | entries that are cut off, written in, hidden or of another type |
//! | `head` | the file that says how long the log is |
//! | `again` | what was used, refused or removed does not come back |
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod again;
mod entries;
mod head;
mod home;
