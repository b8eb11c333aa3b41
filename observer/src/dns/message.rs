//! One message: the answer to a question, with the chain of aliases followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_BYTES: usize = 12;

/// Records that are looked at: the answer to a name of a large service has some tens.
const RECORDS_MAX: usize = 128;

/// Aliases that are followed: resolvers give up at 8 to 16.
const ALIASES_MAX: usize = 16;

/// A name's bytes with a dot after each label (RFC 1035, section 2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// A longer time to live counts as this (RFC 8767, section 4).
const TTL_MAX_S: u32 = 7 * 24 * 3600;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;

/// What a name was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Servers and their ports (RFC 2782).
    Srv,
}

/// What a name server said of one name. Names are in lower case, without the dot at their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that was asked for.
    pub name: String,
    /// What it was asked for.
    pub question: Question,
    /// Its addresses; of an answer about servers, theirs. IPv4 in IPv6 counts as IPv4.
    pub addresses: Vec<Address>,
    /// Servers whose addresses the answer does not tell.
    pub targets: Vec<Target>,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// It.
    pub ip: IpAddr,
    /// The port that goes with it, where servers were asked for.
    pub port: Option<u16>,
    /// How long it holds, in seconds: the shortest time along the chain.
    pub ttl_s: u32,
}

/// A server (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// How long it holds, in seconds.
    pub ttl_s: u32,
}

/// Reads an answer without error (RCODE 0) to one question about addresses or servers. Of a message that was cut, what
/// came before the cut is taken; one that its sender cut (TC) is none, it comes again over TCP.
pub fn answer(message: &[u8]) -> Option<Answer> {
    let mut reader = Reader { message, at: 0 };
    let (_, flags) = (reader.u16()?, reader.u16()?);
    const ANSWER: u16 = 0x8000;
    const OPCODE_TRUNCATED_RCODE: u16 = 0x7a0f;
    if flags & (ANSWER | OPCODE_TRUNCATED_RCODE) != ANSWER || reader.u16()? != 1 {
        return None;
    }
    let records = [reader.u16()?, reader.u16()?, reader.u16()?].map(usize::from).iter().sum::<usize>();
    let name = reader.name()?;
    let question = Question::of(reader.u16()?)?;
    if reader.u16()? != CLASS_IN {
        return None;
    }
    let records: Vec<Record> = (0..records.min(RECORDS_MAX)).map_while(|_| reader.record()).collect();
    Some(told(name, question, &records))
}

/// A query for a name, as a resolver sends it over UDP; `None` for a text that is no name.
pub fn query(id: u16, name: &str, question: Question) -> Option<Vec<u8>> {
    const RECURSION_DESIRED: u16 = 0x0100;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() >= NAME_BYTES_MAX {
        return None;
    }
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(question.number().to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Some(message)
}

impl Question {
    fn of(number: u16) -> Option<Self> {
        match number {
            TYPE_A => Some(Question::A),
            TYPE_AAAA => Some(Question::Aaaa),
            TYPE_SRV => Some(Question::Srv),
            _ => None,
        }
    }

    fn number(self) -> u16 {
        match self {
            Question::A => TYPE_A,
            Question::Aaaa => TYPE_AAAA,
            Question::Srv => TYPE_SRV,
        }
    }
}

struct Record {
    owner: String,
    ttl_s: u32,
    value: Value,
}

enum Value {
    Address(IpAddr),
    Alias(String),
    Server { port: u16, name: String },
    Other,
}

fn told(name: String, question: Question, records: &[Record]) -> Answer {
    let mut answer = Answer { name: name.clone(), question, addresses: Vec::new(), targets: Vec::new() };
    let (end, ttl_s) = end_of_chain(&name, records);
    if question != Question::Srv {
        answer.addresses.extend(addresses(end, ttl_s, records));
        return answer;
    }
    for record in records.iter().filter(|record| record.owner == end) {
        let Value::Server { port, name } = &record.value else { continue };
        let ttl_s = ttl_s.min(record.ttl_s);
        let (end, address_ttl_s) = end_of_chain(name, records);
        let before = answer.addresses.len();
        let found = addresses(end, ttl_s.min(address_ttl_s), records);
        answer.addresses.extend(found.map(|address| Address { port: Some(*port), ..address }));
        // A dot stands for "no such service".
        if answer.addresses.len() == before && !name.is_empty() {
            answer.targets.push(Target { name: name.clone(), port: *port, ttl_s });
        }
    }
    answer
}

/// The name that a name is an alias of in the end, and how long that holds.
fn end_of_chain<'a>(name: &'a str, records: &'a [Record]) -> (&'a str, u32) {
    let (mut end, mut ttl_s) = (name, TTL_MAX_S);
    for _ in 0..ALIASES_MAX {
        let alias = records.iter().filter(|record| record.owner == end).find_map(|record| match &record.value {
            Value::Alias(to) => Some((to.as_str(), record.ttl_s)),
            Value::Address(_) | Value::Server { .. } | Value::Other => None,
        });
        let Some((to, alias_ttl_s)) = alias else { break };
        (end, ttl_s) = (to, ttl_s.min(alias_ttl_s));
    }
    (end, ttl_s)
}

fn addresses<'a>(owner: &'a str, ttl_s: u32, records: &'a [Record]) -> impl Iterator<Item = Address> + 'a {
    records.iter().filter(move |record| record.owner == owner).filter_map(move |record| match record.value {
        Value::Address(ip) => Some(Address { ip, port: None, ttl_s: ttl_s.min(record.ttl_s) }),
        Value::Alias(_) | Value::Server { .. } | Value::Other => None,
    })
}

/// Reads on from a place in a message; `None` where the message is cut or senseless.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl_s = u32::from_be_bytes(self.bytes(4)?.try_into().ok()?);
        // One with its highest bit set counts as 0 (RFC 2181, section 8).
        let ttl_s = if ttl_s > i32::MAX as u32 { 0 } else { ttl_s.min(TTL_MAX_S) };
        let length = usize::from(self.u16()?);
        let mut data = Reader { message: self.message, at: self.at };
        let bytes = self.bytes(length)?;
        let value = if class == CLASS_IN { data.value(kind, bytes)? } else { Value::Other };
        Some(Record { owner, ttl_s, value })
    }

    fn value(&mut self, kind: u16, bytes: &[u8]) -> Option<Value> {
        Some(match kind {
            TYPE_A => Value::Address(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
            TYPE_AAAA => Value::Address(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
            TYPE_CNAME => Value::Alias(self.name()?),
            TYPE_SRV => {
                let (_priority, _weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                Value::Server { port, name: self.name()? }
            }
            _ => Value::Other,
        })
    }

    /// A name. Its labels may go on at an earlier place (RFC 1035, section 4.1.4): each jump has to go further back
    /// than the one before, so that there is no circle.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut part = Reader { message: self.message, at: self.at };
        let mut earliest = self.at;
        let mut has_jumped = false;
        loop {
            let length = part.u8()?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    if !name.is_empty() {
                        name.push('.');
                    }
                    push_label(&mut name, part.bytes(length.into())?);
                }
                3 => {
                    let to = usize::from(length & 0x3f) << 8 | usize::from(part.u8()?);
                    if !has_jumped {
                        self.at = part.at;
                    }
                    if to >= earliest {
                        return None;
                    }
                    (has_jumped, earliest, part.at) = (true, to, to);
                }
                _ => return None,
            }
            if name.len() >= NAME_BYTES_MAX {
                return None;
            }
        }
        if !has_jumped {
            self.at = part.at;
        }
        Some(name)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(bytes)
    }
}

/// Bytes that no host name has become question marks, so that none looks like another name.
fn push_label(name: &mut String, label: &[u8]) {
    let is_usual = |byte: &u8| byte.is_ascii_graphic() && *byte != b'.';
    name.extend(label.iter().map(|byte| if is_usual(byte) { char::from(byte.to_ascii_lowercase()) } else { '?' }));
}

#[cfg(test)]
pub mod tests;
