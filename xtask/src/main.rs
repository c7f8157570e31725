//! Development tasks, one file each: `cargo xtask TASK [ARGUMENTS]`.

mod catalog;
mod crash;
mod eval;
mod tidy;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome: Result<String, Box<dyn std::error::Error>> = match task.as_deref() {
        Some("catalog") => catalog::run(&rest).map_err(Into::into),
        Some("crash") => crash::run(&rest).map_err(Into::into),
        Some("eval") => eval::run(&rest).map_err(Into::into),
        Some("tidy") => tidy::run().map_err(Into::into),
        _ => Err("usage: cargo xtask catalog [--data DIR] | crash [--long] [--minutes M] | eval [RECORDS] [--bench] | tidy".into()),
    };
    // A closed pipe is nobody's error here.
    match outcome {
        Ok(said) => {
            writeln!(std::io::stdout(), "{said}").ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            writeln!(std::io::stderr(), "error: {error}").ok();
            ExitCode::FAILURE
        }
    }
}
