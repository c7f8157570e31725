//! A contract proxy: Prism checks every request and every answer against the provider's OpenAPI document, and the
//! sandbox behind it does the work.
//!
//! Needs the documents (`KEYWRIGHT_DATA`, or `shared/data` beside the workspace) and Prism (`KEYWRIGHT_PRISM`, or
//! `.peers/node_modules/.bin/prism` in the workspace). Without them a test says that it was skipped, but in CI it fails.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running proxy; it ends with the value.
pub(crate) struct Prism {
    port: u16,
    _child: Child,
    _document: NamedTempFile,
}

impl Prism {
    /// Starts it before `upstream`.
    pub(crate) async fn start(program: &Path, document: &Value, upstream: &str) -> Self {
        let mut file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        serde_json::to_writer(&mut file, document).unwrap();
        file.flush().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(program)
            .args(["proxy", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(file.path())
            .arg(upstream)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("is listening") {
                    return;
                }
            }
            panic!("the proxy ended before it listened");
        };
        tokio::time::timeout(Duration::from_secs(90), listening).await.expect("the proxy starts");
        // Its log must keep flowing, or it blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { port, _child: child, _document: file }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Where the program and a document are; `None` (said aloud) when one of them is not there.
pub(crate) fn peers(document: &str) -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let from =
        |name: &str, default: &str| std::env::var_os(name).map_or_else(|| root.join(default), PathBuf::from);
    let program = from("KEYWRIGHT_PRISM", ".peers/node_modules/.bin/prism");
    let document = from("KEYWRIGHT_DATA", "../shared/data").join(document);
    for path in [&program, &document] {
        if !path.exists() {
            assert!(std::env::var_os("CI").is_none(), "`{}` is missing", path.display());
            eprintln!("SKIPPED: `{}` is missing", path.display());
            return None;
        }
    }
    Some((program, document))
}
