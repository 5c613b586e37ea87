#!/usr/bin/env bash
# Makes the clients ready: fetches what is pinned beside each program, and compiles what has to be compiled.
#
#   tests/clients/setup.sh CLIENT...
#
# Everything goes into $CARGO_TARGET_DIR/clients/CLIENT (target/clients/CLIENT), and is made anew only when a file of the
# client's directory has changed. redis-rs is not among them: Cargo builds it with the tests. A client that cannot be made
# ready does not keep the others from it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# What another program said about Node, Go or Java is not for here.
exec </dev/null

if [ $# -gt 1 ]; then
    failed=()
    for client in "$@"; do
        ./setup.sh "$client" || failed+=("$client")
    done
    [ ${#failed[@]} = 0 ] && exit
    echo "setup.sh: not ready: ${failed[*]}" >&2
    exit 1
fi

mkdir -p "${CARGO_TARGET_DIR:-../../target}"
cache=$(cd "${CARGO_TARGET_DIR:-../../target}" && pwd)/clients
mkdir -p "$cache"
# Tests of several clients may come here at once.
exec 9>"$cache/lock"
flock 9

. ./languages.sh

# python_environment REQUIREMENTS: in $out/venv.
python_environment() {
    python3 -m venv "$out/venv"
    "$out/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$1"
}

node_modules() {
    use_node
    npm_ci "$1" "$out"
}

java_classes() {
    check_java
    mvn --quiet --batch-mode --no-transfer-progress -Dstyle.color=never -f "$1/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$out/lib"
    javac -nowarn -d "$out/classes" -cp "$out/lib/*" "$1/Client.java"
}

# The C sources are in the source package of hiredis's Python binding, the newest there are; distributions lag behind.
hiredis() {
    local sources
    python3 -m venv "$out/venv"
    "$out/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary hiredis \
        -r hiredis/requirements.txt -d "$out"
    tar -xzf "$out"/hiredis-*.tar.gz -C "$out"
    sources=$(echo "$out"/hiredis-*/vendor/hiredis)
    cc -std=gnu11 -O1 -Wall -Wextra -I "$sources" -o "$out/client" hiredis/client.c \
        "$sources"/{alloc,async,hiredis,net,read,sds,sockcompat}.c
}

make_ready() {
    case $1 in
        redis-cli) ;;
        redis-py) python_environment redis-py/requirements.txt ;;
        node-redis | ioredis) node_modules "$1" ;;
        go-redis)
            use_go
            (cd go-redis && go build -o "$out/client" .)
            ;;
        jedis | lettuce) java_classes "$1" ;;
        hiredis) hiredis ;;
        *) echo "setup.sh: no client is called $1" >&2 && return 2 ;;
    esac
}

for client in "$@"; do
    out=$cache/$client
    made_from=$(cat setup.sh languages.sh node/* "$client"/* | cksum)
    if [ "$(cat "$out/made-from" 2>/dev/null)" = "$made_from" ]; then
        continue
    fi
    echo "$client: making it ready"
    rm -rf "$out"
    mkdir -p "$out"
    make_ready "$client"
    echo "$made_from" >"$out/made-from"
done
