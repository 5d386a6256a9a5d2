/* SPDX-License-Identifier: Apache-2.0
 * Directed damage to an LMDB file: each case is something that LMDB itself would follow. */
#include "store/store_int.h"

#include "tests/unit/store/fixture.h"

enum { PAGE = 4096 };

static uint8_t *data;
static size_t len;
static char path[256];

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

static uint8_t *newest_meta(void)
{
    return get64(data + 16 + 128) > get64(data + PAGE + 16 + 128) ? data + 16 : data + PAGE + 16;
}

/* A database with branch pages, large values and a free list. */
static void make(struct fix *f)
{
    struct buf value;
    static char big[20000];
    char key[32];
    fix_open(f);
    buf_init(&value, 1 << 20);
    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "task/%d", i);
        struct record rec = task_of(&value, key, 1, "c1", "RUNNING", "web");
        cr_assert_eq(fix_apply(f, &rec, 1), 0);
    }
    struct record rec = rec_of(RECORD_TEST, "big", 1, NULL);
    rec.value = (const uint8_t *)big;
    rec.value_len = sizeof big;
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
    for (int i = 0; i < 200; i += 3) {
        snprintf(key, sizeof key, "task/%d", i);
        struct record gone = rec_of(RECORD_TASK, key, 1, NULL);
        cr_assert_eq(fix_purge(f, &gone), 0);
    }
    fix_close(f);
    buf_fini(&value);
    snprintf(path, sizeof path, "%s/state/data.mdb", f->dir);
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file);
    data = malloc(1 << 22);
    len = fread(data, 1, 1 << 22, file);
    fclose(file);
}

static int check(uint64_t budget_ms, struct pagecheck *ret, struct errmsg *e)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(data, 1, len, file), len);
    fclose(file);
    return pagecheck(path, budget_ms, ret, e);
}

static void expect_bad(const char *what)
{
    struct pagecheck ret;
    struct errmsg e = {""};
    cr_assert_eq(check(0, &ret, &e), ERR_CORRUPT, "%s was not seen", what);
    cr_assert_neq(e.text[0], '\0');
}

/* Pages of the current tree of a database record, by walking it. */
static uint8_t *find_page(uint64_t root, uint16_t flags)
{
    uint8_t *p = data + root * PAGE;
    if (get16(p + 10) == flags)
        return p;
    if (get16(p + 10) != 1)
        return NULL;
    const uint8_t *node = p + get16(p + 16);
    return find_page(get16(node) | (uint64_t)get16(node + 2) << 16, flags);
}

/* Root of a named table, from the main database's leaf. */
static uint64_t table_root(const char *name)
{
    uint8_t *leaf = find_page(get64(newest_meta() + 72 + 40), 2);
    for (unsigned i = 0; i < (get16(leaf + 12) - 16u) / 2; i++) {
        const uint8_t *node = leaf + get16(leaf + 16 + 2 * i);
        if (get16(node + 6) == strlen(name) && memcmp(node + 8, name, strlen(name)) == 0)
            return get64(node + 8 + strlen(name) + 40);
    }
    cr_assert_fail("no table %s", name);
    return 0;
}

Test(pagecheck, a_sound_file_passes)
{
    struct fix f;
    struct pagecheck ret;
    struct errmsg e = {""};
    make(&f);
    cr_assert_eq(check(0, &ret, &e), 0, "%s", e.text);
    cr_assert(ret.complete);
    cr_assert_gt(ret.used_bytes, 20u * PAGE);
    cr_assert_eq(pagecheck("/nonexistent", 0, &ret, &e), ERR_IO);
    free(data);
    fix_fini(&f);
}

Test(pagecheck, damage_that_lmdb_would_follow)
{
    struct fix f;
    make(&f);
    uint8_t *saved = malloc(len);
    memcpy(saved, data, len);
    uint64_t rows = table_root("rows");
    uint8_t *branch = find_page(rows, 1);
    cr_assert_not_null(branch, "the table is deep enough");

    uint8_t *second = branch + get16(branch + 18);
    memcpy(second, branch + get16(branch + 16), 4);
    expect_bad("two branches to one page");
    memcpy(data, saved, len);

    put64(second, get64(second) ^ 0x4000);
    expect_bad("a branch to a page behind the end");
    memcpy(data, saved, len);

    uint8_t *leaf = find_page(rows, 2);
    leaf[10] = 4;
    expect_bad("a leaf that is no leaf");
    memcpy(data, saved, len);

    uint8_t *free_leaf = find_page(get64(newest_meta() + 24 + 40), 2);
    cr_assert_not_null(free_leaf);
    uint8_t *node = free_leaf + get16(free_leaf + 16);
    uint8_t *idl = node + 8 + 8;
    uint64_t count = get64(idl);
    cr_assert_gt(count, 0u);
    put64(idl + 8 * count, rows);
    expect_bad("a live page on the free list");
    memcpy(data, saved, len);

    put64(idl, count + 1000);
    expect_bad("a free list longer than its value");
    memcpy(data, saved, len);

    put64(newest_meta() + 72 + 40, 1u << 20);
    expect_bad("a root behind the end");
    memcpy(data, saved, len);

    put64(newest_meta() + 128, get64(newest_meta() + 128) + 2);
    expect_bad("metas that are too far apart");
    memcpy(data, saved, len);

    put64(newest_meta() + 120, UINT64_MAX / 2);
    expect_bad("an impossible last page");
    memcpy(data, saved, len);

    uint8_t *value_node = find_page(rows, 2) + get16(find_page(rows, 2) + 16);
    value_node[0] ^= 16;
    expect_bad("a value of another length");
    memcpy(data, saved, len);

    /* Two keys of a leaf exchanged. */
    uint8_t ptr[2];
    memcpy(ptr, leaf + 16, 2);
    memcpy(leaf + 16, leaf + 18, 2);
    memcpy(leaf + 18, ptr, 2);
    expect_bad("keys out of order");
    memcpy(data, saved, len);
    free(saved);
    free(data);
    fix_fini(&f);
}
