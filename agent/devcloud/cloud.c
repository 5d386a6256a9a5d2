/* SPDX-License-Identifier: Apache-2.0
 * The world as a whole: time, randomness, the timer thread, start and stop. */
#include "agent/devcloud/cloud.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"
#include "agent/devcloud/instances.h"
#include "agent/devcloud/queue.h"
#include "agent/devcloud/services.h"
#include "agent/devcloud/tasks.h"

#define TRUTH_LINE_MAX (64u * 1024)

uint64_t cloud_now_ms(void)
{
    return clock_mono_ms();
}

int64_t cloud_unix_ms(void)
{
    return clock_unix_ms();
}

bool cloud_chance(struct devcloud *cloud, double probability)
{
    return probability > 0 && prng_unit(&cloud->prng) < probability;
}

uint64_t cloud_between(struct devcloud *cloud, const uint64_t range[2])
{
    return range[1] <= range[0] ? range[0]
                                : range[0] + prng_below(&cloud->prng, range[1] - range[0] + 1);
}

void cloud_hex(struct devcloud *cloud, char *out, size_t digits)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < digits; i++, bits >>= 4) {
        if (i % 16 == 0)
            bits = prng_next(&cloud->prng);
        out[i] = "0123456789abcdef"[bits & 15];
    }
    out[digits] = '\0';
}

void cloud_uuid(struct devcloud *cloud, char out[37])
{
    char hex[33];

    cloud_hex(cloud, hex, 32);
    hex[12] = '4';
    hex[16] = 'a';
    snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

char *cloud_text(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    return text;
}

char *cloud_copy(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        abort();
    return copy;
}

void cloud_arm(struct devcloud *cloud, struct timer *timer, uint64_t delay_ms, timer_fn fn)
{
    if (timers_arm(&cloud->timers, timer, cloud_now_ms() + delay_ms, fn) != 0)
        abort();
    if (timers_first(&cloud->timers) == timer)
        pthread_cond_signal(&cloud->wake);
}

void cloud_disarm(struct devcloud *cloud, struct timer *timer)
{
    timers_disarm(&cloud->timers, timer);
}

void cloud_count(struct devcloud *cloud, const char *name, int64_t n)
{
    json_set_int(cloud->counts, name, json_int_or(cloud->counts, name, 0) + n);
}

void cloud_count2(struct devcloud *cloud, const char *prefix, const char *name)
{
    char key[128];

    snprintf(key, sizeof(key), "%s%s", prefix, name);
    cloud_count(cloud, key, 1);
}

void cloud_truth(struct devcloud *cloud, const char *kind, json_t *body)
{
    if (cloud->truth_log != NULL && body != NULL) {
        json_set_int(body, "t", cloud_unix_ms());
        json_set_str(body, "kind", kind);
        json_dumpf(body, cloud->truth_log, JSON_COMPACT);
        fputc('\n', cloud->truth_log);
        fflush(cloud->truth_log);
    }
    json_decref(body);
}

static void *timer_main(void *arg)
{
    struct devcloud *cloud = arg;

    pthread_mutex_lock(&cloud->lock);
    while (!cloud->stopping) {
        struct timer *first = timers_first(&cloud->timers);
        uint64_t now = cloud_now_ms();
        if (first != NULL && first->at_ms <= now) {
            timers_disarm(&cloud->timers, first);
            first->fn(cloud, first);
            continue;
        }
        if (first == NULL) {
            pthread_cond_wait(&cloud->wake, &cloud->lock);
            continue;
        }
        struct timespec until = {.tv_sec = (time_t)(first->at_ms / 1000),
                                 .tv_nsec = (long)(first->at_ms % 1000) * 1000000};
        pthread_cond_timedwait(&cloud->wake, &cloud->lock, &until);
    }
    pthread_mutex_unlock(&cloud->lock);
    return NULL;
}

void devcloud_options_init(struct devcloud_options *options)
{
    *options = (struct devcloud_options){.cluster = "default",
                                         .queue = "blox-events",
                                         .region = "us-east-1",
                                         .partition = "aws",
                                         .account = "111122223333",
                                         .instance_type = "m5.large",
                                         .access_key = "AKIADEVCLOUDEXAMPLE1",
                                         .secret_key = "devcloud/secret+EXAMPLE/not/a/real/key00",
                                         .seed = 1,
                                         .strict = true};
}

static void free_world(struct devcloud *cloud)
{
    size_t at;
    const char *key;
    void *value;

    for (at = 0; map_next(&cloud->clusters, &at, &key, &value);)
        cluster_destroy(cloud, value);
    for (at = 0; map_next(&cloud->queues, &at, &key, &value);)
        queue_destroy(cloud, value);
    for (at = 0; map_next(&cloud->families, &at, &key, &value);) {
        struct family *family = value;
        for (size_t i = 0; i < family->count; i++)
            task_def_destroy(family->revisions[i]);
        free(family->revisions);
        free(family->name);
        free(family);
    }
    for (at = 0; map_next(&cloud->run_tokens, &at, &key, &value);)
        json_decref(value);
    map_fini(&cloud->clusters);
    map_fini(&cloud->queues);
    map_fini(&cloud->families);
    map_fini(&cloud->run_tokens);
    map_fini(&cloud->by_ec2_id);
    map_fini(&cloud->tasks);
    map_fini(&cloud->started_by);
}

static void destroy(struct devcloud *cloud)
{
    free_world(cloud);
    scenario_fini(cloud);
    faults_clear(cloud);
    record_fini(cloud);
    imds_fini(cloud);
    cloud_auth_fini(cloud);
    models_fini(&cloud->ecs);
    models_fini(&cloud->sqs);
    models_fini(&cloud->sts);
    models_fini(&cloud->ec2);
    timers_fini(&cloud->timers);
    json_decref(cloud->counts);
    if (cloud->truth_log != NULL)
        fclose(cloud->truth_log);
    free(cloud->control_token);
    pthread_cond_destroy(&cloud->wake);
    pthread_mutex_destroy(&cloud->lock);
    free(cloud);
}

static int load_models(struct devcloud *cloud, struct errmsg *e)
{
    int err = model_load(&cloud->ecs, models_ecs, models_ecs_len, e);

    if (err == 0)
        err = model_load(&cloud->sqs, models_sqs, models_sqs_len, e);
    if (err == 0)
        err = model_load(&cloud->sts, models_sts, models_sts_len, e);
    if (err == 0)
        err = model_load(&cloud->ec2, models_ec2, models_ec2_len, e);
    return err;
}

static struct devcloud *make(const struct devcloud_options *options)
{
    struct devcloud *cloud = calloc(1, sizeof(*cloud));
    pthread_condattr_t attributes;

    if (cloud == NULL)
        return NULL;
    pthread_mutex_init(&cloud->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cloud->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    prng_seed(&cloud->prng, options->seed);
    timers_init(&cloud->timers);
    list_init(&cloud->faults);
    list_init(&cloud->suspended);
    list_init(&cloud->scenario);
    settings_init(&cloud->set);
    cloud->set.strict = options->strict;
    cloud->counts = json_object();
    snprintf(cloud->region, sizeof(cloud->region), "%s", options->region);
    snprintf(cloud->partition, sizeof(cloud->partition), "%s", options->partition);
    snprintf(cloud->account, sizeof(cloud->account), "%s", options->account);
    if (options->control_token != NULL)
        cloud->control_token = cloud_text("%s", options->control_token);
    cloud_auth_init(cloud, options->access_key, options->secret_key);
    return cloud;
}

/* Needs the port: queue URLs have it. */
static int populate(struct devcloud *cloud, const struct devcloud_options *options,
                    struct errmsg *e)
{
    struct instance_options instance = {.type = options->instance_type};
    int err = 0;

    cloud->event_queue = queue_create(cloud, options->queue, NULL);
    cloud->main_cluster = cluster_create(cloud, options->cluster);
    if (cloud->event_queue == NULL || cloud->main_cluster == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    task_defs_builtin(cloud);
    if (options->settings != NULL) {
        json_t *settings = json_parse(options->settings, strlen(options->settings), e);
        err = settings == NULL ? ERR_CONFIG : settings_apply(cloud, settings, e);
        json_decref(settings);
    }
    for (unsigned i = 0; err == 0 && i < options->instances; i++)
        if (instance_add(cloud, cloud->main_cluster, &instance) == NULL)
            err = errmsg_set(e, ERR_CONFIG, "unknown instance type '%s'", options->instance_type);
    if (err == 0 && options->scenario != NULL)
        err = scenario_start(cloud, options->scenario, e);
    return err;
}

int devcloud_start(struct devcloud **ret, const struct devcloud_options *options, struct errmsg *e)
{
    if (sodium_init() < 0)
        return errmsg_set(e, ERR_INTERNAL, "libsodium does not start");
    struct devcloud *cloud = make(options);
    if (cloud == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int err = load_models(cloud, e);
    if (err == 0 && options->truth_log != NULL) {
        cloud->truth_log = fopen(options->truth_log, "ae");
        if (cloud->truth_log == NULL)
            err = errmsg_set(e, ERR_IO, "cannot write the truth log %s: %s", options->truth_log,
                             strerror(errno));
    }
    pthread_mutex_lock(&cloud->lock); /* no request is served before the world is complete */
    if (err == 0)
        err = http_start(cloud, options->port, e);
    if (err == 0)
        err = populate(cloud, options, e);
    if (err == 0 && pthread_create(&cloud->timer_thread, NULL, timer_main, cloud) != 0)
        err = errmsg_set(e, ERR_NOMEM, "cannot start a thread");
    cloud->timer_running = err == 0;
    pthread_mutex_unlock(&cloud->lock);
    if (err != 0) {
        devcloud_stop(cloud);
        return err;
    }
    *ret = cloud;
    return 0;
}

void devcloud_stop(struct devcloud *cloud)
{
    pthread_mutex_lock(&cloud->lock);
    cloud->stopping = true;
    pthread_cond_signal(&cloud->wake);
    pthread_mutex_unlock(&cloud->lock);
    if (cloud->timer_running)
        pthread_join(cloud->timer_thread, NULL);
    http_stop(cloud);
    destroy(cloud);
}

uint16_t devcloud_port(const struct devcloud *cloud)
{
    return cloud->port;
}

json_t *devcloud_ready(struct devcloud *cloud)
{
    json_t *list = json_array();
    struct cluster *c = cloud->main_cluster;
    const struct credential *root = cloud->root;

    pthread_mutex_lock(&cloud->lock);
    for (struct list *at = c->instances.next; at != &c->instances; at = at->next) {
        const struct instance *in = LIST_OF(at, struct instance, in_cluster);
        json_array_append_new(
            list,
            json_pack("{s:s,s:s,s:o,s:o}", "id", in->ec2_id, "arn", in->arn, "imds",
                      json_sprintf("http://127.0.0.1:%u/_imds/%s", cloud->port, in->ec2_id),
                      "ecs_agent",
                      json_sprintf("http://127.0.0.1:%u/_ecs-agent/%s", cloud->port, in->ec2_id)));
    }
    pthread_mutex_unlock(&cloud->lock);
    return json_pack("{s:s,s:o,s:s,s:s,s:s,s:s,s:s,s:s,s:o}", "event", "ready", "endpoint",
                     json_sprintf("http://127.0.0.1:%u", cloud->port), "queue_url",
                     cloud->event_queue->url, "cluster", c->name, "cluster_arn", c->arn, "region",
                     cloud->region, "access_key_id", root->access_key, "secret_access_key",
                     root->secret, "instances", list);
}

int devcloud_control(struct devcloud *cloud, const char *verb, const json_t *args,
                     json_t **ret_answer, struct errmsg *e)
{
    json_t *answer = NULL;

    pthread_mutex_lock(&cloud->lock);
    int err = control_run(cloud, verb, args, &answer, e);
    pthread_mutex_unlock(&cloud->lock);
    if (ret_answer != NULL)
        *ret_answer = answer;
    else
        json_decref(answer);
    return err;
}
