//! How far a job reaches: the same operation stands under a repository and under its organisation, under a zone and under the
//! account. A text that names the wider one, and nothing narrower, means it.

use super::heard::Heard;
use super::shapes::Shapes;

/// Where the same things are kept, the narrower place first, and the stem of the word that names the wider one.
const WIDER: [(&str, &str, &str, &str); 3] = [
    ("github", "/repos/{}/{}/", "/orgs/{}/", "org"),
    ("cloudflare", "/zones/{}/", "/accounts/{}/", "account"),
    ("github", "/repos/{}/{}/actions/", "/repos/{}/{}/environments/{}/", "env"),
];

/// The operations at the place that the text names.
pub(super) fn placed(provider: &str, operations: &[String], heard: &Heard, shapes: &Shapes) -> Vec<String> {
    let says = |stem: &str| {
        let mut words = heard.words.iter();
        words.any(|word| word.stem == stem && !word.negated && !word.meta)
    };
    let narrower = |kind: &str| heard.resources.iter().any(|one| one.kind == kind);
    let mut placed = operations.to_vec();
    for (of, narrow, wide, word) in WIDER {
        let named = match word {
            "org" => narrower("repo"),
            "account" => narrower("zone") || says("zon"),
            // `env vars` are of no environment.
            "env" => heard.words.windows(2).any(|pair| match pair {
                [one, next] => {
                    one.stem == "env" && matches!(next.stem.as_str(), "var" | "secret" | "fil" | "valu")
                }
                _ => false,
            }),
            _ => false,
        };
        if of != provider || !says(word) || named {
            continue;
        }
        for operation in &mut placed {
            let Some((method, path)) = operation.split_once(' ') else { continue };
            let Some(rest) = path.strip_prefix(narrow) else { continue };
            let other = format!("{method} {wide}{rest}");
            if shapes.has(&other) {
                *operation = other;
            }
        }
    }
    placed
}
