//! A small HTTP client for those who ask others: Kong's Admin API, or an agent that runs. Over TCP, TLS or a UNIX socket.

mod tls;
mod url;

use std::fmt::Display;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use crate::config::Endpoint;

pub use self::url::{NotAUrl, Url};

/// The header that a token goes into: Kong's, and the observer's.
const TOKEN_HEADER: &str = "Kong-Admin-Token";

/// Why there is no answer. The texts are for a sentence that says whom was asked and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection or the exchange failed.
    #[error("{0}")]
    Away(String),
    /// The file of the token.
    #[error("the token file {file} cannot be used: {reason}; give the path of a file with the token and nothing else")]
    Token {
        /// Its path.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificate is not trusted, or its authorities cannot be read.
    #[error("no TLS with {host}, trusting {ca}: {reason}")]
    Tls {
        /// Who was asked.
        host: String,
        /// The authorities' file.
        ca: String,
        /// What is wrong.
        reason: String,
    },
    /// None of the usual files is there.
    #[error("this host has no file of trusted authorities where one is usual")]
    NoAuthorities,
}

/// Asks one server, over one connection as long as that is kept.
pub struct Client {
    url: Url,
    token: Option<HeaderValue>,
    ca_file: Option<PathBuf>,
    sender: Option<SendRequest<String>>,
}

impl Client {
    /// Reads the token; connects when it is asked for the first time. Without a file of authorities (PEM) those of the
    /// system are trusted.
    ///
    /// # Errors
    /// [`ClientError::Token`].
    pub fn new(url: &Url, token_file: Option<&Path>, ca_file: Option<&Path>) -> Result<Client, ClientError> {
        let token = token_file.map(token).transpose()?;
        Ok(Client { url: url.clone(), token, ca_file: ca_file.map(Path::to_owned), sender: None })
    }

    /// `GET` of a path and query under the URL's own path. The body has to be read before the next one.
    ///
    /// # Errors
    /// No connection, no TLS, or no answer.
    pub async fn get(&mut self, target: &str) -> Result<Response<Incoming>, ClientError> {
        let mut sender = self.sender().await?;
        let response = sender.send_request(self.request(target)?).await.map_err(away)?;
        self.sender = Some(sender);
        Ok(response)
    }

    /// That of the answer before, unless the server has closed its connection since.
    async fn sender(&mut self) -> Result<SendRequest<String>, ClientError> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<SendRequest<String>, ClientError> {
        let stream: Box<dyn tls::Stream> = match &self.url.endpoint {
            Endpoint::Unix(path) => Box::new(UnixStream::connect(&**path).await.map_err(away)?),
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((&**host, *port)).await.map_err(away)?;
                match self.url.is_encrypted {
                    true => Box::new(tls::encrypted(stream, host, self.ca_file.as_deref()).await?),
                    false => Box::new(stream),
                }
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(away)?;
        // Its errors are the requests' errors too.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(sender)
    }

    fn request(&self, target: &str) -> Result<Request<String>, ClientError> {
        let host = match &self.url.endpoint {
            Endpoint::Unix(_) => "localhost".to_owned(),
            tcp @ Endpoint::Tcp { .. } => tcp.to_string(),
        };
        let request = Request::get(format!("{}{target}", self.url.path)).header(HOST, host);
        let request = match &self.token {
            Some(token) => request.header(TOKEN_HEADER, token),
            None => request,
        };
        request.body(String::new()).map_err(|error| ClientError::Away(format!("{target:?}: {error}")))
    }
}

/// A whole body of so many bytes at most, as text.
///
/// # Errors
/// What is wrong with it.
pub async fn text(mut body: Incoming, bytes_max: usize) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = piece(&mut body).await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > bytes_max {
            return Err(format!("an answer has more than {bytes_max} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// The next bytes of a body, as they come; none at its end.
pub async fn piece(body: &mut Incoming) -> Option<Result<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]>, String>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error.to_string())),
        }
    }
}

/// What a client runs on: the thread that waits for it.
///
/// # Errors
/// The kernel's answer.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn away(error: impl Display) -> ClientError {
    ClientError::Away(error.to_string())
}

fn token(file: &Path) -> Result<HeaderValue, ClientError> {
    let bad = |reason: String| ClientError::Token { file: file.display().to_string(), reason };
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let mut token = HeaderValue::from_str(text.trim()).map_err(|error| bad(error.to_string()))?;
    token.set_sensitive(true);
    Ok(token)
}
