/* SPDX-License-Identifier: Apache-2.0
 * Rows of one list are alike: the same members in the same order, other values. What a function
 * makes of one is therefore learned once, as a shape, and filled in for the others without taking
 * their JSON apart again.
 *
 * Only for functions that copy texts as they are written, whole numbers as they are, and ask of a
 * value no more than its type, whether a text is empty and whether a number is 0. */
#ifndef BLOX_AGENT_API_SHAPE_H
#define BLOX_AGENT_API_SHAPE_H

#include "agent/base/buf.h"
#include "agent/base/row.h"

/* Appends what becomes of a row's JSON. 0, ERR_MALFORMED, or out's error. */
typedef int (*shape_fn)(struct buf *out, struct row_text json);

struct shapes;
struct shapes *shapes_new(shape_fn fn); /* NULL: no memory */
void shapes_free(struct shapes *s);     /* NULL is nothing */
/* As fn(out, json) does. */
int shapes_put(struct shapes *s, struct buf *out, struct row_text json);

#endif
