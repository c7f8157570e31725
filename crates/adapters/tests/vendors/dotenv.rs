//! The store `dotenv`, with a shell as the other reader.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use tokio::process::Command;

use crate::support::contract::{Limits, StoreCase, keeps_the_contract_of_a_local_store};
use crate::support::opened::{open, run};

#[tokio::test]
async fn dotenv_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().to_str().unwrap().to_owned();
    let case = StoreCase {
        network: None,
        store: open("dotenv", None, &[("root", &root)], None).unwrap(),
        place: format!("{root}/.env#TOKEN_{{}}"),
        limits: Limits::of(&format!("{root}/.env#"), 'A', 128, ""),
        read: Box::new(|place| {
            Box::pin(async move {
                let (file, name) = place.split_once('#').unwrap();
                let script = "unset \"$2\"; set -a; test -f \"$1\" && . \"$1\" && exec printenv \"$2\"";
                let said = run(Command::new("sh").args(["-c", script, "sh", file, name]), "").await;
                said.map(|said| said.strip_suffix('\n').unwrap().to_owned())
            })
        }),
        put_foreign: Box::new(|place, value| {
            Box::pin(async move {
                let (file, name) = place.split_once('#').unwrap();
                let mut options = std::fs::OpenOptions::new();
                let mut file = options.append(true).create(true).mode(0o600).open(file).unwrap();
                writeln!(file, "{name}={value}").unwrap();
            })
        }),
        secrets: Vec::new(),
        peer: Box::new(dir),
    };
    keeps_the_contract_of_a_local_store(&case).await;
}
