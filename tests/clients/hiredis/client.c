/* hiredis: the scenario of tests/clients/README.md.
 *
 * usage: client PORT PROTOCOL
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis.h>

enum { TIMEOUT_S = 30, ID_BYTES = 48, KEY_BYTES = 64 };

static int port;
static int protocol;

static void fail(const char *file, int line, const char *what, const redisReply *reply) {
    const char *text = reply && reply->str ? reply->str : "";
    fprintf(stderr, "%s:%d: not so: %s (reply of type %d, %s)\n", file, line, what, reply ? reply->type : -1, text);
    exit(1);
}

#define CHECK_REPLY(what, reply) ((what) ? (void)0 : fail(__FILE__, __LINE__, #what, (reply)))
#define CHECK(what) CHECK_REPLY(what, NULL)

/* A reply, after the connection has been checked; the caller frees it. */
static redisReply *ask(redisContext *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(r, format, args);
    va_end(args);
    if (!reply) {
        fprintf(stderr, "%s: %s\n", format, r->errstr);
        exit(1);
    }
    return reply;
}

/* Sends without waiting for the reply. */
#define SEND(r, ...) CHECK(redisAppendCommand((r), __VA_ARGS__) == REDIS_OK)

static redisReply *receive(redisContext *r) {
    void *reply = NULL;
    CHECK(redisGetReply(r, &reply) == REDIS_OK && reply);
    return reply;
}

static int is(const redisReply *reply, const char *text) {
    return reply->str && strcmp(reply->str, text) == 0;
}

static int is_error(const redisReply *reply, const char *part) {
    return reply->type == REDIS_REPLY_ERROR && strstr(reply->str, part);
}

/* Checks and frees replies of one value. */
#define EXPECT_INTEGER(expected, call)                                                    \
    do {                                                                                  \
        redisReply *reply_ = (call);                                                      \
        CHECK_REPLY(reply_->type == REDIS_REPLY_INTEGER && reply_->integer == (expected), reply_); \
        freeReplyObject(reply_);                                                          \
    } while (0)
#define EXPECT_TEXT(expected, call)                \
    do {                                           \
        redisReply *reply_ = (call);               \
        CHECK_REPLY(is(reply_, expected), reply_); \
        freeReplyObject(reply_);                   \
    } while (0)
#define EXPECT_ERROR(part, call)                      \
    do {                                              \
        redisReply *reply_ = (call);                  \
        CHECK_REPLY(is_error(reply_, part), reply_);  \
        freeReplyObject(reply_);                      \
    } while (0)
#define EXPECT_NOTHING(call)                                                                           \
    do {                                                                                               \
        redisReply *reply_ = (call);                                                                   \
        CHECK_REPLY(reply_->type == REDIS_REPLY_NIL ||                                                 \
                        (reply_->type == REDIS_REPLY_ARRAY && reply_->elements == 0), reply_);         \
        freeReplyObject(reply_);                                                                       \
    } while (0)

static redisContext *connect_to_server(void) {
    struct timeval patience = {.tv_sec = TIMEOUT_S};
    redisContext *r = redisConnectWithTimeout("127.0.0.1", port, patience);
    CHECK(r);
    if (r->err) {
        fprintf(stderr, "connect: %s\n", r->errstr);
        exit(1);
    }
    CHECK(redisSetTimeout(r, patience) == REDIS_OK);
    if (protocol == 3) {
        redisReply *hello = ask(r, "HELLO 3");
        CHECK_REPLY(hello->type == REDIS_REPLY_MAP, hello);
        freeReplyObject(hello);
    }
    return r;
}

static const char *key_named(const char *name) {
    static char keys[4][KEY_BYTES];
    static int next;
    char *key = keys[next++ % 4];
    snprintf(key, KEY_BYTES, "hiredis:%d:%s", protocol, name);
    return key;
}

static void take_id(char *id, redisReply *reply) {
    CHECK_REPLY(reply->type == REDIS_REPLY_STRING && reply->len < ID_BYTES, reply);
    strcpy(id, reply->str);
    freeReplyObject(reply);
}

static void add(redisContext *r, const char *key, int count, char ids[][ID_BYTES]) {
    for (int n = 0; n < count; n++)
        take_id(ids[n], ask(r, "XADD %s * n %d", key, n));
}

/* The entries of the one stream in a reply: [[key, entries]] in RESP2, {key: entries} in RESP3. */
static const redisReply *entries(const redisReply *reply) {
    if (protocol == 3) {
        CHECK_REPLY(reply->type == REDIS_REPLY_MAP && reply->elements == 2, reply);
        return reply->element[1];
    }
    CHECK_REPLY(reply->type == REDIS_REPLY_ARRAY && reply->elements == 1, reply);
    return reply->element[0]->element[1];
}

static void check_ids(const redisReply *list, int count, char ids[][ID_BYTES]) {
    CHECK_REPLY(list->type == REDIS_REPLY_ARRAY && list->elements == (size_t)count, list);
    for (int n = 0; n < count; n++)
        CHECK_REPLY(is(list->element[n]->element[0], ids[n]), list->element[n]->element[0]);
}

#define EXPECT_ENTRIES(count, ids, call)     \
    do {                                     \
        redisReply *reply_ = (call);         \
        check_ids(entries(reply_), count, ids); \
        freeReplyObject(reply_);             \
    } while (0)
#define EXPECT_RANGE(count, ids, call)   \
    do {                                 \
        redisReply *reply_ = (call);     \
        check_ids(reply_, count, ids);   \
        freeReplyObject(reply_);         \
    } while (0)
#define EXPECT_PENDING(count, r, key)                                                     \
    do {                                                                                  \
        redisReply *reply_ = ask(r, "XPENDING %s g", key);                                \
        CHECK_REPLY(reply_->elements == 4 && reply_->element[0]->integer == (count), reply_); \
        freeReplyObject(reply_);                                                          \
    } while (0)

static void wait_until_blocked(redisContext *r, const char *name) {
    char wanted[KEY_BYTES];
    time_t until = time(NULL) + TIMEOUT_S;
    snprintf(wanted, sizeof wanted, " name=%s ", name);
    for (;;) {
        redisReply *list = ask(r, "CLIENT LIST");
        char *line = strstr(list->str, wanted);
        char *flags = line ? strstr(line, " flags=") : NULL;
        int blocked = flags && memchr(flags + 7, 'b', strcspn(flags + 7, " "));
        freeReplyObject(list);
        if (blocked)
            return;
        CHECK(time(NULL) < until);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

/* The field of a flat map as which RESP2 and RESP3 show an XINFO alike. */
static const redisReply *field(const redisReply *map, const char *name) {
    for (size_t n = 0; n + 1 < map->elements; n += 2)
        if (is(map->element[n], name))
            return map->element[n + 1];
    fail(__FILE__, __LINE__, name, map);
    return NULL;
}

static void check_connect(redisContext *r) {
    EXPECT_TEXT("PONG", ask(r, "PING"));
    redisReply *info = ask(r, "INFO server");
    CHECK_REPLY(info->str && strstr(info->str, "redis_version:"), info);
    freeReplyObject(info);
}

static void check_produce(redisContext *r) {
    const char *key = key_named("events");
    char ids[6][ID_BYTES], binary[256];
    for (int byte = 0; byte < 256; byte++)
        binary[byte] = (char)byte;
    add(r, key, 5, ids);
    take_id(ids[5], ask(r, "XADD %s * bin %b empty %b", key, binary, sizeof binary, "", (size_t)0));
    EXPECT_INTEGER(6, ask(r, "XLEN %s", key));
    EXPECT_RANGE(6, ids, ask(r, "XRANGE %s - +", key));
    redisReply *last = ask(r, "XREVRANGE %s + - COUNT 1", key);
    CHECK_REPLY(last->elements == 1 && is(last->element[0]->element[0], ids[5]), last);
    const redisReply *fields = last->element[0]->element[1];
    CHECK_REPLY(fields->elements == 4 && fields->element[3]->len == 0, fields);
    CHECK_REPLY(fields->element[1]->len == 256 && memcmp(fields->element[1]->str, binary, 256) == 0, fields);
    freeReplyObject(last);
    EXPECT_ENTRIES(2, ids + 1, ask(r, "XREAD COUNT 2 STREAMS %s %s", key, ids[0]));
    EXPECT_ERROR("equal or smaller", ask(r, "XADD %s 1-1 f v", key));
}

static void check_block_read(redisContext *r) {
    const char *key = key_named("blocked"), *name = key_named("reader");
    char id[1][ID_BYTES];
    redisContext *own = connect_to_server();
    EXPECT_TEXT("OK", ask(own, "CLIENT SETNAME %s", name));
    SEND(own, "XREAD BLOCK %d STREAMS %s $", TIMEOUT_S * 1000, key);
    int sent = 0;
    while (!sent)
        CHECK(redisBufferWrite(own, &sent) == REDIS_OK);
    wait_until_blocked(r, name);
    take_id(id[0], ask(r, "XADD %s * n 7", key));
    EXPECT_ENTRIES(1, id, receive(own));
    redisFree(own);
    EXPECT_NOTHING(ask(r, "XREAD BLOCK 5 STREAMS %s $", key));
}

static void check_group(redisContext *r) {
    const char *key = key_named("work"), *name = key_named("alice");
    char ids[5][ID_BYTES];
    EXPECT_TEXT("OK", ask(r, "XGROUP CREATE %s g 0 MKSTREAM", key));
    EXPECT_ERROR("BUSYGROUP", ask(r, "XGROUP CREATE %s g 0", key));
    add(r, key, 4, ids);
    EXPECT_ENTRIES(2, ids, ask(r, "XREADGROUP GROUP g alice COUNT 2 STREAMS %s >", key));
    EXPECT_ENTRIES(2, ids + 2, ask(r, "XREADGROUP GROUP g bob STREAMS %s >", key));
    EXPECT_NOTHING(ask(r, "XREADGROUP GROUP g alice STREAMS %s >", key));
    EXPECT_INTEGER(2, ask(r, "XACK %s g %s %s", key, ids[0], ids[1]));
    EXPECT_INTEGER(0, ask(r, "XACK %s g %s %s", key, ids[0], ids[1]));
    EXPECT_ENTRIES(2, ids + 2, ask(r, "XREADGROUP GROUP g bob STREAMS %s 0", key));
    EXPECT_ENTRIES(0, ids, ask(r, "XREADGROUP GROUP g alice STREAMS %s 0", key));

    redisContext *own = connect_to_server();
    EXPECT_TEXT("OK", ask(own, "CLIENT SETNAME %s", name));
    SEND(own, "XREADGROUP GROUP g alice BLOCK %d STREAMS %s >", TIMEOUT_S * 1000, key);
    int sent = 0;
    while (!sent)
        CHECK(redisBufferWrite(own, &sent) == REDIS_OK);
    wait_until_blocked(r, name);
    take_id(ids[4], ask(r, "XADD %s * n 9", key));
    EXPECT_ENTRIES(1, ids + 4, receive(own));
    redisFree(own);
    EXPECT_INTEGER(3, ask(r, "XACK %s g %s %s %s", key, ids[2], ids[3], ids[4]));
    EXPECT_PENDING(0, r, key);
    EXPECT_ERROR("NOGROUP", ask(r, "XREADGROUP GROUP none alice STREAMS %s >", key));
}

static void check_claim(redisContext *r) {
    const char *key = key_named("claimed");
    char ids[4][ID_BYTES];
    EXPECT_TEXT("OK", ask(r, "XGROUP CREATE %s g 0 MKSTREAM", key));
    add(r, key, 4, ids);
    redisContext *doomed = connect_to_server();
    EXPECT_ENTRIES(3, ids, ask(doomed, "XREADGROUP GROUP g doomed COUNT 3 STREAMS %s >", key));
    redisFree(doomed);

    redisReply *summary = ask(r, "XPENDING %s g", key);
    CHECK_REPLY(summary->elements == 4 && summary->element[0]->integer == 3, summary);
    CHECK_REPLY(is(summary->element[1], ids[0]) && is(summary->element[2], ids[2]), summary);
    const redisReply *consumer = summary->element[3]->element[0];
    CHECK_REPLY(is(consumer->element[0], "doomed") && is(consumer->element[1], "3"), consumer);
    freeReplyObject(summary);
    redisReply *pending = ask(r, "XPENDING %s g - + 10", key);
    check_ids(pending, 3, ids);
    CHECK_REPLY(is(pending->element[0]->element[1], "doomed") && pending->element[0]->element[3]->integer == 1, pending);
    freeReplyObject(pending);

    redisReply *claimed = ask(r, "XAUTOCLAIM %s g rescuer 0 0-0 COUNT 2", key);
    CHECK_REPLY(claimed->elements == 3 && is(claimed->element[0], ids[2]) && claimed->element[2]->elements == 0, claimed);
    check_ids(claimed->element[1], 2, ids);
    freeReplyObject(claimed);
    EXPECT_NOTHING(ask(r, "XCLAIM %s g other 3600000 %s", key, ids[2]));
    EXPECT_RANGE(1, ids + 2, ask(r, "XCLAIM %s g rescuer 0 %s", key, ids[2]));
    pending = ask(r, "XPENDING %s g IDLE 0 - + 10 rescuer", key);
    check_ids(pending, 3, ids);
    for (int n = 0; n < 3; n++)
        CHECK_REPLY(pending->element[n]->element[3]->integer == 2, pending);
    freeReplyObject(pending);
    EXPECT_INTEGER(3, ask(r, "XACK %s g %s %s %s", key, ids[0], ids[1], ids[2]));
    EXPECT_ENTRIES(1, ids + 3, ask(r, "XREADGROUP GROUP g rescuer NOACK STREAMS %s >", key));
    EXPECT_PENDING(0, r, key);
}

static void check_pipeline(redisContext *r) {
    enum { COUNT = 200 };
    const char *key = key_named("pipe");
    char ids[COUNT][ID_BYTES];
    for (int n = 0; n < COUNT; n++)
        SEND(r, "XADD %s * n %d", key, n);
    SEND(r, "XLEN %s", key);
    SEND(r, "XADD %s 1-1 n refused", key);
    SEND(r, "XRANGE %s - +", key);
    for (int n = 0; n < COUNT; n++)
        take_id(ids[n], receive(r));
    EXPECT_INTEGER(COUNT, receive(r));
    EXPECT_ERROR("equal or smaller", receive(r));
    EXPECT_RANGE(COUNT, ids, receive(r));
}

static void check_transaction(redisContext *r) {
    const char *orders = key_named("orders"), *bills = key_named("bills");
    char order[1][ID_BYTES], bill[1][ID_BYTES];
    EXPECT_TEXT("OK", ask(r, "XGROUP CREATE %s g 0 MKSTREAM", orders));
    add(r, orders, 1, order);
    EXPECT_ENTRIES(1, order, ask(r, "XREADGROUP GROUP g biller STREAMS %s >", orders));
    EXPECT_TEXT("OK", ask(r, "MULTI"));
    EXPECT_TEXT("QUEUED", ask(r, "XADD %s * bill 0", bills));
    EXPECT_TEXT("QUEUED", ask(r, "XACK %s g %s", orders, order[0]));
    EXPECT_TEXT("QUEUED", ask(r, "XADD %s 1-1 bill late", bills));
    EXPECT_TEXT("QUEUED", ask(r, "XLEN %s", bills));
    redisReply *done = ask(r, "EXEC");
    CHECK_REPLY(done->type == REDIS_REPLY_ARRAY && done->elements == 4, done);
    CHECK_REPLY(done->element[1]->integer == 1 && done->element[3]->integer == 1, done);
    CHECK_REPLY(is_error(done->element[2], "equal or smaller"), done->element[2]);
    strcpy(bill[0], done->element[0]->str);
    freeReplyObject(done);
    EXPECT_RANGE(1, bill, ask(r, "XRANGE %s - +", bills));
    EXPECT_PENDING(0, r, orders);

    redisContext *other = connect_to_server();
    EXPECT_TEXT("OK", ask(r, "WATCH %s", bills));
    freeReplyObject(ask(other, "XADD %s * bill other", bills));
    redisFree(other);
    EXPECT_TEXT("OK", ask(r, "MULTI"));
    EXPECT_TEXT("QUEUED", ask(r, "XADD %s * bill mine", bills));
    EXPECT_NOTHING(ask(r, "EXEC"));
    EXPECT_TEXT("OK", ask(r, "MULTI"));
    EXPECT_TEXT("QUEUED", ask(r, "XADD %s * bill discarded", bills));
    EXPECT_TEXT("OK", ask(r, "DISCARD"));
    EXPECT_INTEGER(2, ask(r, "XLEN %s", bills));
}

static void check_helpers(redisContext *r) {
    const char *key = key_named("helped");
    char ids[6][ID_BYTES];
    add(r, key, 6, ids);
    EXPECT_TEXT("OK", ask(r, "XGROUP CREATE %s g 0", key));
    EXPECT_ENTRIES(4, ids, ask(r, "XREADGROUP GROUP g worker COUNT 4 STREAMS %s >", key));
    redisReply *info = ask(r, "XINFO STREAM %s", key);
    CHECK_REPLY(info->type == (protocol == 3 ? REDIS_REPLY_MAP : REDIS_REPLY_ARRAY), info);
    CHECK(field(info, "length")->integer == 6 && field(info, "groups")->integer == 1);
    CHECK(is(field(info, "last-generated-id"), ids[5]));
    freeReplyObject(info);
    redisReply *groups = ask(r, "XINFO GROUPS %s", key);
    const redisReply *group = groups->element[0];
    CHECK(is(field(group, "name"), "g") && is(field(group, "last-delivered-id"), ids[3]));
    CHECK(field(group, "pending")->integer == 4 && field(group, "lag")->integer == 2);
    freeReplyObject(groups);
    EXPECT_INTEGER(1, ask(r, "XDEL %s %s 1-1", key, ids[5]));
    EXPECT_INTEGER(2, ask(r, "XTRIM %s MAXLEN 3", key));
    EXPECT_INTEGER(4, ask(r, "XGROUP DELCONSUMER %s g worker", key));
    EXPECT_INTEGER(1, ask(r, "XGROUP DESTROY %s g", key));
    EXPECT_INTEGER(1, ask(r, "DEL %s", key));
}

/* What Redis 8.2 to 8.8 brought. */
static void check_newer(redisContext *r) {
    const char *key = key_named("newer");
    char ids[3][ID_BYTES];
    EXPECT_TEXT("OK", ask(r, "XGROUP CREATE %s g 0 MKSTREAM", key));
    take_id(ids[0], ask(r, "XADD %s IDMP producer 1 * n 0", key));
    EXPECT_TEXT(ids[0], ask(r, "XADD %s IDMP producer 1 * n 0", key));
    add(r, key, 2, ids + 1);
    EXPECT_ENTRIES(3, ids, ask(r, "XREADGROUP GROUP g worker STREAMS %s >", key));
    EXPECT_INTEGER(1, ask(r, "XNACK %s g FAIL IDS 1 %s", key, ids[0]));
    redisReply *claimed = ask(r, "XREADGROUP GROUP g rescuer COUNT 1 CLAIM 3600000 STREAMS %s >", key);
    check_ids(entries(claimed), 1, ids);
    const redisReply *entry = entries(claimed)->element[0];
    CHECK_REPLY(entry->elements == 4 && entry->element[3]->integer == 1, entry);
    freeReplyObject(claimed);
    redisReply *codes = ask(r, "XACKDEL %s g IDS 2 %s 9-9", key, ids[0]);
    CHECK_REPLY(codes->elements == 2 && codes->element[0]->integer == 1 && codes->element[1]->integer == -1, codes);
    freeReplyObject(codes);
    codes = ask(r, "XDELEX %s ACKED IDS 1 %s", key, ids[1]);
    CHECK_REPLY(codes->elements == 1 && codes->element[0]->integer == 2, codes);
    freeReplyObject(codes);
    codes = ask(r, "XDELEX %s DELREF IDS 1 %s", key, ids[1]);
    CHECK_REPLY(codes->elements == 1 && codes->element[0]->integer == 1, codes);
    freeReplyObject(codes);
    EXPECT_INTEGER(1, ask(r, "XLEN %s", key));
    EXPECT_PENDING(1, r, key);
}

static void check_reconnect(redisContext *r) {
    const char *key = key_named("again");
    char ids[3][ID_BYTES], line[16];
    EXPECT_TEXT("OK", ask(r, "XGROUP CREATE %s g 0 MKSTREAM", key));
    add(r, key, 3, ids);
    EXPECT_ENTRIES(2, ids, ask(r, "XREADGROUP GROUP g worker COUNT 2 STREAMS %s >", key));
    EXPECT_INTEGER(1, ask(r, "XACK %s g %s", key, ids[0]));
    puts("restart");
    CHECK(fgets(line, sizeof line, stdin) && strcmp(line, "ready\n") == 0);
    /* hiredis connects again when it is told to. */
    CHECK(redisCommand(r, "PING") == NULL && r->err);
    CHECK(redisReconnect(r) == REDIS_OK);
    if (protocol == 3)
        freeReplyObject(ask(r, "HELLO 3"));
    EXPECT_RANGE(3, ids, ask(r, "XRANGE %s - +", key));
    EXPECT_ENTRIES(1, ids + 1, ask(r, "XREADGROUP GROUP g worker STREAMS %s 0", key));
    EXPECT_ENTRIES(1, ids + 2, ask(r, "XREADGROUP GROUP g worker STREAMS %s >", key));
    EXPECT_INTEGER(2, ask(r, "XACK %s g %s %s %s", key, ids[0], ids[1], ids[2]));
    EXPECT_PENDING(0, r, key);
}

static const struct {
    const char *name;
    void (*check)(redisContext *);
} STEPS[] = {
    {"connect", check_connect},
    {"produce", check_produce},
    {"block-read", check_block_read},
    {"group", check_group},
    {"claim", check_claim},
    {"pipeline", check_pipeline},
    {"transaction", check_transaction},
    {"helpers", check_helpers},
    {"newer", check_newer},
    {"reconnect", check_reconnect},
};

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    port = atoi(argv[1]);
    protocol = atoi(argv[2]);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    redisContext *r = connect_to_server();
    for (size_t n = 0; n < sizeof STEPS / sizeof *STEPS; n++) {
        STEPS[n].check(r);
        printf("%s: ok\n", STEPS[n].name);
    }
    redisFree(r);
    return 0;
}
