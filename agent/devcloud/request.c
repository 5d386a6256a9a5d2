/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/request.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_TEXT_MAX (64u << 20)

struct sigv4_request request_sigv4(const struct request *req)
{
    return (struct sigv4_request){.method = req->method,
                                  .target = req->target,
                                  .headers = req->headers,
                                  .header_count = req->header_count,
                                  .body = req->body.data,
                                  .body_len = req->body.len};
}

const char *cloud_request_header(const struct request *req, const char *name)
{
    struct sigv4_request signing = request_sigv4(req);

    return sigv4_header_value(&signing, name);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void text_decode(char *text, bool form)
{
    char *out = text;

    for (; *text != '\0'; text++) {
        if (*text == '%' && hex(text[1]) >= 0 && hex(text[2]) >= 0) {
            *out++ = (char)(hex(text[1]) * 16 + hex(text[2]));
            text += 2;
        } else {
            *out++ = form && *text == '+' ? ' ' : *text;
        }
    }
    *out = '\0';
}

const char *request_query(const struct request *req, const char *name, char *buf, size_t cap)
{
    const char *at = strchr(req->target, '?');
    size_t name_len = strlen(name);

    for (at = at == NULL ? "" : at + 1; *at != '\0';) {
        size_t len = strcspn(at, "&");
        if (len > name_len && at[name_len] == '=' && strncmp(at, name, name_len) == 0) {
            if (len - name_len - 1 >= cap)
                return NULL;
            memcpy(buf, at + name_len + 1, len - name_len - 1);
            buf[len - name_len - 1] = '\0';
            text_decode(buf, true);
            return buf;
        }
        at += len + (at[len] == '&');
    }
    return NULL;
}

void answer_header(struct answer *out, const char *name, const char *value)
{
    if (out->header_count == ANSWER_HEADERS_MAX)
        return;
    snprintf(out->headers[out->header_count][0], sizeof(out->headers[0][0]), "%s", name);
    snprintf(out->headers[out->header_count][1], sizeof(out->headers[0][1]), "%s", value);
    out->header_count++;
}

void answer_error(struct answer *out, int status, const char *code, const char *format, ...)
{
    va_list args;

    out->status = status;
    snprintf(out->code, sizeof(out->code), "%s", code);
    va_start(args, format);
    vsnprintf(out->message, sizeof(out->message), format, args);
    va_end(args);
    json_decref(out->json);
    out->json = NULL;
}

void answer_text(struct answer *out, int status, const char *type, const char *format, ...)
{
    char *text = NULL;
    va_list args;

    out->status = status;
    out->type = type;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    out->text.max = ANSWER_TEXT_MAX;
    buf_clear(&out->text);
    buf_puts(&out->text, text);
    free(text);
}

bool answer_failed(const struct answer *out)
{
    return out->code[0] != '\0';
}
