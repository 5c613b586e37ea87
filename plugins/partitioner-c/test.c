/* The published test vectors of FNV-1a, 64 bits (test_fnv.c by Landon Curt Noll), and what becomes of options.
   Prints what is not as expected; exits with 0 when all is. */
#include "fnv.c"

static int failures;

static void hashes(const char *text, size_t length, uint64_t expected) {
    const wafka_bytes value = { (const uint8_t *)text, length };
    if (fnv1a(value) == expected) return;
    printf("\"%s\": %016llx, expected %016llx\n", text, (unsigned long long)fnv1a(value), (unsigned long long)expected);
    failures++;
}

static void options(const char *json, uint32_t expected, const char *text) {
    char message[128] = "";
    void *instance = NULL;
    wafka_partitioner_config config = { .struct_size = sizeof config, .partitions = 4 };
    wafka_error_out error = { .struct_size = sizeof error, .text = (uint8_t *)message, .text_capacity = sizeof message - 1 };
    config.options.ptr = (const uint8_t *)json;
    config.options.len = strlen(json);
    uint32_t status = create(&config, &instance, &error);
    if (status != expected || strcmp(message, text) != 0 || (status == WAFKA_STATUS_OK) != (instance != NULL)) {
        printf("%s: status %u, \"%s\"\n", json, (unsigned)status, message);
        failures++;
    }
    free(instance);
}

int main(void) {
    char longest[600] = "{\"partition_key\":\"";
    hashes("", 0, 0xcbf29ce484222325u);
    hashes("a", 1, 0xaf63dc4c8601ec8cu);
    hashes("b", 1, 0xaf63df4c8601f1a5u);
    hashes("foobar", 6, 0x85944171f73967e8u);
    hashes("foobar", 7, 0x34531ca7168b8f38u); /* With its NUL. */
    hashes("chongo was here!\n", 17, 0x46810940eff5f915u);
    options("{\"partition_key\":\"truck\"}", WAFKA_STATUS_OK, "");
    options("{}", WAFKA_STATUS_BAD_OPTION, "partition_key");
    options("{\"partition_key\":\"\"}", WAFKA_STATUS_BAD_OPTION, "partition_key");
    options("{\"partition_key\":7}", WAFKA_STATUS_BAD_OPTION, "partition_key");
    options("{\"partition_key\":\"a\",\"b\":1}", WAFKA_STATUS_BAD_OPTION, "partition_key");
    options("{\"partition_key\":\"a\\\"b\"}", WAFKA_STATUS_BAD_OPTION, "partition_key");
    memset(longest + strlen(longest), 'x', 255);
    strcat(longest, "\"}");
    options(longest, WAFKA_STATUS_OK, "");
    memcpy(longest + strlen(longest) - 2, "x\"}", 4);
    options(longest, WAFKA_STATUS_BAD_OPTION, "partition_key");
    memset(longest + 18, 'x', sizeof longest - 19);
    options(longest, WAFKA_STATUS_BAD_OPTION, "partition_key");
    return failures != 0;
}
