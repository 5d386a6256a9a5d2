/* SPDX-License-Identifier: Apache-2.0
 * PutAttributes costs the account's "modify" bucket (5,000 agents at once: 125 s of it), so the
 * address is written only if ListAttributes shows another value, after a random delay. */
#include "agent/join_uv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/advertise.h"
#include "agent/base/log.h"
#include "agent/base/prng.h"
#include "agent/census.h"

#define ATTRIBUTE "blox.addr"
#define ALONE_FIRST_MS 1000
#define ALONE_MAX_MS 30000
#define ISLAND_MAX_MS 6000 /* only one agent looks */
#define SETTLED_MS 30000   /* members known: look at the clock this often */
#define LEADERLESS_MS 3000 /* an election is over by then */
#define LEADER_CENSUS_MS 600000
#define PUBLISH_JITTER_MS 2000
#define AGENTS_MAX 5000
#define ADDRESS_LEN (ADVERTISE_VALUE_MAX + 4)

struct join {
    struct join_options options;
    struct identity identity;
    char address[ADVERTISE_VALUE_MAX + 1]; /* own, as they are published */
    struct prng prng;
    uv_timer_t timer;
    uv_timer_t publish_timer;
    uint64_t backoff_ms;
    uint64_t last_census_ms;
    size_t turn; /* whose it is among the addresses of the next census */
    bool leading;
    bool led;          /* a leader is known */
    uint64_t unled_ms; /* since when none is */
    bool was_alone;    /* when the timer was set */
    bool listed;       /* ListAttributes answered at least once */
    bool published;    /* our address stands there */
    bool stopping;
    unsigned handles_open;
    struct aws_call *list_call;
    struct aws_call *put_call;
    char trouble[256];
    void (*done)(void *arg);
    void *done_arg;
};

static void arm(struct join *j);

static void maybe_stopped(struct join *j)
{
    if (!j->stopping || j->handles_open > 0 || j->list_call != NULL || j->put_call != NULL)
        return;
    void (*done)(void *) = j->done;
    void *arg = j->done_arg;
    free(j);
    if (done != NULL)
        done(arg);
}

static bool alone(const struct join *j)
{
    return gossip_alive_count(j->options.gossip) <= 1;
}

/* Agents that started together on one side of a partition know each other and nobody else, and
 * nobody knows them. One of them looks, so that a cluster without a leader does not ask ECS as
 * often as it has agents. */
static bool on_island(const struct join *j)
{
    struct gossip_node *g = j->options.gossip;
    const struct gossip_member *self = gossip_find(g, gossip_self(g));
    if (j->led || uv_now(j->options.loop) < j->unled_ms + LEADERLESS_MS)
        return false;
    for (size_t i = 0; i < gossip_count(g); i++) {
        const struct gossip_member *m = gossip_at(g, i);
        if (m->state <= MEMBER_DEGRADED && strcmp(m->id, self->id) < 0)
            return false;
    }
    return true;
}

static bool seeks(const struct join *j)
{
    return alone(j) || on_island(j);
}

static void join_text(struct join *j, char *text, const char *separators)
{
    const char *list[64];
    size_t count = 0;
    char *save = NULL;
    for (char *p = strtok_r(text, separators, &save); p != NULL && count < 64;
         p = strtok_r(NULL, separators, &save))
        list[count++] = p;
    if (count > 0)
        (void)gossip_join(j->options.gossip, list, count);
}

static void join_configured(struct join *j)
{
    char text[CONFIG_VALUE_MAX];
    snprintf(text, sizeof text, "%s", j->options.config->gossip_join);
    join_text(j, text, ", \t");
}

static void join_seeds_file(struct join *j)
{
    const char *path = j->options.config->gossip_seeds_file;
    char text[16384];
    if (path[0] == '\0')
        return;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        snprintf(j->trouble, sizeof j->trouble, "cannot read gossip.seeds_file %s: %s", path,
                 strerror(errno));
        return;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    join_text(j, text, " \t\r\n,");
}

static void on_put(void *arg, const struct aws_result *r)
{
    struct join *j = arg;
    j->put_call = NULL;
    if (r->err == 0) {
        j->published = true;
        LOG(LOG_INFO, "address_published", "peers find this agent by its instance's attribute",
            LS("attribute", ATTRIBUTE));
    } else if (r->err != ERR_CANCELED) {
        snprintf(j->trouble, sizeof j->trouble, "cannot publish attribute %s: %s %s", ATTRIBUTE,
                 r->code, r->message);
    }
    maybe_stopped(j);
}

static void publish(uv_timer_t *timer)
{
    struct join *j = timer->data;
    if (j->put_call != NULL || j->identity.instance_arn[0] == '\0')
        return;
    json_t *params = json_pack("{s:s, s:[{s:s, s:s, s:s, s:s}]}", "cluster", j->identity.cluster,
                               "attributes", "name", ATTRIBUTE, "value", j->address, "targetType",
                               "container-instance", "targetId", j->identity.instance_arn);
    if (params == NULL)
        return;
    struct aws_call_options options = {.priority = AWS_RESYNC};
    j->put_call = aws_call(j->options.aws, AWS_ECS, "PutAttributes", params, &options, on_put, j);
}

/* targetId is the full ARN in ECS's answers; older accounts may give the short form. */
static bool is_own(const struct join *j, const char *target)
{
    const char *mine = strrchr(j->identity.instance_arn, '/');
    const char *theirs = strrchr(target, '/');
    mine = mine == NULL ? j->identity.instance_arn : mine + 1;
    theirs = theirs == NULL ? target : theirs + 1;
    return mine[0] != '\0' && strcmp(mine, theirs) == 0;
}

/* Those that need not be asked. */
static void list_live(const struct join *j, struct map *live)
{
    char address[ADDR_TEXT];
    map_init(live);
    for (size_t i = 0; i < gossip_count(j->options.gossip); i++) {
        const struct gossip_member *m = gossip_at(j->options.gossip, i);
        for (uint8_t k = 0; m->state <= MEMBER_SUSPECT && k < m->addrs->count; k++)
            (void)map_put(live, addr_text(&m->addrs->at[k], address), live, NULL);
    }
}

static void ask(struct join *j, const char *const *listed, size_t count)
{
    const char *pick[CENSUS_ASKED_MAX];
    struct map live;
    list_live(j, &live);
    size_t n = census_pick(listed, count, &live, &j->turn, pick);
    if (n > 0)
        (void)gossip_join(j->options.gossip, pick, n);
    map_fini(&live);
}

static void use_attributes(struct join *j, const json_t *attributes)
{
    size_t total = json_array_size(attributes);
    size_t most = GOSSIP_ADDRS_MAX * (total < AGENTS_MAX ? total : AGENTS_MAX);
    char(*text)[ADDRESS_LEN] = calloc(most + 1, sizeof *text);
    const char **list = calloc(most + 1, sizeof *list);
    size_t count = 0, agents = 0;
    bool own_right = false;
    for (size_t i = 0; text != NULL && list != NULL && i < total && agents < AGENTS_MAX; i++) {
        const json_t *a = json_array_get(attributes, i);
        const char *value = json_str_or(a, "value", "");
        if (is_own(j, json_str_or(a, "targetId", ""))) {
            own_right = strcmp(value, j->address) == 0;
            continue;
        }
        size_t before = count;
        while (count < most && advertise_next(&value, text[count], ADDRESS_LEN)) {
            list[count] = text[count];
            count++;
        }
        agents += count > before;
    }
    if (list != NULL)
        ask(j, list, count);
    free(text);
    free(list);
    j->published = own_right;
    if (!own_right && j->identity.instance_arn[0] != '\0' &&
        !uv_is_active((uv_handle_t *)&j->publish_timer))
        uv_timer_start(&j->publish_timer, publish, prng_below(&j->prng, PUBLISH_JITTER_MS), 0);
    if (j->options.on_census != NULL)
        j->options.on_census(j->options.arg, (unsigned)(agents + 1));
}

static void on_list(void *arg, const struct aws_result *r)
{
    struct join *j = arg;
    j->list_call = NULL;
    if (j->stopping) {
        maybe_stopped(j);
        return;
    }
    if (r->err == 0) {
        j->listed = true;
        j->trouble[0] = '\0';
        use_attributes(j, json_arr(r->body, "attributes"));
    } else if (r->err != ERR_CANCELED) {
        snprintf(j->trouble, sizeof j->trouble, "cannot list peers in ECS: %s %s",
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
    }
    arm(j);
}

static void list_attributes(struct join *j)
{
    if (j->list_call != NULL || !j->options.config->gossip_join_ecs)
        return;
    json_t *params = json_pack("{s:s, s:s, s:s}", "cluster", j->identity.cluster, "targetType",
                               "container-instance", "attributeName", ATTRIBUTE);
    if (params == NULL)
        return;
    struct aws_call_options options = {.priority = AWS_RESYNC};
    j->list_call = aws_list(j->options.aws, AWS_ECS, "ListAttributes", "attributes", params,
                            &options, on_list, j);
}

/* An agent outside of the cluster's instances has nothing to publish its address on. */
static bool lacks_address(const struct join *j)
{
    return !j->published && j->identity.instance_arn[0] != '\0';
}

static bool census_due(const struct join *j, uint64_t now)
{
    if (seeks(j) || !j->listed || lacks_address(j))
        return true;
    return j->leading && now - j->last_census_ms >= LEADER_CENSUS_MS;
}

static void on_timer(uv_timer_t *timer)
{
    struct join *j = timer->data;
    uint64_t now = uv_now(j->options.loop);
    if (seeks(j)) {
        join_configured(j);
        join_seeds_file(j);
    }
    if (census_due(j, now)) {
        j->last_census_ms = now;
        list_attributes(j);
    }
    arm(j);
}

static void arm(struct join *j)
{
    bool waiting = seeks(j) || (j->options.config->gossip_join_ecs && lacks_address(j));
    /* Without a leader since the start, too, this may turn out to be an island. */
    uint64_t delay = j->led ? SETTLED_MS : LEADERLESS_MS;
    if (waiting) {
        delay = j->backoff_ms + prng_below(&j->prng, j->backoff_ms / 2 + 1);
        uint64_t most_ms = alone(j) ? ALONE_MAX_MS : ISLAND_MAX_MS;
        j->backoff_ms = j->backoff_ms * 2 > most_ms ? most_ms : j->backoff_ms * 2;
    } else {
        j->backoff_ms = ALONE_FIRST_MS;
    }
    j->was_alone = alone(j);
    uv_timer_start(&j->timer, on_timer, delay, 0);
}

int join_start(struct join **ret, const struct join_options *options)
{
    struct join *j = calloc(1, sizeof *j);
    if (j == NULL)
        return ERR_NOMEM;
    j->options = *options;
    j->options.address = NULL; /* the caller's; ours is a copy */
    advertise_value(options->address, j->address);
    j->backoff_ms = ALONE_FIRST_MS;
    j->unled_ms = uv_now(options->loop);
    prng_seed(&j->prng, options->seed);
    uv_timer_init(options->loop, &j->timer);
    uv_timer_init(options->loop, &j->publish_timer);
    j->timer.data = j;
    j->publish_timer.data = j;
    j->handles_open = 2;
    uv_timer_start(&j->timer, on_timer, 0, 0);
    *ret = j;
    return 0;
}

void join_identity(struct join *j, const struct identity *i)
{
    j->identity = *i;
}

void join_led(struct join *j, bool known)
{
    if (j->led == known || j->stopping)
        return;
    j->led = known;
    j->unled_ms = uv_now(j->options.loop);
    if (!known)
        uv_timer_start(&j->timer, on_timer, LEADERLESS_MS, 0);
}

void join_met(struct join *j)
{
    if (!j->was_alone || j->stopping || alone(j))
        return;
    j->was_alone = false;
    j->backoff_ms = ALONE_FIRST_MS;
    if (uv_timer_get_due_in(&j->timer) > LEADERLESS_MS)
        uv_timer_start(&j->timer, on_timer, LEADERLESS_MS, 0);
}

void join_lead(struct join *j, bool leading)
{
    j->leading = leading;
}

const char *join_trouble(const struct join *j)
{
    const char *from_gossip = gossip_join_trouble(j->options.gossip);
    return from_gossip[0] != '\0' ? from_gossip : j->trouble;
}

static void on_closed(uv_handle_t *handle)
{
    struct join *j = handle->data;
    j->handles_open--;
    maybe_stopped(j);
}

void join_stop(struct join *j, void (*done)(void *arg), void *arg)
{
    j->stopping = true;
    j->done = done;
    j->done_arg = arg;
    uv_close((uv_handle_t *)&j->timer, on_closed);
    uv_close((uv_handle_t *)&j->publish_timer, on_closed);
    if (j->list_call != NULL)
        aws_cancel(j->list_call);
    if (j->put_call != NULL)
        aws_cancel(j->put_call);
}
