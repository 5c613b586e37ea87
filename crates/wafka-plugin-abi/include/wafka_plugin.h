/*
 * Wafka's plugin ABI, version 1.1, for plugins in C and everything that speaks C.
 *
 * A plugin is a shared library that exports wafka_plugin_manifest (at the end of this file). docs/plugin-abi.md explains the
 * whole; plugins/partitioner-c is an example. A test compares this file with the Rust side, field by field.
 *
 * Rules for both sides:
 *
 * - Borrowed. What a pointer among the arguments points to is valid until the call returns, and not longer; whoever
 *   needs it longer copies it. What a manifest points to is valid, and unchanged, for ever: libraries are never unloaded.
 * - No allocation crosses. Results go into structs and buffers of the caller, or to a sink, a function of the caller that
 *   copies what it is given. A handle (void *) is made by the plugin, opaque to the host, and released by the plugin's
 *   function that is for it, once.
 * - Growing. A struct that may grow begins with struct_size, the size its maker knows it to have, and only ever grows at its
 *   end. Nobody reads or writes past it: a field behind it is absent, which means its default.
 * - Threads. Each table of functions says which of them may run at once. None of them may unwind: no exception of C++ and no
 *   longjmp may leave a function.
 * - Status. Functions that can fail return a WAFKA_STATUS_*; what there is to say goes into a wafka_error_out.
 */
#ifndef WAFKA_PLUGIN_H
#define WAFKA_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The first eight bytes of a manifest: WAFKAPLG, read as a little-endian number. */
#define WAFKA_MAGIC UINT64_C(0x474c50414b464157)
/* Another major is another ABI, and is refused. */
#define WAFKA_ABI_MAJOR 1
/* A higher minor has more at the end of its structs, and each side uses what both know. */
#define WAFKA_ABI_MINOR 1

/* What a plugin is. */
#define WAFKA_KIND_PARTITIONER 1
#define WAFKA_KIND_STORAGE 2

/* What a function returns. A code that the caller does not know counts as WAFKA_STATUS_FAILED. */
/* It is done. */
#define WAFKA_STATUS_OK 0
/* It failed; the text says why. */
#define WAFKA_STATUS_FAILED 1
/* It panicked. The handle it was called with is poisoned: the host releases it and calls nothing else with it. */
#define WAFKA_STATUS_PANICKED 2
/* An option is missing, unknown or has a bad value. The text is the option's key, a NUL, and what was expected. */
#define WAFKA_STATUS_BAD_OPTION 3
/* The operating system, or the engine behind a backend, refused: os_error is its errno, or 0. */
#define WAFKA_STATUS_IO 4
/* The log does not exist. */
#define WAFKA_STATUS_NOT_FOUND 5
/* The log exists although it must not. */
#define WAFKA_STATUS_EXISTS 6
/* A batch does not follow the log's end: value is where the log ends. */
#define WAFKA_STATUS_FENCED 7
/* An earlier failure made the log refuse writes; the text is that failure's. */
#define WAFKA_STATUS_POISONED 8
/* The log's content contradicts what must hold: value is the byte position. */
#define WAFKA_STATUS_DAMAGED 9
/* The backend cannot do this. */
#define WAFKA_STATUS_UNSUPPORTED 10
/* Only by read_ready: the lines are there, but not without waiting for a disk or a network. */
#define WAFKA_STATUS_NOT_READY 11
/* This server does not own the data, or does no more; the text says who does instead. */
#define WAFKA_STATUS_NOT_OWNER 12

/* What a strategy's route returns, when it is no partition's index. */
/* No preference: the topic goes round-robin, past partitions that are offline. */
#define WAFKA_ROUTE_ANY (-1)
/* The event lacks what the strategy routes by: as WAFKA_ROUTE_ANY, and the topic counts it. */
#define WAFKA_ROUTE_UNKEYED (-2)
/* The strategy failed; the error's text says why. The event is refused. */
#define WAFKA_ROUTE_FAILED (-3)
/* The strategy panicked. The instance is poisoned: it routes no more. */
#define WAFKA_ROUTE_PANICKED (-4)

/* Whose the lease is. */
/* The server's that asked. */
#define WAFKA_LEASE_OURS 1
/* Another's. */
#define WAFKA_LEASE_OTHERS 2

/* How important a line of the log is: something failed; something is not as it should be; what an operator wants to
   know; what somebody who looks for a fault wants to know; everything. */
#define WAFKA_LEVEL_ERROR 1
#define WAFKA_LEVEL_WARN 2
#define WAFKA_LEVEL_INFO 3
#define WAFKA_LEVEL_DEBUG 4
#define WAFKA_LEVEL_TRACE 5

/* What catch_up puts into due_in_nanos when nothing is put off. */
#define WAFKA_NOTHING_DUE UINT64_MAX

/* Bytes that somebody else owns, borrowed for the duration of a call unless it says otherwise. Text is UTF-8
   without a terminating NUL. */
typedef struct wafka_bytes {
    /* The first byte; may be anything, null too, when len is 0. */
    const uint8_t *ptr;
    /* How many bytes there are. */
    size_t len;
} wafka_bytes;

/* Where a function puts what there is to say about its failure. It lies in the host's memory and is all zeros
   but for struct_size, text and text_capacity; a plugin changes the others, and writes to it only when
   it fails. The memory that text points to may hold anything. */
typedef struct wafka_error_out {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* The operating system's error number, with WAFKA_STATUS_IO; 0 when there is none. */
    int32_t os_error;
    /* With WAFKA_STATUS_FENCED the log's end, with WAFKA_STATUS_DAMAGED the byte position. */
    uint64_t value;
    /* Where to put the text, UTF-8. */
    uint8_t *text;
    /* How many bytes fit there; what does not fit is cut. */
    size_t text_capacity;
    /* How many bytes the plugin put there. */
    size_t text_len;
} wafka_error_out;

/* What an instance is made for. */
typedef struct wafka_partitioner_config {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* How many partitions the topic has, at least 1. It never changes during a topic's life. */
    uint32_t partitions;
    /* The topic's name, any bytes. */
    wafka_bytes topic;
    /* The options: a JSON object without insignificant blanks, of the keys in the topic's table that the topic itself does not know. */
    wafka_bytes options;
} wafka_partitioner_config;

/* A field of an event and its value, any bytes. */
typedef struct wafka_field {
    /* The field's name. */
    wafka_bytes name;
    /* Its value. */
    wafka_bytes value;
} wafka_field;

/* An event to be routed. */
typedef struct wafka_route_request {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* How many partitions the topic has, as told to create. */
    uint32_t partitions;
    /* The topic's name, as told to create. */
    wafka_bytes topic;
    /* The event's fields in the producer's order; names may repeat. */
    const wafka_field *fields;
    /* How many fields there are. */
    size_t field_count;
    /* The 0-based index of the partition that the topic's last event without a preference (WAFKA_ROUTE_ANY,
       WAFKA_ROUTE_UNKEYED) went to, while the batch it went into is open: what goes there now is committed with
       it. -1 when its broker has taken that batch, when the batch is full, when the partition failed, and
       before there was any. */
    int32_t open_partition;
    /* Zero. */
    uint32_t reserved;
} wafka_route_request;

/* The functions of a strategy. An instance is made for each topic that uses the strategy, and used by one
   thread at a time, each time perhaps another; different instances are used at once. */
typedef struct wafka_partitioner_vtable {
    /* The size of this struct as the plugin knows it. */
    uint32_t struct_size;
    /* Changes whenever the strategy would route the same event elsewhere. A topic that was created under
       another version is read-only, never silently re-partitioned. */
    uint32_t route_version;
    /* Makes an instance and puts it into instance, where null is as good as any other value. Returns a
       status. */
    uint32_t (*create)(const wafka_partitioner_config *config, void **instance, wafka_error_out *error);
    /* Chooses the partition: its 0-based index, below the request's partitions, or one of WAFKA_ROUTE_*. It is
       called for every event on a thread that serves connections: it must not block, and takes some dozens of
       nanoseconds at best. */
    int32_t (*route)(void *instance, const wafka_route_request *request, wafka_error_out *error);
    /* Releases an instance. Nothing else is called with it afterwards. */
    void (*destroy)(void *instance);
} wafka_partitioner_vtable;

/* Names a log. */
typedef struct wafka_log_name {
    /* The database it belongs to. */
    uint32_t database;
    /* Zero. */
    uint32_t reserved;
    /* Such as deliveries-1: ASCII, safe for a file name, at most 255 bytes. */
    wafka_bytes stem;
} wafka_log_name;

/* A place in a log. */
typedef struct wafka_cursor {
    /* The line's offset. */
    uint64_t offset;
    /* The byte position of the line's first byte, in a backend that keeps a log as one run of bytes; else 0.
       */
    uint64_t position;
    /* The rewrite of the log that position belongs to; 0 = the position is unknown. */
    uint32_t generation;
    /* Zero. */
    uint32_t reserved;
} wafka_cursor;

/* A run of lines to append. */
typedef struct wafka_batch {
    /* The offset of the first line; the others follow densely. It must be the log's end. */
    uint64_t first_offset;
    /* How many lines there are, at least 1. */
    uint64_t lines;
    /* The lines, each ending in a newline. */
    wafka_bytes bytes;
} wafka_batch;

/* What became of a batch. */
typedef struct wafka_appended {
    /* Where its first line lies. */
    wafka_cursor start;
    /* Where the log ends now: the offset the next line gets. */
    uint64_t end_offset;
} wafka_appended;

/* What a backend is opened with. */
typedef struct wafka_storage_config {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* Zero. */
    uint32_t reserved;
    /* The server's data directory, a path in the file system's own bytes. */
    wafka_bytes data_dir;
    /* The options: a JSON object without insignificant blanks, the backend's table in the configuration. */
    wafka_bytes options;
} wafka_storage_config;

/* How to open a log. */
typedef struct wafka_open_request {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* 1: create the log, durably, when it does not exist. 0: a missing log is an error. */
    uint32_t create;
    /* 1: known is a line that is known to be whole and synced, so that only what follows is verified. */
    uint32_t has_known;
    /* Zero. */
    uint32_t reserved;
    /* That line; its generation is to be ignored. */
    wafka_cursor known;
} wafka_open_request;

/* An opened log. It lies in the host's memory, all zeros but for struct_size. */
typedef struct wafka_opened {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* The slot that the log has in its shard from now on; no other open log of the shard has it. */
    uint32_t slot;
    /* A handle to read with, to be released by reader_release. */
    void *reader;
    /* The first line there is; equal to end when the log is empty. */
    wafka_cursor first;
    /* Where the next line goes. */
    wafka_cursor end;
    /* Where the log ends after a torn tail was cut off, in bytes. */
    uint64_t torn_position;
    /* How many bytes were cut; 0: there was no torn tail. */
    uint64_t torn_bytes;
    /* How many lines there are from first to end, exactly, when knows_lines is 1. */
    uint64_t lines;
    /* 1: the backend knows how many lines there are without going through them, and finds single ones by their offsets
       fast, so that the log is opened without being read. 0: it is read once where no index of it is there. */
    uint32_t knows_lines;
    /* Zero. */
    uint32_t reserved;
} wafka_opened;

/* The lines that a read gave. */
typedef struct wafka_chunk {
    /* Where the first of them lies. */
    wafka_cursor start;
    /* Where to read on. */
    wafka_cursor next;
} wafka_chunk;

/* What a rewrite leaves out. */
typedef struct wafka_rewrite_plan {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* Zero. */
    uint32_t reserved;
    /* Every line below this offset goes. */
    uint64_t drop_below;
    /* Single offsets that go, ascending. */
    const uint64_t *drop;
    /* How many of them there are. */
    size_t drop_count;
} wafka_rewrite_plan;

/* A rewrite that has taken its place. It lies in the host's memory, all zeros but for struct_size. */
typedef struct wafka_rewritten {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* Zero. */
    uint32_t reserved;
    /* The first line there is now. */
    wafka_cursor first;
    /* Where the next line goes. */
    wafka_cursor end;
    /* Bytes given back. */
    uint64_t bytes_freed;
} wafka_rewritten;

/* A log that failed, and why. */
typedef struct wafka_log_failure {
    /* The log's slot. */
    uint32_t slot;
    /* One of WAFKA_STATUS_*. */
    uint32_t status;
    /* As in wafka_error_out. */
    uint64_t value;
    /* As in wafka_error_out. */
    int32_t os_error;
    /* Zero. */
    uint32_t reserved;
    /* Why it failed, UTF-8. */
    wafka_bytes text;
} wafka_log_failure;

/* Takes names of logs. */
typedef struct wafka_name_sink {
    /* To be given to the function as it is. */
    void *ctx;
    /* Takes one name. */
    void (*put)(void *ctx, const wafka_log_name *name);
} wafka_name_sink;

/* Takes damage found in a log. */
typedef struct wafka_damage_sink {
    /* To be given to the function as it is. */
    void *ctx;
    /* Takes the byte position of the first bad byte, how many there are, and what is wrong with them. */
    void (*put)(void *ctx, uint64_t position, uint64_t bytes, wafka_bytes reason);
} wafka_damage_sink;

/* Takes logs that failed. */
typedef struct wafka_failure_sink {
    /* To be given to the function as it is. */
    void *ctx;
    /* Takes one log. */
    void (*put)(void *ctx, const wafka_log_failure *failure);
} wafka_failure_sink;

/* Takes lines that a rewrite kept. */
typedef struct wafka_kept_sink {
    /* To be given to the function as it is. */
    void *ctx;
    /* Takes where the line lies from now on, and the line with its newline. */
    void (*put)(void *ctx, const wafka_cursor *cursor, wafka_bytes line);
} wafka_kept_sink;

/* Takes lines that were read. */
typedef struct wafka_byte_sink {
    /* To be given to the function as it is. */
    void *ctx;
    /* Takes the next bytes; returns 0, or 1 when they are more than was asked for: the plugin then stops. */
    uint32_t (*put)(void *ctx, wafka_bytes bytes);
} wafka_byte_sink;

/* A server, as others are told of it. */
typedef struct wafka_owner {
    /* Tells this run of the server from all others, itself restarted included: UTF-8 without control
       characters, 1 to 256 bytes. */
    wafka_bytes id;
    /* Where clients reach it, as host:port: UTF-8 without control characters, at most 256 bytes. */
    wafka_bytes address;
} wafka_owner;

/* What came of asking for the lease. It lies in the host's memory, all zeros but for struct_size. */
typedef struct wafka_lease {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* One of WAFKA_LEASE_*. */
    uint32_t state;
    /* With WAFKA_LEASE_OURS the lease's epoch: greater than that of every owner before. */
    uint64_t epoch;
    /* With WAFKA_LEASE_OURS how long it holds from the moment before it was asked for, unless it is renewed:
       100 ms to an hour. */
    uint64_t time_to_live_nanos;
} wafka_lease;

/* Another server that owns the data. */
typedef struct wafka_holder {
    /* Who it is. */
    wafka_owner owner;
    /* Since which epoch. */
    uint64_t epoch;
    /* How long it goes on owning the data at most, unless it renews its lease: at most an hour. */
    uint64_t remaining_nanos;
} wafka_holder;

/* Takes the server that owns the data. */
typedef struct wafka_holder_sink {
    /* To be given to the function as it is. */
    void *ctx;
    /* Takes it, once at most. */
    void (*put)(void *ctx, const wafka_holder *holder);
} wafka_holder_sink;

/* The functions of a backend, in terms of six kinds of handle:

   - a storage (open to close) and a reader (log_open to reader_release) are used by any threads at once;
   - a shard (shard to shard_close) is used by one thread at a time;
   - a pending sync (begin_sync to sync_wait) and a rewrite (begin_rewrite to finish_rewrite or rewrite_abandon) are used by
     one thread at a time, which may be another than the shard's, while the shard is used;
   - an ownership (ownership to ownership_close) is used by any threads at once: renew is called while other threads append and
     sync, however long these take, and returns in bounded time, well below the lease's time to live.

   Everything made from a storage is released before the storage is closed, and pending syncs and rewrites before their
   shard; a reader may outlive the shard that opened it. Functions that return a uint32_t return a WAFKA_STATUS_*, but for
   reader_generation and is_durable. */
typedef struct wafka_storage_vtable {
    /* The size of this struct as the plugin knows it. */
    uint32_t struct_size;
    /* Zero. */
    uint32_t reserved;
    /* Opens the backend. The handle goes into storage. */
    uint32_t (*open)(const wafka_storage_config *config, void **storage, wafka_error_out *error);
    /* Closes the backend; releases the handle. */
    void (*close)(void *storage);
    /* Gives the names of all logs to names, in no order. */
    uint32_t (*list)(void *storage, const wafka_name_sink *names, wafka_error_out *error);
    /* Makes logs, durably and all at one cost. One that exists already stays as it is. */
    uint32_t (*create)(void *storage, const wafka_log_name *names, size_t count, wafka_error_out *error);
    /* Deletes logs that no shard has open, durably. A log that does not exist counts as deleted. */
    uint32_t (*delete_logs)(void *storage, const wafka_log_name *names, size_t count,
        wafka_error_out *error);
    /* Begins the set of logs that broker (from 1) writes. The handle goes into shard. */
    uint32_t (*shard)(void *storage, uint32_t broker, void **shard, wafka_error_out *error);
    /* Ends the set; releases the handle. What was appended and not synced stays appended. */
    void (*shard_close)(void *shard);
    /* Opens a log for writing and reading, cutting a torn tail. opened takes the slot, a reader's handle,
       and the ends; damage what is damaged. */
    uint32_t (*log_open)(void *shard, const wafka_log_name *name, const wafka_open_request *request,
        wafka_opened *opened, const wafka_damage_sink *damage, wafka_error_out *error);
    /* Closes a log; its slot may be given out again. Its reader stays until it is released. */
    void (*log_close)(void *shard, uint32_t slot);
    /* Appends whole lines at the log's end. appended takes where they begin and where the log ends now. */
    uint32_t (*append)(void *shard, uint32_t slot, const wafka_batch *batch, wafka_appended *appended,
        wafka_error_out *error);
    /* Begins to make everything appended so far durable. The handle goes into pending. */
    uint32_t (*begin_sync)(void *shard, void **pending, wafka_error_out *error);
    /* Waits until everything appended before begin_sync is durable, and gives the logs for which it is not
       to failures. Releases the handle, whatever it returns. With a status other than OK all logs of the
       shard failed. */
    uint32_t (*sync_wait)(void *pending, const wafka_failure_sink *failures, wafka_error_out *error);
    /* Takes note of the outcome of a sync: the logs in failures are poisoned. */
    void (*finish_sync)(void *shard, const wafka_log_failure *failures, size_t count);
    /* Makes a poisoned log writable again: opens it afresh, verifies that it holds everything below end,
       cuts what stands behind it, syncs. */
    uint32_t (*reopen)(void *shard, uint32_t slot, const wafka_cursor *end, wafka_error_out *error);
    /* Begins to write the log anew without what plan names, below the end at this moment. The handle goes
       into rewrite. */
    uint32_t (*begin_rewrite)(void *shard, uint32_t slot, const wafka_rewrite_plan *plan, void **rewrite,
        wafka_error_out *error);
    /* Copies what is kept, and gives every line copied to kept. */
    uint32_t (*rewrite_run)(void *rewrite, const wafka_kept_sink *kept, wafka_error_out *error);
    /* Adds what was appended while the rewrite ran, makes the result durable and puts it in the log's place.
       Releases the rewrite's handle, whatever it returns. */
    uint32_t (*finish_rewrite)(void *shard, void *rewrite, const wafka_kept_sink *kept,
        wafka_rewritten *rewritten, wafka_error_out *error);
    /* Gives a rewrite up; releases the handle. The log is as it was. */
    void (*rewrite_abandon)(void *rewrite);
    /* Gives whole lines to bytes, beginning with the first whose offset is at least from's: at most
       bytes_max bytes in all, but at least one line when there is one. At the log's end it gives none, and
       chunk.next equals chunk.start. */
    uint32_t (*read)(void *reader, const wafka_cursor *from, size_t bytes_max, const
        wafka_byte_sink *bytes, wafka_chunk *chunk, wafka_error_out *error);
    /* The generation of the positions that the log has now, above 0. */
    uint32_t (*reader_generation)(void *reader);
    /* Bytes the log takes in the backend. */
    uint64_t (*reader_size)(void *reader);
    /* Releases the reader's handle. */
    void (*reader_release)(void *reader);
    /* As read, but only if it need not wait for a disk or a network; else WAFKA_STATUS_NOT_READY, and no bytes. May be
       absent: then nothing is ever ready. */
    uint32_t (*read_ready)(void *reader, const wafka_cursor *from, size_t bytes_max, const
        wafka_byte_sink *bytes, wafka_chunk *chunk, wafka_error_out *error);
    /* Says whether (1) what is appended from now on is told to nobody before a sync of it succeeded, or not
       (0). May be absent. */
    void (*set_synced_first)(void *shard, uint32_t synced_first);
    /* Does what was put off and is due, or with all = 1 everything. due_in_nanos takes after how many
       nanoseconds there is something to do again, or WAFKA_NOTHING_DUE; logs that failed go to failures. May be
       absent: then nothing is put off. */
    uint32_t (*catch_up)(void *shard, uint32_t all, uint64_t *due_in_nanos, const
        wafka_failure_sink *failures, wafka_error_out *error);
    /* Whether what was synced is still there when the backend is opened again (1), or it is for data to throw
       away (0). May be absent: then it is there. */
    uint32_t (*is_durable)(void *storage);
    /* Checks options, as open does, without opening anything. May be absent: then open has the only word.
       */
    uint32_t (*check_options)(const wafka_storage_config *config, wafka_error_out *error);
    /* Gives who may write what the storage holds, where several servers reach it: the handle goes into
       ownership. Called once, when the storage has been opened; from then on nothing is changed before acquire has
       said WAFKA_LEASE_OURS. WAFKA_STATUS_UNSUPPORTED where the lock of the data directory is enough. May be absent:
       then it is. Since 1.1, as are those that follow. */
    uint32_t (*ownership)(void *storage, void **ownership, wafka_error_out *error);
    /* Asks for the lease, and does not wait for whoever has it. lease takes what came of it; with
       WAFKA_LEASE_OTHERS, holder takes whose it is. After a failure nobody knows whether it is ours: asking again
       finds out. This and what follows must be there where ownership is. */
    uint32_t (*acquire)(void *ownership, const wafka_owner *owner, wafka_lease *lease, const
        wafka_holder_sink *holder, wafka_error_out *error);
    /* Prolongs the lease, also one whose time is over, if nobody has had it since. state takes one of
       WAFKA_LEASE_*: with WAFKA_LEASE_OTHERS it is lost for good, and holder takes whose it is, as far as is known. */
    uint32_t (*renew)(void *ownership, uint32_t *state, const wafka_holder_sink *holder,
        wafka_error_out *error);
    /* Gives the lease up, so that the next server need not wait for its end. Nothing is written after that. */
    uint32_t (*release)(void *ownership, wafka_error_out *error);
    /* Releases the ownership's handle. The lease is left to end by itself. */
    void (*ownership_close)(void *ownership);
} wafka_storage_vtable;

/* The host, as given to the plugin's entry. It lives for ever, and its functions may be called from any
   thread at any time. */
typedef struct wafka_host {
    /* The size of this struct as the host knows it. */
    uint32_t struct_size;
    /* The host's ABI version. */
    uint16_t abi_major;
    /* The host's ABI version. */
    uint16_t abi_minor;
    /* To be given to the functions as it is. */
    void *ctx;
    /* Writes a line to the server's log. target says which part of the plugin speaks, as a Rust module's
       path does (empty = the plugin as a whole), and is what the server's log filter looks at; text is one
       line. Both are UTF-8. */
    void (*log)(void *ctx, uint32_t level, wafka_bytes target, wafka_bytes text);
    /* Whether such a line would be written (1) or not (0). Ask before building a text that is costly. */
    uint32_t (*log_enabled)(void *ctx, uint32_t level, wafka_bytes target);
} wafka_host;

/* What a plugin says it is, and where its functions are. The first four fields stand where they are in every
   version. */
typedef struct wafka_manifest {
    /* WAFKA_MAGIC. */
    uint64_t magic;
    /* The ABI version the plugin was built for. */
    uint16_t abi_major;
    /* The ABI version the plugin was built for. */
    uint16_t abi_minor;
    /* The size of this struct as the plugin knows it. */
    uint32_t struct_size;
    /* One of WAFKA_KIND_*. */
    uint32_t kind;
    /* Zero. */
    uint32_t reserved;
    /* The name that configuration and catalog use: 1 to 64 characters of a-z, 0-9, - and _. */
    wafka_bytes name;
    /* The plugin's own version, such as 1.2.0: 1 to 64 characters without control characters. For people;
       nothing is decided by it. */
    wafka_bytes version;
    /* The functions, when this is a strategy; else null. */
    const wafka_partitioner_vtable *partitioner;
    /* The functions, when this is a backend; else null. */
    const wafka_storage_vtable *storage;
    /* One line that says what the plugin does, at most 256 bytes; may be absent. */
    wafka_bytes description;
} wafka_manifest;

/* A handy way to lend a string literal: WAFKA_BYTES("jump"). */
#define WAFKA_BYTES(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

#if defined(_WIN32)
#define WAFKA_EXPORT __declspec(dllexport)
#elif defined(__GNUC__)
#define WAFKA_EXPORT __attribute__((visibility("default")))
#else
#define WAFKA_EXPORT
#endif

/* The one function that a plugin exports. It is called when the library has been loaded, by one thread, and again if the
   configuration names the same library twice (which is refused then, for its name). It returns a manifest that stays as it is
   for ever; or null when the plugin cannot work with this host, having logged why. host lives for ever. */
WAFKA_EXPORT const wafka_manifest *wafka_plugin_manifest(const wafka_host *host);

#ifdef __cplusplus
}
#endif

#endif
