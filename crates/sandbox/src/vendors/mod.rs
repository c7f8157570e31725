//! Stand-ins for vendors, one module each: small, in memory, on loopback, with the vendor's own shapes and state.
#![allow(
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "stand-ins index JSON that they made themselves, and hand answers over"
)]

mod anthropic;
mod cloudflare_workers;
mod door;
mod doppler;
mod github;
mod gitlab;
mod huggingface;
pub mod infisical;
mod kubernetes;
pub mod onepassword;
mod openai;
mod openrouter;
mod sendgrid;
mod tailscale;
mod vault;
mod vercel;

use tokio::task::JoinHandle;

use crate::error::SandboxError;

pub use cloudflare_workers::ACCOUNT as CLOUDFLARE_ACCOUNT;
pub use huggingface::ORGANISATION as HUGGINGFACE_ORGANISATION;
pub use openai::PROJECT as OPENAI_PROJECT;
pub use openrouter::WORKSPACE as OPENROUTER_WORKSPACE;
pub use vercel::TEAM as VERCEL_TEAM;

/// A stand-in that runs; it ends with the value.
pub struct Running {
    /// Where it answers.
    pub base_url: String,
    /// The credential that it accepts.
    pub parent: String,
    server: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What somebody has to know to connect to a stand-in.
#[derive(Debug, Clone, Copy)]
pub struct StandIn {
    /// The kind of provider or store that it stands for.
    pub kind: &'static str,
    /// Which of the two.
    pub joint: Joint,
    /// The account that exists there.
    pub account: Option<&'static str>,
    /// What the adapter's settings have to be, as name and value.
    pub settings: &'static [(&'static str, &'static str)],
}

/// What a stand-in stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// Keys are made there.
    Provider,
    /// Keys are put there.
    Store,
}

const fn provider(kind: &'static str, account: Option<&'static str>) -> StandIn {
    StandIn { kind, joint: Joint::Provider, account, settings: &[] }
}

const fn store(kind: &'static str) -> StandIn {
    StandIn { kind, joint: Joint::Store, account: None, settings: &[] }
}

/// All stand-ins.
pub const ALL: &[StandIn] = &[
    provider("anthropic", None),
    StandIn {
        settings: &[("app", github::CLIENT_ID), ("installation", github::INSTALLATION)],
        ..provider("github", None)
    },
    StandIn {
        settings: &[("projects", "acme/web,acme/api"), ("groups", "acme")],
        ..provider("gitlab", None)
    },
    provider("huggingface", Some(huggingface::ORGANISATION)),
    provider("openai", Some(openai::PROJECT)),
    provider("openrouter", Some(openrouter::WORKSPACE)),
    provider("sendgrid", None),
    provider("tailscale", None),
    StandIn { settings: &[("vault", onepassword::VAULT)], ..store("1password") },
    StandIn { settings: &[("account", cloudflare_workers::ACCOUNT)], ..store("cloudflare-workers") },
    store("doppler"),
    StandIn { settings: &[("repository", "acme/web")], ..store("github-actions") },
    StandIn {
        settings: &[("client_id", infisical::CLIENT_ID), ("project_id", infisical::PROJECT)],
        ..store("infisical")
    },
    store("kubernetes"),
    store("vault"),
    StandIn { settings: &[("team", vercel::TEAM)], ..store("vercel") },
];

/// Starts the stand-in of a kind.
///
/// # Errors
/// When there is none of this kind, or it can't listen.
pub async fn start(kind: &str) -> Result<Running, SandboxError> {
    match kind {
        "1password" => onepassword::start().await,
        "doppler" => doppler::start().await,
        "infisical" => infisical::start().await,
        "vault" => vault::start().await,
        "anthropic" => anthropic::start().await,
        "github" => github::start().await,
        "gitlab" => gitlab::start().await,
        "tailscale" => tailscale::start().await,
        "github-actions" => github::start_store().await,
        "huggingface" => huggingface::start().await,
        "openai" => openai::start().await,
        "openrouter" => openrouter::start().await,
        "cloudflare-workers" => cloudflare_workers::start().await,
        "kubernetes" => kubernetes::start().await,
        "vercel" => vercel::start().await,
        "sendgrid" => sendgrid::start().await,
        other => Err(SandboxError::Config(format!("there is no stand-in for `{other}`"))),
    }
}
