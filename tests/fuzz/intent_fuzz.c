/* SPDX-License-Identifier: Apache-2.0
 * Commands as users send them and as the log holds them, and snapshots. Input: lines; each is
 * checked, then applied as the next entry. Two replicas must agree byte for byte, also after one
 * of them went through a snapshot; so must one that was put together from the rows. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/intent/intent.h"
#include "tests/fuzz/fuzz.h"

#define LINES_MAX 64u

static void save(const struct intent *in, struct buf *out)
{
    buf_init(out, 16u << 20);
    ENSURE(intent_save(in, out) == 0);
}

static void check_equal(const struct intent *a, const struct intent *b)
{
    struct buf x, y;
    save(a, &x);
    save(b, &y);
    ENSURE(x.len == y.len && memcmp(x.data, y.data, x.len) == 0);
    buf_fini(&x);
    buf_fini(&y);
}

static void check_form(const char *line, size_t len)
{
    struct intent_result r = {0};
    struct errmsg e;
    json_t *command = json_parse(line, len, &e);
    if (command == NULL)
        return;
    int err = intent_check(command, &r);
    ENSURE(err <= 0);
    ENSURE(err == 0 || r.detail[0] != '\0');
    json_decref(command);
}

static void check_reload(const struct intent *in)
{
    const struct store_log_intent *rows;
    size_t count;
    struct intent *other;
    struct buf snapshot;
    save(in, &snapshot);
    ENSURE(intent_create(&other) == 0);
    ENSURE(intent_load(other, snapshot.data, snapshot.len, &rows, &count) == 0);
    check_equal(in, other);
    struct intent *third; /* from the rows, as after a restart */
    ENSURE(intent_create(&third) == 0);
    for (size_t i = 0; i < count; i++)
        if (!rows[i].deleted)
            ENSURE(intent_restore(third, &rows[i]) == 0);
    check_equal(in, third);
    intent_destroy(third);
    intent_destroy(other);
    buf_fini(&snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct intent *a, *b;
    struct intent_result ra, rb;
    const struct store_log_intent *rows;
    size_t count, at = 0;
    ENSURE(intent_create(&a) == 0 && intent_create(&b) == 0);
    if (size > 0 && data[0] == '!') { /* any bytes as a snapshot */
        if (intent_load(a, data + 1, size - 1, &rows, &count) == 0)
            check_reload(a);
        at = size;
    }
    for (uint64_t index = 1; at < size && index <= LINES_MAX; index++) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end == NULL ? size - at : (size_t)(end - data) - at;
        const char *line = (const char *)data + at;
        check_form(line, len);
        intent_apply(a, index, 1, line, len, &ra, &rows, &count);
        ENSURE(ra.err <= 0);
        intent_apply(b, index, 1, line, len, &rb, &rows, &count);
        ENSURE(ra.err == rb.err && ra.replayed == rb.replayed);
        at += len + 1;
    }
    if (at == 0 || data[0] != '!') {
        check_equal(a, b);
        check_reload(a);
    }
    intent_destroy(a);
    intent_destroy(b);
    return 0;
}
