//! Plans what stands on stdin, a provider and words on each line: `cargo run --example words < FILE`. Behind ` => ` stand
//! the permissions that are wanted, `?` for a question back; then only what differs is shown.
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::io::BufRead as _;

use keywright_catalog::Catalog;
use keywright_catalog::words::plan;

fn main() {
    let (mut right, mut all) = (0, 0);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((provider, words)) = line.split_once(' ') else { continue };
        let (words, wanted) = words.split_once(" => ").unwrap_or((words, ""));
        let Ok(catalog) = Catalog::for_provider(provider) else { continue };
        let answer = plan(words, catalog);
        let mut names: Vec<&str> = answer.permissions.iter().map(|one| one.name).collect();
        names.sort_unstable();
        let got = names.join(" + ");
        let others: Vec<String> = answer
            .candidates
            .iter()
            .map(|one| one.permissions.iter().map(|one| one.name).collect::<Vec<_>>().join("+"))
            .collect();
        let fits = |wanted: &str| {
            let mut sorted: Vec<&str> = wanted.split(" + ").collect();
            sorted.sort_unstable();
            sorted.join(" + ") == got || wanted == "?" && got.is_empty()
        };
        all += 1;
        if !wanted.is_empty() && wanted.split(" | ").any(fits) {
            right += 1;
            continue;
        }
        println!(
            "{:?} {words:?}\n    got  {got} via {:?} else {others:?} {:?}",
            answer.status, answer.operations, answer.question
        );
        println!("    want {wanted}");
    }
    println!("{right} of {all}");
}
