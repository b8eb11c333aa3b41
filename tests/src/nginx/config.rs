//! Builds the configuration of a test's nginx.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::lua::Lua;
use super::{Nginx, access_log};
use crate::namespace::Namespace;
use crate::wait::free_port;

/// nginx as Debian installs it.
pub const BINARY: &str = "/usr/sbin/nginx";

/// What a test wants of its nginx; [`Config::start`] runs it.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) binary: PathBuf,
    pub(super) workers: usize,
    pub(super) port: u16,
    pub(super) status_port: u16,
    pub(super) is_daemon: bool,
    /// A process in whose namespaces it runs.
    pub(super) within: Option<u32>,
    connections: usize,
    keeps_clients: bool,
    keeps_upstreams: bool,
    pub(super) tls: Option<&'static str>,
    asks_by_tls: bool,
    speaks_http2: bool,
    pub(super) library_path: Option<OsString>,
    main: String,
    http: String,
    server: String,
}

impl Config {
    /// One worker, keepalive on both sides, a free port on 127.0.0.1 and ::1, no locations.
    pub fn new() -> Result<Self> {
        Ok(Self {
            binary: BINARY.into(),
            workers: 1,
            port: free_port()?,
            status_port: free_port()?,
            is_daemon: false,
            within: None,
            connections: 1024,
            keeps_clients: true,
            keeps_upstreams: true,
            tls: None,
            asks_by_tls: false,
            speaks_http2: false,
            library_path: None,
            main: String::new(),
            http: String::new(),
            server: String::new(),
        })
    }

    /// Runs another program file, for example a copy under another name.
    pub fn binary(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.binary);
        self
    }

    /// Loads Debian's module for Lua.
    pub fn lua(mut self, lua: &Lua) -> Self {
        self.library_path = lua.library_path();
        self.main = lua.load_modules() + &self.main;
        self.http(&lua.package_path())
    }

    /// Number of worker processes.
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Connections that a worker may have, on both sides together.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self.main(&format!("worker_rlimit_nofile {};", most + 100))
    }

    /// The master leaves the process that starts it.
    pub fn daemon(mut self) -> Self {
        self.is_daemon = true;
        self
    }

    /// It runs in these namespaces.
    pub fn within(mut self, namespace: &Namespace) -> Self {
        self.within = Some(namespace.pid());
        self
    }

    /// Keepalive towards clients and towards upstreams, both or neither. Set it before adding services.
    pub fn keepalive(mut self, is_on: bool) -> Self {
        self.keeps_clients = is_on;
        self.keeps_upstreams = is_on;
        self
    }

    /// The main server speaks TLS in these versions (`ssl_protocols`), and whoever connects to its port does.
    pub fn tls(mut self, versions: &'static str) -> Self {
        self.tls = Some(versions);
        self
    }

    /// The main server speaks HTTP/2 as well, where it speaks TLS.
    pub fn http2(mut self) -> Self {
        self.speaks_http2 = true;
        self
    }

    /// The program takes its libraries from this folder first (`LD_LIBRARY_PATH`).
    pub fn library_path(mut self, folder: &Path) -> Self {
        self.library_path = Some(folder.into());
        self
    }

    /// All that it passes on it passes on by TLS (`proxy_pass https://`).
    pub fn upstream_tls(mut self) -> Self {
        self.asks_by_tls = true;
        self
    }

    /// A service with one server: requests under `/NAME/` go to it with their path unchanged.
    /// The upstream request's `Host` is NAME.
    pub fn service(self, name: &str, server: impl std::fmt::Display) -> Self {
        self.upstream(name, &[&server]).location(&format!("/{name}/"), &format!("proxy_pass http://{name};"))
    }

    /// As [`Config::service`], but the upstream sees the path without `/NAME`.
    pub fn stripped_service(self, name: &str, server: impl std::fmt::Display) -> Self {
        self.upstream(name, &[&server]).location(&format!("/{name}/"), &format!("proxy_pass http://{name}/;"))
    }

    /// An upstream block alone, with the given servers in nginx's notation.
    pub fn upstream(mut self, name: &str, servers: &[&dyn std::fmt::Display]) -> Self {
        let _ = writeln!(self.http, "upstream {name} {{");
        for server in servers {
            let _ = writeln!(self.http, "  server {server};");
        }
        if self.keeps_upstreams {
            self.http += "  keepalive 32;\n";
        }
        self.http += "}\n";
        self
    }

    /// A location of the main server. A `proxy_set_header` in it replaces those that keep upstreams alive.
    pub fn location(mut self, path: &str, directives: &str) -> Self {
        let _ = writeln!(self.server, "location {path} {{ {directives} }}");
        self
    }

    /// Directives at the top level.
    pub fn main(mut self, directives: &str) -> Self {
        self.main += directives;
        self.main += "\n";
        self
    }

    /// Directives in `http`.
    pub fn http(mut self, directives: &str) -> Self {
        self.http += directives;
        self.http += "\n";
        self
    }

    /// Directives in the main `server`.
    pub fn server(mut self, directives: &str) -> Self {
        self.server += directives;
        self.server += "\n";
        self
    }

    /// Starts it and waits until it listens with all its workers; no connection is made for that.
    pub fn start(self) -> Result<Nginx> {
        Nginx::start(self)
    }

    pub(super) fn text(&self) -> String {
        let Self { workers, port, status_port, connections, main, http, server, .. } = self;
        let daemon = if self.is_daemon { "on" } else { "off" };
        let (ssl, certificate) = match self.tls {
            Some(versions) => (
                if self.speaks_http2 { " ssl http2" } else { " ssl" },
                format!("ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols {versions};\n"),
            ),
            None => ("", String::new()),
        };
        let log_format = access_log::format_directive();
        let client_keepalive = if self.keeps_clients {
            "keepalive_timeout 60s; keepalive_requests 1000000;"
        } else {
            "keepalive_timeout 0;"
        };
        let upstream_keepalive =
            if self.keeps_upstreams { "proxy_http_version 1.1; proxy_set_header Connection \"\";" } else { "" };
        // The temp files' places are compiled in as Debian's own; a test must not share them.
        let text = format!(
            "daemon {daemon};
master_process on;
user root;
worker_processes {workers};
pid nginx.pid;
error_log error.log info;
{main}
events {{ worker_connections {connections}; }}
http {{
{log_format}
access_log access.log observed;
client_body_temp_path body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
client_max_body_size 200m;
{client_keepalive}
{upstream_keepalive}
{http}
server {{
listen 127.0.0.1:{port} backlog=1024{ssl};
listen [::1]:{port} backlog=1024{ssl};
{certificate}root files;
{server}
}}
server {{
listen 127.0.0.1:{status_port};
access_log off;
location / {{ stub_status; }}
}}
}}
"
        );
        if self.asks_by_tls { text.replace("proxy_pass http:", "proxy_pass https:") } else { text }
    }
}
