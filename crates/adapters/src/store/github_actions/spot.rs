//! A place: which secret of which repository, environment or organisation.

use keywright_core::name::KeyName;

/// GitHub's own variables start so, and secrets may not.
const RESERVED: &str = "GITHUB_";
/// The variables in which this store keeps its notes start so.
const NOTES: &str = "KEYWRIGHT_";
const SHAPE: &str =
    "write `OWNER/REPO#NAME`, `OWNER/REPO@ENVIRONMENT#NAME`, or `OWNER#NAME` for an organisation";

/// A secret's place, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) owner: String,
    /// None for a secret of the organisation.
    repository: Option<String>,
    environment: Option<String>,
    /// The secret.
    pub(super) name: String,
    /// The variable beside it.
    pub(super) note: String,
}

impl Spot {
    /// Reads a place; `fallback` is the secret's name where the place has none.
    pub(super) fn parse(text: &str, fallback: Option<&KeyName>) -> Result<Self, String> {
        let (of, name) = match (text.rsplit_once('#'), fallback) {
            (Some((of, name)), _) => (of, name),
            (None, Some(name)) => (text, name.as_str()),
            (None, None) => return Err(SHAPE.to_owned()),
        };
        check_name(name)?;
        let (of, environment) = match of.split_once('@') {
            Some((of, environment)) => (of, Some(environment)),
            None => (of, None),
        };
        let (owner, repository) = match of.split_once('/') {
            Some((owner, repository)) => (owner, Some(repository)),
            None => (of, None),
        };
        let is_owner =
            (1..=39).contains(&owner.len()) && owner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_repository = |name: &str| {
            (1..=100).contains(&name.len()) && name.bytes().all(is_part) && name != "." && name != ".."
        };
        let is_environment =
            |name: &str| (1..=255).contains(&name.len()) && name != "." && !name.contains('#');
        let fits = is_owner
            && repository.is_none_or(is_repository)
            && environment.is_none_or(is_environment)
            && (environment.is_none() || repository.is_some());
        if !fits {
            return Err(SHAPE.to_owned());
        }
        Ok(Self {
            owner: owner.to_owned(),
            repository: repository.map(str::to_owned),
            environment: environment.map(str::to_owned),
            name: name.to_owned(),
            note: format!("{NOTES}{name}"),
        })
    }

    /// The one way of writing it.
    pub(super) fn text(&self) -> String {
        let Self { owner, repository, environment, name, .. } = self;
        let repository = repository.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        let environment = environment.as_ref().map(|name| format!("@{name}")).unwrap_or_default();
        format!("{owner}{repository}{environment}#{name}")
    }

    /// Whether it is a secret of the organisation.
    pub(super) fn is_of_organisation(&self) -> bool {
        self.repository.is_none()
    }

    /// The path above `secrets` and `variables`, which are built alike.
    pub(super) fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut path = match (&self.repository, &self.environment) {
            (Some(repository), Some(environment)) => {
                vec!["repos", &self.owner, repository, "environments", environment]
            }
            (Some(repository), None) => vec!["repos", &self.owner, repository, "actions"],
            (None, _) => vec!["orgs", &self.owner, "actions"],
        };
        path.extend(rest);
        path
    }
}

/// GitHub upper-cases names. A lower-case one would be stored under another name than the plan says.
fn check_name(name: &str) -> Result<(), String> {
    let is_name = (1..=200).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !is_name {
        return Err("a secret's name has upper-case letters, digits and `_` only".to_owned());
    }
    match [RESERVED, NOTES].into_iter().find(|prefix| name.starts_with(prefix)) {
        Some(prefix) => Err(format!("a secret's name does not start with `{prefix}`")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_written_in_one_way() {
        let token: KeyName = "DEPLOY_TOKEN".parse().unwrap();
        for (text, written, path) in [
            ("acme/web#CF_TOKEN", "acme/web#CF_TOKEN", "repos/acme/web/actions/secrets"),
            ("acme/web", "acme/web#DEPLOY_TOKEN", "repos/acme/web/actions/secrets"),
            ("acme/web@eu/prod#X", "acme/web@eu/prod#X", "repos/acme/web/environments/eu/prod/secrets"),
            ("acme#X", "acme#X", "orgs/acme/actions/secrets"),
        ] {
            let spot = Spot::parse(text, Some(&token)).unwrap();
            assert_eq!(spot.text(), written);
            assert_eq!(Spot::parse(written, None).unwrap(), spot);
            assert_eq!(spot.path(&["secrets"]).join("/"), path);
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let bad = [
            "",
            "#X",
            "acme/#X",
            "/web#X",
            "acme/web#",
            "acme/web#x",
            "acme/web#1X",
            "acme/web#GITHUB_X",
            "acme/web#KEYWRIGHT_X",
            "acme@prod#X",
            "acme/web@#X",
            "acme/..#X",
            "acme/web/x#X",
            "ac me/web#X",
        ];
        for text in bad {
            assert!(Spot::parse(text, None).is_err(), "{text}");
        }
        assert!(Spot::parse("acme/web", None).is_err());
    }
}
