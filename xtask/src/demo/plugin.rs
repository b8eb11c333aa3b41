//! The demo's plugin: enabled for each service from the start, and for all by the line of the plugin's page.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Who may change what the agent counts: one user of the demo's own.
pub struct Plugin {
    users: PathBuf,
    token: String,
}

impl Plugin {
    /// Makes the user by `observer token`, in a file of this folder.
    pub fn new(agent: &Path, folder: &Path) -> Result<Self> {
        let users = folder.join("users");
        let made = Command::new(agent)
            .args(["token", "demo", "--role", "admin", "--auth-file"])
            .arg(&users)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot start {}", agent.display()))?;
        ensure!(made.status.success(), "no token for the demo: {}", String::from_utf8_lossy(&made.stderr).trim());
        let token = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok(Self { users, token })
    }

    /// What tells the agent about it: on this address the metrics are open, and changes need the token.
    pub fn agent_args(&self, listen: &str) -> [String; 5] {
        let users = self.users.display().to_string();
        ["--listen".into(), format!("{listen},read=open"), "--auth-file".into(), users, "--start-disabled".into()]
    }

    /// Enables the plugin for one service, as Kong's Admin API does.
    pub fn enable(&self, address: &str, service: &str) -> Result<()> {
        let body = format!("name=prometheus&service_id={service}");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "POST /plugins HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nKong-Admin-Token: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 201 ") {
            bail!("the agent does not enable the plugin for {service}; it answers:\n{answer}");
        }
        Ok(())
    }

    /// The first example of the plugin's page, for this agent.
    pub fn line(&self, address: &str) -> String {
        format!("curl http://{address}/plugins -d name=prometheus -H 'Kong-Admin-Token: {}'", self.token)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // The folder goes as well, later.
        let _ = fs::remove_file(&self.users);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn plugin() -> Plugin {
        Plugin { users: "/nonexistent/users".into(), token: "secret".into() }
    }

    #[test]
    fn the_line_and_the_agents_arguments_name_address_token_and_file() {
        let plugin = plugin();
        assert_eq!(
            plugin.line("127.0.0.1:1"),
            "curl http://127.0.0.1:1/plugins -d name=prometheus -H 'Kong-Admin-Token: secret'"
        );
        assert_eq!(
            plugin.agent_args("127.0.0.1:1"),
            ["--listen", "127.0.0.1:1,read=open", "--auth-file", "/nonexistent/users", "--start-disabled"]
        );
    }

    #[test]
    fn a_service_is_enabled_with_the_token_and_a_refusal_is_told() {
        for (answer, is_enabled) in
            [("HTTP/1.1 201 Created\r\n\r\n{}", true), ("HTTP/1.1 403 Forbidden\r\n\r\n{}", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"name=prometheus&service_id=orders") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(asked).unwrap()
            });
            assert_eq!(plugin().enable(&address, "orders").is_ok(), is_enabled, "{answer}");
            assert!(server.join().unwrap().contains("\r\nKong-Admin-Token: secret\r\n"));
        }
    }
}
