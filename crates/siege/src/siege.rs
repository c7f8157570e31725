//! Which points are tried, in which order, by how many workers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::calls::Kind;
use crate::front::{Deed, Engine, Front, Way};
use crate::house::House;
use crate::point::{attempt, attempt_and};
use crate::tally::{Tally, build_of, journal_beside, name};
use crate::tracer::Order;

/// How long the short form may take.
const SHORT: Duration = Duration::from_secs(85);
/// How long the long form may take, unless it is told otherwise.
const LONG: Duration = Duration::from_secs(8 * 3_600);
/// A place that no deed reaches: such a run only counts.
const NEVER: u32 = u32::MAX;
/// After so many failures there is enough to look at.
const ENOUGH: usize = 20;

const USAGE: &str = "usage: cargo xtask crash [--long] [--minutes M] [--workers N] [--seed S] [--only TEXT] | --point DEED/WAY/LEDGER/KIND/N";

struct Wanted {
    is_long: bool,
    time: Duration,
    workers: usize,
    seed: u64,
    only: Option<String>,
    point: Option<String>,
}

impl Wanted {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let seed = u64::from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().subsec_micros());
        let mut wanted = Self { is_long: false, time: SHORT, workers: 6, seed, only: None, point: None };
        let mut words = words.peekable();
        let mut minutes = None;
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or_else(|| USAGE.to_owned());
            match word.as_str() {
                "--long" => (wanted.is_long, wanted.time) = (true, LONG),
                "--minutes" => minutes = Some(next()?.parse::<u64>().map_err(|_| USAGE)?),
                "--workers" => wanted.workers = next()?.parse().map_err(|_| USAGE)?,
                "--seed" => wanted.seed = next()?.parse().map_err(|_| USAGE)?,
                "--only" => wanted.only = Some(next()?),
                "--point" => wanted.point = Some(next()?),
                _ => return Err(USAGE.to_owned()),
            }
        }
        if let Some(minutes) = minutes {
            wanted.time = Duration::from_secs(minutes * 60);
        }
        Ok(wanted)
    }
}

/// The points of one front and one kind.
struct Sweep {
    front: Front,
    kind: Kind,
    /// How many calls a run without an incident had; absent until one was counted.
    total: Option<u32>,
    /// How many points were given out.
    given: u32,
    is_over: bool,
}

impl Sweep {
    /// The next point. The long form visits all of them, spread so that it can be interrupted at any time, and then goes
    /// on until a run has no such call any more; the short form takes a few.
    fn next(&mut self, wanted: &Wanted) -> Option<u32> {
        let total = self.total?;
        if self.is_over || (total == 0 && !wanted.is_long) {
            return None;
        }
        let turn = self.given;
        self.given += 1;
        if turn < total {
            return Some(1 + spread(turn, total, wanted.seed));
        }
        if wanted.is_long {
            return Some(turn + 1);
        }
        self.is_over = true;
        None
    }
}

/// The `turn`-th of `total` places, so that any few in a row are far apart.
fn spread(turn: u32, total: u32, seed: u64) -> u32 {
    let total = u64::from(total.max(1));
    let mut step = (total * 618 / 1_000).max(1);
    while gcd(step, total) != 1 {
        step += 1;
    }
    u32::try_from((seed + u64::from(turn) * step) % total).unwrap_or(0)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

struct State {
    sweeps: Vec<Sweep>,
    /// Fronts that somebody counts, or has counted.
    counted: Vec<Front>,
    turn: usize,
    tally: Tally,
}

/// What a worker does next.
enum Job {
    Count(Front),
    Try(Front, Kind, u32),
    Wait,
    Done,
}

impl State {
    fn job(&mut self, wanted: &Wanted, fronts: &[Front]) -> Job {
        if let Some(front) = fronts.iter().find(|front| !self.counted.contains(front)) {
            self.counted.push(*front);
            return Job::Count(*front);
        }
        let count = self.sweeps.len();
        for _ in 0..count {
            let place = self.turn % count;
            self.turn += 1;
            let sweep = &mut self.sweeps[place];
            let (front, kind) = (sweep.front, sweep.kind);
            while let Some(nth) = sweep.next(wanted) {
                if !self.tally.done.contains(&name(front, kind, nth)) {
                    return Job::Try(front, kind, nth);
                }
            }
        }
        if self.sweeps.iter().any(|sweep| sweep.total.is_none()) { Job::Wait } else { Job::Done }
    }
}

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let wanted = Wanted::parse(std::env::args().skip(1))?;
    let beside = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("keywright");
    let binary = std::env::var_os("KEYWRIGHT_BINARY").map_or(beside, PathBuf::from);
    let build = build_of(&binary).map_err(|e| format!("{}: {e}", binary.display()))?;
    let has_server = std::env::var_os("KEYWRIGHT_TEST_POSTGRES").is_some();
    if !has_server {
        eprintln!("SKIPPED: PostgreSQL; `eval \"$(scripts/postgres start DIR)\"` starts one");
        if std::env::var_os("CI").is_some() {
            return Err("no PostgreSQL in CI".to_owned());
        }
    }
    let engines: &[Engine] = if has_server { &[Engine::Sqlite, Engine::Postgres] } else { &[Engine::Sqlite] };
    let mut fronts = Vec::new();
    for deed in Deed::ALL {
        for way in Way::ALL {
            fronts.extend(engines.iter().map(|engine| Front { deed, way, engine: *engine }));
        }
    }
    if let Some(point) = &wanted.point {
        return one_point(&binary, &fronts, point);
    }
    check_the_judge(&binary)?;
    let only = wanted.only.clone().unwrap_or_default();
    let mut sweeps = Vec::new();
    for kind in Kind::ALL {
        for front in &fronts {
            if format!("{front}/{}", kind.as_str()).contains(&only) {
                sweeps.push(Sweep { front: *front, kind, total: None, given: 0, is_over: false });
            }
        }
    }
    fronts.retain(|front| sweeps.iter().any(|sweep| sweep.front == *front));
    let tally = if wanted.is_long {
        Tally::from_journal(&journal_beside(&binary), &build).map_err(|e| e.to_string())?
    } else {
        Tally::default()
    };
    println!("seed {}, {} workers, {} points known from before", wanted.seed, wanted.workers, tally.points());
    // The short form does not come to every sweep; which ones it begins with differs.
    let turn = usize::try_from(wanted.seed).unwrap_or(0) % sweeps.len().max(1);
    let state = Mutex::new(State { sweeps, counted: Vec::new(), turn, tally });
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..wanted.workers {
            scope.spawn(|| work(&state, &wanted, &fronts, &binary, began));
        }
    });
    let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", state.tally.report());
    let open = state.sweeps.iter().filter(|sweep| !sweep.is_over).count();
    if wanted.is_long && open > 0 {
        println!("{open} of {} sweeps are not at their end; the same command goes on", state.sweeps.len());
    }
    println!("took {} s", began.elapsed().as_secs());
    Ok(state.tally.failures.is_empty() && state.tally.points() > 0)
}

/// A rotation that is undone at the provider behind the ledger's back has to be noticed, or nothing here means anything.
fn check_the_judge(binary: &std::path::Path) -> Result<(), String> {
    let house = House::new(binary, Engine::Sqlite);
    let front = Front { deed: Deed::Rotate, way: Way::Command, engine: Engine::Sqlite };
    let order = Order { kind: Kind::Kill, nth: NEVER };
    let found = attempt_and(&house, front, order, || {
        house.spoil(front.deed);
        // Long enough for the consumer to be refused.
        std::thread::sleep(Duration::from_millis(300));
    });
    let noticed = (found.orphans, found.gaps, found.uses.refused > 0, found.audit_is_sound);
    if noticed == (1, 1, true, false) {
        Ok(())
    } else {
        Err(format!("what was spoilt was not noticed: {found:?}"))
    }
}

fn work(state: &Mutex<State>, wanted: &Wanted, fronts: &[Front], binary: &std::path::Path, began: Instant) {
    let mut houses: BTreeMap<Engine, House> = BTreeMap::new();
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    while began.elapsed() < wanted.time {
        let (front, order) = {
            let mut state = lock();
            if state.tally.failures.len() >= ENOUGH {
                return;
            }
            match state.job(wanted, fronts) {
                Job::Count(front) => (front, Order { kind: Kind::Kill, nth: NEVER }),
                Job::Try(front, kind, nth) => (front, Order { kind, nth }),
                Job::Done => return,
                Job::Wait => {
                    drop(state);
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
            }
        };
        let house = houses.entry(front.engine).or_insert_with(|| House::new(binary, front.engine));
        let found = attempt(house, front, order);
        if !found.is_clean() {
            eprintln!("FAILED {}: {found:?}", name(front, order.kind, order.nth));
        }
        let mut state = lock();
        if order.nth == NEVER {
            for sweep in state.sweeps.iter_mut().filter(|sweep| sweep.front == front) {
                let place = Kind::ALL.iter().position(|kind| *kind == sweep.kind).unwrap_or(0);
                sweep.total = Some(found.counted[place]);
            }
        } else if found.struck.is_none() {
            let is_it = |sweep: &&mut Sweep| (sweep.front, sweep.kind) == (front, order.kind);
            if let Some(sweep) = state.sweeps.iter_mut().find(is_it) {
                // Runs differ a little; only past what was counted there is nothing left.
                sweep.is_over |= sweep.total.is_some_and(|total| order.nth > total);
            }
        }
        state.tally.add(front, order.kind, order.nth, &found);
        if state.tally.points() % 500 == 0 && found.struck.is_some() {
            println!("{} points after {} s", state.tally.points(), began.elapsed().as_secs());
        }
    }
}

/// Tries one point, and says everything about it.
fn one_point(binary: &std::path::Path, fronts: &[Front], point: &str) -> Result<bool, String> {
    let (head, nth) = point.rsplit_once('/').ok_or(USAGE)?;
    let nth = nth.parse().map_err(|_| USAGE)?;
    let found = fronts.iter().find_map(|front| {
        let is_it = |kind: &Kind| format!("{front}/{}", kind.as_str()) == head;
        Kind::ALL.into_iter().find(is_it).map(|kind| (*front, kind))
    });
    let (front, kind) = found.ok_or_else(|| format!("there is no point `{point}`; {USAGE}"))?;
    let house = House::new(binary, front.engine);
    let found = attempt(&house, front, Order { kind, nth });
    println!("{point}: {found:#?}");
    Ok(found.is_clean())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_visited_once_and_neighbours_are_far_apart() {
        for total in [1, 2, 7, 100, 387] {
            let mut places: Vec<u32> = (0..total).map(|turn| spread(turn, total, 5)).collect();
            if total > 100 {
                assert!(places[0].abs_diff(places[1]) > 50, "{places:?}");
            }
            places.sort_unstable();
            assert_eq!(places, (0..total).collect::<Vec<_>>());
        }
    }
}
