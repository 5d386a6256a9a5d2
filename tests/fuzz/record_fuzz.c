/* SPDX-License-Identifier: Apache-2.0
 * Records as they travel and lie on disk, and rows inside them. What decodes must encode to the
 * same record again. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/err.h"
#include "agent/base/record_run.h"
#include "agent/base/row.h"
#include "tests/fuzz/fuzz.h"

static void check_row(const uint8_t *value, size_t len)
{
    struct row row, again;
    if (row_decode(value, len, &row) < 0)
        return;
    struct buf out;
    buf_init(&out, 4u << 20);
    ENSURE(row_encode(&row, &out) == 0);
    ENSURE(row_decode(out.data, out.len, &again) == 0);
    for (int f = 0; f < ROW_FIELD_END; f++) {
        ENSURE((row.field[f].data == NULL) == (again.field[f].data == NULL));
        ENSURE(row.field[f].len == again.field[f].len);
    }
    ENSURE(row.json.len == again.json.len);
    buf_fini(&out);
}

/* The same bytes as a run: what comes out goes in again and is the same. */
static void check_run(const uint8_t *data, size_t size)
{
    static uint8_t bytes[1u << 20];
    struct record_run from = {0}, to = {0}, back = {0};
    struct record rec, again;
    struct rbuf r, second;
    struct wbuf w;
    rbuf_init(&r, data, size);
    wbuf_init(&w, bytes, sizeof bytes);
    while (rbuf_left(&r) > 0 && record_run_get(&from, &r, &rec) == 0) {
        ENSURE(rec.key_len >= 1 && rec.key_len <= RECORD_KEY_MAX);
        ENSURE(rec.value_len <= RECORD_VALUE_MAX);
        size_t at = w.len, expected = record_run_size(&to, &rec);
        if (record_run_put(&to, &rec, &w) != 0)
            break;
        ENSURE(w.len - at == expected);
        rbuf_init(&second, bytes + at, w.len - at);
        ENSURE(record_run_get(&back, &second, &again) == 0 && rbuf_left(&second) == 0);
        ENSURE(again.kind == rec.kind && again.source == rec.source &&
               again.deleted == rec.deleted && again.term == rec.term &&
               again.observed_unix_ms == rec.observed_unix_ms);
        ENSURE(record_version_cmp(rec.version, again.version) == 0);
        ENSURE(again.key_len == rec.key_len && memcmp(again.key, rec.key, rec.key_len) == 0);
        ENSURE(again.value_len == rec.value_len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rbuf r;
    struct record rec, again;
    rbuf_init(&r, data, size);
    check_row(data, size);
    check_run(data, size);
    while (rbuf_left(&r) > 0 && record_decode(&r, &rec) == 0) {
        ENSURE(rec.key_len >= 1 && rec.key_len <= RECORD_KEY_MAX);
        ENSURE(rec.value_len <= RECORD_VALUE_MAX);
        struct buf out;
        buf_init(&out, 1u << 20);
        ENSURE(record_encode(&rec, &out) == 0);
        ENSURE(out.len == record_encoded_size(&rec));
        struct rbuf second;
        rbuf_init(&second, out.data, out.len);
        ENSURE(record_decode(&second, &again) == 0 && rbuf_left(&second) == 0);
        ENSURE(again.kind == rec.kind && again.key_len == rec.key_len &&
               again.value_len == rec.value_len && again.deleted == rec.deleted &&
               again.term == rec.term && again.observed_unix_ms == rec.observed_unix_ms);
        ENSURE(record_version_cmp(rec.version, again.version) == 0);
        ENSURE(memcmp(again.key, rec.key, rec.key_len) == 0);
        (void)record_key_hash(rec.kind, rec.key, rec.key_len);
        check_row(rec.value, rec.value_len);
        buf_fini(&out);
    }
    return 0;
}
