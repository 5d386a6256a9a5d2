/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/sort.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/span.h"

int sort_parse(const char *text, uint8_t kind, struct sort *ret)
{
    *ret = (struct sort){.down = text[0] == '-'};
    const char *member = text + ret->down;
    size_t len = strlen(member);
    if (len == 0 || len >= SORT_MEMBER_MAX)
        return ERR_BADPARAM;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)member[i]) && member[i] != '_')
            return ERR_BADPARAM;
    memcpy(ret->member, member, len + 1);
    ret->by_creation = kind == RECORD_TASK && strcmp(member, "createdAt") == 0;
    return 0;
}

static void set_number(struct sort_place *p, double number)
{
    p->rank = SORT_NUMBER;
    p->number = number;
}

static void set_text(struct sort_place *p, const char *text, size_t len)
{
    p->rank = SORT_TEXT;
    p->text_len = (uint16_t)(len < SORT_TEXT_MAX ? len : SORT_TEXT_MAX);
    memcpy(p->text, text, p->text_len);
}

void sort_place_of(const struct sort *s, const struct store_row *row, const struct row *fields,
                   struct sort_place *ret)
{
    *ret = (struct sort_place){.rank = SORT_NONE, .key_len = row->record.key_len};
    memcpy(ret->key, row->record.key, row->record.key_len);
    bool observed = row->record.kind == RECORD_INSTANCE || row->record.kind == RECORD_TASK;
    struct span v = span_get((struct span){fields->json.data, fields->json.len}, s->member);
    if (strcmp(s->member, "index") == 0)
        set_number(ret, (double)row->index);
    else if (strcmp(s->member, "updated_at") == 0)
        set_number(ret, (double)row->record.observed_unix_ms);
    else if (strcmp(s->member, "version") == 0)
        set_number(ret, (double)(observed ? row->record.version.hi : row->record.version.lo));
    else if (v.data == NULL && strcmp(s->member, "id") == 0)
        set_text(ret, row->record.key, row->record.key_len);
    else if (span_is_text(v))
        set_text(ret, v.data + 1, v.len - 2);
    else if (span_is(v, "true") || span_is(v, "false"))
        set_number(ret, v.data[0] == 't');
    else if (v.data != NULL && (v.data[0] == '-' || isdigit((unsigned char)v.data[0])))
        set_number(ret, span_double_or(v, 0));
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* Of two tasks of one time, in which none is the first. */
static int compare_hashes(const struct sort *s, const struct sort_place *a,
                          const struct sort_place *b)
{
    uint64_t x = record_key_hash(RECORD_TASK, a->key, a->key_len);
    uint64_t y = record_key_hash(RECORD_TASK, b->key, b->key_len);
    int order = (x > y) - (x < y);
    return s->down ? -order : order;
}

int sort_compare(const struct sort *s, const struct sort_place *a, const struct sort_place *b)
{
    int order = a->rank - b->rank;
    if (order == 0 && a->rank == SORT_NUMBER)
        order = (a->number > b->number) - (a->number < b->number);
    else if (order == 0 && a->rank == SORT_TEXT)
        order = compare_bytes(a->text, a->text_len, b->text, b->text_len);
    if (order != 0)
        return s->down && a->rank != SORT_NONE && b->rank != SORT_NONE ? -order : order;
    if (s->by_creation && (order = compare_hashes(s, a, b)) != 0)
        return order;
    return compare_bytes(a->key, a->key_len, b->key, b->key_len);
}

struct sort_heap *sort_heap_new(const struct sort *s, const struct sort_place *after, size_t cap)
{
    struct sort_heap *h = malloc(sizeof *h + cap * sizeof h->places[0]);
    if (h != NULL)
        *h = (struct sort_heap){.sort = s, .after = after, .cap = cap};
    return h;
}

static void swap(struct sort_heap *h, size_t a, size_t b)
{
    struct sort_place place = h->places[a];
    h->places[a] = h->places[b];
    h->places[b] = place;
}

static bool is_behind(const struct sort_heap *h, size_t a, size_t b)
{
    return sort_compare(h->sort, &h->places[a], &h->places[b]) > 0;
}

static void sift_down(struct sort_heap *h, size_t end)
{
    for (size_t at = 0, child; (child = 2 * at + 1) < end; at = child) {
        if (child + 1 < end && is_behind(h, child + 1, child))
            child++;
        if (!is_behind(h, child, at))
            return;
        swap(h, child, at);
    }
}

void sort_heap_add(struct sort_heap *h, const struct sort_place *place)
{
    if (h->cap == 0 || (h->after->key_len > 0 && sort_compare(h->sort, place, h->after) <= 0))
        return;
    if (h->count == h->cap) {
        if (sort_compare(h->sort, place, &h->places[0]) >= 0)
            return;
        h->places[0] = *place;
        sift_down(h, h->count);
        return;
    }
    size_t at = h->count++;
    h->places[at] = *place;
    for (; at > 0 && is_behind(h, at, (at - 1) / 2); at = (at - 1) / 2)
        swap(h, at, (at - 1) / 2);
}

bool sort_heap_is_past(const struct sort_heap *h, const struct sort_place *place)
{
    return h->count == h->cap && sort_compare(h->sort, place, &h->places[0]) >= 0;
}

void sort_heap_finish(struct sort_heap *h)
{
    for (size_t end = h->count; end > 1; end--) {
        swap(h, 0, end - 1);
        sift_down(h, end - 1);
    }
}
