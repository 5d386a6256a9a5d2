/* SPDX-License-Identifier: Apache-2.0
 * What a whole cluster costs on disk and at a start. Usage: bench_size DIRECTORY EVENTS, where
 * EVENTS is tests/data/ecs-events/synthetic: one instance and one running task of it are stored
 * 5,000 and 50,000 times under other ids, as the intake makes them of events, then each changes
 * once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/intake/events.h"
#include "tests/bench/batches.h"

enum { INSTANCES = 5000, TASKS = 50000, BATCH = 10, ID = 32 };
#define TASK_ID "628b49d96dcde97a430dd4f597705899"
#define INSTANCE_ID "779d1ba1900f81e1ece4536c64382ed7"

static uint64_t json_bytes;

static void figure(const char *name, double value, const char *unit)
{
    figure_of("size", name, value, unit);
}

static char *read_event(const char *dir, const char *name)
{
    char path[512];
    static char text[65536];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "r");
    size_t n = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL)
        fclose(file);
    if (n == 0) {
        fprintf(stderr, "bench_size: cannot read %s\n", path);
        exit(1);
    }
    text[n] = '\0';
    return strdup(text);
}

static void make_id(const char *of, unsigned n, char out[ID + 1])
{
    uint64_t a = hash_bytes(of, ID, n), b = hash_bytes(of, ID, a);
    snprintf(out, ID + 1, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
}

static void put_id(char *event, const char *of, const char *id)
{
    for (char *at = event; (at = strstr(at, of)) != NULL; at += ID)
        memcpy(at, id, ID);
}

/* Number n of that event, at that version. */
static void make_row(const char *event, bool task, unsigned n, uint64_t version,
                     struct events_row *ret)
{
    static const struct events_options all = {0};
    char task_id[ID + 1], instance_id[ID + 1];
    char *text = strdup(event);
    make_id(INSTANCE_ID, task ? n % INSTANCES : n, instance_id);
    put_id(text, INSTANCE_ID, instance_id);
    if (task) {
        make_id(TASK_ID, n, task_id);
        put_id(text, TASK_ID, task_id);
    }
    events_parse(text, strlen(text), &all, ret);
    free(text);
    if (ret->outcome != EVENTS_ROW) {
        fprintf(stderr, "bench_size: %s\n", ret->why);
        exit(1);
    }
    ret->record.version.hi = version;
    ret->record.source = SOURCE_EVENT;
}

static void put_all(struct store *s, const char *event, bool task, unsigned count, uint64_t version,
                    uint64_t *ret_json)
{
    struct events_row rows[BATCH];
    struct record records[BATCH];
    struct row row;
    for (size_t i = 0; i < BATCH; i++)
        events_row_init(&rows[i]);
    for (unsigned n = 0; n < count; n += BATCH) {
        for (unsigned i = 0; i < BATCH; i++) {
            make_row(event, task, n + i, version, &rows[i]);
            records[i] = rows[i].record;
            if (row_decode(records[i].value, records[i].value_len, &row) != 0)
                exit(1);
            *ret_json += row.json.len;
        }
        while (store_apply(s, records, BATCH, on_applied, NULL) != 0)
            settle(s, open_batches / 2);
        open_batches++;
        settle(s, 32);
    }
    settle(s, 0);
    for (size_t i = 0; i < BATCH; i++)
        events_row_fini(&rows[i]);
}

static struct store *must_open(const char *dir, struct store_report *report)
{
    struct store *s;
    struct errmsg e;
    struct store_options o = {.dir = dir, .notify = on_notify};
    if (store_open(&s, &o, report, &e) != 0) {
        fprintf(stderr, "bench_size: %s\n", e.text);
        exit(1);
    }
    return s;
}

static void say_size(struct store *s, const char *when)
{
    struct store_stats stats;
    char name[64];
    store_stats(s, &stats);
    snprintf(name, sizeof name, "database_%s", when);
    figure(name, (double)stats.state_bytes / 1048576, "MiB");
    snprintf(name, sizeof name, "database_%s_to_json", when);
    figure(name, (double)stats.state_bytes / (double)json_bytes, "ratio");
}

int main(int argc, char **argv)
{
    struct store_report report;
    uint64_t again = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_size DIRECTORY EVENTS\n");
        return 64;
    }
    log_configure(LOG_WARN, LOG_TEXT);
    sem_init(&wake, 0, 0);
    char *task = read_event(argv[2], "task-02-running-ec2-network-bindings.json");
    char *instance = read_event(argv[2], "instance-02-active-registered.json");
    struct store *s = must_open(argv[1], &report);
    put_all(s, instance, false, INSTANCES, 1, &json_bytes);
    put_all(s, task, true, TASKS, 1, &json_bytes);
    figure("json_of_5000_instances_50000_tasks", (double)json_bytes / 1048576, "MiB");
    say_size(s, "loaded");
    put_all(s, task, true, TASKS, 2, &again);
    put_all(s, instance, false, INSTANCES, 2, &again);
    say_size(s, "changed");
    store_close(s);
    uint64_t start = clock_mono_ns();
    s = must_open(argv[1], &report);
    figure("open", (double)(clock_mono_ns() - start) / 1e6, "ms");
    if (report.rows != INSTANCES + TASKS)
        failed = ERR_CORRUPT;
    store_close(s);
    free(task);
    free(instance);
    if (failed != 0)
        fprintf(stderr, "bench_size: %s\n", err_text(failed));
    return failed == 0 ? 0 : 1;
}
