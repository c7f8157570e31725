//! One provider's permission data.

use std::sync::OnceLock;

use crate::built_in::{BUILT_IN, FOR_PLANS, every};
use crate::error::CatalogError;
use crate::footprint::Footprint;
use crate::format::{self, Action, Needs, ONLY, Parsed, Variant};
use crate::hash::{Hash, Map};
use crate::nearest::nearest;
use crate::operation::{Operation, shape};
use crate::permission::{Access, Permission};
use crate::search::{Index, words};
use crate::solve::Reach;

pub use crate::format::Source;

/// How many names a hint holds.
const HINTS: usize = 3;

/// The permissions and operations of one provider.
#[derive(Debug)]
pub struct Catalog {
    provider: &'static str,
    sources: Vec<Source>,
    permissions: Vec<Permission>,
    operations: Vec<Operation>,
    alternatives: Vec<Box<[usize]>>,
    needs: Vec<Needs>,
    variants: Vec<Variant>,
    actions: Vec<Action>,
    resources: Vec<(&'static str, &'static str)>,
    prefixes: Vec<(&'static str, &'static str)>,
    by_id: OnceLock<Map<&'static str, usize>>,
    by_name: OnceLock<Map<String, usize>>,
    /// Every position of a permission, one after the other, where permissions are actions.
    single: Box<[usize]>,
    reach: OnceLock<Reach>,
    permission_index: OnceLock<Index>,
    operation_index: OnceLock<Index>,
}

/// An answer to a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked<'catalog, T> {
    /// What was found.
    pub item: &'catalog T,
    /// How well it answers: comparable within one search only.
    pub score: f32,
}

impl Catalog {
    /// Reads a compiled catalog (the form is described in `catalogs/README.md`).
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] with the line that is not what the form says.
    pub fn parse(text: &'static str) -> Result<Self, CatalogError> {
        let Parsed {
            provider,
            sources,
            permissions,
            operations,
            alternatives,
            needs,
            actions,
            resources,
            prefixes,
            variants,
        } = format::parse(text)?;
        let single = if actions.is_empty() { Box::default() } else { (0..permissions.len()).collect() };
        Ok(Self {
            provider,
            sources,
            permissions,
            operations,
            alternatives,
            needs,
            variants,
            actions,
            resources,
            prefixes,
            by_id: OnceLock::new(),
            by_name: OnceLock::new(),
            single,
            reach: OnceLock::new(),
            permission_index: OnceLock::new(),
            operation_index: OnceLock::new(),
        })
    }

    /// Cloudflare's catalog, read on first use.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] if the shipped text is not a catalog; a test proves that it is.
    pub fn cloudflare() -> Result<&'static Self, CatalogError> {
        Self::for_provider("cloudflare")
    }

    /// The catalog that ships for a provider, read on first use: all that is known of it.
    ///
    /// # Errors
    /// [`CatalogError::UnknownProvider`] where none ships.
    pub fn for_provider(provider: &str) -> Result<&'static Self, CatalogError> {
        match FOR_PLANS.iter().chain(&BUILT_IN).find(|built_in| built_in.provider == provider) {
            Some(built_in) => built_in.catalog(),
            None => {
                let mut known: Vec<String> = every().map(|built_in| built_in.provider.to_owned()).collect();
                known.sort();
                known.dedup();
                Err(CatalogError::UnknownProvider { provider: provider.to_owned(), known })
            }
        }
    }

    /// The provider, as templates and connections name it.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Where the data comes from, with dates and licences.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// All permissions, by name, then by scope.
    #[must_use]
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// All operations, by path, then by method.
    #[must_use]
    pub fn all_operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The permission with this id.
    ///
    /// # Errors
    /// [`CatalogError::UnknownPermission`] where the provider's data has none.
    pub fn permission_by_id(&self, id: &str) -> Result<&Permission, CatalogError> {
        let position = self.position_by_id(id)?;
        self.permissions.get(position).ok_or_else(|| self.unknown_permission(id))
    }

    pub(crate) fn position_by_id(&self, id: &str) -> Result<usize, CatalogError> {
        self.by_id().get(id).copied().ok_or_else(|| self.unknown_permission(id))
    }

    /// Every permission with exactly this name: none, one, or one per scope.
    #[must_use]
    pub fn permissions_named(&self, name: &str) -> Vec<&Permission> {
        self.permissions.iter().filter(|permission| permission.name == name).collect()
    }

    /// The one permission that a template means by an id or a name, and a scope where the name needs one.
    ///
    /// # Errors
    /// [`CatalogError::AmbiguousPermission`] with the candidates where the name alone is not enough, and
    /// [`CatalogError::UnknownPermission`] with the nearest names where nothing has this name in this scope.
    pub fn permission(&self, name_or_id: &str, scope: Option<&str>) -> Result<&Permission, CatalogError> {
        let in_scope = |permission: &&Permission| scope.is_none_or(|scope| permission.scope == scope);
        if let Ok(permission) = self.permission_by_id(name_or_id)
            && in_scope(&permission)
        {
            return Ok(permission);
        }
        let candidates: Vec<&Permission> =
            self.permissions_named(name_or_id).into_iter().filter(in_scope).collect();
        match candidates.as_slice() {
            [] => Err(self.unknown_permission(name_or_id)),
            [one] => Ok(one),
            several => Err(CatalogError::ambiguous(name_or_id, several)),
        }
    }

    /// Why this permission is of the escalation class (it can make keys, or change who may do what); `None` where
    /// it is not.
    ///
    /// # Errors
    /// [`CatalogError::UnknownPermission`] for an unknown id: what nobody knows is not declared harmless.
    pub fn escalation(&self, id: &str) -> Result<Option<&'static str>, CatalogError> {
        let permission = self.permission_by_id(id)?;
        Ok(permission.escalation.then(|| permission.why.unwrap_or("can make keys or change permissions")))
    }

    /// The operation with this id, or called `METHOD /path` (whatever its path parameters are called). A `#variant` behind the
    /// name has to be one of the operation's.
    ///
    /// # Errors
    /// [`CatalogError::UnknownOperation`] with operations that come close.
    pub fn operation(&self, name: &str) -> Result<&Operation, CatalogError> {
        self.find(name).ok_or_else(|| self.unknown_operation(name))
    }

    fn find(&self, name: &str) -> Option<&Operation> {
        let (bare, variant) = split_variant(name);
        let found = self.position_of(bare).and_then(|position| self.operations.get(position))?;
        variant.is_none_or(|variant| self.variant(found, variant).is_some()).then_some(found)
    }

    /// Whether it has an operation of this name, and variant where one is said.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn unknown_operation(&self, name: &str) -> CatalogError {
        let (bare, _) = split_variant(name);
        let nearest = self.operations(bare, HINTS).iter().map(|found| found.item.to_string()).collect();
        CatalogError::UnknownOperation { asked: name.to_owned(), nearest }
    }

    pub(crate) fn operation_at(&self, position: usize) -> Option<&Operation> {
        self.operations.get(position)
    }

    pub(crate) fn position_of(&self, name: &str) -> Option<usize> {
        let names = self.by_name.get_or_init(|| {
            let mut names = Map::with_capacity_and_hasher(self.operations.len() * 2, Hash::default());
            for (position, operation) in self.operations.iter().enumerate() {
                // What was reviewed about a call stands behind the action of the same name, and wins.
                if operation.path.is_empty() {
                    names.insert(operation.id.to_owned(), position);
                } else {
                    names.entry(operation.id.to_owned()).or_insert(position);
                    names.entry(operation.shape()).or_insert(position);
                }
            }
            names
        });
        names
            .get(name)
            .or_else(|| names.get(&shape(name)))
            .or_else(|| names.get(&self.renamed(name)?))
            .copied()
    }

    /// The name of the action behind an operation of a service that calls its actions otherwise.
    fn renamed(&self, name: &str) -> Option<String> {
        let (service, operation) = name.split_once(':')?;
        let (_, actions) = self.prefixes.iter().find(|(operations, _)| *operations == service)?;
        Some(format!("{actions}:{operation}"))
    }

    pub(crate) fn action(&self, position: usize) -> Option<&Action> {
        self.actions.get(position)
    }

    pub(crate) fn resource_forms(&self) -> &[(&'static str, &'static str)] {
        &self.resources
    }

    /// What the operation needs, as judged: any one of these sets of permissions. None at all where nothing is known to open
    /// it; one empty set where it needs no permission.
    pub fn needs<'a>(&'a self, operation: &Operation) -> impl Iterator<Item = Vec<&'a Permission>> {
        self.sets(operation.needs)
            .map(|set| set.iter().filter_map(|position| self.permissions.get(*position)).collect())
    }

    /// The variants of an operation, which say what the path alone leaves open: the phase of a ruleset, the kind of a key. A
    /// job names one as `METHOD /path#variant`.
    pub fn variants<'a>(&'a self, operation: &'a Operation) -> impl Iterator<Item = &'static str> + 'a {
        self.variants.iter().filter(|one| one.set == operation.variants).map(|one| one.name)
    }

    pub(crate) fn sets(&self, needs: usize) -> impl Iterator<Item = &[usize]> {
        let list = self.needs.get(needs).into_iter().flatten();
        self.only(needs).into_iter().chain(list.map(|set| &**set))
    }

    /// The one permission that a marked position stands for, as a set.
    fn only(&self, position: usize) -> Option<&[usize]> {
        let at = (position & ONLY != 0).then_some(position ^ ONLY)?;
        self.single.get(at..=at)
    }

    fn by_id(&self) -> &Map<&'static str, usize> {
        self.by_id.get_or_init(|| {
            self.permissions.iter().enumerate().map(|(position, one)| (one.id, position)).collect()
        })
    }

    pub(crate) fn variant(&self, operation: &Operation, name: &str) -> Option<usize> {
        let is_it = |one: &&Variant| one.set == operation.variants && one.name == name;
        self.variants.iter().find(is_it).map(|one| one.needs)
    }

    pub(crate) fn listed(&self, operation: &Operation) -> &[usize] {
        let list = self.alternatives.get(operation.alternatives);
        self.only(operation.alternatives).or(list.map(|list| &**list)).unwrap_or_default()
    }

    pub(crate) fn reach(&self) -> &Reach {
        self.reach.get_or_init(|| Reach::of(self))
    }

    /// The permissions of which any one opens the operation. Empty where the data does not say: then nothing may be
    /// concluded about it.
    pub fn accepted<'a>(&'a self, operation: &'a Operation) -> impl Iterator<Item = &'a Permission> {
        self.listed(operation).iter().filter_map(|position| self.permissions.get(*position))
    }

    /// What these permissions open together.
    ///
    /// # Errors
    /// [`CatalogError::UnknownPermission`] for an id that the catalog does not have.
    pub fn unlocks<I>(&self, ids: I) -> Result<Footprint<'_>, CatalogError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut held = vec![false; self.permissions.len()];
        for id in ids {
            let Some(slot) = self.by_id().get(id.as_ref()).and_then(|position| held.get_mut(*position))
            else {
                return Err(self.unknown_permission(id.as_ref()));
            };
            *slot = true;
        }
        let is_held = |position: &usize| held.get(*position).is_some_and(|held| *held);
        let opened: Vec<bool> = self.alternatives.iter().map(|list| list.iter().any(is_held)).collect();
        let is_opened = |operation: &&Operation| match self.only(operation.alternatives) {
            Some(only) => only.iter().any(is_held),
            None => opened.get(operation.alternatives).is_some_and(|opened| *opened),
        };
        Ok(Footprint::of(self.operations.iter().filter(is_opened).collect()))
    }

    /// The permissions that plain words are about, best first, at most `limit`. Among equals a read comes before a
    /// write.
    #[must_use]
    pub fn search(&self, query: &str, limit: usize) -> Vec<Ranked<'_, Permission>> {
        let index = self.permission_index.get_or_init(|| {
            Index::of(self.permissions.iter().map(|permission| words(permission.name).collect()))
        });
        ranked(&self.permissions, index, query, limit, |permission| match permission.access {
            Access::Read => 0,
            Access::Other => 1,
            Access::Write => 2,
        })
    }

    /// The operations that plain words, a path or an operation id are about, best first, at most `limit`. Among
    /// equals one that is not deprecated comes first.
    #[must_use]
    pub fn operations(&self, query: &str, limit: usize) -> Vec<Ranked<'_, Operation>> {
        let index =
            self.operation_index.get_or_init(|| Index::of(self.operations.iter().map(operation_words)));
        ranked(&self.operations, index, query, limit, |operation| u8::from(operation.deprecated))
    }

    fn unknown_permission(&self, asked: &str) -> CatalogError {
        let mut hints = nearest(asked, self.permissions.iter().map(|permission| permission.name), HINTS);
        for found in self.search(asked, HINTS) {
            if hints.len() < HINTS && !hints.contains(&found.item.name) {
                hints.push(found.item.name);
            }
        }
        let nearest = hints.into_iter().map(str::to_owned).collect();
        CatalogError::UnknownPermission { asked: asked.to_owned(), nearest }
    }
}

/// `METHOD /path#variant` in its two parts.
pub(crate) fn split_variant(name: &str) -> (&str, Option<&str>) {
    match name.split_once('#') {
        Some((bare, variant)) => (bare.trim_end(), Some(variant)),
        None => (name, None),
    }
}

fn ranked<'a, T>(
    items: &'a [T],
    index: &Index,
    query: &str,
    limit: usize,
    rank: impl Fn(&T) -> u8,
) -> Vec<Ranked<'a, T>> {
    let mut found: Vec<Ranked<'a, T>> = index
        .search(query, limit)
        .into_iter()
        .filter_map(|(position, score)| Some(Ranked { item: items.get(position)?, score }))
        .collect();
    // Stable, so equals of equal rank keep the catalog's order.
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| rank(a.item).cmp(&rank(b.item))));
    found.truncate(limit);
    found
}

/// What an operation is about: path, id, tags, and the words for what its method does.
fn operation_words(operation: &Operation) -> Vec<String> {
    let segments = operation.path.split('/').filter(|segment| !segment.starts_with('{'));
    let deed = match operation.method {
        "GET" => "get list read",
        "POST" if !operation.mutating => "query read",
        "POST" => "create add write",
        "DELETE" => "delete remove write",
        // The name says what it does.
        "" if !operation.mutating => "read",
        "" => "write",
        _ => "update edit change write",
    };
    let mut tokens: Vec<String> = segments.flat_map(words).collect();
    tokens.extend(words(operation.id));
    tokens.extend(operation.tags().flat_map(words));
    tokens.extend(words(deed));
    tokens
}
