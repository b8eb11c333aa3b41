//! Rows about what this process may do.

use super::kernel::{LOCKED_MEMORY_UNTIL, Version};
use super::{Row, Verdict};

/// A capability by its number (`include/uapi/linux/capability.h`).
struct Capability {
    name: &'static str,
    bit: u32,
    /// What it is for, and how much is lost without it.
    need: &'static str,
    without: Verdict,
    /// Another one that allows the same here.
    stands_in: Option<(&'static str, u32)>,
}

const SYS_ADMIN: (&str, u32) = ("CAP_SYS_ADMIN", 21);

const CAPABILITIES: [Capability; 7] = [
    Capability {
        name: "CAP_BPF",
        bit: 39,
        need: "loads programs and maps",
        without: Verdict::Missing,
        stands_in: Some(SYS_ADMIN),
    },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        need: "attaches to tracepoints and reads the gateway's buffers",
        without: Verdict::Missing,
        stands_in: Some(SYS_ADMIN),
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        need: "sees other users' processes: their program, sockets and network namespace",
        without: Verdict::Missing,
        stands_in: None,
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: 21,
        need: "lists the sockets of gateways in containers (other network namespaces)",
        without: Verdict::Warn,
        stands_in: None,
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        need: "lists the descriptors of other users' processes (workers)",
        without: Verdict::Warn,
        stands_in: Some(("CAP_DAC_OVERRIDE", 1)),
    },
    Capability {
        name: "CAP_SYS_RESOURCE",
        bit: 24,
        need: "lifts the limit on locked memory",
        without: Verdict::Warn,
        stands_in: None,
    },
    Capability {
        name: "CAP_NET_ADMIN",
        bit: 12,
        need: "the observer makes no use of it",
        without: Verdict::Ok,
        stands_in: None,
    },
];

/// One row for each capability that matters or is often believed to; `effective` is `CapEff` of
/// `/proc/self/status`, `None` where it cannot be read.
pub(super) fn rows(effective: Option<u64>, version: Option<Version>) -> Vec<Row> {
    let Some(effective) = effective else {
        return vec![Row::warn(
            "capabilities",
            "/proc/self/status is not readable",
            "mount /proc",
        )];
    };
    let limit_is_gone = version.is_some_and(|version| version >= LOCKED_MEMORY_UNTIL);
    CAPABILITIES
        .iter()
        .map(|capability| match capability.name {
            "CAP_SYS_RESOURCE" if limit_is_gone => row(
                &Capability {
                    without: Verdict::Ok,
                    ..*capability
                },
                effective,
            ),
            _ => row(capability, effective),
        })
        .collect()
}

fn row(capability: &Capability, effective: u64) -> Row {
    let Capability {
        name,
        bit,
        need,
        without,
        stands_in,
    } = capability;
    let has = |bit: u32| effective >> bit & 1 == 1;
    let other = stands_in.filter(|(_, bit)| has(*bit));
    let mend = format!("run as root, or give the observer {name}");
    match (has(*bit), other, without) {
        (true, _, _) => Row::ok(*name, format!("held; {need}")),
        (false, Some((other, _)), _) => Row::ok(*name, format!("{other} stands in; {need}")),
        (false, None, Verdict::Ok) => Row::ok(*name, format!("not held, not needed; {need}")),
        (false, None, Verdict::Warn) => Row::warn(*name, format!("not held; {need}"), mend),
        (false, None, Verdict::Missing) => Row::missing(*name, format!("not held; {need}"), mend),
    }
}
