//! A gateway to look at: nginx in front of two small services, with steady traffic.

mod gateway;
mod plugin;
mod service;
mod traffic;

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use self::gateway::Gateway;
use self::plugin::Plugin;
use self::service::Service;
use self::traffic::Traffic;

/// The running demo. Dropping it ends it too.
pub struct Demo {
    traffic: Option<Traffic>,
    gateway: Gateway,
    config: PathBuf,
    // Last, so that the gateway has ended when its folder goes.
    folder: TempDir,
}

const SERVICES: [&str; 2] = ["orders", "users"];

impl Demo {
    /// Starts services and gateway.
    pub fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("observer-demo-")
            .context("cannot make a folder for the demo in the temporary folder")?;
        let services = SERVICES.map(Service::start).into_iter().collect::<Result<Vec<_>>>()?;
        let config = folder.path().join("observer.yaml");
        fs::write(&config, observer_config(&services)).with_context(|| format!("cannot write {}", config.display()))?;
        let gateway = Gateway::start(folder.path(), &services)?;
        Ok(Self { traffic: None, gateway, config, folder })
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// What tells the agent about gateway and services.
    pub fn agent_args(&self) -> [OsString; 4] {
        [
            "--gateway".into(),
            format!("pid:{}", self.gateway.pid()).into(),
            "--config".into(),
            self.config.clone().into(),
        ]
    }

    /// A user who may change what the agent counts.
    pub fn plugin(&self, agent: &Path) -> Result<Plugin> {
        Plugin::new(agent, self.folder.path())
    }

    /// Enables the plugin for the services.
    pub fn enable(&self, plugin: &Plugin, address: &str) -> Result<()> {
        SERVICES.iter().try_for_each(|service| plugin.enable(address, service))
    }

    /// Begins to send requests, until the end.
    pub fn send_traffic(&mut self) {
        self.traffic = Some(Traffic::start(self.gateway.address()));
    }

    /// Ends traffic and gateway.
    pub fn end(self) {}
}

fn observer_config(services: &[Service]) -> String {
    let mut text = String::from("services:\n");
    for Service { name, address } in services {
        text += &format!("  - name: {name}\n    url: http://{address}\n    routes:\n      - paths: [/{name}]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_told_name_address_and_route_of_each_service() {
        let service = |name, port| Service { name, address: SocketAddr::from(([127, 0, 0, 1], port)) };
        assert_eq!(
            observer_config(&[service("orders", 9001), service("users", 9002)]),
            "services:\n\
            \x20 - name: orders\n\
            \x20   url: http://127.0.0.1:9001\n\
            \x20   routes:\n\
            \x20     - paths: [/orders]\n\
            \x20 - name: users\n\
            \x20   url: http://127.0.0.1:9002\n\
            \x20   routes:\n\
            \x20     - paths: [/users]\n"
        );
    }
}
