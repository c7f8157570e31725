//! A provider that runs on loopback and enforces permissions for real.
//!
//! The sandbox speaks the part of Cloudflare's API (v4) that a key broker needs: account and user tokens, permission
//! groups, zones, DNS records, cache purge, Workers KV and R2 buckets. It keeps everything in memory, and each call is
//! judged by the policies of the token that made it: explicit deny, then explicit allow, then implicit deny. A token that
//! may read one zone can't write it, can't read another one, and dies at once when it is rolled or deleted.
//!
//! It is made for the demo and for tests, so it can also misbehave on request: replies that get lost after the work was
//! done, lists that lag, errors that quote secrets, grants that are wider than what was asked. See [`FaultKind`].
//!
//! ```no_run
//! # async fn example() -> Result<(), keywright_sandbox::SandboxError> {
//! use keywright_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig};
//! let sandbox = Sandbox::start(SandboxConfig::default()).await?;
//! sandbox.inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::ReplyLostAfterCommit))?;
//! // ... point the Cloudflare adapter at sandbox.base_url() with sandbox.parent_token() ...
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Shapes follow Cloudflare's OpenAPI document. Where that document is silent (most error codes of token creation, what
//! an omitted `status` means in a replacement), the choice is the one that is hardest on a careless client, and the place
//! in the code says so.

mod api;
mod config;
mod control;
mod door;
mod envelope;
mod error;
mod fault;
mod grant;
mod ids;
mod record;
mod route;
mod sandbox;
mod spoil;
mod token;
pub mod vendors;
mod wire;
mod world;

pub use config::{AccountSpec, SandboxConfig, ZoneSpec};
pub use error::SandboxError;
pub use fault::{Fault, FaultId, FaultKind, FaultView, Widening};
pub use record::CallRecord;
pub use sandbox::{KeptTokens, Sandbox, serve_forever};
pub use token::view::{GroupView, PolicyView, TokenOwner, TokenStatus, TokenView};
pub use world::ZoneView;
