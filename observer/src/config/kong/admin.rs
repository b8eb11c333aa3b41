//! What Kong's Admin API says (Kong 0.14 to 3.x): pages of lists whose entities have the declarative file's form.

use super::Reader;
use crate::config::document::{Document, Value};
use crate::config::pattern::PathRule;
use crate::config::{Config, ConfigError};

type Result<T> = std::result::Result<T, ConfigError>;

/// One page of a list: `{"data": [...], "next": "/services?offset=..."}`. Keys that a later Kong may add are passed over.
pub struct Page {
    document: Document,
}

/// All pages of the lists that tell services.
#[derive(Default)]
pub struct Lists {
    /// `/services`
    pub services: Vec<Page>,
    /// `/routes`
    pub routes: Vec<Page>,
    /// `/upstreams`
    pub upstreams: Vec<Page>,
    /// `/upstreams/{id}/targets` of each upstream.
    pub targets: Vec<Page>,
    /// A Kong before 3.0, whose paths are expressions without a mark.
    pub is_before_3: bool,
}

impl Page {
    /// Reads an answer's JSON. `url` is for errors.
    pub fn parse(url: &str, text: &str) -> Result<Self> {
        let document = Document::parse(url, text)?.with_unknown_keys();
        Ok(Self { document })
    }

    /// Where the next page is, from the API's root on.
    pub fn next(&self) -> Result<Option<String>> {
        let next = self.document.root().fields(&["data", "next"], &[])?.get("next");
        next.map(|next| next.text().map(str::to_owned)).transpose()
    }

    /// Ids of the entities.
    pub fn ids(&self) -> Result<Vec<String>> {
        let id = |value: Value<'_>| {
            let fields = value.fields(&["id"], &[])?;
            let next = "ask for Kong's Admin API, /upstreams";
            fields.get("id").ok_or_else(|| fields.missing("id", next))?.text().map(str::to_owned)
        };
        self.entities()?.into_iter().map(id).collect()
    }

    /// Ids and names of the entities; one without a name is called by its id.
    pub fn named_ids(&self) -> Result<Vec<(String, String)>> {
        let named = |value: Value<'_>| {
            let fields = value.fields(&["id", "name"], &[])?;
            let next = "ask for Kong's Admin API, /upstreams";
            let id = fields.get("id").ok_or_else(|| fields.missing("id", next))?.text()?;
            let name = fields.get("name").map(|name| name.text()).transpose()?;
            Ok((id.to_owned(), name.unwrap_or(id).to_owned()))
        };
        self.entities()?.into_iter().map(named).collect()
    }

    fn entities(&self) -> Result<Vec<Value<'_>>> {
        let fields = self.document.root().fields(&["data", "next"], &[])?;
        match fields.get("data") {
            Some(data) => data.items(),
            None => Err(fields.missing("data", "give the address of Kong's Admin API, as in http://127.0.0.1:8001")),
        }
    }
}

/// Ports of the listeners that are not the proxy's, out of what the API says of its node (`/`). `url` is for errors.
pub fn admin_ports(url: &str, text: &str) -> Result<Vec<u16>> {
    const LISTENERS: [&str; 3] = ["admin_listeners", "admin_gui_listeners", "status_listeners"];
    let document = Document::parse(url, text)?.with_unknown_keys();
    let node = document.root().fields(&["configuration"], &[])?;
    let Some(configuration) = node.get("configuration") else { return Ok(Vec::new()) };
    let configuration = configuration.fields(&LISTENERS, &[])?;
    let mut ports = Vec::new();
    for key in LISTENERS {
        for listener in configuration.list(key)? {
            // One on a UNIX socket has none.
            ports.extend(listener.fields(&["port"], &[])?.read("port", Value::port)?);
        }
    }
    Ok(ports)
}

/// The configuration that the lists are.
pub fn config(lists: &Lists) -> Result<Config> {
    let mut reader = Reader::new(if lists.is_before_3 { PathRule::parse_before_3 } else { PathRule::parse });
    each(&lists.services, |service| reader.service(service))?;
    each(&lists.routes, |route| reader.top_level_route(route))?;
    each(&lists.upstreams, |upstream| reader.upstream(upstream))?;
    each(&lists.targets, |target| reader.top_level_target(target))?;
    Ok(reader.config)
}

fn each(pages: &[Page], mut read: impl FnMut(&Value<'_>) -> Result<()>) -> Result<()> {
    for page in pages {
        page.entities()?.iter().try_for_each(&mut read)?;
    }
    Ok(())
}
