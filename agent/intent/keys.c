/* SPDX-License-Identifier: Apache-2.0
 * Idempotency keys: a request sent again with its key gets the answer it got before, also
 * from a new leader; the key with another request is refused. A refusal is kept for a minute only,
 * for the same request: an attempt that arrives late must not do what the user was told is not
 * done, and a user who has removed the cause may use the key again. */
#include "agent/intent/intent_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

static void forget(struct apply *a, struct answer *answer)
{
    char key[ROW_KEY_TEXT];
    answer_key(answer->key, key);
    rows_tombstone(&a->in->rows, RECORD_SETTING, key, a->version);
    answer_remove(&a->in->state, answer);
}

void keys_expire(struct apply *a)
{
    struct state *s = &a->in->state;
    while (s->answer_count > 0 && s->answers[0]->at_unix_ms + KEY_LIFE_MS <= a->now_unix_ms)
        forget(a, s->answers[0]);
}

/* What the user asked for: the digest the first agent took of the body, or else the command
 * without what was added to it. */
static void digest_of(const struct apply *a, char out[DIGEST_TEXT])
{
    const char *given = json_str(a->command, "digest");
    size_t len = 0;
    char *text = NULL;
    if (given == NULL) {
        json_t *copy = json_copy((json_t *)(uintptr_t)a->command);
        ENSURE(copy != NULL);
        json_object_del(copy, "now");
        json_object_del(copy, "id");
        json_object_del(copy, "key");
        text = canonical_json(copy, &len);
        json_decref(copy);
        given = text;
    } else {
        len = strlen(given);
    }
    snprintf(out, DIGEST_TEXT, "%016llx%016llx", (unsigned long long)hash_bytes(given, len, 1),
             (unsigned long long)hash_bytes(given, len, 2));
    free(text);
}

bool keys_answer(struct apply *a, int *ret_err)
{
    char digest[DIGEST_TEXT];
    const char *key = json_str(a->command, "key");
    struct answer *answer = key == NULL ? NULL : answer_find(&a->in->state, key);
    if (answer == NULL)
        return false;
    digest_of(a, digest);
    bool same = strcmp(digest, answer->digest) == 0;
    if (answer->err != 0) {
        if (!same || answer->at_unix_ms + REFUSAL_LIFE_MS <= a->now_unix_ms)
            return false;
        *ret_err = result_set(a->ret, answer->err, json_str_or(answer->body, "field", ""), "%s",
                              json_str_or(answer->body, "detail", ""));
        a->ret->replayed = true;
        return true;
    }
    if (!same) {
        *ret_err = result_set(a->ret, ERR_MISMATCH, "key",
                              "this idempotency key was used for another request; use a new one");
        return true;
    }
    a->body = json_incref(answer->body);
    a->ret->replayed = true;
    *ret_err = 0;
    return true;
}

void keys_remember(struct apply *a, int err)
{
    struct state *s = &a->in->state;
    char digest[DIGEST_TEXT];
    const char *key = json_str(a->command, "key");
    if (key == NULL)
        return;
    digest_of(a, digest);
    json_t *body = err != 0
                       ? json_pack("{s:s,s:s}", "detail", a->ret->detail, "field", a->ret->field)
                   : a->body == NULL ? NULL
                                     : json_deep_copy(a->body);
    struct answer *answer = answer_add(s, key, digest, a->now_unix_ms, err, body, a->version);
    rows_answer(&a->in->rows, answer);
    while (s->answer_count > IDEMPOTENCY_KEYS_MAX ||
           (s->answer_bytes > KEY_BYTES_MAX && s->answer_count > 1))
        forget(a, s->answers[0]);
}
