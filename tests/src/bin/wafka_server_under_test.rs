//! `wafka-server` under a name of its own, which Cargo builds together with the tests that start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    wafka_server::cli::run()
}
