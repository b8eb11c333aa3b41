//! The netlink socket under `sock_diag`: questions out, answers of many messages in.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use nix::libc;

use super::DiagError;

/// Larger than any message the kernel makes of a dump (`netlink_dump` stops at 32 KiB).
const BUFFER_BYTES: usize = 64 * 1024;

/// A socket to ask the kernel with; it stays in the network namespace of the thread that made it.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Connected to the kernel, so that no other process can slip an answer in.
    pub fn open() -> Result<Self, DiagError> {
        let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(DiagError::Netlink)?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(DiagError::Netlink)?;
        Ok(Netlink {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        })
    }

    /// Asks a question; the answer to an earlier one is given up.
    pub fn send(&mut self, request: SockDiagMessage, flags: u16) -> Result<(), DiagError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, request.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(DiagError::Netlink)?;
        Ok(())
    }

    /// Reads one datagram and hands over the payload of each message that answers the last
    /// question.
    pub fn receive(&mut self, read: impl FnMut(&[u8])) -> Result<Progress, DiagError> {
        self.buffer.clear();
        let length = loop {
            // Never waits: the kernel makes the first part of an answer while it takes the
            // question, and each further one while the part before is read.
            match self
                .socket
                .recv(&mut self.buffer, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
            {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(DiagError::Netlink(e)),
                Ok(length) => break length,
            }
        };
        if length > self.buffer.len() {
            let cut = io::Error::other(format!("a message of {length} bytes was cut"));
            return Err(DiagError::Netlink(cut));
        }
        parse(&self.buffer, self.sequence, read)
    }
}

/// How far the answer to a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// It ended here.
    pub done: bool,
    /// The list changed while the kernel made this part of it.
    pub interrupted: bool,
}

/// Goes through the messages of one datagram; those of another sequence number answer an abandoned
/// question.
fn parse(
    mut datagram: &[u8],
    sequence: u32,
    mut read: impl FnMut(&[u8]),
) -> Result<Progress, DiagError> {
    let mut interrupted = false;
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram)?;
        let length = message.length() as usize;
        if message.sequence_number() == sequence {
            interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            let payload = message.payload();
            match message.message_type() {
                NLMSG_DONE | NLMSG_ERROR => {
                    refusal(payload)?;
                    return Ok(Progress {
                        done: true,
                        interrupted,
                    });
                }
                _ => read(payload),
            }
        }
        // Messages begin at multiples of four (`NLMSG_ALIGN`).
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(Progress {
        done: false,
        interrupted,
    })
}

/// Both kinds of last message begin with zero or a negative error number.
fn refusal(payload: &[u8]) -> Result<(), DiagError> {
    let code = payload
        .first_chunk()
        .map_or(0, |code| i32::from_ne_bytes(*code));
    match code {
        0.. => Ok(()),
        _ => Err(DiagError::Refused(io::Error::from_raw_os_error(
            code.saturating_neg(),
        ))),
    }
}

#[cfg(test)]
mod tests;
