/* SPDX-License-Identifier: Apache-2.0
 * What the metadata service's answers mean. AWS, "Spot Instance interruption notices", "EC2
 * instance rebalance recommendations", "Retrieve the target lifecycle state through instance
 * metadata". */
#include <stdio.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/notice_uv.h"

/* Only what a log line and a page may show. */
static void copy_word(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text != '\0' && n + 1 < size; text++)
        if (*text > 0x20 && *text < 0x7f && *text != '"' && *text != '\\')
            out[n++] = *text;
    out[n] = '\0';
}

static void read_json(const char *what, const char *body, size_t len, const char *action_key,
                      const char *time_key, char out[NOTICE_TEXT_MAX])
{
    char action[24] = "", at[32] = "";
    json_t *j = json_parse_lenient(body, len, NULL);
    if (json_is_object(j)) {
        copy_word(action, sizeof action,
                  action_key == NULL ? "" : json_str_or(j, action_key, "terminate"));
        copy_word(at, sizeof at, json_str_or(j, time_key, ""));
        snprintf(out, NOTICE_TEXT_MAX, "%s%s%s%s%s", what, action[0] == '\0' ? "" : ": ", action,
                 at[0] == '\0' ? "" : ", ", at);
    }
    json_decref(j);
}

void notice_read(unsigned which, const char *body, size_t len, char out[NOTICE_TEXT_MAX])
{
    out[0] = '\0';
    if (which == 0)
        read_json("spot interruption", body, len, "action", "time", out);
    else if (which == 1)
        read_json("rebalance recommendation", body, len, NULL, "noticeTime", out);
    else if (len >= 10 && len <= 12 && memcmp(body, "Terminated", 10) == 0)
        snprintf(out, NOTICE_TEXT_MAX, "scale-in: the Auto Scaling group terminates this instance");
}
