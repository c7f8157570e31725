//! The template pack that ships: proposals, active only after an operator applied them.

macro_rules! shipped {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../templates/", $path)))
    };
}

/// Every shipped template as `(path below templates/, TOML text)`, sorted by path.
pub const PACK: &[(&str, &str)] = &[
    shipped!("cloudflare/access-apps-edit.toml"),
    shipped!("cloudflare/access-apps-read.toml"),
    shipped!("cloudflare/access-zone-apps-edit.toml"),
    shipped!("cloudflare/access-zone-apps-read.toml"),
    shipped!("cloudflare/acme-dns01.toml"),
    shipped!("cloudflare/ai-run.toml"),
    shipped!("cloudflare/analytics-account-read.toml"),
    shipped!("cloudflare/analytics-zone-read.toml"),
    shipped!("cloudflare/cache-purge.toml"),
    shipped!("cloudflare/d1-read.toml"),
    shipped!("cloudflare/d1-write.toml"),
    shipped!("cloudflare/dns-edit.toml"),
    shipped!("cloudflare/dns-read.toml"),
    shipped!("cloudflare/email-routing-edit.toml"),
    shipped!("cloudflare/firewall-edit.toml"),
    shipped!("cloudflare/images-edit.toml"),
    shipped!("cloudflare/images-read.toml"),
    shipped!("cloudflare/kv-read.toml"),
    shipped!("cloudflare/kv-write.toml"),
    shipped!("cloudflare/load-balancers-edit.toml"),
    shipped!("cloudflare/load-balancers-read.toml"),
    shipped!("cloudflare/logpush-edit.toml"),
    shipped!("cloudflare/logs-read.toml"),
    shipped!("cloudflare/page-rules-edit.toml"),
    shipped!("cloudflare/pages-deploy.toml"),
    shipped!("cloudflare/pages-read.toml"),
    shipped!("cloudflare/queues-messages.toml"),
    shipped!("cloudflare/queues-read.toml"),
    shipped!("cloudflare/r2-bucket-read.toml"),
    shipped!("cloudflare/r2-bucket-write.toml"),
    shipped!("cloudflare/redirect-rules-edit.toml"),
    shipped!("cloudflare/ssl-edit.toml"),
    shipped!("cloudflare/ssl-read.toml"),
    shipped!("cloudflare/stream-edit.toml"),
    shipped!("cloudflare/stream-read.toml"),
    shipped!("cloudflare/tunnel-edit.toml"),
    shipped!("cloudflare/tunnel-read.toml"),
    shipped!("cloudflare/turnstile-edit.toml"),
    shipped!("cloudflare/vectorize-query.toml"),
    shipped!("cloudflare/vectorize-write.toml"),
    shipped!("cloudflare/waf-edit.toml"),
    shipped!("cloudflare/workers-deploy.toml"),
    shipped!("cloudflare/workers-read.toml"),
    shipped!("cloudflare/zone-settings-edit.toml"),
    shipped!("cloudflare/zone-settings-read.toml"),
];
