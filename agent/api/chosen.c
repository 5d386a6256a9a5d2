/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/chosen.h"

#include <ctype.h>
#include <string.h>

#include "agent/api/item.h"

int chosen_parse(const char *text, struct chosen *ret)
{
    ret->count = 0;
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        if (len == 0 || ret->count == CHOSEN_MAX)
            return ERR_BADPARAM;
        for (size_t i = 0; i < len; i++)
            if (!isalnum((unsigned char)p[i]) && p[i] != '_')
                return ERR_BADPARAM;
        ret->names[ret->count++] = (struct span){p, len};
        p += len;
        if (*p == '\0')
            return 0;
    }
}

static bool has(const struct chosen *c, struct span name)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->names[i].len == name.len && memcmp(c->names[i].data, name.data, name.len) == 0)
            return true;
    return false;
}

int chosen_put(struct buf *out, const struct store_row *row, const struct row *fields,
               const struct chosen *c)
{
    struct span name, value;
    size_t start = out->len;
    int err = item_put(out, row, fields);
    if (err != 0)
        return err;
    /* The item stands where its choice will: members move to the front, none grows. */
    struct span item = {out->data + start, out->len - start};
    size_t to = start + 1;
    for (size_t at = 0; span_member(item, &at, &name, &value);) {
        if (!has(c, name))
            continue;
        /* From the quote before the name to the value's end, without space between them. */
        size_t len = (size_t)(value.data + value.len - (name.data - 1));
        if (to > start + 1)
            out->data[to++] = ',';
        memmove(out->data + to, name.data - 1, len);
        to += len;
    }
    out->data[to++] = '}';
    out->data[to] = '\0';
    out->len = to;
    return 0;
}
