/* SPDX-License-Identifier: Apache-2.0
 * What AWS (or whoever stands in its place) answers: JSON errors and bodies, STS's XML, and
 * credentials in the forms of instance metadata, credential_process and STS. First byte: HTTP
 * status and form. */
#include <string.h>

#include "agent/aws/answer.h"
#include "agent/aws/creds.h"
#include "agent/aws/query.h"
#include "agent/base/ensure.h"
#include "tests/fuzz/fuzz.h"

static void check_credentials(const char *text, size_t len, enum creds_form form)
{
    struct errmsg e;
    struct creds c = {0};
    json_t *obj =
        form == CREDS_STS ? query_parse_sts(text, len, &e) : json_parse_lenient(text, len, &e);
    if (obj == NULL)
        return;
    if (creds_from_json(&c, obj, form, "the fuzzer", &e) == 0) {
        ENSURE(c.access_key != NULL && c.secret != NULL);
        (void)creds_are_valid(&c, 1700000000000);
    }
    creds_wipe(&c);
    creds_wipe_json(obj);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 400, 403, 404, 429, 500, 503, 0};
    if (size == 0)
        return 0;
    enum answer_form form = (data[0] & 8) != 0 ? ANSWER_XML
                            : size % 2 == 0    ? ANSWER_TAPE
                                               : ANSWER_JSON;
    const char *text = (const char *)data + 1;
    const char *type = (data[0] & 16) != 0 ? "com.amazonaws.ecs#ClientException:http://x/" : "";
    struct answer a;
    answer_read(&a, statuses[data[0] & 7], text, size - 1, type, form);
    ENSURE(a.err <= 0);
    ENSURE(strnlen(a.code, sizeof a.code) < sizeof a.code);
    ENSURE(strnlen(a.message, sizeof a.message) < sizeof a.message);
    answer_fini(&a);
    check_credentials(text, size - 1, (enum creds_form)(data[0] >> 5 & 3) % 3);
    return 0;
}
