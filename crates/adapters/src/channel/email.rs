//! Mail over SMTP (RFC 5321), by TLS from the beginning (RFC 8314) or after STARTTLS (RFC 3207), which is not left out where it is
//! not offered; in the clear to this machine only. One text without parts, and marked as written by a program (RFC 3834).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use keywright_core::channel::Notice;
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MessageBuilder};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Channel, DEADLINE, NotTold, Told, not_told, words};
use crate::wire::{Authority, Bounded, Endpoint};

/// The most that a server may say in one conversation, in bytes.
const LONGEST_ANSWERS: usize = 64 << 10;
/// The most receivers.
const MOST: usize = 20;

pub(super) struct Email {
    endpoint: Endpoint,
    is_tls: bool,
    from: Mailbox,
    to: Mailboxes,
    login: Option<(String, Secret)>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Email {
    /// Reads the settings; dials nothing yet.
    pub(super) fn new(
        server: &str,
        (from, to): (&str, &str),
        login: Option<(String, Secret)>,
        authority: &Authority,
    ) -> Result<Self, String> {
        let (is_tls, host) = match server.split_once("://") {
            Some(("smtps", host)) => (true, host),
            Some(("smtp", host)) => (false, host),
            _ => return Err("write the server as `smtps://HOST` or `smtp://HOST`".to_owned()),
        };
        let endpoint =
            Endpoint::parse(host, if is_tls { 465 } else { 587 }).map_err(|error| error.to_string())?;
        let to = to.split(',').map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.len() > MOST {
            return Err(format!("mail goes to {MOST} people at most"));
        }
        let authorities = authority.der().map_err(|error| error.to_string())?;
        Ok(Self { endpoint, is_tls, from: mailbox(from)?, to: to.into_iter().collect(), login, authorities })
    }

    fn message(&self, notice: &Notice) -> Result<Message, String> {
        let by_a_program = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut message: MessageBuilder = Message::builder()
            .from(self.from.clone())
            .subject(format!("[Keywright] {}", words::verdict(notice)))
            .message_id(Some(format!("<{}@keywright.invalid>", notice.message_id())))
            .header(ContentType::TEXT_PLAIN)
            .raw_header(HeaderValue::new(by_a_program, "auto-generated".to_owned()));
        for receiver in self.to.iter() {
            message = message.to(receiver.clone());
        }
        let mut lines = vec![notice.heading().to_owned(), String::new()];
        lines.extend(words::plain(notice));
        message.body(lines.join("\r\n")).map_err(|error| error.to_string())
    }

    async fn send(&self, message: &Message) -> Result<(), NotTold> {
        let refused = |error: lettre::transport::smtp::Error| {
            let why = match error.status() {
                Some(code) => format!("the mail server answered {code}"),
                None => "the mail server could not be talked to".to_owned(),
            };
            not_told(why, &innermost(&error))
        };
        let tcp = self.endpoint.dial().await.map_err(|fault| not_told(fault.to_string(), ""))?;
        let hello = ClientId::default();
        let mut server = if self.is_tls {
            let stream = self.tls(tcp).await?;
            AsyncSmtpConnection::connect_with_transport(
                Box::new(Bounded::new(stream, LONGEST_ANSWERS)),
                &hello,
            )
            .await
            .map_err(refused)?
        } else {
            let stream = Box::new(Bounded::new(tcp, LONGEST_ANSWERS));
            let mut server =
                AsyncSmtpConnection::connect_with_transport(stream, &hello).await.map_err(refused)?;
            if server.can_starttls() || !self.endpoint.is_loopback() {
                server.starttls(self.parameters()?, &hello).await.map_err(refused)?;
            }
            server
        };
        if let Some((user, password)) = &self.login {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            server.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(refused)?;
        }
        server.send(message.envelope(), &message.formatted()).await.map_err(refused)?;
        // It has the mail; what it says to a farewell changes nothing.
        let _ = server.quit().await;
        Ok(())
    }

    async fn tls(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, NotTold> {
        let broken = |why: String| not_told(format!("TLS: {why}"), "");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(self.authorities.clone(), Arc::clone(&provider))
            .map_err(|error| broken(error.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(error.to_string()))?
            // The machine's own verifier, which this is, has no shorter way in where there are more authorities.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let name = ServerName::try_from(self.endpoint.host().to_owned())
            .map_err(|error| broken(error.to_string()))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        connecting.await.map_err(|error| broken(Untrusted::capped(&error.to_string(), 200).to_string()))
    }

    fn parameters(&self) -> Result<TlsParameters, NotTold> {
        let broken = |error: lettre::transport::smtp::Error| not_told(format!("TLS: {error}"), "");
        let mut parameters = TlsParametersBuilder::new(self.endpoint.host().to_owned());
        for authority in &self.authorities {
            let certificate = Certificate::from_der(authority.to_vec()).map_err(broken)?;
            parameters = parameters.add_root_certificate(certificate);
        }
        parameters.build_rustls().map_err(broken)
    }
}

#[async_trait]
impl Channel for Email {
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold> {
        let message = self.message(notice).map_err(|why| not_told(why, ""))?;
        let sent = tokio::time::timeout(DEADLINE, self.send(&message)).await;
        sent.map_err(|_| {
            not_told(format!("the mail server did not answer within {} s", DEADLINE.as_secs()), "")
        })??;
        Ok(Told(Untrusted::capped("the mail server took it", 40)))
    }
}

impl AsyncTokioStream for Bounded<TcpStream> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.get_ref().peer_addr()
    }
}

impl AsyncTokioStream for Bounded<TlsStream<TcpStream>> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.get_ref().get_ref().0.peer_addr()
    }
}

/// Reads `ana@example.com` or `Ana <ana@example.com>`, and nothing after it.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let text = text.trim();
    let bad = || format!("`{}` is no address of mail", Untrusted::capped(text, 80));
    let mailbox: Mailbox = text.parse().map_err(|_| bad())?;
    let is_whole = text == mailbox.email.to_string() || text.ends_with('>');
    if is_whole && !text.chars().any(char::is_control) { Ok(mailbox) } else { Err(bad()) }
}

/// What the server said, or what went wrong below.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAUGHTY, notice};
    use super::*;

    #[test]
    fn a_mail_has_our_headers_only_and_what_others_wrote_begins_no_line() {
        let to = "ana@example.com, Bo <bo@example.com>";
        let email =
            Email::new("smtps://mail.example.com", ("kw@example.com", to), None, &Authority::Never).unwrap();
        for text in NAUGHTY.into_iter().chain([&*"ö ".repeat(3_000)]) {
            let formatted = String::from_utf8(email.message(&notice(text)).unwrap().formatted()).unwrap();
            let (head, body) = formatted.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> = head
                .split("\r\n")
                .filter(|line| !line.starts_with([' ', '\t']))
                .map(|line| line.split_once(": ").unwrap().0)
                .collect();
            let mut known = names.clone();
            known.sort_unstable();
            assert_eq!(
                known,
                [
                    "Auto-Submitted",
                    "Content-Transfer-Encoding",
                    "Content-Type",
                    "Date",
                    "From",
                    "Message-ID",
                    "Subject",
                    "To"
                ],
                "{head}"
            );
            assert!(formatted.is_ascii() && !body.contains("\r\n.\r\n"), "{body}");
            assert!(head.lines().chain(body.lines()).all(|line| line.len() < 998));
        }
    }
}
