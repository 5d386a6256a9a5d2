/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *first;
static struct metric **tail = &first;

static const uint64_t bounds_us[METRIC_BUCKETS - 1] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 10000000};

void metrics_register(struct metric *m)
{
    pthread_mutex_lock(&lock);
    bool known = false;
    for (struct metric *p = first; p != NULL; p = p->next)
        known = known || p == m;
    if (!known) {
        m->next = NULL;
        *tail = m;
        tail = &m->next;
    }
    pthread_mutex_unlock(&lock);
}

void metrics_unregister_all(void)
{
    pthread_mutex_lock(&lock);
    first = NULL;
    tail = &first;
    pthread_mutex_unlock(&lock);
}

void metric_add(struct metric *m, int64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void metric_none(struct metric *m)
{
    metric_set(m, METRIC_NONE);
}

void metric_observe_us(struct metric *m, uint64_t us)
{
    size_t i = 0;
    while (i < METRIC_BUCKETS - 1 && us > bounds_us[i])
        i++;
    atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->value, (int64_t)us, memory_order_relaxed);
}

int64_t metric_get(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

static void render_sample(struct buf *out, const struct metric *m, const char *suffix,
                          const char *extra, const char *value)
{
    buf_puts(out, m->name);
    buf_puts(out, suffix);
    if (m->labels != NULL || extra != NULL)
        buf_printf(out, "{%s%s%s}", m->labels == NULL ? "" : m->labels,
                   m->labels != NULL && extra != NULL ? "," : "", extra == NULL ? "" : extra);
    buf_printf(out, " %s\n", value);
}

static void render_histogram(struct buf *out, const struct metric *m)
{
    int64_t count = 0;
    char extra[48];
    char value[32];
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        count += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        if (i < METRIC_BUCKETS - 1)
            snprintf(extra, sizeof extra, "le=\"%g\"", (double)bounds_us[i] / 1e6);
        else
            snprintf(extra, sizeof extra, "le=\"+Inf\"");
        snprintf(value, sizeof value, "%" PRId64, count);
        render_sample(out, m, "_bucket", extra, value);
    }
    render_sample(out, m, "_count", NULL, value);
    snprintf(value, sizeof value, "%.6f", (double)metric_get(m) / 1e6);
    render_sample(out, m, "_sum", NULL, value);
}

int metrics_render(struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *name = "";
    pthread_mutex_lock(&lock);
    for (struct metric *m = first; m != NULL; m = m->next) {
        int64_t now = metric_get(m);
        if (m->type == METRIC_GAUGE && now == METRIC_NONE)
            continue;
        if (strcmp(name, m->name) != 0) {
            name = m->name;
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, m->help, name, types[m->type]);
        }
        if (m->type == METRIC_HISTOGRAM) {
            render_histogram(out, m);
        } else {
            char value[32];
            snprintf(value, sizeof value, "%" PRId64, now);
            render_sample(out, m, "", NULL, value);
        }
    }
    pthread_mutex_unlock(&lock);
    return out->err;
}
