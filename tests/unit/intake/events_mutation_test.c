/* SPDX-License-Identifier: Apache-2.0
 * 100,000 damaged events: none may crash the parser, and a row that comes out must be sound. */
#include "agent/base/prng.h"
#include "tests/unit/intake/events_samples.h"

#define BYTE_MUTATIONS 50000
#define TREE_MUTATIONS 50000

/* Any sample, the large ones (dozens of attributes) less often, for the sake of time. */
static size_t pick_sample(struct prng *prng)
{
    size_t i = prng_below(prng, sample_count);
    while (samples[i].len > 3500 && prng_below(prng, 16) != 0)
        i = prng_below(prng, sample_count);
    return i;
}

static void check_mutant(const char *text, size_t len, struct events_row *r,
                         uint64_t counts[EVENTS_HINT + 1], unsigned round)
{
    char *exact = malloc(len + 1); /* so that ASan sees one byte too many */
    memcpy(exact, text, len);
    events_parse(exact, len, &all, r);
    free(exact);
    counts[r->outcome]++;
    cr_assert(r->outcome == EVENTS_ROW || r->outcome == EVENTS_FOREIGN || r->why[0] != '\0');
    if (r->outcome != EVENTS_ROW)
        return;
    const char *odd = odd_row(r, &all);
    cr_assert_null(odd, "mutant %u: %s: %.*s", round, odd, (int)len, text);
}

Test(events_mutation, mutated_bytes_never_crash_nor_make_an_odd_row)
{
    static const char *const tokens[] = {"null",    "{}", "[]",      "\"\"", "-1", "1e308",
                                         "\\u0000", "\"", "version", ":",    ",",  "\xc3\xa9"};
    struct events_row r;
    struct prng prng;
    uint64_t counts[EVENTS_HINT + 1] = {0};
    events_row_init(&r);
    prng_seed(&prng, 2026);
    read_samples();
    char *text = malloc(1 << 20);
    for (unsigned i = 0; i < BYTE_MUTATIONS; i++) {
        const struct sample *s = &samples[pick_sample(&prng)];
        size_t len = s->len;
        memcpy(text, s->text, len);
        for (uint64_t n = 1 + prng_below(&prng, 4); n > 0 && len > 16; n--) {
            size_t at = prng_below(&prng, len);
            const char *token = tokens[prng_below(&prng, sizeof tokens / sizeof tokens[0])];
            size_t size = strlen(token);
            switch (prng_below(&prng, 5)) {
            case 0:
                text[at] = (char)prng_next(&prng);
                break;
            case 1: /* one digit or letter for another keeps it JSON more often */
                text[at] = (char)('0' + prng_below(&prng, 75));
                break;
            case 2:
                memmove(text + at + size, text + at, len - at);
                memcpy(text + at, token, size);
                len += size;
                break;
            case 3:
                size = 1 + prng_below(&prng, 12);
                size = size > len - at ? len - at : size;
                memmove(text + at, text + at + size, len - at - size);
                len -= size;
                break;
            default:
                if (prng_below(&prng, 4) == 0)
                    len = at + 1;
                break;
            }
        }
        check_mutant(text, len, &r, counts, i);
    }
    cr_assert_gt(counts[EVENTS_ROW], BYTE_MUTATIONS / 50);
    cr_assert_gt(counts[EVENTS_POISON], BYTE_MUTATIONS / 50);
    free(text);
    free_samples();
    events_row_fini(&r);
}

static json_t *random_value(struct prng *prng, const json_t *donor)
{
    static const char *const texts[] = {"",
                                        "null",
                                        "x",
                                        "arn:aws:ecs:r:1:task/c/t",
                                        "2026-11-22T09:00:00Z",
                                        "2026-13-45T99:99:99Z",
                                        "9999-12-31T23:59:59.999999999-23:59",
                                        "\xf0\x9f\x92\xa9",
                                        "daemon:\x7f",
                                        "environment"};
    switch (prng_below(prng, 12)) {
    case 0:
        return json_null();
    case 1:
        return json_true();
    case 2:
        return json_integer((json_int_t)prng_next(prng));
    case 3:
        return json_integer((json_int_t)prng_below(prng, 100));
    case 4:
        return json_real((prng_unit(prng) - 0.5) * 1e20);
    case 5:
        return json_real(prng_unit(prng) * 4e11);
    case 6:
        return json_object();
    case 7:
        return json_array();
    case 8:
        return json_deep_copy(donor);
    case 9: {
        json_t *deep = json_string("end");
        for (uint64_t n = prng_below(prng, 40); n > 0; n--) {
            json_t *outer = json_array();
            json_array_append_new(outer, deep);
            deep = outer;
        }
        return deep;
    }
    default:
        return json_string(texts[prng_below(prng, sizeof texts / sizeof texts[0])]);
    }
}

/* Walks to a random container and changes one thing in it. */
static void mutate_tree(struct prng *prng, json_t *root, const json_t *donor)
{
    json_t *at = root;
    for (;;) {
        size_t n = json_is_object(at) ? json_object_size(at) : json_array_size(at);
        if (n == 0)
            return;
        size_t pick = prng_below(prng, n);
        const char *name = NULL;
        json_t *child = json_is_array(at) ? json_array_get(at, pick) : NULL;
        if (json_is_object(at)) {
            void *it = json_object_iter(at);
            while (pick-- > 0)
                it = json_object_iter_next(at, it);
            name = json_object_iter_key(it);
            child = json_object_iter_value(it);
        }
        bool deeper = (json_is_object(child) || json_is_array(child)) && prng_below(prng, 10) < 8;
        if (deeper) {
            at = child;
            continue;
        }
        uint64_t what = prng_below(prng, 4);
        if (name == NULL && what < 2)
            json_array_set_new(at, prng_below(prng, n), random_value(prng, donor));
        else if (name == NULL && what == 2)
            json_array_remove(at, prng_below(prng, n));
        else if (name == NULL)
            json_array_append_new(at, random_value(prng, donor));
        else if (what < 2)
            json_object_set_new(at, name, random_value(prng, donor));
        else if (what == 2)
            json_object_del(at, name);
        else
            json_object_set_new(at, prng_below(prng, 2) ? "environment" : "createdAt",
                                random_value(prng, donor));
        return;
    }
}

Test(events_mutation, mutated_structures_never_crash_nor_make_an_odd_row)
{
    struct events_row r;
    struct prng prng;
    uint64_t counts[EVENTS_HINT + 1] = {0};
    json_t *trees[SAMPLES_MAX];
    events_row_init(&r);
    prng_seed(&prng, 711);
    read_samples();
    for (size_t i = 0; i < sample_count; i++)
        trees[i] = json_parse_lenient(samples[i].text, samples[i].len, NULL);
    for (unsigned i = 0; i < TREE_MUTATIONS; i++) {
        json_t *tree = json_deep_copy(trees[pick_sample(&prng)]);
        const json_t *donor = trees[pick_sample(&prng)];
        const json_t *detail = json_obj(donor, "detail");
        for (uint64_t n = 1 + prng_below(&prng, 4); n > 0; n--)
            mutate_tree(&prng, tree, detail != NULL ? detail : donor);
        char *text = json_dumps(tree, JSON_COMPACT);
        cr_assert_not_null(text);
        check_mutant(text, strlen(text), &r, counts, i);
        free(text);
        json_decref(tree);
    }
    cr_assert_gt(counts[EVENTS_ROW], TREE_MUTATIONS / 4);
    cr_assert_gt(counts[EVENTS_POISON], TREE_MUTATIONS / 50);
    for (size_t i = 0; i < sample_count; i++)
        json_decref(trees[i]);
    free_samples();
    events_row_fini(&r);
}

static bool is_needed(const char *member)
{
    static const char *const needed[] = {
        "taskArn", "containerInstanceArn", "clusterArn", "lastStatus", "status", "version"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        if (strcmp(needed[i], member) == 0)
            return true;
    }
    return false;
}

static enum events_outcome outcome_of(const json_t *event, struct events_row *r)
{
    char *text = json_dumps(event, JSON_COMPACT);
    events_parse(text, strlen(text), &all, r);
    free(text);
    return r->outcome;
}

/* Whatever AWS leaves out, adds or writes otherwise: a task or an instance is a row as long as it
 * says which one it is, where, in which state and version. Without a version it is a reason to ask,
 * without one of the others it is kept aside. */
Test(events_mutation, one_member_after_another)
{
    static char large[40001];
    const char *const values[] = {NULL,   "null",
                                  "\"\"", "{}",
                                  "[]",   "[null,{\"a\":{}}]",
                                  "0",    "-7.5",
                                  "true", "\"\\u00e9\\u6f22\\ud83d\\ude00\"",
                                  large};
    struct events_row r;
    unsigned rows = 0;
    memset(large, 'x', sizeof large - 1);
    large[0] = large[sizeof large - 2] = '"';
    events_row_init(&r);
    read_samples();
    for (size_t i = 0; i < sample_count; i++) {
        json_t *event = json_parse_lenient(samples[i].text, samples[i].len, NULL);
        json_t *members = json_deep_copy(json_obj(event, "detail"));
        const char *member;
        json_t *value;
        bool is_row = members != NULL && outcome_of(event, &r) == EVENTS_ROW;
        json_object_foreach(members, member, value)
        {
            for (size_t v = 0; is_row && v < sizeof values / sizeof values[0]; v++) {
                json_t *other = json_deep_copy(event);
                json_t *detail = json_obj(other, "detail");
                bool task = json_object_get(detail, "taskArn") != NULL;
                if (v == 0)
                    json_object_del(detail, member);
                else
                    json_object_set_new(detail, member,
                                        json_loads(values[v], JSON_DECODE_ANY, NULL));
                enum events_outcome outcome = outcome_of(other, &r);
                bool needed = is_needed(member) &&
                              strcmp(member, task ? "containerInstanceArn" : "lastStatus") != 0;
                if (!needed) {
                    cr_assert_eq(outcome, EVENTS_ROW, "%s: %s = %.40s: %s", samples[i].path, member,
                                 v == 0 ? "(absent)" : values[v], r.why);
                    cr_assert_null(odd_row(&r, &all), "%s: %s", samples[i].path, member);
                    rows++;
                } else if (v < 2) {
                    cr_assert_eq(outcome,
                                 strcmp(member, "version") == 0 ? EVENTS_HINT : EVENTS_POISON,
                                 "%s: %s", samples[i].path, member);
                }
                json_decref(other);
            }
        }
        json_decref(members);
        json_decref(event);
    }
    cr_assert_gt(rows, 3000u, "%u", rows);
    free_samples();
    events_row_fini(&r);
}
