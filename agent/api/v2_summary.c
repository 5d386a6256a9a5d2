/* SPDX-License-Identifier: Apache-2.0
 * GET /v2/summary: how many tasks and instances there are of each sort, from one snapshot. Tasks
 * come from the counts that the store keeps, so their number does not matter; instances are read
 * one by one for what only their JSON says. Of earlier times there are no counts: each row is read.
 *
 * What a client has is known by the newest change of these kinds of rows, so nothing is counted for
 * one that has it; of an earlier time by what was counted, for "an hour ago" is another time now.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/v2.h"
#include "agent/base/hash.h"
#include "agent/base/map.h"
#include "agent/base/span.h"

#define SORTS_MAX 1000u      /* texts told of one sort; more are summed up as "others" */
#define INSTANCES_MAX 20000u /* read at most */
#define TALLY_MAX 64u        /* instance types, agent versions */
#define SUMMARY_BYTES (4u << 20)
#define KINDS (1u << RECORD_TASK | 1u << RECORD_INSTANCE | 1u << RECORD_ENVIRONMENT)

/* What rows are counted by. */
struct sort {
    const char *name;
    enum row_field field;
    unsigned max;
};

static const struct sort task_sorts[] = {{"by_status", ROW_STATUS, SORTS_MAX},
                                         {"by_family", ROW_FAMILY, SORTS_MAX},
                                         {"by_task_definition", ROW_REVISION, SORTS_MAX},
                                         {"by_environment", ROW_ENVIRONMENT, SORTS_MAX},
                                         {"by_cluster", ROW_CLUSTER, SORTS_MAX},
                                         {"by_instance", ROW_INSTANCE, INSTANCES_MAX}};
#define TASK_SORTS (sizeof task_sorts / sizeof task_sorts[0]) /* the last one, if asked for */
static const struct sort instance_sorts[] = {{"by_status", ROW_STATUS, SORTS_MAX},
                                             {"by_zone", ROW_ZONE, SORTS_MAX}};
#define INSTANCE_SORTS (sizeof instance_sorts / sizeof instance_sorts[0])

/* -- members of one object: {"text":rows,...} -------------------------------------- */

struct sorts {
    struct buf *out;
    unsigned max, count;
    uint64_t others;
};

static int on_sort(void *arg, const char *text, size_t len, uint64_t rows)
{
    struct sorts *s = arg;
    if (s->count == s->max) {
        s->others += rows;
        return 0;
    }
    if (s->count++ > 0)
        buf_putc(s->out, ',');
    json_write_string(s->out, text, len);
    return buf_printf(s->out, ":%" PRIu64, rows);
}

static int put_sort(struct buf *out, struct store_txn *txn, uint8_t kind, const struct sort *sort,
                    const struct map *counted)
{
    struct sorts s = {.out = out, .max = sort->max};
    const char *text;
    void *rows;
    int err = 0;
    buf_printf(out, ",\"%s\":{", sort->name);
    if (counted == NULL)
        err = store_values(txn, kind, sort->field, on_sort, &s);
    for (size_t at = 0; counted != NULL && map_next(counted, &at, &text, &rows);)
        (void)on_sort(&s, text, strlen(text), (uint64_t)(uintptr_t)rows);
    if (s.others > 0)
        buf_printf(out, ",\"others\":%" PRIu64, s.others);
    buf_putc(out, '}');
    return err != 0 ? err : out->err;
}

/* -- earlier times ------------------------------------------------------------------ */

struct census {
    const struct sort *sorts;
    size_t count;
    struct map *counted; /* one of each sort: text to number */
};

/* As the store's index knows it: a revision together with its family. */
static bool text_of(const struct row *fields, enum row_field field, char out[RECORD_KEY_MAX + 1])
{
    struct row_text text = fields->field[field], family = fields->field[ROW_FAMILY];
    if (text.data == NULL || (field == ROW_REVISION && family.data == NULL))
        return false;
    int n = field == ROW_REVISION
                ? snprintf(out, RECORD_KEY_MAX + 1, "%.*s:%.*s", (int)family.len, family.data,
                           (int)text.len, text.data)
                : snprintf(out, RECORD_KEY_MAX + 1, "%.*s", (int)text.len, text.data);
    return n >= 0 && n <= (int)RECORD_KEY_MAX;
}

static int on_counted(void *arg, const struct store_row *row)
{
    struct census *c = arg;
    struct row fields;
    char text[RECORD_KEY_MAX + 1];
    int err = 0;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return 0;
    for (size_t i = 0; i < c->count && err == 0; i++)
        if (text_of(&fields, c->sorts[i].field, text)) {
            uintptr_t n = (uintptr_t)map_get(&c->counted[i], text) + 1;
            err = map_put(&c->counted[i], text, (void *)n, NULL);
        }
    return err;
}

/* All sorts of a kind. */
static int put_sorts(struct buf *out, struct store_txn *txn, uint8_t kind, const struct sort *sorts,
                     size_t count, bool past)
{
    struct map counted[TASK_SORTS];
    struct census c = {.sorts = sorts, .count = count, .counted = counted};
    int err = 0;
    for (size_t i = 0; i < count; i++)
        map_init(&counted[i]);
    if (past)
        err = store_scan(txn, &(struct store_query){.kind = kind}, on_counted, &c);
    for (size_t i = 0; i < count && err == 0; i++)
        err = put_sort(out, txn, kind, &sorts[i], past ? &counted[i] : NULL);
    for (size_t i = 0; i < count; i++)
        map_fini(&counted[i]);
    return err;
}

static int put_total(struct buf *out, struct store_txn *txn, const char *name, uint8_t kind)
{
    uint64_t total;
    int err = store_count(txn, kind, 0, NULL, &total);
    if (err == 0)
        buf_printf(out, "\"%s\":{\"total\":%" PRIu64, name, total);
    return err;
}

/* -- what only the JSON of instances says ------------------------------------------ */

struct tally {
    char text[TALLY_MAX][64];
    uint64_t rows[TALLY_MAX];
    unsigned count;
    uint64_t others;
};

struct instances {
    struct tally types, images, versions;
    uint64_t read;
};

static void tally_add(struct tally *t, struct span text)
{
    char copy[64] = "unknown";
    unsigned i = 0;
    if (text.data != NULL && text.len > 0 && text.len < sizeof copy) {
        memcpy(copy, text.data, text.len);
        copy[text.len] = '\0';
    }
    while (i < t->count && strcmp(t->text[i], copy) != 0)
        i++;
    if (i == TALLY_MAX) {
        t->others++;
        return;
    }
    if (i == t->count)
        memcpy(t->text[t->count++], copy, sizeof copy);
    t->rows[i]++;
}

static void put_tally(struct buf *out, const char *name, const struct tally *t)
{
    buf_printf(out, ",\"%s\":{", name);
    for (unsigned i = 0; i < t->count; i++) {
        if (i > 0)
            buf_putc(out, ',');
        json_write_string(out, t->text[i], strlen(t->text[i]));
        buf_printf(out, ":%" PRIu64, t->rows[i]);
    }
    if (t->others > 0)
        buf_printf(out, ",\"others\":%" PRIu64, t->others);
    buf_putc(out, '}');
}

/* The value of an attribute; name with its quotes. */
static struct span attribute_value(struct span attributes, const char *name)
{
    struct span attribute;
    for (size_t at = 0; span_element(attributes, &at, &attribute);)
        if (span_is(span_get(attribute, "name"), name))
            return span_inside(span_get(attribute, "value"));
    return (struct span){NULL, 0};
}

static int on_instance(void *arg, const struct store_row *row)
{
    static const struct span_name names[] = {SPAN_NAME("attributes"), SPAN_NAME("versionInfo")};
    struct instances *n = arg;
    struct span member[2];
    struct row fields;
    if (n->read++ == INSTANCES_MAX)
        return 1;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return 0;
    span_pick((struct span){fields.json.data, fields.json.len}, names, 2, member);
    tally_add(&n->types, attribute_value(member[0], "\"ecs.instance-type\""));
    tally_add(&n->images, attribute_value(member[0], "\"ecs.ami-id\""));
    tally_add(&n->versions, span_inside(span_get(member[1], "agentVersion")));
    return 0;
}

static int put_instances(struct buf *out, struct store_txn *txn, bool past)
{
    struct store_query q = {.kind = RECORD_INSTANCE};
    struct instances *n = calloc(1, sizeof *n);
    if (n == NULL)
        return ERR_NOMEM;
    int err = put_total(out, txn, "instances", RECORD_INSTANCE);
    if (err == 0)
        err = put_sorts(out, txn, RECORD_INSTANCE, instance_sorts, INSTANCE_SORTS, past);
    if (err == 0)
        err = store_scan(txn, &q, on_instance, n);
    put_tally(out, "by_type", &n->types);
    put_tally(out, "by_ami", &n->images);
    put_tally(out, "by_agent_version", &n->versions);
    free(n);
    return err != 0 ? err : buf_putc(out, '}');
}

static int put_tasks(struct buf *out, struct store_txn *txn, bool by_instance, bool past)
{
    int err = put_total(out, txn, "tasks", RECORD_TASK);
    if (err == 0)
        err = put_sorts(out, txn, RECORD_TASK, task_sorts, TASK_SORTS - !by_instance, past);
    return err != 0 ? err : buf_putc(out, '}');
}

static int put_summary(struct buf *out, struct store_txn *txn, bool by_instance, bool past)
{
    buf_putc(out, '{');
    int err = put_tasks(out, txn, by_instance, past);
    if (err == 0)
        err = buf_putc(out, ',');
    if (err == 0)
        err = put_instances(out, txn, past);
    if (err == 0)
        err = buf_putc(out, ',');
    return err != 0 ? err : put_total(out, txn, "environments", RECORD_ENVIRONMENT);
}

/* -- what the client has already ---------------------------------------------------- */

static enum MHD_Result unchanged(struct request *r, const char *index, const char *etag)
{
    return reply(r, &(struct answer){.status = 304, .index = index, .etag = etag});
}

static bool has_summary(struct request *r, uint64_t form, enum MHD_Result *ret)
{
    char etag[V2_ETAG_MAX], index[V2_INDEX_MAX];
    uint64_t seen;
    if (!v2_list_had(r, form, &seen) || store_kinds_index(r->api->store, NULL, KINDS) > seen)
        return false;
    *ret = unchanged(r, v2_index(r->api, seen, index), v2_list_etag(r, seen, form, etag));
    return true;
}

/* ... of earlier: what was counted, without its index. */
static const char *etag_of(const struct buf *counted, uint64_t form, char out[V2_ETAG_MAX])
{
    snprintf(out, V2_ETAG_MAX, "W/\"%016" PRIx64 "-%" PRIx64 "\"",
             hash_bytes(counted->data, counted->len, form), form);
    return out;
}

enum MHD_Result v2_summary(struct request *r)
{
    static const char *const known[] = {"consistency", "max_stale", "by_instance", "at", NULL};
    enum MHD_Result ret;
    struct store_txn *txn;
    struct buf b;
    char index[V2_INDEX_MAX], etag[V2_ETAG_MAX];
    uint64_t form = v2_list_form(r);
    int64_t past;
    if (problem_check_params(r, known, &ret) || v2_freshness(r, &ret) || v2_at(r, &past, &ret))
        return ret;
    const char *by_instance = request_param(r, "by_instance");
    if (by_instance != NULL && strcmp(by_instance, "true") != 0 &&
        strcmp(by_instance, "false") != 0)
        return problem_reply(r, &(struct problem){.slug = "bad-parameter",
                                                  .detail = "\"by_instance\" must be true or false",
                                                  .pointer = "?by_instance"});
    if (past == 0 && has_summary(r, form, &ret))
        return ret;
    if (store_read_begin(r->api->store, &txn) != 0)
        return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
    v2_index(r->api, store_txn_index(txn, 0), index);
    v2_list_etag(r, store_kinds_index(r->api->store, txn, KINDS), form, etag);
    buf_init(&b, SUMMARY_BYTES);
    int err = v2_rewind(txn, past);
    if (err == 0)
        err = put_summary(&b, txn, by_instance != NULL && by_instance[0] == 't', past != 0);
    store_read_end(txn);
    if (err != 0) {
        buf_fini(&b);
        return err == ERR_VERSION ? v2_past_gone(r, r->api->store)
                                  : problem_reply(r, &(struct problem){.err = err});
    }
    if (past != 0 && v2_has_already(r, etag_of(&b, form, etag))) {
        buf_fini(&b);
        return unchanged(r, index, etag);
    }
    buf_printf(&b, "},\"index\":\"%s\"}\n", index);
    return reply(
        r,
        &(struct answer){
            .status = 200, .type = "application/json", .body = &b, .index = index, .etag = etag});
}
