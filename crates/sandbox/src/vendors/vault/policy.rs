//! Policies: rules of the form `path "secret/data/web/*" { capabilities = ["create", "update"] }`.

/// What one path may be used for.
pub(super) struct Rule {
    path: String,
    capabilities: Vec<String>,
}

/// Reads the rules of a policy; `None` when it has another form.
pub(super) fn parse(text: &str) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("path") {
        let (path, after) = quoted(rest.get(at..)?)?;
        let (block, after) = after.split_once('{')?.1.split_once('}')?;
        let mut capabilities = Vec::new();
        let mut list = block.split_once('[')?.1.split_once(']')?.0;
        while let Some((capability, more)) = quoted(list) {
            capabilities.push(capability.to_owned());
            list = more;
        }
        rules.push(Rule { path: path.to_owned(), capabilities });
        rest = after;
    }
    Some(rules)
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    text.split_once('"')?.1.split_once('"')
}

/// Whether the most precise rule for the path names the capability; rules of equal precision add up, and `deny` wins.
pub(super) fn allows<'a>(rules: impl Iterator<Item = &'a Rule>, path: &str, needed: &str) -> bool {
    let matching: Vec<&Rule> = rules.filter(|rule| matches(&rule.path, path)).collect();
    let Some(precise) = matching.iter().map(|rule| precision(&rule.path)).max() else { return false };
    let named: Vec<&str> = matching
        .iter()
        .filter(|rule| precision(&rule.path) == precise)
        .flat_map(|rule| rule.capabilities.iter().map(String::as_str))
        .collect();
    !named.contains(&"deny") && named.contains(&needed)
}

/// An exact path before a prefix, a longer one before a shorter one.
fn precision(pattern: &str) -> (bool, usize) {
    (!pattern.ends_with('*') && !pattern.contains('+'), pattern.len())
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, open) = pattern.strip_suffix('*').map_or((pattern, false), |prefix| (prefix, true));
    let (wanted, given): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    if given.len() < wanted.len() || (!open && given.len() != wanted.len()) {
        return false;
    }
    let last = wanted.len() - 1;
    wanted.iter().zip(&given).enumerate().all(|(at, (wanted, given))| {
        *wanted == "+" || wanted == given || (open && at == last && given.starts_with(wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_precise_rule_decides() {
        let rules = parse(
            "path \"secret/data/web/*\" { capabilities = [\"create\", \"update\"] }\n\
             path \"secret/data/web/dev/closed\" { capabilities = [\"deny\"] }\n\
             path \"secret/+/ops/*\" { capabilities = [\"read\"] }",
        )
        .unwrap();
        for (path, needed, allowed) in [
            ("secret/data/web/dev/x", "create", true),
            ("secret/data/web/dev/x", "read", false),
            ("secret/data/web/dev/closed", "create", false),
            ("secret/data/ops/x", "read", true),
            ("secret/data/other/x", "create", false),
            ("secret/data/web", "create", false),
        ] {
            assert_eq!(allows(rules.iter(), path, needed), allowed, "{path} {needed}");
        }
        assert!(parse("path \"x\" {").is_none());
    }
}
