//! A gateway's doings, written down by hand and fed to a whole pipeline as events.
//!
//! After each event the identity is checked: begun = counted + filtered + unobserved + open.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use crate::attribution::Attribution;
use crate::config::Config;
use crate::event::{
    Call, Cookie, Data, Direction, Endpoint, Event, Layer, Opened, Origin, Process, ProcessChange, Role, StateChange,
    TcpState,
};
use crate::exposition::text;
use crate::metrics::{self, Metrics, Reading};
use crate::pipeline::{Counting, Following, Options, Pipeline};
use crate::shards::Shards;
use crate::shards::batch::Batch;

pub const MS: u64 = 1_000_000;
/// The gateway's one process and thread, unless another is named.
pub const WORKER: u32 = 11;
pub const MASTER: u32 = 10;
pub const GATEWAY: &str = "10.0.0.1:80";
pub const ORDERS: &str = "10.1.0.1:8080";
pub const USERS: &str = "10.1.0.2:8080";

const CONFIG: &str = "
services:
- {name: orders, url: 'http://10.1.0.1:8080', routes: [{paths: [/orders]}]}
- {name: users, url: 'http://10.1.0.2:8080', routes: [{paths: [/users]}]}
- {name: local, url: 'http://unix:/run/app.sock:/', routes: [{paths: [/local]}]}
";

pub struct Script {
    pub pipeline: Pipeline,
    sockets: HashMap<Cookie, Socket>,
    next_socket: Cookie,
    /// The thread, and process, that the next calls come from.
    pub thread: u32,
    /// Bytes that left the socket before the next call without any call.
    pub unseen_bytes: u32,
    config: String,
    options: Options,
    log: Batch,
    /// Nothing but events was told to the pipeline.
    pub has_events_only: bool,
}

/// The same events over several threads give the same page.
impl Drop for Script {
    fn drop(&mut self) {
        if !self.has_events_only || std::thread::panicking() {
            return;
        }
        self.pipeline.publish();
        let page = self.page(text::Options::default());
        let per_gateway_label = self.options.per_gateway_label;
        let metrics = Metrics::new(metrics::Options { per_gateway_label, ..metrics::Options::default() });
        let attribution = Attribution::new(&Config::parse_own("observer.yml", &self.config).unwrap());
        let mut shards = Shards::in_small_batches(Counting::new(self.options.clone(), attribution, metrics), 2);
        self.log.drain(|_, event| shards.handle(event));
        shards.publish();
        let over_threads = text::encode(shards.counting().metrics().registry().gather(), text::Options::default());
        assert_eq!(over_threads, page, "over two threads");
        assert_eq!(shards.open_exchanges(), self.pipeline.open_exchanges());
    }
}

#[derive(Default)]
struct Socket {
    received: u64,
    sent: u64,
    sequence: u32,
}

impl Script {
    /// An nginx with one worker, listening, and two services behind it.
    pub fn new() -> Self {
        let mut script = Script::with(CONFIG, Options::default());
        script.starts(MASTER, "nginx", GATEWAY);
        script.process(0, WORKER, ProcessChange::Forked { parent: MASTER });
        script
    }

    /// Nothing runs yet.
    pub fn with(config: &str, options: Options) -> Self {
        let attribution = Attribution::new(&Config::parse_own("observer.yml", config).unwrap());
        let per_gateway_label = options.per_gateway_label;
        let metrics = Metrics::new(metrics::Options { per_gateway_label, ..metrics::Options::default() });
        Script {
            pipeline: Pipeline::new(options.clone(), attribution, metrics),
            sockets: HashMap::new(),
            next_socket: 1,
            thread: WORKER,
            unseen_bytes: 0,
            config: config.to_owned(),
            options,
            log: Batch::default(),
            has_events_only: true,
        }
    }

    /// All events so far, for the caller to take out; the script is not compared with itself over threads then.
    pub fn log(&mut self) -> &mut Batch {
        self.has_events_only = false;
        &mut self.log
    }

    pub fn handle(&mut self, event: &Event<'_>) {
        self.pipeline.handle(event);
        self.log.push(0, event);
        let open = self.pipeline.open_exchanges() as u64;
        let own = |name: &str| self.sum(&format!("observer_exchanges_{name}_total"));
        let accounted = own("counted") + own("filtered") + own("unobserved") + open;
        assert_eq!(own("begun"), accounted, "begun = counted + filtered + unobserved + open, after {event:?}");
    }

    /// A program that a scan found, and its listener.
    pub fn starts(&mut self, process: u32, name: &str, listens: &str) -> Cookie {
        self.process(0, process, ProcessChange::Found { root: process, name: name.into() });
        let local = ip(listens);
        let before = std::mem::replace(&mut self.thread, process);
        let socket = self.opened(0, Role::Listener, Origin::Scan, local, ip("0.0.0.0:0"));
        self.thread = before;
        socket
    }

    pub fn process(&mut self, at_ms: u64, process: u32, change: ProcessChange) {
        self.handle(&Event::Process(Process { time_ns: at_ms * MS, process, change }));
    }

    /// A client's connection, accepted under our eyes, in no task's name.
    pub fn accepts(&mut self, at_ms: u64) -> Cookie {
        let port = 20_000 + self.next_socket;
        self.accepts_from(at_ms, GATEWAY, &format!("10.0.0.7:{port}"))
    }

    pub fn accepts_from(&mut self, at_ms: u64, listener: &str, client: &str) -> Cookie {
        let before = std::mem::replace(&mut self.thread, 0);
        let socket = self.opened(at_ms, Role::Client, Origin::Beginning, ip(listener), ip(client));
        self.thread = before;
        socket
    }

    /// A connect that is under way.
    pub fn connects(&mut self, at_ms: u64, remote: &str) -> Cookie {
        self.opened(at_ms, Role::Upstream, Origin::Beginning, ip("0.0.0.0:0"), ip(remote))
    }

    /// A connect and its success.
    pub fn connected(&mut self, at_ms: u64, remote: &str) -> Cookie {
        let socket = self.connects(at_ms, remote);
        self.turns(at_ms, socket, TcpState::SynSent, TcpState::Established);
        socket
    }

    pub fn opened(&mut self, at_ms: u64, role: Role, origin: Origin, local: Endpoint, remote: Endpoint) -> Cookie {
        let socket = self.next_socket;
        self.next_socket += 1;
        self.sockets.insert(socket, Socket { sequence: 1, ..Socket::default() });
        self.handle(&Event::Opened(Opened {
            time_ns: at_ms * MS,
            socket,
            sequence: 0,
            process: self.thread,
            thread: self.thread,
            network: 1,
            role,
            origin,
            state: 1,
            local,
            remote,
        }));
        socket
    }

    pub fn reads(&mut self, at_ms: u64, socket: Cookie, bytes: impl AsRef<[u8]>) {
        self.calls(at_ms * MS, socket, Direction::Received, bytes.as_ref().len() as i32, bytes.as_ref());
    }

    pub fn writes(&mut self, at_ms: u64, socket: Cookie, bytes: impl AsRef<[u8]>) {
        self.calls(at_ms * MS, socket, Direction::Sent, bytes.as_ref().len() as i32, bytes.as_ref());
    }

    pub fn reads_end(&mut self, at_ms: u64, socket: Cookie) {
        self.calls(at_ms * MS, socket, Direction::Received, 0, b"");
    }

    pub fn calls(&mut self, time_ns: u64, socket: Cookie, direction: Direction, result: i32, sample: &[u8]) {
        let state = self.sockets.get_mut(&socket).unwrap();
        let stream = match direction {
            Direction::Received => &mut state.received,
            Direction::Sent => &mut state.sent,
        };
        *stream += u64::from(self.unseen_bytes);
        let offset = *stream;
        *stream += u64::try_from(result).unwrap_or(0);
        let sequence = state.sequence;
        state.sequence += 1;
        self.handle(&Event::Data(Data {
            time_ns,
            socket,
            sequence,
            process: self.thread,
            thread: self.thread,
            direction,
            call: Call::Buffer,
            layer: Layer::Socket,
            offset,
            result,
            unseen_bytes: self.unseen_bytes,
            sample,
            tail: b"",
        }));
    }

    /// A record that never came.
    pub fn loses(&mut self, socket: Cookie, direction: Direction, bytes: u64) {
        let state = self.sockets.get_mut(&socket).unwrap();
        match direction {
            Direction::Received => state.received += bytes,
            Direction::Sent => state.sent += bytes,
        }
        state.sequence += 1;
    }

    pub fn turns(&mut self, at_ms: u64, socket: Cookie, old: TcpState, new: TcpState) {
        self.turns_with(at_ms, socket, old, new, false);
    }

    /// A connect is refused.
    pub fn refuses(&mut self, at_ms: u64, socket: Cookie) {
        let error = nix::errno::Errno::ECONNREFUSED as i32;
        self.turns_all(at_ms, socket, [TcpState::SynSent, TcpState::Close], false, error);
    }

    /// `is_closed`: by the gateway, and altogether.
    pub fn turns_with(&mut self, at_ms: u64, socket: Cookie, old: TcpState, new: TcpState, is_closed: bool) {
        self.turns_all(at_ms, socket, [old, new], is_closed, 0);
    }

    fn turns_all(&mut self, at_ms: u64, socket: Cookie, [old, new]: [TcpState; 2], is_closed: bool, error: i32) {
        let state = self.sockets.get_mut(&socket).unwrap();
        let sequence = state.sequence;
        state.sequence += 1;
        let mut local = [0; 16];
        local[..4].copy_from_slice(&[10, 0, 0, 1]);
        self.handle(&Event::State(StateChange {
            time_ns: at_ms * MS,
            socket,
            sequence,
            old,
            new,
            local_port: 40_000 + socket as u16,
            local,
            error,
            is_closed,
            unseen_bytes: 0,
        }));
    }

    /// The peer's FIN, then the gateway's close.
    pub fn peer_closes(&mut self, at_ms: u64, socket: Cookie) {
        self.turns(at_ms, socket, TcpState::Established, TcpState::CloseWait);
        self.turns_with(at_ms, socket, TcpState::CloseWait, TcpState::LastAck, true);
        self.turns_with(at_ms, socket, TcpState::LastAck, TcpState::Close, true);
    }

    /// The gateway's close, then the peer's FIN.
    pub fn gateway_closes(&mut self, at_ms: u64, socket: Cookie) {
        self.turns_with(at_ms, socket, TcpState::Established, TcpState::FinWait, true);
        self.turns_with(at_ms, socket, TcpState::FinWait, TcpState::Close, true);
    }

    /// The peer's RST; the gateway still has the connection.
    pub fn peer_resets(&mut self, at_ms: u64, socket: Cookie) {
        self.turns(at_ms, socket, TcpState::Established, TcpState::Close);
    }

    /// The gateway's close of a connection that was reset.
    pub fn closes_reset(&mut self, at_ms: u64, socket: Cookie) {
        self.turns_with(at_ms, socket, TcpState::Close, TcpState::Close, true);
    }

    pub fn page(&self, options: text::Options) -> String {
        text::encode(self.pipeline.metrics().registry().gather(), options)
    }

    /// The value of a printed series.
    pub fn value(&self, key: &str) -> Option<u64> {
        let page = self.page(text::Options::default());
        page.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
    }

    /// The connection states: active, reading, writing, waiting.
    pub fn gauge(&mut self) -> [u64; 4] {
        self.pipeline.publish();
        ["active", "reading", "writing", "waiting"]
            .map(|state| self.value(&format!("kong_nginx_http_current_connections{{state=\"{state}\"}}")).unwrap())
    }

    /// What the metrics tell: services, each with statuses, bytes and latencies, then the rest.
    pub fn told(&self) -> Vec<String> {
        let page = self.page(text::Options::default());
        let mut services = BTreeMap::<String, Service>::new();
        let mut rest = Vec::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let (family, labels) = key.split_once('{').unwrap_or((key, ""));
            let values: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
            let number = || value.parse::<u64>().unwrap();
            match (family, &values[..]) {
                ("kong_http_status", [code, service, ..]) => {
                    services.entry((*service).into()).or_default().statuses.push(format!("{code} x{value}"));
                }
                ("kong_bandwidth", [kind, service, ..]) => {
                    services.entry((*service).into()).or_default().bytes[usize::from(*kind == "egress")] = number();
                }
                ("kong_latency_sum", [kind, service, ..]) => {
                    let index = ["kong", "upstream", "request"].iter().position(|name| name == kind).unwrap();
                    services.entry((*service).into()).or_default().ms[index] = Some(number());
                }
                ("observer_unattributed_requests_total", [code]) => rest.push(format!("unattributed: {code} x{value}")),
                ("observer_exchanges_unobserved_total", [why]) => rest.push(format!("unobserved: {why} x{value}")),
                ("observer_inferred_total", [rule]) => rest.push(format!("inferred: {rule} x{value}")),
                ("observer_exchanges_filtered_total", [why]) if *why != "unattributed" => {
                    rest.push(format!("filtered: {why} x{value}"));
                }
                _ => {}
            }
        }
        services.iter().map(|(name, service)| service.line(name)).chain(rest).collect()
    }

    pub fn sum(&self, family: &str) -> u64 {
        let readings = self.pipeline.metrics().registry().gather();
        let found = readings.iter().find(|found| found.name == family);
        found.into_iter().flat_map(Reading::numbers).map(|(_, value)| value as u64).sum()
    }
}

#[derive(Default)]
struct Service {
    statuses: Vec<String>,
    bytes: [u64; 2],
    ms: [Option<u64>; 3],
}

impl Service {
    fn line(&self, name: &str) -> String {
        let [kong, upstream, request] = self.ms.map(|ms| ms.map_or("-".to_owned(), |ms| ms.to_string()));
        let [ingress, egress] = self.bytes;
        format!("{name}: {}, {ingress}+{egress} bytes, {kong}+{upstream}={request} ms", self.statuses.join(", "))
    }
}

pub fn ip(address: &str) -> Endpoint {
    Endpoint::Ip(address.parse::<SocketAddr>().unwrap())
}

/// 26 bytes and the target's.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// 38 bytes and the body's, for a body below 10.
pub fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Fills a head up to so many bytes.
pub fn padded(head: &str, bytes: usize) -> String {
    let head = head.strip_suffix("\r\n").unwrap();
    let padding = bytes - head.len() - "X: \r\n\r\n".len();
    format!("{head}X: {}\r\n\r\n", "x".repeat(padding))
}
