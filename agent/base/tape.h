/* SPDX-License-Identifier: Apache-2.0
 * JSON as a list of nodes over the text, for bodies that come by the thousand: one pass, no memory
 * per value, nothing copied. jansson, which serves everything else, takes ten times as long for an
 * ECS event, and nine tenths of what a leader could take in were spent in it.
 *
 * As strict as jansson with duplicate members allowed: UTF-8, whole surrogate pairs, no NUL,
 * integers of 64 bits, finite reals. Of members with one name the last counts. */
#ifndef BLOX_BASE_TAPE_H
#define BLOX_BASE_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

#define TAPE_DEPTH_MAX 64
#define TAPE_NONE UINT32_MAX

enum tape_type {
    TAPE_NULL,
    TAPE_FALSE,
    TAPE_TRUE,
    TAPE_INTEGER,
    TAPE_REAL,
    TAPE_STRING,
    TAPE_ARRAY,
    TAPE_OBJECT
};

struct tape_node {
    uint32_t at;    /* in the text; of a string, behind its quote */
    uint32_t len;   /* bytes as they stand there; of a container, its direct children */
    uint32_t after; /* the node behind this one and all that is in it */
    uint8_t type;
    bool escaped; /* a string with backslashes */
};

/* An object's children are name, value, name, value...; the first is the node behind the object. */
struct tape {
    const char *text; /* borrowed */
    struct tape_node *nodes;
    uint32_t count;
    uint32_t cap;
};

void tape_init(struct tape *t);
void tape_fini(struct tape *t);
/* May be used again and again; keeps its memory. Node 0 is the whole. e tells where it is wrong and
 * quotes nothing of it. Errors: ERR_MALFORMED, ERR_TOOBIG (depth, 4 GiB), ERR_NOMEM. */
int tape_parse(struct tape *t, const char *text, size_t len, struct errmsg *e) MUST_CHECK;

/* All of these take TAPE_NONE, which is nothing. */
bool tape_is(const struct tape *t, uint32_t node, enum tape_type type);
uint32_t tape_get(const struct tape *t, uint32_t object, const char *name);
uint32_t tape_length(const struct tape *t, uint32_t array); /* 0 if it is none */
uint32_t tape_first(const struct tape *t, uint32_t array);  /* of its elements, or TAPE_NONE */
/* The element behind this one of the same array, or TAPE_NONE. */
uint32_t tape_next(const struct tape *t, uint32_t array, uint32_t element);
bool tape_equals(const struct tape *t, uint32_t node, const char *text); /* a string of this text */
bool tape_int(const struct tape *t, uint32_t node, int64_t *ret);
double tape_real(const struct tape *t, uint32_t node); /* of either kind of number; else 0 */
/* A string's text with NUL; false if it is no string or does not fit. */
bool tape_text(const struct tape *t, uint32_t node, char *out, size_t cap);
/* A string's text, appended. */
int tape_put_text(const struct tape *t, uint32_t node, struct buf *out);
/* A scalar as jansson writes it, appended. */
int tape_put_scalar(const struct tape *t, uint32_t node, struct buf *out);

#endif
