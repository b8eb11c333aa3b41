//! TLS to a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::ClientError;

/// Where distributions keep the authorities that they trust: Debian and its kin, Fedora and its kin, openSUSE, Alpine.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What both kinds of connection can do.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Speaks TLS with a host whose certificate one of these authorities made; without a file, one that the system trusts.
pub async fn encrypted(stream: TcpStream, host: &str, ca: Option<&Path>) -> Result<TlsStream<TcpStream>, ClientError> {
    let file = match ca {
        Some(file) => file.to_owned(),
        None => TRUSTED.iter().map(PathBuf::from).find(|file| file.is_file()).ok_or(ClientError::NoAuthorities)?,
    };
    let bad = |reason: String| ClientError::Tls { host: host.to_owned(), ca: file.display().to_string(), reason };
    let config = config(&file, ca.is_some()).map_err(bad)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| bad(error.to_string()))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| bad(error.to_string()))
}

/// Of a person's own file every certificate has to be good; a system's collection may hold what rustls refuses.
fn config(file: &Path, is_own: bool) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let read = || CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, pem::Error>>();
    for certificate in read().map_err(|error| error.to_string())? {
        let added = roots.add(certificate);
        if is_own {
            added.map_err(|error| error.to_string())?;
        }
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
