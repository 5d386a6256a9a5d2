/* SPDX-License-Identifier: Apache-2.0
 * Distinct texts of a field with their counts follow every change of the rows. */
#include "tests/unit/store/fixture.h"

static struct buf value;

static void apply(struct fix *f, const char *key, uint64_t version, const char *status,
                  const char *family, const char *revision, bool deleted)
{
    struct row row = {0};
    row_set(&row, ROW_STATUS, status);
    row_set(&row, ROW_FAMILY, family);
    row_set(&row, ROW_REVISION, revision);
    buf_clear(&value);
    cr_assert_eq(row_encode(&row, &value), 0);
    struct record rec = {.kind = RECORD_TASK,
                         .deleted = deleted,
                         .key = key,
                         .key_len = (uint16_t)strlen(key),
                         .value = (const uint8_t *)value.data,
                         .value_len = (uint32_t)value.len,
                         .version = {version, 0}};
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

struct seen {
    char text[16][64];
    uint64_t rows[16];
    size_t count;
};

static int on_value(void *arg, const char *text, size_t len, uint64_t rows)
{
    struct seen *s = arg;
    cr_assert_lt(s->count, 16u);
    snprintf(s->text[s->count], sizeof s->text[0], "%.*s", (int)len, text);
    s->rows[s->count++] = rows;
    return 0;
}

static void expect(struct fix *f, enum row_field field, const char *const *texts,
                   const uint64_t *rows, size_t count)
{
    struct seen s = {0};
    struct store_txn *txn;
    cr_assert_eq(store_read_begin(f->s, &txn), 0);
    cr_assert_eq(store_values(txn, RECORD_TASK, field, on_value, &s), 0);
    store_read_end(txn);
    cr_assert_eq(s.count, count, "%zu texts", s.count);
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t j = 0; j < count; j++)
            found = found || (strcmp(s.text[j], texts[i]) == 0 && s.rows[j] == rows[i]);
        cr_assert(found, "%s", texts[i]);
    }
}

Test(values, texts_are_told_once_with_their_rows)
{
    static const char *const statuses[] = {"RUNNING", "PENDING"};
    static const char *const definitions[] = {"web:1", "web:2", "log:1"};
    static const char *const left[] = {"web:2", "log:1"};
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    expect(&f, ROW_STATUS, NULL, NULL, 0);
    apply(&f, "a", 1, "RUNNING", "web", "1", false);
    apply(&f, "b", 1, "RUNNING", "web", "1", false);
    apply(&f, "c", 1, "PENDING", "log", "1", false);
    apply(&f, "d", 1, "PENDING", NULL, "1", false);
    apply(&f, "b", 2, "RUNNING", "web", "2", false);
    expect(&f, ROW_STATUS, statuses, (const uint64_t[]){2, 2}, 2);
    expect(&f, ROW_REVISION, definitions, (const uint64_t[]){1, 1, 1}, 3);
    apply(&f, "a", 2, "STOPPED", "web", "1", true); /* a tombstone keeps its texts, uncounted */
    expect(&f, ROW_REVISION, left, (const uint64_t[]){1, 1}, 2);
    expect(&f, ROW_STATUS, statuses, (const uint64_t[]){1, 2}, 2);
    struct store_txn *txn;
    struct seen s = {0};
    cr_assert_eq(store_read_begin(f.s, &txn), 0);
    cr_assert_eq(store_values(txn, RECORD_TASK, ROW_DESIRED, on_value, &s), ERR_BADPARAM);
    uint64_t n;
    cr_assert_eq(store_count(txn, RECORD_TASK, ROW_REVISION, "web:2", &n), 0);
    cr_assert_eq(n, 1u);
    store_read_end(txn);
    buf_fini(&value);
    fix_fini(&f);
}
