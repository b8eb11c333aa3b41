//! TLS on a listener, with certificates that may change while it runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use crate::exposition::listen::TlsFiles;
use crate::exposition::watched::Watched;

/// Why a listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or holds nothing of what it should.
    #[error("cannot read {what} from {file}: {reason}; give a PEM file that this user can read", file = .file.display())]
    File {
        /// What was looked for in it.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What the reader met.
        reason: pem::Error,
    },
    /// A certificate and a key that rustls refuses, mostly because they do not belong together.
    #[error("{cert} and {key} cannot be used together: {reason}; give the key that the certificate was made for",
            cert = .cert.display(), key = .key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// rustls's reason.
        reason: Box<rustls::Error>,
    },
    /// Authorities that clients' certificates cannot be checked with.
    #[error("{file} cannot be used for client-ca=: {reason}; give the certificates of the authorities", file = .file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// rustls's reason.
        reason: io::Error,
    },
}

/// The TLS of one listener.
pub(super) struct Tls(Watched<Arc<ServerConfig>>);

impl Tls {
    pub(super) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let watched = [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()];
        let watched = watched.into_iter().flatten().cloned().collect();
        let files = files.clone();
        Watched::new(watched, move || config(&files)).map(Tls)
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.current().into()
    }
}

fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("a certificate", &files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|reason| TlsError::File {
        what: "a private key",
        file: files.key.clone(),
        reason,
    })?;
    let pair = |reason| TlsError::Pair { cert: files.cert.clone(), key: files.key.clone(), reason: Box::new(reason) };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(pair)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(roots(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|reason| client_ca(file, reason))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("an authority's certificate", file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::ClientCa { file: file.to_owned(), reason: io::Error::other(error) })?;
    }
    Ok(roots)
}

fn client_ca(file: &Path, error: VerifierBuilderError) -> TlsError {
    TlsError::ClientCa { file: file.to_owned(), reason: io::Error::other(error) }
}

/// All certificates of a PEM file, at least one.
fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || -> Result<Vec<_>, pem::Error> {
        let all = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) }
    };
    read().map_err(|reason| TlsError::File { what, file: file.to_owned(), reason })
}
