/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/record_run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/prng.h"

#define ROWS 300u

struct row {
    struct record record;
    char key[RECORD_KEY_MAX];
    uint8_t value[100];
};

/* Rows that share much with the one before, and sometimes nothing. */
static struct row *make_rows(uint64_t seed)
{
    struct row *rows = calloc(ROWS, sizeof *rows);
    struct prng p;
    prng_seed(&p, seed);
    for (unsigned i = 0; i < ROWS; i++) {
        struct row *row = &rows[i];
        row->record = (struct record){.kind = (uint8_t)(1 + prng_below(&p, RECORD_KIND_END - 1)),
                                      .source = (uint8_t)prng_below(&p, 6),
                                      .deleted = prng_below(&p, 4) == 0,
                                      .version = {prng_next(&p), prng_next(&p)},
                                      .observed_unix_ms = (int64_t)prng_next(&p),
                                      .term = prng_next(&p) >> prng_below(&p, 64)};
        if (i > 0 && prng_below(&p, 3) > 0) {
            row->record = rows[i - 1].record;
            row->record.version.lo++;
        }
        size_t len = 1 + prng_below(&p, RECORD_KEY_MAX);
        size_t shared = i > 0 ? prng_below(&p, rows[i - 1].record.key_len + 1u) : 0;
        shared = shared < len ? shared : len;
        if (i > 0)
            memcpy(row->key, rows[i - 1].key, shared);
        for (size_t k = shared; k < len; k++)
            row->key[k] = (char)('a' + prng_below(&p, 26));
        row->record.key = row->key;
        row->record.key_len = (uint16_t)len;
        row->record.value_len = (uint32_t)prng_below(&p, sizeof row->value + 1);
        memset(row->value, (int)i, sizeof row->value);
        row->record.value = row->value;
    }
    return rows;
}

static size_t put_rows(const struct row *rows, uint8_t *out, size_t cap)
{
    struct record_run run = {0};
    struct wbuf w;
    wbuf_init(&w, out, cap);
    for (unsigned i = 0; i < ROWS; i++) {
        size_t before = w.len;
        size_t size = record_run_size(&run, &rows[i].record);
        cr_assert_eq(record_run_put(&run, &rows[i].record, &w), 0);
        cr_assert_eq(w.len - before, size);
    }
    return w.len;
}

static void expect_same(const struct record *a, const struct record *b)
{
    cr_assert_eq(a->kind, b->kind);
    cr_assert_eq(a->source, b->source);
    cr_assert_eq(a->deleted, b->deleted);
    cr_assert_eq(record_version_cmp(a->version, b->version), 0);
    cr_assert_eq(a->observed_unix_ms, b->observed_unix_ms);
    cr_assert_eq(a->term, b->term);
    cr_assert_eq(a->key_len, b->key_len);
    cr_assert_eq(a->value_len, b->value_len);
    cr_assert_eq(memcmp(a->key, b->key, a->key_len), 0);
    cr_assert_eq(memcmp(a->value, b->value, a->value_len), 0);
}

Test(record_run, what_is_put_comes_out)
{
    static uint8_t bytes[ROWS * 700];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct row *rows = make_rows(seed);
        struct record_run run = {0};
        struct record rec;
        struct rbuf r;
        rbuf_init(&r, bytes, put_rows(rows, bytes, sizeof bytes));
        for (unsigned i = 0; i < ROWS; i++) {
            cr_assert_eq(record_run_get(&run, &r, &rec), 0);
            expect_same(&rec, &rows[i].record);
        }
        cr_assert_eq(rbuf_left(&r), 0);
        free(rows);
    }
}

Test(record_run, rows_of_one_table_take_ten_bytes_more_than_their_values)
{
    uint8_t bytes[4096];
    char key[64];
    struct record_run run = {0};
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    for (unsigned i = 0; i < 2; i++) {
        struct record rec = {.kind = RECORD_TEST,
                             .source = SOURCE_OPERATOR,
                             .version = {1700000000123, 100 + i},
                             .observed_unix_ms = 1700000000123,
                             .key = key,
                             .value = bytes + 2048,
                             .value_len = 200};
        rec.key_len = (uint16_t)snprintf(key, sizeof key, "propagate/0123456789abcdef/c8/%x", i);
        size_t before = w.len;
        cr_assert_eq(record_run_put(&run, &rec, &w), 0);
        if (i > 0)
            cr_assert_leq(w.len - before, 210);
    }
}

Test(record_run, what_does_not_fit_leaves_no_trace)
{
    uint8_t bytes[64];
    struct record_run run = {0};
    struct record rec = {.kind = RECORD_TASK, .key = "abc", .key_len = 3, .value = bytes};
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    cr_assert_eq(record_run_put(&run, &rec, &w), 0);
    size_t len = w.len;
    struct record_run before = run;
    rec.value_len = 100;
    cr_assert_eq(record_run_put(&run, &rec, &w), ERR_TOOBIG);
    cr_assert_eq(w.len, len);
    cr_assert_eq(w.bad, 0);
    cr_assert_eq(memcmp(&run, &before, sizeof run), 0);
}

/* kind 0 or unknown, a key that is empty, too long or shares what there is not, unknown bits. */
Test(record_run, odd_records_are_refused)
{
    const struct {
        const char *bytes;
        size_t len;
    } odd[] = {
        {"\x80\0\1a\0", 5},                  /* the first has no kind */
        {"\x82\0\1\0\1a\0", 7},              /* kind 0 */
        {"\x82\x08\1\0\1a\0", 7},            /* kind 8 */
        {"\x82\2\1\1\1a\0", 7},              /* shares a byte with nothing */
        {"\x82\2\1\0\0\0", 6},               /* no key */
        {"\x82\2\1\0\x91\3", 6},             /* 401 bytes of key */
        {"\xc2\2\1\0\1a\0", 7},              /* bit 64 */
        {"\2\2\1\0\1a\0", 7},                /* no record */
        {"\x86\2\1\0\1a\x81\x80\x20\0", 10}, /* 512 KiB and a byte of value */
        {"\x82\2\1\0\1a", 6},                /* no version */
        {"\x86\2\1\0\1a\2\0v", 9},           /* half a value */
    };
    struct record rec;
    struct rbuf r;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct record_run run = {0};
        rbuf_init(&r, odd[i].bytes, odd[i].len);
        cr_assert_eq(record_run_get(&run, &r, &rec), ERR_MALFORMED, "%zu", i);
    }
    struct record_run run = {0};
    rbuf_init(&r, "\x86\2\1\0\1a\2\0vv", 10);
    cr_assert_eq(record_run_get(&run, &r, &rec), 0);
    cr_assert_eq(rec.value_len, 2);
}

Test(record_run, every_cut_and_many_mutations_are_survived)
{
    static uint8_t bytes[ROWS * 700];
    struct row *rows = make_rows(7);
    size_t len = put_rows(rows, bytes, sizeof bytes);
    struct prng p;
    prng_seed(&p, 3);
    for (unsigned i = 0; i < 3000; i++) {
        size_t part = 1 + prng_below(&p, i % 2 == 0 ? len : 2000);
        uint8_t *copy = malloc(part); /* exact: a sanitizer sees one byte too many */
        memcpy(copy, bytes, part);
        for (uint64_t k = prng_below(&p, 4); k > 0; k--)
            copy[prng_below(&p, part)] = (uint8_t)prng_next(&p);
        struct record_run run = {0};
        struct record rec;
        struct rbuf r;
        rbuf_init(&r, copy, part);
        while (rbuf_left(&r) > 0 && record_run_get(&run, &r, &rec) == 0) {
            cr_assert(rec.key_len >= 1 && rec.key_len <= RECORD_KEY_MAX);
            cr_assert(rec.value + rec.value_len <= copy + part);
        }
        free(copy);
    }
    free(rows);
}
