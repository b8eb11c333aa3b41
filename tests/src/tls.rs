//! Clients and servers that speak TLS by rustls: the OpenSSL under observation is the gateway's alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Result;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

/// The name in the certificate.
const NAME: &str = "localhost";

/// One end of a TLS connection. The handshake is made at the first read or write.
#[derive(Debug)]
pub enum Tls {
    /// The client's.
    Client(StreamOwned<ClientConnection, TcpStream>),
    /// The server's.
    Server(StreamOwned<ServerConnection, TcpStream>),
}

/// Whether a server of this process's tests speaks TLS on the port.
pub fn is_spoken_on(port: u16) -> bool {
    ports().lock().unwrap_or_else(PoisonError::into_inner).contains(&port)
}

/// A server that speaks TLS on the port comes or goes.
pub fn speak_on(port: u16, is_spoken: bool) {
    let mut ports = ports().lock().unwrap_or_else(PoisonError::into_inner);
    if is_spoken {
        ports.insert(port);
    } else {
        ports.remove(&port);
    }
}

/// Writes the servers' certificate and key to `cert.pem` and `key.pem` in the folder.
pub fn write_certificate(folder: &Path) -> Result<()> {
    let identity = Identity::get();
    fs::write(folder.join("cert.pem"), &identity.certificate_pem)?;
    fs::write(folder.join("key.pem"), &identity.key_pem)?;
    Ok(())
}

/// A client's settings with the servers' own certificate as the client's.
pub fn client_config_with_certificate() -> Result<ClientConfig> {
    client_config_as(Identity::get())
}

fn client_config_as(identity: &Identity) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(Identity::get().certificate.clone())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    Ok(ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identity.certificate.clone()], key)?)
}

/// The same with a certificate that no server knows the issuer of.
pub fn client_config_with_strange_certificate() -> Result<ClientConfig> {
    client_config_as(&Identity::new()?)
}

/// A client's settings that trust no server.
pub fn client_config_without_trust(version: &'static SupportedProtocolVersion) -> Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// A client's settings, for versions and protocols of a test's own. Sessions are resumed among connections with the same
/// settings.
pub fn client_config(versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(Identity::get().certificate.clone())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}

impl Tls {
    /// A client's end, with settings that resume sessions.
    pub fn connect(tcp: TcpStream) -> io::Result<Self> {
        static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        let config = CONFIG
            .get_or_init(|| Arc::new(client_config(rustls::ALL_VERSIONS, &[]).expect("the test's own certificate")));
        Self::connect_with(tcp, Arc::clone(config))
    }

    /// The same with settings of one's own.
    pub fn connect_with(tcp: TcpStream, config: Arc<ClientConfig>) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::Client(StreamOwned::new(connection, tcp)))
    }

    /// A server's end.
    pub fn accept(tcp: TcpStream) -> io::Result<Self> {
        let connection = ServerConnection::new(Arc::clone(&Identity::get().server)).map_err(io::Error::other)?;
        Ok(Self::Server(StreamOwned::new(connection, tcp)))
    }

    /// How the handshake was made, once it is done.
    pub fn handshake(&self) -> Option<HandshakeKind> {
        match self {
            Self::Client(stream) => stream.conn.handshake_kind(),
            Self::Server(stream) => stream.conn.handshake_kind(),
        }
    }

    /// Sends bytes with the first message of a resumed session, before the server has answered (RFC 8446, section 2.3).
    /// Error if the session allows none.
    pub fn send_early(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self::Client(stream) = self else { return Err(io::Error::other("servers send no early data")) };
        let mut early = stream.conn.early_data().ok_or_else(|| io::Error::other("the session allows no early data"))?;
        early.write_all(bytes)?;
        self.shake_hands()
    }

    /// Whether the server took what was sent early.
    pub fn took_early(&self) -> bool {
        matches!(self, Self::Client(stream) if stream.conn.is_early_data_accepted())
    }

    /// Makes the handshake. Error: the peer's alert, or the connection's end.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        match self {
            Self::Client(stream) => stream.conn.complete_io(&mut stream.sock).map(drop),
            Self::Server(stream) => stream.conn.complete_io(&mut stream.sock).map(drop),
        }
    }

    /// The ciphertext of bytes, to be sent over the socket by hand.
    pub fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let Self::Client(stream) = self else { return Err(io::Error::other("servers seal nothing by hand")) };
        stream.conn.writer().write_all(bytes)?;
        let mut sealed = Vec::new();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut sealed)?;
        }
        Ok(sealed)
    }

    /// The socket under it.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Client(stream) => &stream.sock,
            Self::Server(stream) => &stream.sock,
        }
    }

    /// Sends a close_notify alert, which ends the sending side.
    pub fn close_notify(&mut self) -> io::Result<()> {
        match self {
            Self::Client(stream) => stream.conn.send_close_notify(),
            Self::Server(stream) => stream.conn.send_close_notify(),
        }
        self.flush()
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Client(stream) => stream.read(buffer),
            Self::Server(stream) => stream.read(buffer),
        };
        match read {
            // The peer closed without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Client(stream) => stream.write(bytes)?,
            Self::Server(stream) => stream.write(bytes)?,
        };
        // Else what was written last waits for the next write.
        self.flush()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Client(stream) => stream.flush(),
            Self::Server(stream) => stream.flush(),
        }
    }
}

/// The certificate of all servers of this process's tests.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
    server: Arc<ServerConfig>,
}

impl Identity {
    fn get() -> &'static Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        IDENTITY.get_or_init(|| Self::new().expect("a certificate for the tests"))
    }

    fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)?;
        Ok(Self {
            certificate,
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            server: Arc::new(server),
        })
    }
}

fn ports() -> &'static Mutex<BTreeSet<u16>> {
    static PORTS: OnceLock<Mutex<BTreeSet<u16>>> = OnceLock::new();
    PORTS.get_or_init(|| Mutex::new(BTreeSet::new()))
}
