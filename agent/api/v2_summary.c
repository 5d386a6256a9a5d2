/* SPDX-License-Identifier: Apache-2.0
 * GET /v2/summary: how many tasks and instances there are of each sort, from one snapshot. Tasks
 * come from the counts that the store keeps, so their number does not matter; instances are read
 * one by one for what only their JSON says. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/span.h"
#include "agent/api/v2.h"

#define SORTS_MAX 1000u      /* texts told of one sort; more are summed up as "others" */
#define INSTANCES_MAX 20000u /* read at most */
#define TALLY_MAX 64u        /* instance types, agent versions */
#define SUMMARY_BYTES (4u << 20)

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

static int put_sorts(struct buf *out, struct store_txn *txn, const char *name, uint8_t kind,
                     enum row_field field, unsigned max)
{
    struct sorts s = {.out = out, .max = max};
    buf_printf(out, ",\"%s\":{", name);
    int err = store_values(txn, kind, field, on_sort, &s);
    if (s.others > 0)
        buf_printf(out, ",\"others\":%" PRIu64, s.others);
    buf_putc(out, '}');
    return err != 0 ? err : out->err;
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

static int put_instances(struct buf *out, struct store_txn *txn)
{
    struct store_query q = {.kind = RECORD_INSTANCE};
    struct instances *n = calloc(1, sizeof *n);
    if (n == NULL)
        return ERR_NOMEM;
    int err = put_total(out, txn, "instances", RECORD_INSTANCE);
    if (err == 0)
        err = put_sorts(out, txn, "by_status", RECORD_INSTANCE, ROW_STATUS, SORTS_MAX);
    if (err == 0)
        err = put_sorts(out, txn, "by_zone", RECORD_INSTANCE, ROW_ZONE, SORTS_MAX);
    if (err == 0)
        err = store_scan(txn, &q, on_instance, n);
    put_tally(out, "by_type", &n->types);
    put_tally(out, "by_ami", &n->images);
    put_tally(out, "by_agent_version", &n->versions);
    free(n);
    return err != 0 ? err : buf_putc(out, '}');
}

static int put_tasks(struct buf *out, struct store_txn *txn, bool by_instance)
{
    static const struct {
        const char *name;
        enum row_field field;
    } sorts[] = {{"by_status", ROW_STATUS},
                 {"by_family", ROW_FAMILY},
                 {"by_task_definition", ROW_REVISION},
                 {"by_environment", ROW_ENVIRONMENT},
                 {"by_cluster", ROW_CLUSTER}};
    int err = put_total(out, txn, "tasks", RECORD_TASK);
    for (size_t i = 0; i < sizeof sorts / sizeof sorts[0] && err == 0; i++)
        err = put_sorts(out, txn, sorts[i].name, RECORD_TASK, sorts[i].field, SORTS_MAX);
    if (err == 0 && by_instance)
        err = put_sorts(out, txn, "by_instance", RECORD_TASK, ROW_INSTANCE, INSTANCES_MAX);
    return err != 0 ? err : buf_putc(out, '}');
}

enum MHD_Result v2_summary(struct request *r)
{
    static const char *const known[] = {"consistency", "max_stale", "by_instance", NULL};
    enum MHD_Result ret;
    struct store_txn *txn;
    struct buf b;
    char index[V2_INDEX_MAX];
    if (problem_check_params(r, known, &ret) || v2_freshness(r, &ret))
        return ret;
    const char *by_instance = request_param(r, "by_instance");
    if (by_instance != NULL && strcmp(by_instance, "true") != 0 &&
        strcmp(by_instance, "false") != 0)
        return problem_reply(r, &(struct problem){.slug = "bad-parameter",
                                                  .detail = "\"by_instance\" must be true or false",
                                                  .pointer = "?by_instance"});
    if (store_read_begin(r->api->store, &txn) != 0)
        return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
    v2_index(r->api, store_txn_index(txn, 0), index);
    buf_init(&b, SUMMARY_BYTES);
    buf_putc(&b, '{');
    int err = put_tasks(&b, txn, by_instance != NULL && by_instance[0] == 't');
    if (err == 0) {
        buf_putc(&b, ',');
        err = put_instances(&b, txn);
    }
    if (err == 0) {
        buf_putc(&b, ',');
        err = put_total(&b, txn, "environments", RECORD_ENVIRONMENT);
    }
    store_read_end(txn);
    buf_printf(&b, "},\"index\":\"%s\"}\n", index);
    if (err != 0) {
        buf_fini(&b);
        return problem_reply(r, &(struct problem){.err = err});
    }
    return reply_json(r, 200, &b, index);
}
