//! Providers and stores against their peers: the vendor's OpenAPI document through Prism, moto, the sandbox's vendors,
//! with a proxy between that does what networks do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod age;
mod anthropic;
mod aws;
mod channels;
mod cloudflare;
mod cloudflare_workers;
mod connecting;
mod doppler;
mod dotenv;
mod github;
mod github_actions;
mod gitlab;
mod huggingface;
mod infisical;
mod keyring;
mod kubernetes;
mod onepassword;
mod onepassword_cli;
mod openai;
mod openrouter;
mod parents;
mod pass;
mod refusals;
mod renewing;
mod sendgrid;
mod support;
mod tables;
mod tailscale;
mod traps;
mod vault;
mod vercel;
