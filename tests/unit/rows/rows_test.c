/* SPDX-License-Identifier: Apache-2.0
 * The one door for rows: store first, then peers, then listeners, then whoever brought them; what
 * is not stored is handed to nobody. */
#include "agent/rows/rows.h"

#include "gossip/records.h"
#include "tests/unit/store/fixture.h"

static struct {
    struct store *store;
    char order[64]; /* g: gossip, 1 2: listeners, d: done */
    struct records *records;
    size_t count, listened;
    bool from_peers, in_store;
    struct records_change first;
    int err;
} seen;

static void note(char what)
{
    size_t n = strlen(seen.order);
    cr_assert(n + 1 < sizeof seen.order);
    seen.order[n] = what;
}

void records_stored(struct records *r, const struct records_change *changes, size_t count,
                    bool from_peers)
{
    struct store_txn *txn;
    struct store_row row;
    note('g');
    seen.records = r;
    seen.count = count;
    seen.from_peers = from_peers;
    if (count == 0)
        return;
    seen.first = changes[0];
    cr_assert_eq(store_read_begin(seen.store, &txn), 0);
    seen.in_store = store_get_ref(txn, changes[0].record->kind, changes[0].record->key,
                                  changes[0].record->key_len, &row) == 0;
    store_read_end(txn);
}

static void listener(void *arg, const struct record *records, const struct store_change *changes,
                     size_t count, bool from_peers)
{
    (void)records;
    (void)changes;
    (void)from_peers;
    seen.listened = count;
    note(*(const char *)arg);
}

static void done(void *arg, int err, const struct record *records,
                 const struct store_change *changes, size_t count)
{
    (void)records;
    (void)changes;
    (void)count;
    cr_assert_eq(arg, &seen);
    seen.err = err;
    note('d');
}

static struct record record(const char *key, uint64_t version)
{
    return (struct record){.kind = RECORD_SETTING,
                           .source = SOURCE_EVENT,
                           .key = key,
                           .key_len = (uint16_t)strlen(key),
                           .value = (const uint8_t *)"v",
                           .value_len = 1,
                           .version = {version, 0}};
}

static void wait_for(struct fix *f, const char *order)
{
    while (strlen(seen.order) < strlen(order) && strchr(seen.order, 'd') == NULL) {
        sem_wait(&f->wake);
        store_poll(f->s);
    }
    cr_assert_str_eq(seen.order, order);
    memset(seen.order, 0, sizeof seen.order);
}

static struct rows *open_rows(struct fix *f)
{
    struct rows *r;
    seen.store = f->s;
    cr_assert_eq(rows_create(&r, f->s), 0);
    rows_listen(r, listener, (void *)(uintptr_t) "1");
    rows_listen(r, listener, (void *)(uintptr_t) "2");
    return r;
}

Test(rows, store_then_peers_then_listeners_then_the_caller)
{
    struct fix f;
    struct records *gossip = (struct records *)&f; /* only handed through */
    fix_init(&f);
    fix_reopen(&f);
    struct rows *r = open_rows(&f);
    struct record rec[2] = {record("a", 5), record("b", 1)};
    cr_assert_eq(rows_apply(r, rec, 1, done, &seen), 0);
    wait_for(&f, "12d"); /* no gossip yet */
    cr_assert_eq(seen.err, 0);

    rows_set_gossip(r, gossip);
    rec[0] = record("a", 6);
    cr_assert_eq(rows_apply(r, rec, 2, done, &seen), 0);
    cr_assert_str_eq(seen.order, "", "nothing before the store has it");
    wait_for(&f, "g12d");
    cr_assert_eq(seen.records, gossip);
    cr_assert(seen.in_store);
    cr_assert_not(seen.from_peers);
    cr_assert_eq(seen.count, 2u);
    cr_assert(seen.first.applied && seen.first.existed);
    cr_assert_eq(seen.first.before.hi, 5u);
    cr_assert_eq(seen.first.key_hash, record_key_hash(RECORD_SETTING, "a", 1));

    cr_assert_eq(rows_apply_from_peers(r, rec, 1), 0); /* a duplicate: told, not applied */
    wait_for(&f, "g12");
    cr_assert(seen.from_peers);
    cr_assert_not(seen.first.applied);

    cr_assert_eq(rows_apply(r, NULL, 0, done, &seen), 0); /* a mark in the order of writes */
    wait_for(&f, "g12d");
    cr_assert_eq(seen.err, 0);
    rows_destroy(r);
    fix_fini(&f);
}

Test(rows, what_the_store_refuses_is_handed_to_nobody)
{
    struct fix f;
    fix_init(&f);
    f.options.state_disk_min = UINT64_MAX / 2; /* there is never so much room */
    fix_reopen(&f);
    struct rows *r = open_rows(&f);
    struct record rec = record("a", 1);
    struct record bad = record("", 1);
    rows_set_gossip(r, (struct records *)&f);
    cr_assert_eq(rows_apply(r, &rec, 1, done, &seen), 0);
    wait_for(&f, "d");
    cr_assert_eq(seen.err, ERR_FULL);
    cr_assert_eq(rows_apply(r, &bad, 1, done, &seen), ERR_BADPARAM);
    cr_assert_str_eq(seen.order, "");
    rows_destroy(r);
    fix_fini(&f);
}

/* Of a long batch some were stored before the map was full. */
Test(rows, what_is_stored_of_a_batch_is_handed_on)
{
    enum { MANY = 600 };
    static struct record recs[MANY];
    static char keys[MANY][8], value[3000];
    struct fix f;
    fix_init(&f);
    f.options.state_map_bytes = f.options.state_map_max = 2u << 20;
    fix_reopen(&f);
    struct rows *r = open_rows(&f);
    rows_set_gossip(r, (struct records *)&f);
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        recs[i] = record(keys[i], 1);
        recs[i].value = (const uint8_t *)value;
        recs[i].value_len = sizeof value;
    }
    cr_assert_eq(rows_apply(r, recs, MANY, done, &seen), 0);
    wait_for(&f, "g12d");
    cr_assert_eq(seen.err, ERR_FULL);
    cr_assert(seen.count > 0 && seen.count < MANY, "%zu", seen.count);
    cr_assert_eq(seen.count, fix_count(&f, RECORD_SETTING, 0, NULL));
    cr_assert_eq(seen.listened, seen.count);
    rows_destroy(r);
    fix_fini(&f);
}
