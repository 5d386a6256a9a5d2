/* SPDX-License-Identifier: Apache-2.0
 * The ECS agent's /v1/metadata gives cluster and container instance (null until it has
 * registered), IMDSv2 the instance id, zone and address. Both are asked in rounds until the
 * agent can start, then slowly until the rest is known. What was found is kept as a fact, so
 * that a restart does not wait for either. */
#include "agent/identity_uv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/advertise.h"
#include "agent/base/json.h"
#include "agent/base/log.h"

#define FACT "identity"
#define ROUND_MS 1000
/* A container instance registers within a minute or two of its boot, or there is none. */
#define SOON_ROUND_MS 2000
#define SOON_ROUNDS 150
#define SLOW_ROUND_MS 10000
/* Instance metadata is there from the boot on, or never. */
#define METADATA_ROUNDS 10
#define METADATA_EVERY 30 /* rounds, then */
#define HTTP_TIMEOUT_MS 1000
/* Rounds without metadata before the host name stands in for the instance id. */
#define ROUNDS_FOR_ID 2

struct identity_search {
    struct identity_options options;
    struct identity found;
    uv_timer_t timer;
    unsigned rounds;
    unsigned pending; /* answers of this round still to come */
    bool known;
    bool agent_answered;
    bool stopping;
    char saved[1024]; /* the fact as it was written last */
    char trouble[256];
    void (*done)(void *arg);
    void *done_arg;
};

static void start_round(struct identity_search *s);

const char *identity_cluster_name(const struct identity *i)
{
    const char *slash = strrchr(i->cluster, '/');
    return slash == NULL ? i->cluster : slash + 1;
}

static void copy(char *out, size_t size, const char *text, size_t len)
{
    if (len >= size)
        return;
    memcpy(out, text, len);
    out[len] = '\0';
}

static void save(struct identity_search *s)
{
    struct buf b;
    json_t *j = json_object();
    json_set_str(j, "id", s->found.id);
    json_set_str(j, "cluster", s->found.cluster);
    json_set_str(j, "instance_arn", s->found.instance_arn);
    json_set_str(j, "zone", s->found.zone);
    json_set_str(j, "address", s->found.address);
    json_set_str(j, "address6", s->found.address6);
    json_set_str(j, "lifecycle", s->found.lifecycle);
    buf_init(&b, sizeof s->saved - 1);
    if (json_write(j, &b) == 0 &&
        (strlen(s->saved) != b.len || memcmp(s->saved, b.data, b.len) != 0)) {
        if (store_fact_put(s->options.store, FACT, b.data, b.len, NULL, NULL) != 0)
            LOG_MSG(LOG_WARN, "identity_not_saved", "the next start will ask again");
        else
            copy(s->saved, sizeof s->saved, b.data, b.len);
    }
    buf_fini(&b);
    json_decref(j);
}

/* The fact of an earlier start fills what the configuration leaves open. A data directory that was
 * copied to another instance (an AMI) is noticed when metadata answers. */
static void load(struct identity_search *s)
{
    char text[4096];
    size_t len = 0;
    if (store_fact_get(s->options.store, FACT, text, sizeof text, &len) != 0)
        return;
    json_t *j = json_parse(text, len, NULL);
    const char *id = json_str_or(j, "id", "");
    const char *cluster = json_str_or(j, "cluster", "");
    if (s->found.id[0] == '\0')
        copy(s->found.id, sizeof s->found.id, id, strlen(id));
    if (s->found.cluster[0] == '\0')
        copy(s->found.cluster, sizeof s->found.cluster, cluster, strlen(cluster));
    const char *zone = json_str_or(j, "zone", "");
    if (s->found.zone[0] == '\0')
        copy(s->found.zone, sizeof s->found.zone, zone, strlen(zone));
    const char *address = json_str_or(j, "address", "");
    copy(s->found.address, sizeof s->found.address, address, strlen(address));
    const char *address6 = json_str_or(j, "address6", "");
    copy(s->found.address6, sizeof s->found.address6, address6, strlen(address6));
    const char *arn = json_str_or(j, "instance_arn", "");
    copy(s->found.instance_arn, sizeof s->found.instance_arn, arn, strlen(arn));
    const char *lifecycle = json_str_or(j, "lifecycle", "");
    copy(s->found.lifecycle, sizeof s->found.lifecycle, lifecycle, strlen(lifecycle));
    copy(s->saved, sizeof s->saved, text, len);
    json_decref(j);
}

static void use_host_name(struct identity_search *s)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        return;
    name[sizeof s->found.id - 1] = '\0';
    copy(s->found.id, sizeof s->found.id, name, strlen(name));
    LOG(LOG_WARN, "identity_host_name", "no instance metadata: the host name is this agent's id",
        LS("id", s->found.id));
}

static void on_timer(uv_timer_t *timer)
{
    start_round(timer->data);
}

static void on_closed(uv_handle_t *handle)
{
    struct identity_search *s = handle->data;
    void (*done)(void *) = s->done;
    void *arg = s->done_arg;
    free(s);
    if (done != NULL)
        done(arg);
}

static void explain(struct identity_search *s)
{
    s->trouble[0] = '\0';
    if (s->found.cluster[0] == '\0')
        snprintf(s->trouble, sizeof s->trouble,
                 "which ECS cluster? The ECS agent at %s %s; set agent.cluster or start it",
                 s->options.config->ecs_agent_endpoint,
                 s->agent_answered ? "has not joined one yet" : "does not answer");
    else if (s->found.id[0] == '\0')
        snprintf(s->trouble, sizeof s->trouble,
                 "waiting for the instance id from instance metadata; or set agent.id");
}

static void end_round(struct identity_search *s)
{
    if (s->stopping) {
        /* done must not run inside an answer of the client that it may destroy. */
        uv_close((uv_handle_t *)&s->timer, on_closed);
        return;
    }
    s->rounds++;
    if (s->found.id[0] == '\0' && s->rounds >= ROUNDS_FOR_ID)
        use_host_name(s);
    explain(s);
    bool now_known = s->found.id[0] != '\0' && s->found.cluster[0] != '\0';
    bool complete = now_known && s->found.instance_arn[0] != '\0' && s->found.zone[0] != '\0';
    uint64_t later_ms = s->rounds < SOON_ROUNDS ? SOON_ROUND_MS : SLOW_ROUND_MS;
    if (s->options.config->ecs_agent_endpoint[0] == '\0' && s->rounds >= METADATA_ROUNDS)
        later_ms = (uint64_t)METADATA_EVERY * SLOW_ROUND_MS; /* there is nobody else to ask */
    uv_timer_start(&s->timer, on_timer, now_known ? later_ms : ROUND_MS, 0);
    if (complete && s->known)
        uv_timer_stop(&s->timer);
    if (now_known) {
        save(s);
        bool first = !s->known;
        s->known = true;
        if (first)
            s->options.on_known(s->options.arg, &s->found);
        else
            s->options.on_more(s->options.arg, &s->found);
    }
}

static void answer_came(struct identity_search *s)
{
    s->pending--;
    if (s->pending == 0)
        end_round(s);
}

static void on_ecs_agent(void *arg, int err, int status, const char *body, size_t len)
{
    struct identity_search *s = arg;
    if (err == 0 && status == 200) {
        json_t *j = json_parse_lenient(body, len, NULL);
        const char *cluster = json_str_or(j, "Cluster", "");
        const char *arn = json_str_or(j, "ContainerInstanceArn", "");
        s->agent_answered = true;
        /* Before what an earlier life of the data directory knew: the instance may have moved. */
        bool configured = s->options.config->cluster[0] != '\0';
        if (cluster[0] != '\0' && (s->found.cluster[0] == '\0' || (!configured && !s->known)))
            copy(s->found.cluster, sizeof s->found.cluster, cluster, strlen(cluster));
        if (arn[0] != '\0')
            copy(s->found.instance_arn, sizeof s->found.instance_arn, arn, strlen(arn));
        json_decref(j);
    }
    answer_came(s);
}

static void take(char *out, size_t size, int err, int status, const char *body, size_t len)
{
    while (len > 0 && (body[len - 1] == '\n' || body[len - 1] == ' '))
        len--;
    if (err == 0 && status == 200 && len > 0)
        copy(out, size, body, len);
}

static void on_instance_id(void *arg, int err, int status, const char *body, size_t len)
{
    struct identity_search *s = arg;
    char id[AGENT_ID_MAX] = "";
    take(id, sizeof id, err, status, body, len);
    bool configured = s->options.config->id[0] != '\0';
    if (id[0] != '\0' && !configured && s->known && strcmp(s->found.id, id) != 0)
        LOG(LOG_ERROR, "identity_wrong",
            "this agent runs under the id of another instance, from which its data directory was "
            "copied: restart bloxd",
            LS("runs_as", s->found.id), LS("is", id));
    if (id[0] != '\0' && !configured && !s->known) {
        if (s->found.id[0] != '\0' && strcmp(s->found.id, id) != 0) {
            LOG(LOG_WARN, "identity_moved", "this data directory belonged to another instance",
                LS("was", s->found.id), LS("is", id));
            s->found.instance_arn[0] = '\0';
        }
        snprintf(s->found.id, sizeof s->found.id, "%s", id);
    }
    answer_came(s);
}

static void on_zone(void *arg, int err, int status, const char *body, size_t len)
{
    struct identity_search *s = arg;
    if (s->options.config->zone[0] == '\0')
        take(s->found.zone, sizeof s->found.zone, err, status, body, len);
    answer_came(s);
}

static void on_address(void *arg, int err, int status, const char *body, size_t len)
{
    struct identity_search *s = arg;
    take(s->found.address, sizeof s->found.address, err, status, body, len);
    answer_came(s);
}

static void on_address6(void *arg, int err, int status, const char *body, size_t len)
{
    struct identity_search *s = arg;
    take(s->found.address6, sizeof s->found.address6, err, status, body, len);
    answer_came(s);
}

static void on_lifecycle(void *arg, int err, int status, const char *body, size_t len)
{
    struct identity_search *s = arg;
    take(s->found.lifecycle, sizeof s->found.lifecycle, err, status, body, len);
    answer_came(s);
}

static void ask(struct identity_search *s, const char *path, aws_http_fn fn)
{
    s->pending++;
    if (aws_imds_get(s->options.aws, path, fn, s) != 0)
        s->pending--;
}

static void start_round(struct identity_search *s)
{
    char url[1100];
    const struct config *c = s->options.config;
    s->pending = 1; /* holds the round open until all are asked */
    if (c->ecs_agent_endpoint[0] != '\0') {
        snprintf(url, sizeof url, "%s/v1/metadata", c->ecs_agent_endpoint);
        s->pending++;
        if (aws_http_get(s->options.aws, url, HTTP_TIMEOUT_MS, on_ecs_agent, s) != 0)
            s->pending--;
    }
    bool alone = c->ecs_agent_endpoint[0] == '\0';
    if (alone || s->rounds < METADATA_ROUNDS || s->rounds % METADATA_EVERY == 0) {
        ask(s, "instance-id", on_instance_id);
        ask(s, "placement/availability-zone", on_zone);
        ask(s, "local-ipv4", on_address);
        if (advertise_wants_ipv6(c))
            ask(s, "ipv6", on_address6);
        ask(s, "instance-life-cycle", on_lifecycle);
    }
    answer_came(s);
}

int identity_start(struct identity_search **ret, const struct identity_options *options)
{
    struct identity_search *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    s->options = *options;
    const struct config *c = options->config;
    copy(s->found.id, sizeof s->found.id, c->id, strlen(c->id));
    copy(s->found.cluster, sizeof s->found.cluster, c->cluster, strlen(c->cluster));
    copy(s->found.zone, sizeof s->found.zone, c->zone, strlen(c->zone));
    load(s);
    uv_timer_init(options->loop, &s->timer);
    s->timer.data = s;
    explain(s);
    start_round(s);
    *ret = s;
    return 0;
}

void identity_stop(struct identity_search *s, void (*done)(void *arg), void *arg)
{
    s->stopping = true;
    s->done = done;
    s->done_arg = arg;
    uv_timer_stop(&s->timer);
    if (s->pending == 0)
        uv_close((uv_handle_t *)&s->timer, on_closed);
}

const char *identity_trouble(const struct identity_search *s)
{
    return s->trouble;
}
