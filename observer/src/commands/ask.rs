//! Asks an agent that runs, for the commands that show what it tells.

use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::Deserialize;

use crate::cli::AgentArgs;
use crate::client::{self, Client, ClientError, Url};

/// A refusal's text is no longer; an answer with more bytes is none of an observer's.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why an agent does not tell.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection, or none that works.
    #[error(
        "the observer at {url} is not to be reached: {reason}; see whether it runs and listens there, or name another by \
         --url"
    )]
    Away {
        /// Who was asked.
        url: Url,
        /// What is wrong.
        reason: String,
    },
    /// It answers, but not with what was asked for.
    #[error("the observer at {url} refuses {page} ({status}: {reason}); {next}")]
    Refused {
        /// Who was asked.
        url: Url,
        /// For what.
        page: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        reason: String,
        /// What to do.
        next: &'static str,
    },
    /// A token or a certificate on this side.
    #[error("{error}{}", next(error))]
    Own {
        /// What is wrong.
        error: ClientError,
    },
    /// Its answer cannot be read.
    #[error(
        "the observer at {url} answers {page} with what this version does not understand: {reason}; use the same version"
    )]
    Strange {
        /// Who was asked.
        url: Url,
        /// For what.
        page: String,
        /// What is wrong.
        reason: String,
    },
    /// The stream is over.
    #[error("the observer at {url} has ended the stream{reason}; start again once it runs, see its log for why")]
    Ended {
        /// Who told.
        url: Url,
        /// What is wrong, after a colon, if anything.
        reason: String,
    },
}

fn next(error: &ClientError) -> &'static str {
    match error {
        ClientError::Tls { .. } => "; give the file of the authority that made its certificate, by --ca",
        ClientError::NoAuthorities => "; give one by --ca",
        ClientError::Away(_) | ClientError::Token { .. } => "",
    }
}

/// One agent, asked again and again.
pub struct Agent {
    url: Url,
    client: Client,
}

/// `{"message":"..."}`.
#[derive(Default, Deserialize)]
struct Refusal {
    message: String,
}

impl Agent {
    /// Does not connect yet.
    ///
    /// # Errors
    /// A token file that cannot be used.
    pub fn new(args: &AgentArgs) -> Result<Agent, AskError> {
        let client = Client::new(&args.url, args.token_file.as_deref(), args.ca.as_deref());
        Ok(Agent { url: args.url.clone(), client: client.map_err(|error| AskError::Own { error })? })
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The answer to a GET, with its body still to come. `target` may have a query.
    pub async fn get(&mut self, target: &str) -> Result<Response<Incoming>, AskError> {
        let response = self.client.get(target).await.map_err(|error| self.failed(error))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(self.refusal(target, response).await)
    }

    /// A page as JSON.
    pub async fn json<T: serde::de::DeserializeOwned>(&mut self, page: &str) -> Result<T, AskError> {
        let response = self.get(page).await?;
        let text = client::text(response.into_body(), ANSWER_BYTES_MAX).await;
        let text = text.map_err(|reason| AskError::Away { url: self.url.clone(), reason })?;
        serde_json::from_str(&text).map_err(|error| AskError::Strange {
            url: self.url.clone(),
            page: page.to_owned(),
            reason: error.to_string(),
        })
    }

    async fn refusal(&self, target: &str, response: Response<Incoming>) -> AskError {
        let status = response.status();
        let text = client::text(response.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default();
        let Refusal { message } = serde_json::from_str(&text).unwrap_or_default();
        let next = match status {
            StatusCode::UNAUTHORIZED => "give the file of a token by --token-file",
            StatusCode::FORBIDDEN => "its own socket takes no token: --url unix:/PATH, as its user or root",
            StatusCode::NOT_FOUND => {
                "see whether it is an observer of this version, and whether its listener has paths="
            }
            StatusCode::BAD_REQUEST => "use the same version",
            _ => "try again later",
        };
        let reason = match message.as_str() {
            "" => status.canonical_reason().unwrap_or_default().to_owned(),
            words => words.to_owned(),
        };
        let page = target.split('?').next().unwrap_or(target).to_owned();
        AskError::Refused { url: self.url.clone(), page, status, reason, next }
    }

    fn failed(&self, error: ClientError) -> AskError {
        match error {
            ClientError::Away(reason) => AskError::Away { url: self.url.clone(), reason },
            own => AskError::Own { error: own },
        }
    }
}
