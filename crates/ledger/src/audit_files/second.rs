//! The second place of the head, outside of the home. It may be on a disk that hangs (NFS, FUSE), so nobody who works waits for it:
//! whatever touches it is done by a thread of its own, one thing after the other. The thread is given the newest head only; one that it
//! did not come to write is forgotten for the next.
//!
//! What lies there says what this home knew of its log. Nothing is written over it before it was read and held against the log, however
//! late that is. A place where a head was kept and is none is not the place, and is not made anew: it waits until it is back, or somebody
//! says that it is gone ([`Note`]).

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::disk::Disk;
use super::head::{Claimed, HEAD, HeadKey, Kept};
use super::note::Note;
use crate::error::{LedgerError, Result};

/// How long a start, an operator and a stop wait for it, and how long one thing may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(3);
/// A thread begins a moment after it was asked to.
const SLACK: Duration = Duration::from_millis(100);
/// How long it takes until something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What is wrong with the second place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Where it is.
    pub place: PathBuf,
    /// What is wrong.
    pub why: String,
    /// Whether nobody knows yet what it holds.
    pub is_unread: bool,
}

/// The second place.
pub(super) struct Second {
    shared: Arc<Shared>,
    opened: Instant,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    place: PathBuf,
    key: HeadKey,
    note: Note,
    state: Mutex<State>,
    /// There is something to do.
    came: Condvar,
    /// Something was done, or could not be.
    done: Condvar,
    answered: Notify,
}

#[derive(Default)]
struct State {
    /// Since when the thread is at something.
    at_it: Option<Instant>,
    lies_there: LiesThere,
    /// What is to be written.
    newest: Option<Claimed>,
    /// Whether a head was kept there, and has its name still.
    is_expected: bool,
    /// The name that what lies there is to get.
    aside: Option<String>,
    trouble: Option<String>,
    was_told: bool,
    is_closed: bool,
    has_ended: bool,
}

/// What lay there when it was opened.
#[derive(Default, Clone, Copy)]
enum LiesThere {
    #[default]
    Unread,
    Read(Option<Claimed>),
    /// Somebody holds it against the log just now.
    Offered(Option<Claimed>),
    /// The log goes on from it.
    Proven,
}

enum Work {
    Look,
    PutAside(String),
    Write(Claimed),
}

impl Second {
    /// Starts the thread, which looks at once.
    pub(super) fn open(place: PathBuf, key: HeadKey, log: Disk) -> Result<Self> {
        let (came, done, answered) = (Condvar::new(), Condvar::new(), Notify::new());
        let note = Note::beside(log);
        // Of a note that can't be read, the look says so.
        let is_expected = note.names(&place).unwrap_or(true);
        let state = Mutex::new(State { is_expected, ..State::default() });
        let shared = Arc::new(Shared { place, key, note, state, came, done, answered });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("second-place".to_owned());
        let thread = thread.spawn(move || of_thread.run()).map_err(|e| LedgerError::Io(e.to_string()))?;
        Ok(Self { shared, opened: Instant::now(), thread: Some(thread) })
    }

    /// What lay there, where that was not held against the log yet. Shortly after the opening it is waited for.
    pub(super) fn said(&self) -> Option<Claimed> {
        let is_waited_for = |state: &State| {
            matches!(state.lies_there, LiesThere::Unread) && state.trouble.is_none() && !state.hangs()
        };
        let mut state = self.shared.wait(self.opened + PATIENCE + SLACK, is_waited_for);
        match state.lies_there {
            LiesThere::Read(said) | LiesThere::Offered(said) => {
                state.lies_there = LiesThere::Offered(said);
                said
            }
            LiesThere::Proven => None,
            LiesThere::Unread => {
                self.shared.tell(&mut state);
                None
            }
        }
    }

    /// The log goes on from what [`Second::said`] said.
    pub(super) fn proven(&self) {
        let mut state = self.shared.lock();
        if matches!(state.lies_there, LiesThere::Offered(_)) {
            state.lies_there = LiesThere::Proven;
            self.shared.came.notify_all();
        }
    }

    /// Takes the newest head, and waits for nothing.
    pub(super) fn keeper(&self) -> impl Fn(Claimed) + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move |head| {
            let mut state = shared.lock();
            state.newest = Some(head);
            shared.tell(&mut state);
            shared.came.notify_all();
        }
    }

    /// Gives what lies there another name, so that it says nothing any more.
    pub(super) fn put_aside(&self, name: String) {
        let mut state = self.shared.lock();
        state.aside = Some(name);
        state.trouble = None;
        state.lies_there = LiesThere::Read(None);
        self.shared.came.notify_all();
        drop(state);
        let is_under_way = |state: &State| state.aside.is_some() && state.trouble.is_none();
        let state = self.shared.wait(Instant::now() + PATIENCE, is_under_way);
        if state.aside.is_some() {
            tracing::error!(
                place = %self.shared.place.display(),
                "the copy of the audit log's head in a second place could not be put aside yet; a start before that takes this \
                 ledger for an older copy once more"
            );
        }
    }

    /// What is wrong with it.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let mut state = self.shared.lock();
        self.shared.tell(&mut state);
        self.shared.trouble(&state)
    }

    /// Whether nobody knows yet what lies there.
    pub(super) fn is_unread(&self) -> bool {
        self.shared.lock().is_unread()
    }

    /// Waits until what lies there was read late.
    pub(super) async fn answered(&self) {
        self.shared.answered.notified().await;
    }
}

impl Drop for Second {
    /// The newest head is waited for, as long as there is hope.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        self.shared.came.notify_all();
        let hangs = state.hangs();
        drop(state);
        let deadline = if hangs { Instant::now() } else { Instant::now() + PATIENCE };
        let state = self.shared.wait(deadline, |state| !state.has_ended);
        if !state.has_ended || state.newest.is_some() {
            tracing::warn!(
                place = %self.shared.place.display(),
                "the newest head of the audit log is not in the second place"
            );
        }
        let has_ended = state.has_ended;
        drop(state);
        if has_ended && let Some(thread) = self.thread.take() {
            // A panic on it has already been reported there. One that hangs ends with the process.
            let _ = thread.join();
        }
    }
}

impl State {
    fn is_unread(&self) -> bool {
        !matches!(self.lies_there, LiesThere::Proven)
    }

    fn hangs(&self) -> bool {
        self.at_it.is_some_and(|since| since.elapsed() >= PATIENCE)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the thread while something is so.
    fn wait(&self, until: Instant, is_so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let limit = until.saturating_duration_since(Instant::now());
        let waited = self.done.wait_timeout_while(self.lock(), limit, |state| is_so(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn trouble(&self, state: &State) -> Option<Trouble> {
        let hangs = || state.at_it.filter(|_| state.hangs()).map(|since| Hangs(since).to_string());
        let why = hangs().or_else(|| state.trouble.clone())?;
        Some(Trouble { place: self.place.clone(), why, is_unread: state.is_unread() })
    }

    /// Says what is wrong, once.
    fn tell(&self, state: &mut State) {
        if state.was_told {
            return;
        }
        let Some(Trouble { place, why, is_unread }) = self.trouble(state) else { return };
        state.was_told = true;
        let place = place.display();
        if is_unread {
            tracing::error!(
                %place, %why,
                "the second place of the audit log's head can't be read: whether this home is an older copy is not known \
                 until it can, and no key that the ledger does not know is ended meanwhile"
            );
        } else {
            tracing::warn!(%place, %why, "the second place of the audit log's head is behind");
        }
    }

    fn run(&self) {
        let mut place = None;
        while let Some(work) = self.next() {
            let done = self.work(&mut place, &work);
            let mut state = self.lock();
            state.at_it = None;
            match done {
                Ok(found) => {
                    state.is_done(&work, found);
                    state.trouble = None;
                    if std::mem::take(&mut state.was_told) {
                        tracing::warn!(place = %self.place.display(), "the second place of the audit log's head is well again");
                    }
                    if matches!(work, Work::Look) {
                        self.answered.notify_one();
                    }
                }
                Err(error) => {
                    // Whatever was open there may be of a disk that is gone.
                    place = None;
                    state.trouble = Some(error.to_string());
                    self.tell(&mut state);
                }
            }
            drop(state);
            self.done.notify_all();
        }
        self.lock().has_ended = true;
        self.done.notify_all();
    }

    /// Waits for something to do. None once it is closed and nothing is left that can be done.
    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        if state.trouble.is_some() {
            let waits = |state: &mut State| !state.is_closed && state.trouble.is_some();
            let waited = self.came.wait_timeout_while(state, AGAIN, waits);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        loop {
            if state.is_closed && state.trouble.is_some() {
                return None;
            }
            let work = match (&state.aside, state.lies_there, state.newest) {
                (Some(name), ..) => Some(Work::PutAside(name.clone())),
                (None, LiesThere::Unread, _) => Some(Work::Look),
                (None, LiesThere::Proven, Some(newest)) => Some(Work::Write(newest)),
                _ => None,
            };
            match work {
                Some(Work::Look) | None if state.is_closed => return None,
                Some(work) => {
                    state.at_it = Some(Instant::now());
                    return Some(work);
                }
                None => state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn work(&self, place: &mut Option<Place>, work: &Work) -> Result<Option<Claimed>> {
        let at = match place {
            Some(at) => at,
            None => {
                if self.is_expected(work)? {
                    self.note.check(&self.place)?;
                }
                place.insert(Place::open(&self.place)?)
            }
        };
        match work {
            Work::Look => match self.key.read(&at.disk) {
                Err(LedgerError::NotContinued { why }) => {
                    tracing::warn!(%why, "the copy of the log's head is not believed");
                    Ok(None)
                }
                Ok(Some(found)) => {
                    self.is_kept()?;
                    Ok(Some(found))
                }
                other => other,
            },
            Work::PutAside(name) => {
                at.kept = None;
                at.disk.rename(HEAD, name).map(|()| None)
            }
            Work::Write(head) => {
                match &mut at.kept {
                    Some(kept) => kept.keep(*head)?,
                    None => {
                        at.kept = Some(Kept::put(&self.key, &at.disk, *head)?);
                        self.is_kept()?;
                    }
                }
                Ok(None)
            }
        }
    }

    /// Whether a head has to lie there for this.
    fn is_expected(&self, work: &Work) -> Result<bool> {
        match work {
            // Looked up each time: whoever takes the note away says that the place is gone for good.
            Work::Look => self.note.names(&self.place),
            // The note went with the files of before.
            Work::PutAside(_) => Ok(self.lock().is_expected),
            // What lay there was read. Who writes goes on wherever they can.
            Work::Write(_) => Ok(false),
        }
    }

    /// A head lies there.
    fn is_kept(&self) -> Result<()> {
        self.note.write(&self.place)?;
        self.lock().is_expected = true;
        Ok(())
    }
}

impl State {
    fn is_done(&mut self, work: &Work, found: Option<Claimed>) {
        match work {
            Work::Look if matches!(self.lies_there, LiesThere::Unread) => {
                self.lies_there = LiesThere::Read(found);
            }
            Work::Look => {}
            Work::PutAside(name) if self.aside.as_ref() == Some(name) => {
                self.aside = None;
                self.is_expected = false;
            }
            Work::Write(head) if self.newest == Some(*head) => self.newest = None,
            // There is something newer by now.
            Work::PutAside(_) | Work::Write(_) => {}
        }
    }
}

/// The directory, which no other home writes to meanwhile.
struct Place {
    disk: Disk,
    kept: Option<Kept>,
    _lock: File,
}

impl Place {
    fn open(dir: &Path) -> Result<Self> {
        let io = |error: std::io::Error| LedgerError::Io(format!("{}: {error}", dir.display()));
        let disk = Disk::create(dir)?;
        let lock = File::open(dir).map_err(io)?;
        // Not every file system can lock.
        if let Err(Errno::WOULDBLOCK) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            let why = "another home keeps its head there; each home of one ledger needs a place of its own";
            return Err(LedgerError::Io(format!("{}: {why}", dir.display())));
        }
        Ok(Self { disk, kept: None, _lock: lock })
    }
}

/// For how long it has not answered.
struct Hangs(Instant);

impl fmt::Display for Hangs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it does not answer, for {} s by now", self.0.elapsed().as_secs())
    }
}

/// Looks whether a place answers, for a few seconds, and has the head that was kept there, as the files of the log say. What is wrong
/// with it, if anything is; one that was not used yet is well.
#[must_use]
pub fn look_at(place: &Path, log: &Path) -> Option<String> {
    let (said, heard) = std::sync::mpsc::channel();
    let (dir, note) = (place.to_owned(), Note::beside(Disk::at(log)));
    let began = Instant::now();
    let thread = std::thread::Builder::new().spawn(move || {
        let found = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Some(error.to_string()),
            _ => note.check_below(&dir).err().map(|error| error.to_string()),
        };
        // Nobody waits any more: it took too long.
        let _ = said.send(found);
    });
    if let Err(error) = thread {
        return Some(error.to_string());
    }
    heard.recv_timeout(PATIENCE).unwrap_or_else(|_| Some(Hangs(began).to_string()))
}
