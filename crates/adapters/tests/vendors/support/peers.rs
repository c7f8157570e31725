//! Other people's programs and documents; a test that lacks one says that it was skipped, but in CI it fails.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A program below `.peers/` (`node_modules/.bin/prism`, `venv/bin/moto_server`), installed by `scripts/peers`.
pub fn peer(path: &str) -> Option<PathBuf> {
    present(root().join(".peers").join(path))
}

/// Programs of the distribution, found on `PATH`; `scripts/peers` installs their Debian packages where it may.
pub fn programs(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing: Vec<&str> = names.iter().filter(|name| !is_there(name)).copied().collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "missing: {}; run `scripts/peers`", missing.join(", "));
    eprintln!("SKIPPED: missing: {}; run `scripts/peers`", missing.join(", "));
    false
}

/// A vendor's document, in `KEYWRIGHT_DATA` or `shared/data` beside the workspace. Not ours to ship, so that it may be
/// absent even in CI.
pub fn data(name: &str) -> Option<PathBuf> {
    let base =
        std::env::var_os("KEYWRIGHT_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    // An absolute name stays what it is.
    let path = base.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: `{name}` is missing");
    None
}

fn present(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "`{}` is missing; run `scripts/peers`", path.display());
    eprintln!("SKIPPED: `{}` is missing; run `scripts/peers`", path.display());
    None
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server of somebody else's; it ends with the value.
pub struct Peer {
    pub url: String,
    _child: Child,
    _file: Option<NamedTempFile>,
}

impl Peer {
    /// Prism before `upstream`: each request and each answer is checked against the document. Without an upstream it
    /// answers with the document's examples.
    pub async fn prism(document: &Value, upstream: Option<&str>) -> Option<Self> {
        let mut file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        serde_json::to_writer(&mut file, document).unwrap();
        file.flush().unwrap();
        let path = file.path().to_owned();
        Some(Self { _file: Some(file), ..Self::prism_on(&path, upstream).await? })
    }

    /// As [`Peer::prism`], on a document as it lies there: JSON or YAML.
    pub async fn prism_on(document: &Path, upstream: Option<&str>) -> Option<Self> {
        let program = peer("node_modules/.bin/prism")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.arg(if upstream.is_some() { "proxy" } else { "mock" });
        command.args(["--errors", "--host", "127.0.0.1", "--port", &port.to_string()]).arg(document);
        command.args(upstream);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("is listening") {
                    return;
                }
            }
            panic!("Prism ended before it listened");
        };
        tokio::time::timeout(Duration::from_secs(90), listening).await.expect("Prism starts");
        // Its log must keep flowing, or it blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { url: format!("http://127.0.0.1:{port}"), _child: child, _file: None })
    }

    /// moto's server: AWS with state.
    pub async fn moto() -> Option<Self> {
        let program = peer("venv/bin/moto_server")?;
        let port = free_port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(Self { url: format!("http://127.0.0.1:{port}"), _child: child, _file: None });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("moto did not start");
    }
}
