//! Conversations of two clients through a gateway, made of a list of choices, so that a failing one shrinks.

use crate::event::{
    Call, Cookie, Data, Direction, Endpoint, Event, Layer, Opened, Origin, Process, ProcessChange, Role, StateChange,
    TcpState,
};
use rustc_hash::FxHashMap;

/// Bytes that are nowhere but in secrets.
pub const SECRET_BYTES: &[u8] = b"jJ~";
/// A client's connection.
pub const CLIENT: Cookie = 100;
/// An upstream's.
pub const UPSTREAM: Cookie = 1000;

const GATEWAY: u32 = 10;
const TAIL_BYTES: usize = 8;

/// Events as bytes.
#[derive(Default)]
pub struct Recorded {
    events: Vec<Vec<u8>>,
    offsets: FxHashMap<(Cookie, bool), u64>,
    time_ns: u64,
}

impl Recorded {
    /// A gateway that listens at port 80.
    pub fn with_gateway() -> Self {
        let mut recorded = Recorded::default();
        let found = ProcessChange::Found { root: GATEWAY, name: "nginx".into() };
        recorded.push(&Event::Process(Process { time_ns: 0, process: GATEWAY, change: found }));
        let listener = opened(1, Role::Listener, Origin::Scan, "0.0.0.0:80", "0.0.0.0:0", 0);
        recorded.push(&Event::Opened(listener));
        recorded.push(&Event::Ready(1));
        recorded
    }

    pub fn push(&mut self, event: &Event<'_>) {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        self.events.push(bytes);
    }

    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().map(|bytes| Event::decode(bytes).unwrap())
    }

    pub fn lengths(&self) -> Vec<usize> {
        self.events.iter().map(Vec::len).collect()
    }

    /// The events as text, for a failing test.
    pub fn dump(&self) -> String {
        let line = |event| match event {
            Event::Data(data) => format!(
                "{} {:?} +{} {} {:?} {:?}\n",
                data.socket,
                data.direction,
                data.offset,
                data.result,
                String::from_utf8_lossy(data.sample),
                String::from_utf8_lossy(data.tail)
            ),
            Event::State(change) => format!("{} {:?}\n", change.socket, change.new),
            Event::Opened(opened) => format!("{} {:?} {:?}\n", opened.socket, opened.role, opened.origin),
            other => format!("{other:?}\n"),
        };
        self.events().map(line).collect()
    }

    /// Clients have cookies below [`UPSTREAM`]. An upstream's cookie chooses its address.
    pub fn open(&mut self, socket: Cookie, origin: Origin) {
        let time_ns = self.tick();
        let event = if socket < UPSTREAM {
            opened(socket, Role::Client, origin, "10.0.0.1:80", &format!("10.9.9.9:{}", 4000 + socket), time_ns)
        } else {
            let local = format!("10.0.0.1:{}", if origin == Origin::Beginning { 0 } else { socket });
            let remote = format!("10.0.0.5:800{}", socket % 3 + 1);
            opened(socket, Role::Upstream, origin, &local, &remote, time_ns)
        };
        self.push(&Event::Opened(event));
    }

    /// A connection of the gateway to this address.
    pub fn open_to(&mut self, socket: Cookie, remote: &str) {
        let time_ns = self.tick();
        let event = opened(socket, Role::Upstream, Origin::Beginning, "10.0.0.1:0", remote, time_ns);
        self.push(&Event::Opened(event));
    }

    /// A call of which the first bytes are sampled, and the last if those are not all.
    pub fn call(&mut self, socket: Cookie, direction: Direction, bytes: &[u8], sampled: usize) {
        let sampled = sampled.min(bytes.len());
        let tail = if sampled < bytes.len() { &bytes[bytes.len().saturating_sub(TAIL_BYTES)..] } else { b"" };
        self.data(socket, direction, bytes.len() as i32, &bytes[..sampled], tail);
    }

    /// A call that nothing is told of.
    pub fn lose(&mut self, socket: Cookie, direction: Direction, bytes: &[u8]) {
        *self.offset(socket, direction) += bytes.len() as u64;
    }

    pub fn data(&mut self, socket: Cookie, direction: Direction, result: i32, sample: &[u8], tail: &[u8]) {
        let data = Data {
            time_ns: self.tick(),
            socket,
            sequence: 0,
            process: GATEWAY,
            thread: GATEWAY,
            direction,
            call: Call::Buffer,
            layer: Layer::Socket,
            offset: *self.offset(socket, direction),
            result,
            unseen_bytes: 0,
            sample,
            tail,
        };
        self.push(&Event::Data(data));
        *self.offset(socket, direction) += u64::try_from(result).unwrap_or(0);
    }

    pub fn state(&mut self, socket: Cookie, new: TcpState) {
        self.change(socket, new, new == TcpState::Close);
    }

    pub fn change(&mut self, socket: Cookie, new: TcpState, is_closed: bool) {
        let time_ns = self.tick();
        let change = StateChange {
            time_ns,
            socket,
            sequence: 0,
            old: if new == TcpState::Established { TcpState::SynSent } else { TcpState::Established },
            new,
            local_port: socket as u16,
            local: [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            error: 0,
            is_closed,
            unseen_bytes: 0,
        };
        self.push(&Event::State(change));
    }

    fn exit(&mut self) {
        let time_ns = self.tick();
        let change = ProcessChange::Exited;
        self.push(&Event::Process(Process { time_ns, process: GATEWAY, change }));
    }

    fn offset(&mut self, socket: Cookie, direction: Direction) -> &mut u64 {
        self.offsets.entry((socket, direction == Direction::Sent)).or_default()
    }

    fn tick(&mut self) -> u64 {
        self.time_ns += 1_700_000;
        self.time_ns
    }
}

fn opened(socket: Cookie, role: Role, origin: Origin, local: &str, remote: &str, time_ns: u64) -> Opened {
    let is_accept = role == Role::Client && origin == Origin::Beginning;
    Opened {
        time_ns,
        socket,
        sequence: 0,
        process: if is_accept { 0 } else { GATEWAY },
        thread: if is_accept { 0 } else { GATEWAY },
        network: 1,
        role,
        origin,
        state: if role == Role::Upstream && origin == Origin::Beginning { 2 } else { 1 },
        local: Endpoint::Ip(local.parse().unwrap()),
        remote: Endpoint::Ip(remote.parse().unwrap()),
    }
}

/// Choices, one after the other; the first alternative once they are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % limit
    }

    fn of<'t>(&mut self, alternatives: &[&'t str]) -> &'t str {
        alternatives[self.below(alternatives.len())]
    }

    fn seldom(&mut self) -> bool {
        self.below(16) == 15
    }
}

enum Step {
    Open(Cookie, Origin),
    Bytes(Cookie, Direction, Vec<u8>),
    State(Cookie, TcpState),
    /// The gateway closed first.
    Close(Cookie),
    /// The end of the stream, or an error.
    Result(Cookie, i32),
    Exit,
}

/// Traffic of two clients at once.
pub fn of(choices: &[u8]) -> Recorded {
    let mut choices = Choices(choices.iter());
    let mut recorded = Recorded::with_gateway();
    let mut scripts = [0, 1].map(|client| script(&mut choices, client).into_iter().peekable());
    while scripts.iter_mut().any(|script| script.peek().is_some()) {
        let first = choices.below(2);
        let Some(step) = scripts[first].next().or_else(|| scripts[1 - first].next()) else { break };
        match step {
            Step::Open(socket, origin) => recorded.open(socket, origin),
            Step::State(socket, new) => recorded.state(socket, new),
            Step::Close(socket) => recorded.change(socket, TcpState::FinWait, true),
            Step::Result(socket, result) => recorded.data(socket, Direction::Received, result, b"", b""),
            Step::Exit => recorded.exit(),
            Step::Bytes(socket, direction, bytes) => calls(&mut choices, &mut recorded, socket, direction, &bytes),
        }
    }
    recorded
}

fn calls(choices: &mut Choices<'_>, to: &mut Recorded, socket: Cookie, direction: Direction, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let length = match choices.below(4) {
            0 => bytes.len(),
            1 => 1 + choices.below(8),
            _ => 1 + choices.below(120),
        };
        let (call, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest;
        if choices.seldom() {
            to.lose(socket, direction, call);
        } else if choices.below(6) == 5 {
            let sampled = choices.below(256);
            to.call(socket, direction, call, sampled);
        } else {
            to.call(socket, direction, call, call.len());
        }
    }
}

fn script(choices: &mut Choices<'_>, client: u64) -> Vec<Step> {
    let socket = CLIENT + client;
    let origin = if choices.seldom() { Origin::Midway } else { Origin::Beginning };
    let mut steps = vec![Step::Open(socket, origin)];
    let (exchanges, is_pipelined) = (1 + choices.below(3), choices.below(4) == 3);
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    for number in 0..exchanges {
        let request = Request::choose(choices, &format!("{client}{number}"));
        let answer = response(choices, &request);
        requests.push(Step::Bytes(socket, Direction::Received, request.text.clone()));
        if choices.below(3) > 0 {
            let upstream = UPSTREAM + client * 100 + number as u64 * 3 + choices.below(3) as u64;
            answers.extend(upstream_steps(choices, upstream, &request));
        }
        answers.push(Step::Bytes(socket, Direction::Sent, answer));
        if !is_pipelined {
            steps.append(&mut requests);
            steps.append(&mut answers);
        }
    }
    steps.append(&mut requests);
    steps.append(&mut answers);
    steps.extend(ending(choices, socket));
    steps
}

fn ending(choices: &mut Choices<'_>, socket: Cookie) -> Vec<Step> {
    let mut steps = match choices.below(9) {
        0 => return Vec::new(),
        1 => vec![Step::State(socket, TcpState::CloseWait), Step::State(socket, TcpState::LastAck)],
        2 => vec![Step::State(socket, TcpState::FinWait), Step::Result(socket, 0)],
        3 => vec![Step::Result(socket, 0)],
        4 => vec![Step::State(socket, TcpState::FinWait), Step::Result(socket, -104)],
        5 => vec![Step::Exit],
        6 => vec![],
        7 => vec![Step::Close(socket)],
        _ => vec![Step::State(socket, TcpState::Close), Step::Open(socket, Origin::Midway)],
    };
    // What comes behind shows whether both followed the ending alike.
    for method in ["GET", "HEAD", "GET"] {
        let request = format!("{method} /orders/end?jJ~ HTTP/1.1\r\n\r\n");
        let length = if method == "HEAD" { 0 } else { 3 };
        let answer = format!("HTTP/1.1 200 jJ~\r\nContent-Length: 3\r\n\r\n{}", &"jJ~"[..length]);
        steps.push(Step::Bytes(socket, Direction::Received, request.into()));
        steps.push(Step::Bytes(socket, Direction::Sent, answer.into()));
    }
    steps.push(Step::State(socket, TcpState::Close));
    steps
}

fn upstream_steps(choices: &mut Choices<'_>, socket: Cookie, request: &Request) -> Vec<Step> {
    let mut steps = vec![Step::Open(socket, Origin::Beginning), Step::State(socket, TcpState::Established)];
    for _ in 0..1 + choices.below(2) {
        steps.push(Step::Bytes(socket, Direction::Sent, request.forwarded.clone()));
        steps.push(Step::Bytes(socket, Direction::Received, response(choices, request)));
        match choices.below(3) {
            0 => {}
            1 => steps.push(Step::Result(socket, 0)),
            _ => steps.push(Step::State(socket, TcpState::Close)),
        }
    }
    steps
}

struct Request {
    is_head: bool,
    text: Vec<u8>,
    /// As the gateway sends it to the upstream.
    forwarded: Vec<u8>,
}

impl Request {
    fn choose(choices: &mut Choices<'_>, name: &str) -> Self {
        if choices.seldom() {
            let garbage =
                choices.of(&["\x16\x03\x01jJ~\r\n\r\n", "JJJ jJ~\r\nHost: jJ~\r\n\r\n", "GET jJ~\n\njJ~", "jJ~"]);
            return Request { is_head: false, text: garbage.into(), forwarded: garbage.into() };
        }
        // The unknown one is longer than what a gap leaves of a known one: overwritten, those of a length are equal.
        let method = choices.of(&["GET", "POST", "HEAD", "PUT", "PURGE", "CONNECT", "JJJJJJJJ"]);
        let path = choices.of(&["/orders/", "/v1/users/", "/else/", "/users/"]);
        let query = choices.of(&["", "?jJ~=jJ~", "?j?J/~ J"]).replace(' ', "+");
        let prefix = choices.of(&["", "", "", "http://jJ~:J@other.test", "http://other.test"]);
        let version = choices.of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
        let fields = fields(choices, name, &REQUEST_FIELDS);
        let (framing, body) = body(choices, true);
        let head = |prefix| format!("{method} {prefix}{path}{name}{query} {version}\r\n{fields}{framing}\r\n");
        let whole = |prefix| [head(prefix).as_bytes(), &body].concat();
        Request { is_head: method == "HEAD", text: whole(prefix), forwarded: whole("") }
    }
}

const REQUEST_FIELDS: [&str; 9] = [
    "Host: shop.test\r\n",
    "hOST :  other.test\r\n",
    "Cookie: a=jJ~; b=jJ~\r\n",
    "Authorization: Basic jJ~==\r\n",
    "X-Request-ID: id-NAME\r\n",
    "X-Plan: gold\r\n",
    "Connection: keep-alive\r\n",
    "X-Forwarded-For: 10.9.9.9\r\n",
    "jJ~ no field\r\n",
];

const RESPONSE_FIELDS: [&str; 6] = [
    "Server: nginx\r\n",
    "Location: http://jJ~/?jJ~\r\n",
    "Set-Cookie: jJ~=jJ~\r\n",
    "X-Folded: jJ~\r\n Host: jJ~\r\n\tjJ~\r\n",
    "X-Request-ID: id-NAME\r\n",
    "Content-Kind : jJ~\n",
];

fn fields(choices: &mut Choices<'_>, name: &str, of: &[&str]) -> String {
    (0..choices.below(5)).map(|_| choices.of(of).replace("NAME", name)).collect()
}

/// Fields that tell the framing, and the body.
fn body(choices: &mut Choices<'_>, is_request: bool) -> (String, Vec<u8>) {
    let content = choices.of(&[
        "jJ~",
        "",
        "GET /orders/in?jJ~ HTTP/1.1\r\nCookie: jJ~\r\n\r\n",
        "JJ jJ~\r\n\r\n",
        "HTTP/1.1 200 jJ~\r\nSet-Cookie: jJ~\r\nContent-Length: 2\r\n\r\njJ",
        "jJ~\r\n0\r\n\r\n",
    ]);
    let content = content.repeat(1 + choices.below(6));
    match choices.below(if is_request { 3 } else { 4 }) {
        0 => (String::new(), Vec::new()),
        1 => (format!("Content-Length: {}\r\n", content.len()), content.into()),
        2 => ("Transfer-Encoding: chunked\r\n".into(), chunked(choices, &content)),
        _ => ("Connection: close\r\n".into(), content.into()),
    }
}

fn chunked(choices: &mut Choices<'_>, content: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in content.as_bytes().chunks(1 + choices.below(200)) {
        let extension = choices.of(&["", ";jJ~=\"jJ~\"", " "]);
        bytes.extend(format!("{:X}{extension}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    let end = choices.of(&["0\r\n\r\n", "0\r\n\r\n", "0;jJ~\r\nX-Trailer: jJ~\r\n\r\n", "jJ~\r\n"]);
    bytes.extend(end.as_bytes());
    bytes
}

fn response(choices: &mut Choices<'_>, request: &Request) -> Vec<u8> {
    let interim = if choices.seldom() { "HTTP/1.1 100 jJ~\r\n\r\n" } else { "" };
    let status = choices.of(&["200 OK", "200", "404 jJ~", "204 No", "304 Not", "502 Bad", "101 Switch jJ~", "2J0 jJ~"]);
    let fields = fields(choices, "00", &RESPONSE_FIELDS);
    let (framing, body) = body(choices, false);
    let body = if request.is_head { Vec::new() } else { body };
    [format!("{interim}HTTP/1.1 {status}\r\n{fields}{framing}\r\n").as_bytes(), &body].concat()
}
