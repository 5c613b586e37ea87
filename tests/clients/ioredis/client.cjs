// ioredis: the scenario of tests/clients/README.md.
//
// usage: client.cjs PORT PROTOCOL
"use strict";

const assert = require("node:assert/strict");
const readline = require("node:readline/promises");
const { setTimeout: sleep } = require("node:timers/promises");
const { Redis } = require("ioredis");

const PORT = Number(process.argv[2]);
const PROTOCOL = Number(process.argv[3]);
const PREFIX = `ioredis:${PROTOCOL}:`;
const TIMEOUT_MS = 30_000;
const HOUR_MS = 3_600_000;
const BINARY = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const equal = assert.deepStrictEqual;
const ids = (entries) => entries.map(([id]) => id);
const byTime = (a, b) => Number(a.split("-")[0]) - Number(b.split("-")[0]) || a.split("-")[1] - b.split("-")[1];

// RESP3 is what the client speaks unless told otherwise.
function connect(options = {}) {
  const client = new Redis({ port: PORT, ...(PROTOCOL === 2 ? { protocol: 2 } : {}), ...options });
  // Without a listener, it prints every connection that breaks.
  client.on("error", () => {});
  return client;
}

async function add(r, key, count) {
  const made = [];
  for (let n = 0; n < count; n++) made.push(await r.xadd(key, "*", "n", n));
  return made;
}

// The entries of the one stream in a reply; none when there is no stream in it.
const entries = (reply) => (reply === null ? [] : (reply[0][1] ?? reply[1]));
const readGroup = async (r, key, consumer, id, ...options) =>
  entries(await r.xreadgroup("GROUP", "g", consumer, ...options, "STREAMS", key, id));
// A flat array of names and values as an object.
const object = (flat) => Object.fromEntries(flat.flatMap((name, at) => (at % 2 ? [] : [[name, flat[at + 1]]])));

// What `call` returns on a connection of its own that is blocked when `write` is carried out.
async function served(r, name, call, write) {
  const own = connect({ connectionName: name });
  const reply = call(own);
  const until = Date.now() + TIMEOUT_MS;
  const blocked = new RegExp(` name=${name} .* flags=\\w*b`);
  while (!(await r.client("LIST")).split("\n").some((line) => blocked.test(line))) {
    assert(Date.now() < until, `not in time: ${name} blocks`);
    await sleep(2);
  }
  const written = await write();
  const found = await reply;
  own.disconnect();
  return [written, found];
}

async function checkConnect(r) {
  equal(await r.ping(), "PONG");
  const id = await r.client("ID");
  const own = (await r.client("LIST")).split("\n").find((line) => line.startsWith(`id=${id} `));
  equal([/ resp=(\d)/.exec(own)[1], / lib-name=(\S+)/.exec(own)[1]], [String(PROTOCOL), "ioredis"]);
}

async function checkProduce(r) {
  const key = PREFIX + "events";
  const made = await add(r, key, 5);
  made.push(await r.xadd(key, "*", "bin", BINARY, "", "", "json", '{"total": 99.5}'));
  equal([...made].sort(byTime), made);
  equal(await r.xlen(key), 6);
  const found = await r.xrange(key, "-", "+");
  equal(ids(found), made);
  equal(found.slice(0, 5).map(([, fields]) => fields), [["n", "0"], ["n", "1"], ["n", "2"], ["n", "3"], ["n", "4"]]);
  const [[, fields]] = await r.xrangeBuffer(key, made[5], made[5]);
  equal(fields[1], BINARY);
  equal(fields.slice(2).map(String), ["", "", "json", '{"total": 99.5}']);
  equal(ids(await r.xrevrange(key, "+", "-", "COUNT", 2)), [made[5], made[4]]);
  equal(ids(entries(await r.xread("COUNT", 2, "STREAMS", key, made[0]))), made.slice(1, 3));
  await assert.rejects(r.xadd(key, "1-1", "f", "v"), /equal or smaller/);
}

async function checkBlockRead(r) {
  const key = PREFIX + "blocked";
  await add(r, key, 3);
  const wait = async (own) => entries(await own.xread("BLOCK", TIMEOUT_MS, "STREAMS", key, "$"));
  const [id, found] = await served(r, PREFIX + "reader", wait, () => r.xadd(key, "*", "n", 7));
  equal(found, [[id, ["n", "7"]]]);
  equal(await r.xread("BLOCK", 5, "STREAMS", key, "$"), null);
}

async function checkGroup(r) {
  const key = PREFIX + "work";
  equal(await r.xgroup("CREATE", key, "g", "0", "MKSTREAM"), "OK");
  await assert.rejects(r.xgroup("CREATE", key, "g", "0"), /BUSYGROUP/);
  const made = await add(r, key, 4);
  equal(ids(await readGroup(r, key, "alice", ">", "COUNT", 2)), made.slice(0, 2));
  equal(ids(await readGroup(r, key, "bob", ">", "COUNT", 10)), made.slice(2));
  equal(await readGroup(r, key, "alice", ">"), []);
  const acked = () => r.xack(key, "g", ...made.slice(0, 2));
  equal([await acked(), await acked()], [2, 0]);
  equal(ids(await readGroup(r, key, "bob", "0")), made.slice(2));
  equal(await readGroup(r, key, "alice", "0"), []);
  const wait = (own) => readGroup(own, key, "alice", ">", "BLOCK", TIMEOUT_MS);
  const [id, found] = await served(r, PREFIX + "alice", wait, () => r.xadd(key, "*", "n", 9));
  equal(found, [[id, ["n", "9"]]]);
  equal(await r.xack(key, "g", id, ...made.slice(2)), 3);
  equal(await r.xpending(key, "g"), [0, null, null, null]);
  await assert.rejects(r.xreadgroup("GROUP", "none", "alice", "STREAMS", key, ">"), /NOGROUP/);
}

async function checkClaim(r) {
  const key = PREFIX + "claimed";
  await r.xgroup("CREATE", key, "g", "0", "MKSTREAM");
  const made = await add(r, key, 4);
  const doomed = connect();
  equal(ids(await readGroup(doomed, key, "doomed", ">", "COUNT", 3)), made.slice(0, 3));
  doomed.disconnect();

  equal(await r.xpending(key, "g"), [3, made[0], made[2], [["doomed", "3"]]]);
  const pending = await r.xpending(key, "g", "-", "+", 10);
  equal(
    pending.map(([id, consumer, , deliveries]) => [id, consumer, deliveries]),
    made.slice(0, 3).map((id) => [id, "doomed", 1]),
  );
  equal(await r.xpending(key, "g", "IDLE", HOUR_MS, "-", "+", 10), []);

  const claimed = await r.xautoclaim(key, "g", "rescuer", 0, "0-0", "COUNT", 2);
  equal(claimed, [made[2], [[made[0], ["n", "0"]], [made[1], ["n", "1"]]], []]);
  equal(await r.xclaim(key, "g", "other", HOUR_MS, made[2]), []);
  equal(await r.xclaim(key, "g", "rescuer", 0, made[2], "JUSTID"), [made[2]]);
  equal(await r.xclaim(key, "g", "rescuer", 0, made[2]), [[made[2], ["n", "2"]]]);
  const rescued = await r.xpending(key, "g", "-", "+", 10, "rescuer");
  equal(rescued.map(([, , , deliveries]) => deliveries), [2, 2, 2]);
  equal(await r.xack(key, "g", ...made.slice(0, 3)), 3);
  equal(ids(await readGroup(r, key, "rescuer", ">")), [made[3]]);
  equal(await r.xack(key, "g", made[3]), 1);
  equal(await r.xpending(key, "g"), [0, null, null, null]);
}

async function checkPipeline(r) {
  const key = PREFIX + "pipe";
  const pipe = r.pipeline();
  for (let n = 0; n < 200; n++) pipe.xadd(key, "*", "n", n);
  const replies = await pipe.xlen(key).xadd(key, "1-1", "n", "refused").xrange(key, "-", "+", "COUNT", 1).exec();
  const made = replies.slice(0, 200).map(([error, id]) => (assert.equal(error, null), id));
  equal([replies[200], ids(replies[202][1])], [[null, 200], made.slice(0, 1)]);
  assert.match(replies[201][0].message, /equal or smaller/);
  const found = await r.xrange(key, "-", "+");
  equal(ids(found), made);
  equal(found.map(([, [, n]]) => Number(n)), Array.from({ length: 200 }, (_, n) => n));
}

async function checkTransaction(r) {
  const [orders, bills] = [PREFIX + "orders", PREFIX + "bills"];
  await r.xgroup("CREATE", orders, "g", "0", "MKSTREAM");
  await add(r, orders, 1);
  const [[id, [, n]]] = await readGroup(r, orders, "biller", ">");
  const replies = await r.multi().xadd(bills, "*", "bill", n).xack(orders, "g", id).xlen(bills).exec();
  const [[, bill]] = replies;
  equal(replies, [[null, bill], [null, 1], [null, 1]]);
  equal(await r.xrange(bills, "-", "+"), [[bill, ["bill", "0"]]]);
  equal(await r.xpending(orders, "g"), [0, null, null, null]);

  // A command that fails does not keep the others from being carried out.
  const [[late], length] = await r.multi().xadd(bills, "1-1", "bill", "late").xlen(bills).exec();
  assert.match(late.message, /equal or smaller/);
  equal(length, [null, 1]);

  const other = connect();
  await r.watch(bills);
  await other.xadd(bills, "*", "bill", "other");
  equal(await r.multi().xadd(bills, "*", "bill", "mine").exec(), null);
  other.disconnect();
  equal(await r.xlen(bills), 2);

  equal(await r.multi({ pipeline: false }), "OK");
  equal(await r.xadd(bills, "*", "bill", "discarded"), "QUEUED");
  equal([await r.discard(), await r.xlen(bills)], ["OK", 2]);
}

async function checkHelpers(r) {
  const key = PREFIX + "helped";
  const made = await add(r, key, 6);
  await r.xgroup("CREATE", key, "g", "0");
  await r.xgroup("CREATECONSUMER", key, "g", "idler");
  await readGroup(r, key, "worker", ">", "COUNT", 4);
  await r.xack(key, "g", made[0]);
  const info = object(await r.xinfo("STREAM", key));
  equal([info.length, info.groups, info["last-generated-id"]], [6, 1, made[5]]);
  equal([info["first-entry"], info["last-entry"]], [[made[0], ["n", "0"]], [made[5], ["n", "5"]]]);
  const [group] = (await r.xinfo("GROUPS", key)).map(object);
  const fields = ["name", "consumers", "pending", "last-delivered-id", "entries-read", "lag"];
  equal(fields.map((field) => group[field]), ["g", 2, 3, made[3], 4, 2]);
  const consumers = (await r.xinfo("CONSUMERS", key, "g")).map(object);
  equal(consumers.map((c) => [c.name, c.pending]).sort(), [["idler", 0], ["worker", 3]]);
  equal([await r.xdel(key, made[5], "1-1"), await r.xtrim(key, "MAXLEN", 3), await r.xlen(key)], [1, 2, 3]);
  equal(await r.xgroup("SETID", key, "g", "$"), "OK");
  equal([await r.xgroup("DELCONSUMER", key, "g", "worker"), await r.xgroup("DESTROY", key, "g")], [3, 1]);
  equal([await r.expire(key, 1000), (await r.ttl(key)) >= 999, await r.persist(key), await r.ttl(key)], [1, true, 1, -1]);
  const keys = [];
  for await (const found of r.scanStream({ match: PREFIX + "help*", type: "stream" })) keys.push(...found);
  equal(keys, [key]);
  equal([await r.type(key), await r.del(key), await r.exists(key)], ["stream", 1, 0]);
}

// What Redis 8.2 to 8.8 brought.
async function checkNewer(r) {
  const key = PREFIX + "newer";
  await r.xgroup("CREATE", key, "g", "0", "MKSTREAM");
  const made = [await r.xadd(key, "IDMP", "producer", "1", "*", "n", 0)];
  equal(await r.xadd(key, "IDMP", "producer", "1", "*", "n", 0), made[0]);
  made.push(...(await add(r, key, 2)));
  equal(ids(await readGroup(r, key, "worker", ">")), made);
  equal(await r.call("XNACK", key, "g", "FAIL", "IDS", 1, made[0]), 1);
  const claimed = await readGroup(r, key, "rescuer", ">", "COUNT", 1, "CLAIM", HOUR_MS);
  equal(claimed.map(([id, fields, , deliveries]) => [id, fields, Number(deliveries)]), [[made[0], ["n", "0"], 1]]);
  equal(await r.call("XACKDEL", key, "g", "IDS", 1, made[0]), [1]);
  const deleted = (policy) => r.call("XDELEX", key, policy, "IDS", 1, made[1]);
  equal([await deleted("ACKED"), await deleted("DELREF")], [[2], [1]]);
  equal([await r.xlen(key), (await r.xpending(key, "g"))[0]], [1, 1]);
}

async function checkReconnect(r) {
  const key = PREFIX + "again";
  await r.xgroup("CREATE", key, "g", "0", "MKSTREAM");
  const made = await add(r, key, 3);
  equal(ids(await readGroup(r, key, "worker", ">", "COUNT", 2)), made.slice(0, 2));
  equal(await r.xack(key, "g", made[0]), 1);
  console.log("restart");
  equal((await stdin.next()).value, "ready");
  equal(ids(await r.xrange(key, "-", "+")), made);
  equal(ids(await readGroup(r, key, "worker", "0")), [made[1]]);
  equal(ids(await readGroup(r, key, "worker", ">")), [made[2]]);
  equal([await r.xack(key, "g", ...made), await r.xpending(key, "g")], [2, [0, null, null, null]]);
  made.push(await r.xadd(key, "*", "n", 3));
  equal(ids(await r.xrange(key, "-", "+")), made);
}

const STEPS = {
  connect: checkConnect,
  produce: checkProduce,
  "block-read": checkBlockRead,
  group: checkGroup,
  claim: checkClaim,
  pipeline: checkPipeline,
  transaction: checkTransaction,
  helpers: checkHelpers,
  newer: checkNewer,
  reconnect: checkReconnect,
};

async function main() {
  const r = connect();
  for (const [name, check] of Object.entries(STEPS)) {
    await check(r);
    console.log(`${name}: ok`);
  }
  r.disconnect();
  process.stdin.destroy();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
