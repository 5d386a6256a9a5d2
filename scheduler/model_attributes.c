/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model_attributes.h"

#include <string.h>

#include "agent/base/hash.h"
#include "scheduler/model_table.h"

static void sort(const char **a, size_t count)
{
    for (size_t i = 1; i < count; i++) { /* some thirty, mostly sorted already */
        const char *moved = a[i];
        size_t at = i;
        for (; at > 0 && strcmp(a[at - 1], moved) > 0; at--)
            a[at] = a[at - 1];
        a[at] = moved;
    }
}

static struct model_name *name_of(const char *text)
{
    return (struct model_name *)(void *)(text - offsetof(struct model_name, text));
}

static uint64_t hash_all(const char **a, size_t count)
{
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++)
        hash = hash_mix(hash ^ name_of(a[i])->hash);
    return hash;
}

static void drop_all(struct model *m, const char **a, size_t count)
{
    for (size_t i = 0; i < count; i++)
        model_drop_name(m, name_of(a[i]));
}

/* "name=value": ECS allows no "=" in a name. */
static int hold_one(struct model *m, const struct model_attribute *a, const char **ret)
{
    size_t name = strlen(a->name), value = a->value ? strlen(a->value) : 0;
    char *text = m->resize(m->arg, NULL, name + value + 2);
    if (!text)
        return ERR_NOMEM;
    memcpy(text, a->name, name);
    text[name] = '=';
    if (value)
        memcpy(text + name + 1, a->value, value);
    text[name + 1 + value] = '\0';
    struct model_name *held;
    int rv = model_hold_name(m, text, &held);
    m->resize(m->arg, text, 0);
    if (rv == 0)
        *ret = held->text;
    return rv;
}

/* ---- what instances share ------------------------------------------------------- */

static struct model_traits *find_traits(const struct model_table *t, uint64_t hash,
                                        const char **texts, size_t count)
{
    for (size_t i = hash & (t->cap - 1); t->cap && t->slots[i].entry; i = (i + 1) & (t->cap - 1)) {
        struct model_traits *traits = t->slots[i].entry;
        if (traits->hash == hash && traits->count == count &&
            memcmp(traits->texts, texts, count * sizeof *texts) == 0)
            return traits;
    }
    return NULL;
}

/* The texts are held already, and are the traits' own from then on. */
static int hold_traits(struct model *m, const char **texts, size_t count, struct model_traits **ret)
{
    *ret = NULL;
    if (count == 0)
        return 0;
    uint64_t hash = hash_all(texts, count);
    struct model_traits *traits = find_traits(&m->traits_table, hash, texts, count);
    if (traits) {
        drop_all(m, texts, count); /* these have them */
    } else {
        int rv = model_table_reserve(m, &m->traits_table);
        if (rv)
            return rv;
        traits = m->resize(m->arg, NULL, sizeof *traits + count * sizeof *texts);
        if (!traits)
            return ERR_NOMEM;
        *traits = (struct model_traits){.hash = hash, .count = (uint32_t)count};
        memcpy(traits->texts, texts, count * sizeof *texts);
        model_table_add(&m->traits_table, hash, traits);
    }
    traits->users++;
    *ret = traits;
    return 0;
}

static void drop_traits(struct model *m, struct model_traits *traits)
{
    if (!traits || --traits->users > 0)
        return;
    model_table_remove(&m->traits_table, traits->hash, traits);
    drop_all(m, traits->texts, traits->count);
    m->resize(m->arg, traits, 0);
}

/* ---- of one instance ------------------------------------------------------------ */

int model_attributes_hold(struct model *m, const struct model_attribute *list, size_t count,
                          struct model_attributes *ret)
{
    const char *bare[MODEL_ATTRIBUTES_MAX];
    size_t bare_count = 0;
    int rv = 0;
    ret->count = 0;
    for (size_t i = 0; i < count && !rv; i++) {
        bool has_value = list[i].value && *list[i].value;
        rv = hold_one(m, &list[i], has_value ? &ret->own[ret->count] : &bare[bare_count]);
        if (!rv)
            *(has_value ? &ret->count : &bare_count) += 1;
    }
    sort(ret->own, ret->count);
    sort(bare, bare_count);
    if (!rv)
        rv = hold_traits(m, bare, bare_count, &ret->traits);
    if (rv) {
        drop_all(m, bare, bare_count);
        drop_all(m, ret->own, ret->count);
        return rv;
    }
    uint64_t hash = hash_all(ret->own, ret->count);
    ret->hash = ret->traits ? hash_mix(hash ^ ret->traits->hash) : hash;
    return 0;
}

void model_attributes_drop(struct model *m, struct model_traits *traits, const char **own,
                           size_t count)
{
    drop_traits(m, traits);
    drop_all(m, own, count);
}

/* As strcmp of the attribute's text with "name=". */
static int compare_name(const char *text, const char *name, size_t len)
{
    int order = strncmp(text, name, len);
    return order ? order : (unsigned char)text[len] - '=';
}

static bool find(const char *const *texts, size_t count, const char *name, const char **ret)
{
    size_t low = 0, high = count, len = strlen(name);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = compare_name(texts[mid], name, len);
        if (order == 0) {
            *ret = texts[mid] + len + 1;
            return true;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret = NULL;
    return false;
}

bool model_find_attribute(const struct model_instance *inst, const char *name, const char **ret)
{
    const struct model_traits *traits = inst->traits;
    return find(inst->attributes, inst->attribute_count, name, ret) ||
           (traits && find(traits->texts, traits->count, name, ret));
}
