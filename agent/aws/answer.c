/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/aws/query.h"
#include "agent/aws/retry.h"

void answer_cut_code(const char *raw, char *out, size_t cap)
{
    const char *hash = strchr(raw, '#');
    if (hash != NULL)
        raw = hash + 1;
    size_t n = strcspn(raw, ":;");
    snprintf(out, cap, "%.*s", (int)(n < cap ? n : cap - 1), raw);
}

static bool contains(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

int answer_err(int status, const char *code)
{
    static const char *const auth[] = {
        "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredToken",
        "SignatureDoesNotMatch",       "InvalidSignature",     "IncompleteSignature",
        "MissingAuthenticationToken",  "RequestExpired",       "RequestTimeTooSkewed",
        "InvalidAccessKeyId",          "AuthFailure"};
    if (status >= 200 && status < 300)
        return 0;
    if (status == 429 || retry_code_is_throttle(code))
        return ERR_THROTTLED;
    if (status < 400 || status >= 500)
        return ERR_UPSTREAM; /* a redirect is not followed */
    for (size_t i = 0; i < sizeof auth / sizeof auth[0]; i++)
        if (contains(code, auth[i]))
            return ERR_AUTH;
    if (strcmp(code, "ServerException") == 0 || strcmp(code, "InternalFailure") == 0)
        return ERR_UPSTREAM;
    if (status == 408)
        return ERR_TIMEOUT;
    if (contains(code, "AccessDenied") || contains(code, "Unauthorized") || status == 401 ||
        status == 403)
        return ERR_DENIED;
    if (contains(code, "NotFound") || contains(code, "DoesNotExist") ||
        contains(code, "NonExistent") || status == 404)
        return ERR_NOTFOUND;
    return ERR_BADPARAM;
}

static json_t *parse(const char *body, size_t len, enum answer_form form, struct errmsg *e)
{
    if (len == 0)
        return json_object(); /* SQS answers some operations with nothing */
    if (form == ANSWER_XML)
        return query_parse_sts(body, len, e);
    if (form == ANSWER_EC2_XML)
        return query_parse_ec2(body, len, e);
    return form == ANSWER_SQS_XML ? query_parse_sqs(body, len, e)
                                  : json_parse_lenient(body, len, e);
}

static void read_error(struct answer *a, int status, const char *error_type, bool xml)
{
    const char *type = xml ? json_str(a->body, "Code") : json_str(a->body, "__type");
    if (type == NULL)
        type = json_str_or(a->body, "code", "");
    answer_cut_code(error_type[0] != '\0' ? error_type : type, a->code, sizeof a->code);
    const char *message = json_str(a->body, "message");
    if (message == NULL)
        message = json_str_or(a->body, "Message", "");
    if (message[0] != '\0')
        snprintf(a->message, sizeof a->message, "%s", message);
    else
        snprintf(a->message, sizeof a->message, "HTTP status %d%s%s", status,
                 a->code[0] == '\0' ? "" : ", ", a->code);
}

/* A copy, because the answer outlives the transfer. */
static int read_tape(struct answer *a, const char *body, size_t len, struct errmsg *e)
{
    a->text = malloc(len + 1);
    if (a->text == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    memcpy(a->text, body, len);
    return tape_parse(&a->tape, a->text, len, e);
}

void answer_read(struct answer *a, int status, const char *body, size_t len, const char *error_type,
                 enum answer_form form)
{
    struct errmsg e = {0};
    bool xml = form == ANSWER_XML || form == ANSWER_SQS_XML || form == ANSWER_EC2_XML;
    *a = (struct answer){0};
    if (form == ANSWER_TAPE && status >= 200 && status < 300 && len > 0 &&
        read_tape(a, body, len, &e) == 0 && tape_is(&a->tape, 0, TAPE_OBJECT))
        return;
    a->body = parse(body, len, form, &e);
    if (status < 200 || status >= 300) {
        read_error(a, status, error_type, xml);
        a->err = answer_err(status, a->code);
        return;
    }
    if (json_is_object(a->body))
        return;
    a->broken = true;
    a->err = ERR_UPSTREAM;
    snprintf(a->message, sizeof a->message, "the answer is not %s: %.160s",
             xml ? "XML" : "a JSON object", e.text);
    answer_fini(a);
}

int answer_retape(struct answer *a)
{
    a->text = json_dumps(a->body, JSON_COMPACT);
    return a->text == NULL ? ERR_NOMEM : tape_parse(&a->tape, a->text, strlen(a->text), NULL);
}

void answer_fini(struct answer *a)
{
    json_decref(a->body);
    a->body = NULL;
    tape_fini(&a->tape);
    free(a->text);
    a->text = NULL;
}
