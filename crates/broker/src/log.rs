//! The audit log, searched: by what it is about, who did it, which deed, how it went and when. No index leads to who and which deed,
//! so that these are looked for backwards among so many entries at a time, and it is said how far.

use jiff::Timestamp;
use jiff::civil::Date;
use keywright_core::audit::{Deed, Entry, EntryId};
use keywright_core::id::{KeyId, RequestId};
use keywright_core::name::KeyName;
use keywright_ledger::{AuditFilter, LedgerError, StoredEntry, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::trace::edited;

/// Among so many entries it is looked at a time.
pub const WINDOW: u64 = 10_000;
/// So many are read at once.
const CHUNK: u32 = 1_000;
/// So many keys of one name are looked for.
const KEYS: usize = 20;

/// Which entries somebody looks for.
#[derive(Debug, Clone, Default)]
pub struct Sought {
    /// Only about these.
    pub about: About,
    /// Only of this deed.
    pub deed: Option<Deed>,
    /// Only by somebody of this name.
    pub who: Option<String>,
    /// Only what went well, or only what did not.
    pub went_well: Option<bool>,
    /// Not older than that.
    pub from: Option<Timestamp>,
    /// Not newer than that.
    pub to: Option<Timestamp>,
}

/// What entries are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum About {
    /// Anything.
    #[default]
    Anything,
    /// These keys and requests.
    These(Vec<KeyId>, Vec<RequestId>),
}

/// What somebody typed into the one field of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Something that entries are about.
    About(About),
    /// An entry.
    Entry(EntryId),
    /// It is nothing that is known; it may be somebody's name.
    Name(String),
}

/// A part of what was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// Where it goes on, if it does: before this place.
    pub older: Option<u64>,
    /// The oldest place that was looked at, where not all of the log was.
    pub down_to: Option<u64>,
    /// What was changed since this home wrote it, of what was found.
    pub edited: Vec<EntryId>,
}

impl Sought {
    /// Whether it takes reading entries that are none of those that are looked for.
    fn is_unindexed(&self) -> bool {
        self.deed.is_some() || self.who.is_some() || self.went_well.is_some()
    }

    /// Whether an entry is one of them.
    fn is(&self, entry: &Entry) -> bool {
        let record = entry.record();
        self.deed.is_none_or(|deed| deed == record.deed)
            && self.who.as_deref().is_none_or(|who| who == record.who.name)
            && self.went_well.is_none_or(|well| record.result.as_ref().is_some_and(|went| went.ok == well))
    }

    /// The name as it stands in the bytes of an entry: what has none of it need not be read.
    fn named(&self) -> Option<String> {
        self.who.as_ref().map(|who| serde_json::json!(who).to_string())
    }
}

impl Broker {
    /// What somebody means who typed this: an entry's id, a key by its id, name or fingerprint, a request's id, or a name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn typed(&self, text: &str) -> Result<Typed> {
        if let Ok(entry) = text.parse::<EntryId>() {
            return Ok(Typed::Entry(entry));
        }
        if let Ok(request) = RequestId::parse(text) {
            return Ok(Typed::About(About::These(Vec::new(), vec![request])));
        }
        // A whole name, as in `web/dev/CF_TOKEN`.
        let whole = if text.contains('/') { self.find_key(text).await.ok() } else { None };
        let (id, name) = (KeyId::parse(text).ok().or(whole), KeyName::parse(text).ok());
        let digits = text.to_ascii_lowercase();
        let print = Some(digits)
            .filter(|one| (8..=64).contains(&one.len()) && one.bytes().all(|b| b.is_ascii_hexdigit()));
        let read = self.ledger.read(move |tx| {
            let mut keys: Vec<KeyId> = id.into_iter().collect();
            if let Some(print) = print {
                keys.extend(tx.keys_by_fingerprint(&print)?);
            }
            if let Some(name) = name {
                keys.extend(tx.keys_named(&name)?.into_iter().map(|key| key.id));
            }
            keys.truncate(KEYS);
            // What came before the key was reserved names the request only.
            let mut requests = Vec::new();
            for key in &keys {
                match tx.key(*key) {
                    Ok(key) => requests.push(key.request),
                    Err(LedgerError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, LedgerError>((keys, requests))
        });
        let (keys, requests) = read.await?;
        if keys.is_empty() {
            return Ok(Typed::Name(text.to_owned()));
        }
        Ok(Typed::About(About::These(keys, requests)))
    }

    /// Some of the entries that somebody looks for, the newest first, from before a place on.
    ///
    /// # Errors
    /// When the ledger can't be read, or an entry is no entry any more.
    pub async fn search_log(&self, sought: Sought, before: Option<u64>, limit: u32) -> Result<Found> {
        let found = self.ledger.scan(move |tx| {
            let mut found = look(tx, &sought, before, limit)?;
            for entry in &found.entries {
                let one = AuditFilter { from: entry.index(), limit: 1, ..AuditFilter::default() };
                found.edited.extend(edited(tx, &tx.audit_entries(&one)?));
            }
            Ok::<_, LedgerError>(found)
        });
        found.await.map_err(BrokerError::from)
    }

    /// The entries that somebody looks for from a place on, oldest first, of so many entries of the log; and where it goes on.
    ///
    /// # Errors
    /// When the ledger can't be read, or an entry is no entry any more.
    pub async fn read_on(&self, sought: Sought, from: u64) -> Result<(Vec<Entry>, Option<u64>)> {
        let read = self.ledger.scan(move |tx| {
            let (lowest, end) = bounds(tx, &sought)?;
            let filter = AuditFilter { from: from.max(lowest), limit: CHUNK, ..AuditFilter::default() };
            let stored = match &sought.about {
                About::Anything => tx.audit_entries(&AuditFilter { before: Some(end), ..filter })?,
                // Of a key there are not that many: all at once.
                About::These(..) => {
                    let filter = AuditFilter { limit: 1_000_000, before: Some(end), ..filter };
                    about(tx, &sought.about, &filter)?
                }
            };
            let last = stored.last().map(|one| one.number + 1);
            let goes_on = u32::try_from(stored.len()).is_ok_and(|count| count == CHUNK);
            let goes_on = goes_on && sought.about == About::Anything;
            Ok::<_, LedgerError>((chosen(&sought, &stored)?, last.filter(|_| goes_on)))
        });
        read.await.map_err(BrokerError::from)
    }
}

/// A day in UTC, or a moment; of a day that is an end its last second.
#[must_use]
pub fn moment_of(text: &str, is_end: bool) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let day = text.parse::<Date>().ok()?;
    let day = if is_end { day.tomorrow().ok()? } else { day };
    let start = format!("{day}T00:00:00Z").parse::<Timestamp>().ok()?;
    if is_end { start.checked_sub(jiff::SignedDuration::from_secs(1)).ok() } else { Some(start) }
}

/// Between which places what is sought lies, by its times.
fn bounds(tx: &Tx<'_>, sought: &Sought) -> std::result::Result<(u64, u64), LedgerError> {
    let lowest = sought.from.map_or(Ok(0), |from| tx.audit_since(from))?;
    let end = match sought.to {
        // Up to the end of that moment's second.
        Some(to) => tx.audit_since(to.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(to))?,
        None => tx.audit_size()?,
    };
    Ok((lowest, end))
}

fn look(
    tx: &Tx<'_>,
    sought: &Sought,
    before: Option<u64>,
    limit: u32,
) -> std::result::Result<Found, LedgerError> {
    let (lowest, newest) = bounds(tx, sought)?;
    let end = before.map_or(newest, |before| before.min(newest));
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let filter = AuditFilter {
        from: lowest,
        before: Some(end),
        newest_first: true,
        limit: limit.saturating_add(1),
        ..AuditFilter::default()
    };
    if sought.about == About::Anything && !sought.is_unindexed() {
        let mut entries = chosen(sought, &tx.audit_entries(&filter)?)?;
        let is_more = entries.len() > most;
        entries.truncate(most);
        let older = entries.last().map(Entry::index).filter(|_| is_more);
        return Ok(Found { entries, older, down_to: None, edited: Vec::new() });
    }
    if let About::These(..) = &sought.about {
        // They are found by an index; what else is asked is looked up among them.
        let wide =
            AuditFilter { limit: if sought.is_unindexed() { CHUNK * 10 } else { limit + 1 }, ..filter };
        let stored = about(tx, &sought.about, &wide)?;
        let (read, down_to) = (stored.len(), stored.last().map(|one| one.number));
        let mut entries = chosen(sought, &stored)?;
        let is_more = entries.len() > most;
        entries.truncate(most);
        let is_cut = !is_more && u32::try_from(read).is_ok_and(|read| read >= wide.limit);
        let older = if is_more { entries.last().map(Entry::index) } else { down_to.filter(|_| is_cut) };
        return Ok(Found { entries, older, down_to: down_to.filter(|_| is_cut), edited: Vec::new() });
    }
    let floor = end.saturating_sub(WINDOW).max(lowest);
    let (mut entries, mut end) = (Vec::new(), end);
    while end > floor && entries.len() <= most {
        let filter = AuditFilter {
            from: floor.max(end.saturating_sub(CHUNK.into())),
            before: Some(end),
            limit: CHUNK,
            newest_first: true,
            deed: sought.deed,
            ..AuditFilter::default()
        };
        entries.extend(chosen(sought, &tx.audit_entries(&filter)?)?);
        end = filter.from;
    }
    if entries.len() > most {
        entries.truncate(most);
        let older = entries.last().map(Entry::index);
        return Ok(Found { entries, older, down_to: None, edited: Vec::new() });
    }
    let is_more = floor > lowest;
    Ok(Found {
        entries,
        older: is_more.then_some(floor),
        down_to: is_more.then_some(floor),
        edited: Vec::new(),
    })
}

/// The entries about some keys and requests, in the order of a filter.
fn about(
    tx: &Tx<'_>,
    about: &About,
    filter: &AuditFilter,
) -> std::result::Result<Vec<StoredEntry>, LedgerError> {
    let About::These(keys, requests) = about else { return tx.audit_entries(filter) };
    let mut found = Vec::new();
    for key in keys {
        found.extend(tx.audit_entries(&AuditFilter { key: Some(*key), ..filter.clone() })?);
    }
    for request in requests {
        found.extend(tx.audit_entries(&AuditFilter { request: Some(*request), ..filter.clone() })?);
    }
    found.sort_by_key(|one| one.number);
    found.dedup_by_key(|one| one.number);
    if filter.newest_first {
        found.reverse();
    }
    found.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    Ok(found)
}

fn chosen(sought: &Sought, stored: &[StoredEntry]) -> std::result::Result<Vec<Entry>, LedgerError> {
    let named = sought.named();
    let may_be = |one: &&StoredEntry| {
        // Bytes that are no text are no entry either, which reading them says.
        let has = |named: &String| std::str::from_utf8(&one.leaf).map_or(true, |text| text.contains(named));
        named.as_ref().is_none_or(has)
    };
    let read = stored.iter().filter(may_be).map(StoredEntry::entry);
    read.filter(|entry| entry.as_ref().map_or(true, |entry| sought.is(entry))).collect()
}
