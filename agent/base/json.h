/* SPDX-License-Identifier: Apache-2.0
 * Small helpers over jansson. Borrowed strings live as long as their object. */
#ifndef BLOX_BASE_JSON_H
#define BLOX_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

/* Strict: whole input, no duplicate keys, any top-level value. NULL sets e (with line and column).
 */
json_t *json_parse(const char *data, size_t len, struct errmsg *e);
/* As json_parse, but duplicate keys are tolerated (bodies AWS wrote). */
json_t *json_parse_lenient(const char *data, size_t len, struct errmsg *e);

const char *json_str(const json_t *obj, const char *key); /* NULL if not text */
const char *json_str_or(const json_t *obj, const char *key, const char *other);
int64_t json_int_or(const json_t *obj, const char *key, int64_t other);
bool json_bool_or(const json_t *obj, const char *key, bool other);
double json_num_or(const json_t *obj, const char *key, double other);
json_t *json_arr(const json_t *obj, const char *key); /* borrowed; NULL if not an array */
json_t *json_obj(const json_t *obj, const char *key); /* borrowed; NULL if not an object */

/* Set members, ignoring NULL text (the member is left out). */
void json_set_str(json_t *obj, const char *key, const char *text);
void json_set_int(json_t *obj, const char *key, int64_t value);
void json_set_bool(json_t *obj, const char *key, bool value);

#define JSON_DIGITS 15 /* of a real: what is decimal looks so, 0.3 and not 0.29999999999999999 */
/* Compact text appended to out. */
int json_write(const json_t *value, struct buf *out);
/* text as a JSON string with its quotes, without making a json_t. Invalid UTF-8 becomes U+FFFD. */
int json_write_string(struct buf *out, const char *text, size_t len);
/* Length of the valid UTF-8 sequence at text, 0 if there is none. */
size_t json_utf8_length(const char *text, size_t left);

#endif
