"""redis-py against a running server: sync and asyncio, RESP2 and RESP3.

usage: thorough.py PORT

When the script wants the server killed and started again on the same port, it prints "restart" and waits for a line on
its standard input. Any failed check ends it with a traceback.
"""

import asyncio
import sys
import threading
import time

import redis
import redis.asyncio

PORT = int(sys.argv[1])
TIMEOUT = 30
BINARY = bytes(range(256)) * 4


def connect(protocol, **options):
    return redis.Redis(port=PORT, protocol=protocol, socket_timeout=TIMEOUT, **options)


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
    """The entries of the one stream in a reply to XREAD: a list in RESP2, a map in RESP3."""
    if isinstance(reply, dict):
        ((_, found),) = reply.items()
        # RESP3 as redis-py gives it nests the entries once more.
        return found[0] if found and isinstance(found[0], list) else found
    ((_, found),) = reply
    return found


def commands(r, protocol):
    key = f"py:{protocol}"
    equal(r.ping(), True)
    first = r.xadd(key, {"message": "one"})
    second = r.xadd(key, {b"bin\x00": BINARY, "": ""})
    third = r.xadd(key, {"order": '{"total":99.5,"items":[1, 2]}'})
    equal(r.xlen(key), 3)
    everything = [
        (first, {b"message": b"one"}),
        (second, {b"bin\x00": BINARY, b"": b""}),
        (third, {b"order": b'{"total":99.5,"items":[1, 2]}'}),
    ]
    equal(r.xrange(key), everything)
    equal(r.xrevrange(key, count=2), everything[:0:-1])
    equal(r.xrange(key, min=b"(" + first, max=third, count=1), everything[1:2])
    equal(entries(r.xread({key: 0})), everything)
    equal(entries(r.xread({key: first}, count=1)), everything[1:2])
    equal(len(r.xread({key: "$"}, block=10)), 0)

    info = r.xinfo_stream(key)
    equal((info["length"], info["last-generated-id"], info["entries-added"]), (3, third, 3))
    equal((info["first-entry"], info["last-entry"]), (everything[0], everything[2]))
    full = r.xinfo_stream(key, full=True)
    equal((full["length"], full["groups"]), (3, []))
    equal(r.xinfo_groups(key), [])

    equal(r.xdel(key, second, "1-1"), 1)
    equal(r.xrange(key), [everything[0], everything[2]])
    equal(r.xtrim(key, maxlen=1, approximate=False), 1)
    equal(r.xrange(key), everything[2:])
    refused(lambda: r.xadd(key, {"f": "v"}, id="1-1"), "equal or smaller")
    equal(r.xadd(key + ":none", {"f": "v"}, nomkstream=True), None)
    r.xadd(key, {"f": "v"}, maxlen=1, approximate=False)
    equal(r.xlen(key), 1)


def keys(r, protocol):
    names = {f"keys:{protocol}:{n}".encode() for n in range(25)}
    for name in names:
        r.xadd(name, {"f": "v"})
    equal(set(r.scan_iter(match=f"keys:{protocol}:*", count=7)), names)
    equal(set(r.scan_iter(match=f"keys:{protocol}:*", _type="stream")), names)
    equal(set(r.keys(f"keys:{protocol}:*")), names)
    some = sorted(names)[0]
    equal((r.type(some), r.exists(some, "nothing"), r.type("nothing")), (b"stream", 1, b"none"))
    equal(r.delete(*names), 25)
    equal(r.keys(f"keys:{protocol}:*"), [])


def pipelines(r, protocol):
    key = f"pipe:{protocol}"
    with r.pipeline(transaction=False) as pipe:
        for n in range(500):
            pipe.xadd(key, {"n": n})
        pipe.xlen(key)
        pipe.xadd(key, {"n": "refused"}, id="1-1")
        pipe.xrange(key, count=1)
        replies = pipe.execute(raise_on_error=False)
    ids = replies[:500]
    equal(sorted(ids, key=lambda i: tuple(map(int, i.split(b"-")))), ids)
    equal((replies[500], type(replies[501]), replies[502]), (500, redis.ResponseError, [(ids[0], {b"n": b"0"})]))
    equal([id for id, _ in r.xrange(key)], ids)
    equal([int(fields[b"n"]) for _, fields in r.xrange(key)], list(range(500)))


def large(r, protocol):
    key = f"large:{protocol}"
    value = bytes(range(256)) * 4096
    text = "x" * 1048576
    ids = [r.xadd(key, {"value": value}), r.xadd(key, {"value": text})]
    equal(r.xrange(key), [(ids[0], {b"value": value}), (ids[1], {b"value": text.encode()})])


def blocking(protocol):
    key = f"block:{protocol}"
    found, writer, reader = [], connect(protocol), connect(protocol)
    name = f"reader-{protocol}"
    reader.client_setname(name)

    def read():
        last = "$"
        while len(found) < 20:
            for id, fields in entries(reader.xread({key: last}, block=0)):
                found.append(fields[b"n"])
                last = id

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    wait_until(lambda: any(c["name"] == name and "b" in c["flags"] for c in writer.client_list()), "the reader blocks")
    for n in range(20):
        writer.xadd(key, {"n": n})
    thread.join(TIMEOUT)
    equal([int(n) for n in found], list(range(20)))


def unblocked(protocol):
    """CLIENT UNBLOCK ends a wait as its time limit would, or with an error."""
    name, writer = f"unblocked-{protocol}", connect(protocol)
    for with_error in (False, True):
        found, reader = [], connect(protocol)
        reader.client_setname(name)
        id = reader.client_id()

        def read():
            try:
                found.append(reader.xread({f"never:{protocol}": "$"}, block=0))
            except redis.ResponseError as error:
                found.append(str(error))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        wait_until(lambda: any(c["id"] == str(id) and "b" in c["flags"] for c in writer.client_list()), "it blocks")
        equal(writer.client_unblock(id, error=with_error), True)
        thread.join(TIMEOUT)
        if with_error:
            equal(found, ["UNBLOCKED client unblocked via CLIENT UNBLOCK"])
        else:
            equal([len(reply) for reply in found], [0])
        reader.close()


def subscribed(r, protocol):
    """Messages of channels, and what becomes of a topic."""
    channel, key = f"channel:{protocol}", f"watched:{protocol}"
    equal(r.config_set("notify-keyspace-events", "KEA"), True)
    with r.pubsub() as pubsub:
        pubsub.subscribe(channel)
        pubsub.psubscribe(f"__key*@0__:*{key}", "__keyevent@0__:x*")
        equal([pubsub.get_message(timeout=TIMEOUT)["data"] for _ in range(3)], [1, 2, 3])
        equal(r.publish(channel, BINARY), 1)
        r.xadd(key, {"f": "v"})
        r.delete(key)
        messages = [pubsub.get_message(timeout=TIMEOUT) for _ in range(4)]
        equal([(m["type"], m["channel"].decode(), m["data"]) for m in messages], [
            ("message", channel, BINARY),
            ("pmessage", f"__keyspace@0__:{key}", b"xadd"),
            ("pmessage", "__keyevent@0__:xadd", key.encode()),
            ("pmessage", f"__keyspace@0__:{key}", b"del"),
        ])
    equal(r.config_set("notify-keyspace-events", ""), True)


def wait_until(done, what):
    until = time.monotonic() + TIMEOUT
    while not done():
        if time.monotonic() > until:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.002)


def restart():
    print("restart", flush=True)
    equal(sys.stdin.readline(), "ready\n")


def reconnecting(protocol):
    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.01), 10)
    r = connect(protocol, retry=retry, retry_on_error=[redis.ConnectionError])
    key = f"again:{protocol}"
    ids = [r.xadd(key, {"n": n}) for n in range(50)]
    restart()
    equal([id for id, _ in r.xrange(key)], ids)
    ids.append(r.xadd(key, {"n": 50}))
    equal([id for id, _ in r.xrange(key)], ids)


async def asynchronous(protocol):
    key = f"async:{protocol}"
    async with redis.asyncio.Redis(port=PORT, protocol=protocol, socket_timeout=TIMEOUT) as r:
        equal(await r.ping(), True)

        async def read():
            found, last = [], "0"
            async with redis.asyncio.Redis(port=PORT, protocol=protocol, socket_timeout=TIMEOUT) as own:
                while len(found) < 200:
                    for id, _ in entries(await own.xread({key: last}, block=TIMEOUT * 1000)):
                        found.append(id)
                        last = id
            return found

        readers = [asyncio.create_task(read()) for _ in range(3)]
        ids = []
        for _ in range(10):
            batch = await asyncio.gather(*(r.xadd(key, {"v": BINARY}) for _ in range(10)))
            ids += batch
            async with r.pipeline(transaction=False) as pipe:
                for n in range(10):
                    pipe.xadd(key, {"n": n})
                ids += await pipe.execute()
        everything = [id for id, _ in await r.xrange(key)]
        equal(sorted(everything), sorted(ids))
        for reader in readers:
            equal(await asyncio.wait_for(reader, TIMEOUT), everything)


def main():
    for protocol in (2, 3):
        with connect(protocol) as r:
            commands(r, protocol)
            keys(r, protocol)
            pipelines(r, protocol)
            large(r, protocol)
            subscribed(r, protocol)
        blocking(protocol)
        unblocked(protocol)
        asyncio.run(asynchronous(protocol))
        reconnecting(protocol)
        print(f"RESP{protocol}: ok")


main()
