/* SPDX-License-Identifier: Apache-2.0
 * Plain GETs to local endpoints: the ECS agent's introspection, the metadata service. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/aws/aws_int.h"
#include "agent/base/limits.h"

struct get {
    struct list node;
    struct aws *a;
    struct xfer_op *op;
    struct imds_get *imds;
    aws_http_fn done;
    void *arg;
};

static struct get *get_new(struct aws *a, aws_http_fn done, void *arg)
{
    struct get *g = a->closing || a->gets_count >= AWS_GETS_MAX ? NULL : calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->a = a;
    g->done = done;
    g->arg = arg;
    list_push(&a->gets, &g->node);
    a->gets_count++;
    return g;
}

static void get_free(struct get *g)
{
    list_remove(&g->node);
    g->a->gets_count--;
    free(g);
}

static void on_http(void *arg, const struct xfer_result *r)
{
    struct get g = *(struct get *)arg;
    get_free(arg); /* first: done may destroy the client, which ends all that is on its list */
    g.done(g.arg, r->err, r->status, r->err == 0 ? r->body : NULL, r->err == 0 ? r->body_len : 0);
}

static void on_imds(void *arg, const struct imds_answer *r)
{
    struct get g = *(struct get *)arg;
    get_free(arg);
    g.done(g.arg, r->err, r->status, r->err == 0 ? r->body : NULL, r->err == 0 ? r->len : 0);
}

int aws_http_get(struct aws *a, const char *url, uint64_t timeout_ms, aws_http_fn done, void *arg)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return ERR_BADPARAM;
    struct get *g = get_new(a, done, arg);
    if (g == NULL)
        return ERR_BUSY;
    struct xfer_spec spec = {.method = "GET",
                             .url = url,
                             .timeout_ms = timeout_ms == 0 ? AWS_TIMEOUT_MS : timeout_ms,
                             .max_body = AWS_RESPONSE_MAX};
    g->op = xfer_start(a->xfer, &spec, on_http, g);
    if (g->op != NULL)
        return 0;
    get_free(g);
    return ERR_BADPARAM;
}

int aws_imds_get(struct aws *a, const char *path, aws_http_fn done, void *arg)
{
    char full[512];
    int n = snprintf(full, sizeof full, "/latest/meta-data/%s", path[0] == '/' ? path + 1 : path);
    if (n < 0 || (size_t)n >= sizeof full)
        return ERR_BADPARAM;
    if (imds_is_disabled(a->imds))
        return ERR_UNREACHABLE;
    struct get *g = get_new(a, done, arg);
    if (g == NULL)
        return ERR_BUSY;
    g->imds = imds_fetch(a->imds, full, false, on_imds, g);
    if (g->imds != NULL)
        return 0;
    get_free(g);
    return ERR_NOMEM;
}

void aws_gets_cancel(struct aws *a)
{
    struct list *node;
    while ((node = list_pop(&a->gets)) != NULL) {
        struct get *g = LIST_OF(node, struct get, node);
        if (g->op != NULL)
            xfer_cancel(g->op);
        if (g->imds != NULL)
            imds_cancel(g->imds);
        g->done(g->arg, ERR_CANCELED, 0, NULL, 0);
        a->gets_count--;
        free(g);
    }
}
