//! Keywright, the binary.
fn main() {}
