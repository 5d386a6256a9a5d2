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
    free(r->bytes);
    r->bytes = NULL;
}

/* Copied as it is: a queue in a benchmark is asked four thousand times a second, and hardly any of
 * it is ever dumped. */
static void put_text(struct buf *out, const char *text)
{
    buf_put(out, text, strlen(text) + 1);
}

static const char *take_text(const char **at)
{
    const char *text = *at;

    *at += strlen(text) + 1;
    return text;
}

void record_request(struct devcloud *cloud, const struct request *req)
{
    const struct credential *c = req->caller;
    struct buf bytes;

    if (cloud->recorded == NULL) {
        cloud->recorded = calloc(RECORDED_MAX, sizeof(*cloud->recorded));
        if (cloud->recorded == NULL)
            abort();
    }
    buf_init(&bytes, SIZE_MAX / 4);
    const char *const texts[] = {req->service,
                                 req->operation,
                                 req->method,
                                 req->target,
                                 cloud->region,
                                 req->signed_region,
                                 req->answer.code,
                                 c == NULL ? "" : c->access_key,
                                 c == NULL ? "" : c->secret,
                                 c == NULL || c->token == NULL ? "" : c->token};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        put_text(&bytes, texts[i]);
    for (size_t i = 0; i < req->header_count; i++) {
        put_text(&bytes, req->headers[i].name);
        put_text(&bytes, req->headers[i].value);
    }
    buf_put(&bytes, req->body.data, req->body.len);
    size_t len;
    char *copy = buf_steal(&bytes, &len);
    if (copy == NULL)
        abort();
    while (cloud->recorded_next - cloud->recorded_first >= RECORDED_MAX ||
           (cloud->recorded_first < cloud->recorded_next &&
            cloud->recorded_bytes + len > RECORDED_BYTES_MAX))
        drop_first(cloud);
    cloud->recorded[cloud->recorded_next++ % RECORDED_MAX] =
        (struct recorded){.seq = req->seq,
                          .unix_ms = cloud_unix_ms(),
                          .status = req->answer.status,
                          .header_count = req->header_count,
                          .accepted = !answer_failed(&req->answer),
                          .known_caller = c != NULL,
                          .bytes = copy,
                          .len = len};
    cloud->recorded_bytes += len;
}

static json_t *render(const struct recorded *r)
{
    const char *at = r->bytes;
    const char *service = take_text(&at), *operation = take_text(&at), *method = take_text(&at),
               *target = take_text(&at), *region = take_text(&at), *signed_region = take_text(&at),
               *error = take_text(&at), *key = take_text(&at), *secret = take_text(&at),
               *token = take_text(&at);
    json_t *headers = json_array();

    for (size_t i = 0; i < r->header_count; i++) {
        const char *name = take_text(&at);
        json_array_append_new(headers, json_pack("[s,s]", name, take_text(&at)));
    }
    return json_pack("{s:I,s:I,s:s,s:s,s:s,s:s,s:s,s:o,s:s#,s:s?,s:s?,s:s?,s:s,s:b,s:s,s:i}", "seq",
                     (json_int_t)r->seq, "time", (json_int_t)r->unix_ms, "service", service,
                     "operation", operation, "method", method, "target", target, "region", region,
                     "headers", headers, "body", at, (int)(r->bytes + r->len - at), "access_key",
                     r->known_caller ? key : NULL, "secret", r->known_caller ? secret : NULL,
                     "token", token[0] == '\0' ? NULL : token, "signed_region", signed_region,
                     "accepted", r->accepted, "error", error, "status", r->status);
}

int record_dump(struct devcloud *cloud, uint64_t after, struct buf *out)
{
    for (uint64_t i = cloud->recorded_first; i < cloud->recorded_next; i++) {
        const struct recorded *r = &cloud->recorded[i % RECORDED_MAX];
        if (r->seq <= after)
            continue;
        json_t *line = render(r);
        char *text = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);
        json_decref(line);
        if (text == NULL)
            continue; /* a body that is not UTF-8 */
        buf_puts(out, text);
        buf_putc(out, '\n');
        free(text);
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
