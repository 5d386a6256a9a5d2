/* SPDX-License-Identifier: Apache-2.0
 * Makes a small database for migrate_test: record DIRECTORY. Built against the store of the format
 * that is to be recorded (see README.md). */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "store/store.h"

static sem_t wake;
static int open_writes;

static void on_notify(void *arg)
{
    (void)arg;
    sem_post(&wake);
}

static void ended(int err)
{
    if (err != 0)
        exit(1);
    open_writes--;
}

static void on_done(void *arg, int err)
{
    (void)arg;
    ended(err);
}

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    (void)arg;
    (void)records;
    (void)changes;
    (void)count;
    ended(err);
}

static void settle(struct store *s)
{
    while (open_writes > 0) {
        sem_wait(&wake);
        store_poll(s);
    }
}

static void put(struct store *s, uint8_t kind, const char *key, uint64_t version, bool deleted,
                const struct row *row)
{
    struct buf value;
    buf_init(&value, 65536);
    if (row != NULL && row_encode(row, &value) != 0)
        exit(1);
    struct record rec = {.kind = kind,
                         .source = SOURCE_EVENT,
                         .deleted = deleted,
                         .key_len = (uint16_t)strlen(key),
                         .value_len = (uint32_t)value.len,
                         .version = {version, deleted},
                         .observed_unix_ms = 1763800000000 + (int64_t)version,
                         .term = 3,
                         .key = key,
                         .value = (const uint8_t *)value.data};
    open_writes++;
    if (store_apply(s, &rec, 1, on_applied, NULL) != 0)
        exit(1);
    settle(s);
    buf_fini(&value);
}

static void put_task(struct store *s, unsigned n, uint64_t version, const char *status)
{
    static const char cluster[] = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
    char key[128], json[512], created[64] = ""; /* since format 4's record */
    struct row row = {0};
    if (n % 8 != 7)
        snprintf(created, sizeof created, "\"createdAt\":\"2026-11-22T09:01:%02u.125Z\",", 59 - n);
    snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:111122223333:task/prod/%032x", n);
    snprintf(json, sizeof json,
             "{\"clusterArn\":\"%s\",%s\"lastStatus\":\"%s\",\"taskArn\":\"%s\",\"version\":%llu}",
             cluster, created, status, key, (unsigned long long)version);
    row_set(&row, ROW_CLUSTER, cluster);
    row_set(&row, ROW_STATUS, status);
    row_set(&row, ROW_FAMILY, n % 2 == 0 ? "web" : "log-router");
    row_set(&row, ROW_DESIRED, n % 4 == 0 ? "STOPPED" : "RUNNING"); /* since format 3's record */
    row.json = (struct row_text){json, strlen(json)};
    put(s, RECORD_TASK, key, version, false, &row);
}

/* Since format 4's record. */
static void put_instance(struct store *s, unsigned n)
{
    char key[128], json[512];
    snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/%032x",
             n);
    snprintf(json, sizeof json,
             "{\"attributes\":[{\"name\":\"ecs.instance-type\",\"value\":\"%s\"},{\"name\":"
             "\"rack\",\"value\":\"%s%u\"}],\"containerInstanceArn\":\"%s\",\"version\":1}",
             n == 2 ? "x1.rare" : "m5.large", n == 3 ? "\\u0072" : "r", n / 2, key);
    struct row row = {.json = {json, strlen(json)}};
    put(s, RECORD_INSTANCE, key, 1, false, &row);
}

static void write_log(struct store *s)
{
    static const char value[] = "{\"name\":\"web\"}";
    struct store_log_entry entries[3];
    struct store_log_intent intent = {.kind = RECORD_ENVIRONMENT,
                                      .key = "web",
                                      .key_len = 3,
                                      .value = value,
                                      .value_len = sizeof value - 1,
                                      .version = {2, 2}};
    for (unsigned i = 0; i < 3; i++)
        entries[i] = (struct store_log_entry){i + 1, 2, 1, sizeof value - 1, value};
    struct store_log_write w = {.set_hard_state = true,
                                .term = 2,
                                .vote = 77,
                                .entries = entries,
                                .entry_count = 3,
                                .intent = &intent,
                                .intent_count = 1,
                                .applied_index = 2,
                                .applied_term = 2,
                                .config = "voters",
                                .config_len = 6};
    open_writes = 2;
    if (store_log_write(s, &w, on_done, NULL) != 0 ||
        store_fact_put(s, "incarnation", "a fact that is longer than thirty-two bytes", 43, on_done,
                       NULL) != 0)
        exit(1);
    settle(s);
}

int main(int argc, char **argv)
{
    struct store *s;
    struct errmsg e;
    struct store_options o = {.dir = argv[1], .notify = on_notify, .state_disk_min = 1};
    if (argc != 2 || sem_init(&wake, 0, 0) != 0 || store_open(&s, &o, NULL, &e) != 0)
        return 1;
    for (unsigned n = 0; n < 40; n++)
        put_task(s, n, 1, "PENDING");
    for (unsigned n = 0; n < 20; n++)
        put_task(s, n, 2, "RUNNING");
    put(s, RECORD_TASK, "arn:aws:ecs:us-east-1:111122223333:task/prod/gone", 9, true, NULL);
    struct row row = {.json = {"{\"name\":\"web\"}", 14}};
    put(s, RECORD_ENVIRONMENT, "web", 1, false, &row);
    for (unsigned n = 0; n < 4; n++)
        put_instance(s, n);
    if (store_poison(s, "no JSON", "{", 1) != 0)
        return 1;
    write_log(s);
    store_close(s);
    return 0;
}
