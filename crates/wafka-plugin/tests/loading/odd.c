/* A strategy for the tests; what is wrong with it is said by macros. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "wafka_plugin.h"

#ifndef MAGIC
#define MAGIC WAFKA_MAGIC
#endif
#ifndef MAJOR
#define MAJOR WAFKA_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR WAFKA_ABI_MINOR
#endif
#ifndef SIZE
#define SIZE sizeof(manifest)
#endif
#ifndef VTABLE_SIZE
#define VTABLE_SIZE sizeof(functions)
#endif
#ifndef NAME
#define NAME "odd-c"
#endif
#ifndef ROUTE
#define ROUTE 1
#endif

static uint32_t create(const wafka_partitioner_config *config, void **instance, wafka_error_out *error) {
    (void)instance; /* null is as good as any */
    if (config->partitions > 8) {
        static const char text[] = "partitions\0at most 8";
        memcpy(error->text, text, sizeof text - 1);
        error->text_len = sizeof text - 1;
        return WAFKA_STATUS_BAD_OPTION;
    }
    return WAFKA_STATUS_OK;
}

static int32_t route(void *instance, const wafka_route_request *request, wafka_error_out *error) {
    (void)instance;
    (void)request;
#ifdef WAITS
    /* The topic is called as a pipe: until somebody opens that, this waits. */
    char path[256] = {0};
    memcpy(path, request->topic.ptr, request->topic.len < 255 ? request->topic.len : 255);
    close(open(path, O_RDONLY));
#endif
#ifdef LIES_ABOUT_TEXT
    error->text_len = (size_t)-1;
    error->text = (uint8_t *)16;
    error->text_capacity = (size_t)-1;
#else
    memset(error->text, 0xff, 3);
    error->text_len = 3;
#endif
    return ROUTE;
}

static void destroy(void *instance) { (void)instance; }

static const struct {
    wafka_partitioner_vtable known;
    void *unknown[4];
} functions = {{VTABLE_SIZE, 5, create, route, destroy}, {0}};

static const struct {
    wafka_manifest known;
    uint64_t unknown[4];
} manifest = {{MAGIC, MAJOR, MINOR, SIZE, WAFKA_KIND_PARTITIONER, 0, WAFKA_BYTES(NAME), WAFKA_BYTES("0.1-test"),
               &functions.known, 0, WAFKA_BYTES("a strategy for the tests")},
              {~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0)}};

#ifdef UNRESOLVED
void nobody_has_this(void);
#endif

#ifndef NO_ENTRY
WAFKA_EXPORT const wafka_manifest *wafka_plugin_manifest(const wafka_host *host) {
    static const wafka_bytes target = WAFKA_BYTES("odd_c::entry"), text = WAFKA_BYTES("hello\nhost \xff"),
                             quiet = WAFKA_BYTES("odd_c::quiet"), none = WAFKA_BYTES(""), null_text = {0, 7};
    host->log(host->ctx, WAFKA_LEVEL_WARN, target, text);
    host->log(host->ctx, WAFKA_LEVEL_INFO, quiet, text);
    host->log(host->ctx, WAFKA_LEVEL_ERROR, none, null_text);
    if (host->log_enabled(host->ctx, WAFKA_LEVEL_WARN, target) != 1) {
        return 0;
    }
#ifdef UNRESOLVED
    nobody_has_this();
#endif
#ifdef NULL_MANIFEST
    return 0;
#else
    return &manifest.known;
#endif
}
#endif
