/* SPDX-License-Identifier: Apache-2.0
 * PutAttributes costs the account's "modify" bucket (5,000 agents at once: 125 s of it), so the
 * address is written only if ListAttributes shows another value, after a random delay. */
#include "agent/join_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/advertise.h"
#include "agent/base/log.h"
#include "agent/base/prng.h"
#include "agent/census.h"
#include "gossip/boot.h"

#define ATTRIBUTE "blox.addr"
#define ALONE_FIRST_MS 1000
#define ALONE_MAX_MS 30000
#define ISLAND_MAX_MS 6000 /* only one agent looks */
#define SETTLED_MS 30000   /* members known: look at the clock this often */
#define LEADERLESS_MS 3000 /* an election is over by then */
#define LEADER_CENSUS_MS 600000
#define PUBLISH_JITTER_MS 1000
#define PUT_TIMEOUT_MS 4000
#define PUT_AGAIN_MS 2000
#define AGENTS_MAX 5000
#define RECOUNT_MS 1000
#define OUTSIDE_MS 30000 /* an ECS agent registers sooner */

struct join {
    struct join_options options;
    struct identity identity;
    char address[ADVERTISE_VALUE_MAX + 1]; /* own, as they are to be published */
    struct prng prng;
    uv_timer_t timer;
    uv_timer_t publish_timer;
    uint64_t born_ms;
    uint64_t backoff_ms;
    uint64_t last_census_ms;
    size_t turn; /* whose it is among the addresses of the next census */
    bool leading;
    bool led;             /* a leader is known */
    uint64_t unled_ms;    /* since when none is */
    bool was_alone;       /* when the timer was set */
    bool listed;          /* ListAttributes answered at least once */
    bool published;       /* our address stands there */
    uint64_t put_ms;      /* when it was written last, 0: never */
    unsigned put_fails;   /* in a row */
    uint64_t asked_ms;    /* when the list was asked for */
    struct census census; /* the last list, while no leader is known */
    bool counts;          /* nobody who may form a cluster without this agent is not in it */
    struct anchor anchor;
    uint32_t missing; /* of it, as counted then */
    uint64_t counted_ms;
    bool stopping;
    unsigned handles_open;
    struct aws_call *list_call;
    struct aws_call *put_call;
    char trouble[256];
    char seeds_trouble[256]; /* of the last look at gossip.seeds_file */
    void (*done)(void *arg);
    void *done_arg;
};

static void arm(struct join *j);

static void drop_census(struct join *j)
{
    census_drop(&j->census);
    j->counts = false;
}

static void maybe_stopped(struct join *j)
{
    if (!j->stopping || j->handles_open > 0 || j->list_call != NULL || j->put_call != NULL)
        return;
    void (*done)(void *) = j->done;
    void *arg = j->done_arg;
    drop_census(j);
    free(j);
    if (done != NULL)
        done(arg);
}

static bool alone(const struct join *j)
{
    return gossip_alive_count(j->options.gossip) <= 1;
}

static const struct gossip_member *self_of(const struct join *j)
{
    return gossip_find(j->options.gossip, gossip_self(j->options.gossip));
}

static bool is_lowest(const struct join *j, bool of_candidates)
{
    const struct gossip_member *self = self_of(j);
    for (size_t i = 0; i < gossip_count(j->options.gossip); i++) {
        const struct gossip_member *m = gossip_at(j->options.gossip, i);
        if (m->state <= MEMBER_DEGRADED && strcmp(m->id, self->id) < 0 &&
            (m->meta->role == 0 || !of_candidates))
            return false;
    }
    return true;
}

/* Agents that started together on one side of a partition know each other and nobody else, and
 * nobody knows them. One of them looks, so that a cluster without a leader does not ask ECS as
 * often as it has agents. */
static bool on_island(const struct join *j)
{
    return !j->led && uv_now(j->options.loop) >= j->unled_ms + LEADERLESS_MS && is_lowest(j, false);
}

static uint64_t lag_ms(const struct join *j)
{
    uint64_t ms = j->options.config->raft_bootstrap_wait_ms;
    return ms > 0 ? ms : 5000;
}

/* On no container instance, so that its address cannot stand in ECS. On EC2 the ECS agent may start
 * and register after this one, and is waited for. */
static bool is_outside(const struct join *j)
{
    bool asked = j->options.config->ecs_agent_endpoint[0] != '\0';
    bool on_ec2 = strncmp(j->identity.id, "i-", 2) == 0;
    bool late = uv_now(j->options.loop) >= j->born_ms + OUTSIDE_MS;
    return j->identity.instance_arn[0] == '\0' && (!asked || !on_ec2 || late);
}

/* A list that was asked for from then on counts; UINT64_MAX: none yet, or nobody needs it. */
static uint64_t counts_from_ms(const struct join *j)
{
    bool proposes = !j->led && self_of(j)->meta->role == 0 && is_lowest(j, true);
    return proposes ? anchor_counts_ms(&j->anchor, lag_ms(j)) : UINT64_MAX;
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
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    j->seeds_trouble[0] = '\0';
    if (n < 0)
        snprintf(j->seeds_trouble, sizeof j->seeds_trouble,
                 "cannot read gossip.seeds_file %.180s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    join_text(j, text, " \t\r\n,");
}

static void publish(uv_timer_t *timer);

static void on_put(void *arg, const struct aws_result *r)
{
    struct join *j = arg;
    j->put_call = NULL;
    if (r->err == 0) {
        j->published = true;
        j->put_fails = 0;
        j->put_ms = uv_now(j->options.loop);
        anchor_written(&j->anchor, j->put_ms);
        LOG(LOG_INFO, "address_published", "peers find this agent by its instance's attribute",
            LS("attribute", ATTRIBUTE));
    } else if (r->err != ERR_CANCELED) {
        snprintf(j->trouble, sizeof j->trouble, "cannot publish attribute %s: %s %s", ATTRIBUTE,
                 r->code, r->message);
        /* Others may find nobody else of this cluster there. */
        uint64_t again_ms = (uint64_t)PUT_AGAIN_MS << (j->put_fails < 5 ? j->put_fails : 5);
        j->put_fails++;
        if (!j->stopping)
            uv_timer_start(&j->publish_timer, publish, again_ms + prng_below(&j->prng, again_ms),
                           0);
    }
    if (!j->stopping && j->list_call == NULL)
        arm(j);
    maybe_stopped(j);
}

/* Own addresses may be a guess that others correct, and a host may be given another one. True: they
 * are others than before. */
static bool learn_address(struct join *j)
{
    char all[GOSSIP_ADDRS_MAX * (ADDR_TEXT + 1)] = "", one[ADDR_TEXT];
    char address[ADVERTISE_VALUE_MAX + 1];
    const struct gossip_addrs *own = self_of(j)->addrs;
    size_t len = 0;
    if (j->put_call != NULL)
        return false; /* what it writes is remembered; the next look writes again */
    for (uint8_t i = 0; i < own->count; i++)
        len += (size_t)snprintf(all + len, sizeof all - len, "%s ", addr_text(&own->at[i], one));
    advertise_value(all, address);
    if (strcmp(address, j->address) == 0)
        return false;
    snprintf(j->address, sizeof j->address, "%s", address);
    j->published = false;
    j->put_ms = 0;
    return true;
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
    struct aws_call_options options = {.priority = AWS_RESYNC, .timeout_ms = PUT_TIMEOUT_MS};
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

static void ask(struct join *j, const struct map *live)
{
    const char *pick[CENSUS_ASKED_MAX];
    size_t n = census_pick(&j->census, live, &j->turn, pick);
    if (n > 0)
        (void)gossip_join(j->options.gossip, pick, n);
}

static void use_attributes(struct join *j, const json_t *attributes)
{
    size_t total = json_array_size(attributes);
    bool own_right = false;
    struct map live;
    j->counts = false;
    if (census_begin(&j->census, GOSSIP_ADDRS_MAX * (total < AGENTS_MAX ? total : AGENTS_MAX)) != 0)
        return;
    for (size_t i = 0; i < total && j->census.agents < AGENTS_MAX; i++) {
        const json_t *a = json_array_get(attributes, i);
        const char *value = json_str_or(a, "value", "");
        if (is_own(j, json_str_or(a, "targetId", "")))
            own_right = strcmp(value, j->address) == 0;
        else
            census_add(&j->census, value);
    }
    list_live(j, &live);
    anchor_look(&j->anchor, &j->census, &live, own_right || is_outside(j), j->asked_ms, lag_ms(j),
                uv_now(j->options.loop));
    j->counts = j->asked_ms >= counts_from_ms(j);
    j->counted_ms = 0;
    ask(j, &live);
    map_fini(&live);
    /* ECS's lists lag: what was just written need not be written again. */
    j->published = own_right || (j->put_ms != 0 && j->asked_ms < j->put_ms + lag_ms(j));
    if (!j->published && j->identity.instance_arn[0] != '\0' &&
        !uv_is_active((uv_handle_t *)&j->publish_timer))
        uv_timer_start(&j->publish_timer, publish, prng_below(&j->prng, PUBLISH_JITTER_MS), 0);
    if (j->led)
        drop_census(j);
}

uint32_t join_missing(struct join *j)
{
    uint64_t now = uv_now(j->options.loop);
    struct map live;
    if (!j->counts)
        return BOOT_UNCOUNTED;
    if (j->counted_ms == 0 || now >= j->counted_ms + RECOUNT_MS) {
        list_live(j, &live);
        j->missing = census_missing(&j->census, &live);
        map_fini(&live);
        j->counted_ms = now > 0 ? now : 1;
    }
    return j->missing;
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
    j->asked_ms = uv_now(j->options.loop);
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
    if (seeks(j) || !j->listed || lacks_address(j) || now >= counts_from_ms(j))
        return true;
    return j->leading && now - j->last_census_ms >= LEADER_CENSUS_MS;
}

static void on_timer(uv_timer_t *timer)
{
    struct join *j = timer->data;
    uint64_t now = uv_now(j->options.loop);
    (void)learn_address(j);
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
        /* Who still waits for an answer has not been refused once more. */
        bool still_asking = j->list_call != NULL && j->asked_ms < uv_now(j->options.loop);
        if (!still_asking)
            j->backoff_ms = j->backoff_ms * 2 > most_ms ? most_ms : j->backoff_ms * 2;
    } else {
        j->backoff_ms = ALONE_FIRST_MS;
    }
    j->was_alone = alone(j);
    uint64_t now = uv_now(j->options.loop), from = counts_from_ms(j);
    if (j->list_call == NULL && j->asked_ms < from && from != UINT64_MAX && now + delay > from)
        delay = from > now ? from - now : 0;
    uv_timer_start(&j->timer, on_timer, delay, 0);
}

int join_start(struct join **ret, const struct join_options *options)
{
    struct join *j = calloc(1, sizeof *j);
    if (j == NULL)
        return ERR_NOMEM;
    j->options = *options;
    j->backoff_ms = ALONE_FIRST_MS;
    j->born_ms = j->unled_ms = uv_now(options->loop);
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

/* The ECS agent may register its instance after this agent is of a cluster, and looks at ECS no
 * more: until its address stands there a newcomer may not find that cluster. */
void join_identity(struct join *j, const struct identity *i)
{
    bool registered = strcmp(j->identity.instance_arn, i->instance_arn) != 0;
    j->identity = *i;
    if (!registered || !j->listed || j->stopping)
        return;
    j->published = false;
    j->put_ms = 0;
    uv_timer_start(&j->publish_timer, publish, prng_below(&j->prng, PUBLISH_JITTER_MS), 0);
}

void join_led(struct join *j, bool known)
{
    if (j->led == known || j->stopping)
        return;
    j->led = known;
    j->unled_ms = uv_now(j->options.loop);
    if (known)
        drop_census(j);
    if (!known)
        uv_timer_start(&j->timer, on_timer, LEADERLESS_MS, 0);
}

void join_met(struct join *j)
{
    j->counted_ms = 0; /* one that died is missing from now on */
    if (!j->was_alone || j->stopping || alone(j))
        return;
    j->was_alone = false;
    j->backoff_ms = ALONE_FIRST_MS;
    if (uv_timer_get_due_in(&j->timer) > LEADERLESS_MS)
        uv_timer_start(&j->timer, on_timer, LEADERLESS_MS, 0);
}

void join_readdressed(struct join *j)
{
    if (!j->listed || j->stopping)
        return; /* the first list is compared with them */
    if (learn_address(j))
        uv_timer_start(&j->publish_timer, publish, prng_below(&j->prng, PUBLISH_JITTER_MS), 0);
}

void join_lead(struct join *j, bool leading)
{
    j->leading = leading;
}

const char *join_seeds_trouble(const struct join *j)
{
    return j->seeds_trouble;
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
