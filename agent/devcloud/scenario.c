/* SPDX-License-Identifier: Apache-2.0
 * A scenario: JSON lines {"at_ms": N, "verb": "...", "args": {...}}, counted from the start. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/services.h"

struct scene {
    struct list link;
    struct timer timer;
    char *verb;
    json_t *args;
    unsigned line;
};

static void play(struct devcloud *cloud, struct timer *timer)
{
    struct scene *s = LIST_OF(timer, struct scene, timer);
    struct errmsg e = {0};
    json_t *answer = NULL;

    int err = control_run(cloud, s->verb, s->args, &answer, &e);
    json_decref(answer);
    if (err != 0)
        fprintf(stderr, "devcloud: scenario line %u: %s\n", s->line, e.text);
}

static int add_scene(struct devcloud *cloud, const char *text, size_t len, unsigned line,
                     struct errmsg *e)
{
    json_t *obj = json_parse(text, len, e);
    const char *verb = json_str(obj, "verb");
    int64_t at_ms = json_int_or(obj, "at_ms", -1);

    if (obj == NULL || verb == NULL || at_ms < 0) {
        json_decref(obj);
        return errmsg_set(e, ERR_CONFIG,
                          "scenario line %u must be {\"at_ms\": N, \"verb\": \"...\", \"args\": "
                          "{...}}",
                          line);
    }
    struct scene *s = calloc(1, sizeof(*s));
    if (s == NULL)
        abort();
    s->verb = cloud_text("%s", verb);
    s->args = json_incref(json_object_get(obj, "args"));
    s->line = line;
    list_push(&cloud->scenario, &s->link);
    cloud_arm(cloud, &s->timer, (uint64_t)at_ms, play);
    json_decref(obj);
    return 0;
}

int scenario_start(struct devcloud *cloud, const char *path, struct errmsg *e)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    unsigned number = 0;
    int err = 0;

    if (file == NULL)
        return errmsg_set(e, ERR_CONFIG, "cannot read the scenario %s: %s", path, strerror(errno));
    while (err == 0 && (len = getline(&line, &cap, file)) >= 0) {
        number++;
        if (line[strspn(line, " \t\r\n")] != '\0' && line[0] != '#')
            err = add_scene(cloud, line, (size_t)len, number, e);
    }
    free(line);
    fclose(file);
    return err;
}

void scenario_fini(struct devcloud *cloud)
{
    struct list *link;

    while ((link = list_pop(&cloud->scenario)) != NULL) {
        struct scene *s = LIST_OF(link, struct scene, link);
        free(s->verb);
        json_decref(s->args);
        free(s);
    }
}
