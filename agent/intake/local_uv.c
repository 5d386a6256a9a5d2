/* SPDX-License-Identifier: Apache-2.0
 * The own instance's ECS agent (introspection on 51678) knows what happens to its tasks
 * seconds before EventBridge tells. Where it and the store differ, the leader gets a hint and
 * asks ECS; the local word alone never becomes a row, because it has no ECS version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define EVERY_MS 1000
#define EVERY_TROUBLED_MS 10000
#define TIMEOUT_MS 2000
/* A difference that stays is told again after so many looks: the hint or its answer was lost. */
#define REPEAT_LOOKS 5

struct local_task {
    char status[24];
    int64_t since_unix_ms; /* shows a status that the store has not; 0: it has */
    unsigned looks;        /* since the hint */
    bool there;            /* in the newest answer */
};

static void on_timer(uv_timer_t *timer);

static void arm(struct intake *in)
{
    if (!in->stopping)
        uv_timer_start(&in->local.timer, on_timer,
                       in->local.failures > 3 ? EVERY_TROUBLED_MS : EVERY_MS, 0);
}

/* Does the store say the same? A task that we do not have at all differs unless it has stopped.
 * told (may be NULL) gets the row's header if there is one. */
static bool differs(struct intake *in, const char *arn, const char *known, struct record *told)
{
    struct store_txn *txn = NULL;
    struct store_row row;
    struct row fields;
    bool result = strcmp(known, "STOPPED") != 0;
    if (store_read_begin(in->options.store, &txn) != 0)
        return false;
    if (store_get_ref(txn, RECORD_TASK, arn, strlen(arn), &row) == 0) {
        if (told != NULL)
            *told = row.record;
        result = !row.record.deleted &&
                 row_decode(row.record.value, row.record.value_len, &fields) == 0 &&
                 !row_field_is(&fields, ROW_STATUS, known);
    }
    store_read_end(txn);
    return result;
}

/* The row has come: by an event, or because the leader was told to ask. */
static void note_told(struct intake *in, struct local_task *t, const struct record *told)
{
    if (t->since_unix_ms == 0)
        return;
    if (told->source == SOURCE_EVENT) {
        int64_t lag = told->observed_unix_ms - t->since_unix_ms;
        in->local.lag_ms = lag > 0 ? lag : 0;
        in->local.told++;
    } else {
        in->local.refreshed++;
    }
    t->since_unix_ms = 0;
}

static void look_at(struct intake *in, const json_t *task)
{
    const char *arn = json_str(task, "Arn");
    const char *known = json_str_or(task, "KnownStatus", "");
    if (arn == NULL || strlen(arn) > RECORD_KEY_MAX)
        return;
    struct local_task *t = map_get(&in->local.seen, arn);
    if (t == NULL) {
        t = calloc(1, sizeof *t);
        if (t == NULL || map_put(&in->local.seen, arn, t, NULL) != 0) {
            free(t);
            return;
        }
    }
    bool changed = strncmp(t->status, known, sizeof t->status - 1) != 0;
    snprintf(t->status, sizeof t->status, "%s", known);
    t->there = true;
    t->looks = changed ? 0 : t->looks + 1;
    /* Only what matters to scheduling: it runs, or it is over. */
    bool matters = strcmp(known, "RUNNING") == 0 || strcmp(known, "STOPPED") == 0;
    struct record told = {0};
    if (!matters || (t->since_unix_ms == 0 && t->looks % REPEAT_LOOKS != 0))
        return;
    if (!differs(in, arn, known, &told)) {
        note_told(in, t, &told);
        return;
    }
    if (t->since_unix_ms == 0)
        t->since_unix_ms = clock_unix_ms();
    if (t->looks % REPEAT_LOOKS == 0)
        in->options.on_hint(in->options.arg, NULL, arn);
}

static void forget_gone(struct intake *in)
{
    char gone[64][RECORD_KEY_MAX + 1];
    size_t count = 0;
    const char *arn;
    void *value;
    for (size_t at = 0; map_next(&in->local.seen, &at, &arn, &value);) {
        struct local_task *t = value;
        if (!t->there && count < 64)
            snprintf(gone[count++], sizeof gone[0], "%s", arn);
        t->there = false;
    }
    for (size_t i = 0; i < count; i++) {
        if (differs(in, gone[i], "STOPPED", NULL))
            in->options.on_hint(in->options.arg, NULL, gone[i]);
        free(map_del(&in->local.seen, gone[i]));
    }
}

static void on_answer(void *arg, int err, int status, const char *body, size_t len)
{
    struct intake *in = arg;
    in->local.busy = false;
    json_t *j = err == 0 && status == 200 ? json_parse_lenient(body, len, NULL) : NULL;
    if (j == NULL) {
        in->local.failures++;
    } else if (!in->stopping) {
        size_t i;
        json_t *task;
        in->local.failures = 0;
        json_array_foreach(json_arr(j, "Tasks"), i, task) look_at(in, task);
        forget_gone(in);
    }
    json_decref(j);
    arm(in);
    intake_call_ended(in);
}

static void on_timer(uv_timer_t *timer)
{
    struct intake *in = timer->data;
    char url[1100];
    snprintf(url, sizeof url, "%s/v1/tasks", in->options.ecs_agent_endpoint);
    in->local.busy = true;
    in->calls_open++;
    if (aws_http_get(in->options.aws, url, TIMEOUT_MS, on_answer, in) != 0) {
        in->local.busy = false;
        in->calls_open--;
        arm(in);
    }
}

void local_init(struct intake *in)
{
    map_init(&in->local.seen);
    intake_handle(in, &in->local.timer);
    if (in->options.ecs_agent_endpoint != NULL && in->options.on_hint != NULL)
        uv_timer_start(&in->local.timer, on_timer, prng_below(&in->prng, EVERY_MS), 0);
}

void local_stop(struct intake *in)
{
    uv_timer_stop(&in->local.timer);
}
