//! Names of hosts, and the zones that they are in.

/// Suffixes below which anybody has a name.
const SHARED: &str = "github.io gitlab.io github.dev vercel.app netlify.app netlify.com herokuapp.com pages.dev workers.dev r2.dev web.app \
firebaseapp.com appspot.com azurewebsites.net cloudapp.net windows.net cloudfront.net amazonaws.com elasticbeanstalk.com fly.dev onrender.com \
surge.sh blogspot.com glitch.me ngrok.io ngrok.app ngrok.dev trycloudflare.com ts.net myshopify.com wordpress.com readthedocs.io repl.co \
replit.app deno.dev run.app duckdns.org dyndns.org no-ip.org hopto.org us.com uk.com eu.com de.com co.com gb.net uk.net eu.org in.net \
digitaloceanspaces.com ondigitalocean.app translate.goog web.core";

/// What stands second below the suffix of a country.
const SECOND: &str = "co com net org edu gov ac mil go or ne ad gr ed lg gob gouv govt gen sch school nom ltd plc me id web info biz name pro \
asn k12 nhs police firm store art adv blog nic law geek iwi kiwi maori health cri hotel tm asso presse prd press priv res";

/// A host's zone. None where the name is itself one that everybody shares.
pub(super) fn zone_of(host: &str) -> Option<String> {
    let lower = host.to_lowercase();
    let labels: Vec<&str> = lower.split('.').collect();
    let end = |count: usize| labels.get(labels.len().saturating_sub(count)..).unwrap_or_default().join(".");
    let holds = |list: &str, word: &str| list.split_ascii_whitespace().any(|one| one == word);
    let country = labels.last().is_some_and(|last| last.chars().count() == 2);
    let second = labels.len().checked_sub(2).and_then(|at| labels.get(at)).copied().unwrap_or_default();
    let suffix = if holds(SHARED, &end(2)) || country && holds(SECOND, second) { 2 } else { 1 };
    (labels.len() > suffix).then(|| end(suffix + 1))
}

/// The host of what stands behind `://`: what stands before an `@` there only says who comes.
pub(super) fn host_of_url(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.split(':').next().unwrap_or_default()
}

/// `owner/name` of a repository's address: `https://github.com/acme/web`, `git@github.com:acme/web.git`.
pub(super) fn repo_of(address: &str) -> Option<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.strip_prefix("git@").unwrap_or(rest);
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let path = rest.strip_prefix("github.com")?.strip_prefix(['/', ':'])?;
    let mut parts = path.split(['/', '?', '#']);
    let (owner, name) = (parts.next()?, parts.next()?);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let plain = |part: &str| {
        !part.is_empty()
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    (plain(owner) && plain(name) && !is_own(owner)).then(|| format!("{owner}/{name}"))
}

/// First parts of paths that are GitHub's own pages.
fn is_own(part: &str) -> bool {
    matches!(
        part,
        "orgs" | "settings" | "features" | "apps" | "marketplace" | "login" | "enterprises" | "users"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_never_what_everybody_shares() {
        for (host, zone) in [
            ("example.com", Some("example.com")),
            ("dev.example.com", Some("example.com")),
            ("shop.example.co.uk", Some("example.co.uk")),
            ("foo.github.io", Some("foo.github.io")),
            ("example.edu.ng", Some("example.edu.ng")),
            ("alice.example.net.za", Some("example.net.za")),
            ("a.b.vercel.app", Some("b.vercel.app")),
            ("edu.ng", None),
            ("github.io", None),
            ("www.example.de", Some("example.de")),
        ] {
            assert_eq!(zone_of(host).as_deref(), zone, "{host}");
        }
    }

    #[test]
    fn the_host_of_an_address_stands_behind_who_comes() {
        for (rest, host) in [
            ("example.com:foo@evil.com/path", "evil.com"),
            ("example.com@evil.com/", "evil.com"),
            ("evil.com\\@example.com/", "evil.com"),
            ("example.com:8443/x?y=a@b", "example.com"),
            ("evil.com#@example.com", "evil.com"),
        ] {
            assert_eq!(host_of_url(rest), host, "{rest}");
        }
    }

    #[test]
    fn a_repository_is_read_off_its_address() {
        for (address, repo) in [
            ("https://github.com/acme/web", Some("acme/web")),
            ("https://github.com/acme/web.git", Some("acme/web")),
            ("https://github.com/acme/web/issues/3", Some("acme/web")),
            ("git@github.com:acme/web.git", Some("acme/web")),
            ("ssh://git@github.com/acme/web", Some("acme/web")),
            ("github.com/acme/web", Some("acme/web")),
            ("https://github.com/orgs/acme", None),
            ("https://github.com.evil.com/acme/web", None),
            ("https://example.com/acme/web", None),
        ] {
            assert_eq!(repo_of(address).as_deref(), repo, "{address}");
        }
    }
}
