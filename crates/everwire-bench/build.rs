//! Notes what the program is built with, since a report tells it.

use std::{env, fs, process::Command};

const LOCK: &str = "../../Cargo.lock";

fn main() {
    println!("cargo::rerun-if-changed={LOCK}");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().ok();
    let said = said.and_then(|output| String::from_utf8(output.stdout).ok());
    // `rustc 1.95.0 (59807616e 2026-04-14)`
    let rustc = said.as_deref().and_then(|said| said.split(' ').nth(1));
    let lock = fs::read_to_string(LOCK).unwrap_or_default();
    let hyper = lock
        .split_once("name = \"hyper\"\nversion = \"")
        .and_then(|(_, after)| after.split_once('"'));
    for (name, version) in [
        ("RUSTC_VERSION", rustc),
        ("HYPER_VERSION", hyper.map(|(version, _)| version)),
    ] {
        let version = version.unwrap_or("unknown").trim();
        println!("cargo::rustc-env={name}={version}");
    }
}
