//! The small program of the demo: reads its key from the environment, makes one call to the sandbox on loopback, and
//! prints the status code. It stands for any program that people write; it knows nothing of Keywright.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use keywright_broker::Code;
use keywright_server::answer::Failure;

use crate::errors::{self, Exit};
use crate::output::print_line;

/// The word that the demo starts it by. It is no command: no help, no completion and no message knows it.
pub(crate) const WORD: &str = "demo-program";

/// What it is told.
struct Call {
    method: String,
    path: String,
    body: String,
    base_url: String,
}

/// Runs it if that is what this process was started for.
pub(crate) fn run_if_asked() -> Option<Exit> {
    let mut words = std::env::args_os().skip(1).map_while(|word| word.into_string().ok());
    if words.next().as_deref() != Some(WORD) {
        return None;
    }
    let (method, path, body, base_url) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let called = call(&Call { method, path, body, base_url });
    let printed =
        called.map_err(|error| Failure::new(Code::Internal, error)).and_then(|status| print_line(&status));
    Some(printed.map_or_else(|failure| errors::tell(&failure), |()| Exit::Done))
}

fn call(args: &Call) -> Result<String, String> {
    let key = std::env::var("CF_TOKEN").map_err(|_| "CF_TOKEN is not in the environment")?;
    let rest = args.base_url.strip_prefix("http://").ok_or("the sandbox speaks http")?;
    let (authority, base) = rest.split_once('/').ok_or("the base URL has no path")?;
    let address: SocketAddr = authority.parse().map_err(|_| "the sandbox is not at an address")?;
    if !address.ip().is_loopback() {
        return Err("the demo's program calls loopback only".to_owned());
    }
    let broke = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(broke)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(broke)?;
    let Call { method, path, body, .. } = args;
    write!(
        stream,
        "{method} /{base}{path} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .map_err(broke)?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).map_err(broke)?;
    let status = answer.split(' ').nth(1).ok_or("the sandbox gave no status")?;
    Ok(status.to_owned())
}
