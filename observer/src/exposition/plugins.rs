//! The plugin as Kong's Admin API has it: enabled everywhere or for a service, by whoever may, across restarts.

mod answers;
mod fields;
mod multipart;
mod store;
mod switch;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::ServiceKey;
use crate::pipeline::Enabled;
use crate::privileges::Account;

use self::fields::{Fields, Scope};
use self::store::Store;

pub(super) use self::answers::{change, list, one};
pub use self::fields::BodyError;
pub use self::store::StateError;
pub use self::switch::Switch;

/// The one plugin there is.
const NAME: &str = "prometheus";

/// Entities kept at once: one for each service that can have series of its own, and the one for all.
const PLUGINS_MAX: usize = crate::metrics::MAX_SERVICES + 1;

/// The plugin, enabled or not, for one service or all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// A UUID of version 4.
    pub id: String,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// Whether it counts.
    pub enabled: bool,
    /// The one service, by its name; all without.
    pub service: Option<Arc<str>>,
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// A field is missing, unknown or not as it should be. Kong names the field and the reason.
    #[error("{0}: {1}")]
    Field(String, String),
    /// There is one for this scope already.
    #[error("already exists")]
    Exists,
    /// No entity has this id.
    #[error("not found")]
    NotFound,
    /// The state cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kernel gives no random numbers.
    #[error("the kernel gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// All entities.
pub struct Plugins {
    plugins: Mutex<Vec<Plugin>>,
    /// The configuration's services; without any, services are named by their hosts, and any name will do.
    services: Mutex<Vec<ServiceKey>>,
    store: Option<Store>,
    switch: Arc<Switch>,
}

impl Plugins {
    /// As the state in `directory` has it, if there is any; else enabled everywhere, or with `start_disabled` nowhere.
    ///
    /// # Errors
    /// A directory or state that cannot be read, used or written.
    pub fn open(
        directory: Option<&Path>,
        start_disabled: bool,
        services: Vec<ServiceKey>,
    ) -> Result<Plugins, StateError> {
        let store = directory.map(Store::open).transpose()?;
        let kept = store.as_ref().map(Store::load).transpose()?.flatten();
        let plugins = match kept {
            Some(kept) => kept,
            None if start_disabled => Vec::new(),
            None => vec![Plugin::new(None, true).map_err(StateError::Random)?],
        };
        if let Some(store) = &store {
            store.save(&plugins)?;
        }
        let switch = Arc::new(Switch::new(enabled(&plugins)));
        Ok(Plugins { plugins: Mutex::new(plugins), services: Mutex::new(services), store, switch })
    }

    /// Lets this user write the state.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn give_to(&self, account: &Account) -> Result<(), StateError> {
        self.store.as_ref().map_or(Ok(()), |store| store.give_to(account))
    }

    /// What the pipeline looks at.
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// A new configuration's services take the place of the old ones'; what is enabled stays.
    pub fn know(&self, services: Vec<ServiceKey>) {
        *self.known() = services;
    }

    /// All entities, the oldest first.
    pub fn all(&self) -> Vec<Plugin> {
        self.lock().clone()
    }

    fn get(&self, id: &str) -> Option<Plugin> {
        self.lock().iter().find(|plugin| plugin.id == id).cloned()
    }

    fn create(&self, fields: &Fields) -> Result<Plugin, Refusal> {
        match fields.name.as_deref() {
            Some(NAME) => {}
            Some(other) => return Err(Refusal::Field("config".into(), format!("Plugin {other:?} not found"))),
            None => return Err(Refusal::Field("name".into(), "name is required".into())),
        }
        let service = self.service(fields.scope.as_ref())?;
        let plugin = Plugin::new(service, fields.enabled.unwrap_or(true)).map_err(Refusal::Random)?;
        self.edit(|plugins| {
            if plugins.iter().any(|other| other.service == plugin.service) {
                return Err(Refusal::Exists);
            }
            if plugins.len() >= PLUGINS_MAX {
                return Err(Refusal::Field("service_id".into(), format!("there are {PLUGINS_MAX} plugins already")));
            }
            plugins.push(plugin.clone());
            Ok(plugin)
        })
    }

    fn update(&self, id: &str, fields: &Fields) -> Result<Plugin, Refusal> {
        if let Some(other) = fields.name.as_deref().filter(|name| *name != NAME) {
            return Err(Refusal::Field("config".into(), format!("Plugin {other:?} not found")));
        }
        let scope = fields.scope.as_ref().map(|scope| self.service(Some(scope))).transpose()?;
        self.edit(|plugins| {
            let at = plugins.iter().position(|plugin| plugin.id == id).ok_or(Refusal::NotFound)?;
            if let Some(service) = scope {
                let is_taken = |other: &Plugin| other.id != id && other.service == service;
                if plugins.iter().any(is_taken) {
                    return Err(Refusal::Exists);
                }
                plugins[at].service = service;
            }
            plugins[at].enabled = fields.enabled.unwrap_or(plugins[at].enabled);
            Ok(plugins[at].clone())
        })
    }

    fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.edit(|plugins| {
            let before = plugins.len();
            plugins.retain(|plugin| plugin.id != id);
            if plugins.len() < before { Ok(()) } else { Err(Refusal::NotFound) }
        })
    }

    /// Changes all or nothing: what cannot be kept does not hold.
    fn edit<T>(&self, change: impl FnOnce(&mut Vec<Plugin>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut plugins = self.lock();
        let mut changed = plugins.clone();
        let result = change(&mut changed)?;
        if let Some(store) = &self.store {
            store.save(&changed)?;
        }
        *plugins = changed;
        self.switch.set(enabled(&plugins));
        Ok(result)
    }

    /// The service that a request names, `None` for all.
    fn service(&self, scope: Option<&Scope>) -> Result<Option<Arc<str>>, Refusal> {
        let Some(Scope { field, value: Some(name) }) = scope else { return Ok(None) };
        let services = self.known();
        let by_id = || services.iter().find(|service| service.id.as_deref() == Some(name.as_str()));
        let by_name = services.iter().find(|service| *service.name == **name);
        let known = by_name.or_else(by_id);
        match known {
            Some(service) => Ok(Some(Arc::clone(&service.name))),
            None if services.is_empty() && (1..=255).contains(&name.len()) => Ok(Some(Arc::from(name.as_str()))),
            None => Err(Refusal::Field(field.clone(), format!("does not exist with value '{name}'"))),
        }
    }

    /// As Kong's API tells a service: its id, or its name where it has none.
    fn service_id(&self, name: &str) -> Arc<str> {
        let services = self.known();
        let service = services.iter().find(|service| *service.name == *name);
        service.and_then(|service| service.id.clone()).unwrap_or_else(|| name.into())
    }

    fn known(&self) -> MutexGuard<'_, Vec<ServiceKey>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Plugin>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugin {
    fn new(service: Option<Arc<str>>, enabled: bool) -> Result<Plugin, getrandom::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_at = u64::try_from(now.as_millis()).unwrap_or_default();
        Ok(Plugin { id: uuid()?, created_at, enabled, service })
    }
}

/// In Kong an entity that is not enabled is as good as none, so a service's own does not shut out the one for all.
fn enabled(plugins: &[Plugin]) -> Enabled {
    let on = || plugins.iter().filter(|plugin| plugin.enabled);
    Enabled {
        everywhere: on().any(|plugin| plugin.service.is_none()),
        services: on().filter_map(|plugin| plugin.service.clone()).collect(),
    }
}

/// RFC 9562, version 4.
fn uuid() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
