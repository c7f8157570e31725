//! A program that is run: directly, as the broker's own user, with the news in its environment and nothing else there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use keywright_core::consumer::News;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;

use super::{Consumer, NotTold, Told, message};
use crate::child::{Beyond, Program};

/// The longest reason why it could not be run, in characters.
const LINE: usize = 300;
/// The longest last line, in characters: all of it. Whoever keeps it takes out what is secret first, and cuts it then.
const WHOLE: usize = 1 << 20;
/// The most arguments, and the most bytes of them.
const MOST_WORDS: usize = 64;
const MOST_BYTES: usize = 8 << 10;

pub(super) struct Command {
    program: String,
    arguments: Vec<String>,
    folder: PathBuf,
    patience: Duration,
}

impl Command {
    pub(super) fn new(words: &[String], folder: PathBuf, patience: Span) -> Result<Self, String> {
        let Some((program, arguments)) = words.split_first() else {
            return Err("the command is missing".to_owned());
        };
        // Nothing that is searched for along a PATH: whoever may write there would decide what runs.
        if !Path::new(program).is_absolute() {
            return Err("name the program by its whole path, as in `/usr/bin/systemctl`".to_owned());
        }
        let bytes: usize = words.iter().map(String::len).sum();
        if words.len() > MOST_WORDS || bytes > MOST_BYTES || words.iter().any(|word| word.contains('\0')) {
            return Err(format!("a command has {MOST_WORDS} words and {MOST_BYTES} bytes at most"));
        }
        Ok(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            folder,
            patience: Duration::from_secs(patience.seconds()),
        })
    }
}

#[async_trait]
impl Consumer for Command {
    async fn tell(&self, news: &News) -> Result<Told, NotTold> {
        let program = Program {
            patience: self.patience,
            folder: Some(self.folder.clone()),
            beyond: Beyond::Lost,
            ..Program::asked(&self.program, message::variables(news))
        };
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let not_told = |why: String, said| NotTold { why, said };
        let found = tokio::fs::metadata(&self.program).await;
        if found.is_ok_and(|found| found.permissions().mode() & 0o002 != 0) {
            let why = format!("`{}` is not run: anybody on this machine may change it", self.program);
            return Err(not_told(why, Untrusted::capped("", 0)));
        }
        let ended = program
            .run(&arguments, b"")
            .await
            .map_err(|why| not_told(Untrusted::capped(&why, LINE).to_string(), Untrusted::capped("", 0)))?;
        let said = last_line(&ended.complaint).or_else(|| last_line(&ended.answer)).unwrap_or_default();
        let said = Untrusted::capped(&said, WHOLE);
        if ended.is_good {
            Ok(Told(said))
        } else {
            Err(not_told(format!("it ended with {}", ended.how), said))
        }
    }
}

/// The last line that is not empty.
fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;

    fn shell(script: &str, seconds: u64) -> Command {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        Command::new(&words, std::env::temp_dir(), Span::from_seconds(seconds)).unwrap()
    }

    #[tokio::test]
    async fn it_sees_the_news_and_no_more_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seen");
        let script = format!("env > {}; pwd; echo done >&2", file.display());
        let told = shell(&script, 30).tell(&news()).await.unwrap();
        assert_eq!(told.0.raw(), "done");
        let seen = std::fs::read_to_string(file).unwrap();
        let names: Vec<&str> = seen.lines().filter_map(|line| line.split('=').next()).collect();
        let own =
            |name: &&str| name.starts_with("KEYWRIGHT_") || ["PWD", "SHLVL", "_", "OLDPWD"].contains(name);
        assert!(names.iter().all(own), "{seen}");
        for line in ["KEYWRIGHT_EVENT=key.rotated", "KEYWRIGHT_NAME=CF_TOKEN", "KEYWRIGHT_PROJECT=web"] {
            assert!(seen.contains(line), "{seen}");
        }
    }

    #[tokio::test]
    async fn how_it_ended_and_its_last_line_are_known_however_much_it_says() {
        let much =
            "i=0; while [ $i -lt 3000 ]; do echo a line of what it says number $i >&2; i=$((i+1)); done; ";
        let error = shell(&format!("{much}echo no luck; exit 3"), 60).tell(&news()).await.unwrap_err();
        assert_eq!(error.why, "it ended with exit status: 3");
        // Half a line may hold half a secret: it is cut by whoever knows what is secret, or not told at all.
        let long = "printf '%0400d end\\n' 7 >&2";
        let told = shell(&format!("{much}{long}"), 60).tell(&news()).await.unwrap();
        assert_eq!((told.0.raw().len(), told.0.raw().ends_with("7 end")), (404, true));
        let told = shell("printf '%020000d end\\n' 7 >&2", 60).tell(&news()).await.unwrap();
        assert_eq!(told.0.raw(), "");
        let error = shell("echo first; echo; exit 4", 30).tell(&news()).await.unwrap_err();
        assert_eq!((error.said.raw(), error.why.as_str()), ("first", "it ended with exit status: 4"));
        let error = shell("sleep 600", 1).tell(&news()).await.unwrap_err();
        assert_eq!(error.why, "`/bin/sh` did not end within 1 s");
    }

    #[tokio::test]
    async fn a_program_that_anybody_may_change_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reload");
        std::fs::write(&path, "#!/bin/sh\necho ran\n").unwrap();
        let program = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Command::new(&[path.display().to_string()], dir.path().to_owned(), Span::from_seconds(30))
                .unwrap()
        };
        assert_eq!(program(0o755).tell(&news()).await.unwrap().0.raw(), "ran");
        assert!(
            program(0o757)
                .tell(&news())
                .await
                .unwrap_err()
                .why
                .contains("anybody on this machine may change it")
        );
    }

    #[test]
    fn what_would_be_searched_for_is_no_program() {
        for words in [&[][..], &["systemctl"], &["./reload"]] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert!(Command::new(&words, PathBuf::new(), Span::from_seconds(1)).is_err(), "{words:?}");
        }
    }
}
