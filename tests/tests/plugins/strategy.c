/* A strategy for tests: puts an event where its field "to" says ("1" is the first partition), and does with "to" = "fail",
 * "beyond" or "strange" what a strategy may do wrong. "to" = "/file" does not return before there is such a file. What it
 * says of itself is chosen when it is compiled. */
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "wafka_plugin.h"

#ifndef NAME
#define NAME "place"
#endif
#ifndef ROUTE_VERSION
#define ROUTE_VERSION 1
#endif
#ifndef MAGIC
#define MAGIC WAFKA_MAGIC
#endif
#ifndef MAJOR
#define MAJOR WAFKA_ABI_MAJOR
#endif
#ifndef ENTRY
#define ENTRY wafka_plugin_manifest
#endif
#ifndef VERSION
#define VERSION "1.2.3"
#endif

#define TEXT(text) { (const uint8_t *)(text), sizeof(text) - 1 }

static int is(wafka_bytes bytes, const char *text) {
    return bytes.len == strlen(text) && memcmp(bytes.ptr, text, bytes.len) == 0;
}

static void say(wafka_error_out *error, const char *text, size_t len) {
    if (len > error->text_capacity) len = error->text_capacity;
    memcpy(error->text, text, len);
    error->text_len = len;
}

static uint32_t create(const wafka_partitioner_config *config, void **instance, wafka_error_out *error) {
    static const char bad[] = "colour\0unknown, this strategy has no options";
    if (!is(config->options, "{}")) {
        say(error, bad, sizeof bad - 1);
        return WAFKA_STATUS_BAD_OPTION;
    }
    *instance = NULL;
    return WAFKA_STATUS_OK;
}

static int32_t wait_for(wafka_bytes file) {
    const struct timespec some = { 0, 2000000 };
    char path[4096] = "";
    if (file.len >= sizeof path) return WAFKA_ROUTE_FAILED;
    memcpy(path, file.ptr, file.len);
    while (access(path, F_OK) != 0) nanosleep(&some, NULL);
    return WAFKA_ROUTE_ANY;
}

static int32_t route(void *instance, const wafka_route_request *request, wafka_error_out *error) {
    (void)instance;
    for (size_t at = 0; at < request->field_count; at++) {
        wafka_bytes value = request->fields[at].value;
        if (!is(request->fields[at].name, "to")) continue;
        if (is(value, "beyond")) return (int32_t)request->partitions;
        if (is(value, "strange")) return -77;
        if (value.len > 0 && value.ptr[0] == '/') return wait_for(value);
        if (value.len == 1 && value.ptr[0] >= '1' && value.ptr[0] <= '9') return value.ptr[0] - '1';
        say(error, "no such place", 13);
        return WAFKA_ROUTE_FAILED;
    }
    return WAFKA_ROUTE_UNKEYED;
}

static void destroy(void *instance) { (void)instance; }

static const wafka_partitioner_vtable strategy = {
    .struct_size = sizeof(wafka_partitioner_vtable),
    .route_version = ROUTE_VERSION,
    .create = create,
    .route = route,
    .destroy = destroy,
};

static const wafka_manifest manifest = {
    .magic = MAGIC,
    .abi_major = MAJOR,
    .abi_minor = WAFKA_ABI_MINOR,
    .struct_size = sizeof(wafka_manifest),
    .kind = WAFKA_KIND_PARTITIONER,
    .name = TEXT(NAME),
    .version = TEXT(VERSION),
    .partitioner = &strategy,
    .description = TEXT("a strategy for tests"),
};

const wafka_manifest *ENTRY(const wafka_host *host) {
    (void)host;
    return &manifest;
}
