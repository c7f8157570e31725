//! What the store writes, read back by the programs that applications use: python-dotenv, npm's dotenv, node's
//! `--env-file` and a shell.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod store_support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_core::store::{Presence, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use store_support::{Project, asked, peers, put};

/// What a reader made of a file; `None` when it gave up.
type Read = Option<BTreeMap<String, Option<String>>>;

const AWKWARD: [&str; 14] = [
    "plain-Value_1.2/3+4=5:6@7%8,9",
    "two words",
    "hash#inside and # spaced",
    "dollar $HOME $(id) $$",
    "`id`",
    "double \"quoted\"",
    "back\\slash \\n \\u0041",
    "two\nlines\n",
    " blanks around ",
    "\ttab\t",
    "ünï→€",
    "=starts and ends=",
    "# looks like a comment",
    "line\nTOKEN=fake\n# end",
];

#[tokio::test]
async fn fourteen_awkward_values_are_read_back_by_all_four_readers() {
    let Some(peers) = peers() else { return };
    let project = Project::new();
    let mut files = Vec::new();
    for (at, value) in AWKWARD.iter().enumerate() {
        let file = project.file(&format!("v{at}.env"));
        fs::write(&file, "# before\nBEFORE='b b'\n").unwrap();
        let place = format!("./v{at}.env#TOKEN");
        project.put(&place, 1, value, Presence::Absent).await.unwrap();
        let mut text = fs::read_to_string(&file).unwrap();
        text.push_str("AFTER=\"a\"\n");
        fs::write(&file, text).unwrap();
        files.push(file);
    }
    for (reader, results) in readings(&peers, &files) {
        for (value, read) in AWKWARD.iter().zip(results) {
            let read = read.unwrap();
            assert_eq!(read["TOKEN"].as_deref(), Some(*value), "{reader}");
            assert_eq!(
                (read["BEFORE"].as_deref(), read["AFTER"].as_deref()),
                (Some("b b"), Some("a")),
                "{reader}"
            );
        }
    }
    for (value, file) in AWKWARD.iter().zip(&files) {
        assert_eq!(env_file(file), *value, "node --env-file");
    }
}

#[tokio::test]
async fn a_value_is_refused_or_read_alike_by_all_four_readers() {
    let Some(peers) = peers() else { return };
    let project = Project::new();
    let piece = prop::sample::select(vec![
        "a", "Z", "7", " ", "\n", "\t", "#", "$", "{", "}", "'", "\"", "`", "\\", "=", ":", "!", "~", "&",
        ";", "|", "(", ")", "*", "?", "<", ">", "ü", "\u{1}", "\u{a0}", "export ", "TOKEN=", "\r", "${a",
        "\\n", "%",
    ]);
    let value = prop::collection::vec(piece, 1..10).prop_map(|pieces| pieces.concat());
    let (mut files, mut values) = (Vec::new(), Vec::new());
    for value in samples(&value, 400) {
        let name = format!("v{}.env", files.len());
        match project.put(&format!("./{name}#TOKEN"), 1, &value, Presence::Absent).await {
            Ok(_) => {
                files.push(project.file(&name));
                values.push(value);
            }
            Err(StoreError::Value { .. }) => {}
            Err(error) => panic!("{value:?}: {error}"),
        }
    }
    assert!(files.len() > 100, "most values were refused");
    for (reader, results) in readings(&peers, &files) {
        for (value, read) in values.iter().zip(results) {
            assert_eq!(read.unwrap()["TOKEN"].as_deref(), Some(value.as_str()), "{reader}");
        }
    }
}

/// The editor's claim, held against the readers themselves: whatever a file looks like, either it is refused, or all
/// readers find the new variable and everything else that they found before.
#[tokio::test]
async fn a_file_is_refused_or_edited_so_that_every_reader_finds_old_and_new() {
    let Some(peers) = peers() else { return };
    let project = Project::new();
    fs::create_dir(project.file("before")).unwrap();
    let (mut before, mut after, mut refused) = (Vec::new(), Vec::new(), 0);
    for text in samples(&awkward_file(), 900) {
        let name = format!("f{}.env", before.len());
        let (old, new) = (project.file("before").join(&name), project.file(&name));
        // The one thing that is added besides: a line end at the end of the file.
        let ended = text.is_empty() || text.ends_with('\n');
        fs::write(&old, if ended { text.clone() } else { format!("{text}\n") }).unwrap();
        fs::write(&new, &text).unwrap();
        match project.put(&format!("./{name}#TOKEN"), 1, "the #value", Presence::Absent).await {
            Ok(_) => {
                before.push(old);
                after.push(new);
            }
            Err(StoreError::Unsafe { .. } | StoreError::Conflict { .. }) => refused += 1,
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
    assert!(before.len() > 150, "only {} files were accepted, {refused} refused", before.len());
    for ((reader, old), (_, new)) in readings(&peers, &before).into_iter().zip(readings(&peers, &after)) {
        for ((old, new), file) in old.into_iter().zip(new).zip(&after) {
            let text = fs::read_to_string(file).unwrap();
            // A file that a reader gave up on before is no worse now.
            let Some(mut old) = old else { continue };
            let mut new = new.unwrap_or_else(|| panic!("{reader} gives up on {text:?}"));
            assert_eq!(new.remove("TOKEN").flatten().as_deref(), Some("the #value"), "{reader}: {text:?}");
            // Node glues a line without `=` to the next one and so makes up names; those are nobody's.
            for read in [&mut old, &mut new] {
                read.retain(|name, _| !name.contains('\n'));
            }
            assert_eq!(new, old, "{reader}: {text:?}");
        }
    }
}

#[tokio::test]
async fn a_newer_value_is_the_one_that_is_read() {
    let Some(peers) = peers() else { return };
    let project = Project::new();
    fs::write(project.file(".env"), "A=1\r\nset -a\n").unwrap();
    project.put("./.env#TOKEN", 1, "old one", Presence::Absent).await.unwrap();
    project.put("./.env#OTHER", 3, "other", Presence::Absent).await.unwrap();
    project.put("./.env#TOKEN", 2, "new", store_support::ours(1)).await.unwrap();
    for (reader, results) in readings(&peers, &[project.file(".env")]) {
        let read = results[0].clone().unwrap();
        assert_eq!(
            (read["TOKEN"].as_deref(), read["OTHER"].as_deref()),
            (Some("new"), Some("other")),
            "{reader}"
        );
    }
}

#[tokio::test]
async fn what_no_style_can_carry_is_refused_and_nothing_is_written() {
    let project = Project::new();
    for value in ["", "it's", "a${b}", "end\\", "a\\\\b", "a\rb", "a\0b", "a\u{2028}b", &"x".repeat(70_000)] {
        let error = put(project.store.as_ref(), &project.destination(".env#T"), 1, value, Presence::Absent)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Value { .. }), "{error}");
        assert!(value.is_empty() || !error.to_string().contains(value), "{error}");
    }
    assert!(!project.file(".env").exists());
    assert!(asked("./.env#T").base.is_none());
}

fn samples<T: std::fmt::Debug>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn awkward_file() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "A=1",
        "B='x y'",
        "export C=\"z\"",
        "# it's",
        "",
        " ",
        "D='two\nlines'",
        "E",
        "F: 2",
        "F:",
        "set -a",
        "G=a#b",
        "H=\"q\" # c",
        "\tI = j",
        "nonsense 'q' x",
        "export",
        "K=$(id)",
        "L=`id`",
        "M=\\x",
        "=",
        "# A='",
        "N=",
        "O= ",
        "'",
        "\"",
        "P='",
        "Q=x'",
        "R=1 S=2",
        "T=\"a\\\"b\"",
        "U='a\\'",
        "V='x' y",
        "# b=\"",
        "W=\"two\n# it's\"",
        "X=#it's",
        "Y: 'a",
        "Z='a'#b",
        "AA=\"a\nb\" c",
        "BB=a\\",
        "CC=`a",
        "DD=(a",
        "é=1",
        "\u{feff}EE=1",
        "FF =1",
        "GG= 'x\ny'",
        " # b=\"",
        "export  HH='",
        "\u{a0}II=1",
        "JJ=' # '",
        "KK=\"#\"",
        "LL='a''b'",
        "MM=\"${A}\"",
        "NN='${A}'",
    ]);
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", "\n\n", " \n"]);
    let last = prop::sample::select(vec!["", "\n", "\r\n"]);
    (prop::collection::vec((line, end), 0..5), line_alone(), last).prop_map(|(lines, alone, last)| {
        let mut text: String = lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect();
        text.push_str(&alone);
        text.push_str(last);
        text
    })
}

/// A line out of single characters, for what nobody thought of.
fn line_alone() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[A-B='\"`\\\\ #:$(){}n\t]{0,8}"]
}

/// What the readers make of each file.
fn readings(peers: &Path, files: &[PathBuf]) -> Vec<(&'static str, Vec<Read>)> {
    let python = "import sys,json,dotenv,logging\nlogging.disable()\n\
                  print(json.dumps([dotenv.dotenv_values(f) for f in sys.argv[1:]]))";
    let npm = "const d=require(process.argv[1]+'/node_modules/dotenv'),fs=require('fs');\
               console.log(JSON.stringify(process.argv.slice(2).map(f=>d.parse(fs.readFileSync(f)))))";
    let node = "const {parseEnv}=require('util'),fs=require('fs');\
                console.log(JSON.stringify(process.argv.slice(1).map(f=>parseEnv(fs.readFileSync(f,'utf8')))))";
    vec![
        ("python-dotenv", json(Command::new(peers.join("venv/bin/python")).args(["-c", python]).args(files))),
        ("dotenv", json(Command::new("node").args(["-e", npm]).arg(peers).args(files))),
        ("node", json(Command::new("node").args(["-e", node]).args(files))),
        ("sh", files.iter().map(|file| shell(file)).collect()),
    ]
}

fn json(command: &mut Command) -> Vec<Read> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Sources a file in a shell without programs and asks for what it set.
fn shell(file: &Path) -> Read {
    let names =
        ["TOKEN", "BEFORE", "AFTER", "OTHER", "A", "B", "C", "D", "G", "H", "M", "W", "JJ", "KK", "LL"];
    let wanted: String =
        names.iter().map(|name| format!("printf '%s\\0' \"${{{name}+x}}${name}\"; ")).collect();
    let script = format!(". \"$1\" >/dev/null 2>&1; printf 'read\\0'; {wanted}");
    let output = Command::new("/bin/sh")
        .args(["-c", &script, "sh"])
        .arg(file)
        .env_clear()
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut fields = text.strip_prefix("read\0")?.split_terminator('\0');
    let set = names.iter().filter_map(|name| {
        let value = fields.next()?.strip_prefix('x')?;
        Some(((*name).to_owned(), Some(value.to_owned())))
    });
    Some(set.collect())
}

fn env_file(file: &Path) -> String {
    let script = "process.stdout.write(process.env.TOKEN)";
    let output = Command::new("node")
        .arg(format!("--env-file={}", file.display()))
        .args(["-e", script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
