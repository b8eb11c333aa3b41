//! Puts the kernel object that `cargo xtask` built where the agent includes it.
//!
//! Without `OBSERVER_KERNEL_OBJECT` the agent is built without one, so that a plain `cargo build` needs no BPF toolchain.

use std::path::PathBuf;
use std::{env, fs, process};

const VARIABLE: &str = "OBSERVER_KERNEL_OBJECT";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(kernel_object)");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    // An empty value is the same as none.
    let Some(object) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
        return;
    };
    let object = PathBuf::from(object);
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("observer-kernel.o");
    if let Err(error) = fs::copy(&object, embedded) {
        println!(
            "cargo::error={VARIABLE} names {}: {error}; unset it, or build with `cargo xtask build`",
            object.display()
        );
        process::exit(1);
    }
    println!("cargo::rustc-cfg=kernel_object");
}
