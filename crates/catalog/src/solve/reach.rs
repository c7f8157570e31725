//! Which operations each permission opens, turned around once per catalog.

use crate::catalog::Catalog;

/// For each permission the positions of the operations that it opens.
#[derive(Debug)]
pub(crate) struct Reach {
    /// As judged: what the search weighs. Without deprecated operations, and those that anybody may call.
    judged: Lists,
    /// As judged or as the vendor lists it: what people are told.
    shown: Lists,
}

impl Reach {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let count = catalog.permissions().len();
        let (mut judged, mut shown) = (Vec::new(), Vec::new());
        let mut names: Vec<usize> = Vec::new();
        for (at, operation) in catalog.all_operations().iter().enumerate() {
            names.clear();
            names.extend(catalog.sets(operation.needs).flatten());
            names.sort_unstable();
            names.dedup();
            if !operation.anybody && !operation.deprecated {
                judged.extend(names.iter().map(|permission| (*permission, at)));
            }
            names.extend(catalog.listed(operation));
            names.sort_unstable();
            names.dedup();
            shown.extend(names.iter().map(|permission| (*permission, at)));
        }
        Self { judged: Lists::of(count, judged), shown: Lists::of(count, shown) }
    }

    pub(crate) fn judged(&self, permission: usize) -> impl Iterator<Item = usize> + '_ {
        self.judged.of_one(permission)
    }

    pub(crate) fn shown(&self, permission: usize) -> impl Iterator<Item = usize> + '_ {
        self.shown.of_one(permission)
    }
}

/// Lists behind each other, and where each begins.
#[derive(Debug)]
struct Lists {
    starts: Vec<usize>,
    items: Vec<usize>,
}

impl Lists {
    fn of(count: usize, mut pairs: Vec<(usize, usize)>) -> Self {
        pairs.sort_unstable();
        let starts = (0..=count).map(|one| pairs.partition_point(|(list, _)| *list < one)).collect();
        Self { starts, items: pairs.into_iter().map(|(_, item)| item).collect() }
    }

    fn of_one(&self, list: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.starts.get(list + 1).copied().unwrap_or_default();
        let start = self.starts.get(list).copied().unwrap_or(end);
        self.items.get(start..end).unwrap_or_default().iter().copied()
    }
}
