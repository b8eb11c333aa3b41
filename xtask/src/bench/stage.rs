//! The stage: an upstream and a gateway, each an nginx with one worker.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

use super::agent::get;
use super::readings::Times;
use crate::job::Job;
use crate::project::find_program;
use crate::setup::NginxLua;
use crate::signals::{self, Stop};

/// What the upstream answers: 49 bytes.
const BODY: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abc";

/// A request may busy the gateway's Lua so many iterations before it is proxied; `/busy?n=N` sets how many.
const LUA_HTTP: &str = "init_by_lua_block { package.loaded.busy = { iterations = 0 } }";
const LUA_SERVER: &str = "location = /busy { content_by_lua_block {
    require('busy').iterations = tonumber(ngx.var.arg_n)
    ngx.say('ok')
} }";
const LUA_LOCATION: &str = "access_by_lua_block {
    local busy, x = require('busy'), 1
    for i = 1, busy.iterations do x = (x * 16807 + i) % 2147483647 end
    busy.last = x
}";

/// Which gateway.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// It only proxies.
    Plain,
    /// It runs Lua for each request, as Kong does.
    Lua(&'a NginxLua),
    /// It only proxies, for clients that speak TLS 1.3.
    Tls,
}

/// A running upstream and gateway. Dropping it ends them.
pub struct Stage {
    gateway: Nginx,
    upstream: Nginx,
    worker: Pid,
}

impl Stage {
    /// Starts both in a folder, able to hold `connections` client connections.
    pub fn start(folder: &Path, kind: Kind<'_>, connections: u32) -> Result<Self> {
        let upstream = Nginx::start(&folder.join("upstream"), Kind::Plain, connections, upstream_config)?;
        let gateway = Nginx::start(&folder.join("gateway"), kind, connections, |address| {
            gateway_config(address, upstream.address, kind)
        })?;
        let worker = only_child(gateway.job.pid())?;
        Ok(Self { gateway, upstream, worker })
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway.address
    }

    /// What selects the gateway.
    pub fn selector(&self) -> String {
        format!("pid:{}", self.gateway.job.pid())
    }

    /// The times of the gateway's worker.
    pub fn worker_times(&self) -> Result<Times> {
        Times::of_main_thread(self.worker).context("the gateway's worker is gone; its error.log is lost with it")
    }

    /// Sets how many iterations of Lua each request takes.
    pub fn set_busy(&self, iterations: u64) -> Result<()> {
        let (status, body) =
            get(self.gateway(), &format!("/busy?n={iterations}")).context("cannot set the Lua gateway")?;
        ensure!(status == 200, "the Lua gateway answers {status}: {body}");
        Ok(())
    }

    /// The agent's configuration with so many services, all behind the upstream, told apart by their paths.
    pub fn services(&self, count: usize) -> String {
        let upstream = self.upstream.address;
        let service = |i: usize| {
            let (name, url) = (format!("s{i:04}"), format!("http://{upstream}/s{i:04}"));
            format!("  - name: {name}\n    url: {url}\n    routes:\n      - paths: [/{name}]\n")
        };
        format!("services:\n{}", (0..count).map(service).collect::<String>())
    }
}

struct Nginx {
    job: Job,
    address: SocketAddr,
}

impl Nginx {
    /// `http` gives the inside of nginx's `http` block for the address it is to listen on.
    fn start(folder: &Path, kind: Kind<'_>, connections: u32, http: impl FnOnce(SocketAddr) -> String) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let address = free_address()?;
        let config = folder.join("nginx.conf");
        fs::write(&config, nginx_config(kind, connections, &http(address)))
            .with_context(|| format!("cannot write {}", config.display()))?;
        if matches!(kind, Kind::Tls) {
            make_certificate(folder)?;
        }
        let nginx = find_program("nginx").context("no nginx; install it, or run `cargo xtask bench` as root")?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(folder).arg("-c").arg(&config).args(["-e", "error.log"]).stdin(Stdio::null());
        if let Kind::Lua(modules) = kind
            && let Some(libraries) = modules.library_path()
        {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        // A port that is taken in between shows in its error.log, which the error below quotes.
        command.stderr(Stdio::null());
        let nginx = Self { job: Job::start(&mut command, Stop::Group)?, address };
        nginx.wait_until_it_answers(&folder.join("error.log"))?;
        Ok(nginx)
    }

    /// A server of TLS answers plain requests, too: with a 400.
    fn wait_until_it_answers(&self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        // The master listens before there is a worker: a connection alone tells nothing.
        while get(self.address, "/").is_err() {
            if self.job.has_ended()? || Instant::now() > deadline {
                signals::check()?;
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("nginx does not answer; it says:\n{log}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn make_certificate(folder: &Path) -> Result<()> {
    let openssl = find_program("openssl").context("no openssl; install it with `apt-get install openssl`")?;
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]).current_dir(folder);
    let made = command.stdin(Stdio::null()).output().context("cannot run openssl")?;
    ensure!(made.status.success(), "openssl makes no certificate: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// A free port of loopback, below those that Linux gives to outgoing connections: the load opens thousands.
pub fn free_address() -> Result<SocketAddr> {
    // Two benchmarks at once begin at different places.
    let start = u16::try_from(std::process::id() % 16_000)?;
    (0..16_000)
        .map(|i| SocketAddr::from((Ipv4Addr::LOCALHOST, 16_000 + (start + i) % 16_000)))
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no free port between 16000 and 32000 on 127.0.0.1")
}

fn upstream_config(address: SocketAddr) -> String {
    format!(
        "default_type text/plain;
server {{ listen {address} backlog=4096; location / {{ return 200 {BODY}; }} }}"
    )
}

fn gateway_config(address: SocketAddr, upstream: SocketAddr, kind: Kind<'_>) -> String {
    let (http, server, location) = match kind {
        Kind::Plain | Kind::Tls => (String::new(), "", ""),
        Kind::Lua(modules) => (format!("{}\n{LUA_HTTP}", modules.package_path()), LUA_SERVER, LUA_LOCATION),
    };
    let tls = match kind {
        Kind::Plain | Kind::Lua(_) => "",
        Kind::Tls => " ssl; ssl_protocols TLSv1.3; ssl_certificate cert.pem; ssl_certificate_key key.pem",
    };
    format!(
        "{http}
proxy_http_version 1.1;
proxy_set_header Connection \"\";
upstream services {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
server {{
    listen {address} backlog=4096{tls};
    {server}
    location / {{ {location} proxy_pass http://services; }}
}}"
    )
}

fn nginx_config(kind: Kind<'_>, connections: u32, http: &str) -> String {
    let modules = match kind {
        Kind::Plain | Kind::Tls => String::new(),
        Kind::Lua(modules) => modules.load_modules(),
    };
    // Each client's request may need an upstream connection beside its own.
    let connections = connections * 2 + 256;
    format!(
        "{modules}daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections {connections}; }}
http {{
access_log off;
keepalive_timeout 60s;
keepalive_requests 1000000000;
client_body_temp_path bodies;
proxy_temp_path proxied;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
{http}
}}
"
    )
}

/// The worker of a master that has answered.
fn only_child(master: Pid) -> Result<Pid> {
    let path = format!("/proc/{master}/task/{master}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let children: Vec<i32> = text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    match children.as_slice() {
        [worker] => Ok(Pid::from_raw(*worker)),
        _ => bail!("nginx has {} workers in place of one; try again", children.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_49_bytes() {
        assert_eq!(BODY.len(), 49);
    }

    #[test]
    fn only_the_lua_gateway_runs_lua() {
        let addresses = [1, 2].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let config = |kind| nginx_config(kind, 16, &gateway_config(addresses[0], addresses[1], kind));
        assert!(!config(Kind::Plain).contains("lua"));
        let modules = NginxLua::example();
        let lua = config(Kind::Lua(&modules));
        assert!(lua.starts_with("load_module ") && lua.contains("access_by_lua_block"), "{lua}");
        assert_eq!(lua.matches('{').count(), lua.matches('}').count());
    }

    #[test]
    fn a_free_address_can_be_listened_on() {
        let address = free_address().unwrap();
        assert!((16_000..32_000).contains(&address.port()));
        TcpListener::bind(address).unwrap();
    }
}
