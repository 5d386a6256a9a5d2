/* SPDX-License-Identifier: Apache-2.0
 * Containers of the state machine: sorted arrays, of pointers where they are long, so that moving
 * is cheap. */
#include "agent/intent/intent_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"

void *intent_alloc(size_t bytes)
{
    void *p = calloc(1, bytes);
    ENSURE(p != NULL);
    return p;
}

void *intent_grow(void *array, size_t count, size_t *cap, size_t item)
{
    if (count < *cap)
        return array;
    *cap = *cap == 0 ? 8 : *cap * 2;
    array = realloc(array, *cap * item);
    ENSURE(array != NULL);
    return array;
}

static void environment_free(struct environment *env)
{
    for (size_t i = 0; i < env->count; i++)
        json_decref(env->deployments[i].json);
    free(env->deployments);
    json_decref(env->json);
    free(env);
}

static void answer_free(struct answer *a)
{
    json_decref(a->body);
    free(a);
}

void state_fini(struct state *s)
{
    for (size_t i = 0; i < s->count; i++)
        environment_free(s->environments[i]);
    for (size_t i = 0; i < s->answer_count; i++)
        answer_free(s->answers[i]);
    free(s->environments);
    free(s->answers);
    map_fini(&s->answer_of);
    *s = (struct state){0};
}

/* Where name is, or would be. */
static size_t place(const struct state *s, const char *name)
{
    size_t low = 0;
    size_t high = s->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(s->environments[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct environment *state_find(const struct state *s, const char *name)
{
    size_t at = place(s, name);
    if (at == s->count || strcmp(s->environments[at]->name, name) != 0)
        return NULL;
    return s->environments[at];
}

struct environment *state_live(const struct state *s, const char *name)
{
    struct environment *env = name == NULL ? NULL : state_find(s, name);
    return env == NULL || env->json == NULL ? NULL : env;
}

struct environment *state_add(struct state *s, const char *name)
{
    struct environment *env = state_find(s, name);
    if (env != NULL)
        return env;
    size_t at = place(s, name);
    env = intent_alloc(sizeof *env);
    snprintf(env->name, sizeof env->name, "%s", name);
    s->environments = intent_grow(s->environments, s->count, &s->cap, sizeof(void *));
    memmove(s->environments + at + 1, s->environments + at, (s->count - at) * sizeof(void *));
    s->environments[at] = env;
    s->count++;
    return env;
}

void state_remove(struct state *s, struct environment *env)
{
    size_t at = place(s, env->name);
    ENSURE(at < s->count && s->environments[at] == env);
    memmove(s->environments + at, s->environments + at + 1, (s->count - at - 1) * sizeof(void *));
    s->count--;
    environment_free(env);
}

struct deployment *deployment_find(const struct environment *env, const char *id)
{
    for (size_t i = env->count; id != NULL && i-- > 0;)
        if (strcmp(env->deployments[i].id, id) == 0)
            return &env->deployments[i];
    return NULL;
}

struct deployment *deployment_add(struct environment *env, const char *id, int64_t number,
                                  json_t *json, struct record_version version)
{
    struct deployment *dep = deployment_find(env, id);
    if (dep != NULL)
        deployment_remove(env, dep);
    env->deployments =
        intent_grow(env->deployments, env->count, &env->cap, sizeof *env->deployments);
    size_t at = env->count;
    while (at > 0 && env->deployments[at - 1].number > number)
        at--;
    dep = &env->deployments[at];
    memmove(dep + 1, dep, (env->count - at) * sizeof *dep);
    *dep = (struct deployment){.number = number, .json = json, .version = version};
    snprintf(dep->id, sizeof dep->id, "%s", id);
    env->count++;
    return dep;
}

void deployment_remove(struct environment *env, struct deployment *dep)
{
    size_t at = (size_t)(dep - env->deployments);
    env->history -= dep->bytes;
    json_decref(dep->json);
    memmove(dep, dep + 1, (env->count - at - 1) * sizeof *dep);
    env->count--;
}

/* With what stands around each in a snapshot: term and index, the members' names. */
#define ITEM_BYTES 80u

void environment_weigh(struct environment *env, size_t json_len)
{
    env->bytes = json_len + ITEM_BYTES;
}

void deployment_weigh(struct environment *env, struct deployment *dep, size_t json_len)
{
    env->history += json_len + ITEM_BYTES - dep->bytes;
    dep->bytes = json_len + ITEM_BYTES;
}

struct answer *answer_find(const struct state *s, const char *key)
{
    return map_get(&s->answer_of, key);
}

struct answer *answer_add(struct state *s, const char *key, const char *digest, int64_t at_unix_ms,
                          int err, json_t *body, struct record_version version)
{
    struct answer *a = answer_find(s, key);
    if (a != NULL)
        answer_remove(s, a);
    a = intent_alloc(sizeof *a);
    *a = (struct answer){.at_unix_ms = at_unix_ms, .err = err, .body = body, .version = version};
    snprintf(a->key, sizeof a->key, "%s", key);
    snprintf(a->digest, sizeof a->digest, "%s", digest);
    a->bytes = sizeof *a;
    if (body != NULL) {
        size_t len;
        free(canonical_json(body, &len));
        a->bytes += len;
    }
    s->answers = intent_grow(s->answers, s->answer_count, &s->answer_cap, sizeof(struct answer *));
    size_t at = s->answer_count;
    while (at > 0 && record_version_cmp(s->answers[at - 1]->version, version) > 0)
        at--;
    memmove(&s->answers[at + 1], &s->answers[at], (s->answer_count - at) * sizeof *s->answers);
    s->answers[at] = a;
    int err_put = map_put(&s->answer_of, a->key, a, NULL);
    ENSURE(err_put == 0);
    s->answer_bytes += a->bytes;
    s->answer_count++;
    return a;
}

void answer_remove(struct state *s, struct answer *a)
{
    size_t at = 0; /* it mostly is the oldest */
    while (s->answers[at] != a)
        at++;
    s->answer_bytes -= a->bytes;
    s->answer_count--;
    memmove(&s->answers[at], &s->answers[at + 1], (s->answer_count - at) * sizeof *s->answers);
    (void)map_del(&s->answer_of, a->key);
    answer_free(a);
}
