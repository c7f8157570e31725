//! The local socket: one line of JSON a call, one line an answer.
//!
//! The socket's file has mode 0600, and the kernel says who is at the other end (`SO_PEERCRED`): another user is
//! refused before anything is read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use keywright_broker::auth::Terminal;
use keywright_broker::holds::began;
use keywright_broker::{Broker, Code, told};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::codec::{Framed, LinesCodec};

use crate::answer::{Answer, Failure};
use crate::call::Call;
use crate::dispatch::{Peer, dispatch};
use crate::idle::{Idle, Turn};

/// The longest line, in bytes.
const LONGEST: usize = 1024 * 1024;
/// How many connections at a time. Beyond it, the one that has been silent for longest makes room.
const CONNECTIONS: usize = 256;
/// How long a connection may be silent, or take for one line. Each call has a connection of its own, so this is short.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a call may take that asks nobody outside.
const QUICK: Duration = Duration::from_secs(15);
/// How long the slowest call may take.
const SLOWEST: Duration = Duration::from_secs(180);

/// Listens until told to stop. Ready as soon as this returns: the socket accepts.
///
/// # Errors
/// When the socket can't be made.
pub fn listen(path: &Path) -> Result<UnixListener, Failure> {
    let io = |e: std::io::Error| Failure::new(Code::Internal, format!("{}: {e}", path.display()));
    match std::fs::remove_file(path) {
        // The home's lock is held, so a socket that lies here belongs to a broker that is gone.
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

/// Serves calls until told to stop.
pub async fn serve(listener: UnixListener, broker: Arc<Broker>, stop: watch::Sender<bool>) {
    broker.listens();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let idle = Arc::new(Idle::default());
    let mut stopped = stop.subscribe();
    loop {
        let accepted = tokio::select! {
            () = told(&mut stopped) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely; the next one may fit again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) if idle.oldest_goes() => match Arc::clone(&places).acquire_owned().await {
                Ok(place) => place,
                Err(_) => return,
            },
            // Everybody is being served.
            Err(_) => continue,
        };
        let (broker, stop, idle, turn) = (Arc::clone(&broker), stop.clone(), Arc::clone(&idle), idle.enter());
        tokio::spawn(async move {
            converse(stream, &broker, &stop, &idle, turn).await;
            drop(place);
        });
    }
}

async fn converse(
    stream: UnixStream,
    broker: &Arc<Broker>,
    stop: &watch::Sender<bool>,
    idle: &Arc<Idle>,
    mut turn: Turn,
) {
    let Some(peer) = peer_of(&stream) else { return };
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(LONGEST));
    loop {
        let coming = async { tokio::time::timeout(SILENCE, lines.next()).await.ok().flatten() };
        let Some(line) = turn.wait(coming).await else { return };
        let answer = match line {
            Ok(line) => {
                let line = zeroize::Zeroizing::new(line);
                // It may have been lying here while this process was suspended, and whoever said it have given up.
                if has_gone(lines.get_ref()) {
                    return;
                }
                answer(&line, broker, &peer, stop).await
            }
            Err(_) => Answer::Error(Failure::new(Code::InvalidArgument, "the call is too long or not text")),
        };
        let Ok(text) = serde_json::to_string(&answer) else { return };
        if lines.send(text).await.is_err() {
            return;
        }
        turn = idle.enter();
    }
}

/// Whether nobody is at the other end any more.
fn has_gone(stream: &UnixStream) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let mut ends = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let told = poll(&mut ends, PollTimeout::ZERO).is_ok();
    told && ends.iter().any(|end| end.revents().is_some_and(|flags| flags.contains(PollFlags::POLLHUP)))
}

async fn answer(line: &str, broker: &Arc<Broker>, peer: &Peer, stop: &watch::Sender<bool>) -> Answer {
    let call: Call = match serde_json::from_str(line) {
        Ok(call) => call,
        // The parser's own message may quote what was sent.
        Err(error) => {
            let at = format!("the call is not understood (at column {})", error.column());
            return Answer::Error(
                Failure::new(Code::InvalidArgument, at).hint("are both programs of one version?"),
            );
        }
    };
    match tokio::time::timeout(SLOWEST, dispatch(broker, peer, call, Some(stop))).await {
        Ok(Ok(value)) => Answer::Ok(value),
        Ok(Err(failure)) => Answer::Error(failure),
        Err(_) => Answer::Error(
            Failure::new(Code::TryAgain, "it takes longer than it should; it goes on in the background")
                .hint("look at it with `keywright key list` and `keywright review`"),
        ),
    }
}

/// Who is at the other end. Another user than the broker's own (or root) is nobody.
fn peer_of(stream: &UnixStream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let own = rustix::process::geteuid().as_raw();
    if credentials.uid() != own && credentials.uid() != 0 {
        return None;
    }
    // A process of another namespace has no number here.
    let pid = credentials.pid().filter(|pid| *pid > 0);
    let terminal =
        pid.and_then(session_of).map(|(session, began)| Terminal { uid: credentials.uid(), session, began });
    Some(Peer { uid: credentials.uid(), pid, terminal })
}

/// The terminal session of a process. `None` when its leader is outside of this process namespace: such processes
/// can't be told apart by their sessions, so none of them gets an operator's. Nor does a session whose leader has ended.
fn session_of(pid: i32) -> Option<(u32, u64)> {
    let leader = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).ok()?;
    let session = u32::try_from(leader.as_raw()).ok().filter(|leader| *leader > 0)?;
    Some((session, began(session.into())?))
}

/// One call over the socket, from the other side.
///
/// # Errors
/// When no broker listens, the line breaks, or the call failed.
pub async fn call(path: &Path, call: &Call) -> Result<Value, Failure> {
    let stream = UnixStream::connect(path).await.map_err(|error| no_broker(path, &error))?;
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(16 * LONGEST));
    let broken = |why: &str| Failure::new(Code::TryAgain, format!("the broker did not answer ({why})"));
    let text = serde_json::to_string(call).map_err(|_| broken("the call can't be written"))?;
    lines.send(text).await.map_err(|_| broken("the line broke"))?;
    // What asks nobody outside is answered at once; a broker that is stopped or hangs is worth knowing of.
    let patience = match call {
        Call::Anybody | Call::Stop => QUICK,
        _ => SLOWEST + Duration::from_secs(5),
    };
    let late = || {
        broken(&format!("nothing came within {} s", patience.as_secs())).hint(
            "it is suspended, or hangs: `kill -CONT` has it go on, `kill` ends it, and nothing is lost by either",
        )
    };
    let line = tokio::time::timeout(patience, lines.next()).await.map_err(|_| late())?;
    let line = line.ok_or_else(|| broken("it went away"))?;
    let line = line.map_err(|_| broken("the answer is too long"))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Ok(value)) => Ok(value),
        Ok(Answer::Error(failure)) => Err(failure),
        Err(_) => Err(broken("the answer is not understood")),
    }
}

/// Whether a broker listens there.
pub async fn is_there(path: &Path) -> bool {
    UnixStream::connect(path).await.is_ok()
}

fn no_broker(path: &Path, error: &std::io::Error) -> Failure {
    let home = path.parent().unwrap_or(path).display();
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            Failure::new(Code::TryAgain, format!("no broker runs on {home}"))
                .hint("start it: `keywright serve`")
        }
        std::io::ErrorKind::PermissionDenied => {
            Failure::new(Code::Forbidden, format!("the broker on {home} belongs to another user"))
        }
        _ => Failure::new(Code::TryAgain, format!("the broker on {home} can't be reached: {error}")),
    }
}
