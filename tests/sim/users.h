/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOX_TESTS_USERS_H
#define BLOX_TESTS_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/json.h"

#define USERS 3u

enum user_op { USER_CREATE, USER_DEPLOY, USER_DELETE, USER_READ };

struct user {
    char name[8], what[60], deployment[64];
    char zone; /* its environment matches only there; 0: everywhere */
    /* What was acknowledged. */
    bool exists, deployed, deleted;
    int64_t number; /* of the task definition */
    /* Under way. */
    bool idle;
    enum user_op op;
    uint64_t requests;
    json_t *command; /* repeated until answered; NULL: none */
    struct api_write *write;
    uint64_t asked; /* how often it was: a later request may have an earlier one's address */
};
extern struct user users[USERS];

void users_init(void);
void users_quiet(void); /* nothing new is asked */
bool users_are_quiet(void);

#endif
