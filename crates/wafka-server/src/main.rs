//! The `wafka-server` binary.
fn main() {}
