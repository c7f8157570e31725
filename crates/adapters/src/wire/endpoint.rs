//! A bare connection, for what is no HTTP. The host is judged as that of a base URL is, and what comes over it has a limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keywright_core::text::Untrusted;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::address::{AddressError, Reach, parse_base, system_lookup};
use super::call::Fault;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    reach: Reach,
}

impl Endpoint {
    /// Reads `host` or `host:port`, as an operator gave it.
    ///
    /// # Errors
    /// When there is more in it, or it leads where nobody may dial.
    pub(crate) fn parse(text: &str, usual: u16) -> Result<Self, AddressError> {
        // Under a scheme of the web, where the URL standard reads hosts: an address in any dress is one.
        let (url, reach) = parse_base(&format!("https://{text}"), true)?;
        let more = || AddressError::Form(Untrusted::capped(text, 120));
        if url.path() != "/" {
            return Err(more());
        }
        let host = url.host_str().ok_or_else(more)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        // The scheme's own port would not be told.
        let named = text.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Self { host, port: named.unwrap_or(usual), reach })
    }

    /// Its name or address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether everything stays on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.reach == Reach::Loopback
    }

    /// Connects, to addresses that were judged only.
    ///
    /// # Errors
    /// [`Fault::NotSent`].
    pub(crate) async fn dial(&self) -> Result<TcpStream, Fault> {
        let fault = |why: String| Fault::NotSent { why: format!("no connection: {why}") };
        let found = system_lookup()(self.host.clone()).await.map_err(|error| fault(error.to_string()))?;
        if found.iter().any(|address| !self.reach.admits(address.ip())) {
            return Err(fault("the name leads where nobody may dial".to_owned()));
        }
        let mut last = "the name has no address".to_owned();
        for mut address in found.into_iter().take(4) {
            address.set_port(self.port);
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("nobody answered within {} s", CONNECT.as_secs()),
            }
        }
        Err(fault(last))
    }
}

/// A connection over which so many bytes may come, and no more.
#[derive(Debug)]
pub(crate) struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S> Bounded<S> {
    pub(crate) fn new(stream: S, most: usize) -> Self {
        Self { stream, left: most }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        if let Some(left) = self.left.checked_sub(read) {
            self.left = left;
            return Poll::Ready(Ok(()));
        }
        // Whoever is told of an error takes nothing that came with it.
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::other("it says more than it may")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn hosts_are_read_and_judged_as_those_of_addresses_are() {
        for (text, host, port) in [
            ("mail.example.com", "mail.example.com", 587),
            ("mail.example.com:443", "mail.example.com", 443),
            ("mail.example.com:465/", "mail.example.com", 465),
            ("10.0.0.1", "10.0.0.1", 587),
            ("[::1]:25", "::1", 25),
            ("[fd12::1]", "fd12::1", 587),
        ] {
            let endpoint = Endpoint::parse(text, 587).unwrap();
            assert_eq!((endpoint.host(), endpoint.port), (host, port), "{text}");
        }
        assert!(Endpoint::parse("2130706433:25", 587).unwrap().is_loopback());
        for text in ["", "a b", "user@mail.example.com", "mail.example.com/x", "169.254.169.254", "[fe80::1]"]
        {
            assert!(Endpoint::parse(text, 587).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn what_says_too_much_is_cut_off() {
        let mut read = Vec::new();
        Bounded::new(&[7u8; 100][..], 100).read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 100);
        assert!(Bounded::new(&[7u8; 101][..], 100).read_to_end(&mut read).await.is_err());
    }
}
