//! Operations as somebody has them who called one: with a concrete path or a URL, a query, the method in small letters.
//!
//! A path is matched as the vendor's router would: what a template says literally wins over its parameters. Where two templates
//! fit equally well, both are named and nothing is concluded.

use crate::catalog::{Catalog, split_variant};
use crate::error::CatalogError;
use crate::operation::Operation;
use crate::solve::Resource;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Where the vendors document their APIs to be: the provider, the host, what stands before the catalog's paths.
const BASES: [(&str, &str, &str); 14] = [
    ("anthropic", "api.anthropic.com", ""),
    ("cloudflare", "api.cloudflare.com", "/client/v4"),
    ("digitalocean", "api.digitalocean.com", ""),
    ("github", "api.github.com", ""),
    ("github", "uploads.github.com", ""),
    ("gitlab", "gitlab.com", "/api/v4"),
    ("gitlab", "gitlab.com", ""),
    ("huggingface", "huggingface.co", ""),
    ("huggingface", "router.huggingface.co", ""),
    ("openai", "api.openai.com", "/v1"),
    ("openrouter", "openrouter.ai", "/api/v1"),
    ("sendgrid", "api.sendgrid.com", ""),
    ("sendgrid", "api.eu.sendgrid.com", ""),
    ("tailscale", "api.tailscale.com", "/api/v2"),
];

/// Parameters at the end of a path that go over slashes: files, references, objects.
const MANY: [&str; 4] = ["path", "ref", "basehead", "object_key"];

/// Parameters whose values name nothing that a key could be for.
const NO_RESOURCE: [&str; 7] = ["path", "ref", "basehead", "rev", "sha", "slug", "iid"];

/// The longest value that is told as a resource.
const LONGEST_VALUE: usize = 200;

/// An operation that somebody called, as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// Its name, with its variant where the path says one.
    pub operation: String,
    /// What the path named where the operation has parameters: the zone, `owner/repo`.
    pub resources: Vec<Resource>,
}

/// The provider at whose documented address a call goes, if it names a host at all.
#[must_use]
pub fn provider_called(text: &str) -> Option<&'static str> {
    let (_, target) = call(text)?;
    let host = host_of(target)?.to_ascii_lowercase();
    BASES.iter().find(|(_, own, _)| *own == host).map(|(provider, ..)| *provider)
}

impl Catalog {
    /// The operation that somebody means who has `METHOD /path`, `METHOD https://host/path?query`, or any name that
    /// [`Catalog::operation`] knows.
    ///
    /// # Errors
    /// As [`Catalog::operation`]; [`CatalogError::ForeignHost`] for a host that is not the provider's documented one,
    /// [`CatalogError::AmbiguousCall`] where several operations fit, [`CatalogError::MethodNeeded`] for a path alone.
    pub fn called(&self, text: &str) -> Result<Called, CatalogError> {
        let text = text.trim();
        if self.knows(text) {
            return Ok(Called { operation: text.to_owned(), resources: Vec::new() });
        }
        let Some((method, target)) = call(text) else {
            let is_path = text.starts_with('/') || text.contains("://");
            let asked = text.to_owned();
            return Err(if is_path {
                CatalogError::MethodNeeded { asked }
            } else {
                self.unknown_operation(text)
            });
        };
        let (target, variant) = split_variant(target);
        let target = target.split('?').next().unwrap_or_default();
        for path in self.below(target)? {
            let Some(found) = self.fitting(&method, path, text)? else { continue };
            let told = found.variant(self);
            let name = match variant.or(told) {
                Some(variant) => format!("{}#{variant}", found.operation),
                None => found.operation.to_string(),
            };
            if !self.knows(&name) {
                return Err(self.unknown_operation(&name));
            }
            return Ok(Called { operation: name, resources: found.resources() });
        }
        Err(self.unknown_operation(text))
    }

    /// The paths that a target may stand for, the likeliest first.
    fn below<'t>(&self, target: &'t str) -> Result<Vec<&'t str>, CatalogError> {
        let own = || BASES.iter().filter(|(provider, ..)| *provider == self.provider());
        let Some(host) = host_of(target) else {
            let stripped =
                own().filter(|(.., base)| !base.is_empty()).filter_map(|(.., base)| under(target, base));
            return Ok(stripped.chain([target]).collect());
        };
        let is_secure =
            target.split_once("://").is_none_or(|(scheme, _)| scheme.eq_ignore_ascii_case("https"));
        let bases: Vec<&str> = own()
            .filter(|(_, one, _)| is_secure && one.eq_ignore_ascii_case(host))
            .map(|(.., base)| *base)
            .collect();
        if bases.is_empty() {
            return Err(CatalogError::ForeignHost {
                host: host.to_owned(),
                provider: self.provider(),
                bases: own().map(|(_, host, base)| format!("https://{host}{base}")).collect(),
            });
        }
        let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
        Ok(bases.into_iter().filter_map(|base| under(path, base)).collect())
    }

    /// The operation whose path fits best.
    fn fitting(&self, method: &str, path: &str, asked: &str) -> Result<Option<Fit<'_>>, CatalogError> {
        let segments: Vec<String> = path.split('/').filter(|one| !one.is_empty()).map(decoded).collect();
        if !path.starts_with('/') || segments.iter().any(|one| one == "." || one == "..") {
            return Ok(None);
        }
        let of = |method: &str| -> Vec<Fit<'_>> {
            let own = self.all_operations().iter().filter(|one| one.method == method && !one.path.is_empty());
            own.filter_map(|operation| Fit::of(operation, &segments)).collect()
        };
        let mut fits = of(method);
        if fits.is_empty() && method == "HEAD" {
            fits = of("GET");
        }
        let mut shapes: Vec<String> = Vec::new();
        fits.retain(|fit| {
            let shape = fit.operation.shape();
            let is_new = !shapes.contains(&shape);
            shapes.push(shape);
            is_new
        });
        let best = fits.iter().position(|one| fits.iter().all(|other| one.is_at_least(other)));
        match best {
            Some(best) => Ok(Some(fits.swap_remove(best))),
            None if fits.is_empty() => Ok(None),
            None => Err(CatalogError::AmbiguousCall {
                asked: asked.to_owned(),
                candidates: fits.iter().map(|fit| fit.operation.to_string()).collect(),
            }),
        }
    }
}

/// How well a segment of a template fits one of a path; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A parameter over several segments.
    Many,
    /// A parameter.
    One,
    /// A parameter with letters around it, as in `{scan_id}.png`.
    Affixed,
    /// The very words.
    Literal,
}

/// An operation whose path fits.
struct Fit<'c> {
    operation: &'c Operation,
    ranks: Vec<Rank>,
    /// The parameters with their values, and the literal segment before each.
    values: Vec<(&'static str, &'static str, String)>,
}

impl<'c> Fit<'c> {
    fn of(operation: &'c Operation, segments: &[String]) -> Option<Self> {
        let (mut ranks, mut values) = (Vec::new(), Vec::new());
        let template: Vec<&'static str> = operation.path.split('/').filter(|one| !one.is_empty()).collect();
        let mut left = segments;
        let mut literal = "";
        for (at, part) in template.iter().enumerate() {
            let (first, rest) = left.split_first()?;
            left = rest;
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            match name {
                Some(name) if !name.contains(['{', '}']) => {
                    let mut value = first.clone();
                    let is_many = at + 1 == template.len() && MANY.contains(&name);
                    ranks.push(if is_many { Rank::Many } else { Rank::One });
                    for more in if is_many { std::mem::take(&mut left) } else { &[] } {
                        value = format!("{value}/{more}");
                    }
                    if !is_placeholder(first) {
                        values.push((name, literal, value));
                    }
                }
                _ if part.contains('{') => {
                    ranks.push(affixed(part, first).then_some(Rank::Affixed)?);
                }
                _ => {
                    ranks.push((first == part).then_some(Rank::Literal)?);
                    literal = part;
                }
            }
        }
        left.is_empty().then_some(Self { operation, ranks, values })
    }

    fn is_at_least(&self, other: &Self) -> bool {
        self.ranks.iter().zip(&other.ranks).all(|(own, theirs)| own >= theirs)
    }

    /// The variant that the path says: the phase of a ruleset, the folder of workflows.
    fn variant(&self, catalog: &'c Catalog) -> Option<&'static str> {
        let says = |variant: &&'static str| {
            self.values.iter().any(|(name, _, value)| {
                value == variant
                    || *name == "path" && *variant == "workflows" && value.starts_with(".github/workflows/")
            })
        };
        catalog.variants(self.operation).find(says)
    }

    fn resources(&self) -> Vec<Resource> {
        let mut found: Vec<Resource> = Vec::new();
        let mut owner: Option<&str> = None;
        for (name, literal, value) in &self.values {
            let fits = value.len() <= LONGEST_VALUE && value.chars().all(|letter| letter.is_ascii_graphic());
            if !fits || NO_RESOURCE.contains(name) {
                continue;
            }
            match (*name, owner.take()) {
                ("owner" | "namespace", _) => owner = Some(value),
                ("repo" | "project", Some(owner)) => {
                    found.push(Resource { kind: "repo".to_owned(), value: format!("{owner}/{value}") });
                }
                _ => found.push(Resource { kind: kind_of(name, literal), value: value.clone() }),
            }
        }
        found
    }
}

/// What kind of thing a parameter names: by its own name, or by the collection that it stands in.
fn kind_of(name: &str, literal: &str) -> String {
    let plain =
        ["_identifier", "_id", "_name", "_tag", "_slug", "Id"].iter().find_map(|end| name.strip_suffix(end));
    match (plain, name) {
        (Some(plain), _) if !plain.is_empty() => plain.to_owned(),
        (_, "id" | "identifier" | "name" | "uuid" | "tag") => {
            literal.strip_suffix('s').unwrap_or(literal).replace('-', "_")
        }
        _ => name.to_owned(),
    }
}

/// Whether a segment fits one with letters around its parameters.
fn affixed(template: &str, segment: &str) -> bool {
    let mut parts = template.split('{');
    let Some(mut rest) = segment.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let literal = part.split_once('}').map_or("", |(_, literal)| literal);
        let end = if parts.peek().is_none() && literal.is_empty() {
            Some(rest.len())
        } else if parts.peek().is_none() {
            rest.strip_suffix(literal).map(str::len)
        } else {
            rest.find(literal)
        };
        match end {
            Some(end) if end > 0 => rest = rest.get(end + literal.len()..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}

/// `METHOD TARGET`, also as logs have it, with `HTTP/1.1` behind.
fn call(text: &str) -> Option<(String, &str)> {
    let mut words = text.split_whitespace();
    let method = words.next()?.to_ascii_uppercase();
    let target = words.next()?.trim_matches(['"', '\'', '`', '<', '>']);
    let rest = words.next();
    let ends =
        rest.is_none_or(|word| word.to_ascii_uppercase().starts_with("HTTP/")) && words.next().is_none();
    (METHODS.contains(&method.as_str()) && ends && !target.is_empty()).then_some((method, target))
}

/// The host that a target names: of a URL, or of `api.example.com/path`. Whoever stands before an `@` counts as part of it, so that
/// nothing is taken for a vendor's that is not; the port of HTTPS does not.
fn host_of(target: &str) -> Option<&str> {
    let rest = match target.split_once("://") {
        Some((_, rest)) => rest,
        None if target.starts_with(['/', '{', ':']) => return None,
        None => target,
    };
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    Some(host.strip_suffix(":443").unwrap_or(host))
}

/// A path below a base.
fn under<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(base)?;
    match rest {
        "" => Some("/"),
        _ => rest.starts_with('/').then_some(rest),
    }
}

/// What stands for a value that is not said: `{zone_id}`, `:zone_id`, `<zone_id>`, `$ZONE_ID`.
fn is_placeholder(segment: &str) -> bool {
    segment.starts_with(['{', ':', '<', '$'])
}

/// A segment without its percent signs, where it is text then.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = || u8::from_str_radix(std::str::from_utf8(more.get(..2)?).ok()?, 16).ok();
        match (*first == b'%').then(hex).flatten() {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| segment.to_owned())
}
