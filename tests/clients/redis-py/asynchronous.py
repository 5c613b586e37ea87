"""redis-py, the asyncio client: the scenario of tests/clients/README.md.

usage: asynchronous.py PORT PROTOCOL
"""

import asyncio
import sys

import redis
import redis.asyncio

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
PREFIX = f"redis-py-asyncio:{PROTOCOL}:"
TIMEOUT = 30
BLOCK_MS = TIMEOUT * 1000
HOUR_MS = 3_600_000
BINARY = bytes(range(256))


def connect(**options):
    """RESP3 is what the client speaks unless told otherwise."""
    if PROTOCOL == 2:
        options["protocol"] = 2
    return redis.asyncio.Redis(port=PORT, socket_timeout=TIMEOUT * 2, **options)


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"found {found!r:.2000}, expected {expected!r:.2000}")


async def refused(call, text):
    try:
        found = await call
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


def ids(found):
    return [id for id, _ in found]


async def add(r, key, count):
    return [await r.xadd(key, {"n": n}) for n in range(count)]


async def wait_until_blocked(r, names):
    async with asyncio.timeout(TIMEOUT):
        while True:
            blocked = {c["name"] for c in await r.client_list() if "b" in c["flags"]}
            if names <= blocked:
                return
            await asyncio.sleep(0.002)


async def check_connect(r):
    equal(await r.ping(), True)
    mine = await r.client_id()
    (own,) = [c for c in await r.client_list() if int(c["id"]) == mine]
    equal((own["resp"], own["lib-name"]), (str(PROTOCOL), "redis-py"))


async def check_produce(r):
    key = PREFIX + "events"
    made = await add(r, key, 3)
    made.append(await r.xadd(key, {b"bin\x00": BINARY, "": ""}))
    # Sent at once, over connections of their own.
    together = await asyncio.gather(*(r.xadd(key, {"n": n}) for n in range(20)))
    equal(await r.xlen(key), 24)
    found = await r.xrange(key)
    equal((ids(found)[:4], found[3][1]), (made, {b"bin\x00": BINARY, b"": b""}))
    equal(sorted(ids(found)[4:]), sorted(together))
    equal(ids(entries(await r.xread({key: made[0]}, count=2))), made[1:3])
    await refused(r.xadd(key, {"f": "v"}, id="1-1"), "equal or smaller")


async def check_block_read(r):
    """One event wakes every reader."""
    key = PREFIX + "blocked"
    names = {f"{PREFIX}reader{n}" for n in range(3)}

    async def read(name):
        async with connect(client_name=name) as own:
            return entries(await own.xread({key: "$"}, block=BLOCK_MS))

    readers = [asyncio.create_task(read(name)) for name in names]
    await wait_until_blocked(r, names)
    id = await r.xadd(key, {"n": 7})
    equal(await asyncio.gather(*readers), [[(id, {b"n": b"7"})]] * 3)
    equal(entries(await r.xread({key: "$"}, block=5)), [])


async def check_group(r):
    """Of the members that wait, the first gets the first event, and each event goes to one."""
    key = PREFIX + "work"
    equal(await r.xgroup_create(key, "g", id="0", mkstream=True), True)
    await refused(r.xgroup_create(key, "g", id="0"), "BUSYGROUP")
    made = await add(r, key, 4)
    equal(ids(entries(await r.xreadgroup("g", "alice", {key: ">"}, count=2))), made[:2])
    equal(ids(entries(await r.xreadgroup("g", "bob", {key: ">"}))), made[2:])
    equal((await r.xack(key, "g", *made[:2]), await r.xack(key, "g", *made[:2])), (2, 0))
    equal(ids(entries(await r.xreadgroup("g", "bob", {key: "0"}))), made[2:])

    async def read(name):
        async with connect(client_name=PREFIX + name) as own:
            return entries(await own.xreadgroup("g", name, {key: ">"}, block=BLOCK_MS, count=1))

    members = []
    for name in ("first", "second"):
        members.append(asyncio.create_task(read(name)))
        await wait_until_blocked(r, {PREFIX + name})
    more = await add(r, key, 2)
    equal([ids(found) for found in await asyncio.gather(*members)], [[more[0]], [more[1]]])
    equal(await r.xack(key, "g", *made[2:], *more), 4)
    await refused(r.xreadgroup("none", "alice", {key: ">"}), "NOGROUP")


async def check_claim(r):
    key = PREFIX + "claimed"
    await r.xgroup_create(key, "g", id="0", mkstream=True)
    made = await add(r, key, 4)
    doomed = connect()
    equal(ids(entries(await doomed.xreadgroup("g", "doomed", {key: ">"}, count=3))), made[:3])
    await doomed.aclose()

    summary = await r.xpending(key, "g")
    equal((summary["pending"], summary["min"], summary["max"]), (3, made[0], made[2]))
    equal(summary["consumers"], [{"name": b"doomed", "pending": 3}])
    equal(await r.xpending_range(key, "g", min="-", max="+", count=10, idle=HOUR_MS), [])

    claimed = await r.xautoclaim(key, "g", "rescuer", min_idle_time=0, count=2)
    equal(claimed, [made[2], [(made[0], {b"n": b"0"}), (made[1], {b"n": b"1"})], []])
    equal(await r.xclaim(key, "g", "other", HOUR_MS, [made[2]]), [])
    equal(await r.xclaim(key, "g", "rescuer", 0, [made[2]]), [(made[2], {b"n": b"2"})])
    pending = await r.xpending_range(key, "g", min="-", max="+", count=10, consumername="rescuer")
    equal([(p["message_id"], p["times_delivered"]) for p in pending], [(id, 2) for id in made[:3]])
    equal(await r.xack(key, "g", *made[:3]), 3)
    equal(ids(entries(await r.xreadgroup("g", "rescuer", {key: ">"}, noack=True))), [made[3]])
    equal((await r.xpending(key, "g"))["pending"], 0)


async def check_pipeline(r):
    key = PREFIX + "pipe"
    async with r.pipeline(transaction=False) as pipe:
        for n in range(200):
            pipe.xadd(key, {"n": n})
        pipe.xlen(key).xadd(key, {"n": "refused"}, id="1-1").xrange(key, count=1)
        replies = await pipe.execute(raise_on_error=False)
    equal((replies[200], type(replies[201]), ids(replies[202])), (200, redis.ResponseError, replies[:1]))
    equal(ids(await r.xrange(key)), replies[:200])


async def check_transaction(r):
    orders, bills = PREFIX + "orders", PREFIX + "bills"
    await r.xgroup_create(orders, "g", id="0", mkstream=True)
    await add(r, orders, 1)
    ((order, fields),) = entries(await r.xreadgroup("g", "biller", {orders: ">"}))
    async with r.pipeline() as pipe:
        pipe.xadd(bills, {b"bill": fields[b"n"]}).xack(orders, "g", order).xlen(bills)
        bill, *rest = await pipe.execute()
    equal((rest, await r.xrange(bills)), ([1, 1], [(bill, {b"bill": b"0"})]))
    equal((await r.xpending(orders, "g"))["pending"], 0)

    async with r.pipeline() as pipe:
        await pipe.watch(bills)
        await r.xadd(bills, {"bill": "other"})
        pipe.multi()
        pipe.xadd(bills, {"bill": "mine"})
        try:
            await pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("WATCH saw nothing")
    equal(await r.xlen(bills), 2)

    # All of a transaction's effects are seen, or none: the two always grow together.
    left, right = PREFIX + "left", PREFIX + "right"

    async def produce():
        for n in range(50):
            async with r.pipeline() as pipe:
                await pipe.xadd(left, {"n": n}).xadd(right, {"n": n}).execute()

    async def look():
        async with r.pipeline() as pipe:
            return await pipe.xlen(left).xlen(right).execute()

    producer = asyncio.create_task(produce())
    while not producer.done():
        seen = await look()
        equal(seen[0], seen[1])
    await producer
    equal(await look(), [50, 50])


async def check_helpers(r):
    key = PREFIX + "helped"
    made = await add(r, key, 6)
    await r.xgroup_create(key, "g", id="0")
    await r.xreadgroup("g", "worker", {key: ">"}, count=4)
    info = await r.xinfo_stream(key)
    equal((info["length"], info["groups"], info["last-generated-id"]), (6, 1, made[5]))
    (group,) = await r.xinfo_groups(key)
    equal([group[field] for field in ("name", "consumers", "pending", "entries-read", "lag")], [b"g", 1, 4, 4, 2])
    equal([(c["name"], c["pending"]) for c in await r.xinfo_consumers(key, "g")], [(b"worker", 4)])
    equal((await r.xdel(key, made[5], "1-1"), await r.xtrim(key, maxlen=3, approximate=False)), (1, 2))
    equal((await r.xgroup_delconsumer(key, "g", "worker"), await r.xgroup_destroy(key, "g")), (4, True))
    equal([name async for name in r.scan_iter(match=PREFIX + "help*")], [key.encode()])


async def check_newer(r):
    """What Redis 8.2 to 8.8 brought."""
    key = PREFIX + "newer"
    await r.xgroup_create(key, "g", id="0", mkstream=True)
    made = [await r.xadd(key, {"n": 0}, idmpauto="producer")]
    equal(await r.xadd(key, {"n": 0}, idmpauto="producer"), made[0])
    made += await add(r, key, 2)
    equal(ids(entries(await r.xreadgroup("g", "worker", {key: ">"}))), made)
    equal(await r.xnack(key, "g", "FAIL", made[0]), 1)
    ((id, _, _, deliveries),) = entries(
        await r.xreadgroup("g", "rescuer", {key: ">"}, count=1, claim_min_idle_time=HOUR_MS)
    )
    equal((id, int(deliveries)), (made[0], 1))
    equal(await r.xackdel(key, "g", made[0]), [1])
    equal(await r.xdelex(key, made[1], ref_policy="ACKED"), [2])
    equal(await r.xdelex(key, made[1], ref_policy="DELREF"), [1])
    equal((await r.xlen(key), (await r.xpending(key, "g"))["pending"]), (1, 1))


async def check_reconnect(r):
    key = PREFIX + "again"
    await r.xgroup_create(key, "g", id="0", mkstream=True)
    made = await add(r, key, 3)
    equal(ids(entries(await r.xreadgroup("g", "worker", {key: ">"}, count=2))), made[:2])
    equal(await r.xack(key, "g", made[0]), 1)
    print("restart", flush=True)
    equal(await asyncio.to_thread(sys.stdin.readline), "ready\n")
    equal(ids(await r.xrange(key)), made)
    equal(ids(entries(await r.xreadgroup("g", "worker", {key: "0"}))), made[1:2])
    equal(ids(entries(await r.xreadgroup("g", "worker", {key: ">"}))), made[2:])
    equal((await r.xack(key, "g", *made), (await r.xpending(key, "g"))["pending"]), (2, 0))


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


async def main():
    async with connect() as r:
        for name, check in STEPS.items():
            await check(r)
            print(f"{name}: ok", flush=True)


asyncio.run(main())
