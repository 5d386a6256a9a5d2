/* SPDX-License-Identifier: Apache-2.0
 * Configuration: built-in defaults < bloxd.conf < bloxd.conf.d/ *.conf in order < BLOX_*
 * variables < command line. An unknown key is refused with the nearest spelling. */
#ifndef BLOX_AGENT_CONFIG_H
#define BLOX_AGENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/base/err.h"

#define CONFIG_FILE_DEFAULT "/etc/blox/bloxd.conf"
#define CONFIG_VALUE_MAX 1024

struct config {
#define CONFIG_TYPE_STR char *
#define CONFIG_TYPE_INT int64_t
#define CONFIG_TYPE_BOOL bool
#define CONFIG_TYPE_MS uint64_t
#define X(section, key, type, member, def, check, doc) CONFIG_TYPE_##type member;
#include "agent/config_keys.def"
#undef X
    /* Where each value came from, for `bloxd --check-config`: "default", "file:line", "BLOX_X",
     * "--x". In the order of the list. */
    char **origin;
};

int config_init(struct config *c) MUST_CHECK; /* defaults */
void config_fini(struct config *c);
/* A file, then the *.conf of the directory "<path>.d" in order. A missing file is an error only if
 * must_exist. */
int config_read_file(struct config *c, const char *path, bool must_exist,
                     struct errmsg *e) MUST_CHECK;
/* BLOX_<KEY> or BLOX_<SECTION>_<KEY> in upper case. Unknown BLOX_* names are refused, but for those
 * that belong to the blox command. */
int config_read_environment(struct config *c, char **environment, struct errmsg *e) MUST_CHECK;
/* "section.key" or "key" if only one section has it. */
int config_set(struct config *c, const char *name, const char *value, const char *origin,
               struct errmsg *e) MUST_CHECK;
/* What needs several values at once, or more than their type: addresses, names. */
int config_check(const struct config *c, struct errmsg *e) MUST_CHECK;
void config_print(const struct config *c, FILE *out); /* effective values with their origin */
void config_print_keys(FILE *out);                    /* for --help */

#endif
