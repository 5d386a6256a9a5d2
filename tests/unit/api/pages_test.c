/* SPDX-License-Identifier: Apache-2.0
 * Snapshots kept between pages are given up by each of their bounds, which are brought near here:
 * as if the snapshot had been taken when the file was smaller, or before other changes. */
#include "agent/api/pages.h"
#include "agent/base/clock.h"
#include "tests/unit/store/fixture.h"

#define GROWTH (4u << 20) /* that is left of PAGES_GROWTH_MAX */

static struct fix f;
static struct pages pages;

static uint64_t keep_one(void)
{
    struct store_txn *txn;
    uint64_t id = pages_number(&pages);
    cr_assert_eq(store_read_begin(f.s, &txn), 0);
    pages_keep(&pages, id, txn);
    cr_assert_eq(pages.slots[0].id, id);
    cr_assert(pages_tick(&pages));
    return id;
}

/* The same row anew: without a snapshot its pages are used again. */
static void write_bytes(uint64_t *version, size_t bytes)
{
    static uint8_t value[256 << 10];
    for (size_t n = 0; n < bytes; n += sizeof value) {
        struct record rec = rec_of(RECORD_TEST, "big", ++*version, NULL);
        rec.value = value;
        rec.value_len = sizeof value;
        cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    }
}

static void begin(void)
{
    fix_open(&f);
    cr_assert_eq(pages_init(&pages, f.s), 0);
}

static void end(void)
{
    pages_fini(&pages);
    fix_fini(&f);
}

Test(pages, the_file_grows_by_so_much_at_most)
{
    struct store_txn *txn;
    uint64_t version = 0;
    begin();
    write_bytes(&version, 1 << 20);
    uint64_t id = keep_one();
    pages.slots[0].bytes -= PAGES_GROWTH_MAX - GROWTH;
    uint64_t before = store_state_bytes(f.s);
    write_bytes(&version, GROWTH / 2);
    cr_assert(pages_tick(&pages), "not yet");
    cr_assert_eq(pages_take(&pages, id, &txn), 0);
    pages_keep(&pages, id, txn);
    write_bytes(&version, GROWTH);
    cr_assert_gt(store_state_bytes(f.s), before + GROWTH, "the snapshot holds what it sees");
    cr_assert(!pages_tick(&pages), "given up");
    cr_assert_eq(pages_take(&pages, id, &txn), ERR_NOTFOUND);
    before = store_state_bytes(f.s);
    write_bytes(&version, 8 * GROWTH);
    cr_assert_lt(store_state_bytes(f.s), before + GROWTH, "it would be 32 MiB more");
    end();
}

/* Who reads a page is not disturbed; the next page is not found any more. */
Test(pages, one_that_is_read_is_given_up_afterwards)
{
    struct store_txn *txn;
    struct store_row row;
    uint64_t version = 0;
    begin();
    write_bytes(&version, 1);
    uint64_t id = keep_one();
    pages.slots[0].bytes -= PAGES_GROWTH_MAX - GROWTH;
    cr_assert_eq(pages_take(&pages, id, &txn), 0);
    write_bytes(&version, 2 * GROWTH);
    cr_assert(pages_tick(&pages), "it is being read");
    cr_assert_eq(store_get_ref(txn, RECORD_TEST, "big", 3, &row), 0);
    cr_assert_eq(row.record.version.hi, 1u);
    pages_keep(&pages, id, txn);
    cr_assert_eq(pages_take(&pages, id, &txn), ERR_NOTFOUND);
    cr_assert(!pages_tick(&pages));
    end();
}

Test(pages, changes_and_time_are_bounds_too)
{
    struct store_txn *txn;
    uint64_t version = 0;
    begin();
    uint64_t id = keep_one();
    pages.slots[0].index -= PAGES_CHANGES_MAX - 2;
    write_bytes(&version, 512 << 10);
    cr_assert(pages_tick(&pages), "two changes");
    write_bytes(&version, 1);
    cr_assert_eq(pages_take(&pages, id, &txn), ERR_NOTFOUND);
    id = keep_one();
    pages.slots[0].began_ms = clock_mono_ms() - PAGES_KEPT_MS - 1;
    cr_assert(!pages_tick(&pages));
    cr_assert_eq(pages_take(&pages, id, &txn), ERR_NOTFOUND);
    end();
}
