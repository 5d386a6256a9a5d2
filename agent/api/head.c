/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/head.h"

#include <stdlib.h>
#include <strings.h>

struct counts {
    unsigned hosts, lengths, codings;
    bool chunked;
};

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct counts *c = arg;
    (void)kind;
    if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) {
        c->hosts++;
    } else if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) {
        c->lengths++;
    } else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        c->codings++;
        c->chunked = value != NULL && strcasecmp(value, "chunked") == 0;
    }
    return MHD_YES;
}

const char *head_is_wrong(const struct request *r, const char **ret_detail)
{
    struct counts c = {.hosts = 0};
    (void)MHD_get_connection_values(r->conn, MHD_HEADER_KIND, on_header, &c);
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
