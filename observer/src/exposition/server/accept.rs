//! One listener: takes connections in while there are slots for them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::Limits;
use super::access::{Ends, Peer, Rules};
use super::bind::{Bound, ListenError, Socket, UnixFile};
use super::connection::{self, Answers, ForPeer};
use super::throttle::Throttle;
use super::tls::Tls;

/// Something that connections come from.
pub(super) trait Accept: Send + Sync + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next one; giving up the wait loses none. What takes a client's time does not belong here: the
    /// others would wait for it.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Ends)>> + Send;

    /// Its address, for messages.
    fn name(&self) -> String;
}

impl Accept for TcpListener {
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Ends)> {
        let (stream, remote) = TcpListener::accept(self).await?;
        // Otherwise the last bytes of an answer wait for the acknowledgement of those before (Nagle, up to 40 ms). It
        // fails only on a connection that is gone already.
        let _ = stream.set_nodelay(true);
        let ends = Ends { remote: Some(remote), local: stream.local_addr().ok() };
        Ok((stream, ends))
    }

    fn name(&self) -> String {
        self.local_addr().map_or_else(|_| "an unknown address".to_owned(), |address| address.to_string())
    }
}

impl Accept for (UnixListener, UnixFile) {
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Ends)> {
        let (stream, _) = self.0.accept().await?;
        Ok((stream, Ends::default()))
    }

    fn name(&self) -> String {
        self.1.to_string()
    }
}

/// A listener's rules for those who come in.
#[derive(Clone, Default)]
pub(super) struct Door {
    rules: Arc<Rules>,
    tls: Option<Arc<Tls>>,
}

/// What all listeners share.
#[derive(Clone)]
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) limits: Limits,
    /// One permit a connection.
    pub(super) slots: Arc<Semaphore>,
    /// Without its sender: no more connections, and those that are there end soon.
    pub(super) stopped: watch::Receiver<()>,
}

/// Serves a listener beside the others.
pub(super) fn spawn(
    servers: &mut JoinSet<()>,
    bound: Bound,
    shared: &Shared<impl Answers + Sync>,
) -> Result<(), ListenError> {
    let failed = {
        let address = bound.to_string();
        move |reason| ListenError::Refused { address, reason }
    };
    let (door, shared) = (Door { rules: bound.rules, tls: bound.tls }, shared.clone());
    match bound.socket {
        Socket::Tcp(listener) => {
            servers.spawn(run(TcpListener::from_std(listener).map_err(failed)?, door, shared));
        }
        Socket::Unix(socket) => {
            let listener = UnixListener::from_std(socket.listener).map_err(failed)?;
            servers.spawn(run((listener, socket.file), door, shared));
        }
    }
    Ok(())
}

/// Serves what comes from `listener` until stopped; done when its last connection is.
async fn run(listener: impl Accept, door: Door, shared: Shared<impl Answers>) {
    let mut stopped = shared.stopped.clone();
    let mut connections = JoinSet::new();
    let (mut failures, mut refusals) = (Throttle::default(), Throttle::default());
    loop {
        let (io, ends) = tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => continue,
            next = next(&listener, &mut failures) => next,
        };
        let Ok(slot) = shared.slots.clone().try_acquire_owned() else {
            drop(io);
            refused(&listener, &mut refusals, shared.limits.connections);
            continue;
        };
        let peer = Peer { ends, rules: Arc::clone(&door.rules) };
        let (tls, shared) = (door.tls.clone(), shared.clone());
        connections.spawn(async move {
            converse(io, tls, peer, shared).await;
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection from its handshake, if there is one, to its end.
async fn converse<IO>(io: IO, tls: Option<Arc<Tls>>, peer: Peer, shared: Shared<impl Answers>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Shared { service, limits, mut stopped, .. } = shared;
    let service = ForPeer::new(service, peer);
    let Some(tls) = tls else {
        return connection::serve(io, service, limits, stopped).await;
    };
    let handshake = timeout(limits.head_time, tls.acceptor().accept(io));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        _ = stopped.changed() => return,
    };
    match shaken {
        // As large as both TLS records' buffers.
        Ok(Ok(io)) => connection::serve(Box::new(io), service, limits, stopped).await,
        Ok(Err(error)) => log::debug!("a TLS handshake for the metrics failed: {error}"),
        Err(_) => log::debug!("a TLS handshake for the metrics took too long"),
    }
}

/// How long to wait after a failure: it is mostly a want of descriptors, and they come back as connections end.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection, however long the host has no descriptors or memory for it.
async fn next<L: Accept>(listener: &L, failures: &mut Throttle) -> (L::Io, Ends) {
    loop {
        let error = match listener.accept().await {
            Ok(next) => return next,
            Err(error) => error,
        };
        if let Some(count) = failures.count(Instant::now()) {
            log::warn!(
                "cannot accept connections on {} ({count} times since the last such message), trying again: {error}; \
                 if too many files are open, raise the limit (`ulimit -n`, or LimitNOFILE= in a systemd unit)",
                listener.name()
            );
        }
        sleep(PAUSE).await;
    }
}

fn refused(listener: &impl Accept, refusals: &mut Throttle, limit: usize) {
    if let Some(count) = refusals.count(Instant::now()) {
        log::warn!(
            "refused connections on {} ({count} since the last such message): {limit} are open, as many as may be; \
             `ss -tnp` shows who keeps them",
            listener.name()
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::Mutex;

    use super::super::{Pages, Readiness, pages};
    use super::*;
    use crate::exposition::health::Health;
    use crate::exposition::plugins::Plugins;
    use crate::exposition::snapshot::Snapshots;
    use crate::exposition::text;
    use crate::metrics::{Dialect, Metrics, Options};
    use crate::tail::Hub;

    /// Has no descriptors the first few times, then one connection.
    struct Starved {
        failures: AtomicUsize,
        connection: Mutex<Option<DuplexStream>>,
    }

    impl Accept for Starved {
        type Io = DuplexStream;

        async fn accept(&self) -> io::Result<(DuplexStream, Ends)> {
            if self.failures.load(Ordering::Relaxed) > 0 {
                self.failures.fetch_sub(1, Ordering::Relaxed);
                return Err(nix::errno::Errno::EMFILE.into());
            }
            match self.connection.lock().await.take() {
                Some(connection) => Ok((connection, Ends::default())),
                None => std::future::pending().await,
            }
        }

        fn name(&self) -> String {
            "a test".to_owned()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn want_of_descriptors_is_waited_out() {
        let (mut client, io) = duplex(64 * 1024);
        let listener = Starved { failures: AtomicUsize::new(5), connection: Mutex::new(Some(io)) };
        let (_, readiness) = watch::channel(Readiness::Ready);
        let metrics = Metrics::new(Options::default());
        let (registry, snapshots) = (metrics.registry().clone(), Snapshots::new(metrics.view()));
        let tail = Hub::new(&registry);
        let plugins = Arc::new(Plugins::open(None, false, Vec::new()).unwrap());
        let pages = Pages {
            registry,
            readiness,
            health: Health::default(),
            text: text::Options { own_metrics: false, ..text::Options::default() },
            dialects: vec![Dialect::First],
            auth: None,
            snapshots,
            tail,
            plugins,
        };
        let (_stop, stopped) = watch::channel(());
        let limits = Limits::default();
        let shared = Shared {
            service: pages::service(pages, Limits::default()),
            limits,
            slots: Arc::new(Semaphore::new(1)),
            stopped,
        };
        let began = Instant::now();
        tokio::spawn(run(listener, Door::default(), shared));
        client.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(began.elapsed() >= 5 * PAUSE, "it tried again without a pause");
    }
}
