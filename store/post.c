/* SPDX-License-Identifier: Apache-2.0
 * Posting writes: everything the caller passes is copied into one block of memory behind
 * the operation, then queued for the writer. Loop thread. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>

/* Carves an op's block: arrays first (aligned), bytes behind them. */
struct carve {
    char *at;
    size_t left;
};

static void *carve_array(struct carve *c, size_t bytes)
{
    size_t step = (bytes + 15) & ~(size_t)15;
    if (bytes == 0 || step > c->left)
        return NULL;
    void *p = c->at;
    c->at += step;
    c->left -= step;
    return p;
}

/* Never NULL, so that "absent" and "empty" stay different. */
static const void *carve_copy(struct carve *c, const void *data, size_t len)
{
    char *p = c->at;
    if (len > c->left)
        return NULL;
    if (len > 0)
        memcpy(p, data, len);
    c->at += len;
    c->left -= len;
    return p;
}

static size_t array_room(size_t count, size_t size)
{
    return (count * size + 15) & ~(size_t)15;
}

static struct op *op_new(enum op_type type, size_t room, struct carve *ret)
{
    size_t head = array_room(1, sizeof(struct op));
    struct op *op = malloc(head + room + 1);
    if (op == NULL)
        return NULL;
    memset(op, 0, sizeof *op);
    list_init(&op->link);
    op->type = type;
    op->bytes = head + room;
    *ret = (struct carve){(char *)op + head, room + 1};
    return op;
}

static int post(struct store *s, struct queue *q, struct op *op)
{
    bool wakes = false;
    pthread_mutex_lock(&s->lock);
    bool fits = !s->stopping && q->count < STORE_QUEUE_OPS &&
                (q->count == 0 || q->bytes + op->bytes <= STORE_QUEUE_BYTES);
    if (fits) {
        list_push(&q->ops, &op->link);
        q->count++;
        q->bytes += op->bytes;
        q->records += op_records(op);
        atomic_store(&s->queue_depth, s->log_queue.count + s->state_queue.count);
        wakes = q == &s->log_queue || !s->gathering || q->records >= STORE_BATCH_RECORDS;
    }
    pthread_mutex_unlock(&s->lock);
    if (wakes) /* after the unlocking, which is the first that the thread would wait for */
        pthread_cond_signal(q == &s->log_queue ? &s->log_wake : &s->wake);
    if (!fits)
        free(op);
    return fits ? 0 : ERR_BUSY;
}

static bool record_fits(const struct record *rec)
{
    return rec->kind > 0 && rec->kind < RECORD_KIND_END && rec->key_len > 0 &&
           rec->key_len <= RECORD_KEY_MAX && rec->value_len <= RECORD_VALUE_MAX;
}

int store_apply(struct store *s, const struct record *records, size_t count, store_apply_fn done,
                void *arg)
{
    struct carve c;
    size_t room =
        array_room(count, sizeof *records) + array_room(count, sizeof(struct store_change));
    for (size_t i = 0; i < count; i++) {
        if (!record_fits(&records[i]))
            return ERR_BADPARAM;
        room += (size_t)records[i].key_len + records[i].value_len;
    }
    struct op *op = op_new(OP_APPLY, room, &c);
    if (op == NULL)
        return ERR_NOMEM;
    op->records = carve_array(&c, count * sizeof *records);
    op->changes = carve_array(&c, count * sizeof(struct store_change));
    op->count = count;
    op->apply_done = done;
    op->arg = arg;
    for (size_t i = 0; i < count; i++) {
        struct record *rec = &op->records[i];
        *rec = records[i];
        rec->key = carve_copy(&c, rec->key, rec->key_len);
        rec->value = carve_copy(&c, rec->value, rec->value_len);
        op->changes[i] = (struct store_change){0};
    }
    return post(s, &s->state_queue, op);
}

int store_purge(struct store *s, const struct record *target, void (*done)(void *arg, int err),
                void *arg)
{
    struct carve c;
    if (!record_fits(target))
        return ERR_BADPARAM;
    struct op *op = op_new(OP_PURGE, target->key_len, &c);
    if (op == NULL)
        return ERR_NOMEM;
    op->target = *target;
    op->target.key = carve_copy(&c, target->key, target->key_len);
    op->target.value = NULL;
    op->target.value_len = 0;
    op->done = done;
    op->arg = arg;
    return post(s, &s->state_queue, op);
}

int store_poison(struct store *s, const char *why, const void *data, size_t len)
{
    struct carve c;
    size_t why_len = strnlen(why, 255);
    if (len > STORE_POISON_MAX)
        len = STORE_POISON_MAX;
    struct op *op = op_new(OP_POISON, why_len + 1 + len, &c);
    if (op == NULL)
        return ERR_NOMEM;
    op->data = carve_copy(&c, data, len);
    op->len = len;
    op->name = carve_copy(&c, why, why_len);
    (void)carve_copy(&c, "", 1);
    return post(s, &s->state_queue, op);
}

static size_t log_room(const struct store_log_write *w)
{
    size_t room = array_room(w->entry_count, sizeof *w->entries) +
                  array_room(w->intent_count, sizeof *w->intent) +
                  array_room(w->fact_count, sizeof *w->facts) + w->config_len;
    for (size_t i = 0; i < w->fact_count; i++)
        room += strlen(w->facts[i].name) + 1 + w->facts[i].len;
    for (size_t i = 0; i < w->entry_count; i++)
        room += w->entries[i].len;
    for (size_t i = 0; i < w->intent_count; i++)
        room += (size_t)w->intent[i].key_len + w->intent[i].value_len;
    return room;
}

static int log_check(const struct store_log_write *w)
{
    for (size_t i = 0; i < w->intent_count; i++) {
        const struct store_log_intent *row = &w->intent[i];
        if (row->kind == 0 || row->kind >= RECORD_KIND_END || row->key_len == 0 ||
            row->key_len > RECORD_KEY_MAX)
            return ERR_BADPARAM;
    }
    for (size_t i = 0; i < w->fact_count; i++) {
        size_t name_len = strlen(w->facts[i].name);
        if (name_len == 0 || name_len > STORE_FACT_NAME_MAX)
            return ERR_BADPARAM;
        if (w->facts[i].len > STORE_FACT_MAX)
            return ERR_TOOBIG;
    }
    return w->config_len > STORE_CONFIG_MAX ? ERR_TOOBIG : 0;
}

int store_log_write(struct store *s, const struct store_log_write *w,
                    void (*done)(void *arg, int err), void *arg)
{
    struct carve c;
    int err = log_check(w);
    if (err != 0)
        return err;
    struct op *op = op_new(OP_LOG, log_room(w), &c);
    if (op == NULL)
        return ERR_NOMEM;
    struct store_log_entry *entries = carve_array(&c, w->entry_count * sizeof *entries);
    struct store_log_intent *intent = carve_array(&c, w->intent_count * sizeof *intent);
    struct store_fact *facts = carve_array(&c, w->fact_count * sizeof *facts);
    op->log = *w;
    op->log.entries = entries;
    op->log.intent = intent;
    op->log.facts = facts;
    for (size_t i = 0; i < w->entry_count; i++) {
        entries[i] = w->entries[i];
        entries[i].data = carve_copy(&c, entries[i].data, entries[i].len);
    }
    for (size_t i = 0; i < w->intent_count; i++) {
        intent[i] = w->intent[i];
        intent[i].key = carve_copy(&c, intent[i].key, intent[i].key_len);
        intent[i].value = carve_copy(&c, intent[i].value, intent[i].value_len);
    }
    for (size_t i = 0; i < w->fact_count; i++) {
        facts[i] = w->facts[i];
        facts[i].name = carve_copy(&c, facts[i].name, strlen(facts[i].name) + 1);
        facts[i].data = carve_copy(&c, facts[i].data, facts[i].len);
    }
    if (w->config != NULL)
        op->log.config = carve_copy(&c, w->config, w->config_len);
    op->done = done;
    op->arg = arg;
    return post(s, &s->log_queue, op);
}

int store_fact_put(struct store *s, const char *name, const void *data, size_t len,
                   void (*done)(void *arg, int err), void *arg)
{
    struct store_fact fact = {name, data, len};
    struct store_log_write w = {.facts = &fact, .fact_count = 1};
    return store_log_write(s, &w, done, arg);
}
