//! Kong's version and the health of its targets, for the dialect of Kong 3.

use serde::Deserialize;

use super::{AdminError, KongAdmin, PERIOD, Session, runtime};
use crate::metrics::{KongNode, TargetHealth};

/// `GET /`, in the part that is read.
#[derive(Deserialize)]
struct Root {
    version: String,
}

/// `GET /upstreams/{id}/health`, in the part that is read.
#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    data: Listed<Target>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    target: String,
    /// Absent where the target is not in Kong's balancer: its name does not resolve.
    data: Option<Addresses>,
}

#[derive(Deserialize)]
struct Addresses {
    #[serde(default)]
    addresses: Listed<Address>,
}

#[derive(Deserialize)]
struct Address {
    ip: String,
    port: u16,
    health: String,
}

/// An empty list of Lua's may come as `{}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed<T> {
    Some(Vec<T>),
    None {},
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed::None {}
    }
}

impl<T> Listed<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Listed::Some(items) => items,
            Listed::None {} => Vec::new(),
        }
    }
}

impl KongAdmin {
    /// Tells of Kong in the background, at once and again and again. While Kong does not answer, no target's health is
    /// told.
    pub fn tell(self, node: KongNode) {
        std::thread::spawn(move || match runtime() {
            Ok(runtime) => runtime.block_on(async {
                loop {
                    if let Err(error) = self.tell_once(&node).await {
                        log::debug!("{error}");
                        node.targets(Vec::new());
                    }
                    tokio::time::sleep(PERIOD).await;
                }
            }),
            Err(error) => log::error!("{}", self.away(error)),
        });
    }

    pub(super) async fn tell_once(&self, node: &KongNode) -> Result<(), AdminError> {
        let mut session = self.session()?;
        let root: Root = session.json("/").await?;
        node.version(root.version);
        if node.tells_health() {
            node.targets(session.health().await?);
        }
        Ok(())
    }
}

impl Session<'_> {
    async fn json<T: serde::de::DeserializeOwned>(&mut self, target: &str) -> Result<T, AdminError> {
        let text = self.patiently(target).await?;
        serde_json::from_str(&text).map_err(|error| self.admin.away(format!("{target} is not as expected: {error}")))
    }

    async fn health(&mut self) -> Result<Vec<TargetHealth>, AdminError> {
        let mut all = Vec::new();
        for page in self.list("/upstreams").await? {
            for (id, name) in page.named_ids()? {
                let mut next = Some(format!("/upstreams/{id}/health"));
                while let Some(at) = next {
                    let health: Health = self.json(&at).await?;
                    all.extend(health.data.into_vec().into_iter().flat_map(|target| states(&name, target)));
                    next = health.next;
                }
            }
        }
        Ok(all)
    }
}

fn states(upstream: &str, target: Target) -> Vec<TargetHealth> {
    let addresses = target.data.map(|data| data.addresses.into_vec()).unwrap_or_default();
    let name = target.target;
    let told = |address: String, state: String| TargetHealth {
        upstream: upstream.to_owned(),
        target: name.clone(),
        address,
        state,
    };
    if addresses.is_empty() {
        return vec![told(String::new(), "dns_error".to_owned())];
    }
    let each = addresses.into_iter();
    each.map(|Address { ip, port, health }| told(format!("{ip}:{port}"), health.to_ascii_lowercase())).collect()
}
