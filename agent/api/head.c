/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct counts {
    unsigned hosts, lengths, codings;
    bool chunked;
    bool odd; /* a name or value that others may read otherwise */
};

/* A name as HTTP has them: "Content-Length : 2" is none, and some servers take it for one. */
static bool is_token(const char *name)
{
    const char *p = name;
    while ((*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') ||
           (*p != '\0' && strchr("!#$%&'*+-.^_`|~", *p) != NULL))
        p++;
    return p > name && *p == '\0';
}

/* No carriage return, which some servers take for the end of a line. */
static bool is_text(const char *value)
{
    for (; value != NULL && *value != '\0'; value++)
        if (((unsigned char)*value < ' ' && *value != '\t') || *value == 127)
            return false;
    return true;
}

/* Blanks around a value are not of it; libmicrohttpd 0.9.75 leaves those behind it, and tabs. What
 * says where the body ends it has read by itself: there a blank is still seen, and refused. */
static void trim(const char *value)
{
    size_t begin = strspn(value, " \t"), len = strlen(value + begin);
    char *to = (char *)(uintptr_t)value; /* it is the connection's memory */
    while (len > 0 && (value[begin + len - 1] == ' ' || value[begin + len - 1] == '\t'))
        len--;
    if (begin > 0)
        memmove(to, to + begin, len);
    if (to[len] != '\0')
        to[len] = '\0';
}

/* libmicrohttpd 0.9.75 takes a line that begins with a blank for more of the last one's name: what
 * "Content-Length:" and " 2" in the next line say would be lost. */
static bool goes_on(const char *name, const char *known)
{
    return strncasecmp(name, known, strlen(known)) == 0 && name[strlen(known)] != '\0';
}

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct counts *c = arg;
    (void)kind;
    c->odd = c->odd || !is_token(name) || !is_text(value) ||
             goes_on(name, MHD_HTTP_HEADER_CONTENT_LENGTH) ||
             goes_on(name, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    c->hosts += strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) {
        c->lengths++;
    } else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        c->codings++;
        c->chunked = value != NULL && strcasecmp(value, "chunked") == 0;
    } else if (value != NULL) {
        trim(value);
    }
    return MHD_YES;
}

const char *head_is_wrong(const struct request *r, const char **ret_detail)
{
    struct counts c = {.hosts = 0};
    (void)MHD_get_connection_values(r->conn, MHD_HEADER_KIND, on_header, &c);
    if (c.odd) {
        *ret_detail =
            "A header holds a character that may not be there, or goes on in the next line";
        return "header";
    }
    if (c.hosts > 1) {
        *ret_detail = "The header Host is given twice";
        return MHD_HTTP_HEADER_HOST;
    }
    if (c.codings > 1 || (c.codings == 1 && !c.chunked)) {
        *ret_detail = "Of transfer codings only chunked is known here";
        return MHD_HTTP_HEADER_TRANSFER_ENCODING;
    }
    if (c.lengths > 1 || c.lengths + c.codings > 1) {
        *ret_detail = "The length of the body is given twice";
        return MHD_HTTP_HEADER_CONTENT_LENGTH;
    }
    return NULL;
}

bool head_announces_too_much(const struct request *r)
{
    const char *expect = request_header(r, MHD_HTTP_HEADER_EXPECT);
    const char *length = request_header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t bytes = length == NULL ? 0 : strtoull(length, NULL, 10);
    /* Who sends without asking is heard out, if it does not take long: an answer that comes while
     * the client still sends may be lost when the connection ends. */
    return bytes > (expect != NULL ? API_BODY_MAX : API_BODY_DROPPED_MAX);
}
