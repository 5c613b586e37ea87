#!/usr/bin/env bash
# redis-cli: the scenario of tests/clients/README.md.
#
# usage: client.sh PORT PROTOCOL
set -euo pipefail

port=$1
protocol=$2
prefix=redis-cli:$protocol
options=(-h 127.0.0.1 -p "$port")
# It speaks RESP2 unless told otherwise.
[ "$protocol" = 2 ] || options+=(-3)
hour_ms=3600000
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Prints replies plainly, a value on each line, when its output is not a terminal.
cli() { redis-cli "${options[@]}" "$@"; }

# The same for reads: in RESP3 a key stands on one line with the value behind it.
read_cli() { cli "$@" | tr ' ' '\n'; }

# equal FOUND EXPECTED
equal() {
    [ "$1" = "$2" ] || {
        printf 'client.sh:%s: found %q, expected %q\n' "${BASH_LINENO[0]}" "$1" "$2" >&2
        exit 1
    }
}

# contains FOUND PART
contains() {
    [[ $1 == *"$2"* ]] || {
        printf 'client.sh:%s: found %q, expected something with %q\n' "${BASH_LINENO[0]}" "$1" "$2" >&2
        exit 1
    }
}

lines() { printf '%s\n' "$@"; }

# Waits until the connection of that name is blocked.
wait_until_blocked() {
    local until=$((SECONDS + 30)) list
    while list=$(cli CLIENT LIST) && ! grep -Eq " name=$1 .* flags=[^ ]*b" <<<"$list"; do
        [ $SECONDS -lt $until ] || { echo "not in time: $1 blocks" >&2; exit 1; }
        sleep 0.002
    done
}

# blocked NAME COMMAND...: carries the command out in the background, on a connection of that name.
blocked() {
    lines "CLIENT SETNAME $1" "${*:2}" | cli >"$dir/$1" 2>&1 &
    reader=$!
    wait_until_blocked "$1"
}

check_connect() {
    equal "$(cli PING)" PONG
    contains "$(cli CLIENT INFO)" "resp=$protocol"
    contains "$(cli INFO server)" "redis_version:"
    contains "$(cli HELLO)" standalone
}

check_produce() {
    local key=$prefix:events ids=() n
    for n in 0 1 2 3 4; do ids+=("$(cli XADD "$key" '*' n $n)"); done
    equal "$(lines "${ids[@]}")" "$(lines "${ids[@]}" | sort -t- -k1,1n -k2,2n)"
    # The last argument comes from standard input: bytes that no argument can hold.
    printf 'a\0b\r\n\377' | cli -x XADD "$key:binary" '*' bytes >/dev/null
    equal "$(cli XRANGE "$key:binary" - + | tail -n +3 | od -An -tx1 | tr -d ' \n')" 6100620d0aff0a
    equal "$(cli XLEN "$key")" 5
    equal "$(cli XRANGE "$key" - + COUNT 2)" "$(lines "${ids[0]}" n 0 "${ids[1]}" n 1)"
    equal "$(cli XREVRANGE "$key" + - COUNT 1)" "$(lines "${ids[4]}" n 4)"
    equal "$(read_cli XREAD COUNT 1 STREAMS "$key" "${ids[0]}")" "$(lines "$key" "${ids[1]}" n 1)"
    contains "$(cli XADD "$key" 1-1 f v 2>&1)" "equal or smaller"
}

check_block_read() {
    local key=$prefix:blocked id
    blocked "$prefix:reader" XREAD BLOCK 30000 STREAMS "$key" '$'
    id=$(cli XADD "$key" '*' n 7)
    wait $reader
    equal "$(tr ' ' '\n' <"$dir/$prefix:reader")" "$(lines OK "$key" "$id" n 7)"
    equal "$(read_cli XREAD BLOCK 5 STREAMS "$key" '$')" ""
}

check_group() {
    local key=$prefix:work ids=() n
    equal "$(cli XGROUP CREATE "$key" g 0 MKSTREAM)" OK
    contains "$(cli XGROUP CREATE "$key" g 0 2>&1)" BUSYGROUP
    for n in 0 1 2 3; do ids+=("$(cli XADD "$key" '*' n $n)"); done
    local first second
    first=$(lines "$key" "${ids[0]}" n 0 "${ids[1]}" n 1)
    second=$(lines "$key" "${ids[2]}" n 2 "${ids[3]}" n 3)
    equal "$(read_cli XREADGROUP GROUP g alice COUNT 2 STREAMS "$key" '>')" "$first"
    equal "$(read_cli XREADGROUP GROUP g bob STREAMS "$key" '>')" "$second"
    equal "$(read_cli XREADGROUP GROUP g alice STREAMS "$key" '>')" ""
    equal "$(cli XACK "$key" g "${ids[0]}" "${ids[1]}")" 2
    equal "$(cli XACK "$key" g "${ids[0]}" "${ids[1]}")" 0
    equal "$(read_cli XREADGROUP GROUP g bob STREAMS "$key" 0)" "$second"
    blocked "$prefix:alice" XREADGROUP GROUP g alice BLOCK 30000 STREAMS "$key" '>'
    ids+=("$(cli XADD "$key" '*' n 9)")
    wait $reader
    equal "$(tr ' ' '\n' <"$dir/$prefix:alice")" "$(lines OK "$key" "${ids[4]}" n 9)"
    equal "$(cli XACK "$key" g "${ids[@]:2}")" 3
    equal "$(cli XPENDING "$key" g | head -n 1)" 0
    contains "$(cli XREADGROUP GROUP none alice STREAMS "$key" '>' 2>&1)" NOGROUP
}

check_claim() {
    local key=$prefix:claimed ids=() n
    cli XGROUP CREATE "$key" g 0 MKSTREAM >/dev/null
    for n in 0 1 2 3; do ids+=("$(cli XADD "$key" '*' n $n)"); done

    # Killed while it waits for more, with three events that it has not acknowledged.
    lines "CLIENT SETNAME $prefix:doomed" "XREADGROUP GROUP g doomed COUNT 3 STREAMS $key >" \
        "XREAD BLOCK 30000 STREAMS $prefix:none $" | cli >"$dir/doomed" 2>&1 &
    local doomed=$!
    wait_until_blocked "$prefix:doomed"
    equal "$(cli CLIENT KILL ID "$(cli CLIENT LIST | sed -n "s/^id=\([0-9]*\) .* name=$prefix:doomed .*/\1/p")")" 1
    wait $doomed || true
    contains "$(cat "$dir/doomed")" "Error: "

    equal "$(cli XPENDING "$key" g)" "$(lines 3 "${ids[0]}" "${ids[2]}" doomed 3)"
    equal "$(cli XPENDING "$key" g - + 10 | grep -c doomed)" 3
    equal "$(cli XPENDING "$key" g IDLE $hour_ms - + 10)" ""
    equal "$(cli XAUTOCLAIM "$key" g rescuer 0 0-0 COUNT 2 | head -n 7)" \
        "$(lines "${ids[2]}" "${ids[0]}" n 0 "${ids[1]}" n 1)"
    equal "$(cli XCLAIM "$key" g other $hour_ms "${ids[2]}")" ""
    equal "$(cli XCLAIM "$key" g rescuer 0 "${ids[2]}" JUSTID)" "${ids[2]}"
    equal "$(cli XCLAIM "$key" g rescuer 0 "${ids[2]}")" "$(lines "${ids[2]}" n 2)"
    equal "$(cli XPENDING "$key" g - + 10 rescuer | grep -c rescuer)" 3
    equal "$(cli XACK "$key" g "${ids[@]:0:3}")" 3
    equal "$(read_cli XREADGROUP GROUP g rescuer NOACK STREAMS "$key" '>')" "$(lines "$key" "${ids[3]}" n 3)"
    equal "$(cli XPENDING "$key" g | head -n 1)" 0
}

check_pipeline() {
    local key=$prefix:pipe n report
    report=$(
        { for ((n = 0; n < 200; n++)); do echo "XADD $key * n $n"; done; echo "XADD $key 1-1 n refused"; } |
            cli --pipe 2>&1
    ) || true
    contains "$report" "errors: 1, replies: 201"
    equal "$(cli XLEN "$key")" 200
    equal "$(cli XRANGE "$key" - + | awk 'NR % 3 == 0' | tr '\n' ' ')" "$(seq -s ' ' 0 199) "
}

check_transaction() {
    local orders=$prefix:orders bills=$prefix:bills order replies
    cli XGROUP CREATE "$orders" g 0 MKSTREAM >/dev/null
    order=$(cli XADD "$orders" '*' n 0)
    cli XREADGROUP GROUP g biller STREAMS "$orders" '>' >/dev/null
    replies=$(lines MULTI "XADD $bills * bill 0" "XACK $orders g $order" "XADD $bills 1-1 bill late" "XLEN $bills" EXEC | cli)
    equal "$(head -n 5 <<<"$replies")" "$(lines OK QUEUED QUEUED QUEUED QUEUED)"
    equal "$(tail -n +6 <<<"$replies" | grep -v '^$' | sed 's/^ERR .*equal or smaller.*/refused/')" \
        "$(lines "$(cli XRANGE "$bills" - + | head -n 1)" 1 refused 1)"
    equal "$(cli XPENDING "$orders" g | head -n 1)" 0

    # The other connection writes between WATCH and EXEC: what comes from the pipe waits for that.
    mkfifo "$dir/watched"
    cli <"$dir/watched" >"$dir/replies" &
    local watcher=$!
    exec 3>"$dir/watched"
    lines "CLIENT SETNAME $prefix:watcher" "WATCH $bills" "XREAD BLOCK 30000 STREAMS $prefix:go $" MULTI \
        "XADD $bills * bill mine" EXEC >&3
    wait_until_blocked "$prefix:watcher"
    cli XADD "$bills" '*' bill other >/dev/null
    cli XADD "$prefix:go" '*' n 0 >/dev/null
    exec 3>&-
    wait $watcher
    equal "$(tail -n 3 "$dir/replies")" "$(lines OK QUEUED "")"
    equal "$(lines MULTI "XADD $bills * bill discarded" DISCARD "XLEN $bills" | cli)" "$(lines OK QUEUED OK 2)"
}

check_helpers() {
    local key=$prefix:helped ids=() n
    for n in 0 1 2 3 4 5; do ids+=("$(cli XADD "$key" '*' n $n)"); done
    cli XGROUP CREATE "$key" g 0 >/dev/null
    equal "$(cli XGROUP CREATECONSUMER "$key" g idler)" 1
    cli XREADGROUP GROUP g worker COUNT 4 STREAMS "$key" '>' >/dev/null
    cli XACK "$key" g "${ids[0]}" >/dev/null
    contains "$(cli XINFO STREAM "$key" | tr '\n' ' ')" "last-generated-id ${ids[5]} "
    equal "$(cli XINFO GROUPS "$key" | tr '\n' ' ')" \
        "name g consumers 2 pending 3 last-delivered-id ${ids[3]} entries-read 4 lag 2 "
    contains "$(cli XINFO CONSUMERS "$key" g | tr '\n' ' ')" "name worker pending 3 "
    contains "$(cli XINFO STREAM "$key" FULL | tr '\n' ' ')" "pel-count 3 "
    contains "$(cli --no-raw XINFO GROUPS "$key")" '"last-delivered-id"'
    contains "$(cli --json XRANGE "$key" "${ids[0]}" "${ids[0]}")" "[[\"${ids[0]}\",[\"n\",\"0\"]]]"
    equal "$(cli --scan --pattern "$prefix:help*")" "$key"
    contains "$(cli --bigkeys 2>&1)" "$(cli DBSIZE) "
    equal "$(cli XDEL "$key" "${ids[5]}" 1-1)" 1
    equal "$(cli XTRIM "$key" MAXLEN 3)" 2
    equal "$(cli XGROUP DELCONSUMER "$key" g worker)" 3
    equal "$(cli XGROUP DESTROY "$key" g)" 1
    equal "$(lines "EXPIRE $key 1000" "PERSIST $key" "TTL $key" "TYPE $key" "DEL $key" | cli)" "$(lines 1 1 -1 stream 1)"
}

# What Redis 8.2 to 8.8 brought.
check_newer() {
    local key=$prefix:newer ids n
    cli XGROUP CREATE "$key" g 0 MKSTREAM >/dev/null
    ids=("$(cli XADD "$key" IDMP producer 1 '*' n 0)")
    equal "$(cli XADD "$key" IDMP producer 1 '*' n 0)" "${ids[0]}"
    for n in 1 2; do ids+=("$(cli XADD "$key" '*' n $n)"); done
    contains "$(read_cli XREADGROUP GROUP g worker STREAMS "$key" '>')" "${ids[2]}"
    equal "$(cli XNACK "$key" g FAIL IDS 1 "${ids[0]}")" 1
    equal "$(read_cli XREADGROUP GROUP g rescuer COUNT 1 CLAIM $hour_ms STREAMS "$key" '>' | sed 5d)" \
        "$(lines "$key" "${ids[0]}" n 0 1)"
    equal "$(cli XACKDEL "$key" g IDS 1 "${ids[0]}")" 1
    equal "$(cli XDELEX "$key" ACKED IDS 1 "${ids[1]}")" 2
    equal "$(cli XDELEX "$key" DELREF IDS 1 "${ids[1]}")" 1
    equal "$(cli XLEN "$key")" 1
    equal "$(cli XPENDING "$key" g | head -n 1)" 1
}

# One that has a connection open says that it is lost; the next one finds everything.
check_reconnect() {
    local key=$prefix:again ids=() n line reply
    cli XGROUP CREATE "$key" g 0 MKSTREAM >/dev/null
    for n in 0 1 2; do ids+=("$(cli XADD "$key" '*' n $n)"); done
    equal "$(read_cli XREADGROUP GROUP g worker COUNT 2 STREAMS "$key" '>')" "$(lines "$key" "${ids[0]}" n 0 "${ids[1]}" n 1)"
    equal "$(cli XACK "$key" g "${ids[0]}")" 1
    blocked "$prefix:waiting" XREAD BLOCK 0 STREAMS "$key" '$'
    echo restart
    read -r line
    equal "$line" ready
    wait $reader || true
    contains "$(cat "$dir/$prefix:waiting")" "Error: "
    equal "$(cli XRANGE "$key" - + | tr '\n' ' ')" "${ids[0]} n 0 ${ids[1]} n 1 ${ids[2]} n 2 "
    equal "$(read_cli XREADGROUP GROUP g worker STREAMS "$key" 0)" "$(lines "$key" "${ids[1]}" n 1)"
    equal "$(read_cli XREADGROUP GROUP g worker STREAMS "$key" '>')" "$(lines "$key" "${ids[2]}" n 2)"
    equal "$(cli XACK "$key" g "${ids[@]}")" 2
    equal "$(cli XPENDING "$key" g | head -n 1)" 0
}

for step in connect produce block-read group claim pipeline transaction helpers newer reconnect; do
    "check_${step//-/_}"
    echo "$step: ok"
done
