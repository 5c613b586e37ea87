import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import redis.clients.jedis.AbstractTransaction;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Protocol;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.Response;
import redis.clients.jedis.StreamEntryID;
import redis.clients.jedis.args.StreamDeletionPolicy;
import redis.clients.jedis.args.XNackMode;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.params.XAddParams;
import redis.clients.jedis.params.XAutoClaimParams;
import redis.clients.jedis.params.XClaimParams;
import redis.clients.jedis.params.XPendingParams;
import redis.clients.jedis.params.XReadGroupParams;
import redis.clients.jedis.params.XReadParams;
import redis.clients.jedis.resps.StreamEntry;
import redis.clients.jedis.resps.StreamEntryDeletionResult;

/** Jedis: the scenario of tests/clients/README.md. Usage: Client PORT PROTOCOL. */
public final class Client {
    private static final int TIMEOUT_MS = 30_000;
    private static final int HOUR_MS = 3_600_000;
    private static final StreamEntryID NEW = StreamEntryID.XREADGROUP_UNDELIVERED_ENTRY;
    private static final StreamEntryID START = new StreamEntryID();

    private final int port;
    private final int protocol;
    private final RedisClient r;

    private interface Step {
        void check() throws Exception;
    }

    private Client(int port, int protocol) {
        this.port = port;
        this.protocol = protocol;
        this.r = connect(null);
    }

    /** RESP3 is what the client speaks unless told otherwise. */
    private RedisClient connect(String name) {
        var config = DefaultJedisClientConfig.builder().clientName(name).blockingSocketTimeoutMillis(2 * TIMEOUT_MS);
        if (protocol == 2) {
            config.resp2();
        }
        return RedisClient.builder().hostAndPort("127.0.0.1", port).clientConfig(config.build()).build();
    }

    private static void equal(Object found, Object expected) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError("found " + found + ", expected " + expected);
        }
    }

    private static void refused(Callable<?> call, String part) throws Exception {
        Object found;
        try {
            found = call.call();
        } catch (JedisDataException error) {
            equal(error.getMessage().contains(part), true);
            return;
        }
        throw new AssertionError("found " + found + ", expected an error: " + part);
    }

    private String key(String name) {
        return "jedis:" + protocol + ":" + name;
    }

    private StreamEntryID add(String key, String field, String value) {
        return r.xadd(key, XAddParams.xAddParams(), Map.of(field, value));
    }

    private List<StreamEntryID> add(String key, int count) {
        var made = new ArrayList<StreamEntryID>();
        for (int n = 0; n < count; n++) {
            made.add(add(key, "n", Integer.toString(n)));
        }
        return made;
    }

    private static StreamEntryID[] array(List<StreamEntryID> ids) {
        return ids.toArray(StreamEntryID[]::new);
    }

    private static List<StreamEntryID> ids(List<StreamEntry> entries) {
        return entries.stream().map(StreamEntry::getID).toList();
    }

    /** The entries of the one stream in a reply; none when there is no stream in it. */
    private static List<StreamEntry> entries(List<Map.Entry<String, List<StreamEntry>>> reply) {
        return reply == null ? List.of() : reply.get(0).getValue();
    }

    private static List<StreamEntry> readGroup(
            RedisClient r, String key, String consumer, StreamEntryID id, XReadGroupParams params) {
        return entries(r.xreadGroup("g", consumer, params, Map.of(key, id)));
    }

    private List<StreamEntryID> read(String key, String consumer, StreamEntryID id) {
        return ids(readGroup(r, key, consumer, id, XReadGroupParams.xReadGroupParams()));
    }

    private List<StreamEntryID> read(String key, String consumer, int count) {
        return ids(readGroup(r, key, consumer, NEW, XReadGroupParams.xReadGroupParams().count(count)));
    }

    private static String clientList(RedisClient r, String what) {
        return new String((byte[]) r.sendCommand(Protocol.Command.CLIENT, what), StandardCharsets.UTF_8);
    }

    private interface Read {
        List<StreamEntry> on(RedisClient own);
    }

    /** The event of `write` is all that `read` finds on a connection of its own that is blocked when it is written. */
    private StreamEntryID served(String name, Read read, Callable<StreamEntryID> write) throws Exception {
        var own = connect(name);
        var found = CompletableFuture.supplyAsync(() -> ids(read.on(own)));
        var until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(TIMEOUT_MS);
        while (clientList(r, "LIST").lines().noneMatch(line -> line.matches(".* name=" + name + " .* flags=\\w*b\\w* .*"))) {
            if (System.nanoTime() > until) {
                throw new AssertionError("not in time: " + name + " blocks");
            }
            Thread.sleep(2);
        }
        var id = write.call();
        equal(found.get(TIMEOUT_MS, TimeUnit.MILLISECONDS), List.of(id));
        own.close();
        return id;
    }

    private void connects() {
        equal(r.ping(), "PONG");
        var own = clientList(r, "INFO");
        equal(own.contains(" resp=" + protocol), true);
        equal(own.contains(" lib-name=jedis"), true);
    }

    private void produces() throws Exception {
        var key = key("events");
        var made = add(key, 5);
        var binary = new byte[256];
        for (int n = 0; n < 256; n++) {
            binary[n] = (byte) n;
        }
        var fields = new LinkedHashMap<byte[], byte[]>();
        fields.put("bin".getBytes(StandardCharsets.UTF_8), binary);
        fields.put(new byte[0], new byte[0]);
        var raw = key.getBytes(StandardCharsets.UTF_8);
        made.add(new StreamEntryID(r.xadd(raw, XAddParams.xAddParams(), fields)));
        equal(made.stream().sorted().toList(), made);
        equal(r.xlen(key), 6L);
        var found = r.xrange(key, "-", "+");
        equal(ids(found), made);
        for (int n = 0; n < 5; n++) {
            equal(found.get(n).getFields(), Map.of("n", Integer.toString(n)));
        }
        var last = (List<?>) r.xrevrange(raw, "+".getBytes(), "-".getBytes(), 1).get(0);
        equal(java.util.Arrays.equals((byte[]) ((List<?>) last.get(1)).get(1), binary), true);
        equal(ids(r.xrevrange(key, "+", "-", 2)), List.of(made.get(5), made.get(4)));
        var next = entries(r.xread(XReadParams.xReadParams().count(2), Map.of(key, made.get(0))));
        equal(ids(next), made.subList(1, 3));
        refused(() -> r.xadd(key, new StreamEntryID(1, 1), Map.of("f", "v")), "equal or smaller");
    }

    private void blockReads() throws Exception {
        var key = key("blocked");
        add(key, 3);
        var last = Map.of(key, StreamEntryID.XREAD_NEW_ENTRY);
        Read wait = own -> entries(own.xread(XReadParams.xReadParams().block(TIMEOUT_MS), last));
        served(key("reader"), wait, () -> add(key, "n", "7"));
        equal(entries(r.xread(XReadParams.xReadParams().block(5), last)), List.of());
    }

    private void worksInGroup() throws Exception {
        var key = key("work");
        equal(r.xgroupCreate(key, "g", START, true), "OK");
        refused(() -> r.xgroupCreate(key, "g", START, false), "BUSYGROUP");
        var made = add(key, 4);
        var first = array(made.subList(0, 2));
        equal(read(key, "alice", 2), made.subList(0, 2));
        equal(read(key, "bob", 10), made.subList(2, 4));
        equal(read(key, "alice", NEW), List.of());
        equal(List.of(r.xack(key, "g", first), r.xack(key, "g", first)), List.of(2L, 0L));
        equal(read(key, "bob", START), made.subList(2, 4));
        equal(read(key, "alice", START), List.of());
        Read wait = own -> readGroup(own, key, "alice", NEW, XReadGroupParams.xReadGroupParams().block(TIMEOUT_MS));
        made.add(served(key("alice"), wait, () -> add(key, "n", "9")));
        equal(r.xack(key, "g", array(made.subList(2, 5))), 3L);
        equal(r.xpending(key, "g").getTotal(), 0L);
        var params = XReadGroupParams.xReadGroupParams();
        refused(() -> r.xreadGroup("none", "alice", params, Map.of(key, NEW)), "NOGROUP");
    }

    private void claims() {
        var key = key("claimed");
        r.xgroupCreate(key, "g", START, true);
        var made = add(key, 4);
        var doomed = connect(null);
        var three = XReadGroupParams.xReadGroupParams().count(3);
        equal(ids(readGroup(doomed, key, "doomed", NEW, three)), made.subList(0, 3));
        doomed.close();

        var summary = r.xpending(key, "g");
        equal(List.of(summary.getTotal(), summary.getMinId(), summary.getMaxId()), List.of(3L, made.get(0), made.get(2)));
        equal(summary.getConsumerMessageCount(), Map.of("doomed", 3L));
        var all = XPendingParams.xPendingParams("-", "+", 10);
        for (var pending : r.xpending(key, "g", all)) {
            equal(List.of(pending.getConsumerName(), pending.getDeliveredTimes()), List.of("doomed", 1L));
            equal(made.subList(0, 3).contains(pending.getID()), true);
        }
        equal(r.xpending(key, "g", XPendingParams.xPendingParams("-", "+", 10).idle(HOUR_MS)), List.of());

        var claimed = r.xautoclaim(key, "g", "rescuer", 0, START, XAutoClaimParams.xAutoClaimParams().count(2));
        equal(claimed.getKey(), made.get(2));
        equal(ids(claimed.getValue()), made.subList(0, 2));
        var third = made.get(2);
        equal(r.xclaim(key, "g", "other", HOUR_MS, XClaimParams.xClaimParams(), third), List.of());
        equal(r.xclaimJustId(key, "g", "rescuer", 0, XClaimParams.xClaimParams(), third), List.of(third));
        equal(ids(r.xclaim(key, "g", "rescuer", 0, XClaimParams.xClaimParams(), third)), List.of(third));
        var rescued = r.xpending(key, "g", XPendingParams.xPendingParams("-", "+", 10).consumer("rescuer"));
        equal(rescued.stream().map(pending -> pending.getDeliveredTimes()).toList(), List.of(2L, 2L, 2L));
        equal(r.xack(key, "g", array(made.subList(0, 3))), 3L);
        equal(read(key, "rescuer", NEW), made.subList(3, 4));
        equal(r.xack(key, "g", made.get(3)), 1L);
        equal(r.xpending(key, "g").getTotal(), 0L);
    }

    private void pipelines() throws Exception {
        var key = key("pipe");
        var adds = new ArrayList<Response<StreamEntryID>>();
        try (Pipeline pipe = r.pipelined()) {
            for (int n = 0; n < 200; n++) {
                adds.add(pipe.xadd(key, XAddParams.xAddParams(), Map.of("n", Integer.toString(n))));
            }
            var length = pipe.xlen(key);
            var bad = pipe.xadd(key, new StreamEntryID(1, 1), Map.of("n", "refused"));
            var range = pipe.xrange(key, "-", "+", 1);
            pipe.sync();
            equal(length.get(), 200L);
            refused(bad::get, "equal or smaller");
            equal(ids(range.get()), List.of(adds.get(0).get()));
        }
        var found = r.xrange(key, "-", "+");
        equal(ids(found), adds.stream().map(Response::get).toList());
        for (int n = 0; n < 200; n++) {
            equal(found.get(n).getFields(), Map.of("n", Integer.toString(n)));
        }
    }

    private void transacts() throws Exception {
        var orders = key("orders");
        var bills = key("bills");
        r.xgroupCreate(orders, "g", START, true);
        add(orders, 1);
        var order = readGroup(r, orders, "biller", NEW, XReadGroupParams.xReadGroupParams()).get(0);
        try (AbstractTransaction tx = r.multi()) {
            var bill = tx.xadd(bills, XAddParams.xAddParams(), Map.of("bill", order.getFields().get("n")));
            var acked = tx.xack(orders, "g", order.getID());
            var length = tx.xlen(bills);
            equal(tx.exec().size(), 3);
            equal(List.of(acked.get(), length.get()), List.of(1L, 1L));
            equal(ids(r.xrange(bills, "-", "+")), List.of(bill.get()));
        }
        equal(r.xpending(orders, "g").getTotal(), 0L);

        // A command that fails does not keep the others from being carried out.
        try (AbstractTransaction tx = r.multi()) {
            var late = tx.xadd(bills, new StreamEntryID(1, 1), Map.of("bill", "late"));
            var length = tx.xlen(bills);
            tx.exec();
            refused(late::get, "equal or smaller");
            equal(length.get(), 1L);
        }
        try (AbstractTransaction tx = r.transaction(false)) {
            tx.watch(bills);
            add(bills, "bill", "other");
            tx.multi();
            tx.xadd(bills, XAddParams.xAddParams(), Map.of("bill", "mine"));
            equal(tx.exec(), null);
        }
        try (AbstractTransaction tx = r.multi()) {
            tx.xadd(bills, XAddParams.xAddParams(), Map.of("bill", "discarded"));
            equal(tx.discard(), "OK");
        }
        equal(r.xlen(bills), 2L);
    }

    private void helps() {
        var key = key("helped");
        var made = add(key, 6);
        r.xgroupCreate(key, "g", START, false);
        equal(r.xgroupCreateConsumer(key, "g", "idler"), true);
        read(key, "worker", 4);
        r.xack(key, "g", made.get(0));
        var info = r.xinfoStream(key);
        equal(List.of(info.getLength(), info.getGroups(), info.getLastGeneratedId()), List.of(6L, 1L, made.get(5)));
        equal(List.of(info.getFirstEntry().getID(), info.getLastEntry().getID()), List.of(made.get(0), made.get(5)));
        var group = r.xinfoGroups(key).get(0);
        equal(List.of(group.getName(), group.getConsumers(), group.getPending()), List.of("g", 2L, 3L));
        equal(group.getLastDeliveredId(), made.get(3));
        equal(List.of(group.getGroupInfo().get("entries-read"), group.getGroupInfo().get("lag")), List.of(4L, 2L));
        var consumers = new TreeMap<String, Long>();
        r.xinfoConsumers2(key, "g").forEach(consumer -> consumers.put(consumer.getName(), consumer.getPending()));
        equal(consumers, Map.of("idler", 0L, "worker", 3L));
        var full = r.xinfoStreamFull(key);
        equal(List.of(full.getLength(), full.getEntries().size(), full.getGroups().size()), List.of(6L, 6, 1));
        equal(full.getGroups().get(0).getPelCount(), 3L);
        equal(List.of(r.xdel(key, made.get(5), new StreamEntryID(1, 1)), r.xtrim(key, 3, false)), List.of(1L, 2L));
        equal(r.xgroupSetID(key, "g", StreamEntryID.XGROUP_LAST_ENTRY), "OK");
        equal(List.of(r.xgroupDelConsumer(key, "g", "worker"), r.xgroupDestroy(key, "g")), List.of(3L, 1L));
        equal(List.of(r.expire(key, 1000), r.ttl(key) >= 999, r.persist(key), r.ttl(key)), List.of(1L, true, 1L, -1L));
        equal(List.of(r.type(key), r.del(key), r.exists(key)), List.of("stream", 1L, false));
    }

    /** What Redis 8.2 to 8.8 brought. */
    private void usesNewer() {
        var key = key("newer");
        r.xgroupCreate(key, "g", START, true);
        var once = XAddParams.xAddParams().idmp("producer", "1");
        var first = r.xadd(key, once, Map.of("n", "0"));
        equal(r.xadd(key, once, Map.of("n", "0")), first);
        var made = new ArrayList<>(List.of(first));
        made.addAll(add(key, 2));
        equal(read(key, "worker", NEW), made);
        equal(r.xnack(key, "g", XNackMode.FAIL, first), 1L);
        var claim = XReadGroupParams.xReadGroupParams().count(1).claim(HOUR_MS);
        var claimed = readGroup(r, key, "rescuer", NEW, claim).get(0);
        equal(List.of(claimed.getID(), claimed.getDeliveredCount()), List.of(first, 1L));
        equal(r.xackdel(key, "g", first), List.of(StreamEntryDeletionResult.DELETED));
        var referenced = StreamEntryDeletionResult.NOT_DELETED_UNACKNOWLEDGED_OR_STILL_REFERENCED;
        equal(r.xdelex(key, StreamDeletionPolicy.ACKNOWLEDGED, made.get(1)), List.of(referenced));
        var deleted = r.xdelex(key, StreamDeletionPolicy.DELETE_REFERENCES, made.get(1));
        equal(deleted, List.of(StreamEntryDeletionResult.DELETED));
        equal(List.of(r.xlen(key), r.xpending(key, "g").getTotal()), List.of(1L, 1L));
    }

    private void reconnects(BufferedReader stdin) throws Exception {
        var key = key("again");
        r.xgroupCreate(key, "g", START, true);
        var made = add(key, 3);
        equal(read(key, "worker", 2), made.subList(0, 2));
        equal(r.xack(key, "g", made.get(0)), 1L);
        System.out.println("restart");
        equal(stdin.readLine(), "ready");
        // The pool finds out about each broken connection when it is used, and makes another.
        for (int broken = 0; ; broken++) {
            try {
                equal(r.ping(), "PONG");
                break;
            } catch (JedisConnectionException error) {
                equal(broken < 8, true);
            }
        }
        equal(ids(r.xrange(key, "-", "+")), made);
        equal(read(key, "worker", START), made.subList(1, 2));
        equal(read(key, "worker", NEW), made.subList(2, 3));
        equal(List.of(r.xack(key, "g", array(made)), r.xpending(key, "g").getTotal()), List.of(2L, 0L));
        made.addAll(add(key, 1));
        equal(ids(r.xrange(key, "-", "+")), made);
    }

    private static void step(String name, Step step) throws Exception {
        step.check();
        System.out.println(name + ": ok");
    }

    public static void main(String[] args) throws Exception {
        var stdin = new BufferedReader(new InputStreamReader(System.in));
        var client = new Client(Integer.parseInt(args[0]), Integer.parseInt(args[1]));
        step("connect", client::connects);
        step("produce", client::produces);
        step("block-read", client::blockReads);
        step("group", client::worksInGroup);
        step("claim", client::claims);
        step("pipeline", client::pipelines);
        step("transaction", client::transacts);
        step("helpers", client::helps);
        step("newer", client::usesNewer);
        step("reconnect", () -> client.reconnects(stdin));
        client.r.close();
        // Threads that still wait for a reply are not to keep the program.
        System.exit(0);
    }
}
