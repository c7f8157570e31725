//! What can go wrong before the sandbox answers its first call.

use std::io;
use std::net::SocketAddr;

/// Why a sandbox did not start, or a fault was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The listen address can be reached from other machines.
    #[error("`{0}` is not a loopback address; the sandbox listens on loopback only")]
    NotLoopback(SocketAddr),
    /// The address could not be bound.
    #[error("could not listen on `{address}`; is another program using the port?")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// No randomness for token values.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The configured world contradicts itself.
    #[error("the sandbox can't be set up: {0}")]
    Config(String),
    /// A fault is out of bounds.
    #[error("the fault can't be injected: {0}")]
    Fault(String),
}
