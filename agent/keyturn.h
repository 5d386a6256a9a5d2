/* SPDX-License-Identifier: Apache-2.0
 * Whose turn it is to change a member's keys. Two operators at once, of whom one uses the key that
 * the other removes, would leave members that cannot hear each other any more: so a step (use or
 * remove, and of which key) takes the turn of every member first, and the members that took it for
 * the same step then say: do it. How many have to is the caller's to know. Pure. */
#ifndef BLOX_AGENT_KEYTURN_H
#define BLOX_AGENT_KEYTURN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define KEYTURN_MS 25000     /* all of a step; who asked may be gone before its end */
#define KEYTURN_TAKERS_MAX 4 /* that ask for one step at a time */
#define KEYTURN_ID 17        /* a key's, and its end */

struct keyturn {
    int op; /* 0: nobody's */
    char id[KEYTURN_ID];
    uint64_t end_ms;
    uint64_t taker[KEYTURN_TAKERS_MAX];
    bool said[KEYTURN_TAKERS_MAX];
    size_t takers;
};

/* ERR_BUSY: another step has it. It ends KEYTURN_MS after the last new taker. */
int keyturn_take(struct keyturn *t, uint64_t now_ms, uint64_t from, int op, const char *id);
/* Has that one taken it, for this step? */
bool keyturn_holds(struct keyturn *t, uint64_t now_ms, uint64_t from, int op, const char *id);
/* Not after it has said so: another counts on that word, and what gives back may be of a step that
 * the taker was asked for itself and that was refused. */
void keyturn_give_back(struct keyturn *t, uint64_t from);
/* How many takers have said so, this one with them; 0: it is not its turn. */
unsigned keyturn_say(struct keyturn *t, uint64_t now_ms, uint64_t from, int op, const char *id);

#endif
