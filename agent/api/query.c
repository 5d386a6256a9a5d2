/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/find.h"
#include "agent/base/hash.h"
#include "agent/base/json.h"
#include "agent/base/span.h"

#define TASKS_MAX 500u /* of one instance, looked at for task:group */
#define GROUP_MAX 256u
#define TEXT_BYTES (64u * 1024) /* of one instance: 256 attributes and more */
#define ANSWERS 16384u          /* instances whose answer is remembered while tasks are listed */

/* One task of an instance, as far as task:group asks. */
struct group_task {
    struct model_other task;
    _Alignas(struct model_name) char group[sizeof(struct model_name) + GROUP_MAX];
};

struct query {
    struct select select;
    bool asks_tasks; /* has a test of task:group */
    bool asks_more;  /* of registeredAt, runningTasksCount or agentVersion */
    char text[TEXT_BYTES];
    size_t text_len;
    const char *attributes[MODEL_ATTRIBUTES_MAX];
    struct group_task *tasks;
    size_t task_count;
    char instance[RECORD_KEY_MAX + 1]; /* query_narrow: the one that is asked for */
    unsigned found;                    /* of them */
    const char *needle;                /* stands in the JSON of an instance that matches; or NULL */
    uint64_t answers[ANSWERS];         /* a hash of the ARN, its last bit the answer; 0: free */
};

int query_new(const char *text, struct query **ret, struct errmsg *e)
{
    struct query *q = calloc(1, sizeof *q);
    if (q == NULL)
        return errmsg_set(e, ERR_NOMEM, "no memory for the filter");
    int err = select_parse(&q->select, text, NULL, e);
    q->asks_tasks = err == 0 && select_asks_groups(&q->select);
    q->asks_more = err == 0 && select_asks_details(&q->select);
    if (q->asks_tasks && (q->tasks = calloc(TASKS_MAX, sizeof *q->tasks)) == NULL)
        err = errmsg_set(e, ERR_NOMEM, "no memory for the filter");
    if (err != 0) {
        query_free(q);
        return err;
    }
    q->needle = select_required_text(&q->select);
    if (q->needle != NULL && q->needle[0] == '\0')
        q->needle = NULL;
    *ret = q;
    return 0;
}

void query_free(struct query *q)
{
    if (q != NULL)
        free(q->tasks);
    free(q);
}

/* ---- an instance as the language sees it ------------------------------------------- */

/* A copy with its NUL, good until the next instance; NULL if there is no text or no room. */
static const char *keep(struct query *q, const char *data, size_t len)
{
    if (data == NULL || len >= TEXT_BYTES - q->text_len)
        return NULL;
    char *at = q->text + q->text_len;
    memcpy(at, data, len);
    at[len] = '\0';
    q->text_len += len + 1;
    return at;
}

/* A JSON string's text. Escapes are rare and go the long way. */
static const char *keep_string(struct query *q, struct span s)
{
    if (!span_is_text(s))
        return NULL;
    if (memchr(s.data, '\\', s.len) == NULL)
        return keep(q, s.data + 1, s.len - 2);
    json_t *text = json_loadb(s.data, s.len, JSON_DECODE_ANY, NULL);
    const char *copy = keep(q, json_string_value(text), json_string_length(text));
    json_decref(text);
    return copy;
}

static const char *keep_field(struct query *q, const struct row *fields, enum row_field field)
{
    const char *text = keep(q, fields->field[field].data, fields->field[field].len);
    return text == NULL ? "" : text;
}

static int64_t time_of(struct query *q, struct span s)
{
    int64_t unix_ms = 0;
    const char *text = keep_string(q, s);
    if (text != NULL && clock_parse_rfc3339(text, &unix_ms) == 0)
        return unix_ms;
    return text == NULL ? (int64_t)(span_double_or(s, 0) * 1000) : 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "name=value"; NULL if it has no name or there is no room. */
static const char *keep_attribute(struct query *q, struct span name, struct span value)
{
    const char *text = keep_string(q, name);
    if (text == NULL)
        return NULL;
    char *end = &q->text[q->text_len - 1];
    bool kept = keep_string(q, value) != NULL || keep(q, "", 0) != NULL;
    *end = kept ? '=' : '\0';
    return kept ? text : NULL;
}

/* Most instances have fifty attributes, and few are asked for. */
static bool is_asked(const struct query *q, struct span name)
{
    const struct span text = span_inside(name);
    return text.data != NULL && (memchr(text.data, '\\', text.len) != NULL ||
                                 select_asks(&q->select, text.data, text.len));
}

static size_t read_attributes(struct query *q, struct span array)
{
    static const struct span_name names[] = {SPAN_NAME("name"), SPAN_NAME("value")};
    struct span element, member[2];
    size_t n = 0;
    for (size_t at = 0; n < MODEL_ATTRIBUTES_MAX && span_element(array, &at, &element);) {
        span_pick(element, names, 2, member);
        if (!is_asked(q, member[0]))
            continue;
        const char *attribute = keep_attribute(q, member[0], member[1]);
        if (attribute != NULL)
            q->attributes[n++] = attribute;
    }
    qsort(q->attributes, n, sizeof q->attributes[0], by_text);
    return n;
}

bool query_counts_task(const struct row *fields)
{
    char status[32];
    struct row_text group = fields->field[ROW_GROUP], text = fields->field[ROW_STATUS];
    if (group.data == NULL || group.len >= GROUP_MAX || text.len >= sizeof status)
        return false;
    if (text.len > 0)
        memcpy(status, text.data, text.len);
    status[text.len] = '\0';
    return model_task_status_parse(status) != TASK_STOPPED &&
           !row_field_is(fields, ROW_DESIRED, "STOPPED");
}

static int on_task(void *arg, const struct store_row *row)
{
    struct query *q = arg;
    struct row fields;
    if (q->task_count == TASKS_MAX)
        return 1;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
        !query_counts_task(&fields))
        return 0;
    struct row_text group = fields.field[ROW_GROUP];
    struct group_task *t = &q->tasks[q->task_count];
    struct model_name *name = (struct model_name *)(void *)t->group;
    memcpy(name->text, group.data, group.len);
    name->text[group.len] = '\0';
    t->task = (struct model_other){.group = name, .next = q->task_count > 0 ? &t[-1].task : NULL};
    q->task_count++;
    return 0;
}

static bool instance_matches(struct query *q, struct store_txn *txn, const struct store_row *row,
                             const struct row *fields)
{
    static const struct span_name names[] = {
        SPAN_NAME("registeredAt"), SPAN_NAME("runningTasksCount"), SPAN_NAME("versionInfo")};
    const struct span json = {fields->json.data, fields->json.len};
    struct span m[3] = {{NULL, 0}};
    /* Most have another value, and are passed over by their bytes; unless some are written as
     * escapes. */
    if (q->needle != NULL && fields->json.data != NULL &&
        find_text(fields->json.data, fields->json.len, q->needle, strlen(q->needle)) == NULL &&
        memchr(fields->json.data, '\\', fields->json.len) == NULL)
        return false;
    q->text_len = 0;
    q->task_count = 0;
    if (q->asks_more)
        span_pick(json, names, 3, m);
    const char *agent_version = keep_string(q, span_get(m[2], "agentVersion"));
    const char *arn = keep(q, row->record.key, row->record.key_len);
    struct store_query tasks = {.kind = RECORD_TASK, .field = ROW_INSTANCE, .value = arn};
    if (q->asks_tasks && arn != NULL && store_scan(txn, &tasks, on_task, q) != 0)
        q->task_count = 0;
    struct model_instance inst = {
        .connected = row_field_is(fields, ROW_CONNECTED, "true"),
        .arn = arn,
        .ec2_id = keep_field(q, fields, ROW_EC2_INSTANCE),
        .zone = keep_field(q, fields, ROW_ZONE),
        .agent_version = agent_version == NULL ? "" : agent_version,
        .registered_unix_ms = time_of(q, m[0]),
        .running_tasks = span_int_or(m[1], 0),
        .attributes = q->attributes,
        .attribute_count = read_attributes(q, span_open(json, "attributes")),
        .others = q->task_count > 0 ? &q->tasks[q->task_count - 1].task : NULL};
    return select_match(&q->select, &inst, NULL);
}

/* ---- indexes ----------------------------------------------------------------------- */

static int on_instance(void *arg, const struct store_row *row)
{
    struct query *q = arg;
    snprintf(q->instance, sizeof q->instance, "%.*s", (int)row->record.key_len, row->record.key);
    return ++q->found > 1;
}

const struct select *query_select(const struct query *q)
{
    return &q->select;
}

uint32_t query_kinds(const struct query *q, uint8_t kind)
{
    uint32_t kinds = 1u << kind | 1u << RECORD_INSTANCE;
    return q->asks_tasks ? kinds | 1u << RECORD_TASK : kinds;
}

void query_forget(struct query *q)
{
    memset(q->answers, 0, sizeof q->answers);
}

void query_narrow(struct query *q, struct store_txn *txn, uint8_t kind, struct filter *f)
{
    const char *ec2 = select_required(&q->select, NULL);
    const char *zone = select_required(&q->select, "ecs.availability-zone");
    if (kind == RECORD_INSTANCE) { /* one test more than there is room for is none lost */
        if (ec2 != NULL)
            (void)!filter_add(f, ROW_EC2_INSTANCE, ec2);
        if (zone != NULL)
            (void)!filter_add(f, ROW_ZONE, zone);
        return;
    }
    struct store_query of_id = {.kind = RECORD_INSTANCE, .field = ROW_EC2_INSTANCE, .value = ec2};
    q->found = 0;
    if (kind != RECORD_TASK || ec2 == NULL || store_scan(txn, &of_id, on_instance, q) != 0 ||
        q->found > 1) /* an instance may be registered twice */
        return;
    (void)!filter_add(f, ROW_INSTANCE, q->found == 1 ? q->instance : "none");
}

/* ---- rows -------------------------------------------------------------------------- */

static uint64_t *answer_of(struct query *q, const char *arn, size_t len, uint64_t *ret_hash)
{
    *ret_hash = hash_bytes(arn, len, 1) | 2;
    return &q->answers[(*ret_hash >> 2) % ANSWERS];
}

bool query_shows_instance(struct query *q, struct store_txn *txn, const struct store_row *row)
{
    struct row instance;
    uint64_t hash;
    uint64_t *answer = answer_of(q, row->record.key, row->record.key_len, &hash);
    bool matches = !row->record.deleted &&
                   row_decode(row->record.value, row->record.value_len, &instance) == 0 &&
                   instance_matches(q, txn, row, &instance);
    *answer = (hash & ~(uint64_t)1) | matches;
    return matches;
}

static bool task_matches(struct query *q, struct store_txn *txn, const struct row *fields)
{
    struct row_text arn = fields->field[ROW_INSTANCE];
    struct store_row row;
    uint64_t hash;
    if (arn.data == NULL)
        return false;
    uint64_t *answer = answer_of(q, arn.data, arn.len, &hash);
    if ((*answer | 1) == (hash | 1))
        return *answer & 1;
    return store_get_ref(txn, RECORD_INSTANCE, arn.data, arn.len, &row) == 0 &&
           query_shows_instance(q, txn, &row);
}

bool query_matches(struct query *q, struct store_txn *txn, const struct store_row *row,
                   const struct row *fields)
{
    if (row->record.kind == RECORD_INSTANCE)
        return instance_matches(q, txn, row, fields);
    return row->record.kind == RECORD_TASK && task_matches(q, txn, fields);
}
