/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/base/ensure.h"
#include "agent/base/text.h"

enum config_type { STR, INT, BOOL, MS };

struct config_key {
    const char *section;
    const char *key;
    enum config_type type;
    size_t offset;
    const char *def;
    const char *check;
    const char *doc;
};

static const struct config_key keys[] = {
#define X(section, key, type, member, def, check, doc)                                             \
    {#section, #key, type, offsetof(struct config, member), def, check, doc},
#include "agent/config_keys.def"
#undef X
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

static void *slot(const struct config *c, const struct config_key *k)
{
    return (char *)(uintptr_t)c + k->offset;
}

/* Levenshtein distance, for suggestions; long words count as far apart. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t n = strlen(b);
    if (n >= 63 || strlen(a) >= 63)
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            unsigned cost = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = shift < cost ? shift : cost;
        }
    }
    return row[n];
}

static const struct config_key *nearest(const char *name)
{
    const struct config_key *best = NULL;
    unsigned best_distance = 99;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        unsigned d = distance(name, keys[i].key);
        if (d < best_distance) {
            best_distance = d;
            best = &keys[i];
        }
    }
    return best_distance <= 1 + strlen(name) / 3 ? best : NULL;
}

/* NULL section: any. Sets *ambiguous if several sections have the key. */
static const struct config_key *find(const char *section, const char *key, bool *ambiguous)
{
    const struct config_key *found = NULL;
    *ambiguous = false;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(keys[i].key, key) != 0)
            continue;
        if (section != NULL && section[0] != '\0' && strcmp(keys[i].section, section) != 0)
            continue;
        *ambiguous = found != NULL;
        found = &keys[i];
    }
    return found;
}

static int parse_number(const char *text, int64_t *ret)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        return ERR_BADPARAM;
    *ret = v;
    return 0;
}

static int parse_duration(const char *text, int64_t *ret)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || v < 0 || v > INT64_C(100000000000))
        return ERR_BADPARAM;
    if (v == 0 && *end == '\0') { /* of whatever unit */
        *ret = 0;
        return 0;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0) {
            *ret = v * units[i].ms;
            return 0;
        }
    }
    return ERR_BADPARAM;
}

static int parse_bool(const char *text, bool *ret)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return ERR_BADPARAM;
}

static bool in_words(const char *words, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = words; n > 0 && (p = strstr(p, value)) != NULL; p++) {
        bool starts = p == words || p[-1] == '|';
        if (starts && (p[n] == '\0' || p[n] == '|'))
            return true;
    }
    return false;
}

static int set_number(const struct config_key *k, int64_t v, void *at, struct errmsg *e)
{
    if (k->check != NULL) {
        int64_t low = 0;
        int64_t high = 0;
        ENSURE(sscanf(k->check, "%" SCNd64 "..%" SCNd64, &low, &high) == 2);
        if (v < low || v > high)
            return errmsg_set(e, ERR_CONFIG, "%s.%s must be from %" PRId64 " to %" PRId64 "%s",
                              k->section, k->key, low, high, k->type == MS ? " ms" : "");
    }
    if (k->type == MS)
        *(uint64_t *)at = (uint64_t)v;
    else
        *(int64_t *)at = v;
    return 0;
}

static int set_value(struct config *c, const struct config_key *k, const char *value,
                     struct errmsg *e)
{
    int64_t number = 0;
    void *at = slot(c, k);
    if (strlen(value) >= CONFIG_VALUE_MAX)
        return errmsg_set(e, ERR_CONFIG, "%s.%s is longer than %d characters", k->section, k->key,
                          CONFIG_VALUE_MAX - 1);
    if (k->type == BOOL) {
        if (parse_bool(value, at) != 0)
            return errmsg_set(e, ERR_CONFIG, "%s.%s must be true or false, not \"%s\"", k->section,
                              k->key, value);
        return 0;
    }
    if (k->type == INT) {
        if (parse_number(value, &number) != 0)
            return errmsg_set(e, ERR_CONFIG, "%s.%s must be a whole number, not \"%s\"", k->section,
                              k->key, value);
        return set_number(k, number, at, e);
    }
    if (k->type == MS) {
        if (parse_duration(value, &number) != 0)
            return errmsg_set(e, ERR_CONFIG,
                              "%s.%s must be a duration such as 500ms, 5s, 10m or 1h, not \"%s\"",
                              k->section, k->key, value);
        return set_number(k, number, at, e);
    }
    if (k->check != NULL && !in_words(k->check, value))
        return errmsg_set(e, ERR_CONFIG, "%s.%s must be one of %s, not \"%s\"", k->section, k->key,
                          k->check, value);
    char *copy = strdup(value);
    if (copy == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    free(*(char **)at);
    *(char **)at = copy;
    return 0;
}

static int set_key(struct config *c, const struct config_key *k, const char *value,
                   const char *origin, struct errmsg *e)
{
    int err = set_value(c, k, value, e);
    if (err != 0) {
        errmsg_wrap(e, "%s", origin);
        return err;
    }
    char **at = &c->origin[k - keys];
    free(*at);
    *at = strdup(origin);
    return *at == NULL ? ERR_NOMEM : 0;
}

int config_init(struct config *c)
{
    *c = (struct config){0};
    c->origin = calloc(KEY_COUNT, sizeof *c->origin);
    if (c->origin == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        struct errmsg e = {{0}};
        int err = set_key(c, &keys[i], keys[i].def, "default", &e);
        if (err != 0) {
            config_fini(c);
            return err;
        }
    }
    return 0;
}

void config_fini(struct config *c)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (keys[i].type == STR)
            free(*(char **)slot(c, &keys[i]));
        if (c->origin != NULL)
            free(c->origin[i]);
    }
    free(c->origin);
    *c = (struct config){0};
}

static int unknown(const char *section, const char *key, const char *origin, struct errmsg *e)
{
    const struct config_key *k = nearest(key);
    bool has_section = section != NULL && section[0] != '\0';
    if (k == NULL)
        return errmsg_set(e, ERR_CONFIG, "%s: unknown key %s%s%s (bloxd --help lists all)", origin,
                          has_section ? section : "", has_section ? "." : "", key);
    return errmsg_set(e, ERR_CONFIG, "%s: unknown key %s%s%s; did you mean %s in section [%s]?",
                      origin, has_section ? section : "", has_section ? "." : "", key, k->key,
                      k->section);
}

static int set_in(struct config *c, const char *section, const char *key, const char *value,
                  const char *origin, struct errmsg *e)
{
    bool ambiguous = false;
    const struct config_key *k = find(section, key, &ambiguous);
    if (k == NULL)
        return unknown(section, key, origin, e);
    if (ambiguous)
        return errmsg_set(e, ERR_CONFIG, "%s: several sections have %s: say section.%s", origin,
                          key, key);
    return set_key(c, k, value, origin, e);
}

int config_set(struct config *c, const char *name, const char *value, const char *origin,
               struct errmsg *e)
{
    char section[64] = "";
    const char *dot = strchr(name, '.');
    if (dot != NULL && (size_t)(dot - name) < sizeof section) {
        memcpy(section, name, (size_t)(dot - name));
        section[dot - name] = '\0';
        name = dot + 1;
    }
    return set_in(c, section, name, value, origin, e);
}

struct reading {
    struct config *config;
    const char *path;
    char section[64];
    struct errmsg *e;
};

static bool begins_note(char c)
{
    return c == '#' || c == ';';
}

/* "value # note" or "value ; note"; not within quotes. */
static void drop_note(char *value)
{
    char *at = value;
    if (value[0] == '"' && strchr(value + 1, '"') != NULL)
        at = strchr(value + 1, '"') + 1;
    for (; *at != '\0'; at++) {
        if (!begins_note(*at) || (at != value && at[-1] != ' ' && at[-1] != '\t'))
            continue;
        while (at > value && (at[-1] == ' ' || at[-1] == '\t'))
            at--;
        *at = '\0';
        return;
    }
}

/* 1: it is neither of the things that a line may be. */
static int take_line(struct reading *r, char *line)
{
    char *text = text_trim(line);
    if (text[0] == '\0' || begins_note(text[0]))
        return 0;
    if (text[0] == '[') {
        char *end = strchr(text, ']');
        char *rest = end == NULL ? NULL : text_trim(end + 1);
        if (rest == NULL || (rest[0] != '\0' && !begins_note(rest[0])))
            return 1;
        *end = '\0';
        snprintf(r->section, sizeof r->section, "%s", text_trim(text + 1));
        return 0;
    }
    size_t n = strcspn(text, "=:");
    if (text[n] == '\0')
        return 1;
    text[n] = '\0';
    char *value = text_trim(text + n + 1);
    drop_note(value);
    n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value[n - 1] = '\0';
        value++;
    }
    return set_in(r->config, r->section, text_trim(text), value, r->path, r->e);
}

/* Lines of any length: libinih goes on with the next one behind 200 bytes, and takes each that
 * begins with a blank for more of the value before. */
static int read_one(struct config *c, const char *path, bool must_exist, struct errmsg *e)
{
    static const char bom[] = "\xef\xbb\xbf";
    struct reading r = {.config = c, .path = path, .e = e};
    char *line = NULL;
    size_t cap = 0;
    unsigned number = 0;
    int err = 0;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        if (errno == ENOENT && !must_exist)
            return 0;
        return errmsg_set(e, ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
    }
    for (ssize_t n; err == 0 && (n = getline(&line, &cap, f)) >= 0;) {
        bool marked = ++number == 1 && strncmp(line, bom, sizeof bom - 1) == 0;
        err = strlen(line) < (size_t)n ? 1 : take_line(&r, marked ? line + sizeof bom - 1 : line);
    }
    bool unread = err == 0 && ferror(f) != 0;
    free(line);
    fclose(f);
    if (unread)
        return errmsg_set(e, ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
    if (err == 1)
        return errmsg_set(e, ERR_CONFIG, "line %u of %s: neither [section], key = value nor # note",
                          number, path);
    if (err != 0)
        errmsg_wrap(e, "line %u of", number);
    return err;
}

static int only_conf(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

int config_read_file(struct config *c, const char *path, bool must_exist, struct errmsg *e)
{
    int err = read_one(c, path, must_exist, e);
    if (err != 0)
        return err;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s.d", path);
    struct dirent **list = NULL;
    int count = scandir(dir, &list, only_conf, alphasort);
    for (int i = 0; i < count; i++) {
        char file[2048];
        snprintf(file, sizeof file, "%s/%s", dir, list[i]->d_name);
        if (err == 0)
            err = read_one(c, file, true, e);
        free(list[i]);
    }
    free(list);
    return err;
}

/* Variables of the blox command, which bloxd lets pass. */
static bool belongs_to_cli(const char *name)
{
    static const char *const names[] = {"BLOX_ADDR", "BLOX_TOKEN", "BLOX_TOKEN_FILE", "BLOX_OUTPUT",
                                        "BLOX_CONFIG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static const struct config_key *find_variable(const char *lower)
{
    char full[128];
    bool ambiguous = false;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        snprintf(full, sizeof full, "%s_%s", keys[i].section, keys[i].key);
        if (strcmp(full, lower) == 0)
            return &keys[i];
    }
    const struct config_key *k = find(NULL, lower, &ambiguous);
    return ambiguous ? NULL : k;
}

int config_read_environment(struct config *c, char **environment, struct errmsg *e)
{
    for (char **p = environment; *p != NULL; p++) {
        char name[96];
        char lower[96];
        const char *eq = strchr(*p, '=');
        if (strncmp(*p, "BLOX_", 5) != 0 || eq == NULL || (size_t)(eq - *p) >= sizeof name)
            continue;
        size_t n = (size_t)(eq - *p);
        memcpy(name, *p, n);
        name[n] = '\0';
        if (belongs_to_cli(name))
            continue;
        for (size_t i = 5; i <= n; i++)
            lower[i - 5] = (char)tolower((unsigned char)name[i]);
        const struct config_key *k = find_variable(lower);
        int err = k == NULL ? unknown(NULL, lower, name, e) : set_key(c, k, eq + 1, name, e);
        if (err != 0)
            return err;
    }
    return 0;
}

static void print_value(const struct config *c, const struct config_key *k, FILE *out)
{
    const void *at = slot(c, k);
    switch (k->type) {
    case STR:
        fprintf(out, "%s", *(char *const *)at);
        break;
    case INT:
        fprintf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case BOOL:
        fprintf(out, "%s", *(const bool *)at ? "true" : "false");
        break;
    case MS:
        fprintf(out, "%" PRIu64 "ms", *(const uint64_t *)at);
        break;
    }
}

void config_print(const struct config *c, FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (strcmp(section, keys[i].section) != 0) {
            section = keys[i].section;
            fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", section);
        }
        fprintf(out, "%s = ", keys[i].key);
        print_value(c, &keys[i], out);
        fprintf(out, "    # %s\n", c->origin[i]);
    }
}

void config_print_keys(FILE *out)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        fprintf(out, "  %s.%s (default \"%s\")\n      %s\n", keys[i].section, keys[i].key,
                keys[i].def, keys[i].doc);
}
