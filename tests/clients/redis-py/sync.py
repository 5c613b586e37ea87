"""redis-py, the synchronous client: the scenario of tests/clients/README.md.

usage: sync.py PORT PROTOCOL
"""

import re
import sys
import threading
import time

import redis

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
PREFIX = f"redis-py:{PROTOCOL}:"
TIMEOUT = 30
BLOCK_MS = TIMEOUT * 1000
HOUR_MS = 3_600_000
BINARY = bytes(range(256))


def connect(**options):
    """RESP3 is what the client speaks unless told otherwise."""
    if PROTOCOL == 2:
        options["protocol"] = 2
    return redis.Redis(port=PORT, socket_timeout=TIMEOUT * 2, **options)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {found!r:.2000}, expected {expected!r:.2000}")


def refused(call, text):
    try:
        found = call()
    except redis.ResponseError as error:
        if text not in str(error):
            raise AssertionError(f"{error}, expected {text}") from error
    else:
        raise AssertionError(f"{found!r}, expected an error: {text}")


def entries(reply):
    """The entries of the one stream in a reply to XREAD or XREADGROUP; none when there is no stream in it."""
    pairs = list(reply.items()) if isinstance(reply, dict) else reply
    if not pairs:
        return []
    ((_, found),) = pairs
    # RESP3 as redis-py gives it nests the entries once more.
    return found[0] if found and isinstance(found[0], list) else found


def numbers(found):
    return [int(fields[b"n"]) for _, fields in found]


def ids(found):
    return [id for id, _ in found]


def add(r, key, count):
    return [r.xadd(key, {"n": n}) for n in range(count)]


def is_blocked(r, name):
    return any(c["name"] == name and "b" in c["flags"] for c in r.client_list())


def wait_until_blocked(r, name):
    until = time.monotonic() + TIMEOUT
    while not is_blocked(r, name):
        if time.monotonic() > until:
            raise AssertionError(f"not in time: {name} blocks")
        time.sleep(0.002)


def served(r, name, call, write):
    """What `call` returns on a connection of its own that is blocked when `write` is carried out."""
    found = []

    def read():
        with connect(client_name=name) as own:
            found.append(call(own))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    wait_until_blocked(r, name)
    written = write()
    thread.join(TIMEOUT)
    equal(len(found), 1)
    return written, found[0]


def check_connect(r):
    equal(r.ping(), True)
    (own,) = [c for c in r.client_list() if int(c["id"]) == r.client_id()]
    equal((own["resp"], own["lib-name"]), (str(PROTOCOL), "redis-py"))
    equal(bool(re.match(r"\d+\.\d+\.\d+", r.info("server")["redis_version"])), True)


def check_produce(r):
    key = PREFIX + "events"
    made = add(r, key, 5) + [r.xadd(key, {b"bin\x00": BINARY, "": "", "json": '{"total": 99.5}'})]
    equal(sorted(made, key=lambda id: tuple(map(int, id.split(b"-")))), made)
    equal(r.xlen(key), 6)
    found = r.xrange(key)
    equal((ids(found), numbers(found[:5])), (made, [0, 1, 2, 3, 4]))
    equal(found[5][1], {b"bin\x00": BINARY, b"": b"", b"json": b'{"total": 99.5}'})
    equal(ids(r.xrevrange(key, count=2)), [made[5], made[4]])
    equal(ids(entries(r.xread({key: made[0]}, count=2))), made[1:3])
    refused(lambda: r.xadd(key, {"f": "v"}, id="1-1"), "equal or smaller")


def check_block_read(r):
    key = PREFIX + "blocked"
    add(r, key, 3)
    wait = lambda own: entries(own.xread({key: "$"}, block=BLOCK_MS))
    id, found = served(r, PREFIX + "reader", wait, lambda: r.xadd(key, {"n": 7}))
    equal(found, [(id, {b"n": b"7"})])
    equal(entries(r.xread({key: "$"}, block=5)), [])


def check_group(r):
    key = PREFIX + "work"
    new = lambda own, name, **options: entries(own.xreadgroup("g", name, {key: ">"}, **options))
    equal(r.xgroup_create(key, "g", id="0", mkstream=True), True)
    refused(lambda: r.xgroup_create(key, "g", id="0"), "BUSYGROUP")
    made = add(r, key, 4)
    equal(ids(new(r, "alice", count=2)), made[:2])
    equal(ids(new(r, "bob", count=10)), made[2:])
    equal(new(r, "alice"), [])
    equal((r.xack(key, "g", *made[:2]), r.xack(key, "g", *made[:2])), (2, 0))
    equal(ids(entries(r.xreadgroup("g", "bob", {key: "0"}))), made[2:])
    equal(entries(r.xreadgroup("g", "alice", {key: "0"})), [])
    wait = lambda own: new(own, "alice", block=BLOCK_MS)
    id, found = served(r, PREFIX + "alice", wait, lambda: r.xadd(key, {"n": 9}))
    equal(found, [(id, {b"n": b"9"})])
    equal(r.xack(key, "g", id, *made[2:]), 3)
    equal(r.xpending(key, "g")["pending"], 0)
    refused(lambda: r.xreadgroup("none", "alice", {key: ">"}), "NOGROUP")


def check_claim(r):
    key = PREFIX + "claimed"
    r.xgroup_create(key, "g", id="0", mkstream=True)
    made = add(r, key, 4)
    doomed = connect()
    equal(ids(entries(doomed.xreadgroup("g", "doomed", {key: ">"}, count=3))), made[:3])
    doomed.close()

    summary = r.xpending(key, "g")
    equal((summary["pending"], summary["min"], summary["max"]), (3, made[0], made[2]))
    equal(summary["consumers"], [{"name": b"doomed", "pending": 3}])
    pending = r.xpending_range(key, "g", min="-", max="+", count=10)
    equal([(p["message_id"], p["consumer"], p["times_delivered"]) for p in pending], [(id, b"doomed", 1) for id in made[:3]])
    equal(r.xpending_range(key, "g", min="-", max="+", count=10, idle=HOUR_MS), [])

    cursor, claimed, deleted = r.xautoclaim(key, "g", "rescuer", min_idle_time=0, count=2)
    equal((cursor, claimed, deleted), (made[2], [(made[0], {b"n": b"0"}), (made[1], {b"n": b"1"})], []))
    equal(r.xclaim(key, "g", "other", HOUR_MS, [made[2]]), [])
    equal(r.xclaim(key, "g", "rescuer", 0, [made[2]], justid=True), [made[2]])
    equal(r.xclaim(key, "g", "rescuer", 0, [made[2]]), [(made[2], {b"n": b"2"})])
    pending = r.xpending_range(key, "g", min="-", max="+", count=10, consumername="rescuer")
    equal([p["times_delivered"] for p in pending], [2, 2, 2])
    equal(r.xack(key, "g", *made[:3]), 3)
    equal(numbers(entries(r.xreadgroup("g", "rescuer", {key: ">"}))), [3])
    equal(r.xack(key, "g", made[3]), 1)
    equal(r.xpending(key, "g")["pending"], 0)


def check_pipeline(r):
    key = PREFIX + "pipe"
    with r.pipeline(transaction=False) as pipe:
        for n in range(200):
            pipe.xadd(key, {"n": n})
        pipe.xlen(key).xadd(key, {"n": "refused"}, id="1-1").xrange(key, count=1)
        replies = pipe.execute(raise_on_error=False)
    equal((replies[200], type(replies[201]), ids(replies[202])), (200, redis.ResponseError, replies[:1]))
    found = r.xrange(key)
    equal((ids(found), numbers(found)), (replies[:200], list(range(200))))


def check_transaction(r):
    orders, bills = PREFIX + "orders", PREFIX + "bills"
    r.xgroup_create(orders, "g", id="0", mkstream=True)
    add(r, orders, 1)
    ((order, fields),) = entries(r.xreadgroup("g", "biller", {orders: ">"}))
    with r.pipeline() as pipe:
        pipe.xadd(bills, {b"bill": fields[b"n"]}).xack(orders, "g", order).xlen(bills)
        bill, *rest = pipe.execute()
    equal((rest, r.xrange(bills), r.xpending(orders, "g")["pending"]), ([1, 1], [(bill, {b"bill": b"0"})], 0))

    # A command that fails does not keep the others from being carried out.
    with r.pipeline() as pipe:
        replies = pipe.xadd(bills, {"bill": "late"}, id="1-1").xlen(bills).execute(raise_on_error=False)
    equal((type(replies[0]), replies[1]), (redis.ResponseError, 1))

    with r.pipeline() as pipe, connect() as other:
        pipe.watch(bills)
        other.xadd(bills, {"bill": "other"})
        pipe.multi()
        pipe.xadd(bills, {"bill": "mine"})
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("WATCH saw nothing")
    equal(r.xlen(bills), 2)

    equal(r.execute_command("MULTI"), b"OK")
    equal(r.execute_command("XADD", bills, "*", "bill", "discarded"), b"QUEUED")
    equal((r.execute_command("DISCARD"), r.xlen(bills)), (b"OK", 2))


def check_helpers(r):
    key = PREFIX + "helped"
    made = add(r, key, 6)
    r.xgroup_create(key, "g", id="0")
    r.xgroup_createconsumer(key, "g", "idler")
    r.xreadgroup("g", "worker", {key: ">"}, count=4)
    r.xack(key, "g", made[0])
    info = r.xinfo_stream(key)
    equal((info["length"], info["groups"], info["last-generated-id"]), (6, 1, made[5]))
    equal((info["first-entry"], info["last-entry"]), ((made[0], {b"n": b"0"}), (made[5], {b"n": b"5"})))
    (group,) = r.xinfo_groups(key)
    found = [group[field] for field in ("name", "consumers", "pending", "last-delivered-id", "entries-read", "lag")]
    equal(found, [b"g", 2, 3, made[3], 4, 2])
    consumers = {c["name"]: c["pending"] for c in r.xinfo_consumers(key, "g")}
    equal(consumers, {b"idler": 0, b"worker": 3})
    full = r.xinfo_stream(key, full=True)
    equal((full["length"], len(full["groups"])), (6, 1))
    equal((r.xdel(key, made[5], "1-1"), r.xtrim(key, maxlen=3, approximate=False), r.xlen(key)), (1, 2, 3))
    equal(r.xgroup_setid(key, "g", id="$"), True)
    equal((r.xgroup_delconsumer(key, "g", "worker"), r.xgroup_destroy(key, "g"), r.xinfo_groups(key)), (3, True, []))
    equal((r.expire(key, 1000), r.ttl(key) in (999, 1000), r.persist(key), r.ttl(key)), (True, True, True, -1))
    equal((r.type(key), r.delete(key), r.exists(key)), (b"stream", 1, 0))


def check_newer(r):
    """What Redis 8.2 to 8.8 brought."""
    key = PREFIX + "newer"
    r.xgroup_create(key, "g", id="0", mkstream=True)
    made = [r.xadd(key, {"n": 0}, idmp=("producer", b"1"))]
    equal(r.xadd(key, {"n": 0}, idmp=("producer", b"1")), made[0])
    made += add(r, key, 2)
    equal(ids(entries(r.xreadgroup("g", "worker", {key: ">"}))), made)
    equal(r.xnack(key, "g", "FAIL", made[0]), 1)
    ((id, fields, _, deliveries),) = entries(
        r.xreadgroup("g", "rescuer", {key: ">"}, count=1, claim_min_idle_time=HOUR_MS)
    )
    equal((id, fields, int(deliveries)), (made[0], {b"n": b"0"}, 1))
    equal(r.xackdel(key, "g", made[0]), [1])
    equal((r.xdelex(key, made[1], ref_policy="ACKED"), r.xdelex(key, made[1], ref_policy="DELREF")), ([2], [1]))
    equal((r.xlen(key), r.xpending(key, "g")["pending"]), (1, 1))


def check_reconnect(r):
    key = PREFIX + "again"
    r.xgroup_create(key, "g", id="0", mkstream=True)
    made = add(r, key, 3)
    equal(ids(entries(r.xreadgroup("g", "worker", {key: ">"}, count=2))), made[:2])
    equal(r.xack(key, "g", made[0]), 1)
    print("restart", flush=True)
    equal(sys.stdin.readline(), "ready\n")
    equal(ids(r.xrange(key)), made)
    equal(ids(entries(r.xreadgroup("g", "worker", {key: "0"}))), made[1:2])
    equal(ids(entries(r.xreadgroup("g", "worker", {key: ">"}))), made[2:])
    equal((r.xack(key, "g", *made), r.xpending(key, "g")["pending"]), (2, 0))
    made.append(r.xadd(key, {"n": 3}))
    equal(ids(r.xrange(key)), made)


STEPS = {
    "connect": check_connect,
    "produce": check_produce,
    "block-read": check_block_read,
    "group": check_group,
    "claim": check_claim,
    "pipeline": check_pipeline,
    "transaction": check_transaction,
    "helpers": check_helpers,
    "newer": check_newer,
    "reconnect": check_reconnect,
}


def main():
    with connect() as r:
        for name, check in STEPS.items():
            check(r)
            print(f"{name}: ok", flush=True)


main()
