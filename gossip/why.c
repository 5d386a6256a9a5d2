/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/why.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const check_texts[] = {
    [CHECK_NONE] = "not made",
    [CHECK_ASKED] = "no answer",
    [CHECK_CONNECTED] = "the host answers, the agent does not",
    [CHECK_REFUSED] = "connection refused",
    [CHECK_SILENT] = "no answer",
};

const char *gossip_state_str(enum gossip_state state)
{
    switch (state) {
    case MEMBER_ALIVE:
        return "alive";
    case MEMBER_DEGRADED:
        return "degraded";
    case MEMBER_SUSPECT:
        return "suspect";
    case MEMBER_FAILED:
        return "failed";
    case MEMBER_LEFT:
        return "left";
    }
    return "unknown";
}

static const char *name_of(const struct swim *s, uint64_t num, char out[AGENT_ID_MAX])
{
    const struct swim_member *m = num == 0 ? swim_self(s) : swim_find(s, num);
    if (m != NULL)
        snprintf(out, AGENT_ID_MAX, "%s", m->m.id);
    else
        snprintf(out, AGENT_ID_MAX, "%016" PRIx64, num);
    return out;
}

static void add(char out[WHY_TEXT_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(char out[WHY_TEXT_MAX], const char *format, ...)
{
    size_t len = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + len, WHY_TEXT_MAX - len, format, args);
    va_end(args);
}

static void add_probes(const struct swim_trace *t, char out[WHY_TEXT_MAX])
{
    add(out, "no answer to %u probe%s", t->direct, t->direct == 1 ? "" : "s");
    if (t->helpers > 0)
        add(out, " and none through %u others", t->helpers);
    if (t->check == CHECK_REFUSED || t->check == CHECK_CONNECTED)
        add(out, ", tcp: %s", check_texts[t->check]);
}

/* Whose host answers is excused for half a minute, and suspected then without a probe of ours: for
 * its silence. */
static void add_silence(const struct swim_member *m, char out[WHY_TEXT_MAX])
{
    const struct swim_trace *t = swim_trace_of(m);
    if (m->doubt == NULL || !m->doubt->unexcused)
        add(out, "it does not answer");
    else if (m->m.heard_mono_ms == 0)
        add(out, "its host answers, but it has said nothing to this agent so far");
    else if (m->m.heard_mono_ms >= t->suspected_ms)
        add(out, "its host answers, but it said nothing for too long");
    else
        add(out, "its host answers, but it said nothing for %" PRIu64 " s",
            (t->suspected_ms - m->m.heard_mono_ms) / 1000);
}

static void add_joined(const struct swim_change *c, char out[WHY_TEXT_MAX])
{
    const struct swim_trace *t = swim_trace_of(c->member);
    bool failed = t->suspected_ms != 0 && t->failed_ms >= t->suspected_ms;
    if (c->member->m.self)
        add(out, "this agent started");
    else
        add(out, failed || c->before == MEMBER_FAILED ? "returned" : "joined");
}

static void add_accusers(const struct swim *s, const struct swim_trace *t, char out[WHY_TEXT_MAX])
{
    char name[AGENT_ID_MAX];
    add(out, "suspected by %s", name_of(s, t->suspected_by, name));
    for (unsigned i = 0; i < t->confirmed_count; i++)
        add(out, "%s%s", i == 0 ? ", confirmed by " : " and ", name_of(s, t->confirmed[i], name));
}

void why_sentence(const struct swim *s, const struct swim_change *c, char out[WHY_TEXT_MAX])
{
    const struct swim_trace *t = swim_trace_of(c->member);
    char name[AGENT_ID_MAX], address[ADDR_TEXT];
    out[0] = '\0';
    switch (c->cause) {
    case SWIM_CAUSE_JOINED:
        add_joined(c, out);
        break;
    case SWIM_CAUSE_REFUTED:
        add(out, "it answered for itself with incarnation %" PRIu64, c->member->m.incarnation);
        break;
    case SWIM_CAUSE_PROBES:
        if (t->direct > 0)
            add_probes(t, out);
        else
            add_silence(c->member, out);
        break;
    case SWIM_CAUSE_STALLED:
        add(out, "%s gets no answer from it, but its host answers", name_of(s, c->from, name));
        break;
    case SWIM_CAUSE_CLAIMED:
        if (c->member->m.state == MEMBER_SUSPECT) {
            add_accusers(s, t, out);
            break;
        }
        add(out, "%s says so", name_of(s, c->from, name));
        if (t->suspected_by != 0) {
            add(out, "; ");
            add_accusers(s, t, out);
        }
        break;
    case SWIM_CAUSE_TIMEOUT:
        if (t->direct > 0) {
            add_probes(t, out);
            add(out, "; ");
        }
        add_accusers(s, t, out);
        add(out, "; not refuted within %" PRIu64 " ms", t->failed_ms - t->suspected_ms);
        break;
    case SWIM_CAUSE_LEFT:
        add(out, "it said that it leaves");
        break;
    case SWIM_CAUSE_EVICTED:
        add(out, "it is no container instance of this cluster, says ECS");
        break;
    case SWIM_CAUSE_ADDRESS:
        add(out, "it answers at %s, and not at the address used so far",
            addr_text(&c->member->m.addrs->at[c->member->m.using], address));
        break;
    case SWIM_CAUSE_META:
        add(out, "it told something new of itself");
        break;
    }
}

json_t *why_json(const struct swim *s, const struct swim_member *m, uint64_t now_ms)
{
    const struct swim_trace *t = swim_trace_of(m);
    char name[AGENT_ID_MAX], address[ADDR_TEXT];
    json_t *obj = json_object();
    json_set_str(obj, "member", m->m.id);
    json_set_str(obj, "state", gossip_state_str(m->m.state));
    json_set_int(obj, "incarnation", (int64_t)m->m.incarnation);
    json_set_int(obj, "state_age_ms", (int64_t)(now_ms - m->m.changed_mono_ms));
    json_set_str(obj, "address", addr_text(&m->m.addrs->at[m->m.using], address));
    if (m->m.self)
        json_set_bool(obj, "self", true);
    if (m->evicted)
        json_set_str(obj, "evicted", "it is no container instance of this cluster, says ECS");
    if (m->m.state == MEMBER_ALIVE && m->vote_count > 0) { /* by too few to be believed */
        json_set_str(obj, "accused_by", name_of(s, m->doubt->vote[0].num, name));
        json_set_int(obj, "accused_age_ms", (int64_t)(now_ms - m->doubt->voted_ms));
    }
    if (m->m.heard_mono_ms != 0)
        json_set_int(obj, "heard_age_ms", (int64_t)(now_ms - m->m.heard_mono_ms));
    if (t->suspected_ms == 0)
        return obj;
    json_set_int(obj, "suspected_age_ms", (int64_t)(now_ms - t->suspected_ms));
    json_set_str(obj, "suspected_by", name_of(s, t->suspected_by, name));
    json_t *confirmed = json_array();
    for (unsigned i = 0; i < t->confirmed_count; i++)
        json_array_append_new(confirmed, json_string(name_of(s, t->confirmed[i], name)));
    json_object_set_new(obj, "confirmed_by", confirmed);
    if (t->failed_ms >= t->suspected_ms) { /* else it was of an earlier doubt */
        json_set_int(obj, "failed_age_ms", (int64_t)(now_ms - t->failed_ms));
        json_set_str(obj, "failed_by", name_of(s, t->failed_by, name));
    }
    if (t->direct > 0) {
        json_t *probes = json_object();
        json_set_int(probes, "direct_unanswered", t->direct);
        json_set_int(probes, "helpers_asked", t->helpers);
        json_set_int(probes, "helpers_could_not_either", t->nacks);
        json_set_int(probes, "timeout_ms", t->timeout_ms);
        json_set_str(probes, "tcp_check", check_texts[t->check <= CHECK_SILENT ? t->check : 0]);
        json_object_set_new(obj, "own_probes", probes);
    }
    return obj;
}
