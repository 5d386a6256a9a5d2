/* SPDX-License-Identifier: Apache-2.0
 * The last things that ECS said of services, deployments and the health of instances: in the status
 * of the leader, and in its log if they are bad. Pure but for the log. */
#ifndef BLOX_AGENT_INTAKE_NOTES_H
#define BLOX_AGENT_INTAKE_NOTES_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/json.h"
#include "agent/intake/events.h"

#define NOTES_MAX 32u

struct notes {
    struct kept_note {
        struct events_note note;
        int64_t first_unix_ms, last_unix_ms;
        uint64_t count; /* of the same name about the same */
    } kept[NOTES_MAX];  /* the newest last */
    size_t count;
};

/* True: it is news, or was last said a minute ago or longer. */
bool notes_put(struct notes *n, const struct events_note *note, int64_t now_unix_ms);
json_t *notes_list(const struct notes *n); /* the newest first; new reference */

#endif
