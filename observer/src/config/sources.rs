//! The files that a configuration comes from, and what they said last.

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

/// What each source says; empty for one that there is not.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parts {
    own: Config,
    kong: Config,
    kong_admin: Config,
    nginx: Config,
}

/// All sources as they were when they were last read well.
#[derive(Debug, Default)]
pub struct Sourced {
    sources: Sources,
    files: Files,
    parts: Parts,
}

impl Sources {
    /// Reads and merges the files.
    ///
    /// # Errors
    /// The first thing that is wrong with the first file that is wrong.
    pub fn read(self) -> Result<Sourced, ConfigError> {
        let mut sourced = Sourced { sources: self, ..Sourced::default() };
        sourced.read_again()?;
        Ok(sourced)
    }

    /// The files' names on the command line and in metrics.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let files = [(&self.own, "config"), (&self.kong, "kong_config"), (&self.nginx, "nginx_conf")];
        files.into_iter().filter(|(path, _)| path.is_some()).map(|(_, name)| name)
    }

    fn parts(&self, files: &mut Files) -> Result<Parts, ConfigError> {
        let mut parts = Parts::default();
        if let Some(path) = &self.own {
            let text = files.read(path)?;
            parts.own = Config::parse_own(&path.display().to_string(), &text)?;
        }
        if let Some(path) = &self.kong {
            let text = files.read(path)?;
            parts.kong = Config::parse_kong(&path.display().to_string(), &text)?;
        }
        if let Some(path) = &self.nginx {
            parts.nginx = nginx::load(path, files)?;
        }
        Ok(parts)
    }
}

impl Sourced {
    /// Which files they are.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Everything as one configuration.
    pub fn config(&self) -> Config {
        let Parts { own, kong, kong_admin, nginx } = self.parts.clone();
        own.merge(kong).merge(kong_admin).merge(nginx)
    }

    /// Whether a file was written, replaced, made or removed since they were read, well or not.
    pub fn have_changed(&self) -> bool {
        self.files.have_changed()
    }

    /// Reads all files again. Gives whether they say anything new. After an error everything stays as it was.
    pub fn read_again(&mut self) -> Result<bool, ConfigError> {
        let mut files = Files::default();
        let parts = self.sources.parts(&mut files);
        // Of a file that is wrong the next change is waited for.
        self.files = files;
        let parts = Parts { kong_admin: self.parts.kong_admin.clone(), ..parts? };
        let is_new = parts != self.parts;
        self.parts = parts;
        Ok(is_new)
    }

    /// Takes what Kong's Admin API says now. Gives whether that is new.
    pub fn take_kong_admin(&mut self, config: Config) -> bool {
        let is_new = self.parts.kong_admin != config;
        self.parts.kong_admin = config;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(sourced: &Sourced) -> String {
        let names: Vec<String> = sourced.config().services.iter().map(|service| service.name.to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn a_bad_file_keeps_what_was_there_and_a_good_one_replaces_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.yml");
        fs::write(&path, "services: [{name: a, host: a}]").unwrap();
        let mut sourced = Sources { own: Some(path.clone()), ..Sources::default() }.read().unwrap();
        assert!(!sourced.have_changed() && !sourced.read_again().unwrap());

        fs::write(&path, "services:\n- {name: a, hosts: a}").unwrap();
        assert!(sourced.have_changed());
        let error = sourced.read_again().unwrap_err().to_string();
        assert!(error.contains("o.yml:2: services[0].hosts: unknown key"), "{error}");
        assert_eq!(names(&sourced), "a");
        assert!(!sourced.have_changed(), "told once");

        fs::write(&path, "services: [{name: bb, host: a}]").unwrap();
        assert!(sourced.have_changed() && sourced.read_again().unwrap());
        assert_eq!(names(&sourced), "bb");

        fs::remove_file(&path).unwrap();
        assert!(sourced.have_changed());
        sourced.read_again().unwrap_err();
        assert_eq!(names(&sourced), "bb");
    }

    #[test]
    fn what_kongs_admin_api_says_stays_when_files_are_read_again() {
        let mut sourced = Sources::default().read().unwrap();
        let admin = Config::parse_kong("k", "_format_version: '3.0'\nservices: [{name: k, host: k}]").unwrap();
        assert!(sourced.take_kong_admin(admin.clone()));
        assert!(!sourced.take_kong_admin(admin));
        assert!(!sourced.read_again().unwrap());
        assert_eq!(names(&sourced), "k");
    }
}
