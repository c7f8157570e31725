//! How a process dies, and what is started after it.

use std::io::BufRead as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::house::{House, wait_for};
use crate::support::{Ran, Serving};

/// What `abort` ends a process with.
const SIGABRT: i32 = 6;

/// Which process does the deed, and therefore dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A command that opened the home itself.
    Command,
    /// A broker; the command only asks it.
    Broker,
}

/// What was started after a death. A broker is there until this is dropped, and then it is killed.
pub(crate) struct Recovered {
    _broker: Option<Serving>,
}

/// Runs a deed in a process that dies at `point`, and makes sure that it died there.
pub(crate) fn die(house: &House, way: Way, point: &str, pass: &str, args: &[&str]) {
    match way {
        Way::Command => {
            let output = house.command(pass, args).env("KEYWRIGHT_CRASH_AT", point).output().unwrap();
            house.hear(&output);
            assert_aborted(point, output.status, &String::from_utf8_lossy(&output.stderr));
        }
        Way::Broker => {
            let broker = DyingBroker::start(house, point);
            let asked = house.run(pass, args);
            broker.assert_dies();
            assert_told(point, &asked);
        }
    }
}

/// The same for a rotation, which a command follows to its end.
pub(crate) fn die_rotating(house: &House, way: Way, point: &str, name: &str) {
    match way {
        Way::Command => {
            let mut rotate = house.talking("pass", &["key", "rotate", name]);
            let output = rotate.env("KEYWRIGHT_CRASH_AT", point).output().unwrap();
            house.hear(&output);
            assert_aborted(point, output.status, &String::from_utf8_lossy(&output.stderr));
        }
        Way::Broker => {
            let broker = DyingBroker::start(house, point);
            let asked = house.run("pass", &["key", "rotate", name]);
            broker.assert_dies();
            assert!([0, 75].contains(&asked.code), "{point}: {} {}{}", asked.code, asked.out, asked.err);
        }
    }
}

/// Starts once more what died, until nothing of a rotation is left to be done.
pub(crate) fn recover_rotation(house: &House, way: Way, name: &str) -> Recovered {
    let recovered = start_again(house, way);
    wait_for(&format!("the rotation of {name} is over"), || {
        house.world.ok(&["reconcile"]);
        house.read(|tx| Ok(tx.sagas_open()? == 0 && tx.revocations_owed()?.is_empty()))
    });
    recovered
}

/// Whoever asked a broker that died has to hear that it is gone, or how the deed ended; never that it went well when
/// nobody knows.
fn assert_told(point: &str, asked: &Ran) {
    match asked.code {
        75 => assert_eq!(asked.json()["code"], "try_again", "{point}: {}", asked.out),
        // Between the commit and the death there is time for an answer.
        0 => assert_eq!((point, &asked.json()["status"]), ("mint.active", &"active".into())),
        _ => panic!("{point}: {} {}{}", asked.code, asked.out, asked.err),
    }
}

/// A broker that dies at a failpoint.
pub(crate) struct DyingBroker {
    broker: Serving,
    point: String,
}

impl DyingBroker {
    pub(crate) fn start(house: &House, point: &str) -> Self {
        Self { broker: serve(house, Some(point)), point: point.to_owned() }
    }

    /// Waits for its death, which must be an abort.
    pub(crate) fn assert_dies(mut self) {
        let mut ended = None;
        wait_for(&format!("the broker dies at {}", self.point), || {
            ended = self.broker.0.try_wait().unwrap();
            ended.is_some()
        });
        assert_aborted(&self.point, ended.unwrap(), "(see above)");
    }
}

/// Starts once more what died: a broker, until what it found of the key `name` is settled, or the next command. Then a
/// reconcile, which looks for everything that carries a marker.
pub(crate) fn recover(house: &House, way: Way, name: &str) -> Recovered {
    let recovered = start_again(house, way);
    if way == Way::Broker {
        house.wait_until_settled(name);
    }
    // A debt that the broker itself is paying just now is still owed.
    wait_for("a reconcile finds all paid", || {
        let ran = house.run("pass", &["reconcile"]);
        assert!([0, 75].contains(&ran.code), "{} {}{}", ran.code, ran.out, ran.err);
        ran.code == 0
    });
    recovered
}

/// Starts a broker once more, if it is one that died.
pub(crate) fn start_again(house: &House, way: Way) -> Recovered {
    Recovered { _broker: (way == Way::Broker).then(|| serve(house, None)) }
}

/// Starts a broker that dies at `point` of what it takes up by itself, maybe before it says that it is ready.
pub(crate) fn start_and_die(house: &House, point: &str) {
    let broker = Serving(serve_command(house, Some(point)).stdout(Stdio::null()).spawn().unwrap());
    DyingBroker { broker, point: point.to_owned() }.assert_dies();
}

fn serve_command(house: &House, point: Option<&str>) -> Command {
    let mut command = house.command("pass", &["serve"]);
    if let Some(point) = point {
        command.env("KEYWRIGHT_CRASH_AT", point);
    }
    command.stderr(house.log());
    command
}

fn serve(house: &House, point: Option<&str>) -> Serving {
    let mut child = serve_command(house, point).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let broker = Serving(child);
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["serving"], true, "{ready}");
    broker
}

fn assert_aborted(point: &str, status: ExitStatus, said: &str) {
    assert_eq!(status.signal(), Some(SIGABRT), "{point} was not reached: {status}, {said}");
}
