//! Puts the kernel object that `cargo xtask` built where the agent includes it.
//!
//! Without `OBSERVER_KERNEL_OBJECT` the agent is built without one, so that a plain `cargo build` needs no BPF toolchain.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
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
    if let Err(error) = fs::copy(&object, &embedded) {
        println!(
            "cargo::error={VARIABLE} names {}: {error}; unset it, or build with `cargo xtask build`",
            object.display()
        );
        process::exit(1);
    }
    if let Err(error) = strip(&embedded) {
        println!(
            "cargo::warning=the kernel object keeps its debug information, 1.6 MiB in the agent's memory: {error}"
        );
    }
    println!("cargo::rustc-cfg=kernel_object");
}

/// The kernel takes BTF alone. The debug information that it was made from is four fifths of the object, and an agent has it in
/// memory from when it loads it. The compiler brings a program to take it out.
fn strip(object: &Path) -> Result<(), Box<dyn Error>> {
    let answer = Command::new(env::var("RUSTC")?).args(["--print", "sysroot"]).output()?;
    let libraries = Path::new(String::from_utf8(answer.stdout)?.trim()).join("lib");
    let objcopy = libraries.join("rustlib").join(env::var("HOST")?).join("bin/rust-objcopy");
    let mut command = Command::new(objcopy);
    let status = command.env("LD_LIBRARY_PATH", libraries).arg("--strip-debug").arg(object).status()?;
    if status.success() { Ok(()) } else { Err(format!("rust-objcopy: {status}").into()) }
}
