/* SPDX-License-Identifier: Apache-2.0
 * Values are written as they are met; one that turns out to say nothing (null, an empty list, a
 * time that cannot be read) is taken back by cutting the text where it began. */
#include "agent/intake/canon.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/json.h"

#define INSERTED_MAX 128u /* more than an instance has attributes; moved one by one up to here */

/* What the name of a member says about its value. */
enum trait {
    TIME = 1,
    UNORDERED = 2,   /* a list of which ECS does not say that its order means anything */
    STAYS_EMPTY = 4, /* required by the schemas: kept though it be empty */
    NUMBER = 8,      /* "cpu": "null" is in AWS's own samples */
    ENVIRONMENT = 16,
    RESOURCES = 32,
    AGENTS = 64
};

/* A member of an object, or an element of a list by the name it is sorted under. */
struct item {
    const char *name; /* in the text, a literal, or owned if its node is escaped */
    uint64_t head;    /* its first eight bytes as a number: they order most names */
    uint32_t len;
    uint32_t name_node; /* TAPE_NONE: a literal */
    uint32_t value;     /* TAPE_NONE: the cluster's ARN */
};

struct canon {
    const struct tape *t;
    struct buf *out;
    bool keep_values;
    const char *cluster_arn;
    struct item *items; /* a stack: each open container has a range of it */
    size_t count, cap;
    int err;
};

static unsigned traits_of(const char *name, size_t len)
{
#define T(text, traits)                                                                            \
    if (len == sizeof text - 1 && memcmp(name, text, len) == 0)                                    \
    return traits
    switch (len) { /* most names are of a length of which there are few */
    case 3:
        T("cpu", NUMBER);
        break;
    case 4:
        T("tags", UNORDERED);
        break;
    case 6:
        T("memory", NUMBER);
        break;
    case 7:
        T("details", UNORDERED);
        break;
    case 9:
        T("createdAt", TIME);
        T("overrides", STAYS_EMPTY);
        T("startedAt", TIME);
        T("stoppedAt", TIME);
        T("updatedAt", TIME);
        break;
    case 10:
        T("attributes", UNORDERED | STAYS_EMPTY);
        T("containers", UNORDERED | STAYS_EMPTY);
        T("stoppingAt", TIME);
        break;
    case 11:
        T("attachments", UNORDERED | STAYS_EMPTY);
        T("environment", UNORDERED | ENVIRONMENT);
        T("lastUpdated", TIME);
        break;
    case 12:
        T("registeredAt", TIME);
        break;
    case 13:
        T("lastStartedAt", TIME);
        T("managedAgents", UNORDERED | AGENTS);
        T("pullStartedAt", TIME);
        T("pullStoppedAt", TIME);
        break;
    case 14:
        T("connectivityAt", TIME);
        T("stringSetValue", UNORDERED);
        break;
    case 16:
        T("lastStatusChange", TIME);
        break;
    case 17:
        T("memoryReservation", NUMBER);
        break;
    case 18:
        T("containerOverrides", UNORDERED | STAYS_EMPTY);
        T("executionStoppedAt", TIME);
        T("remainingResources", UNORDERED | STAYS_EMPTY | RESOURCES);
        break;
    case 19:
        T("registeredResources", UNORDERED | STAYS_EMPTY | RESOURCES);
        break;
    default:
        break;
    }
#undef T
    return 0;
}

/* ---- items ------------------------------------------------------------------------- */

/* Shorter names end in zeros, which no name has: so they come before longer ones. */
static uint64_t head_of(const char *name, size_t len)
{
    uint64_t head = 0;
    if (len >= sizeof head)
        memcpy(&head, name, sizeof head);
    else
        memcpy(&head, name, len);
    return be64toh(head);
}

static struct item *push(struct canon *c, const char *name, size_t len, uint32_t value)
{
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 128 : c->cap * 2;
        struct item *items = realloc(c->items, cap * sizeof *items);
        if (items == NULL) {
            c->err = ERR_NOMEM;
            return NULL;
        }
        c->items = items;
        c->cap = cap;
    }
    struct item *item = &c->items[c->count++];
    *item = (struct item){name, head_of(name, len), (uint32_t)len, TAPE_NONE, value};
    return item;
}

/* Under the text of a string node. */
static struct item *push_named(struct canon *c, uint32_t name, uint32_t value)
{
    const struct tape_node *n = &c->t->nodes[name];
    struct item *item = push(c, c->t->text + n->at, n->len, value);
    if (item == NULL)
        return NULL;
    item->name_node = name;
    if (n->escaped) {
        struct buf text;
        size_t len = 0;
        buf_init(&text, SIZE_MAX / 4);
        buf_put(&text, "", 0); /* so that there is memory even for none */
        if (tape_put_text(c->t, name, &text) != 0) {
            buf_fini(&text);
            c->count--;
            c->err = ERR_NOMEM;
            return NULL;
        }
        item->name = buf_steal(&text, &len);
        item->len = (uint32_t)len;
        item->head = head_of(item->name, len);
    }
    return item;
}

static void pop_to(struct canon *c, size_t count)
{
    while (c->count > count) {
        struct item *item = &c->items[--c->count];
        if (item->name_node != TAPE_NONE && c->t->nodes[item->name_node].escaped)
            free((char *)(uintptr_t)item->name);
    }
}

/* Those of one name keep their order. */
static int by_name(const void *a, const void *b)
{
    const struct item *x = a;
    const struct item *y = b;
    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    int order = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);
    if (order == 0)
        order = (x->len > y->len) - (x->len < y->len);
    return order != 0 ? order : (x->value > y->value) - (x->value < y->value);
}

/* Where item belongs among n sorted ones: mostly behind the last, for ECS writes runs in order. */
static size_t place_of(const struct item *sorted, size_t n, const struct item *item)
{
    size_t low = 0;
    size_t high = n;
    if (n == 0 || by_name(&sorted[n - 1], item) < 0)
        return n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_name(&sorted[middle], item) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void sort_from(struct canon *c, size_t first)
{
    size_t n = c->count - first;
    if (n < 2)
        return; /* of an empty object there may be no items at all */
    struct item *items = c->items + first;
    if (n > INSERTED_MAX) {
        qsort(items, n, sizeof *items, by_name);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct item item = items[i];
        size_t at = place_of(items, i, &item);
        memmove(&items[at + 1], &items[at], (i - at) * sizeof item);
        items[at] = item;
    }
}

static bool same_name(const struct item *a, const struct item *b)
{
    return a->head == b->head && a->len == b->len && memcmp(a->name, b->name, a->len) == 0;
}

static bool is(const struct item *item, const char *name)
{
    return item->len == strlen(name) && memcmp(item->name, name, item->len) == 0;
}

/* ---- what an element is sorted under ------------------------------------------------- */

static const char *const naming[] = {"name", "key", "id", "type", "containerArn", NULL};

static void push_element(struct canon *c, uint32_t element)
{
    uint32_t name = tape_is(c->t, element, TAPE_STRING) ? element : TAPE_NONE;
    for (size_t i = 0; name == TAPE_NONE && naming[i] != NULL; i++) {
        uint32_t found = tape_get(c->t, element, naming[i]);
        name = tape_is(c->t, found, TAPE_STRING) ? found : TAPE_NONE;
    }
    if (name == TAPE_NONE)
        push(c, "", 0, element);
    else
        push_named(c, name, element);
}

/* As it will be found when it is redacted once more. */
static void push_redacted_element(struct canon *c, uint32_t element)
{
    uint32_t name = tape_get(c->t, element, "name");
    bool other = tape_is(c->t, element, TAPE_STRING);
    if (tape_is(c->t, name, TAPE_STRING)) {
        push_named(c, name, element);
        return;
    }
    for (size_t i = 0; !other && naming[i] != NULL; i++) {
        uint32_t found = tape_get(c->t, element, naming[i]);
        other = found != TAPE_NONE && !tape_is(c->t, found, TAPE_NULL);
    }
    other = other || (element < c->t->count && c->t->nodes[element].type < TAPE_STRING);
    push(c, CANON_REDACTED, other ? sizeof CANON_REDACTED - 1 : 0, element);
}

/* ---- values ---------------------------------------------------------------------------- */

/* A time that cannot be read is left out: no reader could do anything with it. */
static bool put_time(struct canon *c, uint32_t node)
{
    const double seconds_max = 253402300799.0; /* the end of year 9999 */
    char text[64];
    int64_t ms = 0;
    if (tape_is(c->t, node, TAPE_STRING)) {
        if (!tape_text(c->t, node, text, sizeof text) || clock_parse_rfc3339(text, &ms) != 0)
            return false;
    } else if (tape_is(c->t, node, TAPE_INTEGER) || tape_is(c->t, node, TAPE_REAL)) {
        double seconds = tape_real(c->t, node);
        if (!(seconds >= 0 && seconds <= seconds_max))
            return false;
        ms = (int64_t)(seconds * 1000.0 + 0.5);
    } else {
        return false;
    }
    if (ms < 0 || (double)ms > seconds_max * 1000.0)
        return false;
    char time[CLOCK_TEXT_MAX];
    buf_putc(c->out, '"');
    buf_puts(c->out, clock_format_unix_ms(ms, time));
    buf_putc(c->out, '"');
    return true;
}

static bool put_value(struct canon *c, unsigned traits, uint32_t node, unsigned depth);

static void put_name(struct canon *c, const struct item *item)
{
    if (item->name_node != TAPE_NONE) {
        tape_put_scalar(c->t, item->name_node, c->out);
    } else {
        buf_put_quoted(c->out, item->name, item->len);
    }
    buf_putc(c->out, ':');
}

static void cut(struct buf *out, size_t len)
{
    if (out->err != 0)
        return;
    out->len = len;
    out->data[len] = '\0';
}

static bool put_redacted(struct canon *c, uint32_t node, unsigned depth);

/* The sorted items from first on, as members. */
static void put_members(struct canon *c, size_t first, bool redact, unsigned depth)
{
    size_t end = c->count;
    sort_from(c, first);
    buf_putc(c->out, '{');
    size_t start = c->out->len;
    for (size_t i = first; i < end && c->err == 0; i++) {
        struct item item = c->items[i]; /* the stack may move */
        size_t before = c->out->len;
        bool kept = true;
        if (i + 1 < end && same_name(&item, &c->items[i + 1]))
            continue; /* the last of one name counts */
        if (before > start)
            buf_putc(c->out, ',');
        put_name(c, &item);
        if (item.value == TAPE_NONE)
            json_write_string(c->out, c->cluster_arn, strlen(c->cluster_arn));
        else if (!redact)
            kept = put_value(c, traits_of(item.name, item.len), item.value, depth + 1);
        else if (is(&item, "name") && tape_is(c->t, item.value, TAPE_STRING))
            tape_put_scalar(c->t, item.value, c->out);
        else if (!tape_is(c->t, item.value, TAPE_NULL))
            buf_puts(c->out, "\"" CANON_REDACTED "\"");
        else
            kept = false;
        if (!kept)
            cut(c->out, before);
    }
    buf_putc(c->out, '}');
    pop_to(c, first);
}

/* A resource has one value, that of its type; the API sends zeros for the three others. */
static const struct {
    const char *type, *name;
} values[] = {{"INTEGER", "integerValue"},
              {"LONG", "longValue"},
              {"DOUBLE", "doubleValue"},
              {"STRINGSET", "stringSetValue"}};
#define VALUES (sizeof values / sizeof values[0])

/* The name of the value that counts; NULL: it is no resource, or of a type that we do not know. */
static const char *own_value(const struct canon *c, uint32_t object)
{
    uint32_t type = tape_get(c->t, object, "type");
    if (!tape_is(c->t, tape_get(c->t, object, "name"), TAPE_STRING))
        return NULL;
    for (size_t i = 0; i < VALUES; i++) {
        if (tape_equals(c->t, type, values[i].type))
            return values[i].name;
    }
    return NULL;
}

static bool is_other_value(const struct item *item, const char *own)
{
    for (size_t i = 0; own != NULL && i < VALUES; i++) {
        if (is(item, values[i].name))
            return strcmp(values[i].name, own) != 0;
    }
    return false;
}

static void put_object(struct canon *c, unsigned traits, uint32_t object, unsigned depth)
{
    static const char status[] = "lastStatus";
    size_t first = c->count;
    const struct tape_node *nodes = c->t->nodes;
    /* Looked up once: an object of anybody's making may have a hundred thousand members. */
    const char *own = (traits & RESOURCES) != 0 ? own_value(c, object) : NULL;
    bool agent = (traits & AGENTS) != 0;
    bool says_status = agent && tape_get(c->t, object, status) != TAPE_NONE;
    for (uint32_t i = object + 1; i < nodes[object].after && c->err == 0; i = nodes[i + 1].after) {
        const struct item *item = push_named(c, i, i + 1);
        if (item == NULL)
            return;
        if (is_other_value(item, own)) {
            pop_to(c, c->count - 1);
        } else if (agent && is(item, "status")) {
            pop_to(c, c->count - 1); /* events call it so */
            if (!says_status)
                push(c, status, sizeof status - 1, i + 1);
        }
    }
    if (depth == 0 && c->cluster_arn != NULL &&
        !tape_is(c->t, tape_get(c->t, object, "clusterArn"), TAPE_STRING))
        push(c, "clusterArn", strlen("clusterArn"), TAPE_NONE);
    put_members(c, first, false, depth);
}

/* Elements in order, or sorted by what names them. */
static void put_array(struct canon *c, unsigned traits, uint32_t array, bool redact, unsigned depth)
{
    size_t first = c->count;
    for (uint32_t i = tape_first(c->t, array); i != TAPE_NONE && c->err == 0;
         i = tape_next(c->t, array, i)) {
        if (redact && !tape_is(c->t, i, TAPE_NULL))
            push_redacted_element(c, i);
        else if (!redact && (traits & UNORDERED) != 0)
            push_element(c, i);
        else if (!redact)
            push(c, "", 0, i);
    }
    size_t end = c->count;
    sort_from(c, first);
    buf_putc(c->out, '[');
    size_t start = c->out->len;
    for (size_t i = first; i < end && c->err == 0; i++) {
        size_t before = c->out->len;
        uint32_t element = c->items[i].value;
        if (before > start)
            buf_putc(c->out, ',');
        if (!(redact ? put_redacted(c, element, depth + 1)
                     : put_value(c, traits, element, depth + 1)))
            cut(c->out, before);
    }
    buf_putc(c->out, ']');
    pop_to(c, first);
}

/* Whatever shape an environment comes in, only names survive. */
static bool put_redacted(struct canon *c, uint32_t node, unsigned depth)
{
    if (depth > CANON_DEPTH_MAX) {
        c->err = ERR_MALFORMED;
    } else if (tape_is(c->t, node, TAPE_OBJECT)) {
        size_t first = c->count;
        const struct tape_node *nodes = c->t->nodes;
        for (uint32_t i = node + 1; i < nodes[node].after && c->err == 0; i = nodes[i + 1].after)
            push_named(c, i, i + 1);
        put_members(c, first, true, depth);
    } else if (tape_is(c->t, node, TAPE_ARRAY)) {
        put_array(c, 0, node, true, depth);
    } else {
        buf_puts(c->out, "\"" CANON_REDACTED "\"");
    }
    return true;
}

/* False: it says nothing, leave it out. traits: of the member, or of the list it is in. */
static bool put_value(struct canon *c, unsigned traits, uint32_t node, unsigned depth)
{
    size_t before = c->out->len;
    uint8_t type = c->t->nodes[node].type;
    if (depth > CANON_DEPTH_MAX) {
        c->err = ERR_MALFORMED;
        return false;
    }
    if (type == TAPE_NULL || ((traits & NUMBER) != 0 && tape_equals(c->t, node, "null")))
        return false;
    if ((traits & TIME) != 0)
        return put_time(c, node);
    if ((traits & ENVIRONMENT) != 0 && !c->keep_values)
        put_redacted(c, node, depth);
    else if (type == TAPE_OBJECT)
        put_object(c, traits, node, depth);
    else if (type == TAPE_ARRAY)
        put_array(c, traits, node, false, depth);
    else
        tape_put_scalar(c->t, node, c->out);
    bool empty = type >= TAPE_ARRAY && c->out->len == before + 2;
    return !empty || (traits & STAYS_EMPTY) != 0;
}

int canon_write(const struct tape *t, uint32_t object, bool keep_values, const char *cluster_arn,
                struct buf *out)
{
    struct canon c = {.t = t, .out = out, .keep_values = keep_values, .cluster_arn = cluster_arn};
    put_object(&c, 0, object, 0);
    pop_to(&c, 0);
    free(c.items);
    return c.err != 0 ? c.err : out->err;
}
