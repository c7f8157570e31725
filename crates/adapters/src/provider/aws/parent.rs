//! How the parent is doing: who is it, may it mint, and could it do more than it should?

use keywright_core::provider::{ParentHealth, ProviderError};
use keywright_core::text::{Untrusted, escaped};

use super::user::PATH;
use super::{Aws, KIND, Mode};

/// What minting users needs.
const FOR_USERS: [&str; 15] = [
    "iam:CreateUser",
    "iam:TagUser",
    "iam:PutUserPolicy",
    "iam:CreateAccessKey",
    "iam:GetUser",
    "iam:GetUserPolicy",
    "iam:ListUserPolicies",
    "iam:ListAttachedUserPolicies",
    "iam:ListGroupsForUser",
    "iam:ListAccessKeys",
    "iam:GetAccessKeyLastUsed",
    "iam:UpdateAccessKey",
    "iam:DeleteAccessKey",
    "iam:DeleteUserPolicy",
    "iam:DeleteUser",
];
/// What no parent needs: it could give itself, or somebody it makes, any right, or do the work itself.
const TOO_MUCH: [&str; 5] =
    ["iam:CreatePolicyVersion", "iam:PutRolePolicy", "iam:AttachUserPolicy", "iam:PassRole", "s3:GetObject"];

impl Aws {
    /// See [`keywright_core::provider::Provider::check`].
    pub(super) async fn parent_health(&self) -> Result<ParentHealth, ProviderError> {
        let who = self.sts.call("GetCallerIdentity", &[]).await;
        let who = who.map_err(|failure| failure.of_provider(KIND, "such key", "an access key that works"))?;
        let (arn, account) = (who.text("Arn").unwrap_or_default(), who.text("Account").unwrap_or_default());
        if account != self.home.account {
            let message = format!(
                "it belongs to account {}, and the connection is to {}",
                escaped(account),
                self.home.account
            );
            return Err(ProviderError::Unauthorized {
                provider: KIND,
                message: Untrusted::capped(&message, 200),
            });
        }
        let mut warnings = Vec::new();
        if arn.ends_with(":root") {
            warnings
                .push("it is a key of the account's root user, which can do anything: delete it".to_owned());
        }
        if self.parent_is_temporary {
            warnings
                .push("it is temporary: when it ends, nothing can be minted or revoked any more".to_owned());
        }
        let mut quota = None;
        match &self.mode {
            Mode::Session { role } => self.can_assume(role).await?,
            Mode::User { boundary } => {
                if boundary.is_none() {
                    warnings.push(
                        "there is no `boundary`: nothing but the parent's own policy keeps it from making users with \
                         any right; set one, and let the parent make users with it only"
                            .to_owned(),
                    );
                }
                self.may_make_users(arn).await?;
                quota = self.quota().await;
            }
        }
        match self.allowed(arn, &TOO_MUCH, "*").await {
            Ok(much) if much.is_empty() => {}
            Ok(much) => warnings.push(format!("it can do more than mint: {}", much.join(", "))),
            Err(error) => warnings.push(format!("what it may do can't be seen: {error}")),
        }
        Ok(ParentHealth { what: escaped(arn), expires_at: None, quota, warnings })
    }

    /// Says what is missing, as far as that can be seen.
    async fn may_make_users(&self, parent: &str) -> Result<(), ProviderError> {
        let (partition, account) = (self.home.partition, &self.home.account);
        let users = format!("arn:{partition}:iam::{account}:user{PATH}kw-check");
        let Ok(mut allowed) = self.allowed(parent, &FOR_USERS, &users).await else {
            return self.may_list().await;
        };
        self.may_list().await?;
        allowed.sort();
        let missing: Vec<&str> =
            FOR_USERS.into_iter().filter(|action| !allowed.iter().any(|has| has == action)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message = Untrusted::capped(&format!("it lacks {} on {users}", missing.join(", ")), 600);
        Err(ProviderError::Unauthorized { provider: KIND, message })
    }

    async fn may_list(&self) -> Result<(), ProviderError> {
        let listed = self.iam.call("ListUsers", &[("PathPrefix", PATH), ("MaxItems", "1")]).await;
        listed.map(drop).map_err(|failure| failure.of_provider(KIND, "such user", "`iam:ListUsers`"))
    }

    /// Which of these actions a user or a role may do.
    async fn allowed(&self, who: &str, actions: &[&str], on: &str) -> Result<Vec<String>, ProviderError> {
        let names: Vec<String> = (1..=actions.len()).map(|at| format!("ActionNames.member.{at}")).collect();
        let mut fields = vec![("PolicySourceArn", who), ("ResourceArns.member.1", on)];
        fields.extend(names.iter().map(String::as_str).zip(actions.iter().copied()));
        let answer = self.iam.call("SimulatePrincipalPolicy", &fields).await;
        let needs = "`iam:SimulatePrincipalPolicy` on itself";
        let answer = answer.map_err(|failure| failure.of_provider(KIND, "such principal", needs))?;
        let allowed =
            answer.members("EvaluationResults").filter(|one| one.text("EvalDecision") == Some("allowed"));
        Ok(allowed.filter_map(|one| one.text("EvalActionName")).map(str::to_owned).collect())
    }

    /// How many users there are, and how many there may be.
    async fn quota(&self) -> Option<(u64, u64)> {
        let summary = self.iam.call("GetAccountSummary", &[]).await.ok()?;
        let number = |name: &str| {
            let entry = summary.entries("SummaryMap").find(|entry| entry.text("key") == Some(name))?;
            entry.text("value")?.parse().ok()
        };
        Some((number("Users")?, number("UsersQuota")?))
    }
}
