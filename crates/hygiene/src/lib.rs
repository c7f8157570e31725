//! Secrets that escaped: what looks like a credential in free text.
//!
//! Pure: text in, text out. [`scrub_text`] is applied to every prompt and purpose before it goes on record, after the
//! broker has masked the secrets that it knows.

mod shape;

pub use shape::{MASK, scrub_text, scrub_tokens};
