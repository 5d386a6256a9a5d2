/* SPDX-License-Identifier: Apache-2.0
 * Tasks as moto and others show them: without the group that they were started with. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/base/row.h"
#include "agent/intake/events.h"

static bool group_of(void *arg, const char *started_by, char *out)
{
    (void)arg;
    snprintf(out, EVENTS_GROUP_MAX, "daemon:web");
    return strcmp(started_by, "d-1") == 0;
}

static bool is(const struct row *row, enum row_field field, const char *text)
{
    return text == NULL ? row->field[field].data == NULL : row_field_is(row, field, text);
}

Test(group, one_that_was_forgotten_is_that_of_who_started_it)
{
    static const struct {
        const char *members, *group, *environment;
    } cases[] = {
        {",\"startedBy\":\"d-1\"", "daemon:web", "web"},
        {",\"startedBy\":\"d-1\",\"group\":\"\"", "daemon:web", "web"},
        {",\"startedBy\":\"d-1\",\"group\":null", "daemon:web", "web"},
        {",\"startedBy\":\"d-1\",\"group\":\"family:f\"", "family:f", NULL},
        {",\"startedBy\":\"d-2\"", NULL, NULL},
        {",\"startedBy\":7", NULL, NULL},
        {"", NULL, NULL},
    };
    const struct events_options options = {.group_of = group_of}, nobody = {0};
    struct events_row r;
    struct row row;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char task[512];
        snprintf(task, sizeof task,
                 "{\"taskArn\":\"arn:aws:ecs:r:1:task/t\",\"clusterArn\":"
                 "\"arn:aws:ecs:r:1:cluster/c\",\"lastStatus\":\"RUNNING\"%s}",
                 cases[i].members);
        json_t *json = json_parse(task, strlen(task), NULL);
        events_from_task(json, &nobody, &r);
        cr_assert_eq(r.outcome, EVENTS_ROW, "%s", r.why);
        events_from_task(json, &options, &r);
        json_decref(json);
        cr_assert_eq(r.outcome, EVENTS_ROW, "%s", r.why);
        cr_assert_eq(row_decode(r.record.value, r.record.value_len, &row), 0);
        cr_expect(is(&row, ROW_GROUP, cases[i].group), "%s", task);
        cr_expect(is(&row, ROW_ENVIRONMENT, cases[i].environment), "%s", task);
    }
    events_row_fini(&r);
}
