//! The agent's only unsafe code: a type of the shared ABI as a table's entry, three calls of the kernel that aya
//! does not make, memory given back, and a child that closes what takes long to close.
#![allow(
    unsafe_code,
    reason = "aya asks for a promise that a type's bytes may be copied; bpf(2), malloc_trim(3), madvise(2) and fork(2) have no safe wrapper"
)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use aya_obj::generated::bpf_insn;
use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;
use observer_ebpf::tables::{OFFSET_WORDS, Offsets};
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use zerocopy::{Immutable, IntoBytes};

/// [`Offsets`] as the kernel part's constant.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct OffsetWords([u32; OFFSET_WORDS]);

// SAFETY: an array of integers: no padding, no pointer, any bytes are valid.
unsafe impl aya::Pod for OffsetWords {}

impl From<Offsets> for OffsetWords {
    fn from(offsets: Offsets) -> Self {
        OffsetWords(zerocopy::transmute!(offsets))
    }
}

// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_PERF_EVENT: u32 = 41;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;
// include/uapi/linux/perf_event.h
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct ProgramAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The beginning of `union bpf_attr` for `BPF_LINK_CREATE` with `BPF_TRACE_UPROBE_MULTI`.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct LinkAttributes {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    reserved: u32,
}

/// The beginning of `struct perf_event_attr` (include/uapi/linux/perf_event.h), up to `config2`.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct EventAttributes {
    kind: u32,
    size: u32,
    config: u64,
    unused: [u64; 5],
    path: u64,
    offset: u64,
}

/// The beginning of `union bpf_attr` for `BPF_LINK_CREATE` with `BPF_PERF_EVENT`.
#[repr(C)]
#[derive(Default, IntoBytes, Immutable)]
struct EventLinkAttributes {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// Loads a program that may sit at many places of user programs at once. Its name is cut to 15 bytes.
pub fn load_multi_probe(name: &str, instructions: &[bpf_insn], license: &CStr) -> io::Result<OwnedFd> {
    let mut attributes = ProgramAttributes {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        ..ProgramAttributes::default()
    };
    for (to, from) in attributes.prog_name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: instructions and license outlive the call and are as long as told.
    unsafe { bpf(BPF_PROG_LOAD, attributes.as_bytes()) }
}

/// Puts a program at places of the file at `path`, for one process: behind the returns of the functions that begin there
/// if `is_return`. The places' cookies are as many as the places.
pub fn link_multi_probe(
    program: BorrowedFd<'_>,
    path: &CStr,
    places: &[u64],
    cookies: &[u64],
    process: u32,
    is_return: bool,
) -> io::Result<OwnedFd> {
    if places.len() != cookies.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let attributes = LinkAttributes {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: places.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        count: places.len() as u32,
        multi_flags: if is_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
        pid: process,
        ..LinkAttributes::default()
    };
    // SAFETY: path, places and cookies outlive the call; there are `count` of both.
    unsafe { bpf(BPF_LINK_CREATE, attributes.as_bytes()) }
}

/// Gives memory back to the kernel that was needed only while the kernel part was loaded, several times what the agent
/// needs: what is free, and the program's own code. Of that comes back from its file what is run again.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no memory in use is touched, and it may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    for (first, behind) in own_code() {
        // SAFETY: a mapping of a file that cannot be written to has nothing that the file has not.
        unsafe {
            libc::madvise(first as *mut libc::c_void, (behind - first) as usize, libc::MADV_DONTNEED);
        }
    }
}

/// Where this program's code is mapped; without relocations, so that nobody has ever written to it.
fn own_code() -> Vec<(u64, u64)> {
    let maps = Process::myself().and_then(|process| Ok((process.exe()?, process.maps()?)));
    let Ok((program, maps)) = maps else { return Vec::new() };
    let is_code = |map: &&MemoryMap| map.perms == MMPermissions::READ | MMPermissions::EXECUTE | MMPermissions::PRIVATE;
    let is_own = |map: &&MemoryMap| matches!(&map.pathname, MMapPath::Path(path) if *path == program);
    maps.iter().filter(is_code).filter(is_own).map(|map| map.address).collect()
}

/// Puts a program at one place of the file at `path`, for one process: an event of the given kind and configuration
/// (perf's `uprobe`), and a link that holds it. aya would ask whether the kernel knows cookies by loading a program, for
/// which there is no permission any more.
pub fn link_single_probe(
    program: BorrowedFd<'_>,
    (kind, config): (u32, u64),
    path: &CStr,
    place: u64,
    cookie: u64,
    process: u32,
) -> io::Result<OwnedFd> {
    let (any_processor, no_group) = (-1, -1);
    let event = EventAttributes {
        kind,
        size: size_of::<EventAttributes>() as u32,
        config,
        path: path.as_ptr() as u64,
        offset: place,
        ..EventAttributes::default()
    };
    let attributes = event.as_bytes().as_ptr();
    // SAFETY: the attributes have the size that they tell; they and the path outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes, process, any_processor, no_group, PERF_FLAG_FD_CLOEXEC)
    };
    let event = descriptor(result)?;
    let attributes = EventLinkAttributes {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: event.as_raw_fd() as u32,
        attach_type: BPF_PERF_EVENT,
        cookie,
        ..EventLinkAttributes::default()
    };
    // SAFETY: there are no addresses in it.
    unsafe { bpf(BPF_LINK_CREATE, attributes.as_bytes()) }
}

/// Closes descriptors in a child, once this process has let them go. Whoever closes one last waits for what the kernel
/// does then; nobody should have to wait for that to see this process end.
///
/// Errors when the kernel makes no child. The descriptors are closed here then.
pub fn close_in_child(descriptors: Vec<OwnedFd>) -> io::Result<()> {
    let (let_go, has_let_go) = pipe2(OFlag::O_CLOEXEC)?;
    let mut kept: Vec<RawFd> = descriptors.iter().chain([&let_go]).map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    // SAFETY: the child makes nothing but system calls until it ends.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => unsafe { wait_and_end(&kept, let_go.as_raw_fd()) },
        _ => {}
    }
    drop(descriptors);
    drop(has_let_go);
    Ok(())
}

/// # Safety
///
/// Nothing of this process may be in use any more but the descriptors `kept`, in ascending order, and `let_go`, which is
/// one of them.
unsafe fn wait_and_end(kept: &[RawFd], let_go: RawFd) -> ! {
    let no_flags = 0;
    let mut from = 0;
    for &kept in kept {
        if kept > from {
            // SAFETY: there are no addresses in it.
            unsafe { libc::syscall(libc::SYS_close_range, from, kept - 1, no_flags) };
        }
        from = kept + 1;
    }
    // SAFETY: as above; the byte outlives the calls, and ending this way runs nothing of the program's.
    unsafe {
        libc::syscall(libc::SYS_close_range, from, RawFd::MAX, no_flags);
        let mut byte = 0u8;
        while libc::read(let_go, (&raw mut byte).cast(), 1) == -1 && *libc::__errno_location() == libc::EINTR {}
        libc::_exit(0)
    }
}

/// # Safety
///
/// Every address in the attributes must be valid for what the command reads there, and the command must return a
/// descriptor.
unsafe fn bpf(command: libc::c_long, attributes: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes of the attributes as there are; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    descriptor(result)
}

/// What a system call that makes a descriptor gave back.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(result).ok().filter(|&descriptor| descriptor >= 0);
    // SAFETY: the kernel has just made the descriptor, and nobody else knows it.
    descriptor.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }).ok_or_else(io::Error::last_os_error)
}
