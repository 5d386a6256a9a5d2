/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/prng.h"
#include "agent/base/record.h"
#include "agent/base/row.h"

static struct record sample(void)
{
    return (struct record){
        .kind = RECORD_TASK,
        .source = SOURCE_EVENT,
        .deleted = true,
        .key = "arn:aws:ecs:eu-west-1:111122223333:task/c/1",
        .key_len = 43,
        .value = (const uint8_t *)"value",
        .value_len = 5,
        .version = {UINT64_MAX, 3},
        .observed_unix_ms = 1700000000123,
        .term = 9,
    };
}

Test(record, encode_decode)
{
    struct record rec = sample();
    struct record out;
    struct buf b;
    struct rbuf r;
    buf_init(&b, 4096);
    cr_assert_eq(record_encode(&rec, &b), 0);
    cr_assert_eq(b.len, record_encoded_size(&rec));
    rbuf_init(&r, b.data, b.len);
    cr_assert_eq(record_decode(&r, &out), 0);
    cr_assert_eq(rbuf_left(&r), 0u);
    cr_assert_eq(out.kind, rec.kind);
    cr_assert(out.deleted);
    cr_assert_eq(out.version.hi, rec.version.hi);
    cr_assert_eq(out.version.lo, rec.version.lo);
    cr_assert_eq(out.observed_unix_ms, rec.observed_unix_ms);
    cr_assert_eq(out.term, rec.term);
    cr_assert_eq(out.key_len, rec.key_len);
    cr_assert_eq(memcmp(out.key, rec.key, rec.key_len), 0);
    cr_assert_eq(memcmp(out.value, "value", 5), 0);
    buf_fini(&b);
}

Test(record, every_cut_and_many_mutations_are_survived)
{
    struct record rec = sample();
    struct record out;
    struct prng p;
    struct buf b;
    struct rbuf r;
    prng_seed(&p, 1);
    buf_init(&b, 4096);
    cr_assert_eq(record_encode(&rec, &b), 0);
    for (size_t n = 0; n < b.len; n++) {
        rbuf_init(&r, b.data, n);
        cr_assert_eq(record_decode(&r, &out), ERR_MALFORMED, "cut at %zu", n);
    }
    for (int i = 0; i < 200000; i++) {
        uint8_t copy[256];
        memcpy(copy, b.data, b.len);
        for (uint64_t k = prng_below(&p, 4) + 1; k > 0; k--)
            copy[prng_below(&p, b.len)] = (uint8_t)prng_next(&p);
        rbuf_init(&r, copy, b.len);
        if (record_decode(&r, &out) == 0)
            cr_assert((const uint8_t *)out.key >= copy &&
                      out.value + out.value_len <= copy + b.len);
    }
    buf_fini(&b);
}

Test(record, newer_is_a_strict_total_order)
{
    const struct record_version v[] = {{0, 0}, {0, 1}, {1, 0},         {1, 1},
                                       {1, 2}, {2, 0}, {UINT64_MAX, 0}};
    for (size_t i = 0; i < 7; i++) {
        for (size_t j = 0; j < 7; j++) {
            cr_assert_eq(record_is_newer(v[i], v[j]), i > j);
            cr_assert_eq(record_version_cmp(v[i], v[j]), i < j ? -1 : i > j);
        }
    }
}

Test(record, fingerprints_differ_by_key_and_version)
{
    uint64_t a = record_key_hash(RECORD_TASK, "a", 1);
    cr_assert_neq(a, record_key_hash(RECORD_INSTANCE, "a", 1));
    cr_assert_neq(a, record_key_hash(RECORD_TASK, "b", 1));
    struct record_version one = {1, 0};
    struct record_version other = {0, 1};
    cr_assert_neq(record_fingerprint(a, one), record_fingerprint(a, other));
    cr_assert_eq(record_fingerprint(a, one), record_fingerprint(a, one));
}

Test(record, kinds_by_name)
{
    cr_assert_eq(record_kind_parse("task"), RECORD_TASK);
    cr_assert_eq(record_kind_parse("tasks"), RECORD_TASK);
    cr_assert_eq(record_kind_parse("taskss"), 0);
    cr_assert_eq(record_kind_parse(""), 0);
    cr_assert_str_eq(record_kind_str(200), "unknown");
}

Test(row, fields_and_json_round_trip)
{
    struct row row = {0};
    struct row out;
    struct buf b;
    row_set(&row, ROW_CLUSTER, "arn:cluster");
    row_set(&row, ROW_STATUS, "");
    row.json = (struct row_text){"{\"a\":1}", 7};
    buf_init(&b, 1000);
    cr_assert_eq(row_encode(&row, &b), 0);
    cr_assert_eq(row_decode(b.data, b.len, &out), 0);
    cr_assert(row_field_is(&out, ROW_CLUSTER, "arn:cluster"));
    cr_assert(row_field_is(&out, ROW_STATUS, ""), "an empty field is not an absent one");
    cr_assert_null(out.field[ROW_FAMILY].data);
    cr_assert_not(row_field_is(&out, ROW_FAMILY, ""));
    cr_assert_eq(out.json.len, 7u);
    cr_assert_eq(memcmp(out.json.data, "{\"a\":1}", 7), 0);
    struct row_text json = {NULL, 0};
    cr_assert_eq(row_find_json(b.data, b.len, &json), 0);
    cr_assert_eq(json.len, 7u);
    cr_assert_eq(json.data, b.data + b.len - 7);
    for (size_t n = 0; n < b.len - 7; n++) {
        cr_assert_eq(row_decode(b.data, n, &out), ERR_MALFORMED, "cut at %zu", n);
        cr_assert_eq(row_find_json(b.data, n, &json), ERR_MALFORMED, "cut at %zu", n);
    }
    buf_fini(&b);
}

Test(row, unknown_columns_are_skipped)
{
    static const uint8_t bytes[] = {2, 250, 1, 'x', ROW_STATUS, 2, 'u', 'p', '{', '}'};
    struct row out;
    cr_assert_eq(row_decode(bytes, sizeof bytes, &out), 0);
    cr_assert(row_field_is(&out, ROW_STATUS, "up"));
    cr_assert_eq(out.json.len, 2u);
}

Test(row, a_text_in_the_json_is_not_repeated)
{
    static const char json[] =
        "{\"clusterArn\":\"arn:aws:ecs:r:1:cluster/main\",\"status\":\"UP\"}";
    struct row row = {0};
    struct row out;
    struct buf b;
    row_set(&row, ROW_CLUSTER, "arn:aws:ecs:r:1:cluster/main");
    row_set(&row, ROW_STATUS, "UP");
    row_set(&row, ROW_FAMILY, "not-in-there");
    row.json = (struct row_text){json, sizeof json - 1};
    buf_init(&b, 1000);
    cr_assert_eq(row_encode(&row, &b), 0);
    cr_assert_leq(b.len, row.json.len + 1 + 4 + 4 + 14);
    cr_assert_eq(row_decode(b.data, b.len, &out), 0);
    cr_assert(row_field_is(&out, ROW_CLUSTER, "arn:aws:ecs:r:1:cluster/main"));
    cr_assert(out.field[ROW_CLUSTER].data > out.json.data, "it is the JSON's");
    cr_assert(row_field_is(&out, ROW_STATUS, "UP"));
    cr_assert(row_field_is(&out, ROW_FAMILY, "not-in-there"));
    cr_assert_eq(out.json.len, row.json.len);
    struct row_text alone;
    cr_assert_eq(row_find_json(b.data, b.len, &alone), 0);
    cr_assert_eq(alone.data, out.json.data);
    cr_assert_eq(alone.len, out.json.len);
    buf_fini(&b);
}

/* Wherever it stands, behind whatever looks like it at both ends; the first one counts. */
Test(row, a_text_is_found_at_every_place_of_the_json)
{
    static const char text[] = "a-text-b";
    const size_t n = sizeof text - 1;
    for (size_t len = n; len < 60; len++) {
        for (size_t at = 0; at + n <= len; at++) {
            char json[64];
            struct row row = {0};
            struct row out;
            struct buf b;
            for (size_t i = 0; i < len; i++)
                json[i] = "a-texx-b"[(i + 64 - at) % n];
            memcpy(json + at, text, n);
            if (at + 2 * n <= len)
                memcpy(json + at + n, text, n);
            row_set(&row, ROW_FAMILY, text);
            row.json = (struct row_text){json, len};
            buf_init(&b, 1000);
            cr_assert_eq(row_encode(&row, &b), 0);
            cr_assert_eq(row_decode(b.data, b.len, &out), 0);
            cr_assert_eq(out.field[ROW_FAMILY].data, out.json.data + at, "%zu of %zu", at, len);
            buf_fini(&b);
        }
    }
}

Test(row, spans_outside_the_json_are_malformed)
{
    struct row out;
    uint8_t bytes[] = {1, ROW_SPAN | ROW_STATUS, 2, 0, 2, '{', '}'};
    cr_assert_eq(row_decode(bytes, sizeof bytes, &out), 0);
    cr_assert(row_field_is(&out, ROW_STATUS, "{}"));
    for (uint8_t at = 0; at < 5; at++)
        for (uint8_t len = 0; len < 5; len++) {
            bytes[3] = at;
            bytes[4] = len;
            cr_assert_eq(row_decode(bytes, sizeof bytes, &out), at + len <= 2 ? 0 : ERR_MALFORMED);
        }
    bytes[2] = 1; /* the length is missing */
    cr_assert_eq(row_decode(bytes, sizeof bytes, &out), ERR_MALFORMED);
}
