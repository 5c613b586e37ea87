//! The `wafka-server` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    wafka_server::cli::run()
}
