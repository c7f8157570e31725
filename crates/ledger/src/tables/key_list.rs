//! Keys as lists show them: by a part of their name, by how they stand, and whose they are.

use keywright_core::id::KeyId;
use keywright_core::key::{Key, KeyState};
use keywright_core::name::{AgentName, ProjectName};

use super::keys::{KEY, read_key};
use crate::error::Result;
use crate::sql::{Tx, Value};

/// Which keys.
#[derive(Debug, Clone, Default)]
pub struct KeysSought {
    /// With this in their names, whatever its letters' case.
    pub part: String,
    /// Only those that stand so.
    pub stands: Option<Stands>,
    /// Only of this project.
    pub project: Option<ProjectName>,
    /// Only what this agent asked for.
    pub agent: Option<AgentName>,
    /// Only those made before this one.
    pub before: Option<KeyId>,
}

/// How a key stands, as lists are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// In this state.
    In(KeyState),
    /// A revocation of it is owed.
    Owed,
    /// An old version of it lives longer than it should.
    Late,
    /// It could not be rotated when it was due.
    Failing,
    /// It is switched off at its provider.
    Off,
}

impl Stands {
    fn condition(self, values: &mut Vec<Value>) -> String {
        match self {
            Self::In(state) => {
                values.push(Value::text(state));
                format!("state = ${}", values.len())
            }
            Self::Owed => "id IN (SELECT key_id FROM revocations WHERE done_at IS NULL)".to_owned(),
            Self::Late => "id IN (SELECT d.key_id FROM drains d WHERE d.alerted_at IS NOT NULL AND EXISTS \
                           (SELECT 1 FROM versions v WHERE v.id = d.version AND v.state = 'draining'))"
                .to_owned(),
            Self::Failing => "rotate_tries > 0 AND rotate_at IS NOT NULL AND state = 'active'".to_owned(),
            Self::Off => "disabled_at IS NOT NULL AND state = 'active'".to_owned(),
        }
    }
}

impl Tx<'_> {
    /// Keys, newest first, at most `limit`. What no index leads to is looked for from the newest on, among all of them.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_sought(&self, sought: &KeysSought, limit: u32) -> Result<Vec<Key>> {
        let mut values: Vec<Value> = vec![i64::from(limit).into()];
        let mut only = Vec::new();
        let part = sought.part.trim().to_lowercase();
        if !part.is_empty() {
            let part = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            values.push(format!("%{part}%").as_str().into());
            only.push(format!("lower(name) LIKE ${} ESCAPE '\\'", values.len()));
        }
        if let Some(stands) = sought.stands {
            only.push(stands.condition(&mut values));
        }
        let equal = [
            ("project", Value::maybe(sought.project.as_ref())),
            ("agent", Value::maybe(sought.agent.as_ref())),
        ];
        for (column, value) in equal.into_iter().filter(|(_, value)| !matches!(value, Value::Null)) {
            values.push(value);
            only.push(format!("{column} = ${}", values.len()));
        }
        if let Some(before) = sought.before {
            // An id begins with when it was made (ULID), so that its index is in order.
            values.push(Value::text(before));
            only.push(format!("id < ${}", values.len()));
        }
        let only = if only.is_empty() { String::new() } else { format!("WHERE {}", only.join(" AND ")) };
        let sql = format!("SELECT {KEY} FROM keys {only} ORDER BY id DESC LIMIT $1");
        self.sound(&self.query(&sql, &values)?, read_key)
    }
}
