/* SPDX-License-Identifier: Apache-2.0
 * The samples of tests/data/ecs-events, and what must hold of any row. */
#ifndef BLOX_TESTS_EVENTS_SAMPLES_H
#define BLOX_TESTS_EVENTS_SAMPLES_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/row.h"
#include "agent/intake/events.h"

#define DATA "tests/data/ecs-events/"
#define SAMPLES_MAX 128

struct sample {
    char path[200];
    char *text;
    size_t len;
};
static struct sample samples[SAMPLES_MAX];
static size_t sample_count;

static const struct events_options all;

static inline char *read_file(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    char *text = calloc(1, 1 << 20);
    *ret_len = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    return text;
}

static inline int by_path(const void *a, const void *b)
{
    const struct sample *x = a;
    const struct sample *y = b;
    return strcmp(x->path, y->path);
}

static inline void read_samples(void)
{
    static const char *const dirs[] = {DATA "aws-docs-2023", DATA "aws-docs-2026",
                                       DATA "synthetic"};
    for (size_t d = 0; d < sizeof dirs / sizeof dirs[0]; d++) {
        DIR *dir = opendir(dirs[d]);
        cr_assert_not_null(dir, "%s", dirs[d]);
        for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
            if (strstr(e->d_name, ".json") == NULL)
                continue;
            cr_assert_lt(sample_count, SAMPLES_MAX);
            struct sample *s = &samples[sample_count++];
            snprintf(s->path, sizeof s->path, "%s/%s", dirs[d], e->d_name);
            s->text = read_file(s->path, &s->len);
        }
        closedir(dir);
    }
    qsort(samples, sample_count, sizeof samples[0], by_path);
}

static inline void free_samples(void)
{
    for (size_t i = 0; i < sample_count; i++)
        free(samples[i].text);
}

/* Everything that must hold of a row, whatever it was made from. NULL: all does. */
static inline const char *odd_row(const struct events_row *r, const struct events_options *options)
{
    struct row row;
    struct record rec = r->record;
    struct record back;
    struct buf wire;
    struct rbuf in;
    rec.source = SOURCE_EVENT;
    buf_init(&wire, 2 << 20);
    if (record_encode(&rec, &wire) != 0)
        return "not encoded";
    rbuf_init(&in, wire.data, wire.len);
    bool same = record_decode(&in, &back) == 0 && rbuf_left(&in) == 0 && back.kind == rec.kind &&
                back.key_len == rec.key_len && memcmp(back.key, rec.key, rec.key_len) == 0 &&
                back.value_len == rec.value_len &&
                memcmp(back.value, rec.value, rec.value_len) == 0 &&
                record_version_cmp(back.version, rec.version) == 0;
    buf_fini(&wire);
    if (!same)
        return "record does not round-trip";
    if (row_decode(rec.value, rec.value_len, &row) != 0)
        return "row does not decode";
    if (row.field[ROW_CLUSTER].data == NULL || row.field[ROW_STATUS].data == NULL)
        return "no cluster or status";
    json_t *json = json_parse(row.json.data, row.json.len, NULL);
    if (json == NULL)
        return "JSON does not parse";
    struct events_row again;
    events_row_init(&again);
    if (rec.kind == RECORD_TASK)
        events_from_task(json, options, &again);
    else
        events_from_instance(json, NULL, options, &again);
    same = again.outcome == EVENTS_ROW && again.record.value_len == rec.value_len &&
           memcmp(again.record.value, rec.value, rec.value_len) == 0 &&
           again.record.version.hi == rec.version.hi;
    events_row_fini(&again);
    json_decref(json);
    return same ? NULL : "not canonical: a second pass changes it";
}

#endif
