import io.lettuce.core.ClientOptions;
import io.lettuce.core.Consumer;
import io.lettuce.core.Limit;
import io.lettuce.core.Range;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisURI;
import io.lettuce.core.StreamDeletionPolicy;
import io.lettuce.core.StreamMessage;
import io.lettuce.core.XAddArgs;
import io.lettuce.core.XAutoClaimArgs;
import io.lettuce.core.XClaimArgs;
import io.lettuce.core.XGroupCreateArgs;
import io.lettuce.core.XNackMode;
import io.lettuce.core.XPendingArgs;
import io.lettuce.core.XReadArgs;
import io.lettuce.core.XReadArgs.StreamOffset;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.models.stream.StreamEntryDeletionResult;
import io.lettuce.core.protocol.ProtocolVersion;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** Lettuce: the scenario of tests/clients/README.md. Usage: Client PORT PROTOCOL. */
public final class Client {
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final Duration HOUR = Duration.ofHours(1);

    private final int protocol;
    private final RedisClient client;
    private final StatefulRedisConnection<String, String> connection;
    private final RedisCommands<String, String> r;

    private interface Step {
        void check() throws Exception;
    }

    /** RESP3 is what the client speaks unless told otherwise. */
    private Client(int port, int protocol) {
        this.protocol = protocol;
        client = RedisClient.create(RedisURI.builder().withHost("127.0.0.1").withPort(port).withTimeout(TIMEOUT.multipliedBy(2)).build());
        if (protocol == 2) {
            client.setOptions(ClientOptions.builder().protocolVersion(ProtocolVersion.RESP2).build());
        }
        connection = client.connect();
        r = connection.sync();
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
        } catch (RedisCommandExecutionException error) {
            equal(error.getMessage().contains(part), true);
            return;
        }
        throw new AssertionError("found " + found + ", expected an error: " + part);
    }

    private String key(String name) {
        return "lettuce:" + protocol + ":" + name;
    }

    private List<String> add(String key, int count) {
        var made = new ArrayList<String>();
        for (int n = 0; n < count; n++) {
            made.add(r.xadd(key, Map.of("n", Integer.toString(n))));
        }
        return made;
    }

    private static String[] array(List<String> ids) {
        return ids.toArray(String[]::new);
    }

    private static <K, V> List<String> ids(List<StreamMessage<K, V>> messages) {
        return messages.stream().map(StreamMessage::getId).toList();
    }

    private List<StreamMessage<String, String>> range(String key) {
        return r.xrange(key, Range.unbounded());
    }

    private List<StreamMessage<String, String>> read(String key, String consumer, String id, XReadArgs args) {
        return r.xreadgroup(Consumer.from("g", consumer), args, StreamOffset.from(key, id));
    }

    private List<String> read(String key, String consumer, String id) {
        return ids(read(key, consumer, id, new XReadArgs()));
    }

    private List<String> read(String key, String consumer, int count) {
        return ids(read(key, consumer, ">", XReadArgs.Builder.count(count)));
    }

    private interface Read {
        List<StreamMessage<String, String>> on(RedisCommands<String, String> own);
    }

    /** The event of `write` is all that `read` finds on a connection of its own that is blocked when it is written. */
    private String served(String name, Read read, Callable<String> write) throws Exception {
        var own = client.connect();
        own.sync().clientSetname(name);
        var found = CompletableFuture.supplyAsync(() -> ids(read.on(own.sync())));
        var until = System.nanoTime() + TIMEOUT.toNanos();
        while (r.clientList().lines().noneMatch(line -> line.matches(".* name=" + name + " .* flags=\\w*b\\w* .*"))) {
            if (System.nanoTime() > until) {
                throw new AssertionError("not in time: " + name + " blocks");
            }
            Thread.sleep(2);
        }
        var id = write.call();
        equal(found.get(TIMEOUT.toSeconds(), TimeUnit.SECONDS), List.of(id));
        own.close();
        return id;
    }

    private void connects() {
        equal(r.ping(), "PONG");
        var own = " id=" + r.clientId() + " ";
        var line = r.clientList().lines().filter(entry -> (" " + entry).contains(own)).findFirst().orElseThrow();
        equal(line.contains(" resp=" + protocol), true);
        equal(line.contains(" lib-name=Lettuce"), true);
    }

    private void produces() throws Exception {
        var key = key("events");
        var made = add(key, 5);
        var binary = new byte[256];
        for (int n = 0; n < 256; n++) {
            binary[n] = (byte) n;
        }
        var bytes = client.connect(ByteArrayCodec.INSTANCE);
        made.add(bytes.sync().xadd(key.getBytes(), Map.of("bin".getBytes(), binary)));
        var last = bytes.sync().xrevrange(key.getBytes(), Range.unbounded(), Limit.from(1)).get(0);
        equal(Arrays.equals(last.getBody().values().iterator().next(), binary), true);
        bytes.close();
        equal(r.xlen(key), 6L);
        var found = range(key);
        equal(ids(found), made);
        for (int n = 0; n < 5; n++) {
            equal(found.get(n).getBody(), Map.of("n", Integer.toString(n)));
        }
        equal(ids(r.xrevrange(key, Range.unbounded(), Limit.from(2))), List.of(made.get(5), made.get(4)));
        equal(ids(r.xread(XReadArgs.Builder.count(2), StreamOffset.from(key, made.get(0)))), made.subList(1, 3));
        refused(() -> r.xadd(key, new XAddArgs().id("1-1"), Map.of("f", "v")), "equal or smaller");
    }

    private void blockReads() throws Exception {
        var key = key("blocked");
        add(key, 3);
        Read wait = own -> own.xread(XReadArgs.Builder.block(TIMEOUT), StreamOffset.latest(key));
        served(key("reader"), wait, () -> add(key, 1).get(0));
        equal(r.xread(XReadArgs.Builder.block(5), StreamOffset.latest(key)), List.of());
    }

    private void worksInGroup() throws Exception {
        var key = key("work");
        var start = StreamOffset.from(key, "0");
        equal(r.xgroupCreate(start, "g", XGroupCreateArgs.Builder.mkstream()), "OK");
        refused(() -> r.xgroupCreate(start, "g"), "BUSYGROUP");
        var made = add(key, 4);
        var first = array(made.subList(0, 2));
        equal(read(key, "alice", 2), made.subList(0, 2));
        equal(read(key, "bob", 10), made.subList(2, 4));
        equal(read(key, "alice", ">"), List.of());
        equal(List.of(r.xack(key, "g", first), r.xack(key, "g", first)), List.of(2L, 0L));
        equal(read(key, "bob", "0"), made.subList(2, 4));
        equal(read(key, "alice", "0"), List.of());
        var alice = Consumer.from("g", "alice");
        Read wait = own -> own.xreadgroup(alice, XReadArgs.Builder.block(TIMEOUT), StreamOffset.lastConsumed(key));
        made.add(served(key("alice"), wait, () -> add(key, 1).get(0)));
        equal(r.xack(key, "g", array(made.subList(2, 5))), 3L);
        equal(r.xpending(key, "g").getCount(), 0L);
        refused(() -> r.xreadgroup(Consumer.from("none", "alice"), StreamOffset.lastConsumed(key)), "NOGROUP");
    }

    private void claims() {
        var key = key("claimed");
        r.xgroupCreate(StreamOffset.from(key, "0"), "g", XGroupCreateArgs.Builder.mkstream());
        var made = add(key, 4);
        var doomed = client.connect();
        var reply = doomed.sync().xreadgroup(
                Consumer.from("g", "doomed"), XReadArgs.Builder.count(3), StreamOffset.lastConsumed(key));
        equal(ids(reply), made.subList(0, 3));
        doomed.close();

        var summary = r.xpending(key, "g");
        equal(List.of(summary.getCount(), summary.getMessageIds()), List.of(3L, Range.create(made.get(0), made.get(2))));
        equal(summary.getConsumerMessageCount(), Map.of("doomed", 3L));
        var pending = r.xpending(key, "g", Range.unbounded(), Limit.from(10));
        equal(pending.stream().map(one -> one.getId()).toList(), made.subList(0, 3));
        pending.forEach(one -> equal(List.of(one.getConsumer(), one.getRedeliveryCount()), List.of("doomed", 1L)));
        var idle = new XPendingArgs<String>().group("g").range(Range.unbounded()).limit(Limit.from(10)).idle(HOUR);
        equal(r.xpending(key, idle), List.of());

        var rescuer = Consumer.from("g", "rescuer");
        var claimed = r.xautoclaim(
                key, new XAutoClaimArgs<String>().consumer(rescuer).minIdleTime(0).startId("0-0").count(2));
        equal(List.of(claimed.getId(), ids(claimed.getMessages())), List.of(made.get(2), made.subList(0, 2)));
        var third = made.get(2);
        equal(r.xclaim(key, Consumer.from("g", "other"), HOUR.toMillis(), third), List.of());
        equal(ids(r.xclaim(key, rescuer, XClaimArgs.Builder.justid().minIdleTime(0), third)), List.of(third));
        equal(ids(r.xclaim(key, rescuer, 0, third)), List.of(third));
        var rescued = r.xpending(key, rescuer, Range.unbounded(), Limit.from(10));
        equal(rescued.stream().map(one -> one.getRedeliveryCount()).toList(), List.of(2L, 2L, 2L));
        equal(r.xack(key, "g", array(made.subList(0, 3))), 3L);
        equal(read(key, "rescuer", ">"), made.subList(3, 4));
        equal(r.xack(key, "g", made.get(3)), 1L);
        equal(r.xpending(key, "g").getCount(), 0L);
    }

    /** Commands that are not waited for go out in one piece when flushed. */
    private void pipelines() throws Exception {
        var key = key("pipe");
        var own = client.connect();
        own.setAutoFlushCommands(false);
        var pipe = own.async();
        var adds = new ArrayList<CompletableFuture<String>>();
        for (int n = 0; n < 200; n++) {
            adds.add(pipe.xadd(key, Map.of("n", Integer.toString(n))).toCompletableFuture());
        }
        var length = pipe.xlen(key);
        var bad = pipe.xadd(key, new XAddArgs().id("1-1"), Map.of("n", "refused"));
        var range = pipe.xrange(key, Range.unbounded());
        own.flushCommands();
        equal(length.get(), 200L);
        refused(() -> {
            try {
                return bad.get();
            } catch (ExecutionException error) {
                throw (Exception) error.getCause();
            }
        }, "equal or smaller");
        var made = new ArrayList<String>();
        for (var add : adds) {
            made.add(add.get());
        }
        equal(ids(range.get()), made);
        for (int n = 0; n < 200; n++) {
            equal(range.get().get(n).getBody(), Map.of("n", Integer.toString(n)));
        }
        own.close();
    }

    private void transacts() throws Exception {
        var orders = key("orders");
        var bills = key("bills");
        r.xgroupCreate(StreamOffset.from(orders, "0"), "g", XGroupCreateArgs.Builder.mkstream());
        add(orders, 1);
        var order = read(orders, "biller", ">", new XReadArgs()).get(0);
        r.multi();
        r.xadd(bills, Map.of("bill", order.getBody().get("n")));
        r.xack(orders, "g", order.getId());
        r.xlen(bills);
        var done = r.exec();
        equal(List.of(done.get(1), done.get(2)), List.of(1L, 1L));
        equal(ids(range(bills)), List.of(done.<String>get(0)));
        equal(r.xpending(orders, "g").getCount(), 0L);

        // A command that fails does not keep the others from being carried out.
        r.multi();
        r.xadd(bills, new XAddArgs().id("1-1"), Map.of("bill", "late"));
        r.xlen(bills);
        done = r.exec();
        equal(done.<Exception>get(0).getMessage().contains("equal or smaller"), true);
        equal(done.get(1), 1L);

        var other = client.connect();
        r.watch(bills);
        other.sync().xadd(bills, Map.of("bill", "other"));
        other.close();
        r.multi();
        r.xadd(bills, Map.of("bill", "mine"));
        equal(r.exec().wasDiscarded(), true);
        r.multi();
        r.xadd(bills, Map.of("bill", "discarded"));
        equal(r.discard(), "OK");
        equal(r.xlen(bills), 2L);
    }

    /** A flat list of names and values, as Lettuce hands out an XINFO of either protocol. */
    private static Map<String, Object> map(Object flat) {
        var list = (List<?>) flat;
        var map = new HashMap<String, Object>();
        for (int n = 0; n < list.size(); n += 2) {
            map.put((String) list.get(n), list.get(n + 1));
        }
        return map;
    }

    private void helps() {
        var key = key("helped");
        var made = add(key, 6);
        r.xgroupCreate(StreamOffset.from(key, "0"), "g");
        equal(r.xgroupCreateconsumer(key, Consumer.from("g", "idler")), true);
        read(key, "worker", 4);
        r.xack(key, "g", made.get(0));
        var info = map(r.xinfoStream(key));
        equal(List.of(info.get("length"), info.get("groups"), info.get("last-generated-id")), List.of(6L, 1L, made.get(5)));
        equal(info.get("last-entry"), List.of(made.get(5), List.of("n", "5")));
        var group = map(r.xinfoGroups(key).get(0));
        equal(List.of(group.get("name"), group.get("consumers"), group.get("pending")), List.of("g", 2L, 3L));
        equal(group.get("last-delivered-id"), made.get(3));
        equal(List.of(group.get("entries-read"), group.get("lag")), List.of(4L, 2L));
        var consumers = new TreeMap<>();
        r.xinfoConsumers(key, "g").forEach(one -> consumers.put(map(one).get("name"), map(one).get("pending")));
        equal(consumers, Map.of("idler", 0L, "worker", 3L));
        equal(List.of(r.xdel(key, made.get(5), "1-1"), r.xtrim(key, 3), r.xlen(key)), List.of(1L, 2L, 3L));
        equal(r.xgroupSetid(StreamOffset.latest(key), "g"), "OK");
        equal(List.of(r.xgroupDelconsumer(key, Consumer.from("g", "worker")), r.xgroupDestroy(key, "g")), List.of(3L, true));
        equal(List.of(r.expire(key, 1000), r.ttl(key) >= 999, r.persist(key), r.ttl(key)), List.of(true, true, true, -1L));
        equal(List.of(r.type(key), r.del(key), r.exists(key)), List.of("stream", 1L, 0L));
    }

    /** What Redis 8.2 to 8.8 brought. */
    private void usesNewer() {
        var key = key("newer");
        r.xgroupCreate(StreamOffset.from(key, "0"), "g", XGroupCreateArgs.Builder.mkstream());
        var once = new XAddArgs().idmp("producer", "1");
        var first = r.xadd(key, once, Map.of("n", "0"));
        equal(r.xadd(key, once, Map.of("n", "0")), first);
        var made = new ArrayList<>(List.of(first));
        made.addAll(add(key, 2));
        equal(read(key, "worker", ">"), made);
        equal(r.xnack(key, "g", XNackMode.FAIL, first), 1L);
        var claimed = read(key, "rescuer", ">", XReadArgs.Builder.count(1).claim(HOUR)).get(0);
        equal(List.of(claimed.getId(), claimed.getDeliveredCount()), List.of(first, 1L));
        equal(r.xackdel(key, "g", first), List.of(StreamEntryDeletionResult.DELETED));
        var referenced = StreamEntryDeletionResult.NOT_DELETED_UNACKNOWLEDGED_OR_STILL_REFERENCED;
        equal(r.xdelex(key, StreamDeletionPolicy.ACKNOWLEDGED, made.get(1)), List.of(referenced));
        var deleted = r.xdelex(key, StreamDeletionPolicy.DELETE_REFERENCES, made.get(1));
        equal(deleted, List.of(StreamEntryDeletionResult.DELETED));
        equal(List.of(r.xlen(key), r.xpending(key, "g").getCount()), List.of(1L, 1L));
    }

    private void reconnects(BufferedReader stdin) throws Exception {
        var key = key("again");
        r.xgroupCreate(StreamOffset.from(key, "0"), "g", XGroupCreateArgs.Builder.mkstream());
        var made = add(key, 3);
        equal(read(key, "worker", 2), made.subList(0, 2));
        equal(r.xack(key, "g", made.get(0)), 1L);
        System.out.println("restart");
        equal(stdin.readLine(), "ready");
        equal(ids(range(key)), made);
        equal(read(key, "worker", "0"), made.subList(1, 2));
        equal(read(key, "worker", ">"), made.subList(2, 3));
        equal(List.of(r.xack(key, "g", array(made)), r.xpending(key, "g").getCount()), List.of(2L, 0L));
        made.addAll(add(key, 1));
        equal(ids(range(key)), made);
    }

    private static void step(String name, Step step) throws Exception {
        step.check();
        System.out.println(name + ": ok");
    }

    public static void main(String[] args) {
        try {
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
            // Without the seconds of grace in which the client would take new commands.
            client.client.shutdown(Duration.ZERO, TIMEOUT);
        } catch (Throwable error) {
            error.printStackTrace();
            // The client's threads would keep the program.
            System.exit(1);
        }
    }
}
