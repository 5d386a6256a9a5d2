/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/json.h"

#define CALL_MS 1000
#define ACCUSERS_MAX 4u /* who suspected, and who confirmed */
#define ANSWER_MAX 1024u

struct question;

struct accuser {
    struct question *question;
    char id[AGENT_ID_MAX];
    int err;
    json_t *probes;
};

struct question {
    evidence_done_fn done;
    void *arg;
    json_t *why;
    struct accuser accuser[ACCUSERS_MAX];
    size_t count, open;
};

static void refuse(evidence_done_fn done, void *arg, int err, const char *detail)
{
    struct intent_result r = {.err = err};
    snprintf(r.detail, sizeof r.detail, "%s", detail);
    done(arg, &r);
}

static const char *no_answer(int err)
{
    if (err == ERR_UNREACHABLE)
        return "it is gone";
    if (err == ERR_NOTFOUND)
        return "it keeps nothing of that any more";
    return err == ERR_UNSUPPORTED ? "its version does not tell" : err_text(err);
}

static void let_go(struct question *q)
{
    if (--q->open > 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < q->count; i++) {
        struct accuser *s = &q->accuser[i];
        json_t *row = s->probes == NULL ? json_object() : s->probes;
        json_set_str(row, "by", s->id);
        if (s->err != 0)
            json_set_str(row, "no_answer", no_answer(s->err));
        json_array_append_new(list, row);
    }
    json_object_set_new(q->why, "probes", list);
    q->done(q->arg, &(struct intent_result){.body = q->why});
    json_decref(q->why);
    free(q);
}

static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    struct accuser *s = arg;
    json_t *j = err == 0 && len <= ANSWER_MAX ? json_parse((const char *)data, len, NULL) : NULL;
    s->err = err;
    if (err == 0 && !json_is_object(j))
        s->err = ERR_MALFORMED;
    if (s->err == 0)
        s->probes = j;
    else
        json_decref(j);
    let_go(s->question);
}

static void ask(struct question *q, struct agent *a, const char *id, const struct gossip_member *of)
{
    const struct gossip_member *m = id == NULL ? NULL : gossip_find_id(a->gossip, id);
    if (id == NULL || q->count == ACCUSERS_MAX)
        return;
    struct accuser *s = &q->accuser[q->count++];
    s->question = q;
    snprintf(s->id, sizeof s->id, "%s", id);
    if (m == NULL || m->state >= MEMBER_FAILED) {
        s->err = ERR_UNREACHABLE;
    } else if (m->self) {
        q->count--; /* "own_probes" */
    } else {
        uint8_t bytes[16];
        struct wbuf w;
        wbuf_init(&w, bytes, sizeof bytes);
        wbuf_u64(&w, of->num);
        wbuf_u64(&w, of->incarnation);
        q->open++;
        s->err = gossip_call(a->gossip, m->num, CALL_EVIDENCE, bytes, w.len, CALL_MS, on_answer, s);
        q->open -= s->err != 0;
    }
}

void evidence_run(struct agent *a, const json_t *command, evidence_done_fn done, void *arg)
{
    const char *id = json_str_or(command, "id", "");
    const struct gossip_member *m = a->gossip == NULL ? NULL : gossip_find_id(a->gossip, id);
    struct question *q = m == NULL ? NULL : calloc(1, sizeof *q);
    if (q == NULL) {
        refuse(done, arg, m == NULL ? ERR_NOTFOUND : ERR_NOMEM,
               m == NULL ? "this agent does not know that member any more" : "out of memory");
        return;
    }
    q->done = done;
    q->arg = arg;
    q->why = gossip_why(a->gossip, m->num);
    q->open = 1; /* calls may end at once */
    size_t i;
    json_t *name;
    ask(q, a, json_str(q->why, "suspected_by"), m);
    json_array_foreach(json_arr(q->why, "confirmed_by"), i, name)
        ask(q, a, json_string_value(name), m);
    let_go(q);
}

void evidence_on_call(struct agent *a, const uint8_t *data, size_t len, struct gossip_request *call)
{
    struct rbuf r;
    rbuf_init(&r, data, len);
    uint64_t num = rbuf_u64(&r), incarnation = rbuf_u64(&r);
    const struct gossip_member *m = r.bad || a->gossip == NULL ? NULL : gossip_find(a->gossip, num);
    json_t *why = m == NULL || m->incarnation != incarnation ? NULL : gossip_why(a->gossip, num);
    json_t *probes = json_obj(why, "own_probes");
    struct buf b;
    buf_init(&b, ANSWER_MAX);
    if (probes == NULL || json_write(probes, &b) != 0)
        gossip_answer(call, r.bad ? ERR_MALFORMED : ERR_NOTFOUND, NULL, 0);
    else
        gossip_answer(call, 0, b.data, b.len);
    buf_fini(&b);
    json_decref(why);
}
