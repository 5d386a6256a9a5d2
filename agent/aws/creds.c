/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/creds.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"

#define TEXT_MAX 16384 /* session tokens have been seen up to about 4 KB */
#define EXPIRY_MARGIN_MS 10000

static void wipe_text(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void creds_wipe(struct creds *c)
{
    wipe_text(&c->access_key);
    wipe_text(&c->secret);
    wipe_text(&c->token);
    c->expires_unix_ms = 0;
}

int creds_set(struct creds *c, const char *access_key, const char *secret, const char *token,
              int64_t expires_unix_ms)
{
    creds_wipe(c);
    c->access_key = strdup(access_key);
    c->secret = strdup(secret);
    c->token = token == NULL || token[0] == '\0' ? NULL : strdup(token);
    c->expires_unix_ms = expires_unix_ms;
    bool lacks_token = token != NULL && token[0] != '\0' && c->token == NULL;
    if (c->access_key != NULL && c->secret != NULL && !lacks_token)
        return 0;
    creds_wipe(c);
    return ERR_NOMEM;
}

void creds_move(struct creds *to, struct creds *from)
{
    creds_wipe(to);
    *to = *from;
    *from = (struct creds){0};
}

bool creds_are_valid(const struct creds *c, int64_t now_unix_ms)
{
    return c->access_key != NULL &&
           (c->expires_unix_ms == 0 || c->expires_unix_ms - EXPIRY_MARGIN_MS > now_unix_ms);
}

/* These texts become HTTP headers. */
static bool is_header_text(const char *text)
{
    size_t n = strlen(text);
    if (n == 0 || n > TEXT_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f)
            return false;
    return true;
}

int creds_from_json(struct creds *c, const json_t *obj, enum creds_form form, const char *source,
                    struct errmsg *e)
{
    const char *code = json_str(obj, "Code");
    if (form == CREDS_METADATA && code != NULL && strcmp(code, "Success") != 0)
        return errmsg_set(e, ERR_AUTH, "%s answered \"%.60s\": %.100s", source, code,
                          json_str_or(obj, "Message", ""));
    if (form == CREDS_PROCESS && json_int_or(obj, "Version", 0) != 1)
        return errmsg_set(e, ERR_AUTH, "%s must print JSON with \"Version\": 1", source);
    const char *access_key = json_str_or(obj, "AccessKeyId", "");
    const char *secret = json_str_or(obj, "SecretAccessKey", "");
    const char *token = json_str(obj, form == CREDS_METADATA ? "Token" : "SessionToken");
    const char *expiration = json_str(obj, "Expiration");
    int64_t expires = 0;
    if (!is_header_text(access_key) || !is_header_text(secret))
        return errmsg_set(e, ERR_AUTH, "%s gave no usable AccessKeyId and SecretAccessKey", source);
    if (token != NULL && token[0] != '\0' && !is_header_text(token))
        return errmsg_set(e, ERR_AUTH, "%s gave an unusable session token", source);
    if (expiration != NULL && clock_parse_rfc3339(expiration, &expires) != 0)
        return errmsg_set(e, ERR_AUTH, "%s gave an Expiration that is no RFC 3339 time", source);
    if (expiration == NULL && form != CREDS_PROCESS)
        return errmsg_set(e, ERR_AUTH, "%s gave no Expiration", source);
    return creds_set(c, access_key, secret, token, expires);
}

void creds_wipe_json(json_t *obj)
{
    const char *key;
    json_t *value;
    if (obj != NULL && obj->refcount == 1) {
        json_object_foreach(obj, key, value)
        {
            if (json_is_string(value))
                explicit_bzero((char *)(uintptr_t)json_string_value(value),
                               json_string_length(value));
        }
    }
    json_decref(obj);
}
