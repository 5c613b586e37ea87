/* A partitioning strategy in C: FNV-1a (64 bits) of a field's value, modulo the number of partitions. */
#include "wafka_plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char field[256]; size_t length; } fnv;

/* Fowler, Noll and Vo: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t fnv1a(wafka_bytes value) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < value.len; i++) hash = (hash ^ value.ptr[i]) * 0x100000001b3u;
    return hash;
}

static uint32_t create(const wafka_partitioner_config *config, void **instance, wafka_error_out *error) {
    static const char wrong[] = "partition_key\0required, and alone: the name of a field, 1 to 255 bytes";
    char json[512] = "";
    int end = 0;
    fnv *self = calloc(1, sizeof *self);
    if (!self) return WAFKA_STATUS_FAILED;
    if (config->options.len < sizeof json) memcpy(json, config->options.ptr, config->options.len);
    /* The host writes JSON without blanks, and there is one key: this needs no parser. */
    if (sscanf(json, "{\"partition_key\":\"%255[^\"\\]\"}%n", self->field, &end) == 1
        && end > 0 && (size_t)end == config->options.len) {
        self->length = strlen(self->field);
        *instance = self;
        return WAFKA_STATUS_OK;
    }
    free(self);
    error->text_len = sizeof wrong - 1 < error->text_capacity ? sizeof wrong - 1 : error->text_capacity;
    memcpy(error->text, wrong, error->text_len);
    return WAFKA_STATUS_BAD_OPTION;
}

static int32_t route(void *instance, const wafka_route_request *request, wafka_error_out *error) {
    const fnv *self = instance;
    (void)error;
    for (size_t i = 0; i < request->field_count; i++) {
        const wafka_field *field = &request->fields[i];
        if (field->name.len == self->length && memcmp(field->name.ptr, self->field, self->length) == 0)
            return (int32_t)(fnv1a(field->value) % request->partitions);
    }
    return WAFKA_ROUTE_UNKEYED;
}

static const wafka_partitioner_vtable strategy = {
    .struct_size = sizeof strategy, .route_version = 1, .create = create, .route = route, .destroy = free,
};

static const wafka_manifest manifest = {
    .magic = WAFKA_MAGIC, .abi_major = WAFKA_ABI_MAJOR, .abi_minor = WAFKA_ABI_MINOR, .struct_size = sizeof manifest,
    .kind = WAFKA_KIND_PARTITIONER, .name = WAFKA_BYTES("fnv"), .version = WAFKA_BYTES("1.0.0"),
    .description = WAFKA_BYTES("FNV-1a of a field's value"), .partitioner = &strategy,
};

WAFKA_EXPORT const wafka_manifest *wafka_plugin_manifest(const wafka_host *host) {
    (void)host;
    return &manifest;
}
