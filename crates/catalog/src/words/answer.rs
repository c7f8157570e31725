//! What the planner answers.

use serde::Serialize;

use crate::permission::Permission;
use crate::solve::narrow::Narrowed;
use crate::solve::{Least, Proof, Resource, granted};

/// Things whose end takes everything in them along.
const WHOLE: &str = "bucket table dbinstance dbcluster cluster instance filesystem trail stack hostedzone volume keydeletion database droplet \
zone namespace repo domain nodegroup project replicationgroup cachecluster backupvault vault userpool detector registry d1 index queue keyspace org app";

/// How an answer is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The words say one job: its operations and the least permissions for it.
    Plan,
    /// The words fit two or three jobs: one of `candidates` is to be chosen.
    Candidates,
    /// The words do not say enough: `question` asks for what is missing.
    Question,
    /// Nothing that was asked may be planned: `refused` says why.
    Refused,
}

impl Status {
    /// The word that stands in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Candidates => "candidates",
            Self::Question => "question",
            Self::Refused => "refused",
        }
    }
}

/// One thing that the words may mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate<'catalog> {
    /// The operations of the job, `METHOD /path` or the provider's own names.
    pub operations: Vec<String>,
    /// The least permissions for them.
    #[serde(serialize_with = "granted")]
    pub permissions: Vec<&'catalog Permission>,
    /// What it would be, in a few words.
    pub why: String,
}

/// The answer to plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer<'catalog> {
    /// What kind of JSON this is.
    pub schema: &'static str,
    /// The provider that was asked, or guessed.
    pub provider: &'static str,
    /// How it is meant.
    pub status: Status,
    /// The operations of the job.
    pub operations: Vec<String>,
    /// The least permissions for the job.
    #[serde(serialize_with = "granted")]
    pub permissions: Vec<&'catalog Permission>,
    /// What the words name, exactly as they were written.
    pub resources: Vec<Resource>,
    /// What else the words may mean, most likely first.
    pub candidates: Vec<Candidate<'catalog>>,
    /// What has to be known before a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What of the words was not served, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why each permission is there.
    pub proof: Vec<Proof<'catalog>>,
    /// Why a human has to decide. Empty where nobody has to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs_a_human: Vec<String>,
    /// AWS: the statements of a policy, confined to the resources that were named.
    #[serde(rename = "policy", skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<Narrowed>,
}

impl<'catalog> Answer<'catalog> {
    /// An answer that says nothing yet.
    pub(super) fn nothing(provider: &'static str) -> Self {
        Self {
            schema: "keywright/plan-answer/1",
            provider,
            status: Status::Question,
            operations: Vec::new(),
            permissions: Vec::new(),
            resources: Vec::new(),
            candidates: Vec::new(),
            question: None,
            refused: None,
            proof: Vec::new(),
            needs_a_human: Vec::new(),
            narrowed: None,
        }
    }

    /// A name that imitates another one is reported as it stands, and asked about.
    pub(super) fn doubt(&mut self, name: &str) {
        if self.status == Status::Plan {
            let planned = Candidate {
                operations: std::mem::take(&mut self.operations),
                permissions: std::mem::take(&mut self.permissions),
                why: "the job, once the name is confirmed".to_owned(),
            };
            self.proof.clear();
            self.narrowed = None;
            self.candidates.insert(0, planned);
            self.candidates.truncate(super::CANDIDATES);
        }
        if self.status != Status::Refused {
            self.status = Status::Question;
            self.question = Some(format!(
                "`{}` has letters that look like others: is exactly this name meant?",
                name.escape_default()
            ));
        }
    }

    /// Makes it a plan.
    pub(super) fn take(&mut self, least: Least<'catalog>) {
        self.status = Status::Plan;
        self.operations = least.operations;
        self.permissions = least.permissions;
        self.proof = least.proof;
        self.needs_a_human = least.needs_a_human;
        self.needs_a_human.extend(self.operations.iter().filter_map(|name| ends_a_thing(name)));
        let several = |one: &&Resource| one.value.contains(['*', '?']) || one.value.contains("${");
        let open = self.resources.iter().filter(several);
        self.needs_a_human
            .extend(open.map(|one| format!("`{}`: may name more than one resource", one.value)));
        self.narrowed = least.narrowed;
    }
}

/// Why a human decides about an operation that ends a whole thing, and not something in it.
fn ends_a_thing(operation: &str) -> Option<String> {
    let thing = match operation.split_once(' ') {
        Some((method, path)) => {
            let path = path.split('#').next().unwrap_or_default().trim_end_matches('/');
            let last = path.rsplit('/').find(|part| !part.starts_with('{')).unwrap_or_default();
            // `DELETE /zones/{zone_id}/dns_records/{id}` ends a record, `DELETE /zones/{zone_id}` the zone.
            let ends = method == "DELETE" && (path.ends_with('}') || path.matches('/').count() <= 3);
            ends.then(|| last.replace(['_', '-'], ""))?
        }
        None => {
            let action = operation.split_once(':').map_or("", |(_, action)| action);
            let verbs = ["Delete", "Terminate", "Schedule", "Destroy"];
            verbs.iter().find_map(|verb| action.strip_prefix(verb))?.to_owned()
        }
    };
    let thing = thing.to_lowercase();
    let one = thing.strip_suffix('s').unwrap_or(&thing);
    let whole = WHOLE.split_ascii_whitespace().any(|known| known == one || known == thing);
    whole.then(|| format!("`{operation}`: what it ends is gone, with all that is in it"))
}

#[cfg(test)]
mod tests {
    use super::ends_a_thing;

    #[test]
    fn the_end_of_a_whole_thing_is_for_a_human() {
        for (operation, ends) in [
            ("ec2:TerminateInstances", true),
            ("kms:ScheduleKeyDeletion", true),
            ("rds:DeleteDBInstance", true),
            ("dynamodb:DeleteTable", true),
            ("s3:DeleteBucket", true),
            ("cloudtrail:DeleteTrail", true),
            ("DELETE /accounts/{account_id}/d1/database/{database_id}", true),
            ("DELETE /v2/droplets/{droplet_id}", true),
            ("DELETE /v2/kubernetes/clusters/{cluster_id}", true),
            ("DELETE /zones/{zone_id}", true),
            ("DELETE /repos/{owner}/{repo}", true),
            ("s3:DeleteObject", false),
            ("dynamodb:DeleteItem", false),
            ("DELETE /zones/{zone_id}/dns_records/{dns_record_id}", false),
            ("POST /zones", false),
        ] {
            assert_eq!(ends_a_thing(operation).is_some(), ends, "{operation}");
        }
    }
}
