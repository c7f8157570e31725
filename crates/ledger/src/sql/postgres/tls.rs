//! TLS to the server: rustls, the system's certificate authorities or the file that the URL names.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{LedgerError, Result};

pub(super) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |error: rustls::Error| LedgerError::Io(format!("TLS can't be used: {error}"));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(broken)?;
    let config = match roots {
        None => builder.with_platform_verifier().map_err(broken)?.with_no_client_auth(),
        Some(path) => builder.with_root_certificates(read(path)?).with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path) -> Result<RootCertStore> {
    let broken = |why: &dyn std::fmt::Display| LedgerError::Io(format!("{}: {why}", path.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| broken(&e))? {
        let certificate = certificate.map_err(|e| broken(&e))?;
        roots.add(certificate).map_err(|e| broken(&e))?;
    }
    if roots.is_empty() { Err(broken(&"there is no certificate in it")) } else { Ok(roots) }
}
