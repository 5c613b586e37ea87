// go-redis: the scenario of tests/clients/README.md.
//
// usage: client PORT PROTOCOL
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const timeout = 30 * time.Second

var (
	ctx      = context.Background()
	address  string
	protocol int
	stdin    = bufio.NewReader(os.Stdin)
)

// RESP3 is what the client speaks unless told otherwise.
func connect(name string) *redis.Client {
	options := &redis.Options{Addr: address, ClientName: name, ReadTimeout: 2 * timeout}
	if protocol == 2 {
		options.Protocol = 2
	}
	return redis.NewClient(options)
}

func fail(format string, args ...any) {
	_, _, line, _ := runtime.Caller(2)
	fmt.Fprintf(os.Stderr, "main.go:%d: %s\n", line, fmt.Sprintf(format, args...))
	os.Exit(1)
}

func equal(found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		fail("found %#v, expected %#v", found, expected)
	}
}

// must returns the value of a command that may not fail.
func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func refused(err error, part string) {
	if err == nil || !strings.Contains(err.Error(), part) {
		fail("found %v, expected an error: %s", err, part)
	}
}

// nothing checks that a read found nothing.
func nothing(streams []redis.XStream, err error) {
	if !errors.Is(err, redis.Nil) {
		fail("found %v, %v, expected nothing", streams, err)
	}
}

func key(name string) string {
	return fmt.Sprintf("go-redis:%d:%s", protocol, name)
}

func add(r *redis.Client, key string, count int) []string {
	var made []string
	for n := range count {
		made = append(made, must(r.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []any{"n", n}}).Result()))
	}
	return made
}

func ids(messages []redis.XMessage) []string {
	found := []string{}
	for _, message := range messages {
		found = append(found, message.ID)
	}
	return found
}

// messages returns those of the one stream in a reply.
func messages(streams []redis.XStream, err error) []redis.XMessage {
	equal(err, nil)
	equal(len(streams), 1)
	return streams[0].Messages
}

// readGroup does not block: to the client, a negative Block is none.
func readGroup(r *redis.Client, key, consumer, id string, count int64) ([]redis.XStream, error) {
	args := &redis.XReadGroupArgs{Group: "g", Consumer: consumer, Streams: []string{key, id}, Count: count, Block: -1}
	return r.XReadGroup(ctx, args).Result()
}

func waitUntilBlocked(r *redis.Client, name string) {
	for until := time.Now().Add(timeout); ; time.Sleep(2 * time.Millisecond) {
		for line := range strings.Lines(must(r.ClientList(ctx).Result())) {
			_, flags, _ := strings.Cut(line, " flags=")
			flags, _, _ = strings.Cut(flags, " ")
			if strings.Contains(line, " name="+name+" ") && strings.Contains(flags, "b") {
				return
			}
		}
		if time.Now().After(until) {
			fail("not in time: %s blocks", name)
		}
	}
}

// served returns what call finds on a connection of its own that is blocked when write is carried out.
func served(r *redis.Client, name string, call func(*redis.Client) ([]redis.XStream, error), write func() string) {
	found := make(chan []redis.XMessage)
	go func() {
		own := connect(name)
		defer own.Close()
		found <- messages(call(own))
	}()
	waitUntilBlocked(r, name)
	id := write()
	equal(ids(<-found), []string{id})
}

func checkConnect(r *redis.Client) {
	equal(must(r.Ping(ctx).Result()), "PONG")
	own := must(r.ClientInfo(ctx).Result())
	equal(own.Resp, protocol)
	equal(strings.HasPrefix(own.LibName, "go-redis"), true)
}

func checkProduce(r *redis.Client) {
	key := key("events")
	binary := make([]byte, 256)
	for n := range binary {
		binary[n] = byte(n)
	}
	made := add(r, key, 5)
	values := []any{"bin", binary, "", "", "json", `{"total": 99.5}`}
	made = append(made, must(r.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: values}).Result()))
	equal(must(r.XLen(ctx, key).Result()), int64(6))
	found := must(r.XRange(ctx, key, "-", "+").Result())
	equal(ids(found), made)
	for n, message := range found[:5] {
		equal(message.Values, map[string]any{"n": strconv.Itoa(n)})
	}
	equal(found[5].Values, map[string]any{"bin": string(binary), "": "", "json": `{"total": 99.5}`})
	equal(ids(must(r.XRevRangeN(ctx, key, "+", "-", 2).Result())), []string{made[5], made[4]})
	args := &redis.XReadArgs{Streams: []string{key, made[0]}, Count: 2, Block: -1}
	equal(ids(messages(r.XRead(ctx, args).Result())), made[1:3])
	refused(r.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: "1-1", Values: []any{"f", "v"}}).Err(), "equal or smaller")
}

func checkBlockRead(r *redis.Client) {
	stream := key("blocked")
	add(r, stream, 3)
	wait := func(own *redis.Client) ([]redis.XStream, error) {
		return own.XRead(ctx, &redis.XReadArgs{Streams: []string{stream, "$"}, Block: timeout}).Result()
	}
	served(r, key("reader"), wait, func() string { return add(r, stream, 1)[0] })
	args := &redis.XReadArgs{Streams: []string{stream, "$"}, Block: 5 * time.Millisecond}
	nothing(r.XRead(ctx, args).Result())
}

func checkGroup(r *redis.Client) {
	stream := key("work")
	equal(must(r.XGroupCreateMkStream(ctx, stream, "g", "0").Result()), "OK")
	refused(r.XGroupCreate(ctx, stream, "g", "0").Err(), "BUSYGROUP")
	made := add(r, stream, 4)
	equal(ids(messages(readGroup(r, stream, "alice", ">", 2))), made[:2])
	equal(ids(messages(readGroup(r, stream, "bob", ">", 10))), made[2:])
	nothing(readGroup(r, stream, "alice", ">", 0))
	equal(must(r.XAck(ctx, stream, "g", made[:2]...).Result()), int64(2))
	equal(must(r.XAck(ctx, stream, "g", made[:2]...).Result()), int64(0))
	equal(ids(messages(readGroup(r, stream, "bob", "0", 0))), made[2:])
	equal(ids(messages(readGroup(r, stream, "alice", "0", 0))), []string{})
	wait := func(own *redis.Client) ([]redis.XStream, error) {
		args := &redis.XReadGroupArgs{Group: "g", Consumer: "alice", Streams: []string{stream, ">"}, Block: timeout}
		return own.XReadGroup(ctx, args).Result()
	}
	served(r, key("alice"), wait, func() string {
		made = append(made, add(r, stream, 1)...)
		return made[4]
	})
	equal(must(r.XAck(ctx, stream, "g", made[2:]...).Result()), int64(3))
	equal(must(r.XPending(ctx, stream, "g").Result()).Count, int64(0))
	args := &redis.XReadGroupArgs{Group: "none", Consumer: "alice", Streams: []string{stream, ">"}}
	refused(r.XReadGroup(ctx, args).Err(), "NOGROUP")
}

func checkClaim(r *redis.Client) {
	stream := key("claimed")
	must(r.XGroupCreateMkStream(ctx, stream, "g", "0").Result())
	made := add(r, stream, 4)
	doomed := connect("")
	equal(ids(messages(readGroup(doomed, stream, "doomed", ">", 3))), made[:3])
	doomed.Close()

	summary := must(r.XPending(ctx, stream, "g").Result())
	expected := redis.XPending{Count: 3, Lower: made[0], Higher: made[2], Consumers: map[string]int64{"doomed": 3}}
	equal(*summary, expected)
	all := redis.XPendingExtArgs{Stream: stream, Group: "g", Start: "-", End: "+", Count: 10}
	for n, pending := range must(r.XPendingExt(ctx, &all).Result()) {
		equal([]any{pending.ID, pending.Consumer, pending.RetryCount}, []any{made[n], "doomed", int64(1)})
	}
	idle := all
	idle.Idle = time.Hour
	equal(len(must(r.XPendingExt(ctx, &idle).Result())), 0)

	auto := &redis.XAutoClaimArgs{Stream: stream, Group: "g", Consumer: "rescuer", Start: "0-0", Count: 2}
	claimed, cursor, err := r.XAutoClaim(ctx, auto).Result()
	equal(err, nil)
	equal([]any{ids(claimed), cursor}, []any{made[:2], made[2]})
	third := redis.XClaimArgs{Stream: stream, Group: "g", Consumer: "rescuer", Messages: made[2:3]}
	fresh := third
	fresh.MinIdle = time.Hour
	equal(len(must(r.XClaim(ctx, &fresh).Result())), 0)
	equal(must(r.XClaimJustID(ctx, &third).Result()), made[2:3])
	equal(ids(must(r.XClaim(ctx, &third).Result())), made[2:3])
	rescued := all
	rescued.Consumer = "rescuer"
	counts := []int64{}
	for _, pending := range must(r.XPendingExt(ctx, &rescued).Result()) {
		counts = append(counts, pending.RetryCount)
	}
	equal(counts, []int64{2, 2, 2})
	equal(must(r.XAck(ctx, stream, "g", made[:3]...).Result()), int64(3))
	equal(ids(messages(readGroup(r, stream, "rescuer", ">", 0))), made[3:])
	equal(must(r.XAck(ctx, stream, "g", made[3]).Result()), int64(1))
	equal(must(r.XPending(ctx, stream, "g").Result()).Count, int64(0))
}

func checkPipeline(r *redis.Client) {
	stream := key("pipe")
	pipe := r.Pipeline()
	var adds []*redis.StringCmd
	for n := range 200 {
		adds = append(adds, pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []any{"n", n}}))
	}
	length := pipe.XLen(ctx, stream)
	bad := pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, ID: "1-1", Values: []any{"n", "refused"}})
	first := pipe.XRangeN(ctx, stream, "-", "+", 1)
	_, err := pipe.Exec(ctx)
	refused(err, "equal or smaller")
	refused(bad.Err(), "equal or smaller")
	var made []string
	for _, add := range adds {
		made = append(made, must(add.Result()))
	}
	equal(length.Val(), int64(200))
	equal(ids(first.Val()), made[:1])
	found := must(r.XRange(ctx, stream, "-", "+").Result())
	equal(ids(found), made)
	for n, message := range found {
		equal(message.Values, map[string]any{"n": strconv.Itoa(n)})
	}
}

func checkTransaction(r *redis.Client) {
	orders, bills := key("orders"), key("bills")
	bill := func(name any) *redis.XAddArgs { return &redis.XAddArgs{Stream: bills, Values: []any{"bill", name}} }
	must(r.XGroupCreateMkStream(ctx, orders, "g", "0").Result())
	add(r, orders, 1)
	order := messages(readGroup(r, orders, "biller", ">", 0))[0]
	var made *redis.StringCmd
	var acked, length *redis.IntCmd
	must(r.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		made = pipe.XAdd(ctx, bill(order.Values["n"]))
		acked = pipe.XAck(ctx, orders, "g", order.ID)
		length = pipe.XLen(ctx, bills)
		return nil
	}))
	equal([]int64{acked.Val(), length.Val()}, []int64{1, 1})
	equal(ids(must(r.XRange(ctx, bills, "-", "+").Result())), []string{made.Val()})
	equal(must(r.XPending(ctx, orders, "g").Result()).Count, int64(0))

	// A command that fails does not keep the others from being carried out.
	late := bill("late")
	late.ID = "1-1"
	_, err := r.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.XAdd(ctx, late)
		length = pipe.XLen(ctx, bills)
		return nil
	})
	refused(err, "equal or smaller")
	equal(length.Val(), int64(1))

	err = r.Watch(ctx, func(tx *redis.Tx) error {
		must(r.XAdd(ctx, bill("other")).Result())
		_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.XAdd(ctx, bill("mine"))
			return nil
		})
		return err
	}, bills)
	equal(errors.Is(err, redis.TxFailedErr), true)
	equal(must(r.XLen(ctx, bills).Result()), int64(2))

	one := r.Conn()
	defer one.Close()
	equal(must(one.Do(ctx, "MULTI").Result()), any("OK"))
	equal(must(one.Do(ctx, "XADD", bills, "*", "bill", "discarded").Result()), any("QUEUED"))
	equal(must(one.Do(ctx, "DISCARD").Result()), any("OK"))
	equal(must(one.XLen(ctx, bills).Result()), int64(2))
}

func checkHelpers(r *redis.Client) {
	stream := key("helped")
	made := add(r, stream, 6)
	must(r.XGroupCreate(ctx, stream, "g", "0").Result())
	must(r.XGroupCreateConsumer(ctx, stream, "g", "idler").Result())
	messages(readGroup(r, stream, "worker", ">", 4))
	must(r.XAck(ctx, stream, "g", made[0]).Result())
	info := must(r.XInfoStream(ctx, stream).Result())
	equal([]any{info.Length, info.Groups, info.LastGeneratedID}, []any{int64(6), int64(1), made[5]})
	equal([]string{info.FirstEntry.ID, info.LastEntry.ID}, []string{made[0], made[5]})
	group := must(r.XInfoGroups(ctx, stream).Result())[0]
	found := []any{group.Name, group.Consumers, group.Pending, group.LastDeliveredID, group.EntriesRead, group.Lag}
	equal(found, []any{"g", int64(2), int64(3), made[3], int64(4), int64(2)})
	consumers := must(r.XInfoConsumers(ctx, stream, "g").Result())
	sort.Slice(consumers, func(a, b int) bool { return consumers[a].Name < consumers[b].Name })
	equal([]any{consumers[0].Name, consumers[0].Pending, consumers[0].Inactive}, []any{"idler", int64(0), -time.Millisecond})
	equal([]any{consumers[1].Name, consumers[1].Pending}, []any{"worker", int64(3)})
	full := must(r.XInfoStreamFull(ctx, stream, 10).Result())
	equal([]any{full.Length, len(full.Entries), len(full.Groups)}, []any{int64(6), 6, 1})
	equal([]any{full.Groups[0].PelCount, len(full.Groups[0].Pending)}, []any{int64(3), 3})
	equal(must(r.XDel(ctx, stream, made[5], "1-1").Result()), int64(1))
	equal(must(r.XTrimMaxLen(ctx, stream, 3).Result()), int64(2))
	equal(must(r.XGroupSetID(ctx, stream, "g", "$").Result()), "OK")
	equal(must(r.XGroupDelConsumer(ctx, stream, "g", "worker").Result()), int64(3))
	equal(must(r.XGroupDestroy(ctx, stream, "g").Result()), int64(1))
	equal(must(r.Expire(ctx, stream, 1000*time.Second).Result()), true)
	equal(must(r.TTL(ctx, stream).Result()) >= 999*time.Second, true)
	equal(must(r.Persist(ctx, stream).Result()), true)
	keys := r.Scan(ctx, 0, key("help*"), 10).Iterator()
	equal([]any{keys.Next(ctx), keys.Val(), keys.Next(ctx)}, []any{true, stream, false})
	equal(must(r.Del(ctx, stream).Result()), int64(1))
}

// checkNewer uses what Redis 8.2 to 8.8 brought.
func checkNewer(r *redis.Client) {
	stream := key("newer")
	must(r.XGroupCreateMkStream(ctx, stream, "g", "0").Result())
	once := &redis.XAddArgs{Stream: stream, ProducerID: "producer", IdempotentID: "1", Values: []any{"n", 0}}
	made := []string{must(r.XAdd(ctx, once).Result())}
	equal(must(r.XAdd(ctx, once).Result()), made[0])
	made = append(made, add(r, stream, 2)...)
	equal(ids(messages(readGroup(r, stream, "worker", ">", 0))), made)
	nack := &redis.XNackArgs{Stream: stream, Group: "g", Mode: redis.XNackModeFail, IDs: made[:1]}
	equal(must(r.XNack(ctx, nack).Result()), int64(1))
	args := &redis.XReadGroupArgs{
		Group: "g", Consumer: "rescuer", Streams: []string{stream, ">"}, Count: 1, Block: -1, Claim: time.Hour,
	}
	claimed := messages(r.XReadGroup(ctx, args).Result())
	equal(ids(claimed), made[:1])
	equal(claimed[0].DeliveredCount, int64(1))
	equal(must(r.XAckDel(ctx, stream, "g", "KEEPREF", made[0]).Result()), []any{int64(1)})
	equal(must(r.XDelEx(ctx, stream, "ACKED", made[1]).Result()), []any{int64(2)})
	equal(must(r.XDelEx(ctx, stream, "DELREF", made[1]).Result()), []any{int64(1)})
	equal(must(r.XLen(ctx, stream).Result()), int64(1))
	equal(must(r.XPending(ctx, stream, "g").Result()).Count, int64(1))
}

func checkReconnect(r *redis.Client) {
	stream := key("again")
	must(r.XGroupCreateMkStream(ctx, stream, "g", "0").Result())
	made := add(r, stream, 3)
	equal(ids(messages(readGroup(r, stream, "worker", ">", 2))), made[:2])
	equal(must(r.XAck(ctx, stream, "g", made[0]).Result()), int64(1))
	fmt.Println("restart")
	equal(must(stdin.ReadString('\n')), "ready\n")
	equal(ids(must(r.XRange(ctx, stream, "-", "+").Result())), made)
	equal(ids(messages(readGroup(r, stream, "worker", "0", 0))), made[1:2])
	equal(ids(messages(readGroup(r, stream, "worker", ">", 0))), made[2:])
	equal(must(r.XAck(ctx, stream, "g", made...).Result()), int64(2))
	equal(must(r.XPending(ctx, stream, "g").Result()).Count, int64(0))
	made = append(made, add(r, stream, 1)...)
	equal(ids(must(r.XRange(ctx, stream, "-", "+").Result())), made)
}

var steps = []struct {
	name  string
	check func(*redis.Client)
}{
	{"connect", checkConnect},
	{"produce", checkProduce},
	{"block-read", checkBlockRead},
	{"group", checkGroup},
	{"claim", checkClaim},
	{"pipeline", checkPipeline},
	{"transaction", checkTransaction},
	{"helpers", checkHelpers},
	{"newer", checkNewer},
	{"reconnect", checkReconnect},
}

func main() {
	address = "127.0.0.1:" + os.Args[1]
	protocol = must(strconv.Atoi(os.Args[2]))
	r := connect("")
	defer r.Close()
	for _, step := range steps {
		step.check(r)
		fmt.Println(step.name + ": ok")
	}
}
