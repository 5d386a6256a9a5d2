/* SPDX-License-Identifier: Apache-2.0
 * Time travel: at= of lists and single rows, and the decisions to start tasks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/find.h"
#include "agent/api/item.h"
#include "agent/api/v2.h"
#include "agent/base/clock.h"

#define DECISIONS_DEFAULT 100
#define DECISIONS_MAX 1000
#define SUBJECT_MAX 400 /* an ARN; what startedBy holds */
#define AGO_MS_MAX (7u * 24 * 3600 * 1000)

static enum MHD_Result bad_at(struct request *r, const char *detail)
{
    return problem_reply(
        r, &(struct problem){.slug = "bad-parameter", .detail = detail, .pointer = "?at"});
}

/* RFC 3339, or "-5m": so long ago. */
static int parse_at(const char *text, int64_t now, int64_t *ret)
{
    uint64_t ago;
    if (text[0] != '-')
        return clock_parse_rfc3339(text, ret);
    int err = v2_parse_time(text + 1, AGO_MS_MAX, &ago);
    *ret = now - (int64_t)ago;
    return err;
}

bool v2_at(struct request *r, int64_t *ret_at, enum MHD_Result *ret)
{
    const char *text = request_param(r, "at");
    int64_t now = clock_unix_ms();
    *ret_at = 0;
    if (text == NULL || text[0] == '\0')
        return false;
    if (request_param(r, "index") != NULL || request_param(r, "wait") != NULL)
        *ret = bad_at(r, "\"at\" asks for the past, which does not change: leave out \"index\" and "
                         "\"wait\"");
    else if (parse_at(text, now, ret_at) != 0)
        *ret = bad_at(r, "\"at\" must be a time like 2026-11-22T14:00:00Z, or -5m for so long ago");
    else if (*ret_at > now)
        *ret = bad_at(r, "\"at\" must not be in the future");
    else
        return false;
    return true;
}

int v2_rewind(struct store_txn *txn, int64_t at)
{
    return at == 0 ? 0 : store_rewind(txn, at, clock_unix_ms());
}

enum MHD_Result v2_past_gone(struct request *r, struct store *store)
{
    char since[CLOCK_TEXT_MAX];
    struct store_txn *txn;
    int64_t now = clock_unix_ms(), from = now;
    if (store_read_begin(store, &txn) == 0) {
        from = store_past_since(txn, now);
        store_read_end(txn);
    }
    if (from >= now)
        return problem_replyf(r, "past-gone", "this agent keeps no earlier rows");
    return problem_replyf(r, "past-gone", "this agent's earlier rows go back to %s",
                          clock_format_unix_ms(from, since));
}

/* ---- decisions ------------------------------------------------------------------------------ */

struct decisions {
    struct buf *out;
    const char *environment, *deployment, *instance; /* NULL: any */
    int64_t at;                                      /* made by then; 0: now */
    uint64_t limit, count;
};

static void put_time(struct buf *out, const char *name, int64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    buf_printf(out, ",\"%s\":\"%s\"", name, clock_format_unix_ms(unix_ms, text));
}

static bool is_or_any(const struct row *fields, enum row_field field, const char *text)
{
    return text == NULL || row_field_is(fields, field, text);
}

static int put_decision(struct decisions *d, const struct store_row *row, int64_t ended_unix_ms)
{
    struct row fields;
    const struct record *rec = &row->record;
    if (rec->deleted || (d->at != 0 && rec->observed_unix_ms > d->at) ||
        row_decode(rec->value, rec->value_len, &fields) != 0 || fields.json.len < 3 ||
        !is_or_any(&fields, ROW_ENVIRONMENT, d->environment) ||
        !is_or_any(&fields, ROW_STARTED_BY, d->deployment) ||
        !is_or_any(&fields, ROW_INSTANCE, d->instance))
        return 0;
    if (d->count++ > 0)
        buf_putc(d->out, ',');
    buf_put(d->out, fields.json.data, fields.json.len - 1);
    put_time(d->out, "decided_at", rec->observed_unix_ms);
    if (ended_unix_ms != 0)
        put_time(d->out, "settled_at", ended_unix_ms);
    buf_putc(d->out, '}');
    return d->out->err != 0 ? d->out->err : d->count == d->limit;
}

static int on_open(void *arg, const struct store_row *row)
{
    return put_decision(arg, row, 0);
}

static int on_past(void *arg, const struct store_row *row, int64_t ended_unix_ms)
{
    return put_decision(arg, row, ended_unix_ms);
}

/* Those whose outcome is not known yet first, then the settled ones, the last first. */
static int find_decisions(struct store_txn *txn, struct decisions *d)
{
    int err = store_scan(txn, &(struct store_query){.kind = RECORD_ATTEMPT}, on_open, d);
    if (err == 0 && d->count < d->limit)
        err = store_past(txn, RECORD_ATTEMPT, on_past, d);
    return err;
}

/* A task's decision is that of its deployment about its instance. */
struct subject {
    char deployment[SUBJECT_MAX], instance[SUBJECT_MAX];
};

static bool copy_text(struct row_text text, char out[SUBJECT_MAX])
{
    if (text.data == NULL || text.len >= SUBJECT_MAX)
        return false;
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

static int find_task(struct store_txn *txn, const char *id, struct subject *ret)
{
    char key[RECORD_KEY_MAX + 1];
    struct store_row row;
    struct row fields;
    int err = find_key(txn, RECORD_TASK, id, key);
    if (err == 0)
        err = store_get_ref(txn, RECORD_TASK, key, strlen(key), &row);
    if (err == 0)
        err = row.record.deleted ? ERR_NOTFOUND
                                 : row_decode(row.record.value, row.record.value_len, &fields);
    if (err == 0 && (!copy_text(fields.field[ROW_STARTED_BY], ret->deployment) ||
                     !copy_text(fields.field[ROW_INSTANCE], ret->instance)))
        err = ERR_NOTFOUND;
    return err;
}

static const char *value_of(struct request *r, const char *name)
{
    const char *value = request_param(r, name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static bool read_limit(struct request *r, uint64_t *ret)
{
    const char *text = value_of(r, "limit");
    char *end = NULL;
    *ret = text == NULL ? DECISIONS_DEFAULT : strtoull(text, &end, 10);
    return text == NULL ||
           (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *ret > 0 && *ret <= DECISIONS_MAX);
}

enum MHD_Result v2_decisions(struct request *r)
{
    static const char *const known[] = {"environment", "instance", "task", "limit", "at", NULL};
    enum MHD_Result ret;
    struct store_txn *txn;
    struct subject subject;
    char key[RECORD_KEY_MAX + 1];
    struct buf b;
    struct decisions d = {
        .out = &b, .environment = value_of(r, "environment"), .instance = value_of(r, "instance")};
    const char *task = value_of(r, "task");
    if (problem_check_params(r, known, &ret) || v2_at(r, &d.at, &ret))
        return ret;
    if (!read_limit(r, &d.limit))
        return problem_reply(
            r, &(struct problem){.slug = "bad-parameter",
                                 .detail = "\"limit\" must be a number from 1 to 1000",
                                 .pointer = "?limit"});
    if (store_read_begin(r->api->store, &txn) != 0)
        return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
    int64_t now = clock_unix_ms();
    int err = d.at != 0 && d.at < store_past_since(txn, now) ? ERR_VERSION : 0;
    if (d.instance != NULL && find_key(txn, RECORD_INSTANCE, d.instance, key) == 0)
        d.instance = key; /* else of none that is here: as it was said */
    if (err == 0 && task != NULL && (err = find_task(txn, task, &subject)) == 0) {
        d.deployment = subject.deployment;
        d.instance = subject.instance;
    }
    buf_init(&b, (DECISIONS_MAX + 1) * 2048u);
    buf_puts(&b, "{\"items\":[");
    if (err == 0)
        err = find_decisions(txn, &d);
    buf_puts(&b, "]");
    put_time(&b, "since", store_past_since(txn, now));
    buf_puts(&b, "}\n");
    store_read_end(txn);
    if (err == 0 && b.err == 0)
        return reply(r, &(struct answer){.status = 200, .type = "application/json", .body = &b});
    buf_fini(&b);
    if (err == ERR_VERSION)
        return v2_past_gone(r, r->api->store);
    if (err == ERR_NOTFOUND)
        return problem_replyf(r, "not-found",
                              "there is no task \"%.300s\" that an environment started", task);
    return problem_reply(r, &(struct problem){.err = ERR_INTERNAL});
}
