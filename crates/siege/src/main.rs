//! Kills the real binary, or has its calls fail, at each system call that matters, and looks at what one restart leaves.
//! `cargo xtask crash` builds and starts it.
#![cfg_attr(
    all(target_os = "linux", target_arch = "x86_64"),
    expect(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "a siege that can't set up its world has failed, and what it says goes to a terminal"
    )
)]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod calls;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod consumer;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod front;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod house;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod point;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod siege;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tally;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> std::process::ExitCode {
    siege::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[expect(clippy::print_stderr, reason = "a skip is visible")]
fn main() {
    eprintln!("SKIPPED: the siege needs Linux on x86-64");
}
