//! The file: a header, then for each event its length and its bytes, then a length of 0.
//!
//! All numbers are in the byte order of the machine that wrote them. The closing 0 tells a whole recording from one
//! that was cut between two events.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use observer_ebpf::record;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::RecordingError;
use super::error::Damage;
use crate::event::Event;

/// Bytes that an event may have: a sample twice as long as the kernel part takes, and the longest record before it.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 + size_of::<record::Opened>();

/// Changes with the form of the file or of an event.
pub(super) const VERSION: u16 = 1;

/// Read from the file at once.
const BUFFER_BYTES: usize = 256 * 1024;

const MAGIC: [u8; 6] = *b"OBSREC";
const BYTE_ORDER: u32 = 0x0102_0304;
const FLAG_MASKED: u32 = 1;
/// Length of `utsname.release` on Linux.
const RELEASE_BYTES: usize = 65;
const END: u32 = 0;

/// What a recording tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the pipeline does not need is overwritten.
    pub is_masked: bool,
    /// What to add to `CLOCK_MONOTONIC` for `CLOCK_REALTIME`, in ns.
    pub realtime_offset_ns: u64,
    /// The kernel's release (`uname -r`); cut at 64 bytes.
    pub kernel_release: String,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
struct RawHeader {
    magic: [u8; 6],
    version: u16,
    byte_order: u32,
    flags: u32,
    realtime_offset_ns: u64,
    release: [u8; RELEASE_BYTES],
    reserved: [u8; 7],
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer {
    name: String,
    file: BufWriter<File>,
    /// The event at hand as bytes, kept for its memory.
    bytes: Vec<u8>,
}

impl Writer {
    /// Creates the file with mode 0600.
    ///
    /// # Errors
    /// If there is a file of this name already, or none can be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RecordingError::Exists { file: name });
            }
            Err(reason) => return Err(RecordingError::Create { file: name, reason }),
        };
        let mut writer = Writer { name, file: BufWriter::new(file), bytes: Vec::new() };
        writer.put(RawHeader::from(header).as_bytes())?;
        Ok(writer)
    }

    /// Appends an event.
    pub fn write(&mut self, event: &Event<'_>) -> Result<(), RecordingError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        event.encode(&mut bytes);
        let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= RECORD_BYTES_MAX);
        let Some(length) = length else {
            return Err(RecordingError::EventTooLong { file: self.name.clone(), bytes: bytes.len() });
        };
        self.put(&length.to_ne_bytes())?;
        self.put(&bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Hands what was written to the system.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.file.flush().map_err(|reason| self.failed(reason))
    }

    /// Closes the recording. One that was not closed counts as cut short.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        self.put(&END.to_ne_bytes())?;
        self.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        self.file.write_all(bytes).map_err(|reason| self.failed(reason))
    }

    fn failed(&self, reason: io::Error) -> RecordingError {
        RecordingError::Write { file: self.name.clone(), reason }
    }
}

/// Reads a recording. Its memory does not depend on what the file says.
#[derive(Debug)]
pub struct Reader {
    name: String,
    file: BufReader<File>,
    header: Header,
    /// Bytes read so far.
    offset: u64,
    buffer: Box<[u8]>,
    /// Bytes in the file's own buffer that the event given out last lies in.
    given_out: usize,
    is_at_end: bool,
}

impl Reader {
    /// Opens a recording and reads its header.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let file = match File::open(path) {
            Ok(file) => BufReader::with_capacity(BUFFER_BYTES, file),
            Err(reason) => return Err(RecordingError::Open { file: name, reason }),
        };
        let header = Header { is_masked: false, realtime_offset_ns: 0, kernel_release: String::new() };
        let buffer = vec![0; RECORD_BYTES_MAX].into();
        let mut reader = Reader { name, file, header, offset: 0, buffer, given_out: 0, is_at_end: false };
        reader.header = reader.read_header()?;
        Ok(reader)
    }

    /// What the recording tells of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// If the file is cut short or damaged. What came before is sound.
    pub fn read(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        if self.is_at_end {
            return Ok(None);
        }
        self.file.consume(std::mem::take(&mut self.given_out));
        let start = self.offset;
        if let Some(event) = whole(self.file.buffer()) {
            self.given_out = event.end;
            self.offset += event.end as u64;
            let decoded = Event::decode(&self.file.buffer()[event]);
            return decoded.map(Some).map_err(|error| damaged(&self.name, start, error.into()));
        }
        let mut length = [0; size_of::<u32>()];
        self.fill(length.len())?;
        length.copy_from_slice(&self.buffer[..size_of::<u32>()]);
        let length = u32::from_ne_bytes(length);
        if length == END {
            return self.read_end();
        }
        let bytes = length as usize;
        if bytes > RECORD_BYTES_MAX {
            return Err(self.damaged(start, Damage::TooLong { bytes: length }));
        }
        self.fill(bytes)?;
        let (name, buffer) = (&self.name, &self.buffer[..bytes]);
        Event::decode(buffer).map(Some).map_err(|error| damaged(name, start, error.into()))
    }

    fn read_header(&mut self) -> Result<Header, RecordingError> {
        let file = || self.name.clone();
        let got = read_up_to(&mut self.file, &mut self.buffer[..size_of::<RawHeader>()]);
        let got = got.map_err(|reason| RecordingError::Read { file: file(), offset: 0, reason })?;
        let bytes = &self.buffer[..got];
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(RecordingError::NotARecording { file: file(), offset: 0 });
        }
        let Ok(raw) = RawHeader::read_from_bytes(bytes) else {
            return Err(RecordingError::Cut { file: file(), offset: got as u64 });
        };
        if raw.byte_order != BYTE_ORDER {
            let offset = std::mem::offset_of!(RawHeader, byte_order) as u64;
            return Err(if raw.byte_order == BYTE_ORDER.swap_bytes() {
                RecordingError::ByteOrder { file: file(), offset }
            } else {
                RecordingError::NotARecording { file: file(), offset }
            });
        }
        if raw.version != VERSION {
            let offset = std::mem::offset_of!(RawHeader, version) as u64;
            return Err(RecordingError::Version { file: file(), offset, version: raw.version });
        }
        self.offset = got as u64;
        Ok(raw.into())
    }

    fn read_end(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        let mut byte = [0];
        let got = read_up_to(&mut self.file, &mut byte);
        match got {
            Ok(0) => {
                self.is_at_end = true;
                Ok(None)
            }
            Ok(_) => Err(self.damaged(self.offset, Damage::BytesBehindEnd)),
            Err(reason) => Err(RecordingError::Read { file: self.name.clone(), offset: self.offset, reason }),
        }
    }

    /// Reads so many bytes, at most [`RECORD_BYTES_MAX`], into the buffer.
    fn fill(&mut self, bytes: usize) -> Result<(), RecordingError> {
        let got = match read_up_to(&mut self.file, &mut self.buffer[..bytes]) {
            Ok(got) => got,
            Err(reason) => {
                return Err(RecordingError::Read { file: self.name.clone(), offset: self.offset, reason });
            }
        };
        self.offset += got as u64;
        if got < bytes {
            return Err(RecordingError::Cut { file: self.name.clone(), offset: self.offset });
        }
        Ok(())
    }

    fn damaged(&self, offset: u64, what: Damage) -> RecordingError {
        damaged(&self.name, offset, what)
    }
}

impl From<&Header> for RawHeader {
    fn from(header: &Header) -> Self {
        let mut release = [0; RELEASE_BYTES];
        let bytes = header.kernel_release.len().min(RELEASE_BYTES - 1);
        release[..bytes].copy_from_slice(&header.kernel_release.as_bytes()[..bytes]);
        RawHeader {
            magic: MAGIC,
            version: VERSION,
            byte_order: BYTE_ORDER,
            flags: if header.is_masked { FLAG_MASKED } else { 0 },
            realtime_offset_ns: header.realtime_offset_ns,
            release,
            reserved: [0; 7],
        }
    }
}

impl From<RawHeader> for Header {
    fn from(raw: RawHeader) -> Self {
        let release = raw.release.split(|&byte| byte == 0).next().unwrap_or_default();
        Header {
            is_masked: raw.flags & FLAG_MASKED != 0,
            realtime_offset_ns: raw.realtime_offset_ns,
            kernel_release: String::from_utf8_lossy(release).into_owned(),
        }
    }
}

fn damaged(file: &str, offset: u64, what: Damage) -> RecordingError {
    RecordingError::Damaged { file: file.to_owned(), offset, what }
}

/// Where the next event lies, if it is there as a whole.
fn whole(buffered: &[u8]) -> Option<Range<usize>> {
    let length = u32::from_ne_bytes(*buffered.first_chunk()?) as usize;
    let event = size_of::<u32>()..size_of::<u32>() + length;
    (length != END as usize && length <= RECORD_BYTES_MAX && event.end <= buffered.len()).then_some(event)
}

/// Fills the buffer as far as there are bytes. Returns how many there were.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(bytes) => got += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests;
