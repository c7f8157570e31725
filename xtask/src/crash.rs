//! `cargo xtask crash`: builds the binary and what besieges it, has a PostgreSQL where there is none, and starts it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What `scripts/postgres` ends with where there is no PostgreSQL.
const NO_SERVER: i32 = 77;
const SERVER: &str = "KEYWRIGHT_TEST_POSTGRES";
/// Is set where the tests of the whole workspace were built before.
const TESTED: &str = "KEYWRIGHT_TESTS_ARE_BUILT";

/// A server for this run alone.
struct Server {
    script: PathBuf,
    dir: PathBuf,
    variables: Vec<(String, String)>,
}

/// Runs it with these arguments.
///
/// # Errors
/// When something can't be built or started, or when a point left something behind.
pub(crate) fn run(arguments: &[String]) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "--bins"]);
    match std::env::var_os(TESTED) {
        // As the tests are built, which is done already.
        Some(_) => build.args(["--workspace", "--tests"]),
        None => build.args(["-p", "keywright", "-p", "keywright-siege"]),
    };
    succeed(build.current_dir(root), "the build")?;
    let siege = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name("keywright-siege");
    let server = if std::env::var_os(SERVER).is_some() { None } else { Server::start(root)? };
    let variables = server.iter().flat_map(|server| server.variables.clone());
    succeed(Command::new(&siege).args(arguments).envs(variables), "the siege")?;
    Ok("crash: nothing was left behind".to_owned())
}

fn succeed(command: &mut Command, what: &str) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{what}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed: {status}")) }
}

impl Server {
    fn start(root: &Path) -> Result<Option<Self>, String> {
        let script = root.join("scripts/postgres");
        let dir = std::env::temp_dir().join(format!("keywright-crash-{}", std::process::id()));
        let mut server = Self { script, dir, variables: Vec::new() };
        let started = Command::new(&server.script).arg("start").arg(&server.dir).output();
        let started = started.map_err(|error| format!("{}: {error}", server.script.display()))?;
        if started.status.code() == Some(NO_SERVER) {
            return Ok(None);
        }
        if !started.status.success() {
            return Err(String::from_utf8_lossy(&started.stderr).into_owned());
        }
        // `export NAME=VALUE NAME=VALUE`
        let said = String::from_utf8_lossy(&started.stdout).into_owned();
        let words = said.split_whitespace().filter_map(|word| word.split_once('='));
        server.variables = words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Some(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Command::new(&self.script).arg("stop").arg(&self.dir).status().ok();
    }
}
