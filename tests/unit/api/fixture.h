/* SPDX-License-Identifier: Apache-2.0
 * A real store in a temporary directory, a real API on loopback and a unix socket, and a thread
 * that plays the loop: it polls the store and answers writes. */
#ifndef BLOX_TESTS_API_FIXTURE_H
#define BLOX_TESTS_API_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/api/api.h"
#include "agent/base/row.h"
#include "store/store.h"

#define CLUSTER "arn:aws:ecs:us-east-1:111122223333:cluster/prod"
#define TASK_1 "arn:aws:ecs:us-east-1:111122223333:task/prod/00000000000000000000000000000001"
#define INSTANCE_1                                                                                 \
    "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/0000000000000000000000000000000a"

struct fixture {
    char dir[64];
    char socket[96];
    char token_file[96];
    struct store *store;
    struct api *api;
    pthread_t loop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    struct api_write *writes[16];
    size_t write_count;
    int applying;
    /* How the fake loop answers; NULL: api_write_done is left to the test. */
    void (*answer)(struct fixture *f, struct api_write *w);
    char last_command[1024];
};

/* options may be NULL: anonymous write on loopback. store, bind, socket_path, submit and arg are
 * filled in. Tokens: read-token (read), write-token (write), old-token (write, expired). */
void fixture_start(struct fixture *f, const struct api_options *options);
void fixture_set_answer(struct fixture *f, void (*answer)(struct fixture *f, struct api_write *w));
void fixture_stop(struct fixture *f);
void fixture_stop_api(struct fixture *f);

/* A row with the fields that its JSON members give, as intake makes them. */
void fixture_put(struct fixture *f, uint8_t kind, const char *key, uint64_t version,
                 const char *json);
/* The same without waiting for it; several, then fixture_settle(). */
void fixture_post(struct fixture *f, uint8_t kind, const char *key, uint64_t version,
                  const char *json);
void fixture_settle(struct fixture *f);
void fixture_delete(struct fixture *f, uint8_t kind, const char *key, uint64_t version);
/* One running task on INSTANCE_1's cluster; number is its short id in 32 digits. */
void fixture_put_task(struct fixture *f, unsigned number, const char *status, uint64_t version);
void fixture_put_tasks(struct fixture *f, unsigned first, unsigned count);
void fixture_change_tasks(struct fixture *f, unsigned first, unsigned count, uint64_t version);
void fixture_put_instance(struct fixture *f, const char *arn, const char *ec2, const char *status);
void fixture_put_environment(struct fixture *f, const char *name, const char *status);
void fixture_put_deployment(struct fixture *f, const char *environment, const char *id,
                            const char *status, const char *created);

struct http {
    long status;
    char *body; /* NUL-terminated */
    size_t len;
    char headers[8192];
};

/* path as sent, nothing normalised. headers: NULL or lines joined by '\n'. body NULL: none. */
struct http http_do(struct fixture *f, const char *method, const char *path, const char *headers,
                    const char *body);
struct http http_unix(struct fixture *f, const char *method, const char *path, const char *headers,
                      const char *body);
/* GET without extras. */
struct http http_get(struct fixture *f, const char *path);
/* Value of a header in out (cut to 255 bytes), "" if it is absent. */
const char *http_header(const struct http *h, const char *name, char out[256]);
void http_free(struct http *h);

/* A raw connection, for streams. */
int http_connect(const struct fixture *f);
/* Reads until the text was seen or 10 s passed; what was read is in out. */
bool http_read_until(int fd, const char *text, char *out, size_t cap);

#endif
