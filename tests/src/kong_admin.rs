//! A stand-in for Kong's Admin API, with one service, its one route, and an upstream that nobody uses.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::wire::Wire;

/// A service as Kong knows it.
#[derive(Debug, Clone)]
pub struct KongService {
    /// Its name.
    pub name: String,
    /// `HOST:PORT`
    pub address: String,
}

/// A listening stand-in. Dropping it ends it.
#[derive(Debug)]
pub struct KongAdmin {
    address: SocketAddr,
    service: Arc<Mutex<KongService>>,
    is_stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl KongAdmin {
    /// On a free port of 127.0.0.1.
    pub fn start(service: KongService) -> Result<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into(), service)
    }

    /// On this address.
    pub fn start_at(address: SocketAddr, service: KongService) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let (service, is_stopping) = (Arc::new(Mutex::new(service)), Arc::new(AtomicBool::new(false)));
        let acceptor = thread::spawn({
            let (service, is_stopping) = (Arc::clone(&service), Arc::clone(&is_stopping));
            move || {
                for stream in listener.incoming() {
                    if is_stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    // The client ends connections as it likes.
                    let _ = stream.map_err(anyhow::Error::from).and_then(|stream| answer(stream, &service));
                }
            }
        });
        Ok(Self { address, service, is_stopping, acceptor: Some(acceptor) })
    }

    /// For `--kong-admin`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this service from now on.
    pub fn set(&self, service: KongService) {
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = service;
    }

    /// Stops listening; gives the address where it did.
    pub fn stop(&mut self) -> Result<SocketAddr> {
        self.is_stopping.store(true, Ordering::SeqCst);
        // One last connection wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().map_err(|_| anyhow::anyhow!("the stand-in panicked"))?;
        }
        Ok(self.address)
    }
}

impl Drop for KongAdmin {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// One request a connection.
fn answer(stream: TcpStream, service: &Mutex<KongService>) -> Result<()> {
    let mut wire = Wire::new(stream);
    let head = wire.head()?.context("no request")?;
    let target = head.start_line.split(' ').nth(1).unwrap_or_default();
    let KongService { name, address } = service.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (host, port) = address.rsplit_once(':').context("HOST:PORT")?;
    let data = match target.split('?').next() {
        Some("/services") => format!(
            r#"{{"id":"s1","name":"{name}","host":"{host}","port":{port},"protocol":"http","path":null,"enabled":true}}"#
        ),
        Some("/routes") => {
            r#"{"id":"r1","name":null,"paths":["/alpha"],"methods":null,"service":{"id":"s1"}}"#.to_owned()
        }
        Some("/upstreams") => r#"{"id":"u1","name":"pool"}"#.to_owned(),
        Some("/upstreams/u1/health") => r#"{"target":"127.0.0.1:1","health":"HEALTHY","data":{"addresses":
            [{"ip":"127.0.0.1","port":1,"health":"HEALTHY"}]}}"#
            .to_owned(),
        _ => String::new(),
    };
    let body = match target {
        "/" => r#"{"version":"3.9.0"}"#.to_owned(),
        _ => format!(r#"{{"data":[{data}],"next":null}}"#),
    };
    let length = body.len();
    wire.write_all(
        format!("HTTP/1.1 200 OK\r\nServer: kong/3.9.0\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .as_bytes(),
    )?;
    Ok(())
}
