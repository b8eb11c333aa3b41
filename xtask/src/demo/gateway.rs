//! The demo's nginx, with its own configuration and folder.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};

use super::service::Service;
use crate::project::find_program;
use crate::signals;

/// A running nginx. Dropping it ends it.
pub struct Gateway {
    master: Child,
    address: SocketAddr,
}

impl Gateway {
    /// Starts nginx in a folder and waits until it accepts connections.
    pub fn start(folder: &Path, services: &[Service]) -> Result<Self> {
        // The workers, which are not root, come here for large bodies.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .context("no free port on 127.0.0.1")?;
        let config = folder.join("nginx.conf");
        fs::write(&config, nginx_config(address, services))
            .with_context(|| format!("cannot write {}", config.display()))?;

        let nginx = find_program("nginx").context("no nginx; run `cargo xtask run --demo` again")?;
        let master = Command::new(nginx)
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&config)
            .args(["-e", "error.log"])
            .stdin(Stdio::null())
            // A signal to xtask ends the agent first, then nginx.
            .process_group(0)
            .spawn()
            .context("cannot start nginx")?;
        let mut gateway = Self { master, address };
        gateway.wait_until_it_accepts(&folder.join("error.log"))?;
        Ok(gateway)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The master's process id.
    pub fn pid(&self) -> u32 {
        self.master.id()
    }

    fn wait_until_it_accepts(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.address).is_err() {
            if self.master.try_wait()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("nginx does not accept connections; it says:\n{log}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        // Fails only when it has ended already.
        let _ = kill(signals::pid(&self.master), Signal::SIGTERM);
        while matches!(self.master.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.master.kill();
                let _ = self.master.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn nginx_config(address: SocketAddr, services: &[Service]) -> String {
    let upstreams = services
        .iter()
        .map(|Service { name, address }| format!("    upstream {name} {{ server {address}; keepalive 8; }}\n"));
    let locations = services
        .iter()
        .map(|Service { name, .. }| format!("        location /{name} {{ proxy_pass http://{name}; }}\n"));
    format!(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path bodies;
    proxy_temp_path proxied;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
{}    server {{
        listen {address};
{}        location / {{ return 404; }}
    }}
}}
",
        upstreams.collect::<String>(),
        locations.collect::<String>()
    )
}
