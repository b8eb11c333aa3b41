//! Named bounds of the kernel part. Sizes are bytes.

/// Ring buffer: at 60,000 requests a second, with some 1.2 KiB of records each, this holds about 100 ms. The agent's
/// memory counts it twice, as it is mapped twice in a row.
pub const RING_BYTES: u32 = 8 * 1024 * 1024;

/// Sampled bytes of a turn that carries requests: heads are in here, and nginx takes heads of up to 32 KiB with its
/// usual `large_client_header_buffers`, so twice that leaves room for pipelined ones.
pub const REQUEST_TURN_BYTES: u32 = 64 * 1024;

/// Sampled bytes of a turn that carries responses, behind its first call. nginx takes an upstream's head only if it fits
/// the buffer of its first read (`proxy_buffer_size`), so that call is sampled as far as a record goes.
pub const RESPONSE_TURN_BYTES: u32 = 8 * 1024;

/// Sizes a record's sample may have; the smallest that fits is taken, the last bounds one call's sample.
pub const SAMPLE_SIZES: [u32; 7] = [128, 256, 512, 1024, 4096, 16 * 1024, 32 * 1024];

/// Sizes of samples that are gathered from several I/O vectors; a record has room for twice as much.
pub const GATHERED_SIZES: [u32; 4] = [128, 256, 1024, 8192];

/// First bytes of a response that are looked through for its head's end. Where it lies there and tells the body's
/// length, nothing of the body behind these bytes is sampled.
pub const RESPONSE_HEAD_BYTES: u32 = 1024;

/// I/O vectors that a sample is gathered from: as many as nginx passes at once. A page put together of others takes two or
/// three a piece.
pub const GATHERED_VECTORS: u32 = 64;

/// I/O vectors that are walked to find the last bytes of a call: nginx passes at most 64 (`NGX_IOVS_PREALLOCATE`).
pub const WALKED_VECTORS: u32 = 64;

/// Last bytes of a call that was not sampled to its end: enough for `\r\n0\r\n\r\n`.
pub const TAIL_BYTES: usize = 8;

/// First bytes of an answer that the gateway could not send any more: they tell its status.
pub const UNSENT_BYTES: u32 = 12;

/// Sizes a datagram's sample may have. Resolvers ask for answers of 512 to 4096 bytes (EDNS, RFC 6891); longer ones come
/// over TCP.
pub const DATAGRAM_SIZES: [u32; 2] = [512, 4096];

/// Processes that share one entry of the process table.
pub const PROCESSES_PER_ENTRY: u32 = 64;

/// Entries of the process table: the kernel's highest process id on 64-bit machines is 2^22 (`PID_MAX_LIMIT`).
pub const PROCESS_ENTRIES: u32 = (1 << 22) / PROCESSES_PER_ENTRY;

/// All tables and the ring: the process table has a byte a process, the port table one a port, that of callers
/// of TLS libraries one a thread id, that of TLS connections a
/// bucket of 16 bytes for each. What is kept of each socket and TLS connection (some 200 bytes) is taken as they come.
pub const TABLE_BYTES: u32 = RING_BYTES
    + PROCESS_ENTRIES * PROCESSES_PER_ENTRY
    + (1 << 16)
    + TLS_CALLER_IDS
    + WATCHED_NAMES * NAME_BYTES as u32
    + TLS_CONNECTIONS * 16;

/// Program names that are watched from their exec on.
pub const WATCHED_NAMES: u32 = 16;

/// Length of a process's name with its closing zero (`TASK_COMM_LEN`).
pub const NAME_BYTES: usize = 16;

/// Longest path of a UNIX socket (`sun_path`).
pub const UNIX_PATH_BYTES: usize = 108;

/// Thread ids that are told apart in the table of callers of TLS libraries; a power of two.
pub const TLS_CALLER_IDS: u32 = 1 << 16;

/// TLS connections whose plaintext is followed at once; as many as the agent keeps connections.
pub const TLS_CONNECTIONS: u32 = 262_144;

/// Kept bytes of an ALPN protocol's name: enough for `http/1.1`.
pub const PROTOCOL_BYTES: usize = 8;
