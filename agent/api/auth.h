/* SPDX-License-Identifier: Apache-2.0
 * Who may ask: peer credentials on the unix socket, bearer tokens on TCP, and the guard against
 * browsers that were lured here (Host, Origin, Sec-Fetch-Site). */
#ifndef BLOX_AGENT_API_AUTH_H
#define BLOX_AGENT_API_AUTH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include "agent/api/api.h"
#include "agent/base/sha256.h"

enum auth_scope { SCOPE_NONE, SCOPE_READ, SCOPE_WRITE, SCOPE_ADMIN };

#define AUTH_TOKENS_MAX 64
#define AUTH_HOSTS_MAX 32
#define AUTH_HOST_MAX 256

struct auth_token {
    enum auth_scope scope;
    uint8_t digest[SHA256_SIZE];
    int64_t expires_unix_ms; /* 0: never */
};

struct auth {
    pthread_mutex_t lock;
    struct auth_token tokens[AUTH_TOKENS_MAX];
    size_t token_count;
    char token_file[256];
    struct timespec token_mtime;
    off_t token_size;
    enum api_anonymous anonymous;
    gid_t read_group, write_group;
    bool has_read_group, has_write_group;
    char hosts[AUTH_HOSTS_MAX][AUTH_HOST_MAX]; /* lower case, no port */
    size_t host_count;
};

int auth_init(struct auth *a, const struct api_options *options, struct errmsg *e) MUST_CHECK;
void auth_fini(struct auth *a);
/* Add names that Host may carry, comma-separated. */
int auth_add_hosts(struct auth *a, const char *names, struct errmsg *e) MUST_CHECK;
/* Read the token file again if it changed; a bad file keeps the old tokens and is logged. */
void auth_reload(struct auth *a);

/* Scope of the process at the other end of a unix socket. */
enum auth_scope auth_of_peer(struct auth *a, int fd);
/* Scope of a TCP request. header is the Authorization header or NULL; *ret_bad is set if a
 * token was sent that is not (or no longer) valid. */
enum auth_scope auth_of_request(struct auth *a, const char *header, const struct sockaddr *peer,
                                bool *ret_bad);

bool auth_host_ok(const struct auth *a, const char *host);
/* true if a browser may have been made to send this by another site. */
bool auth_cross_site(const char *host, const char *origin, const char *fetch_site);

#endif
