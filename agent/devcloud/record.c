/* SPDX-License-Identifier: Apache-2.0
 * The last AWS requests as they came, with the key they must have been signed with, so that a
 * verifier that is not ours can check every one. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/services.h"

static void drop_first(struct devcloud *cloud)
{
    struct recorded *r = &cloud->recorded[cloud->recorded_first++ % RECORDED_MAX];

    cloud->recorded_bytes -= r->len;
    free(r->line);
    r->line = NULL;
}

void record_request(struct devcloud *cloud, const struct request *req)
{
    json_t *headers = json_array();
    const struct credential *c = req->caller;

    if (cloud->recorded == NULL) {
        cloud->recorded = calloc(RECORDED_MAX, sizeof(*cloud->recorded));
        if (cloud->recorded == NULL)
            abort();
    }
    for (size_t i = 0; i < req->header_count; i++)
        json_array_append_new(headers,
                              json_pack("[s,s]", req->headers[i].name, req->headers[i].value));
    json_t *line = json_pack(
        "{s:I,s:I,s:s,s:s,s:s,s:s,s:s,s:o,s:s#,s:s?,s:s?,s:s?,s:s,s:b,s:s,s:i}", "seq",
        (json_int_t)req->seq, "time", (json_int_t)cloud_unix_ms(), "service", req->service,
        "operation", req->operation, "method", req->method, "target", req->target, "region",
        cloud->region, "headers", headers, "body", req->body.data == NULL ? "" : req->body.data,
        (int)req->body.len, "access_key", c == NULL ? NULL : c->access_key, "secret",
        c == NULL ? NULL : c->secret, "token", c == NULL ? NULL : c->token, "signed_region",
        req->signed_region, "accepted", !answer_failed(&req->answer), "error", req->answer.code,
        "status", req->answer.status);
    char *text = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (text == NULL)
        return; /* a body that is not UTF-8 */
    size_t len = strlen(text);
    while (cloud->recorded_next - cloud->recorded_first >= RECORDED_MAX ||
           (cloud->recorded_first < cloud->recorded_next &&
            cloud->recorded_bytes + len > RECORDED_BYTES_MAX))
        drop_first(cloud);
    cloud->recorded[cloud->recorded_next++ % RECORDED_MAX] =
        (struct recorded){.seq = req->seq, .line = text, .len = len};
    cloud->recorded_bytes += len;
}

int record_dump(struct devcloud *cloud, uint64_t after, struct buf *out)
{
    for (uint64_t i = cloud->recorded_first; i < cloud->recorded_next; i++) {
        const struct recorded *r = &cloud->recorded[i % RECORDED_MAX];
        if (r->seq <= after)
            continue;
        buf_put(out, r->line, r->len);
        buf_putc(out, '\n');
    }
    return out->err;
}

void record_fini(struct devcloud *cloud)
{
    while (cloud->recorded_first < cloud->recorded_next)
        drop_first(cloud);
    free(cloud->recorded);
    cloud->recorded = NULL;
}
