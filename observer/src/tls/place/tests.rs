use super::*;

/// Where functions begin in these tests.
const START: u64 = 0x1000;

fn places(code: &[&[u8]]) -> Places {
    Places::find(&code.concat(), START)
}

fn emulated(entry: u64, exits: &[u64]) -> Places {
    Places { entry: Entry::Emulated(entry), exit: Exit::Emulated(exits.iter().copied().collect()) }
}

/// The place for the arguments, whatever becomes of the result.
fn entry_of(code: &[&[u8]]) -> Entry {
    entry(&Flow::of(&code.concat(), START).unwrap())
}

// Instructions as bytes, with their length behind the name where it matters.
const SUB_RSP: &[u8] = &[0x48, 0x83, 0xec, 0x18]; // 4
const ADD_RSP: &[u8] = &[0x48, 0x83, 0xc4, 0x18]; // 4
const TEST_EDX: &[u8] = &[0x85, 0xd2]; // 2
const TEST_EAX: &[u8] = &[0x85, 0xc0]; // 2
const MOV_RDI_RBX: &[u8] = &[0x48, 0x89, 0xdf]; // 3, changes rdi
const XOR_EAX: &[u8] = &[0x31, 0xc0]; // 2, changes rax
const XOR_EDX: &[u8] = &[0x31, 0xd2]; // 2, changes rdx
const CALL_FAR: &[u8] = &[0xe8, 0x00, 0x10, 0x00, 0x00]; // 5, out of the function
const PUSH_RBX: &[u8] = &[0x53]; // 1
const PUSH_R12: &[u8] = &[0x41, 0x54]; // 2
const POP_RBX: &[u8] = &[0x5b]; // 1
const RET: &[u8] = &[0xc3]; // 1
const JMP_RAX: &[u8] = &[0xff, 0xe0]; // 2

/// The shape of Debian's `SSL_read`: a check of an argument, a call, the stack protector's check, the epilogue.
#[test]
fn a_check_of_an_argument_and_the_stack_protectors_are_the_places() {
    // The last jump lands on the check of the result, so that is behind every way.
    let whole = places(&[
        SUB_RSP,
        TEST_EDX,      // 4
        &[0x78, 0x0a], // 6: js 18
        CALL_FAR,      // 8
        TEST_EAX,      // 13
        &[0x75, 0x0a], // 15: jne 27
        RET,           // 17
        CALL_FAR,      // 18
        XOR_EAX,       // 23
        &[0xeb, 0xf2], // 25: jmp 13
        CALL_FAR,      // 27: does not come back
    ]);
    assert_eq!(whole, emulated(6, &[15]));
}

#[test]
fn a_push_at_the_beginning_is_a_place() {
    assert_eq!(entry_of(&[PUSH_RBX, XOR_EAX, POP_RBX, RET]), Entry::Emulated(0));
    assert_eq!(entry_of(&[SUB_RSP, PUSH_R12, XOR_EAX, RET]), Entry::Emulated(4));
}

#[test]
fn a_call_is_a_place_for_arguments_that_it_takes() {
    assert_eq!(places(&[SUB_RSP, CALL_FAR, ADD_RSP, RET]).entry, Places::PLAIN.entry);
    let with_exit = places(&[SUB_RSP, CALL_FAR, TEST_EAX, &[0x75, 0x05], ADD_RSP, RET, CALL_FAR]);
    assert_eq!(with_exit, emulated(4, &[11]));
}

#[test]
fn no_place_lies_behind_a_change_of_an_argument() {
    for change in [MOV_RDI_RBX, XOR_EDX, &[0x89, 0xce], &[0x40, 0xb7, 0x01], &[0xb1, 0x01]] {
        assert_eq!(entry_of(&[change, PUSH_RBX, XOR_EAX, RET]), Entry::First, "{change:x?}");
    }
}

#[test]
fn no_place_is_jumped_to_from_elsewhere() {
    // What is jumped to is passed with other registers, too.
    let never_reached: &[u8] = &[0xeb, 0xf4];
    let code: [&[u8]; 6] = [SUB_RSP, PUSH_RBX, TEST_EAX, ADD_RSP, RET, never_reached];
    assert_eq!(entry_of(&code), Entry::Emulated(4));
    assert_eq!(entry_of(&[SUB_RSP, PUSH_RBX, TEST_EAX, &[0x75, 0xfb], ADD_RSP, RET]), Entry::First);
}

#[test]
fn a_loop_to_the_beginning_leaves_no_place() {
    assert_eq!(entry_of(&[PUSH_RBX, TEST_EAX, &[0x75, 0xfb], RET]), Entry::First);
}

#[test]
fn a_result_that_changes_behind_the_place_is_not_read_there() {
    let code = places(&[TEST_EAX, &[0x75, 0x03], XOR_EAX, RET, CALL_FAR]);
    assert_eq!(code.exit, Exit::Return);
    let on_one_way = places(&[TEST_EAX, &[0x75, 0x01], RET, XOR_EAX, RET]);
    assert_eq!(on_one_way.exit, Exit::Return);
}

#[test]
fn every_way_out_needs_its_place() {
    // One return has its check, the other has none.
    let code = places(&[
        TEST_EDX,      // 0
        &[0x74, 0x07], // 2: je 11
        TEST_EAX,      // 4
        &[0x75, 0x06], // 6: jne 14
        RET,           // 8
        TEST_EAX,      // 9, never reached
        XOR_EAX,       // 11
        RET,           // 13
        CALL_FAR,      // 14
    ]);
    assert_eq!(code.exit, Exit::Return);
}

#[test]
fn a_way_out_by_a_jump_leaves_no_place_for_the_result() {
    assert_eq!(places(&[PUSH_RBX, TEST_EAX, &[0x75, 0x01], RET, JMP_RAX]).exit, Exit::Return);
    let tail_call: &[u8] = &[0xe9, 0x00, 0x10, 0x00, 0x00];
    assert_eq!(places(&[PUSH_RBX, TEST_EAX, &[0x75, 0x01], RET, tail_call]).exit, Exit::Return);
}

#[test]
fn with_a_probe_behind_the_return_the_arguments_are_read_at_the_first_instruction() {
    assert_eq!(places(&[SUB_RSP, PUSH_RBX, XOR_EAX, RET]), Places::PLAIN);
    let first = Places { entry: Entry::Emulated(0), exit: Exit::Return };
    assert_eq!(places(&[PUSH_RBX, XOR_EAX, RET]), first);
}

#[test]
fn what_the_kernel_does_not_emulate_is_no_place() {
    let operand_size_jump: &[u8] = &[0x66, 0x0f, 0x84, 0x00, 0x00];
    let long_nop: &[u8] = &[0x0f, 0x1f, 0x44, 0x00, 0x00];
    let push_number: &[u8] = &[0x6a, 0x01];
    for other in [operand_size_jump, long_nop, push_number] {
        assert_eq!(entry_of(&[other, XOR_EAX, RET]), Entry::First, "{other:x?}");
    }
    assert_eq!(entry_of(&[&[0x90], XOR_EAX, RET]), Entry::Emulated(0));
}

#[test]
fn bytes_that_are_no_instructions_get_plain_probes() {
    assert_eq!(places(&[]), Places::PLAIN);
    assert_eq!(places(&[&[0x06; 16]]), Places::PLAIN);
    assert_eq!(places(&[&[0x48]]), Places::PLAIN);
}

mod any_bytes {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_lie_within_the_function(code in proptest::collection::vec(any::<u8>(), 0..200)) {
            let places = Places::find(&code, START);
            prop_assert!(places.entry.offset() <= code.len() as u64);
            if let Exit::Emulated(exits) = places.exit {
                prop_assert!(!exits.is_empty() && exits.iter().all(|exit| *exit < code.len() as u64));
            }
        }
    }
}
