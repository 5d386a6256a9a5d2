/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/intake/notes.h"

#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

#define AGAIN_MS 60000

static void tell(const struct events_note *note)
{
    enum log_level level = strcmp(note->level, "INFO") == 0 ? LOG_DEBUG : LOG_WARN;
    LOG(level, "ecs_event", note->reason, LS("level", note->level), LS("name", note->name),
        LS("about", note->about));
}

bool notes_put(struct notes *n, const struct events_note *note, int64_t now_unix_ms)
{
    struct kept_note one = {.note = *note, .first_unix_ms = now_unix_ms};
    bool news = true;
    size_t i = 0;
    while (i < n->count && (strcmp(n->kept[i].note.name, note->name) != 0 ||
                            strcmp(n->kept[i].note.about, note->about) != 0))
        i++;
    if (i < n->count) {
        one.first_unix_ms = n->kept[i].first_unix_ms;
        one.count = n->kept[i].count;
        news = now_unix_ms - n->kept[i].last_unix_ms >= AGAIN_MS;
    } else if (n->count == NOTES_MAX) {
        i = 0; /* the oldest goes */
    }
    if (i < n->count) {
        memmove(&n->kept[i], &n->kept[i + 1], (n->count - i - 1) * sizeof n->kept[0]);
        n->count--;
    }
    one.last_unix_ms = now_unix_ms;
    one.count++;
    n->kept[n->count++] = one;
    if (news)
        tell(note);
    return news;
}

json_t *notes_list(const struct notes *n)
{
    json_t *list = json_array();
    for (size_t i = n->count; i > 0; i--) {
        const struct kept_note *k = &n->kept[i - 1];
        char first[CLOCK_TEXT_MAX], last[CLOCK_TEXT_MAX];
        json_t *one = json_object();
        json_set_str(one, "level", k->note.level);
        json_set_str(one, "name", k->note.name);
        json_set_str(one, "about", k->note.about);
        json_set_str(one, "reason", k->note.reason);
        json_set_str(one, "first_at", clock_format_unix_ms(k->first_unix_ms, first));
        json_set_str(one, "last_at", clock_format_unix_ms(k->last_unix_ms, last));
        json_set_int(one, "count", (int64_t)k->count);
        json_array_append_new(list, one);
    }
    return list;
}
