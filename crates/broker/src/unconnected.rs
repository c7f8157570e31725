//! Templates that name a connection which is not there. They may be put in force, since it can be added later; until then they make
//! no key, and whoever applies them is told.

use std::collections::BTreeMap;

use keywright_core::template::Template;
use keywright_ledger::{AppliedTemplate, Connection};

use crate::broker::Broker;
use crate::error::Result;

/// Why nothing is made by a template for want of the connection that it names.
fn why(template: &Template, connections: &[Connection]) -> Option<String> {
    let name = template.connection.as_ref()?;
    let kind = &template.provider;
    match connections.iter().find(|one| one.name == *name) {
        Some(there) if there.kind == *kind => None,
        Some(other) => Some(format!(
            "it names connection `{name}`, which is one to `{}` and not to `{kind}`: it makes no key until it names another one",
            other.kind
        )),
        None => Some(format!(
            "it names connection `{name}`, which is not there: it makes no key until that is added \
             (`keywright provider add {kind} --name {name}`) or it names another one"
        )),
    }
}

impl Broker {
    /// What to say of a template that names a connection which is not there.
    pub(crate) async fn unconnected(&self, template: &Template) -> Result<Option<String>> {
        if template.connection.is_none() {
            return Ok(None);
        }
        Ok(why(template, &self.connections().await?))
    }

    /// The same of a text that may be one.
    pub(crate) async fn unconnected_in(&self, source: &str) -> Result<Option<String>> {
        match Template::parse(source) {
            Ok(template) => self.unconnected(&template).await,
            // What is wrong with it is said elsewhere.
            Err(_) => Ok(None),
        }
    }

    /// The same of each template that it is to say of, by id.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn unconnected_of(&self, templates: &[AppliedTemplate]) -> Result<BTreeMap<String, String>> {
        let templates = templates.iter().map(|one| &one.resolved.template);
        let naming: Vec<&Template> = templates.filter(|one| one.connection.is_some()).collect();
        if naming.is_empty() {
            return Ok(BTreeMap::new());
        }
        let connections = self.connections().await?;
        let said = naming.into_iter().filter_map(|one| Some((one.id.to_string(), why(one, &connections)?)));
        Ok(said.collect())
    }
}
