//! The small program of the demo: reads its key from the environment, makes one call to the sandbox on loopback, and
//! prints the status code. It stands for any program that people write; it knows nothing of Keywright.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use keywright_broker::Code;
use keywright_server::answer::Failure;

use crate::output::{Done, Output};

/// The demo's program: one call to the sandbox with the key from the environment.
#[derive(clap::Args)]
pub(crate) struct Args {
    method: String,
    path: String,
    body: String,
    base_url: String,
}

pub(crate) fn run(args: &Args) -> Done {
    let status = call(args).map_err(|error| Failure::new(Code::Internal, error))?;
    Ok(Output::new(serde_json::Value::String(status.clone()), status))
}

fn call(args: &Args) -> Result<String, String> {
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
    let Args { method, path, body, .. } = args;
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
