/* SPDX-License-Identifier: Apache-2.0
 * What is found by what JSON says beside the columns: live instances by their attributes, live
 * tasks by when they were created. The JSON is looked at here, and not where the row is born, so
 * that rows from agents of any version are found.
 *
 * An entry's key is short, for there are many:
 *   kind u8, hash of an attribute's name u16, its text and a NUL, key hash of the row u64
 *   kind u8, 1, when it was created in six bytes, key hash of the row u64
 * What they say is written so that memcmp() order is its order. A row that says what cannot be
 * written so is found without it, behind hash or 0: who looks for rows looks at those, too. Two
 * names of one hash cost looks, for a row is asked whether it is one. Whoever changes another
 * member does not touch anything here. */
#include "store/store_int.h"

#include <string.h>

#include "agent/base/hash.h"
#include "agent/base/span.h"

#define NAME_BYTES 3u /* kind, hash of the name */
#define TIMED_BYTES 2u
#define HASH_BYTES 8u
#define TEXT_MAX 120u
#define TIME_BYTES 6u
#define ENTRY_MAX (NAME_BYTES + TEXT_MAX + 1 + HASH_BYTES)
/* Entries of a value that nobody wants which are passed one by one before the rest is jumped over:
 * a step is a tenth of a jump, and most attributes have either few values or one an instance. */
#define STEPS 8u

struct entry {
    uint8_t bytes[ENTRY_MAX];
    size_t len;
};

/* ---- what is written ---- */

/* What the entries of a row are made of; equal ones have equal entries. A task has one in any
 * case. */
struct basis {
    bool is_found; /* it may have entries */
    struct span value;
};

static struct basis basis_of(const struct record *rec, const struct row *fields)
{
    struct basis b = {.is_found = false};
    if (rec == NULL || rec->deleted)
        return b;
    const struct span json = {fields->json.data, fields->json.len};
    b.is_found = rec->kind == RECORD_INSTANCE || rec->kind == RECORD_TASK;
    if (b.is_found)
        b.value = span_get(json, rec->kind == RECORD_TASK ? "createdAt" : "attributes");
    return b;
}

static bool same(const struct basis *a, const struct basis *b)
{
    return a->is_found == b->is_found && a->value.len == b->value.len &&
           (a->value.len == 0 || memcmp(a->value.data, b->value.data, a->value.len) == 0);
}

static void begin_attribute(struct entry *e, const char *name, size_t len)
{
    uint64_t hash = len == 0 ? 0 : hash_bytes(name, len, 0) | 1;
    e->bytes[0] = RECORD_INSTANCE;
    e->bytes[1] = (uint8_t)(hash >> 8);
    e->bytes[2] = (uint8_t)hash;
    e->len = NAME_BYTES;
}

static void begin_task(struct entry *e, bool timed)
{
    e->bytes[0] = RECORD_TASK;
    e->bytes[1] = timed;
    e->len = TIMED_BYTES;
}

static void end(struct entry *e, uint64_t key_hash)
{
    put_be64(e->bytes + e->len, key_hash);
    e->len += HASH_BYTES;
}

/* False: it cannot be written. */
static bool put_text(struct entry *e, const char *text, size_t len)
{
    if (len > TEXT_MAX || memchr(text, '\\', len) != NULL || memchr(text, '\0', len) != NULL)
        return false;
    memcpy(e->bytes + e->len, text, len);
    e->bytes[e->len + len] = '\0';
    e->len += len + 1;
    return true;
}

/* "2026-11-22T09:01:00.125Z" as 48 bits: each part in as many as it takes, so their order is that
 * of the texts. False: another form, or no time at all. */
static bool put_created(struct entry *e, const char *text, size_t len)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    static const struct {
        uint8_t at, digits, bits;
    } parts[] = {{0, 4, 12}, {5, 2, 4}, {8, 2, 5}, {11, 2, 5}, {14, 2, 6}, {17, 2, 6}, {20, 3, 10}};
    uint64_t packed = 0;
    if (len != sizeof form - 1)
        return false;
    for (size_t i = 0; i < len; i++)
        if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        unsigned n = 0;
        for (unsigned i = 0; i < parts[p].digits; i++)
            n = 10 * n + (unsigned)(text[parts[p].at + i] - '0');
        if (p == 0) /* years from 1970 on */
            n -= n < 1970 ? n : 1970;
        if (n >> parts[p].bits != 0 || (p == 0 && n == 0))
            return false;
        packed = packed << parts[p].bits | n;
    }
    for (size_t i = 0; i < TIME_BYTES; i++)
        e->bytes[e->len++] = (uint8_t)(packed >> (8 * (TIME_BYTES - 1 - i)));
    return true;
}

static bool starts_with(const char *text, size_t len, const char *with)
{
    size_t n = strlen(with);
    return len >= n && memcmp(text, with, n) == 0;
}

/* Not what all instances can do, some fifty attributes each; zones have a column. */
static bool is_ordered(const char *name, size_t len)
{
    static const char zone[] = "ecs.availability-zone";
    return len > 0 && !starts_with(name, len, "ecs.capability.") &&
           !starts_with(name, len, "com.amazonaws.ecs.capability.") &&
           !(len == sizeof zone - 1 && memcmp(name, zone, len) == 0);
}

/* Where the entries of one row go, or are taken away from. */
struct writing {
    struct store *s;
    MDB_txn *txn;
    uint8_t kind;
    bool add;
    uint64_t key_hash;
};

/* The entry as far as it is written, which is counted unless it is of no name. */
static int put(struct writing *w, struct entry *e, bool counted)
{
    MDB_val none = {0, e->bytes};
    int rc = 0;
    size_t len = e->len;
    end(e, w->key_hash);
    MDB_val key = {e->len, e->bytes};
    w->s->places++;
    if (w->add)
        rc = mdb_put(w->txn, w->s->ordered, &key, &none, MDB_NOOVERWRITE);
    else
        rc = mdb_del(w->txn, w->s->ordered, &key, NULL);
    if (rc == MDB_KEYEXIST || rc == MDB_NOTFOUND)
        return 0; /* an attribute that an instance has twice */
    if (rc != 0 || !counted)
        return rc;
    const struct row_text text = {(const char *)e->bytes, len};
    return index_count(w->s, w->txn, w->kind, ORDERED_FIELD, &text, w->add ? 1 : -1);
}

static int put_nameless(struct writing *w)
{
    struct entry e;
    if (w->kind == RECORD_TASK)
        begin_task(&e, false);
    else
        begin_attribute(&e, "", 0);
    return put(w, &e, false);
}

static int put_attribute(struct writing *w, struct span name, struct span value)
{
    struct entry e;
    const struct span text = span_inside(value); /* without one it is "" */
    if (!span_is_text(name))
        return 0;
    if (memchr(name.data, '\\', name.len) != NULL)
        return put_nameless(w);
    name = span_inside(name);
    if (!is_ordered(name.data, name.len))
        return 0;
    begin_attribute(&e, name.data, name.len);
    return put_text(&e, text.data == NULL ? "" : text.data, text.len) ? put(w, &e, true)
                                                                      : put_nameless(w);
}

static int put_all(struct writing *w, const struct basis *b)
{
    static const struct span_name names[] = {SPAN_NAME("name"), SPAN_NAME("value")};
    struct span element, member[2];
    struct entry e;
    int rc = 0;
    if (!b->is_found)
        return 0;
    if (w->kind == RECORD_TASK) {
        const struct span text = span_inside(b->value);
        begin_task(&e, true);
        return put_created(&e, text.data, text.len) ? put(w, &e, false) : put_nameless(w);
    }
    for (size_t at = 0; rc == 0 && span_element(b->value, &at, &element);) {
        span_pick(element, names, 2, member);
        rc = put_attribute(w, member[0], member[1]);
    }
    return rc;
}

int ordered_update(struct store *s, MDB_txn *txn, const struct record *before,
                   const struct row *old, const struct record *after, const struct row *new)
{
    const struct record *rec = before != NULL ? before : after;
    const struct basis a = basis_of(before, old), b = basis_of(after, new);
    struct writing w = {.s = s, .txn = txn, .kind = rec->kind};
    if (same(&a, &b))
        return 0;
    w.key_hash = record_key_hash(rec->kind, rec->key, rec->key_len);
    int rc = put_all(&w, &a);
    w.add = true;
    return rc != 0 ? rc : put_all(&w, &b);
}

int ordered_clear(struct store *s, MDB_txn *txn)
{
    uint8_t prefix[2] = {RECORD_INSTANCE, ORDERED_FIELD};
    MDB_cursor *cursor;
    MDB_val key = {sizeof prefix, prefix};
    MDB_val val;
    int rc = mdb_drop(txn, s->ordered, 0);
    if (rc != 0 || (rc = mdb_cursor_open(txn, s->counts, &cursor)) != 0)
        return rc;
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
        if (key.mv_size < sizeof prefix || memcmp(key.mv_data, prefix, sizeof prefix) != 0)
            break;
        if ((rc = mdb_cursor_del(cursor, 0)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- what is read (any thread) ---- */

static bool entry_has(const MDB_val *key, const struct entry *prefix)
{
    return key->mv_size >= prefix->len + HASH_BYTES &&
           memcmp(key->mv_data, prefix->bytes, prefix->len) == 0;
}

static uint64_t hash_of(const MDB_val *key)
{
    return get_be64((const uint8_t *)key->mv_data + key->mv_size - HASH_BYTES);
}

/* All rows under exactly that prefix. 1: fn had enough. */
static int each_hash(MDB_cursor *cursor, const struct entry *prefix,
                     int (*fn)(void *arg, uint64_t key_hash), void *arg, uint64_t *ret_count)
{
    MDB_val key = {prefix->len, (void *)(uintptr_t)prefix->bytes};
    MDB_val val;
    int rc, err = 0;
    *ret_count = 0;
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE);
         rc == 0 && err == 0 && entry_has(&key, prefix);
         rc = err == 0 ? mdb_cursor_get(cursor, &key, &val, MDB_NEXT) : 0) {
        if (key.mv_size != prefix->len + HASH_BYTES)
            continue;
        ++*ret_count;
        err = fn(arg, hash_of(&key));
    }
    return err != 0 ? err : rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

/* Behind all entries of the value that this one has. */
static void jump_over(const MDB_val *entry, struct entry *ret)
{
    ret->len = entry->mv_size - HASH_BYTES;
    memcpy(ret->bytes, entry->mv_data, ret->len);
    ret->bytes[ret->len - 1] = '\1'; /* its text's end */
}

/* The values of that name, in order: those of them that are wanted. */
static int each_wanted(const struct store_attribute *a, MDB_cursor *cursor,
                       const struct entry *name, const char **ret_damage)
{
    MDB_val key = {name->len, (void *)(uintptr_t)name->bytes};
    MDB_val val, last = {0, NULL};
    struct entry next;
    bool wanted = false;
    unsigned steps = 0;
    int err = 0;
    int rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE);
    while (rc == 0 && entry_has(&key, name)) {
        size_t value = key.mv_size - HASH_BYTES; /* where its text has ended */
        const char *bytes = key.mv_data;
        if (value == name->len || value > sizeof next.bytes - HASH_BYTES ||
            memchr(bytes + name->len, '\0', value - name->len) != bytes + value - 1) {
            *ret_damage = "an entry of an attribute is damaged";
            rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT);
            continue;
        }
        if (last.mv_size != value || memcmp(last.mv_data, bytes, value) != 0) {
            wanted = a->wants == NULL || a->wants(a->arg, bytes + name->len);
            last = (MDB_val){value, key.mv_data};
            steps = 0;
        }
        if (wanted && (err = a->fn(a->arg, hash_of(&key))) != 0)
            return err;
        MDB_cursor_op op = MDB_NEXT;
        if (!wanted && ++steps == STEPS) {
            jump_over(&key, &next);
            key = (MDB_val){next.len, next.bytes};
            op = MDB_SET_RANGE;
        }
        rc = mdb_cursor_get(cursor, &key, &val, op);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

/* A whole walk knows how many there should have been: a lost entry shows here. */
static void check_count(struct store_txn *txn, const struct entry *e, uint64_t met)
{
    uint8_t prefix[INDEX_PREFIX];
    uint64_t count;
    index_prefix(e->bytes[0], ORDERED_FIELD, e->bytes, e->len, prefix);
    if (counts_get(txn->txn, txn->store->counts, prefix, &count) != 0 || count != met)
        store_want_repair(txn->store, "the entries of an attribute and their count disagree");
}

int store_attribute_scan(struct store_txn *txn, const struct store_attribute *a)
{
    MDB_cursor *cursor;
    struct entry name, nameless;
    const char *damage = NULL;
    uint64_t met;
    size_t len = strlen(a->name);
    if (txn->past != NULL || !is_ordered(a->name, len))
        return ERR_BADPARAM;
    int rc = mdb_cursor_open(txn->txn, txn->store->ordered, &cursor);
    if (rc != 0)
        return store_err(rc);
    begin_attribute(&nameless, "", 0);
    begin_attribute(&name, a->name, len);
    int err = each_hash(cursor, &nameless, a->fn, a->arg, &met);
    if (err == 0 && a->value == NULL) {
        err = each_wanted(a, cursor, &name, &damage);
    } else if (err == 0 && put_text(&name, a->value, strlen(a->value))) {
        err = each_hash(cursor, &name, a->fn, a->arg, &met);
        if (err == 0)
            check_count(txn, &name, met);
    }
    mdb_cursor_close(cursor);
    if (damage != NULL)
        store_want_repair(txn->store, damage);
    return err > 0 ? 0 : err;
}

/* The row behind an entry of that prefix. ERR_NOTFOUND: it is damaged, and so is said. */
static int created_row(struct store_txn *txn, const MDB_val *key, struct store_row *ret)
{
    struct entry e;
    struct row fields = {0};
    int err = store_get_by_hash_ref(txn, hash_of(key), ret);
    if (err != 0 && err != ERR_NOTFOUND)
        return err;
    if (err == 0 && ret->record.kind == RECORD_TASK) {
        (void)row_fields(&ret->record, &fields);
        const struct basis b = basis_of(&ret->record, &fields);
        const struct span text = span_inside(b.value);
        begin_task(&e, true);
        bool timed = b.is_found && put_created(&e, text.data, text.len);
        if (key->mv_size == TIMED_BYTES + HASH_BYTES ? b.is_found && !timed
                                                     : timed && entry_has(key, &e))
            return 0;
    }
    store_want_repair(txn->store, "an entry of a creation is of another row");
    return ERR_NOTFOUND;
}

/* The walk begins with the first entry from there on; down, with the last one before it. False: it
 * cannot begin. */
static bool creation_start(const struct store_creation *c, struct entry *ret)
{
    begin_task(ret, true);
    if (c->after != NULL) {
        if (!put_created(ret, c->after, c->after_len))
            return false;
        end(ret, record_key_hash(RECORD_TASK, c->after_key, c->after_key_len));
    } else if (c->down) {
        memset(ret->bytes + ret->len, 0xff, TIME_BYTES + HASH_BYTES);
        ret->len += TIME_BYTES + HASH_BYTES;
    }
    return true;
}

static int first_entry(MDB_cursor *cursor, const struct store_creation *c, MDB_val *key)
{
    struct entry start;
    MDB_val val;
    if (!creation_start(c, &start))
        return ERR_BADPARAM;
    *key = (MDB_val){start.len, start.bytes};
    int rc = mdb_cursor_get(cursor, key, &val, MDB_SET_RANGE);
    if (c->down)
        return mdb_cursor_get(cursor, key, &val, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
    bool is_last = rc == 0 && key->mv_size == start.len && c->after != NULL &&
                   memcmp(key->mv_data, start.bytes, start.len) == 0;
    return is_last ? mdb_cursor_get(cursor, key, &val, MDB_NEXT) : rc;
}

static int walk_created(struct store_txn *txn, const struct store_creation *c, MDB_cursor *cursor,
                        uint64_t *met)
{
    struct entry prefix;
    MDB_val key;
    MDB_val val;
    int err = 0;
    begin_task(&prefix, true);
    int rc = first_entry(cursor, c, &key);
    while (rc == 0 && err == 0 && entry_has(&key, &prefix)) {
        struct store_row row;
        err = created_row(txn, &key, &row);
        *met += err == 0;
        err = err == 0 ? c->fn(c->arg, &row) : err == ERR_NOTFOUND ? 0 : err;
        if (err == 0)
            rc = mdb_cursor_get(cursor, &key, &val, c->down ? MDB_PREV : MDB_NEXT);
    }
    return err != 0 ? err : rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

struct untimed {
    struct store_txn *txn;
    const struct store_creation *c;
};

static int on_untimed(void *arg, uint64_t key_hash)
{
    struct untimed *u = arg;
    struct store_row row;
    uint8_t bytes[TIMED_BYTES + HASH_BYTES];
    put_be64(bytes + TIMED_BYTES, key_hash);
    int err = created_row(u->txn, &(MDB_val){sizeof bytes, bytes}, &row);
    return err == 0 ? u->c->untimed(u->c->arg, &row) : err == ERR_NOTFOUND ? 0 : err;
}

int store_creation_scan(struct store_txn *txn, const struct store_creation *c)
{
    struct untimed u = {txn, c};
    struct entry nameless;
    MDB_cursor *cursor;
    uint64_t met, live;
    if (txn->past != NULL)
        return ERR_BADPARAM;
    int rc = mdb_cursor_open(txn->txn, txn->store->ordered, &cursor);
    if (rc != 0)
        return store_err(rc);
    begin_task(&nameless, false);
    int err = each_hash(cursor, &nameless, on_untimed, &u, &met);
    if (err == 0)
        err = walk_created(txn, c, cursor, &met);
    mdb_cursor_close(cursor);
    /* As above: each live task has one entry. */
    if (err == 0 && c->after == NULL &&
        (store_count(txn, RECORD_TASK, 0, NULL, &live) != 0 || live != met))
        store_want_repair(txn->store, "the entries of creations and the count of tasks disagree");
    return err > 0 ? 0 : err;
}
