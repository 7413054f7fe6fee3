//! x
#![allow(dead_code)]
mod decode;
mod ledger;
mod payload;
mod publish;
mod response;
mod wire;
fn main() {}
