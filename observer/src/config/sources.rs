//! The files that a configuration comes from.

use std::path::PathBuf;

use super::files::Files;
use super::{Config, ConfigError, nginx};

/// Which files to read. The first wins over the second, and so on.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The observer's own.
    pub own: Option<PathBuf>,
    /// Kong's declarative file.
    pub kong: Option<PathBuf>,
    /// nginx's main file.
    pub nginx: Option<PathBuf>,
}

impl Sources {
    /// Reads and merges the files, and `kong_admin` in its place between them. `files` are told what was read, also
    /// where it was wrong.
    ///
    /// # Errors
    /// The first thing that is wrong with the first file that is wrong.
    pub fn load(&self, kong_admin: Option<&Config>, files: &mut Files) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some(path) = &self.own {
            let text = files.read(path)?;
            config = Config::parse_own(&path.display().to_string(), &text)?;
        }
        if let Some(path) = &self.kong {
            let text = files.read(path)?;
            config = config.merge(Config::parse_kong(&path.display().to_string(), &text)?);
        }
        if let Some(kong_admin) = kong_admin {
            config = config.merge(kong_admin.clone());
        }
        if let Some(path) = &self.nginx {
            config = config.merge(nginx::load(path, files)?);
        }
        Ok(config)
    }
}
