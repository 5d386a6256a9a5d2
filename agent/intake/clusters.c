/* SPDX-License-Identifier: Apache-2.0
 * Which clusters a comparison goes through. Names are resolved to ARNs, because rows carry ARNs
 * and Describe answers of instances carry none. The own cluster comes first; another one that is
 * not there (any more), or that ECS does not let us read, keeps nobody waiting. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/intake/intake_int.h"

#define QUESTION_MAX 100 /* clusters of one DescribeClusters */

bool intake_is_own(const struct intake *in, const char *cluster)
{
    struct events_options own = {.clusters = in->cluster, .home = in->home};
    return events_keeps_cluster(&own, cluster);
}

bool intake_keeps(const struct intake *in, const char *cluster)
{
    struct events_options options = intake_events_options(in);
    return events_keeps_cluster(&options, cluster);
}

void intake_set_home(struct intake *in, const char *arn)
{
    const char *end = arn;
    for (unsigned colons = 0; end != NULL && colons < 5; colons++)
        end = strchr(end + (colons > 0), ':');
    if (end != NULL && strncmp(arn, "arn:", 4) == 0 && (size_t)(end - arn) < sizeof in->home - 1)
        snprintf(in->home, sizeof in->home, "%.*s:", (int)(end - arn), arn);
}

void clusters_init(struct clusters *c, struct intake *in)
{
    char text[sizeof in->clusters];
    char *save = NULL;
    *c = (struct clusters){.intake = in, .batch = QUESTION_MAX, .list_due = in->all_clusters};
    c->wanted = json_array();
    c->arns = json_array();
    map_init(&c->compared);
    map_init(&c->unread);
    /* Of all of them the own is asked for by itself, so that no list keeps it waiting. */
    snprintf(text, sizeof text, "%s", in->all_clusters ? in->cluster : in->clusters);
    for (char *p = strtok_r(text, ", ", &save); p != NULL; p = strtok_r(NULL, ", ", &save))
        json_array_insert_new(c->wanted, intake_is_own(in, p) ? 0 : json_array_size(c->wanted),
                              json_string(p));
}

void clusters_fini(struct clusters *c)
{
    json_decref(c->wanted);
    json_decref(c->arns);
    map_fini(&c->compared);
    map_fini(&c->unread);
}

const char *clusters_at(const struct clusters *c, size_t i)
{
    return json_string_value(json_array_get(c->arns, i));
}

/* The first trouble is told, the others when it is gone. */
__attribute__((format(printf, 2, 3))) static void note(struct clusters *c, const char *format, ...)
{
    va_list args;
    if (c->partly[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(c->partly, sizeof c->partly, format, args);
    va_end(args);
}

/* The own cluster's ARN serves hints and refreshes from now on. */
static void add(struct clusters *c, const char *arn)
{
    bool own = intake_is_own(c->intake, arn);
    if (own) {
        snprintf(c->intake->cluster, sizeof c->intake->cluster, "%s", arn);
        intake_set_home(c->intake, arn);
    }
    json_array_insert_new(c->arns, own ? 0 : json_array_size(c->arns), json_string(arn));
}

static bool has(const struct clusters *c, const char *arn)
{
    for (size_t i = 0; i < json_array_size(c->arns); i++) {
        if (strcmp(clusters_at(c, i), arn) == 0)
            return true;
    }
    return false;
}

json_t *clusters_question(struct clusters *c)
{
    size_t size = json_array_size(c->wanted);
    if (c->asked == size)
        return NULL;
    json_t *names = json_array();
    for (size_t i = c->asked; i < size && i < c->asked + c->batch; i++)
        json_array_append(names, json_array_get(c->wanted, i));
    return names;
}

static void asked(struct clusters *c)
{
    size_t left = json_array_size(c->wanted) - c->asked;
    c->asked += left < c->batch ? left : c->batch;
}

void clusters_take(struct clusters *c, const json_t *body)
{
    size_t i;
    json_t *one;
    asked(c);
    json_array_foreach(json_arr(body, "failures"), i, one)
        note(c, "there is no cluster %.120s (%.40s)", json_str_or(one, "arn", "?"),
             json_str_or(one, "reason", "?"));
    json_array_foreach(json_arr(body, "clusters"), i, one)
    {
        const char *arn = json_str_or(one, "clusterArn", "");
        if (strcmp(json_str_or(one, "status", "ACTIVE"), "INACTIVE") == 0)
            note(c, "there is no cluster %.120s (INACTIVE)", arn);
        else if (arn[0] != '\0' && !has(c, arn)) /* as a name and as an ARN */
            add(c, arn);
    }
}

void clusters_take_list(struct clusters *c, const json_t *arns)
{
    size_t i;
    json_t *arn;
    c->list_due = false;
    json_array_foreach(arns, i, arn)
    {
        if (json_string_value(arn) != NULL && !has(c, json_string_value(arn)))
            add(c, json_string_value(arn));
    }
}

bool clusters_leave(struct clusters *c, const char *cluster, const struct aws_result *r)
{
    if (r->err != ERR_DENIED || cluster == NULL || intake_is_own(c->intake, cluster))
        return false;
    note(c, "cluster %.120s cannot be read: %.60s", cluster, r->code);
    return map_put(&c->unread, cluster, c, NULL) == 0;
}

bool clusters_refused(struct clusters *c, const struct aws_result *r)
{
    if (r->err != ERR_DENIED)
        return false;
    if (c->list_due) { /* the list will name the own one as well */
        asked(c);
        return true;
    }
    if (c->batch > 1 && json_array_size(c->wanted) > 1) {
        c->batch = 1; /* which one is it? */
        return true;
    }
    if (!clusters_leave(c, json_string_value(json_array_get(c->wanted, c->asked)), r))
        return false;
    asked(c);
    return true;
}

bool clusters_names(const struct map *names, const char *arn)
{
    const char *name = strrchr(arn, '/');
    return map_has(names, arn) || (name != NULL && map_has(names, name + 1));
}

bool clusters_unread(const struct clusters *c, const char *arn)
{
    return clusters_names(&c->unread, arn);
}

bool clusters_is_checked(const struct clusters *c, const char *arn)
{
    /* What is in no list of clusters, and was not refused, is gone with all that was in it. */
    return map_has(&c->compared, arn) || (!c->cut && !has(c, arn) && !clusters_unread(c, arn));
}
