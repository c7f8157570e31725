//! Reads `keywright/catalog/2`, the compiled form that `catalogs/README.md` describes. Nothing is copied: every
//! field is a slice of the text.

use crate::error::CatalogError;
use crate::hash::{Hash, Map};
use crate::operation::Operation;
use crate::permission::{Access, Permission};

/// About how long an operation's line is; only saves growing the list.
const BYTES_PER_OPERATION: usize = 160;
const UNNAMED: &str = "names of permissions that the catalog has";

/// Everything that one compiled file holds.
pub(crate) struct Parsed {
    pub(crate) provider: &'static str,
    pub(crate) sources: Vec<Source>,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) operations: Vec<Operation>,
    /// The distinct lists of alternatives, as positions in `permissions`. A few hundred lists serve thousands of
    /// operations. The first one is empty.
    pub(crate) alternatives: Vec<Box<[usize]>>,
    /// The distinct things that operations need: any one of these sets of permissions. The first one is empty: nothing is
    /// known to open the operation.
    pub(crate) needs: Vec<Needs>,
    /// What is known about each permission where permissions are actions that apply to kinds of resources (AWS), in the order of the
    /// permissions; empty elsewhere.
    pub(crate) actions: Vec<Action>,
    /// How the ARNs of each kind of resource are written, as `(kind, form)`.
    pub(crate) resources: Vec<(&'static str, &'static str)>,
    /// Services whose operations go by another name than their actions, as `(name of operations, name of actions)`.
    pub(crate) prefixes: Vec<(&'static str, &'static str)>,
    /// What variants of an operation need, by the set of variants and the variant's name.
    pub(crate) variants: Vec<Variant>,
}

/// Marks a position that is not one of a list but of a permission: that one alone opens the operation. There are too many actions for
/// a list each.
pub(crate) const ONLY: usize = 1 << (usize::BITS - 1);

/// Any one of these sets of permissions, as positions.
pub(crate) type Needs = Box<[Box<[usize]>]>;

/// What is known about an action.
#[derive(Debug)]
pub(crate) struct Action {
    /// The kinds of resources that it applies to, `*` behind those that it always needs; `-` where it can't be confined.
    pub(crate) kinds: &'static str,
    /// Actions that it may call in turn.
    pub(crate) dependents: &'static str,
}

/// What an operation needs in one of its variants.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) set: &'static str,
    pub(crate) name: &'static str,
    pub(crate) needs: usize,
}

/// Where a part of the data comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Which part: `permissions` or `operations`.
    pub holds: &'static str,
    /// The publication, with its version.
    pub from: &'static str,
    /// When it was taken, `YYYY-MM-DD`.
    pub taken: &'static str,
    /// Its licence, as an SPDX id.
    pub licence: &'static str,
    /// SHA-256 of the file it was compiled from, in hex.
    pub sha256: &'static str,
}

/// Reads a whole compiled file.
///
/// # Errors
/// [`CatalogError::Damaged`] where a line is not what the form says.
pub(crate) fn parse(text: &'static str) -> Result<Parsed, CatalogError> {
    let mut lines = text.lines().enumerate().map(|(index, text)| Line { number: index + 1, text });
    let first = lines.next().unwrap_or(Line { number: 1, text: "" });
    let Some(provider) = first.text.strip_prefix("keywright/catalog/2\t") else {
        return Err(first.damaged("the form `keywright/catalog/2` and the provider"));
    };
    let mut parsed = Parsed {
        provider,
        sources: Vec::new(),
        permissions: Vec::new(),
        operations: Vec::with_capacity(text.len() / BYTES_PER_OPERATION),
        alternatives: vec![Box::default()],
        needs: vec![Box::default()],
        variants: Vec::new(),
        actions: Vec::new(),
        resources: Vec::new(),
        prefixes: Vec::new(),
    };
    let mut lists = Lists::default();
    let mut section = "";
    for line in lines.filter(|line| !line.text.starts_with('#')) {
        if line.text.starts_with('[') {
            section = line.text;
            if ["[variants]", "[operations]"].contains(&section) && lists.by_name.is_empty() {
                lists = Lists::of(&parsed.permissions);
            }
            continue;
        }
        match section {
            "[sources]" => parsed.sources.push(line.source()?),
            "[permissions]" => parsed.permissions.push(line.permission()?),
            "[resources]" => {
                let [kind, form] = line.columns()?;
                parsed.resources.push((kind, form));
            }
            "[prefixes]" => {
                let [operations, actions] = line.columns()?;
                parsed.prefixes.push((operations, actions));
            }
            "[actions]" => line.action(&mut parsed)?,
            "[variants]" => {
                let variant = line.variant(&mut lists, &mut parsed.needs)?;
                parsed.variants.push(variant);
            }
            "[operations]" => {
                let operation = line.operation(&mut lists, &mut parsed.alternatives, &mut parsed.needs)?;
                parsed.operations.push(operation);
            }
            _ => return Err(line.damaged("a known section")),
        }
    }
    Ok(parsed)
}

/// The items of a list column.
pub(crate) fn items(column: &'static str) -> impl Iterator<Item = &'static str> + use<> {
    column.split(';').filter(|item| *item != "-")
}

struct Line {
    number: usize,
    text: &'static str,
}

impl Line {
    fn source(&self) -> Result<Source, CatalogError> {
        let [holds, from, taken, licence, sha256] = self.columns()?;
        Ok(Source { holds, from, taken, licence, sha256 })
    }

    fn permission(&self) -> Result<Permission, CatalogError> {
        let [id, name, scope, access, flags, why] = self.columns()?;
        self.permission_of(id, if name == "=" { id } else { name }, scope, access, flags, why)
    }

    fn permission_of(
        &self,
        id: &'static str,
        name: &'static str,
        scope: &'static str,
        access: &'static str,
        flags: &'static str,
        why: &'static str,
    ) -> Result<Permission, CatalogError> {
        let access = match access {
            "read" => Access::Read,
            "write" => Access::Write,
            "other" => Access::Other,
            _ => return Err(self.damaged("an access level")),
        };
        let why = (why != "-").then_some(why);
        let mut permission = Permission {
            id,
            name,
            scope,
            access,
            escalation: false,
            high_blast: false,
            suspicious: false,
            sensitive: false,
            why,
        };
        for flag in items(flags) {
            match flag {
                "escalation" => permission.escalation = true,
                "high-blast" => permission.high_blast = true,
                "suspicious" => permission.suspicious = true,
                "sensitive" => permission.sensitive = true,
                _ => return Err(self.damaged("a known flag")),
            }
        }
        Ok(permission)
    }

    /// An action is a permission, and the operation of the same name that it opens.
    fn action(&self, parsed: &mut Parsed) -> Result<(), CatalogError> {
        let [id, scope, access, flags, why, kinds, dependents] = self.columns()?;
        let permission = self.permission_of(id, id, scope, access, flags, why)?;
        let only = ONLY | parsed.permissions.len();
        parsed.operations.push(Operation {
            mutating: permission.access != Access::Read,
            alternatives: only,
            needs: only,
            ..Operation::called(id)
        });
        parsed.permissions.push(permission);
        parsed.actions.push(Action { kinds, dependents });
        Ok(())
    }

    fn variant(&self, lists: &mut Lists, needs: &mut Vec<Needs>) -> Result<Variant, CatalogError> {
        let [set, name, needed] = self.columns()?;
        let needs = lists.needs(needed, needs).ok_or_else(|| self.damaged(UNNAMED))?;
        Ok(Variant { set, name, needs })
    }

    fn operation(
        &self,
        lists: &mut Lists,
        alternatives: &mut Vec<Box<[usize]>>,
        needs: &mut Vec<Needs>,
    ) -> Result<Operation, CatalogError> {
        let [method, path, id, tags, flags, accepted, unresolved, needed, variants] = self.columns()?;
        let [method, path] = [method, path].map(|column| if column == "-" { "" } else { column });
        let needed = if needed == "=" { accepted } else { needed };
        let needs = lists.needs(needed, needs).ok_or_else(|| self.damaged(UNNAMED))?;
        let alternatives = lists.position(accepted, alternatives).ok_or_else(|| self.damaged(UNNAMED))?;
        let mut operation = Operation {
            method,
            path,
            tags,
            unresolved,
            alternatives,
            needs,
            variants,
            ..Operation::called(id)
        };
        for flag in items(flags) {
            match flag {
                "mutating" => operation.mutating = true,
                "deprecated" => operation.deprecated = true,
                "unannotated" => operation.unannotated = true,
                "wide" => operation.wide = true,
                "credential" => operation.credential = true,
                "anybody" => operation.anybody = true,
                "depends" => operation.depends = true,
                _ => return Err(self.damaged("a known flag")),
            }
        }
        Ok(operation)
    }

    fn columns<const N: usize>(&self) -> Result<[&'static str; N], CatalogError> {
        let mut columns = [""; N];
        let mut parts = self.text.split('\t');
        for column in &mut columns {
            *column =
                parts.next().filter(|part| !part.is_empty()).ok_or_else(|| self.damaged("more columns"))?;
        }
        if parts.next().is_some() { Err(self.damaged("fewer columns")) } else { Ok(columns) }
    }

    fn damaged(&self, what: &'static str) -> CatalogError {
        CatalogError::Damaged { line: self.number, what }
    }
}

/// Stands for a position where a name has several.
const TWIN: usize = usize::MAX;

/// Turns the column of alternatives into a position in the lists seen so far.
#[derive(Default)]
struct Lists {
    /// Permissions by name, [`TWIN`] where the name has several.
    by_name: Map<&'static str, usize>,
    /// Those by name and scope.
    twins: Map<(&'static str, &'static str), usize>,
    seen: Map<&'static str, usize>,
    needed: Map<&'static str, usize>,
}

impl Lists {
    fn of(permissions: &[Permission]) -> Self {
        let mut by_name = Map::with_capacity_and_hasher(permissions.len(), Hash::default());
        for (position, permission) in permissions.iter().enumerate() {
            by_name.entry(permission.name).and_modify(|known| *known = TWIN).or_insert(position);
        }
        let is_twin = |one: &(usize, &Permission)| by_name.get(one.1.name) == Some(&TWIN);
        let twins = permissions.iter().enumerate().filter(is_twin);
        let twins = twins.map(|(position, one)| ((one.name, one.scope), position)).collect();
        let none = || std::iter::once(("-", 0)).collect();
        Self { by_name, twins, seen: none(), needed: none() }
    }

    /// The permission that a label means: a name, with `@scope` where the name alone would be ambiguous.
    fn label(&self, label: &'static str) -> Option<usize> {
        match label.split_once('@') {
            Some((name, scope)) => self.twins.get(&(name, scope)).copied(),
            None => self.by_name.get(label).copied().filter(|position| *position != TWIN),
        }
    }

    fn position(&mut self, column: &'static str, alternatives: &mut Vec<Box<[usize]>>) -> Option<usize> {
        if let Some(position) = self.seen.get(column) {
            return Some(*position);
        }
        let list = items(column).map(|label| self.label(label)).collect::<Option<Box<[usize]>>>()?;
        self.seen.insert(column, alternatives.len());
        alternatives.push(list);
        Some(alternatives.len() - 1)
    }

    /// The same for what an operation needs: sets between `;`, their members between `&`, and `()` for the empty set.
    fn needs(&mut self, column: &'static str, needs: &mut Vec<Needs>) -> Option<usize> {
        if let Some(position) = self.needed.get(column) {
            return Some(*position);
        }
        let set = |set: &'static str| -> Option<Box<[usize]>> {
            if set == "()" {
                return Some(Box::default());
            }
            let mut set = set.split('&').map(|label| self.label(label)).collect::<Option<Vec<usize>>>()?;
            set.sort_unstable();
            set.dedup();
            Some(set.into())
        };
        let sets = items(column).map(set).collect::<Option<Needs>>()?;
        self.needed.insert(column, needs.len());
        needs.push(sets);
        Some(needs.len() - 1)
    }
}
