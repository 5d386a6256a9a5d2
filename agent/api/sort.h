/* SPDX-License-Identifier: Apache-2.0
 * Lists in the order of a member. A page needs as much memory as it has rows, however many there
 * are: all are looked at, and the first of them behind the page before are kept. Tasks by their
 * createdAt the store has in order: there no more are looked at than the page takes. */
#ifndef BLOX_AGENT_API_SORT_H
#define BLOX_AGENT_API_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/row.h"
#include "store/store.h"

#define SORT_TEXT_MAX 128u /* texts that are equal so far are in the order of their keys */
#define SORT_MEMBER_MAX 64u

struct sort {
    char member[SORT_MEMBER_MAX]; /* "": in the order of keys */
    bool down;
    bool
        by_creation; /* equal ones in the order of the store (store_creation_scan()), not of keys */
};

enum sort_rank { SORT_NUMBER, SORT_TEXT, SORT_NONE }; /* rows without the member come last */

/* A row's place in the order. */
struct sort_place {
    uint8_t rank;
    uint16_t key_len, text_len;
    double number;
    char text[SORT_TEXT_MAX];
    char key[RECORD_KEY_MAX + 1];
};

/* The parameter, for rows of that kind: MEMBER or -MEMBER. ERR_BADPARAM. */
int sort_parse(const char *text, uint8_t kind, struct sort *ret) MUST_CHECK;
/* Of the row, or of a member of its JSON: a number, a text, true or false. */
void sort_place_of(const struct sort *s, const struct store_row *row, const struct row *fields,
                   struct sort_place *ret);
int sort_compare(const struct sort *s, const struct sort_place *a, const struct sort_place *b);

/* The `cap` first places behind `after`. */
struct sort_heap {
    const struct sort *sort;
    const struct sort_place *after; /* key_len 0: from the start */
    size_t count, cap;
    struct sort_place places[]; /* the last one at the root */
};
struct sort_heap *sort_heap_new(const struct sort *s, const struct sort_place *after, size_t cap);
void sort_heap_add(struct sort_heap *h, const struct sort_place *place);
/* Nothing that comes in order behind that place can be one of them. */
bool sort_heap_is_past(const struct sort_heap *h, const struct sort_place *place);
/* Puts places in order; nothing may be added any more. */
void sort_heap_finish(struct sort_heap *h);

#endif
