#!/bin/sh
# Starts those of the example's three servers of NATS that do not run, in the background, and waits until each is ready and
# knows who leads. Their data, logs and process ids are in data-jetstream/.
set -eu
cd "$(dirname "$0")/../.."

server=.venv/bin/nats-server
[ -x "$server" ] || server=$(command -v nats-server) || {
    echo "nats-server is neither in .venv/bin nor in \$PATH: README.md says how to get it" >&2
    exit 1
}

# Whether the process is there that its file names, and is no other's that has the number by now.
runs() {
    pid=$(cat "data-jetstream/nats-$1.pid" 2>/dev/null) || return 1
    # Without ps, which the images of containers lack.
    case $(cat "/proc/$pid/stat" 2>/dev/null) in
    *"(nats-server) Z"*) return 1 ;; # Killed, in a container where nobody looks after it.
    *"(nats-server)"*) return 0 ;;
    *) return 1 ;;
    esac
}

start() {
    # What it says from now on counts.
    rm -f "data-jetstream/nats-$1.log"
    "$server" -c "config/jetstream/nats-$1.conf" </dev/null >"data-jetstream/nats-$1.out" 2>&1 &
    echo $! >"data-jetstream/nats-$1.pid"
}

is_ready() { runs "$1" && grep -q "metadata leader" "data-jetstream/nats-$1.log" 2>/dev/null; }

mkdir -p data-jetstream
for number in 1 2 3; do
    runs $number || start $number
done

tries=300
for number in 1 2 3; do
    until is_ready $number; do
        tries=$((tries - 1))
        if [ $tries = 0 ] || ! runs $number; then
            echo "nats-$number is not ready:" >&2
            tail -n 20 "data-jetstream/nats-$number.out" "data-jetstream/nats-$number.log" >&2
            exit 1
        fi
        sleep 0.2
    done
    echo "nats-$number listens on $(sed -n 's/^listen: "\(.*\)"/\1/p' config/jetstream/nats-$number.conf)"
done
