//! The agent's configuration files, in the part that Kong's file and its own have in common.

use std::fmt::{Display, Write as _};

/// Services and their routes; [`AgentConfig::own`] and [`AgentConfig::kong`] give the file's text.
#[derive(Debug, Clone, Default)]
pub struct AgentConfig {
    services: String,
}

impl AgentConfig {
    /// Without services.
    pub fn new() -> Self {
        Self::default()
    }

    /// A service at `address` (nginx's notation) that has the requests whose path begins with `prefix`.
    pub fn service(mut self, name: &str, address: impl Display, prefix: &str) -> Self {
        let _ = writeln!(
            self.services,
            "  - name: {name}\n    url: \"http://{address}\"\n    routes:\n      - paths: [\"{prefix}\"]"
        );
        self
    }

    /// For `--config`.
    pub fn own(&self) -> String {
        format!("services:\n{}", self.services)
    }

    /// For `--kong-config`.
    pub fn kong(&self) -> String {
        format!("_format_version: \"1.1\"\nservices:\n{}", self.services)
    }
}
