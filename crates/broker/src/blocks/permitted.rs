//! What a key may, in words that need no colour.

use keywright_catalog::{Access, Catalog};
use keywright_core::grant::Permission;

use super::{Tone, counted};

/// So many permissions have a line each; of the others the names follow in one.
const PERMISSIONS: usize = 5;

/// How many operations a plan opens, and how many of them change something.
pub(super) fn unlocks(all: u32, mutating: u32, needs: u32) -> (String, Tone) {
    if all == 0 {
        let text = "not known: the vendor does not say which operations each permission allows";
        return (text.to_owned(), Tone::Warn);
    }
    let needs = if needs == 0 { String::new() } else { format!("; the job needs {needs}") };
    let all = counted(all.into(), "operation");
    if mutating == 0 {
        return (format!("{all}, which only read{needs}"), Tone::Good);
    }
    (format!("{all}, {mutating} of them change something{needs}"), Tone::Warn)
}

/// Each permission with what it is: a read, a change, or the power to make keys.
pub(super) fn permissions(
    provider: &str,
    permissions: &[Permission],
    escalation: &[String],
) -> Vec<(String, Tone)> {
    let catalog = Catalog::for_provider(provider).ok();
    let is = |permission: &Permission| {
        if escalation.contains(&permission.id) {
            return ("makes keys", Tone::Bad);
        }
        let known = catalog.and_then(|catalog| catalog.permission_by_id(&permission.id).ok());
        match known {
            Some(one) if one.access == Access::Read && !one.suspicious => ("reads", Tone::Good),
            Some(_) => ("changes", Tone::Warn),
            // What nobody knows may change something.
            None => ("may change something", Tone::Warn),
        }
    };
    let mut all: Vec<(String, Tone)> = permissions
        .iter()
        .map(|one| {
            let (word, tone) = is(one);
            (format!("{}: {word}", named(one)), tone)
        })
        .collect();
    let weight = |tone: Tone| match tone {
        Tone::Bad => 0,
        Tone::Warn => 1,
        Tone::Plain | Tone::Good => 2,
    };
    // The worst first: it is what has to be seen.
    all.sort_by_key(|(_, tone)| weight(*tone));
    if all.len() > PERMISSIONS {
        let rest = all.split_off(PERMISSIONS);
        let tone = rest.first().map_or(Tone::Plain, |(_, tone)| *tone);
        let names: Vec<String> = rest.iter().map(|(name, _)| name.clone()).collect();
        all.push((format!("and {} more: {}", rest.len(), names.join(", ")), tone));
    }
    all
}

fn named(permission: &Permission) -> String {
    let scope = permission.scope.rsplit('.').next().unwrap_or_default();
    let name = &permission.name;
    let kind = if scope.is_empty() { String::new() } else { format!(" ({scope})") };
    format!("{name}{kind}")
}
