//! TLS, with certificates of our own making.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::super::{Access, ListenError, TlsError, bind};
use super::harness::{Answer, Served, connect, exchange, served_at};

/// An authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate and its key.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test authority");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority { issuer: Issuer::new(params, key), certificate }
}

impl Authority {
    fn issue(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }
}

struct Files {
    _dir: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl Files {
    fn new(pair: &Pair, client_ca: &Authority) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| dir.path().join(name));
        fs::write(&ca, client_ca.certificate.pem()).unwrap();
        let files = Files { _dir: dir, cert, key, ca };
        files.put(pair);
        files
    }

    fn put(&self, pair: &Pair) {
        fs::write(&self.cert, pair.certificate.pem()).unwrap();
        fs::write(&self.key, pair.key.serialize_pem()).unwrap();
    }

    fn listen(&self, more: &str) -> String {
        format!("127.0.0.1:0,cert={},key={}{more}", self.cert.display(), self.key.display())
    }
}

/// A client that trusts `trusted` and shows `own`.
fn client(trusted: &Authority, own: Option<&Pair>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![pair.certificate.der().clone()], key).unwrap()
        }
    })
}

fn tls(served: &Served, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), served.connect())
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn get(served: &Served, config: &Arc<ClientConfig>) -> Answer {
    exchange(tls(served, config), GET)
}

/// Why a scrape does not come about.
fn refusal(served: &Served, config: &Arc<ClientConfig>) -> io::Error {
    let mut stream = tls(served, config);
    let sent = io::Write::write_all(&mut stream, GET);
    sent.and_then(|()| io::Read::read_to_end(&mut stream, &mut Vec::new()).map(drop)).unwrap_err()
}

#[test]
fn metrics_come_over_tls_and_not_without() {
    let authority = authority();
    let files = Files::new(&authority.issue("localhost"), &authority);
    let served = served_at(files.listen(""));
    let answer = get(&served, &client(&authority, None));
    assert_eq!(answer.status(), "HTTP/1.1 200 OK");
    assert!(answer.body.contains("kong_nginx_metric_errors_total 0\n"));
    let mut plain = connect(served.addresses[0]);
    io::Write::write_all(&mut plain, GET).unwrap();
    let mut answer = Vec::new();
    let _ = io::Read::read_to_end(&mut plain, &mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn mutual_tls_lets_in_clients_of_the_authority_alone() {
    let (servers, clients, strangers) = (authority(), authority(), authority());
    let files = Files::new(&servers.issue("localhost"), &clients);
    let served = served_at(files.listen(&format!(",client-ca={}", files.ca.display())));
    assert_eq!(get(&served, &client(&servers, Some(&clients.issue("prometheus")))).code(), 200);
    refusal(&served, &client(&servers, None));
    refusal(&served, &client(&servers, Some(&strangers.issue("prometheus"))));
}

#[test]
fn a_new_certificate_is_shown_without_a_restart() {
    let (old, new) = (authority(), authority());
    let files = Files::new(&old.issue("localhost"), &old);
    let served = served_at(files.listen(""));
    assert_eq!(get(&served, &client(&old, None)).code(), 200);
    // Halfway through the change the old pair goes on.
    let pair = new.issue("localhost");
    fs::write(&files.cert, pair.certificate.pem()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(get(&served, &client(&old, None)).code(), 200);
    files.put(&pair);
    let deadline = Instant::now() + Duration::from_secs(10);
    let trusting = client(&new, None);
    loop {
        let mut stream = tls(&served, &trusting);
        if stream.conn.complete_io(&mut stream.sock).is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "the old certificate is still shown");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(get(&served, &trusting).code(), 200);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let (one, other) = (authority(), authority());
    let (pair, stranger) = (one.issue("localhost"), one.issue("localhost"));
    let files = Files::new(&pair, &other);
    let error = |listen: String| {
        let listen = [listen.parse().unwrap()];
        let error = bind(&listen, &Access::default()).err().unwrap();
        assert!(matches!(error, ListenError::Tls(TlsError::File { .. } | TlsError::Pair { .. })));
        error.to_string()
    };
    fs::write(&files.key, stranger.key.serialize_pem()).unwrap();
    assert!(error(files.listen("")).contains("key that the certificate was made for"));
    fs::write(&files.key, "nothing").unwrap();
    assert!(error(files.listen("")).contains("a private key from"));
    files.put(&pair);
    fs::write(&files.ca, "").unwrap();
    let with_ca = files.listen(&format!(",client-ca={}", files.ca.display()));
    assert!(error(with_ca).contains("an authority's certificate from"));
    fs::remove_file(&files.cert).unwrap();
    assert!(error(files.listen("")).contains("cert.pem"));
}

#[test]
fn a_handshake_that_stalls_holds_up_nobody() {
    let authority = authority();
    let files = Files::new(&authority.issue("localhost"), &authority);
    let served = served_at(files.listen(""));
    let mut stalled = connect(served.addresses[0]);
    io::Write::write_all(&mut stalled, b"\x16\x03\x01").unwrap();
    assert_eq!(get(&served, &client(&authority, None)).code(), 200);
    let began = Instant::now();
    served.stop.send(()).unwrap();
    served.runtime.block_on(served.server).unwrap();
    assert!(began.elapsed() < super::GRACE);
}
