/* SPDX-License-Identifier: Apache-2.0
 * A user's write on its way to the leader, which another agent is; what stands around
 * agent/commands.c is ours. */
#include <criterion/criterion.h>
#include <string.h>
#include <uv.h>

#include "agent/agent_int.h"
#include "agent/evidence.h"

static struct agent agent;
static uv_loop_t loop;
static struct gossip_member leader = {.num = 7, .id = "i-07"};
static gossip_answer_fn forwarded;
static void *forwarded_arg;
static unsigned calls, answers;
static uint8_t called; /* the method */
static int answer_err;
static char answer_detail[300];

/* ---- what it stands on ------------------------------------------------------------------ */

int gossip_call(struct gossip_node *n, uint64_t to, uint8_t method, const void *data, size_t len,
                uint64_t timeout_ms, gossip_answer_fn done, void *arg)
{
    (void)n, (void)to, (void)data, (void)len, (void)timeout_ms;
    forwarded = done;
    forwarded_arg = arg;
    called = method;
    calls++;
    return 0;
}

void gossip_call_end(struct gossip_node *n, const void *arg)
{
    (void)n;
    cr_assert_eq(arg, forwarded_arg);
    forwarded(forwarded_arg, ERR_TIMEOUT, NULL, 0);
}

const struct gossip_member *gossip_find(const struct gossip_node *n, uint64_t num)
{
    (void)n;
    return num == leader.num ? &leader : NULL;
}

uint64_t gossip_self(const struct gossip_node *n)
{
    (void)n;
    return 1;
}

static bool in_conflict;

bool raft_uv_in_conflict(const struct raft_uv *r, char *out, size_t size)
{
    (void)r;
    if (in_conflict)
        snprintf(out, size, "two clusters");
    return in_conflict;
}

bool raft_uv_is_leader(const struct raft_uv *r)
{
    (void)r;
    return false;
}

void api_write_done(struct api_write *w, int err, const char *detail, const char *field,
                    const json_t *body, const char *forwarded_to)
{
    (void)w, (void)field, (void)body, (void)forwarded_to;
    answers++;
    answer_err = err;
    snprintf(answer_detail, sizeof answer_detail, "%s", detail == NULL ? "" : detail);
}

void agent_busy(struct agent *a)
{
    (void)a;
}

int intent_check(const json_t *command, struct intent_result *ret)
{
    (void)command, (void)ret;
    return 0;
}

bool intents_is_local(const json_t *command)
{
    (void)command;
    return false;
}

/* Not on this way. */

void api_read_done(struct api_write *w, const void *data, size_t len, const char *forwarded_to)
{
    (void)w, (void)data, (void)len, (void)forwarded_to;
    cr_assert_fail();
}

void daemons_command(struct daemons *d, const json_t *command, daemons_done_fn done, void *arg)
{
    (void)d, (void)command, (void)done, (void)arg;
    cr_assert_fail();
}

void gossip_answer(struct gossip_request *call, int err, const void *data, size_t len)
{
    (void)call, (void)err, (void)data, (void)len;
    cr_assert_fail();
}

void intake_refresh_task(struct intake *in, const char *cluster, const char *arn)
{
    (void)in, (void)cluster, (void)arn;
    cr_assert_fail();
}

void intents_local(struct agent *a, const json_t *command, daemons_done_fn done, void *arg)
{
    (void)a, (void)command, (void)done, (void)arg;
    cr_assert_fail();
}

bool intents_run(struct agent *a, const json_t *command, daemons_done_fn done, void *arg)
{
    (void)a, (void)command, (void)done, (void)arg;
    cr_assert_fail();
    return false;
}

void keyring_on_call(struct keyring *k, uint64_t from, const uint8_t *data, size_t len,
                     struct gossip_request *call)
{
    (void)from;
    (void)k, (void)data, (void)len, (void)call;
    cr_assert_fail();
}

void evidence_run(struct agent *a, const json_t *command, evidence_done_fn done, void *arg)
{
    (void)a, (void)command, (void)done, (void)arg;
    cr_assert_fail();
}

void evidence_on_call(struct agent *a, const uint8_t *data, size_t len, struct gossip_request *call)
{
    (void)a, (void)data, (void)len, (void)call;
    cr_assert_fail();
}

void keyring_run(struct keyring *k, const json_t *command, daemons_done_fn done, void *arg)
{
    (void)k, (void)command, (void)done, (void)arg;
    cr_assert_fail();
}

void propagate_run(struct propagate *p, const json_t *command, daemons_done_fn done, void *arg)
{
    (void)p, (void)command, (void)done, (void)arg;
    cr_assert_fail();
}

void reads_run(struct command *c)
{
    (void)c;
    cr_assert_fail();
}

/* ---- the tests -------------------------------------------------------------------------- */

static void on_write(uv_async_t *async)
{
    (void)async;
}

static void submit_json(json_t *command)
{
    static struct api_write write;
    calls = answers = 0;
    uv_loop_init(&loop);
    uv_async_init(&loop, &agent.write_async, on_write);
    agent.loop = &loop;
    agent.leader = leader.num;
    agent.raft = (struct raft_uv *)(void *)&agent; /* there is one, and a scheduler */
    agent.daemons = (struct daemons *)(void *)&agent;
    pthread_mutex_init(&agent.writes_lock, NULL);
    list_init(&agent.writes);
    list_init(&agent.commands);
    write.command = command;
    commands_submit(&agent, &write);
    commands_take(&agent);
    json_decref(write.command);
    cr_assert_eq(calls, answers == 0);
}

static void submit(const char *op)
{
    submit_json(json_pack("{s:s,s:s}", "op", op, "name", "web"));
}

static void answer(int err, const char *json)
{
    forwarded(forwarded_arg, err, (const uint8_t *)json, json == NULL ? 0 : strlen(json));
}

static void end(void)
{
    cr_assert_eq(answers, 1);
    cr_assert_eq(agent.command_count, 0);
    uv_close((uv_handle_t *)&agent.write_async, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

static const int refusals[] = {ERR_EXISTS, ERR_NOTFOUND, ERR_UPSTREAM, ERR_BUSY};

static const char *refusal(int err)
{
    static char text[80];
    snprintf(text, sizeof text, "{\"err\":%d,\"detail\":\"no\",\"field\":\"name\"}", err);
    return text;
}

Test(commands, a_refusal_is_told_as_it_is)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        submit("environment.create");
        answer(ERR_NOTLEADER, NULL); /* so that nothing was done there */
        commands_retry(&agent);
        cr_assert_eq(calls, 2);
        answer(0, refusal(refusals[i]));
        cr_assert_eq(answer_err, refusals[i]);
        cr_assert_str_eq(answer_detail, "no");
        end();
    }
}

/* The first attempt may still be on its way to a leader, and be done there. */
Test(commands, a_refusal_after_a_lost_answer_is_no_answer)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        submit("environment.create");
        answer(i % 2 == 0 ? ERR_TIMEOUT : ERR_CLOSED, NULL);
        commands_retry(&agent);
        cr_assert_eq(calls, 2);
        answer(0, refusal(refusals[i]));
        cr_assert_eq(answer_err, ERR_TIMEOUT);
        cr_assert(strstr(answer_detail, "the same idempotency key") != NULL);
        end();
    }
}

Test(commands, what_was_done_by_the_second_attempt_is_done)
{
    submit("environment.create");
    answer(ERR_TIMEOUT, NULL);
    commands_retry(&agent);
    answer(0, "{\"err\":0,\"body\":{\"name\":\"web\"}}");
    cr_assert_eq(answer_err, 0);
    end();
}

/* It may be paused; what it answered already comes within a moment. */
Test(commands, who_does_not_lead_any_more_is_not_waited_for)
{
    submit("environment.create");
    agent.leader = leader.num + 1;
    commands_retry(&agent);
    cr_assert_eq(calls, 1);
    for (size_t i = 0; i < 9; i++)
        commands_retry(&agent);
    cr_assert_eq(calls, 2);
    answer(0, "{\"err\":0,\"body\":{\"name\":\"web\"}}");
    cr_assert_eq(answer_err, 0);
    end();
}

Test(commands, a_read_is_never_in_doubt)
{
    submit("intent.read");
    answer(ERR_TIMEOUT, NULL);
    commands_retry(&agent);
    answer(0, refusal(ERR_NOTFOUND));
    cr_assert_eq(answer_err, ERR_NOTFOUND);
    end();
}

/* The reason of the last attempt is told when the time is up. */
Test(commands, a_strong_read_is_asked_of_a_leader_that_knows_what_it_is)
{
    static const struct {
        int err, told;
        const char *says;
    } cases[] = {{ERR_NOTREADY, ERR_NOTREADY, "compared"},
                 {ERR_NOTLEADER, ERR_NOLEADER, "majority"}};
    for (size_t i = 0; i < 2; i++) {
        submit_json(
            json_pack("{s:s,s:s,s:b}", "op", "rows.read", "target", "/v2/tasks", "strong", 1));
        cr_assert_eq(called, CALL_STRONG);
        answer(cases[i].err, NULL);
        cr_assert_eq(answers, 0);
        loop.time += 60000;
        commands_retry(&agent);
        cr_assert_eq(answer_err, cases[i].told);
        cr_assert_not_null(strstr(answer_detail, cases[i].says), "%s", answer_detail);
        end();
    }
    submit_json(json_pack("{s:s,s:s}", "op", "rows.read", "target", "/v2/tasks"));
    cr_assert_eq(called, CALL_READ);
    loop.time += 60000;
    answer(ERR_NOTLEADER, NULL);
    commands_retry(&agent);
    end();
}

/* What one of the two acknowledges may be lost. It is read: that is how it is kept elsewhere. */
Test(commands, one_of_two_clusters_takes_no_write)
{
    in_conflict = true;
    submit("environment.put");
    cr_assert_eq(answer_err, ERR_CONFLICT);
    cr_assert_str_eq(answer_detail, "two clusters");
    end();
    submit("intent.read");
    cr_assert_eq(answers, 0);
    answer(0, "{\"err\":0}");
    cr_assert_eq(answer_err, 0);
    end();
}
