/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/keyfile_uv.h"
#include "agent/keyturn.h"
#include "agent/ring.h"

#define CALL_MS 5000
#define SECOND_MS 11000 /* both rounds of another agent */
#define SECONDS_MAX 3u  /* asked, one after the other, to look as well */
#define LOOK_MS 2500u   /* in the mean between looks of this agent for others; ten come at once */
#define CALLS_MAX 256u  /* open at a time; a cluster may have thousands of members */
#define ID_LEN 16u
#define WAITING_MAX 16u /* calls, while the key file is written */
#define TOLD_MAX 200u   /* of what a member says of its key file */

enum op { OP_LIST = 1, OP_INSTALL, OP_USE, OP_REMOVE, OP_SECOND };
static const char *const op_names[] = {
    [OP_LIST] = "keys.list",
    [OP_INSTALL] = "keys.install",
    [OP_USE] = "keys.use",
    [OP_REMOVE] = "keys.remove",
};

struct target {
    struct keyring *keyring;
    uint64_t num;
    char id[AGENT_ID_MAX];
    int err;                         /* of the last round */
    char keys[KEYS_MAX][ID_LEN + 1]; /* what it says it has; the first seals */
    size_t key_count;
    char told[TOLD_MAX]; /* why they are not in its file */
};

struct waiting {
    struct gossip_request *call;
    uint64_t from;
    uint8_t data[1 + KEY_BYTES];
    size_t len;
};

struct keyring {
    struct agent *agent;
    /* The operation that this agent was asked for. */
    keyring_done_fn done; /* NULL: none */
    void *arg;
    enum op op;
    bool asking;               /* first round of use and remove: what has everybody? */
    bool is_second;            /* another agent asked this one to look as well */
    size_t seconds, second_at; /* asked so far; the first of them */
    char id[ID_LEN + 1];
    uint8_t key[KEY_BYTES];
    struct target *targets;
    size_t target_count, next, open;
    bool filling;
    json_t *away;      /* ids of members that are failed */
    char refusal[256]; /* not empty: the turns are given back before this is told */
    int refusal_err;
    struct keyturn turn;
    struct gossip_request *seconded; /* who asked this agent to look as well */
    uint64_t looks_ms;               /* until then its looks are accounted for */
    /* What a member asked of this agent, on its way to the file. */
    struct keyfile file;
    struct gossip_request *request; /* NULL: it is tried again by itself */
    struct waiting waiting[WAITING_MAX];
    size_t waiting_count;
    bool orphan; /* destroyed meanwhile: freed when the file is written */
};

/* ---- a member carries out ------------------------------------------------------------------ */

/* Only what a restart would find again is acknowledged. */
static void answer_ids(struct keyring *k, struct gossip_request *call)
{
    uint8_t bytes[1 + KEYS_MAX * ID_LEN + TOLD_MAX];
    struct wbuf w;
    const struct gossip_node *g = k->agent->gossip;
    size_t count = g == NULL ? 0 : gossip_key_count(g), saved = 0;
    const char *ids[KEYS_MAX];
    for (size_t i = 0; i < count; i++)
        if (keyfile_has(&k->file, gossip_key_at(g, i)))
            ids[saved++] = gossip_key_at(g, i);
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, (uint8_t)saved);
    for (size_t i = 0; i < saved; i++)
        wbuf_bytes(&w, ids[i], ID_LEN);
    if (k->file.err != 0)
        wbuf_bytes(&w, k->file.why.text, strnlen(k->file.why.text, TOLD_MAX - 1));
    gossip_answer(call, k->file.err, bytes, w.len);
}

/* One change at a time, and an answer is of what is in the file: the others wait their turn. */
static void wait_for_file(struct keyring *k, uint64_t from, const uint8_t *data, size_t len,
                          struct gossip_request *call)
{
    struct waiting *w = &k->waiting[k->waiting_count];
    if (k->waiting_count == WAITING_MAX || len > sizeof w->data) {
        gossip_answer(call, len > sizeof w->data ? ERR_MALFORMED : ERR_BUSY, NULL, 0);
        return;
    }
    *w = (struct waiting){.call = call, .from = from, .len = len};
    memcpy(w->data, data, len);
    k->waiting_count++;
}

static void on_written(void *arg)
{
    struct keyring *k = arg;
    struct gossip_request *call = k->request;
    struct waiting waiting[WAITING_MAX];
    size_t count = k->waiting_count;
    k->request = NULL;
    if (k->orphan) {
        if (call != NULL)
            gossip_answer(call, ERR_CLOSED, NULL, 0);
        free(k);
        return;
    }
    if (k->file.err != 0 && call != NULL)
        LOG(LOG_ERROR, "keys_not_saved", "a restart of this agent would not have them",
            LS("why", k->file.why.text));
    if (call != NULL)
        answer_ids(k, call);
    memcpy(waiting, k->waiting, count * sizeof *waiting);
    explicit_bzero(k->waiting, sizeof k->waiting);
    k->waiting_count = 0;
    for (size_t i = 0; i < count; i++)
        keyring_on_call(k, waiting[i].from, waiting[i].data, waiting[i].len, waiting[i].call);
    explicit_bzero(waiting, sizeof waiting);
}

static void save(struct keyring *k, struct gossip_request *call)
{
    k->request = call;
    keyfile_write(&k->file, k->agent->loop, &k->agent->keys, k->agent->config->gossip_key_file,
                  on_written, k);
}

void keyring_tick(struct keyring *k)
{
    if (k != NULL && k->file.err != 0 && !k->file.writing)
        save(k, NULL);
}

const char *keyring_trouble(const struct keyring *k)
{
    return k == NULL || k->file.err == 0 ? "" : k->file.why.text;
}

/* One that lies could make another seal with a key that nobody else has: so a step counts when two
 * members, each of which has asked all others, say so. With fewer than three nobody else can look.
 */
static unsigned words_needed(const struct keyring *k)
{
    const struct gossip_node *g = k->agent->gossip;
    size_t live = 0;
    for (size_t i = 0; i < gossip_count(g); i++)
        live += gossip_at(g, i)->state < MEMBER_FAILED;
    return live < 3 ? 1 : 2;
}

static bool is_done(const struct keyring *k, enum op op, const char *id)
{
    int at = ring_find(&k->agent->keys, id);
    return op == OP_USE ? at == 0 : at < 0;
}

/* False: nothing was changed, and *err says why; 0: another word is missing, or it was done. */
static bool carry_out(struct keyring *k, uint64_t from, enum op op, const char *id, int *err)
{
    unsigned words = keyturn_say(&k->turn, clock_mono_ms(), from, (int)op, id);
    *err = words > 0 || is_done(k, op, id) ? 0 : ERR_BUSY;
    if (words < words_needed(k))
        return false;
    *err = op == OP_USE ? ring_use(k->agent, id) : ring_remove(k->agent, id);
    if (*err == 0)
        k->turn = (struct keyturn){0};
    return *err == 0;
}

static void on_change(struct keyring *k, uint64_t from, enum op op, const uint8_t *data,
                      struct gossip_request *call)
{
    char id[ID_LEN + 1] = "";
    int err = 0;
    if (op != OP_INSTALL)
        memcpy(id, data, ID_LEN);
    else
        gossip_key_id(data, id);
    if (op == OP_INSTALL)
        err = ring_install(k->agent, data);
    else if (!carry_out(k, from, op, id, &err) && err == 0) {
        answer_ids(k, call);
        return;
    }
    if (err != 0) {
        gossip_answer(call, err, NULL, 0);
        return;
    }
    LOG(LOG_INFO, "keys_changed", "", LS("op", op_names[op]), LS("key", id));
    save(k, call);
}

static void on_second(struct keyring *k, uint64_t from, enum op op, const uint8_t *of,
                      struct gossip_request *call);

/* op, id */
static bool is_step(const uint8_t *data, size_t len)
{
    return len == 1 + ID_LEN && (data[0] == OP_USE || data[0] == OP_REMOVE);
}

static void on_list(struct keyring *k, uint64_t from, const uint8_t *step, size_t len,
                    struct gossip_request *call)
{
    char id[ID_LEN + 1] = "";
    int err = 0;
    if (len > 0) {
        memcpy(id, step + 1, ID_LEN);
        err = keyturn_take(&k->turn, clock_mono_ms(), from, step[0], id);
    } else {
        keyturn_give_back(&k->turn, from);
    }
    if (err != 0)
        gossip_answer(call, err, NULL, 0);
    else
        answer_ids(k, call);
}

void keyring_on_call(struct keyring *k, uint64_t from, const uint8_t *data, size_t len,
                     struct gossip_request *call)
{
    struct agent *a = k == NULL ? NULL : k->agent;
    uint8_t op = len > 0 ? data[0] : 0;
    if (a == NULL || a->stopping || a->gossip == NULL)
        gossip_answer(call, ERR_CLOSED, NULL, 0);
    else if (k->file.writing)
        wait_for_file(k, from, data, len, call);
    else if (op == OP_LIST && (len == 1 || is_step(data + 1, len - 1)))
        on_list(k, from, data + 1, len - 1, call);
    else if (op == OP_SECOND && is_step(data + 1, len - 1))
        on_second(k, from, (enum op)data[1], data + 2, call);
    else if ((op == OP_INSTALL && len == 1 + KEY_BYTES) || is_step(data, len))
        on_change(k, from, (enum op)op, data + 1, call);
    else
        gossip_answer(call, ERR_MALFORMED, NULL, 0);
}

/* ---- the agent that is asked -------------------------------------------------------------- */

static void finish(struct keyring *k, int err, const char *field, const char *detail, json_t *body)
{
    struct intent_result r = {.err = err, .body = body};
    keyring_done_fn done = k->done;
    void *arg = k->arg;
    snprintf(r.detail, sizeof r.detail, "%s", detail);
    snprintf(r.field, sizeof r.field, "%s", field);
    free(k->targets);
    json_decref(k->away);
    explicit_bzero(k->key, sizeof k->key);
    k->away = NULL;
    k->refusal[0] = '\0';
    k->done = NULL;
    k->is_second = false;
    k->seconds = 0;
    k->targets = NULL;
    k->target_count = k->open = k->next = 0;
    done(arg, &r);
    json_decref(body);
}

static int has_key(const struct target *t, const char *id)
{
    for (size_t i = 0; i < t->key_count; i++)
        if (strcmp(t->keys[i], id) == 0)
            return (int)i;
    return -1;
}

static json_t *count_json(struct keyring *k, const char *id)
{
    int64_t have = 0, sealing = 0;
    for (size_t i = 0; i < k->target_count; i++) {
        int at = has_key(&k->targets[i], id);
        have += at >= 0;
        sealing += at == 0;
    }
    json_t *j = json_object();
    json_set_str(j, "id", id);
    json_set_int(j, "members", have);
    json_set_int(j, "sealing", sealing);
    return j;
}

static json_t *list_json(struct keyring *k)
{
    json_t *keys = json_array();
    for (size_t i = 0; i < k->target_count; i++) {
        const struct target *t = &k->targets[i];
        for (size_t n = 0; n < t->key_count; n++) {
            bool known = false;
            for (size_t o = 0; o < json_array_size(keys) && !known; o++)
                known = strcmp(json_str_or(json_array_get(keys, o), "id", ""), t->keys[n]) == 0;
            if (!known && json_array_size(keys) < (size_t)4 * KEYS_MAX)
                json_array_append_new(keys, count_json(k, t->keys[n]));
        }
    }
    return keys;
}

static void why_text(const struct keyring *k, const struct target *t, char *out, size_t size)
{
    if (t->told[0] != '\0')
        snprintf(out, size, "%s", t->told);
    else if (t->err == ERR_TIMEOUT || t->err == ERR_UNREACHABLE || t->err == ERR_CLOSED)
        snprintf(out, size, "no answer: %s", err_text(t->err));
    else if (t->err == ERR_NOTREADY)
        snprintf(out, size, "has not done it yet, for no second agent told it so; try again");
    else if (k->op == OP_INSTALL && t->err == ERR_FULL)
        snprintf(out, size,
                 "refused: it has as many keys as a ring holds; remove one that nobody seals with");
    else
        snprintf(out, size, "refused: %s", err_text(t->err));
}

static json_t *result_json(struct keyring *k)
{
    json_t *j = json_object();
    json_t *missing = json_array();
    char why[TOLD_MAX];
    int64_t acknowledged = 0;
    for (size_t i = 0; i < k->target_count; i++) {
        const struct target *t = &k->targets[i];
        if (t->err == 0) {
            acknowledged++;
            continue;
        }
        json_t *m = json_object();
        json_set_str(m, "id", t->id);
        why_text(k, t, why, sizeof why);
        json_set_str(m, "why", why);
        json_array_append_new(missing, m);
    }
    if (k->id[0] != '\0')
        json_set_str(j, "id", k->id);
    json_set_int(j, "members", (int64_t)k->target_count);
    json_set_int(j, "acknowledged", acknowledged);
    json_set_bool(j, "all", acknowledged == (int64_t)k->target_count);
    json_object_set_new(j, "keys", list_json(k));
    json_object_set_new(j, "missing", missing);
    json_object_set(j, "away", k->away);
    return j;
}

/* After the first round of use and remove: why not, if not. */
static void look_for_refusal(struct keyring *k)
{
    size_t lacking = 0, sealing = 0, having = 0, silent = 0;
    const char *first = "";
    char why[TOLD_MAX] = "";
    for (size_t i = 0; i < k->target_count; i++) {
        const struct target *t = &k->targets[i];
        int at = t->err != 0 ? -1 : has_key(t, k->id);
        bool bad = k->op == OP_USE ? at < 0 : t->err != 0 || at == 0;
        if (t->err == ERR_BUSY) {
            snprintf(k->refusal, sizeof k->refusal,
                     "another agent was asked to change keys as well, says %s; wait for that",
                     t->id);
            return;
        }
        if (bad && first[0] == '\0') {
            first = t->id;
            if (t->err != 0)
                why_text(k, t, why, sizeof why);
            else
                snprintf(why, sizeof why, k->op == OP_USE ? "lacks it" : "seals with it");
        }
        silent += t->err != 0;
        having += at >= 0;
        lacking += k->op == OP_USE && at < 0;
        sealing += k->op == OP_REMOVE && bad;
    }
    if (having == 0 && silent == 0 && !k->is_second) {
        k->refusal_err = ERR_NOTFOUND; /* a slip of the pen leaves the key that was meant */
        snprintf(k->refusal, sizeof k->refusal,
                 "no member has key %s; \"blox keys list\" shows those that there are", k->id);
    } else if (lacking > 0) {
        snprintf(k->refusal, sizeof k->refusal,
                 "%zu of %zu members have not acknowledged key %s (%s first: %s); install it again",
                 lacking, k->target_count, k->id, first, why);
    } else if (sealing > 0) {
        snprintf(k->refusal, sizeof k->refusal,
                 "%zu of %zu members seal with key %s or cannot give it up (%s first: %s); "
                 "use another key first",
                 sealing, k->target_count, k->id, first, why);
    }
}

static void fill(struct keyring *k);

/* The second round; after a refusal it gives the turns back. */
static void go_on(struct keyring *k)
{
    if (k->refusal[0] != '\0')
        k->op = OP_LIST;
    k->next = 0;
    fill(k);
}

static void ask_second(struct keyring *k);

static void on_second_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    struct keyring *k = arg;
    (void)data;
    (void)len;
    if (err == ERR_CONFLICT)
        snprintf(k->refusal, sizeof k->refusal,
                 "a second agent, which has to find the same, found otherwise; try again");
    else if (err != 0)
        ask_second(k);
    if (err == 0 || err == ERR_CONFLICT)
        go_on(k);
}

/* Another member looks for itself, and says to all what this one is about to say. */
static void ask_second(struct keyring *k)
{
    uint8_t bytes[2 + ID_LEN] = {OP_SECOND, (uint8_t)k->op};
    struct gossip_node *g = k->agent->gossip;
    memcpy(bytes + 2, k->id, ID_LEN);
    while (g != NULL && k->next < k->target_count && k->seconds < SECONDS_MAX) {
        uint64_t num = k->targets[(k->second_at + k->next++) % k->target_count].num;
        k->seconds += num != gossip_self(g);
        if (num != gossip_self(g) && gossip_call(g, num, CALL_KEYS, bytes, sizeof bytes, SECOND_MS,
                                                 on_second_answer, k) == 0)
            return;
    }
    snprintf(k->refusal, sizeof k->refusal,
             "no second agent could be asked whether it finds the same; try again");
    go_on(k);
}

/* What they answered: has it been done, or does a word still lack? */
static void look_what_is_done(struct keyring *k)
{
    for (size_t i = 0; i < k->target_count; i++) {
        struct target *t = &k->targets[i];
        int at = t->err != 0 ? -1 : has_key(t, k->id);
        if (t->err == 0 && (k->op == OP_USE ? at != 0 : at >= 0))
            t->err = ERR_NOTREADY;
    }
}

static void round_over(struct keyring *k)
{
    char detail[sizeof k->refusal];
    if (k->asking) {
        look_for_refusal(k);
        k->asking = false;
        k->next = 0;
        if (k->refusal[0] != '\0' || k->is_second || k->target_count < 3)
            go_on(k);
        else
            ask_second(k);
        return;
    }
    if (!k->is_second && (k->op == OP_USE || k->op == OP_REMOVE))
        look_what_is_done(k);
    memcpy(detail, k->refusal, sizeof detail);
    if (detail[0] != '\0')
        finish(k, k->refusal_err, "id", detail, NULL);
    else
        finish(k, 0, "", "", result_json(k));
}

static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    struct target *t = arg;
    struct keyring *k = t->keyring;
    struct rbuf r;
    t->err = err;
    rbuf_init(&r, data, len);
    size_t count = rbuf_u8(&r);
    for (size_t i = 0; i < count && i < KEYS_MAX; i++) {
        const uint8_t *id = rbuf_bytes(&r, ID_LEN);
        if (r.bad)
            break;
        memcpy(t->keys[t->key_count], id, ID_LEN);
        t->keys[t->key_count++][ID_LEN] = '\0';
    }
    len = r.bad ? 0 : rbuf_left(&r);
    const uint8_t *told = rbuf_bytes(&r, len);
    for (size_t i = 0; err != 0 && i < len && i < sizeof t->told - 1; i++)
        t->told[i] = (char)(told[i] < ' ' || told[i] > '~' ? '?' : told[i]);
    k->open--;
    fill(k);
}

static void ask(struct keyring *k, struct target *t)
{
    uint8_t bytes[1 + KEY_BYTES];
    size_t len = 1;
    bytes[0] = (uint8_t)(k->asking ? OP_LIST : k->op);
    if (bytes[0] == OP_INSTALL) {
        memcpy(bytes + 1, k->key, KEY_BYTES);
        len += KEY_BYTES;
    } else if (bytes[0] != OP_LIST) {
        memcpy(bytes + 1, k->id, ID_LEN);
        len += ID_LEN;
    } else if (k->asking) {
        bytes[1] = (uint8_t)k->op;
        memcpy(bytes + 2, k->id, ID_LEN);
        len += 1 + ID_LEN;
    }
    t->key_count = 0;
    memset(t->told, 0, sizeof t->told);
    k->open++;
    t->err = gossip_call(k->agent->gossip, t->num, CALL_KEYS, bytes, len, CALL_MS, on_answer, t);
    if (t->err != 0)
        k->open--;
    explicit_bzero(bytes, sizeof bytes);
}

/* A call may end at once, inside gossip_call of another: only the outermost goes on. When the agent
 * stops, its node, which is no longer there to be called, ends them all. */
static void fill(struct keyring *k)
{
    if (k->filling)
        return;
    k->filling = true;
    while (k->agent->gossip != NULL && k->next < k->target_count && k->open < CALLS_MAX)
        ask(k, &k->targets[k->next++]);
    k->filling = false;
    if (k->open > 0)
        return;
    if (k->agent->gossip == NULL)
        finish(k, ERR_CLOSED, "", "this agent is stopping; ask another one what was done", NULL);
    else if (k->next == k->target_count)
        round_over(k);
}

static int list_targets(struct keyring *k)
{
    const struct gossip_node *g = k->agent->gossip;
    size_t count = gossip_count(g);
    k->targets = calloc(count == 0 ? 1 : count, sizeof *k->targets);
    k->away = json_array();
    if (k->targets == NULL || k->away == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct gossip_member *m = gossip_at(g, i);
        if (m->state == MEMBER_FAILED)
            json_array_append_new(k->away, json_string(m->id));
        if (m->state == MEMBER_FAILED || m->state == MEMBER_LEFT)
            continue;
        struct target *t = &k->targets[k->target_count++];
        t->keyring = k;
        t->num = m->num;
        memcpy(t->id, m->id, sizeof t->id);
    }
    return 0;
}

static void report(keyring_done_fn done, void *arg, int err, const char *field, const char *detail)
{
    struct intent_result r = {.err = err};
    snprintf(r.detail, sizeof r.detail, "%s", detail);
    snprintf(r.field, sizeof r.field, "%s", field);
    done(arg, &r);
}

static void begin(struct keyring *k, enum op op, keyring_done_fn done, void *arg)
{
    k->op = op;
    k->refusal_err = ERR_CONFLICT;
    k->asking = op == OP_USE || op == OP_REMOVE;
    k->done = done;
    k->arg = arg;
    if (list_targets(k) != 0) {
        finish(k, ERR_NOMEM, "", "out of memory", NULL);
        return;
    }
    k->second_at = k->target_count == 0 ? 0 : (size_t)prng_next(&k->agent->prng) % k->target_count;
    fill(k);
}

void keyring_run(struct keyring *k, const json_t *command, keyring_done_fn done, void *arg)
{
    const char *name = json_str_or(command, "op", "");
    const char *key = json_str_or(command, "key", "");
    enum op op = OP_LIST;
    while (op < OP_REMOVE && strcmp(op_names[op], name) != 0)
        op++;
    if (k == NULL || k->agent->gossip == NULL) {
        report(done, arg, ERR_NOTREADY, "", "this agent has not joined a cluster yet");
        return;
    }
    if (k->done != NULL) {
        report(done, arg, ERR_BUSY, "", "another keys command is under way at this agent");
        return;
    }
    if (op == OP_INSTALL && keys_parse(key, strlen(key), k->key) != 0) {
        report(done, arg, ERR_BADBODY, "key",
               "\"key\" must be 32 bytes as base64 or hex; make one with: blox keygen");
        return;
    }
    snprintf(k->id, sizeof k->id, "%s", json_str_or(command, "id", ""));
    if (op == OP_INSTALL)
        gossip_key_id(k->key, k->id);
    begin(k, op, done, arg);
}

static void on_seconded(void *arg, const struct intent_result *result)
{
    struct keyring *k = arg;
    gossip_answer(k->seconded, result->err, NULL, 0);
    k->seconded = NULL;
}

/* Two calls to every member for one to this agent: a member that lies is not to have them made all
 * the time. Who means it has this agent's turn for the step. */
static bool may_look(struct keyring *k, uint64_t from, enum op op, const char *id)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t ahead_ms = k->looks_ms > now_ms ? k->looks_ms - now_ms : 0;
    bool holds = keyturn_holds(&k->turn, now_ms, from, (int)op, id);
    if (k->done != NULL || !holds || ahead_ms >= 10 * LOOK_MS)
        return false;
    k->looks_ms = now_ms + ahead_ms + LOOK_MS;
    return true;
}

static void on_second(struct keyring *k, uint64_t from, enum op op, const uint8_t *of,
                      struct gossip_request *call)
{
    char id[ID_LEN + 1] = "";
    memcpy(id, of, ID_LEN);
    if (!may_look(k, from, op, id)) {
        gossip_answer(call, ERR_BUSY, NULL, 0);
        return;
    }
    memcpy(k->id, id, sizeof k->id);
    k->seconded = call;
    k->is_second = true;
    begin(k, op, on_seconded, k);
}

int keyring_create(struct keyring **ret, struct agent *a)
{
    struct keyring *k = calloc(1, sizeof *k);
    if (k == NULL)
        return ERR_NOMEM;
    k->agent = a;
    keyfile_init(&k->file, &a->keys);
    *ret = k;
    return 0;
}

void keyring_destroy(struct keyring *k)
{
    if (k == NULL)
        return;
    free(k->targets);
    json_decref(k->away);
    k->away = NULL;
    k->targets = NULL;
    for (size_t i = 0; i < k->waiting_count; i++)
        gossip_answer(k->waiting[i].call, ERR_CLOSED, NULL, 0);
    explicit_bzero(k->waiting, sizeof k->waiting);
    k->orphan = true;
    if (!k->file.writing)
        free(k);
}
