/* SPDX-License-Identifier: Apache-2.0
 * A model of store/ (store/store.h): what is committed lives in struct disk and survives the
 * process; what is queued dies with it. Writes of one kind that wait are committed together, log/
 * first; a crash finds the transaction under way on the disk or not at all. As the real store,
 * state/ is given up when the machine loses power, log/ is not. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "store/store.h"
#include "tests/sim/disk_int.h"

#define QUEUE_MAX 4096u

static void *grab(size_t bytes)
{
    void *p = calloc(1, bytes + 1);
    ENSURE(p != NULL);
    return p;
}

static void *copy(const void *data, size_t len)
{
    void *p = grab(len);
    if (len > 0)
        memcpy(p, data, len);
    return p;
}

static void push(struct list_of_ops *l, struct op *op)
{
    op->next = NULL;
    *l->last = op;
    l->last = &op->next;
    l->count++;
}

static void clear(struct list_of_ops *l)
{
    *l = (struct list_of_ops){.last = &l->first};
}

/* ---- rows ---------------------------------------------------------------------------------- */

static struct kept *insert(struct disk *d, const struct record *rec, uint64_t hash)
{
    if (d->rows == d->cap) {
        d->cap = d->cap == 0 ? 64 : d->cap * 2;
        d->by_key = realloc(d->by_key, d->cap * sizeof(struct kept *));
        d->by_hash = realloc(d->by_hash, d->cap * sizeof(struct kept *));
        ENSURE(d->by_key != NULL && d->by_hash != NULL);
    }
    struct kept *k = grab(sizeof *k);
    size_t at = key_at(d, rec->kind, rec->key, rec->key_len), hat = hash_at(d, hash);
    memmove(&d->by_key[at + 1], &d->by_key[at], (d->rows - at) * sizeof(struct kept *));
    memmove(&d->by_hash[hat + 1], &d->by_hash[hat], (d->rows - hat) * sizeof(struct kept *));
    d->by_key[at] = k;
    d->by_hash[hat] = k;
    d->rows++;
    k->hash = hash;
    k->rec.key = copy(rec->key, rec->key_len);
    k->rec.value = NULL;
    return k;
}

static void apply_one(struct disk *d, const struct record *rec, struct store_change *change)
{
    uint64_t hash = record_key_hash(rec->kind, rec->key, rec->key_len);
    struct kept *k = find(d, rec->kind, rec->key, rec->key_len);
    *change = (struct store_change){.key_hash = hash, .existed = k != NULL};
    if (k != NULL)
        change->before = k->rec.version;
    if (k != NULL && !record_is_newer(rec->version, k->rec.version))
        return;
    if (k == NULL)
        k = insert(d, rec, hash);
    const char *key = k->rec.key;
    free((void *)(uintptr_t)k->rec.value);
    k->rec = *rec;
    k->rec.key = key;
    k->rec.value = copy(rec->value, rec->value_len);
    k->index = ++d->index[0];
    d->index[rec->kind] = k->index;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    k->stored_unix_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
    change->applied = true;
    change->index = k->index;
}

static int purge_one(struct disk *d, const struct record *rec)
{
    struct kept *k = find(d, rec->kind, rec->key, rec->key_len);
    if (k == NULL)
        return 0;
    if (record_is_newer(k->rec.version, rec->version))
        return ERR_VERSION;
    size_t at = key_at(d, rec->kind, rec->key, rec->key_len), hat = hash_at(d, k->hash);
    d->rows--;
    memmove(&d->by_key[at], &d->by_key[at + 1], (d->rows - at) * sizeof(struct kept *));
    memmove(&d->by_hash[hat], &d->by_hash[hat + 1], (d->rows - hat) * sizeof(struct kept *));
    d->index[0]++;
    return 0;
}

/* ---- log/ ---------------------------------------------------------------------------------- */

static void put_intent(struct disk *d, const struct store_log_intent *row)
{
    size_t i = 0;
    while (i < d->intent_count &&
           (d->intent[i].kind != row->kind || d->intent[i].key_len != row->key_len ||
            memcmp(d->intent[i].key, row->key, row->key_len) != 0))
        i++;
    if (row->deleted) {
        if (i < d->intent_count)
            d->intent[i] = d->intent[--d->intent_count];
        return;
    }
    if (i == d->intent_cap) {
        d->intent_cap = d->intent_cap == 0 ? 64 : d->intent_cap * 2;
        d->intent = realloc(d->intent, d->intent_cap * sizeof *d->intent);
        ENSURE(d->intent != NULL);
    }
    d->intent_count += i == d->intent_count;
    d->intent[i] = *row;
    d->intent[i].key = copy(row->key, row->key_len);
    d->intent[i].value = copy(row->value, row->value_len);
}

static void put_entry(struct disk *d, const struct store_log_entry *e)
{
    ENSURE(e->index > d->base_index);
    size_t at = e->index - d->base_index - 1;
    while (at >= d->entry_cap) {
        size_t cap = d->entry_cap == 0 ? 256 : d->entry_cap * 2;
        d->entries = realloc(d->entries, cap * sizeof *d->entries);
        ENSURE(d->entries != NULL);
        d->entry_cap = cap;
    }
    d->entries[at] = *e;
    d->entries[at].data = copy(e->data, e->len);
    check_entry(d->node, e->index, e->term, hash_bytes(e->data, e->len, e->type));
    if (e->index > d->last_index)
        d->last_index = e->index;
}

static void compact(struct disk *d, uint64_t to, uint64_t term)
{
    uint64_t last = d->last_index;
    if (to <= d->base_index)
        return;
    size_t drop = last < to ? last - d->base_index : to - d->base_index;
    size_t left = last - d->base_index - drop;
    if (left > 0)
        memmove(d->entries, d->entries + drop, left * sizeof *d->entries);
    d->base_index = to;
    d->base_term = term;
    if (d->last_index < to)
        d->last_index = to;
}

static void put_fact(struct disk *d, const struct store_fact *f)
{
    size_t i = 0;
    while (i < d->fact_count && strcmp(d->facts[i].name, f->name) != 0)
        i++;
    ENSURE(i < FACTS_MAX && strlen(f->name) <= 64 && f->len <= sizeof d->facts[i].data);
    d->fact_count += i == d->fact_count;
    memcpy(d->facts[i].name, f->name, strlen(f->name) + 1);
    memcpy(d->facts[i].data, f->data, f->len);
    d->facts[i].len = f->len;
}

static void write_log(struct disk *d, const struct store_log_write *w)
{
    if (w->set_hard_state) {
        d->term = w->term;
        d->vote = w->vote;
    }
    if (w->truncate_from > 0 && w->truncate_from <= d->last_index)
        d->last_index = w->truncate_from > d->base_index ? w->truncate_from - 1 : d->base_index;
    for (size_t i = 0; i < w->entry_count; i++)
        put_entry(d, &w->entries[i]);
    if (w->replace_intent)
        d->intent_count = 0;
    for (size_t i = 0; i < w->intent_count; i++)
        put_intent(d, &w->intent[i]);
    if (w->applied_index > 0) {
        d->applied_index = w->applied_index;
        d->applied_term = w->applied_term;
        check_applied(d->node, w->applied_index, w->applied_term);
    }
    if (w->compact_to > 0)
        compact(d, w->compact_to, w->base_term);
    if (w->config != NULL) {
        memcpy(d->config, w->config, w->config_len);
        d->config_len = w->config_len;
    }
    for (size_t i = 0; i < w->fact_count; i++)
        put_fact(d, &w->facts[i]);
}

/* ---- the writer ------------------------------------------------------------------------------ */

static void commit(struct disk *d, const struct list_of_ops *ops)
{
    for (struct op *op = ops->first; op != NULL; op = op->next) {
        op->err = d->full && op->type != OP_PURGE ? ERR_FULL : 0;
        d->health = op->err;
        if (op->err != 0)
            continue;
        for (size_t i = 0; op->type == OP_APPLY && i < op->count; i++)
            apply_one(d, &op->records[i], &op->changes[i]);
        if (op->type == OP_PURGE)
            op->err = purge_one(d, op->records);
        else if (op->type == OP_LOG)
            write_log(d, &op->log);
    }
}

static void begin(struct store *s);

static void committed(void *arg)
{
    struct store *s = arg;
    if (s->disk->store != s)
        return; /* closed meanwhile */
    if (s->disk->hangs) {
        node_post(s->disk->node, world.now_us + 10000, committed, s);
        return;
    }
    commit(s->disk, &s->flying);
    s->commits++;
    for (struct op *op = s->flying.first, *next; op != NULL; op = next) {
        next = op->next;
        push(&s->done, op);
    }
    clear(&s->flying);
    s->busy = false;
    s->options.notify(s->options.notify_arg);
    begin(s);
}

/* The disk works while the process is paused, but tells it later; that comes to the same. */
static void begin(struct store *s)
{
    struct list_of_ops *from = s->log.count > 0 ? &s->log : &s->state;
    if (s->busy || from->count == 0)
        return;
    bool synced = from == &s->log;
    for (struct op *op = from->first, *next; op != NULL; op = next) {
        next = op->next;
        push(&s->flying, op);
    }
    clear(from);
    s->busy = true;
    uint64_t us = synced ? 100 + draw(world.profile.disk_us) : 20 + draw(200);
    if (chance(world.profile.disk_slow))
        us += draw(world.profile.disk_slow_us);
    node_post(s->disk->node, world.now_us + us, committed, s);
}

static int post(struct store *s, struct list_of_ops *l, struct op *op)
{
    if (l->count >= QUEUE_MAX)
        return ERR_BUSY;
    push(l, op);
    s->writes++;
    begin(s);
    return 0;
}

void store_poll(struct store *s)
{
    for (struct op *op; (op = s->done.first) != NULL;) {
        s->done.first = op->next;
        if (s->done.first == NULL)
            clear(&s->done);
        if (op->applied != NULL)
            op->applied(op->arg, op->err, op->records, op->changes, op->err == 0 ? op->count : 0);
        if (op->done != NULL)
            op->done(op->arg, op->err);
        free(op->records);
        free(op->changes);
        free(op);
    }
}

int store_apply(struct store *s, const struct record *records, size_t count, store_apply_fn done,
                void *arg)
{
    struct op *op = grab(sizeof *op);
    op->type = OP_APPLY;
    op->records = copy(records, count * sizeof *records);
    op->changes = grab(count * sizeof *op->changes);
    op->count = count;
    op->applied = done;
    op->arg = arg;
    for (size_t i = 0; i < count; i++) {
        op->records[i].key = copy(records[i].key, records[i].key_len);
        op->records[i].value = copy(records[i].value, records[i].value_len);
    }
    return post(s, &s->state, op);
}

int store_purge(struct store *s, const struct record *target, void (*done)(void *arg, int err),
                void *arg)
{
    struct op *op = grab(sizeof *op);
    op->type = OP_PURGE;
    op->records = copy(target, sizeof *target);
    op->records->key = copy(target->key, target->key_len);
    op->done = done;
    op->arg = arg;
    return post(s, &s->state, op);
}

int store_poison(struct store *s, const char *why, const void *data, size_t len)
{
    (void)data, (void)len;
    struct op *op = grab(sizeof *op);
    op->type = OP_POISON;
    world_fail("an event was poison: %s", why);
    return post(s, &s->state, op);
}

int store_log_write(struct store *s, const struct store_log_write *w,
                    void (*done)(void *arg, int err), void *arg)
{
    struct op *op = grab(sizeof *op);
    op->type = OP_LOG;
    op->log = *w;
    struct store_log_entry *entries = copy(w->entries, w->entry_count * sizeof *entries);
    struct store_log_intent *intent = copy(w->intent, w->intent_count * sizeof *intent);
    for (size_t i = 0; i < w->entry_count; i++)
        entries[i].data = copy(entries[i].data, entries[i].len);
    for (size_t i = 0; i < w->intent_count; i++) {
        intent[i].key = copy(intent[i].key, intent[i].key_len);
        intent[i].value = copy(intent[i].value, intent[i].value_len);
    }
    op->log.entries = entries;
    op->log.intent = intent;
    struct store_fact *facts = copy(w->facts, w->fact_count * sizeof *facts);
    for (size_t i = 0; i < w->fact_count; i++) {
        facts[i].name = copy(facts[i].name, strlen(facts[i].name) + 1);
        facts[i].data = copy(facts[i].data, facts[i].len);
    }
    op->log.facts = facts;
    if (w->config != NULL)
        op->log.config = copy(w->config, w->config_len);
    op->done = done;
    op->arg = arg;
    return post(s, &s->log, op);
}

int store_fact_put(struct store *s, const char *name, const void *data, size_t len,
                   void (*done)(void *arg, int err), void *arg)
{
    struct store_fact fact = {name, data, len};
    return store_log_write(s, &(struct store_log_write){.facts = &fact, .fact_count = 1}, done,
                           arg);
}

/* ---- life ------------------------------------------------------------------------- */

struct disk *disk_new(struct node *n)
{
    struct disk *d = grab(sizeof *d);
    d->node = n;
    d->epoch = 1;
    return d;
}

void disk_lose(struct disk *d, bool log, bool state)
{
    if (state) {
        d->rows = 0;
        memset(d->index, 0, sizeof d->index);
        d->epoch++;
        d->state_lost = true;
    }
    if (!log)
        return;
    d->term = d->vote = d->base_index = d->base_term = d->last_index = 0;
    d->applied_index = d->applied_term = 0;
    d->intent_count = d->config_len = d->fact_count = 0;
    d->log_lost = true;
}

void disk_wipe(struct disk *d)
{
    disk_lose(d, true, true);
    d->log_lost = d->state_lost = false;
}

uint64_t disk_number(const struct disk *d)
{
    uint64_t number = 0;
    for (size_t i = 0; i < d->fact_count; i++) {
        if (strcmp(d->facts[i].name, "raft.disk") == 0 && d->facts[i].len == sizeof number)
            memcpy(&number, d->facts[i].data, sizeof number);
    }
    return number;
}

void disk_died(struct disk *d, bool power)
{
    struct store *s = d->store;
    d->store = NULL;
    if (s != NULL && s->busy && draw(2) == 0)
        commit(d, &s->flying);
    if (power)
        disk_lose(d, false, true);
}

struct store *disk_reader(struct disk *d)
{
    static struct store reader;
    reader = (struct store){.disk = d};
    return &reader;
}

void disk_full(struct disk *d, bool full)
{
    d->full = full;
}

void disk_hang(struct disk *d, bool hangs)
{
    d->hangs = hangs;
}

int store_open(struct store **ret, const struct store_options *options,
               struct store_report *ret_report, struct errmsg *e)
{
    (void)e;
    struct disk *d = world.current->disk;
    struct store *s = grab(sizeof *s);
    s->disk = d;
    s->options = *options;
    clear(&s->log);
    clear(&s->state);
    clear(&s->done);
    clear(&s->flying);
    d->store = s;
    *ret_report = (struct store_report){
        .state_quarantined = d->state_lost, .log_quarantined = d->log_lost, .rows = d->rows};
    d->state_lost = d->log_lost = false;
    *ret = s;
    return 0;
}

/* Posted writes are finished. */
void store_close(struct store *s)
{
    commit(s->disk, &s->flying);
    commit(s->disk, &s->log);
    commit(s->disk, &s->state);
    clear(&s->flying);
    clear(&s->log);
    clear(&s->state);
    s->busy = false;
    s->disk->store = NULL;
}
