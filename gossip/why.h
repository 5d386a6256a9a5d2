/* SPDX-License-Identifier: Apache-2.0
 * Says in words and JSON why a member's state changed. Pure. */
#ifndef BLOX_GOSSIP_WHY_H
#define BLOX_GOSSIP_WHY_H

#include "gossip/swim.h"

#define WHY_TEXT_MAX 512
void why_sentence(const struct swim *s, const struct swim_change *change, char out[WHY_TEXT_MAX]);
json_t *why_json(const struct swim *s, const struct swim_member *m, uint64_t now_ms);

#endif
