//! Whom a wire trusts: the authorities of this machine, and where an operator says so one more, for this wire alone.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use keywright_core::text::Untrusted;
use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::WireError;

/// The setting of the kinds that people run themselves.
pub(crate) const CA_FILE: (&str, &str) = (
    "ca_file",
    "an absolute path: a PEM file of the authority that issued the server's certificate, which is trusted here besides this \
     machine's",
);

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// An authority besides those of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Authority {
    /// The kind has no such setting.
    #[default]
    Never,
    /// It could be named, and is not.
    Unnamed,
    /// In this file.
    File(String),
}

impl Authority {
    /// As the settings say, of which the kind knows these.
    pub(crate) fn of(known: &[(&str, &str)], given: Option<&str>) -> Self {
        match given.filter(|path| !path.is_empty()) {
            _ if !known.contains(&CA_FILE) => Self::Never,
            None => Self::Unnamed,
            Some(path) => Self::File(path.to_owned()),
        }
    }

    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, WireError> {
        let Some(text) = self.pem()? else { return Ok(Vec::new()) };
        match Certificate::from_pem_bundle(&text) {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(self.bad("holds no certificate in PEM")),
        }
    }

    /// The same in DER, for what is no HTTP.
    pub(crate) fn der(&self) -> Result<Vec<CertificateDer<'static>>, WireError> {
        let Some(text) = self.pem()? else { return Ok(Vec::new()) };
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(self.bad("holds no certificate in PEM")),
        }
    }

    /// Nothing that is said about the file quotes it: somebody may have named the wrong one.
    fn bad(&self, why: &str) -> WireError {
        let path = if let Self::File(path) = self { path.as_str() } else { "" };
        WireError::Authority(format!("`{}` {why}", Untrusted::capped(path, 200)))
    }

    /// Reads the file.
    fn pem(&self) -> Result<Option<Vec<u8>>, WireError> {
        let Self::File(path) = self else { return Ok(None) };
        let bad = |why: &str| self.bad(why);
        let unread = |error: std::io::Error| bad(&format!("can't be read: {error}"));
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(bad("is not an absolute path"));
        }
        // Opening a pipe would wait for who writes to it.
        if !path.metadata().map_err(unread)?.is_file() {
            return Err(bad("is not a file"));
        }
        let mut text = Vec::new();
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text)).map_err(unread)?;
        if text.len() as u64 > LARGEST {
            return Err(bad("is larger than 1 MiB"));
        }
        Ok(Some(text))
    }

    /// What to do about a certificate that was not accepted. Another authority does not mend a wrong name or time.
    pub(super) fn hint(&self, why: &str) -> &'static str {
        let is_about_trust =
            why.contains("certificate") && !why.contains("not valid for") && !why.contains("expired");
        match self {
            Self::Unnamed if is_about_trust => {
                "; if it is of a private authority, name that one's PEM file with the setting `ca_file`"
            }
            Self::File(_) if is_about_trust => "; it is of no authority in `ca_file` either",
            _ => "",
        }
    }
}
