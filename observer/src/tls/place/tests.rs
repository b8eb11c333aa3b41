use super::*;
use crate::tls::Library;

#[test]
fn show() {
    let library = Library::read("/usr/lib/x86_64-linux-gnu/libssl.so.3".as_ref()).unwrap().unwrap();
    for function in &library.functions {
        println!("{} {:#x} {}", function.name, function.offset, function.places);
    }
}
