//! The operations, one file a subject. They run after the caller was judged.

pub(crate) mod accounts;
pub(crate) mod dns;
pub(crate) mod genesis;
pub(crate) mod kv;
pub(crate) mod page;
pub(crate) mod r2;
pub(crate) mod record_body;
pub(crate) mod tokens;
pub(crate) mod zones;
