/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model_kind.h"

#include <string.h>

#include "agent/base/hash.h"
#include "scheduler/model_attributes.h"
#include "scheduler/model_table.h"

#define ID_DIGITS (2u * MODEL_TASK_ID)

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ".../<32 hexadecimal digits>", as ECS makes them: the length of what is before the digits. 0: it
 * is another kind of text, which is held whole. */
static size_t split(const char *arn, uint8_t id[MODEL_TASK_ID])
{
    size_t len = strlen(arn);
    if (len <= ID_DIGITS || arn[len - ID_DIGITS - 1] != '/')
        return 0;
    const char *digits = arn + len - ID_DIGITS;
    for (size_t i = 0; i < MODEL_TASK_ID; i++) {
        int high = digit_of(digits[2 * i]), low = digit_of(digits[2 * i + 1]);
        if (high < 0 || low < 0)
            return 0;
        id[i] = (uint8_t)(high << 4 | low);
    }
    return len - ID_DIGITS;
}

const char *model_task_arn(const struct model_task *task, char out[MODEL_ARN_MAX])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = strlen(task->kind->head->text);
    memcpy(out, task->kind->head->text, at);
    for (size_t i = 0; task->has_id && i < MODEL_TASK_ID; i++) {
        out[at++] = digits[task->id[i] >> 4];
        out[at++] = digits[task->id[i] & 15];
    }
    out[at] = '\0';
    return out;
}

static uint64_t hash_of(const struct model_name *name)
{
    return name ? name->hash : 0;
}

static struct model_kind *find_kind(const struct model_table *t, const struct model_kind *like)
{
    for (size_t i = like->hash & (t->cap - 1); t->cap && t->slots[i].entry;
         i = (i + 1) & (t->cap - 1)) {
        struct model_kind *kind = t->slots[i].entry;
        if (kind->head == like->head && kind->group == like->group &&
            kind->started_by == like->started_by)
            return kind;
    }
    return NULL;
}

static void drop_names(struct model *m, const struct model_kind *kind)
{
    model_drop_name(m, kind->head);
    model_drop_name(m, kind->group);
    model_drop_name(m, kind->started_by);
}

static int hold_names(struct model *m, const char *head, const struct model_task_row *row,
                      struct model_kind *ret)
{
    int rv = model_hold_name(m, head, &ret->head);
    if (!rv)
        rv = model_hold_name(m, row->group, &ret->group);
    if (!rv)
        rv = model_hold_name(m, row->started_by, &ret->started_by);
    if (rv) {
        drop_names(m, ret);
        return rv;
    }
    ret->hash =
        hash_mix(hash_mix(hash_of(ret->head) ^ hash_of(ret->group)) ^ hash_of(ret->started_by));
    return 0;
}

/* The names are held already, and are the kind's own from then on. */
static struct model_kind *new_kind(struct model *m, const struct model_kind *like)
{
    if (model_table_reserve(m, &m->kind_table))
        return NULL;
    struct model_kind *kind = m->resize(m->arg, NULL, sizeof *kind);
    if (!kind)
        return NULL;
    *kind = *like;
    model_table_add(&m->kind_table, kind->hash, kind);
    return kind;
}

int model_kind_hold(struct model *m, struct model_task *task, const struct model_task_row *row)
{
    uint8_t id[MODEL_TASK_ID];
    char head[MODEL_ARN_MAX];
    struct model_kind like = {0};
    size_t len = split(row->arn, id);
    bool has_id = len > 0;
    if (!has_id)
        len = strlen(row->arn);
    memcpy(head, row->arn, len);
    head[len] = '\0';
    int rv = hold_names(m, head, row, &like);
    if (rv)
        return rv;
    struct model_kind *kind = find_kind(&m->kind_table, &like);
    bool is_new = !kind;
    if (is_new)
        kind = new_kind(m, &like);
    if (!kind || !is_new)
        drop_names(m, &like);
    if (!kind)
        return ERR_NOMEM;
    kind->users++;
    task->kind = kind;
    task->has_id = has_id;
    if (has_id)
        memcpy(task->id, id, sizeof id);
    return 0;
}

void model_kind_drop(struct model *m, struct model_kind *kind)
{
    if (--kind->users > 0)
        return;
    model_table_remove(&m->kind_table, kind->hash, kind);
    drop_names(m, kind);
    m->resize(m->arg, kind, 0);
}
