use super::*;

const START: u64 = 0x1000;

/// A function as the compiler makes of one that reads: arguments kept in registers and on the stack, a loop of copies.
const READER: [&[u8]; 21] = [
    &[0x41, 0x55],                   // push r13
    &[0x41, 0x54],                   // push r12
    &[0x53],                         // push rbx
    &[0x48, 0x83, 0xec, 0x20],       // sub rsp, 0x20
    &[0x49, 0x89, 0xfd],             // mov r13, rdi
    &[0x89, 0x74, 0x24, 0x04],       // mov [rsp + 4], esi
    &[0x44, 0x89, 0x0c, 0x24],       // mov [rsp], r9d
    &[0x49, 0x89, 0xcc],             // mov r12, rcx
    &[0x4c, 0x89, 0xc3],             // mov rbx, r8
    &[0x48, 0x89, 0xda],             // 1a: mov rdx, rbx
    &[0x4c, 0x89, 0xe7],             // mov rdi, r12
    &[0x49, 0x8b, 0x75, 0x10],       // mov rsi, [r13 + 0x10]
    &[0xe8, 0x5b, 0x10, 0x00, 0x00], // 24: call memcpy
    &[0x49, 0x01, 0xc4],             // add r12, rax
    &[0x48, 0x29, 0xc3],             // sub rbx, rax
    &[0x75, 0xe9],                   // jne 1a
    &[0xb8, 0x01, 0x00, 0x00, 0x00], // mov eax, 1
    &[0x48, 0x83, 0xc4, 0x20],       // add rsp, 0x20
    &[0x5b],                         // pop rbx
    &[0x41, 0x5c, 0x41, 0x5d],       // pop r12, r13
    &[0xc3],                         // ret
];

/// One that writes, and sets `*written` when it has.
const WRITER: [&[u8]; 21] = [
    &[0x41, 0x57, 0x41, 0x55],       // push r15, r13
    &[0x55],                         // push rbp
    &[0x48, 0x83, 0xec, 0x30],       // sub rsp, 0x30
    &[0x49, 0x89, 0xfd],             // mov r13, rdi
    &[0x48, 0x89, 0x14, 0x24],       // mov [rsp], rdx
    &[0x4c, 0x89, 0x44, 0x24, 0x18], // mov [rsp + 0x18], r8
    &[0x89, 0xf5],                   // mov ebp, esi
    &[0x49, 0x89, 0xcf],             // mov r15, rcx
    &[0x48, 0x8b, 0x14, 0x24],       // mov rdx, [rsp]
    &[0xe8, 0x21, 0x10, 0x00, 0x00], // call
    &[0x85, 0xc0],                   // test eax, eax
    &[0x7e, 0x0f],                   // jle 36
    &[0x48, 0x8b, 0x44, 0x24, 0x18], // mov rax, [rsp + 0x18]
    &[0xba, 0x01, 0x00, 0x00, 0x00], // mov edx, 1
    &[0x4c, 0x89, 0x38],             // mov [rax], r15
    &[0xeb, 0x02],                   // 34: jmp 38
    &[0x89, 0xc2],                   // 36: mov edx, eax
    &[0x48, 0x83, 0xc4, 0x30],       // 38: add rsp, 0x30
    &[0x89, 0xd0],                   // mov eax, edx
    &[0x5d, 0x41, 0x5d, 0x41, 0x5f], // pop rbp, r13, r15
    &[0xc3],                         // ret
];

fn flow(function: &[u8]) -> Flow {
    Flow::of(function, START).unwrap()
}

/// Words of `struct pt_regs`.
const R15: u16 = 0;
const R13: u16 = 2;
const RBP: u16 = 4;

/// The function with one instruction in place of another, which has as many bytes.
fn with(function: &[&[u8]], index: usize, instruction: &[u8]) -> Vec<u8> {
    assert_eq!(function[index].len(), instruction.len());
    let mut function = function.to_vec();
    function[index] = instruction;
    function.concat()
}

#[test]
fn the_copy_is_the_place_for_what_was_received() {
    let places = receiving(&flow(&READER.concat())).unwrap();
    let locations = [place::register(R13), place::stack(4).unwrap(), place::stack(0).unwrap(), place::UNKNOWN];
    assert_eq!(places, [Place { offset: 0x24, cookie: place::cookie(locations) }]);
    assert_eq!(sending(&flow(&READER.concat())), None);
}

#[test]
fn the_jump_behind_the_result_is_the_place_for_what_was_sent() {
    let places = sending(&flow(&WRITER.concat())).unwrap();
    let locations = [place::stack(0).unwrap(), place::register(R15), place::register(RBP), place::register(R13)];
    assert_eq!(places, [Place { offset: 0x34, cookie: place::cookie(locations) }]);
    assert_eq!(receiving(&flow(&WRITER.concat())), None);
}

#[test]
fn a_copy_to_elsewhere_is_no_place() {
    assert_eq!(receiving(&flow(&with(&READER, 10, &[0x4c, 0x89, 0xef]))), None, "rdi is r13");
}

#[test]
fn a_copy_without_the_kind_of_its_bytes_is_no_place() {
    assert_eq!(receiving(&flow(&with(&READER, 5, &[0x90, 0x90, 0x90, 0x90]))), None);
    assert_eq!(receiving(&flow(&with(&READER, 5, &[0x89, 0x44, 0x24, 0x04]))), None, "eax is stored");
}

#[test]
fn the_connection_must_be_known_on_every_way_round() {
    // The loop's second turn would begin with another r13.
    assert_eq!(receiving(&flow(&with(&READER, 14, &[0x49, 0x89, 0xc5]))), None, "mov r13, rax");
}

/// The writer with one instruction more behind the store to `*written`, and its later jumps as far away as before.
fn writer_with(behind: &[u8]) -> Vec<u8> {
    let store = [WRITER[14], behind].concat();
    let mut writer = WRITER.to_vec();
    writer[14] = &store;
    writer.concat()
}

#[test]
fn a_result_that_changes_before_the_jump_is_no_place() {
    assert!(sending(&flow(&writer_with(&[0x49, 0x89, 0xcd]))).is_some(), "mov r13, rcx");
    assert_eq!(sending(&flow(&writer_with(&[0x49, 0x89, 0xcf]))), None, "mov r15, rcx");
    assert_eq!(sending(&flow(&writer_with(&[0x49, 0x01, 0xcd]))), None, "add r13, rcx");
}

#[test]
fn a_jump_that_others_reach_too_is_no_place() {
    // jle to the jump behind the store
    assert_eq!(sending(&flow(&with(&WRITER, 11, &[0x7e, 0x0d]))), None);
}

#[test]
fn a_kind_of_one_byte_is_enough() {
    // mov [rsp + 4], sil
    let reader = [&READER[..5], &[&[0x40, 0x88, 0x74, 0x24, 0x04]], &READER[6..]].concat().concat();
    let places = receiving(&flow(&reader)).unwrap();
    assert_eq!(place::location(places[0].cookie, 1), place::stack(4).unwrap());
}

#[test]
fn the_copy_gives_its_callers_buffer_back() {
    // lea r12, [rax + rdx], where it was add r12, rax
    let reader = [&READER[..13], &[&[0x4c, 0x8d, 0x24, 0x10]], &READER[14..15], &[&[0x75, 0xe8]], &READER[16..]];
    assert_eq!(receiving(&flow(&reader.concat().concat())).unwrap().len(), 1);
}

#[test]
fn code_that_lies_elsewhere_is_followed_there_and_back() {
    // je to behind the function, where a jump leads back to the copy, behind what sets its registers
    let jump: &[u8] = &[0x0f, 0x84, 0x26, 0x00, 0x00, 0x00];
    let reader = [&READER[..9], &[jump], &READER[9..]].concat().concat();
    let end = START + reader.len() as u64;
    let within = |elsewhere: &[u8]| {
        let code = [&reader, elsewhere].concat();
        receiving(&Flow::within(&code, START, START..end)?)
    };
    let harmless = within(&[0x31, 0xc0, 0xeb, 0xd6]); // xor eax, eax; jmp back
    assert_eq!(harmless.map(|places| places.len()), Some(1));
    assert_eq!(within(&[0x45, 0x31, 0xed, 0xeb, 0xd5]), None, "xor r13d, r13d");
    assert_eq!(receiving(&flow(&reader)), None, "what is there is not known");
}

#[test]
fn what_may_be_missing_is_unknown() {
    let places = sending(&flow(&with(&WRITER, 3, &[0x90, 0x90, 0x90]))).unwrap();
    assert_eq!(place::location(places[0].cookie, 3), place::UNKNOWN);
    assert_eq!(sending(&flow(&with(&WRITER, 4, &[0x90, 0x90, 0x90, 0x90]))), None, "the buffer is needed");
}

#[test]
fn a_jump_by_a_table_leaves_nothing_known() {
    let mut jumping = READER.to_vec();
    jumping[20] = &[0xff, 0xe0];
    assert_eq!(receiving(&flow(&jumping.concat())), None);
}
