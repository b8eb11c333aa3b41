use super::*;

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((16 + payload.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn read(datagram: &[u8]) -> (Result<Progress, DiagError>, Vec<Vec<u8>>) {
    let mut payloads = Vec::new();
    let progress = parse(datagram, 7, |payload| payloads.push(payload.to_vec()));
    (progress, payloads)
}

fn more(interrupted: bool) -> Progress {
    Progress {
        done: false,
        interrupted,
    }
}

fn done(interrupted: bool) -> Progress {
    Progress {
        done: true,
        interrupted,
    }
}

const SOCKET: u16 = 20;

#[test]
fn every_message_of_a_datagram_is_read_up_to_the_last() {
    let mut datagram = message(SOCKET, 2, 7, b"one..");
    datagram.extend(message(SOCKET, 2, 7, b"two"));
    let (progress, payloads) = read(&datagram);
    assert_eq!(progress.unwrap(), more(false));
    assert_eq!(payloads, [b"one..".to_vec(), b"two".to_vec()]);
    datagram.extend(message(NLMSG_DONE, 2, 7, &[0; 4]));
    let (progress, payloads) = read(&datagram);
    assert_eq!(progress.unwrap(), done(false));
    assert_eq!(payloads.len(), 2);
}

#[test]
fn a_list_that_changed_meanwhile_is_told_wherever_the_kernel_says_so() {
    let mut datagram = message(SOCKET, 2 | NLM_F_DUMP_INTR, 7, b"one");
    datagram.extend(message(SOCKET, 2, 7, b"two"));
    assert_eq!(read(&datagram).0.unwrap(), more(true));
    let last = message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, 7, &[0; 4]);
    assert_eq!(read(&last).0.unwrap(), done(true));
}

#[test]
fn answers_to_an_earlier_question_are_passed_over() {
    let mut datagram = message(NLMSG_DONE, 2, 6, &[0; 4]);
    datagram.extend(message(SOCKET, 2, 7, b"mine"));
    let (progress, payloads) = read(&datagram);
    assert_eq!(progress.unwrap(), more(false));
    assert_eq!(payloads, [b"mine".to_vec()]);
}

#[test]
fn a_refusal_carries_the_kernels_error_in_both_kinds_of_last_message() {
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        let (progress, _) = read(&message(kind, 0, 7, &(-libc::ENOENT).to_ne_bytes()));
        let Err(DiagError::Refused(e)) = progress else {
            panic!("{progress:?}")
        };
        assert_eq!(e.raw_os_error(), Some(libc::ENOENT));
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let whole = message(SOCKET, 2, 7, b"12345678");
    for length in 1..whole.len() {
        assert!(
            matches!(read(&whole[..length]).0, Err(DiagError::Garbled(_))),
            "cut at {length}"
        );
    }
    assert!(
        matches!(read(&[0; 64]).0, Err(DiagError::Garbled(_))),
        "a message of no length"
    );
}
