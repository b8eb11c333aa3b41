//! The configuration's sources, looked at in the background: what changes goes to the pipeline between two events.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::Notice;
use crate::attribution::Attribution;
use crate::config::{Config, Endpoint, Sourced};
use crate::metrics::ConfigAges;
use crate::pipeline::Reconfiguration;
use crate::resolver::Resolver;

/// The files are looked at this often.
const PERIOD: Duration = Duration::from_secs(1);

/// The source of what comes from Kong's Admin API, in `observer_config_age_seconds`.
pub const KONG_ADMIN: &str = "kong_admin";

/// What makes it look.
#[derive(Debug)]
pub enum Message {
    /// Someone asks for it (SIGHUP).
    Asked,
    /// What Kong's Admin API says now, or why that cannot be read.
    KongAdmin(Result<Config, String>),
}

/// Where what changes is told.
#[derive(Debug)]
pub struct Outlets {
    /// To the pipeline.
    pub notices: Sender<Notice>,
    /// Names to ask for.
    pub resolver: Resolver,
    /// Ages of the sources.
    pub ages: ConfigAges,
}

/// The configuration in use, and what the command line says beside it.
#[derive(Debug)]
pub struct InUse {
    /// What the sources say.
    pub sourced: Sourced,
    /// The command line's datastore, which wins over the files'.
    pub datastore: Option<Endpoint>,
    /// Whether Kong's Admin API answered; none where it is no source.
    pub kong_admin_answers: Option<bool>,
}

impl InUse {
    /// What a pipeline needs of it.
    pub fn reconfiguration(&self) -> Reconfiguration {
        let config = self.sourced.config();
        let attribution = Attribution::new(&config);
        let services = config.service_keys();
        let datastore = self.datastore.clone().or(config.datastore);
        Reconfiguration { attribution, datastore, services, admin_ports: config.admin_ports }
    }
}

/// Looks at the sources until all senders of messages are dropped.
pub fn start(in_use: InUse, outlets: Outlets) -> Sender<Message> {
    let (sender, messages) = channel();
    thread::spawn(move || Reloader::new(in_use, outlets).run(&messages));
    sender
}

struct Reloader {
    in_use: InUse,
    outlets: Outlets,
    /// When the files were last known to say what is in use.
    files_known: Instant,
    are_files_bad: bool,
    kong_admin_known: Instant,
    is_kong_admin_away: bool,
}

impl Reloader {
    fn new(in_use: InUse, outlets: Outlets) -> Self {
        let now = Instant::now();
        let (files_known, kong_admin_known) = (now, now);
        let is_kong_admin_away = in_use.kong_admin_answers == Some(false);
        let reloader =
            Self { in_use, outlets, files_known, are_files_bad: false, kong_admin_known, is_kong_admin_away };
        reloader.tell_ages();
        reloader
    }

    fn run(mut self, messages: &Receiver<Message>) {
        let mut next_look = Instant::now() + PERIOD;
        loop {
            match messages.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {
                    next_look = Instant::now() + PERIOD;
                    self.look();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell_ages();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Asked => self.read_again(),
            Message::KongAdmin(Ok(config)) => {
                self.kong_admin_known = Instant::now();
                if std::mem::take(&mut self.is_kong_admin_away) {
                    log::info!("Kong's Admin API answers again");
                }
                if self.in_use.sourced.take_kong_admin(config) {
                    self.tell();
                }
            }
            Message::KongAdmin(Err(error)) => {
                if !std::mem::replace(&mut self.is_kong_admin_away, true) {
                    log::warn!("{error}; what it said last stays in use");
                }
            }
        }
    }

    fn look(&mut self) {
        if self.in_use.sourced.have_changed() {
            self.read_again();
        } else if !self.are_files_bad {
            self.files_known = Instant::now();
        }
    }

    fn read_again(&mut self) {
        let read = self.in_use.sourced.read_again();
        self.are_files_bad = read.is_err();
        match read {
            Err(error) => return log::error!("{error}; the configuration before it stays in use"),
            Ok(true) => self.tell(),
            Ok(false) => log::info!("configuration read again, it says nothing new"),
        }
        self.files_known = Instant::now();
    }

    fn tell(&self) {
        let new = self.in_use.reconfiguration();
        let names = new.names();
        // The pipeline may have ended. It gets its new names before their addresses.
        let _ = self.outlets.notices.send(Notice::Reconfigured(Box::new(new)));
        self.outlets.resolver.ask(names);
    }

    fn tell_ages(&self) {
        for source in self.in_use.sourced.sources().names() {
            self.outlets.ages.set(source, self.files_known.elapsed());
        }
        if self.in_use.kong_admin_answers.is_some() {
            self.outlets.ages.set(KONG_ADMIN, self.kong_admin_known.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Sources;
    use crate::metrics::{Metrics, Options};
    use crate::resolver;

    /// For what takes a second.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Fixture {
        messages: Sender<Message>,
        notices: Receiver<Notice>,
        metrics: Metrics,
    }

    impl Fixture {
        fn new(sources: Sources) -> Self {
            let (sender, notices) = channel();
            let (resolver, _) = resolver::start(Vec::new(), sender.clone());
            let metrics = Metrics::new(Options::default());
            let outlets = Outlets { notices: sender, resolver, ages: metrics.config_ages() };
            let in_use = InUse { sourced: sources.read().unwrap(), datastore: None, kong_admin_answers: Some(true) };
            Self { messages: start(in_use, outlets), notices, metrics }
        }

        /// The names that the next configuration wants; notices of addresses are passed over.
        fn next_names(&self) -> Vec<String> {
            loop {
                if let Notice::Reconfigured(new) = self.notices.recv_timeout(PATIENCE).unwrap() {
                    return new.names();
                }
            }
        }
    }

    #[test]
    fn a_changed_file_is_told_without_being_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.yml");
        fs::write(&path, "services: [{name: a, host: localhost}]").unwrap();
        let fixture = Fixture::new(Sources { own: Some(path.clone()), ..Sources::default() });
        fs::write(&path, "services: []\ndatastore: other.invalid:1").unwrap();
        assert_eq!(fixture.next_names(), ["other.invalid"]);
    }

    #[test]
    fn new_names_come_before_their_addresses() {
        let fixture = Fixture::new(Sources::default());
        let text = "services: [{name: a, host: localhost}]";
        let config = Config::parse_own("o", text).unwrap();
        fixture.messages.send(Message::KongAdmin(Ok(config))).unwrap();
        assert!(matches!(fixture.notices.recv_timeout(PATIENCE), Ok(Notice::Reconfigured(_))));
        assert!(matches!(fixture.notices.recv_timeout(PATIENCE), Ok(Notice::Event(_))));
    }

    #[test]
    fn what_kongs_admin_api_said_stays_while_it_is_away_and_is_not_told_twice() {
        let fixture = Fixture::new(Sources::default());
        let config = |host: &str| Config::parse_own("o", &format!("services: [{{name: a, host: {host}}}]")).unwrap();
        for message in [Ok(config("a.invalid")), Err("away".into()), Ok(config("a.invalid")), Ok(config("b.invalid"))] {
            fixture.messages.send(Message::KongAdmin(message)).unwrap();
        }
        assert_eq!(fixture.next_names(), ["a.invalid"]);
        assert_eq!(fixture.next_names(), ["b.invalid"]);
        let families = fixture.metrics.registry().gather();
        let age = families.iter().find(|family| family.name == "observer_config_age_seconds").unwrap();
        assert_eq!(age.labels[0].value("source"), KONG_ADMIN);
    }
}
