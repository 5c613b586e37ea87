// node-redis: the scenario of tests/clients/README.md.
//
// usage: client.cjs PORT PROTOCOL
"use strict";

const assert = require("node:assert/strict");
const readline = require("node:readline/promises");
const { setTimeout: sleep } = require("node:timers/promises");
const { createClient, RESP_TYPES, WatchError } = require("redis");

const PORT = Number(process.argv[2]);
const PROTOCOL = Number(process.argv[3]);
const PREFIX = `node-redis:${PROTOCOL}:`;
const TIMEOUT_MS = 30_000;
const HOUR_MS = 3_600_000;
const BINARY = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

const stdin = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const equal = assert.deepStrictEqual;
const ids = (messages) => messages.map(({ id }) => id);
const plain = (messages) => messages.map(({ id, message }) => ({ id, message: { ...message } }));
const byTime = (a, b) => Number(a.split("-")[0]) - Number(b.split("-")[0]) || a.split("-")[1] - b.split("-")[1];

// RESP3 is what the client speaks unless told otherwise.
async function connect(options = {}) {
  const client = createClient({ socket: { port: PORT }, ...(PROTOCOL === 2 ? { RESP: 2 } : {}), ...options });
  // Without a listener, a connection that breaks would end the program instead of being made again.
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function add(r, key, count) {
  const made = [];
  for (let n = 0; n < count; n++) made.push(await r.xAdd(key, "*", { n: String(n) }));
  return made;
}

// The messages of the one stream in a reply; none when there is no stream in it.
const messages = (reply) => (reply === null ? [] : plain(reply[0].messages));
const read = async (r, key, id, options) => messages(await r.xRead({ key, id }, options));
const readGroup = async (r, key, consumer, id, options) =>
  messages(await r.xReadGroup("g", consumer, { key, id }, options));

// What `call` returns on a connection of its own that is blocked when `write` is carried out.
async function served(r, name, call, write) {
  const own = await connect({ name });
  const reply = call(own);
  const until = Date.now() + TIMEOUT_MS;
  while (!(await r.clientList()).some((c) => c.name === name && c.flags.includes("b"))) {
    assert(Date.now() < until, `not in time: ${name} blocks`);
    await sleep(2);
  }
  const written = await write();
  const found = await reply;
  own.destroy();
  return [written, found];
}

async function checkConnect(r) {
  equal(await r.ping(), "PONG");
  const id = await r.clientId();
  const own = (await r.clientList()).find((c) => c.id === id);
  equal([own.resp, own.libName], [PROTOCOL, "node-redis"]);
}

async function checkProduce(r) {
  const key = PREFIX + "events";
  const made = await add(r, key, 5);
  made.push(await r.xAdd(key, "*", { bin: BINARY, empty: "", json: '{"total": 99.5}' }));
  equal([...made].sort(byTime), made);
  equal(await r.xLen(key), 6);
  const found = plain(await r.xRange(key, "-", "+"));
  equal(ids(found), made);
  equal(found.slice(0, 5).map(({ message }) => message.n), ["0", "1", "2", "3", "4"]);
  const raw = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const [{ message }] = await raw.xRange(key, made[5], made[5]);
  equal({ ...message }, { bin: BINARY, empty: Buffer.from(""), json: Buffer.from('{"total": 99.5}') });
  equal(ids(await r.xRevRange(key, "+", "-", { COUNT: 2 })), [made[5], made[4]]);
  equal(ids(await read(r, key, made[0], { COUNT: 2 })), made.slice(1, 3));
  await assert.rejects(r.xAdd(key, "1-1", { f: "v" }), /equal or smaller/);
}

async function checkBlockRead(r) {
  const key = PREFIX + "blocked";
  await add(r, key, 3);
  const wait = (own) => read(own, key, "$", { BLOCK: TIMEOUT_MS });
  const [id, found] = await served(r, PREFIX + "reader", wait, () => r.xAdd(key, "*", { n: "7" }));
  equal(found, [{ id, message: { n: "7" } }]);
  equal(await read(r, key, "$", { BLOCK: 5 }), []);
}

async function checkGroup(r) {
  const key = PREFIX + "work";
  equal(await r.xGroupCreate(key, "g", "0", { MKSTREAM: true }), "OK");
  await assert.rejects(r.xGroupCreate(key, "g", "0"), /BUSYGROUP/);
  const made = await add(r, key, 4);
  equal(ids(await readGroup(r, key, "alice", ">", { COUNT: 2 })), made.slice(0, 2));
  equal(ids(await readGroup(r, key, "bob", ">", { COUNT: 10 })), made.slice(2));
  equal(await readGroup(r, key, "alice", ">"), []);
  equal([await r.xAck(key, "g", made.slice(0, 2)), await r.xAck(key, "g", made.slice(0, 2))], [2, 0]);
  equal(ids(await readGroup(r, key, "bob", "0")), made.slice(2));
  equal(await readGroup(r, key, "alice", "0"), []);
  const wait = (own) => readGroup(own, key, "alice", ">", { BLOCK: TIMEOUT_MS });
  const [id, found] = await served(r, PREFIX + "alice", wait, () => r.xAdd(key, "*", { n: "9" }));
  equal(found, [{ id, message: { n: "9" } }]);
  equal(await r.xAck(key, "g", [id, ...made.slice(2)]), 3);
  equal((await r.xPending(key, "g")).pending, 0);
  await assert.rejects(r.xReadGroup("none", "alice", { key, id: ">" }), /NOGROUP/);
}

async function checkClaim(r) {
  const key = PREFIX + "claimed";
  await r.xGroupCreate(key, "g", "0", { MKSTREAM: true });
  const made = await add(r, key, 4);
  const doomed = await connect();
  equal(ids(await readGroup(doomed, key, "doomed", ">", { COUNT: 3 })), made.slice(0, 3));
  doomed.destroy();

  const summary = await r.xPending(key, "g");
  equal([summary.pending, summary.firstId, summary.lastId], [3, made[0], made[2]]);
  equal(summary.consumers.map((c) => ({ ...c })), [{ name: "doomed", deliveriesCounter: 3 }]);
  const pending = await r.xPendingRange(key, "g", "-", "+", 10);
  equal(
    pending.map((p) => [p.id, p.consumer, p.deliveriesCounter]),
    made.slice(0, 3).map((id) => [id, "doomed", 1]),
  );
  equal(await r.xPendingRange(key, "g", "-", "+", 10, { IDLE: HOUR_MS }), []);

  const claimed = await r.xAutoClaim(key, "g", "rescuer", 0, "0-0", { COUNT: 2 });
  equal([claimed.nextId, claimed.deletedMessages], [made[2], []]);
  equal(plain(claimed.messages), [
    { id: made[0], message: { n: "0" } },
    { id: made[1], message: { n: "1" } },
  ]);
  equal(await r.xClaim(key, "g", "other", HOUR_MS, made[2]), []);
  equal(await r.xClaimJustId(key, "g", "rescuer", 0, made[2]), [made[2]]);
  equal(plain(await r.xClaim(key, "g", "rescuer", 0, made[2])), [{ id: made[2], message: { n: "2" } }]);
  const rescued = await r.xPendingRange(key, "g", "-", "+", 10, { consumer: "rescuer" });
  equal(rescued.map((p) => p.deliveriesCounter), [2, 2, 2]);
  equal(await r.xAck(key, "g", made.slice(0, 3)), 3);
  equal(ids(await readGroup(r, key, "rescuer", ">")), [made[3]]);
  equal(await r.xAck(key, "g", made[3]), 1);
  equal((await r.xPending(key, "g")).pending, 0);
}

// What is called without waiting goes out in one piece; execAsPipeline says so.
async function checkPipeline(r) {
  const key = PREFIX + "pipe";
  const numbers = Array.from({ length: 200 }, (_, n) => String(n));
  const made = await Promise.all(numbers.map((n) => r.xAdd(key, "*", { n })));
  const found = plain(await r.xRange(key, "-", "+"));
  equal([ids(found), found.map(({ message }) => message.n)], [made, numbers]);
  const pipe = r.multi().xLen(key).xRange(key, "-", "+", { COUNT: 1 }).xAdd(key, "*", { n: "200" });
  const [length, [first], last] = await pipe.execAsPipeline();
  equal([length, first.id, await r.xLen(key)], [200, made[0], 201]);
  assert(byTime(made[199], last) < 0);
}

async function checkTransaction(r) {
  const [orders, bills] = [PREFIX + "orders", PREFIX + "bills"];
  await r.xGroupCreate(orders, "g", "0", { MKSTREAM: true });
  await add(r, orders, 1);
  const [{ id, message }] = await readGroup(r, orders, "biller", ">");
  const [bill, ...rest] = await r.multi().xAdd(bills, "*", { bill: message.n }).xAck(orders, "g", id).xLen(bills).exec();
  equal(rest, [1, 1]);
  equal(plain(await r.xRange(bills, "-", "+")), [{ id: bill, message: { bill: "0" } }]);
  equal((await r.xPending(orders, "g")).pending, 0);

  // A command that fails does not keep the others from being carried out.
  const late = r.multi().xAdd(bills, "1-1", { bill: "late" }).xAdd(bills, "*", { bill: "in time" });
  await assert.rejects(late.exec(), (error) => /equal or smaller/.test(error.errorIndexes && error.replies[0].message));
  equal(await r.xLen(bills), 2);

  const other = await connect();
  await r.watch(bills);
  await other.xAdd(bills, "*", { bill: "other" });
  await assert.rejects(r.multi().xAdd(bills, "*", { bill: "mine" }).exec(), WatchError);
  other.destroy();
  equal(await r.xLen(bills), 3);

  equal(await r.sendCommand(["MULTI"]), "OK");
  equal(await r.sendCommand(["XADD", bills, "*", "bill", "discarded"]), "QUEUED");
  equal([await r.sendCommand(["DISCARD"]), await r.xLen(bills)], ["OK", 3]);
}

async function checkHelpers(r) {
  const key = PREFIX + "helped";
  const made = await add(r, key, 6);
  await r.xGroupCreate(key, "g", "0");
  await r.xGroupCreateConsumer(key, "g", "idler");
  await readGroup(r, key, "worker", ">", { COUNT: 4 });
  await r.xAck(key, "g", made[0]);
  const info = await r.xInfoStream(key);
  equal([info.length, info.groups, info["last-generated-id"]], [6, 1, made[5]]);
  equal([info["first-entry"].id, info["last-entry"].id], [made[0], made[5]]);
  const [group] = await r.xInfoGroups(key);
  const fields = ["name", "consumers", "pending", "last-delivered-id", "entries-read", "lag"];
  equal(fields.map((field) => group[field]), ["g", 2, 3, made[3], 4, 2]);
  const consumers = await r.xInfoConsumers(key, "g");
  equal(consumers.map((c) => [c.name, c.pending]).sort(), [["idler", 0], ["worker", 3]]);
  equal([await r.xDel(key, [made[5], "1-1"]), await r.xTrim(key, "MAXLEN", 3), await r.xLen(key)], [1, 2, 3]);
  equal(await r.xGroupSetId(key, "g", "$"), "OK");
  equal([await r.xGroupDelConsumer(key, "g", "worker"), await r.xGroupDestroy(key, "g")], [3, 1]);
  equal([await r.expire(key, 1000), (await r.ttl(key)) >= 999, await r.persist(key), await r.ttl(key)], [1, true, 1, -1]);
  const keys = [];
  for await (const found of r.scanIterator({ MATCH: PREFIX + "help*", TYPE: "stream" })) keys.push(...found);
  equal(keys, [key]);
  equal([await r.type(key), await r.del(key), await r.exists(key)], ["stream", 1, 0]);
}

// What Redis 8.2 to 8.8 brought.
async function checkNewer(r) {
  const key = PREFIX + "newer";
  await r.xGroupCreate(key, "g", "0", { MKSTREAM: true });
  const idempotent = () => r.xAdd(key, "*", { n: "0" }, { IDMP: { pid: "producer", iid: "1" } });
  const made = [await idempotent()];
  equal(await idempotent(), made[0]);
  made.push(...(await add(r, key, 2)));
  equal(ids(await readGroup(r, key, "worker", ">")), made);
  equal(await r.xNack(key, "g", "FAIL", made[0]), 1);
  const reply = await r.xReadGroup("g", "rescuer", { key, id: ">" }, { COUNT: 1, CLAIM: HOUR_MS });
  equal(reply[0].messages.map((m) => [m.id, m.deliveriesCounter]), [[made[0], 1]]);
  equal(await r.xAckDel(key, "g", made[0]), [1]);
  equal([await r.xDelEx(key, made[1], "ACKED"), await r.xDelEx(key, made[1], "DELREF")], [[2], [1]]);
  equal([await r.xLen(key), (await r.xPending(key, "g")).pending], [1, 1]);
}

async function checkReconnect(r) {
  const key = PREFIX + "again";
  await r.xGroupCreate(key, "g", "0", { MKSTREAM: true });
  const made = await add(r, key, 3);
  equal(ids(await readGroup(r, key, "worker", ">", { COUNT: 2 })), made.slice(0, 2));
  equal(await r.xAck(key, "g", made[0]), 1);
  console.log("restart");
  equal((await stdin.next()).value, "ready");
  equal(ids(await r.xRange(key, "-", "+")), made);
  equal(ids(await readGroup(r, key, "worker", "0")), [made[1]]);
  equal(ids(await readGroup(r, key, "worker", ">")), [made[2]]);
  equal([await r.xAck(key, "g", made), (await r.xPending(key, "g")).pending], [2, 0]);
  made.push(await r.xAdd(key, "*", { n: "3" }));
  equal(ids(await r.xRange(key, "-", "+")), made);
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
  const r = await connect();
  for (const [name, check] of Object.entries(STEPS)) {
    await check(r);
    console.log(`${name}: ok`);
  }
  r.destroy();
  process.stdin.destroy();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
