/* SPDX-License-Identifier: Apache-2.0
 * The request target, taken apart by ourselves: Blox's rules ask for repeated and unknown
 * parameters in order, and for ARNs in the path with their slashes raw or escaped. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/api/server.h"
#include "agent/api/v1.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum decoded { DECODED, DECODED_NUL, DECODED_BROKEN };

/* Decodes %XX (and + as a space in queries) in place. A NUL becomes another character that is in no
 * name, either. */
static enum decoded decode(char *text, bool plus)
{
    enum decoded ret = DECODED;
    char *out = text;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '%') {
            int high = hex_digit(p[1]);
            int low = high < 0 ? -1 : hex_digit(p[2]);
            if (low < 0)
                return DECODED_BROKEN;
            if (high == 0 && low == 0)
                ret = DECODED_NUL;
            *out++ = (char)(high == 0 && low == 0 ? 1 : high << 4 | low);
            p += 2;
        } else {
            *out++ = plus && *p == '+' ? ' ' : *p;
        }
    }
    *out = '\0';
    return ret;
}

/* Blox's router lost parameters with a broken escape without a word, knew no NUL, and took a
 * semicolon for what it was in forms once. */
static bool parse_query(struct request *r)
{
    char *at = r->query;
    while (at != NULL && *at != '\0') {
        char *next = strpbrk(at, r->is_v1 ? "&;" : "&");
        if (next != NULL)
            *next++ = '\0';
        if (*at != '\0') {
            char *value = strchr(at, '=');
            if (value != NULL)
                *value++ = '\0';
            enum decoded name = decode(at, true);
            enum decoded rest = value == NULL ? DECODED : decode(value, true);
            enum decoded worst = name > rest ? name : rest;
            if (!r->is_v1 && (worst != DECODED || r->param_count == API_PARAMS_MAX))
                return false;
            if (worst != DECODED_BROKEN && r->param_count < API_PARAMS_MAX)
                r->params[r->param_count++] =
                    (struct param){.name = at, .value = value == NULL ? "" : value};
        }
        at = next;
    }
    return true;
}

/* "http://AUTHORITY/path", as proxies are asked: the authority is taken off. */
static void take_authority(struct request *r)
{
    size_t raw_len = strlen(r->raw);
    if (strncasecmp(r->raw, "http://", 7) != 0)
        return;
    size_t len = strcspn(r->raw + 7, "/?#");
    r->host = r->path + raw_len + 2; /* behind path and query */
    memcpy(r->host, r->raw + 7, len);
    r->host[len] = '\0';
    const char *rest = r->raw + 7 + len;
    if (*rest != '/') /* there is room: the scheme was longer */
        *r->raw = '/';
    memmove(r->raw + (*rest != '/'), rest, strlen(rest) + 1);
}

void request_parse_target(struct request *r)
{
    take_authority(r);
    size_t len = strcspn(r->raw, "?");
    memcpy(r->path, r->raw, len);
    r->path[len] = '\0';
    r->query = r->path + len + 1;
    const char *query = r->raw[len] == '?' ? r->raw + len + 1 : "";
    memcpy(r->query, query, strlen(query) + 1);
    enum decoded path = decode(r->path, false);
    r->is_v1 = v1_is_path(r->path);
    if (r->path[0] != '/' || path == DECODED_BROKEN || (path == DECODED_NUL && !r->is_v1) ||
        !parse_query(r))
        r->uri_bad = true;
}

const char *request_header(const struct request *r, const char *name)
{
    if (r->conn == NULL)
        return NULL;
    return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

const char *request_param(const struct request *r, const char *name)
{
    for (size_t i = 0; i < r->param_count; i++)
        if (strcmp(r->params[i].name, name) == 0)
            return r->params[i].value;
    return NULL;
}

const char *request_keep(struct request *r, const char *text)
{
    for (size_t i = 0; i < REQUEST_KEPT; i++) {
        if (r->kept[i] == NULL)
            return r->kept[i] = strdup(text);
        if (strcmp(r->kept[i], text) == 0)
            return r->kept[i];
    }
    return NULL;
}

void request_set_case(struct request *r, const char *name, bool upper)
{
    const char *value = request_param(r, name);
    for (; value != NULL && *value != '\0'; value++) {
        char *c = r->query + (value - r->query); /* params point into it */
        if (upper && *c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
        else if (!upper && *c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    }
}
