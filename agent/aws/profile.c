/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/profile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/text.h"

#define LINE_MAX_LEN 32768u

struct reader {
    struct profiles *p;
    enum profile_file kind;
    const char *file;
    struct errmsg *e;
    int line;
    bool skip;       /* in a section of no meaning here */
    size_t section;  /* index + 1; 0: none yet */
    char parent[64]; /* key that indented lines belong to, "" if none */
};

static void wipe_free(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

void profiles_fini(struct profiles *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct profile_section *s = &p->sections[i];
        for (size_t k = 0; k < s->count; k++) {
            wipe_free(s->entries[k].key);
            wipe_free(s->entries[k].value);
        }
        free(s->entries);
        free(s->kind);
        free(s->name);
    }
    free(p->sections);
    *p = (struct profiles){0};
}

static struct profile_section *find(const struct profiles *p, const char *kind, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->sections[i].kind, kind) == 0 && strcmp(p->sections[i].name, name) == 0)
            return &p->sections[i];
    return NULL;
}

static struct profile_entry *find_entry(const struct profile_section *s, const char *key)
{
    for (size_t i = 0; s != NULL && i < s->count; i++)
        if (strcmp(s->entries[i].key, key) == 0)
            return &s->entries[i];
    return NULL;
}

const char *profiles_get(const struct profiles *p, const char *kind, const char *name,
                         const char *key)
{
    const struct profile_entry *e = find_entry(find(p, kind, name), key);
    return e == NULL || e->value[0] == '\0' ? NULL : e->value;
}

bool profiles_has(const struct profiles *p, const char *kind, const char *name)
{
    return find(p, kind, name) != NULL;
}

static int fail(const struct reader *r, const char *what)
{
    return errmsg_set(r->e, ERR_CONFIG, "%s line %d: %s", r->file, r->line, what);
}

static int out_of_memory(const struct reader *r)
{
    return errmsg_set(r->e, ERR_NOMEM, "out of memory");
}

static int open_section(struct reader *r, const char *kind, const char *name)
{
    struct profiles *p = r->p;
    struct profile_section *s = find(p, kind, name);
    r->skip = false;
    if (s != NULL) {
        r->section = (size_t)(s - p->sections) + 1;
        return 0;
    }
    if (p->count >= PROFILE_SECTIONS_MAX)
        return fail(r, "too many sections");
    struct profile_section *grown = realloc(p->sections, (p->count + 1) * sizeof *grown);
    if (grown == NULL)
        return out_of_memory(r);
    p->sections = grown;
    struct profile_section fresh = {.kind = strdup(kind), .name = strdup(name)};
    if (fresh.kind == NULL || fresh.name == NULL) {
        free(fresh.kind);
        free(fresh.name);
        return out_of_memory(r);
    }
    p->sections[p->count++] = fresh;
    r->section = p->count;
    return 0;
}

static int put(struct reader *r, const char *key, const char *value)
{
    struct profile_section *s = &r->p->sections[r->section - 1];
    struct profile_entry *old = find_entry(s, key);
    char *copy = strdup(value);
    if (copy == NULL)
        return out_of_memory(r);
    if (old != NULL) {
        wipe_free(old->value);
        old->value = copy;
        return 0;
    }
    char *name = strdup(key);
    struct profile_entry *grown = realloc(s->entries, (s->count + 1) * sizeof *grown);
    if (grown != NULL)
        s->entries = grown;
    if (name == NULL || grown == NULL || ++r->p->entries > PROFILE_ENTRIES_MAX) {
        free(name);
        wipe_free(copy);
        return name == NULL || grown == NULL ? out_of_memory(r) : fail(r, "too many keys");
    }
    s->entries[s->count++] = (struct profile_entry){name, copy};
    return 0;
}

/* [default] [NAME] [profile NAME] [profile "A NAME"] */
static int header(struct reader *r, char *line)
{
    char *end = strchr(line, ']');
    if (end == NULL)
        return fail(r, "a section header must end in ]");
    *end = '\0';
    const char *rest = text_trim(end + 1);
    if (rest[0] != '\0' && rest[0] != '#' && rest[0] != ';')
        return fail(r, "text after the section header");
    char *kind = text_trim(line + 1);
    r->parent[0] = '\0';
    if (r->kind == PROFILE_CREDENTIALS)
        return kind[0] == '\0' ? fail(r, "empty section name") : open_section(r, "profile", kind);
    if (strcmp(kind, "default") == 0)
        return open_section(r, "profile", kind);
    char *name = kind + strcspn(kind, " \t");
    if (*name == '\0') {
        r->skip = true; /* without "profile" it is none: the SDKs ignore it */
        return 0;
    }
    *name = '\0';
    name = text_trim(name + 1);
    size_t n = strlen(name);
    if (n >= 2 && (name[0] == '"' || name[0] == '\'') && name[n - 1] == name[0]) {
        name[n - 1] = '\0';
        name++;
    }
    if (name[0] == '\0')
        return fail(r, "empty section name");
    return open_section(r, kind, name);
}

static int property(struct reader *r, char *line, bool nested)
{
    char *equals = strchr(line, '=');
    if (equals == NULL && nested)
        return 0; /* goes on with a value that takes several lines: none that is read here */
    if (equals == NULL)
        return fail(r, "expected key = value");
    *equals = '\0';
    char *key = text_trim(line);
    const char *value = text_trim(equals + 1);
    if (key[0] == '\0')
        return fail(r, "expected key = value");
    for (char *p = key; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    if (!nested) {
        r->parent[0] = '\0';
        if (value[0] == '\0')
            snprintf(r->parent, sizeof r->parent, "%s", key);
        return put(r, key, value);
    }
    char full[192];
    int n = snprintf(full, sizeof full, "%s.%s", r->parent, key);
    return n < 0 || (size_t)n >= sizeof full ? fail(r, "key too long") : put(r, full, value);
}

static int one_line(struct reader *r, char *line)
{
    bool indented = line[0] == ' ' || line[0] == '\t';
    char *text = text_trim(line);
    if (text[0] == '\0' || text[0] == '#' || text[0] == ';')
        return 0;
    if (text[0] == '[' && !indented)
        return header(r, text);
    if (r->section == 0 && !r->skip)
        return fail(r, "a key before the first [section]");
    if (r->skip)
        return 0;
    if (indented && r->parent[0] != '\0')
        return property(r, text, true);
    return indented && strchr(text, '=') == NULL ? 0 : property(r, text, false);
}

int profiles_parse(struct profiles *p, const char *text, size_t len, enum profile_file kind,
                   const char *file, struct errmsg *e)
{
    struct reader r = {.p = p, .kind = kind, .file = file, .e = e};
    char *line = malloc(LINE_MAX_LEN);
    if (line == NULL)
        return out_of_memory(&r);
    int err = 0;
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    while (len > 0 && err == 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end == NULL ? len : (size_t)(end - text);
        r.line++;
        if (n >= LINE_MAX_LEN || memchr(text, '\0', n) != NULL) {
            err = fail(&r, "the line is too long or holds a NUL byte");
            break;
        }
        memcpy(line, text, n);
        line[n] = '\0';
        err = one_line(&r, line);
        n += end == NULL ? 0 : 1;
        text += n;
        len -= n;
    }
    explicit_bzero(line, LINE_MAX_LEN);
    free(line);
    return err;
}

/* ---- files ------------------------------------------------------------------------ */

const char *profile_name(const char *option)
{
    const char *env = getenv("AWS_PROFILE");
    if (option != NULL && option[0] != '\0')
        return option;
    return env != NULL && env[0] != '\0' ? env : "default";
}

int profile_read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct errmsg *e)
{
    /* O_NONBLOCK: a FIFO in the file's place must not stop the loop. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errmsg_set(e, errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_CONFIG,
                          "cannot read %s: %s", path, strerror(errno));
    struct stat st;
    int err = 0;
    char *data = NULL;
    size_t len = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err = errmsg_set(e, ERR_CONFIG, "%s is not a regular file", path);
    } else if ((size_t)st.st_size > max) {
        err = errmsg_set(e, ERR_TOOBIG, "%s is larger than %zu bytes", path, max);
    } else if ((data = malloc(max + 1)) == NULL) {
        err = errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    while (err == 0 && len < max) {
        ssize_t n = read(fd, data + len, max - len);
        if (n < 0)
            err = errmsg_set(e, ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (err != 0) {
        free(data);
        return err;
    }
    data[len] = '\0';
    *ret = data;
    *ret_len = len;
    return 0;
}

/* The path that the variable names, else ~/.aws/NAME. False: there is none. */
static bool file_path(const char *variable, const char *name, char *out, size_t cap,
                      bool *ret_named)
{
    const char *env = getenv(variable);
    const char *home = getenv("HOME");
    *ret_named = env != NULL && env[0] != '\0';
    int n;
    if (*ret_named && strncmp(env, "~/", 2) == 0 && home != NULL)
        n = snprintf(out, cap, "%s/%s", home, env + 2);
    else if (*ret_named)
        n = snprintf(out, cap, "%s", env);
    else if (home != NULL && home[0] != '\0')
        n = snprintf(out, cap, "%s/.aws/%s", home, name);
    else
        return false;
    return n > 0 && (size_t)n < cap;
}

static int load_one(struct profiles *p, enum profile_file kind, const char *variable,
                    const char *name, struct errmsg *e)
{
    char path[1024];
    bool named;
    char *data;
    size_t len;
    if (!file_path(variable, name, path, sizeof path, &named))
        return 0;
    int err = profile_read_file(path, PROFILE_FILE_MAX, &data, &len, e);
    if (err == ERR_NOTFOUND && !named)
        return 0;
    if (err != 0) {
        if (named)
            errmsg_wrap(e, "%s", variable);
        return err == ERR_NOMEM ? err : ERR_CONFIG;
    }
    err = profiles_parse(p, data, len, kind, path, e);
    explicit_bzero(data, len);
    free(data);
    return err;
}

int profiles_load(struct profiles *p, struct errmsg *e)
{
    *p = (struct profiles){0};
    int err = load_one(p, PROFILE_CONFIG, "AWS_CONFIG_FILE", "config", e);
    if (err == 0)
        err = load_one(p, PROFILE_CREDENTIALS, "AWS_SHARED_CREDENTIALS_FILE", "credentials", e);
    if (err != 0)
        profiles_fini(p);
    return err;
}
