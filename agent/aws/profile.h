/* SPDX-License-Identifier: Apache-2.0
 * AWS's shared config and credentials files: profiles, `services` sections, nested keys.
 * The dialect ("Shared config and credentials files", AWS SDKs and Tools Reference Guide):
 *   [default] [profile NAME] [services NAME] [sso-session NAME] in the config file, [NAME] in the
 *   credentials file; key = value; an indented line under "key =" is a nested key; an indented
 *   line that is no key = value goes on with the value above; '#' and ';' start comment lines. */
#ifndef BLOX_AWS_PROFILE_H
#define BLOX_AWS_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"

#define PROFILE_FILE_MAX (512u * 1024)
#define PROFILE_SECTIONS_MAX 2048
#define PROFILE_ENTRIES_MAX 16384 /* of all sections together */

struct profile_entry {
    char *key; /* lower case; a nested one as "s3.endpoint_url" */
    char *value;
};
struct profile_section {
    char *kind; /* "profile", "services", "sso-session" */
    char *name;
    struct profile_entry *entries;
    size_t count;
};
struct profiles {
    struct profile_section *sections;
    size_t count;
    size_t entries;
};

enum profile_file { PROFILE_CONFIG, PROFILE_CREDENTIALS };

/* Adds what text holds; a later value of a key wins, so parse the config file first. file is a name
 * for e, which never quotes the content. ERR_CONFIG, ERR_NOMEM. */
int profiles_parse(struct profiles *p, const char *text, size_t len, enum profile_file kind,
                   const char *file, struct errmsg *e) MUST_CHECK;
/* Reads both files from where the environment says, or ~/.aws. A missing file is empty, unless the
 * environment names it. Blocks: small local files, at start and at a refresh only. */
int profiles_load(struct profiles *p, struct errmsg *e) MUST_CHECK;
void profiles_fini(struct profiles *p); /* wipes */
const char *profiles_get(const struct profiles *p, const char *kind, const char *name,
                         const char *key); /* NULL if there is none or it is empty */
bool profiles_has(const struct profiles *p, const char *kind, const char *name);
/* The option, else AWS_PROFILE, else "default". */
const char *profile_name(const char *option);
/* A small file's bytes, NUL-terminated; wipe and free. ERR_NOTFOUND, ERR_TOOBIG, ERR_CONFIG. */
int profile_read_file(const char *path, size_t max, char **ret, size_t *ret_len,
                      struct errmsg *e) MUST_CHECK;

#endif
