/* SPDX-License-Identifier: Apache-2.0
 * The whole state has to fit into one message: it is a snapshot for a new voter, an answer to a
 * strong read, a backup. When it gets too large the oldest deployments of whoever has most of them
 * go, as they do beyond DEPLOYMENTS_KEPT; when none is left but the active ones nothing is added.
 */
#include "agent/intent/intent_int.h"

#define OWN_BYTES 2048u /* what a row has beside the command's own text */

static struct deployment *oldest_spare(const struct environment *env)
{
    const struct deployment *active =
        env->json == NULL ? NULL : deployment_find(env, json_str(env->json, "activeDeployment"));
    for (size_t i = 0; i < env->count; i++)
        if (&env->deployments[i] != active)
            return &env->deployments[i];
    return NULL;
}

static struct environment *largest_spare(const struct state *s)
{
    struct environment *largest = NULL;
    for (size_t i = 0; i < s->count; i++) {
        struct environment *env = s->environments[i];
        if ((largest == NULL || env->history > largest->history) && oldest_spare(env) != NULL)
            largest = env;
    }
    return largest;
}

bool room_make(struct apply *a)
{
    const struct state *s = &a->in->state;
    size_t bytes = a->size + OWN_BYTES;
    struct environment *env;
    char key[ROW_KEY_TEXT];
    for (size_t i = 0; i < s->count; i++)
        bytes += s->environments[i]->bytes + s->environments[i]->history;
    while (bytes > INTENT_BYTES_MAX && (env = largest_spare(s)) != NULL) {
        struct deployment *dep = oldest_spare(env);
        bytes -= dep->bytes;
        deployment_key(env, dep->id, key);
        rows_tombstone(&a->in->rows, RECORD_DEPLOYMENT, key, a->version);
        deployment_remove(env, dep);
    }
    return bytes <= INTENT_BYTES_MAX;
}

int room_refuse(struct apply *a)
{
    return result_set(a->ret, ERR_CONFLICT, "environments",
                      "environments and their deployments take %u MiB, the most there may be; "
                      "delete some",
                      INTENT_BYTES_MAX >> 20);
}
