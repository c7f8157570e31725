//! `keywright serve`

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::{Broker, Code, told};
use keywright_server::answer::Failure;
use keywright_server::http::{self, Door};
use keywright_server::socket;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::app::App;
use crate::errors::{self, Exit};
use crate::input;
use crate::output::{Done, Output, print_json, say};
use crate::show::field;

/// Run the broker of this home until it is told to stop.
///
/// It is ready when HOME/broker.sock accepts. Agents, workloads and other commands reach it there. The passphrase may also
/// come from a service manager, as the credential `keywright-passphrase`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Serve the review pages there as well, at http://localhost:PORT.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: Option<SocketAddr>,
    /// How browsers name the pages, where a proxy with TLS stands before them, as in `https://keys.example.com`.
    #[arg(long, value_name = "ORIGIN", requires = "listen")]
    public_url: Option<String>,
    /// Go to the background once it is ready; what it says goes to HOME/broker.log.
    #[arg(long)]
    detach: bool,
    /// Set by --detach for the process in the background.
    #[arg(long, hide = true, conflicts_with = "detach")]
    detached: bool,
}

/// How long conversations that are under way may take to end.
const GRACE: Duration = Duration::from_millis(200);
/// How long all of the ending may take. A ledger's server that does not answer is waited for much longer elsewhere.
const LIMIT: Duration = Duration::from_secs(15);

pub(crate) async fn run(app: &App, args: Args) -> Done {
    app.require_home()?;
    app.socket.refuse_unreachable()?;
    if app.is_serving().await? {
        return Err(errors::has_broker(app.home.root()));
    }
    if let Some(path) = handed_over(app) {
        app.with_passphrase(input::secret_file(&app.stdin, &path, "the passphrase")?);
    }
    if args.detach {
        return detach(app, &args).await;
    }
    if args.detached {
        // The terminal that started it may close; this process is no child of it any more.
        let _ = rustix::process::setsid();
    }
    serve(app, &args).await
}

/// The pages, listening, where they are wanted.
async fn pages(broker: &Arc<Broker>, args: &Args) -> Result<Option<(Vec<TcpListener>, Arc<Door>)>, Failure> {
    let Some(address) = args.listen else { return Ok(None) };
    let listeners = http::listen(address, args.public_url.is_some()).await?;
    let bound = listeners.first().and_then(|listener| listener.local_addr().ok());
    let port = bound.map_or(address.port(), |address| address.port());
    let origin = args.public_url.clone().unwrap_or_else(|| format!("http://localhost:{port}"));
    let door = Door::new(Arc::clone(broker), &origin)?;
    broker.set_door(door.origin());
    Ok(Some((listeners, door)))
}

async fn serve(app: &App, args: &Args) -> Done {
    let (told_to_end, mut signalled) = watch::channel(0_u32);
    tokio::spawn(count(Signals::listen()?, told_to_end, app.json));
    let broker = app.enter().await?.ok_or_else(|| errors::has_broker(app.home.root()))?;
    let broker = Arc::clone(broker);
    let path = app.socket.path();
    let pages = pages(&broker, args).await?;
    let listener = socket::listen(&path)?;
    let (stop, mut stopped) = watch::channel(false);
    let mut schedule = tokio::spawn(Arc::clone(&broker).run_schedule(stop.subscribe()));
    let origin = pages.as_ref().map(|(_, door)| door.origin().to_owned());
    let pages = pages.map(|(listeners, door)| tokio::spawn(http::serve(listeners, door, stop.subscribe())));
    let socket = tokio::spawn(socket::serve(listener, Arc::clone(&broker), stop.clone()));
    let doors = async move {
        let pages = match pages {
            Some(pages) => pages.await,
            None => Ok(()),
        };
        socket.await.and(pages)
    };
    ready(app, origin.as_deref());
    tokio::select! {
        _ = signalled.wait_for(|signals| *signals > 0) => {}
        () = told(&mut stopped) => end_in_time(app.json),
        // Nothing would be rotated, revoked or published any more, and nobody would notice.
        _ = &mut schedule => {
            let _ = std::fs::remove_file(&path);
            return Err(Failure::new(Code::Internal, "the broker's schedule ended by itself; what it said is above")
                .hint("start it again; nothing is lost by that"));
        }
    }
    // The doors close first, so that whoever waits for the socket to go away does not meet a broker that is ending.
    let _ = std::fs::remove_file(&path);
    let _ = stop.send(true);
    tokio::select! {
        _ = signalled.wait_for(|signals| *signals > 1) => return Ok(Output::silent(Exit::Done)),
        ended = async { tokio::join!(schedule, doors) } => {
            if ended.0.is_err() || ended.1.is_err() {
                return Err(Failure::new(Code::Internal, "the broker did not end as it should"));
            }
        }
    }
    // The answer to `stop` is on its way.
    tokio::time::sleep(GRACE).await;
    if !app.json {
        say("the broker has stopped");
    }
    Ok(Output::silent(Exit::Done))
}

/// Counts signals. The first one may come while the broker is still starting, on a thread that waits for the ledger's server.
async fn count(mut signals: Signals, told_to_end: watch::Sender<u32>, json: bool) {
    loop {
        signals.next().await;
        told_to_end.send_modify(|signals| *signals += 1);
        if *told_to_end.borrow() == 1 {
            end_in_time(json);
        }
    }
}

/// Ends this process when it has not come to its end by then: it may be waiting for a server, a provider or a disk that does not
/// answer, in places where nothing can be called off. The ledger is as safe as after a crash.
fn end_in_time(json: bool) {
    let end = move || {
        std::thread::sleep(LIMIT);
        let message = format!(
            "the broker was told to stop, and what it was at did not end within {} s: the ledger's server or a disk does not \
             answer. It ends as it is",
            LIMIT.as_secs()
        );
        let failure = Failure::new(Code::TryAgain, message)
            .hint("nothing is lost by it: what was under way is on record, and goes on when the broker starts again");
        std::process::exit(errors::report(&failure, json).code().into())
    };
    if let Err(error) = std::thread::Builder::new().name("ending".to_owned()).spawn(end) {
        tracing::warn!(%error, "a stop has no limit");
    }
}

/// Says that the socket accepts.
fn ready(app: &App, pages: Option<&str>) {
    let (home, socket) = (app.home.root().display().to_string(), app.home.socket().display().to_string());
    if app.json {
        let pid = std::process::id();
        let printed = print_json(&json!({
            "schema": "keywright/serve/1", "serving": true, "home": home, "socket": socket, "pid": pid,
            "pages": pages,
        }));
        // It serves all the same; whoever waits for this line learns why it does not come.
        if let Err(failure) = printed {
            errors::tell(&failure);
        }
    } else {
        say(&format!("serving {home} at {socket}; Ctrl-C or `keywright stop` ends it"));
        if let Some(origin) = pages {
            say(&format!("the review pages are at {origin}"));
        }
    }
}

/// Starts the same program in the background and waits until it says that it is ready. The passphrase goes through a
/// pipe: no argument, no variable, no file ever holds it.
async fn detach(app: &App, args: &Args) -> Done {
    let passphrase = app.passphrase()?.into_secret();
    let log_path = app.home.root().join("broker.log");
    let log = std::fs::File::options().create(true).append(true).mode(0o600).open(&log_path);
    let log = log.map_err(|error| errors::file(&log_path, &error))?;
    let own = std::env::current_exe().map_err(|error| errors::file(&PathBuf::from("keywright"), &error))?;
    let started = Command::new(&own)
        .args(["serve", "--detached", "--json", "--no-input", "--passphrase-file", "-"])
        .args(args.listen.iter().flat_map(|address| ["--listen".to_owned(), address.to_string()]))
        .args(args.public_url.iter().flat_map(|url| ["--public-url", url.as_str()]))
        .env("KEYWRIGHT_HOME", app.home.root())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn();
    let mut child = started.map_err(|error| errors::file(&own, &error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that is gone already says why on its standard output.
        let _ = stdin.write_all(passphrase.expose_secret().as_bytes());
        let _ = stdin.write_all(b"\n");
    }
    drop(passphrase);
    let said = child.stdout.take();
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        said.map(|said| BufReader::new(said).read_line(&mut line));
        line
    });
    let line = line.await.unwrap_or_default();
    let answer: Value = serde_json::from_str(&line).unwrap_or_default();
    if field(&answer, "schema") == "keywright/serve/1" {
        let text = format!("the broker serves {} in the background", app.home.root().display());
        let pages = field(&answer, "pages");
        let output = Output::new(answer, text).talk(format!("it writes to {}", log_path.display()));
        return Ok(match pages.as_str() {
            "" => output,
            origin => output.talk(format!("the review pages are at {origin}")),
        });
    }
    // It is gone, or about to be.
    let _ = child.wait();
    Err(serde_json::from_value(answer).unwrap_or_else(|_| {
        Failure::new(Code::Internal, "the broker did not start")
            .hint(format!("look into {}", log_path.display()))
    }))
}

/// The passphrase's file as a service manager hands it over, unless one was named.
fn handed_over(app: &App) -> Option<PathBuf> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| !app.names_passphrase())?;
    let path = PathBuf::from(folder).join("keywright-passphrase");
    path.exists().then_some(path)
}

/// The signals that end a program that serves.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Code::Internal, format!("signals can't be caught: {}", errors::plain(&error)))
            })
        };
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hang_up: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// Waits for the first one.
    pub(crate) async fn wait(mut self) {
        self.next().await;
    }
}
