# For setup.sh: Go, Node and Java as new as the clients need them. Where the machine's own is older, as Debian's may be, one
# that fits is fetched from where the clients come from, too, into $cache/languages. Java is not to be had there.

node_needed=20
java_needed=17

# at_least NEEDED HAVE
at_least() {
    printf '%s\n' "$1" "$2" | sort -V -C
}

# too_old LANGUAGE NEEDED HAVE: says so.
too_old() {
    echo "$1 is too old or missing: ${3:-none} found, at least $2 needed" >&2
}

# Puts a Go that go.mod is content with first in the path. An older one can fetch it: it is a module, checked against the
# checksum database. What it fetches cannot be executed where it lies.
use_go() {
    local needed have platform out
    needed=$(sed -n 's/^go //p' go-redis/go.mod)
    # Not beside a go.mod, which an old one may not be able to read.
    have=$(cd "$cache" && go env GOVERSION) || have=
    # No other than the one that is found here.
    export GOTOOLCHAIN=local
    at_least "go$needed" "${have:-none}" && return
    out=$cache/languages/go-$needed
    if ! [ -x "$out/bin/go" ]; then
        too_old Go "$needed" "$have"
        echo "fetching Go $needed as a module" >&2
        platform=$(cd "$cache" && go env GOOS)-$(cd "$cache" && go env GOARCH)
        fetch_go "golang.org/toolchain@v0.0.1-go$needed.$platform" "$out"
    fi
    unset GOROOT
    export PATH=$out/bin:$PATH
}

# fetch_go MODULE OUT: the directory appears when it is whole.
fetch_go() {
    local module
    module=$(cd "$cache" && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    rm -rf "$2" "$2.new"
    mkdir -p "${2%/*}"
    cp -R "$module" "$2.new"
    chmod -R u+w "$2.new"
    chmod +x "$2.new"/bin/* "$2.new"/pkg/tool/*/*
    mv "$2.new" "$2"
}

# Makes $out/node, with which the tests run the client: the machine's Node, else the one that a package brings.
use_node() {
    local have languages=$cache/languages/node
    have=$(node --version) || have=
    if at_least "v$node_needed" "${have:-none}"; then
        ln -s "$(command -v node)" "$out/node"
        return
    fi
    too_old Node "$node_needed" "$have"
    if ! cmp -s node/package-lock.json "$languages/package-lock.json"; then
        echo "fetching Node as a package" >&2
        rm -rf "$languages"
        mkdir -p "$languages"
        cp node/package.json "$languages"
        npm_ci node "$languages"
    fi
    ln -s "$languages"/node_modules/node-linux-*/bin/node "$out/node"
    "$out/node" --version >/dev/null
}

# npm_ci FROM TO: the lock file is there when all is.
npm_ci() {
    cp "$1/package.json" "$1/package-lock.json" "$2"
    (cd "$2" && npm ci --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null) && return
    rm -f "$2/package-lock.json"
    return 1
}

check_java() {
    local have
    have=$(javac --version | sed -n 's/^javac //p') || have=
    at_least "$java_needed" "${have:-none}" && return
    too_old Java "$java_needed" "$have"
    return 1
}
