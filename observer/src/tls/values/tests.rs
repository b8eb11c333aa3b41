use super::*;

const START: u64 = 0x1000;

/// The state before the last instruction.
fn at_end(code: &[&[u8]]) -> State {
    let flow = Flow::of(&code.concat(), START).unwrap();
    states(&flow, None).unwrap().pop_last().unwrap().1
}

const RET: &[u8] = &[0xc3];
const PUSH_RDI: &[u8] = &[0x57];
const POP_RBX: &[u8] = &[0x5b];
const PUSH_RAX: &[u8] = &[0x50];
const POP_RAX: &[u8] = &[0x58];
const MOV_RBX_RDI: &[u8] = &[0x48, 0x89, 0xfb];
const CALL: &[u8] = &[0xe8, 0x00, 0x10, 0x00, 0x00];

#[test]
fn arguments_begin_in_their_registers() {
    let state = at_end(&[RET]);
    for (index, register) in ARGUMENTS.into_iter().enumerate() {
        assert_eq!(state.get(register), Value::Argument(index));
    }
    assert_eq!(state.get(Register::RAX), Value::Unknown);
}

#[test]
fn a_value_is_followed_over_the_stack() {
    assert_eq!(at_end(&[PUSH_RDI, POP_RBX, RET]).get(Register::RBX), Value::Argument(0));
    let below = at_end(&[PUSH_RDI, POP_RAX, CALL, RET]);
    assert_eq!(below.find(0, 8), None, "what lies below the stack pointer may be overwritten");
}

#[test]
fn a_call_leaves_what_it_has_to_keep() {
    let state = at_end(&[MOV_RBX_RDI, CALL, RET]);
    assert_eq!(state.get(Register::RBX), Value::Argument(0));
    assert_eq!(state.get(Register::RDI), Value::Unknown);
    assert_eq!(state.find(0, 8), Some(Location::Register(Register::RBX)));
}

#[test]
fn a_part_of_a_value_is_no_pointer() {
    // mov ebx, edi
    let state = at_end(&[&[0x89, 0xfb], RET]);
    assert_eq!(state.get(Register::RBX), Value::Low(0, 4));
    // xor edi, edi
    let state = at_end(&[&[0x89, 0xfb], &[0x31, 0xff], RET]);
    assert_eq!((state.find(0, 8), state.find(0, 4)), (None, Some(Location::Register(Register::RBX))));
    // mov [rsp - 8], dil; mov ebx, [rsp - 8]
    let state = at_end(&[&[0x40, 0x88, 0x7c, 0x24, 0xf8], &[0x8b, 0x5c, 0x24, 0xf8], RET]);
    assert_eq!(state.get(Register::RBX), Value::Low(0, 1));
    // mov ecx, edi; mov [rsp - 8], ch; mov ebx, [rsp - 8]
    let state = at_end(&[&[0x89, 0xf9], &[0x88, 0x6c, 0x24, 0xf8], &[0x8b, 0x5c, 0x24, 0xf8], RET]);
    assert_eq!(state.get(Register::RBX), Value::Unknown);
    // mov bl, dil
    assert_eq!(at_end(&[MOV_RBX_RDI, &[0x40, 0x88, 0xfb], RET]).get(Register::RBX), Value::Unknown);
}

#[test]
fn sums_point_into_what_they_were_made_from() {
    // add rdi, rax; lea rbx, [rsi + rax]; lea rbp, [rsp + 8]
    let state = at_end(&[&[0x48, 0x01, 0xc7], &[0x48, 0x8d, 0x1c, 0x06], &[0x48, 0x8d, 0x6c, 0x24, 0x08], RET]);
    assert_eq!(state.get(Register::RDI), Value::Into(0));
    assert_eq!(state.get(Register::RBX), Value::Into(1));
    assert_eq!(state.get(Register::RBP), Value::Stack(8));
}

#[test]
fn what_overlaps_a_value_on_the_stack_destroys_it() {
    // mov [rsp - 8], rdi; mov [rsp - 4], eax; mov rbx, [rsp - 8]
    let whole: [&[u8]; 3] = [&[0x48, 0x89, 0x7c, 0x24, 0xf8], &[0x48, 0x8b, 0x5c, 0x24, 0xf8], RET];
    assert_eq!(at_end(&whole).get(Register::RBX), Value::Argument(0));
    let overlapped = at_end(&[whole[0], &[0x89, 0x44, 0x24, 0xfc], whole[1], RET]);
    assert_eq!(overlapped.get(Register::RBX), Value::Unknown);
}

#[test]
fn what_lies_beside_a_value_leaves_it_alone() {
    // mov [rsp - 8], edi; mov [rsp - 4], rax; mov ebx, [rsp - 8]
    let state = at_end(&[&[0x89, 0x7c, 0x24, 0xf8], &[0x48, 0x89, 0x44, 0x24, 0xfc], &[0x8b, 0x5c, 0x24, 0xf8], RET]);
    assert_eq!(state.get(Register::RBX), Value::Low(0, 4));
}

#[test]
fn ways_that_differ_leave_nothing_known() {
    // je over the move
    let state = at_end(&[&[0x74, 0x03], MOV_RBX_RDI, RET]);
    assert_eq!(state.get(Register::RBX), Value::Unknown);
    assert_eq!(state.get(Register::RDI), Value::Argument(0));
}

#[test]
fn what_the_stack_protector_calls_does_not_come_back() {
    // sub rdx, fs:[0x28]; jne over the return to a call behind which rbx would be lost
    let check: &[u8] = &[0x64, 0x48, 0x2b, 0x14, 0x25, 0x28, 0x00, 0x00, 0x00];
    let code =
        |check| -> [&[u8]; 8] { [MOV_RBX_RDI, &[0xeb, 0x07], &[0x31, 0xdb], CALL, check, &[0x75, 0xee], &[0x90], RET] };
    assert_eq!(at_end(&code(check)).get(Register::RBX), Value::Argument(0));
    // The same with a comparison of something else: mov rdx, fs:[0x28]
    let load: &[u8] = &[0x64, 0x48, 0x8b, 0x14, 0x25, 0x28, 0x00, 0x00, 0x00];
    assert_eq!(at_end(&code(load)).get(Register::RBX), Value::Unknown);
}

#[test]
fn a_stack_pointer_that_depends_on_the_way_ends_the_search() {
    let code: [&[u8]; 3] = [&[0x74, 0x01], PUSH_RAX, RET];
    assert_eq!(states(&Flow::of(&code.concat(), START).unwrap(), None), None);
}
