#!/bin/sh
# Builds Wafka and its load generator and prints the comparison with Redis on this machine.
# Options are passed on: benches/compare.sh --quick, --rounds 9, --cells always-50x64,read, --help. See benches/README.md.
set -eu
cd "$(dirname "$0")/.."

if ! command -v redis-server >/dev/null; then
    echo "compare.sh: redis-server is not installed; on Debian or Ubuntu: apt-get install redis-server" >&2
    exit 1
fi

# One command for both, so that the server lies beside the load generator, where that looks for it.
cargo build --release -p wafka-server -p wafka-bench
echo "$(redis-server --version); $(nproc) CPUs, $(uname -sr)" >&2
exec cargo run --release --quiet -p wafka-bench --bin wafka-bench -- compare "$@"
