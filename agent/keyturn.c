/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/keyturn.h"

#include <stdio.h>
#include <string.h>

static bool is_of(const struct keyturn *t, uint64_t now_ms, int op, const char *id)
{
    return t->op == op && strcmp(t->id, id) == 0 && now_ms < t->end_ms;
}

static bool *word_of(struct keyturn *t, uint64_t num)
{
    for (size_t i = 0; i < t->takers; i++)
        if (t->taker[i] == num)
            return &t->said[i];
    return NULL;
}

int keyturn_take(struct keyturn *t, uint64_t now_ms, uint64_t from, int op, const char *id)
{
    bool same = is_of(t, now_ms, op, id);
    if (t->op != 0 && now_ms < t->end_ms && !same)
        return ERR_BUSY;
    if (!same) {
        *t = (struct keyturn){.op = op};
        snprintf(t->id, sizeof t->id, "%s", id);
    }
    if (word_of(t, from) != NULL)
        return 0; /* nor can anybody prolong what another has said */
    if (t->takers == KEYTURN_TAKERS_MAX)
        return ERR_BUSY;
    t->taker[t->takers++] = from;
    t->end_ms = now_ms + KEYTURN_MS;
    return 0;
}

bool keyturn_holds(struct keyturn *t, uint64_t now_ms, uint64_t from, int op, const char *id)
{
    return is_of(t, now_ms, op, id) && word_of(t, from) != NULL;
}

void keyturn_give_back(struct keyturn *t, uint64_t from)
{
    bool *word = word_of(t, from);
    if (word == NULL || *word)
        return;
    size_t i = (size_t)(word - t->said), last = --t->takers;
    t->taker[i] = t->taker[last];
    t->said[i] = t->said[last];
    t->said[last] = false;
    if (last == 0)
        *t = (struct keyturn){0};
}

unsigned keyturn_say(struct keyturn *t, uint64_t now_ms, uint64_t from, int op, const char *id)
{
    bool *word = is_of(t, now_ms, op, id) ? word_of(t, from) : NULL;
    unsigned words = 0;
    if (word == NULL)
        return 0;
    *word = true;
    for (size_t i = 0; i < t->takers; i++)
        words += t->said[i];
    return words;
}
