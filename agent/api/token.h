/* SPDX-License-Identifier: Apache-2.0
 * next_token: where a page ended, in which snapshot and of which query, as opaque text. */
#ifndef BLOX_AGENT_API_TOKEN_H
#define BLOX_AGENT_API_TOKEN_H

#include <stdint.h>

#include "agent/api/sort.h"
#include "agent/base/buf.h"
#include "agent/base/record.h"

struct token {
    uint64_t snapshot; /* pages.h; 0: none */
    uint64_t query;    /* hash of what was asked for */
    struct sort_place last;
};

int token_encode(const struct token *t, struct buf *out);
/* ERR_BADPARAM: not made by token_encode(). */
int token_decode(const char *text, struct token *ret) MUST_CHECK;

#endif
