/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/aws/curl_uv.h"

struct look {
    struct chain *c;
    const struct profiles *p;
    bool imds;
    struct errmsg *e;
};

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int fail(struct look *l, const char *what)
{
    return errmsg_set(l->e, ERR_AUTH, "no credentials: %s", what);
}

static int fail_profile(struct look *l, const char *profile, const char *what)
{
    return errmsg_set(l->e, ERR_AUTH, "no credentials: profile \"%.60s\" %s", profile, what);
}

static int copy(struct look *l, char *out, size_t cap, const char *text, const char *name)
{
    int n = snprintf(out, cap, "%s", text);
    if (n >= 0 && (size_t)n < cap)
        return 0;
    return errmsg_set(l->e, ERR_AUTH, "no credentials: %s is too long", name);
}

static void set_source(struct chain *c, enum chain_kind kind, const char *format, const char *name)
{
    c->kind = kind;
    snprintf(c->source, sizeof c->source, "%s%.60s%s", format, name,
             kind == CHAIN_PROCESS ? " (credential_process)" : "");
}

static int from_environment(struct look *l, bool *ret_found)
{
    const char *key = env("AWS_ACCESS_KEY_ID");
    const char *secret = env("AWS_SECRET_ACCESS_KEY");
    *ret_found = key != NULL || secret != NULL;
    if (!*ret_found)
        return 0;
    if (key == NULL || secret == NULL)
        return fail(l, key == NULL ? "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID"
                                   : "AWS_ACCESS_KEY_ID is set without AWS_SECRET_ACCESS_KEY");
    set_source(l->c, CHAIN_KEYS, "environment", "");
    return creds_set(&l->c->keys, key, secret, env("AWS_SESSION_TOKEN"), 0);
}

static const char *session_name(const char *configured)
{
    if (configured == NULL)
        configured = env("AWS_ROLE_SESSION_NAME");
    return configured == NULL ? "blox" : configured;
}

static int fill_role(struct look *l, struct chain_role *role, const char *profile, const char *arn)
{
    const char *external = profiles_get(l->p, "profile", profile, "external_id");
    const char *duration = profiles_get(l->p, "profile", profile, "duration_seconds");
    const char *name = session_name(profiles_get(l->p, "profile", profile, "role_session_name"));
    *role = (struct chain_role){0};
    if (duration != NULL) {
        char *end;
        long seconds = strtol(duration, &end, 10);
        if (*end != '\0' || seconds < 900 || seconds > 43200)
            return fail_profile(l, profile, "has a duration_seconds outside 900 to 43200");
        role->duration_s = (int)seconds;
    }
    int err = copy(l, role->arn, sizeof role->arn, arn, "role_arn");
    if (err == 0)
        err = copy(l, role->session_name, sizeof role->session_name, name, "role_session_name");
    if (err == 0 && external != NULL)
        err = copy(l, role->external_id, sizeof role->external_id, external, "external_id");
    return err;
}

static int from_web_identity(struct look *l, const char *profile, const char *file, const char *arn)
{
    set_source(l->c, CHAIN_WEB_IDENTITY,
               profile == NULL ? "web identity" : "web identity, profile ",
               profile == NULL ? "" : profile);
    int err = copy(l, l->c->path, sizeof l->c->path, file, "the path of the web identity token");
    return err != 0 ? err : fill_role(l, &l->c->web, profile == NULL ? "" : profile, arn);
}

bool chain_container_url_is_allowed(const char *url)
{
    if (strncmp(url, "https://", 8) == 0)
        return url[8] != '\0' && url[8] != '/';
    if (strncmp(url, "http://", 7) != 0)
        return false;
    const char *host = url + 7;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (n == 0 || n > strlen(host) || memchr(host, '@', n) != NULL ||
        (host[n] != '\0' && strchr(":/?#", host[n]) == NULL))
        return false;
    /* "http://127.0.0.1:80@elsewhere/": what looks like host and port would be user and password */
    if (memchr(host, '@', strcspn(host, "/?#")) != NULL)
        return false;
    static const char *const fixed[] = {"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (strlen(fixed[i]) == n && strncasecmp(host, fixed[i], n) == 0)
            return true;
    bool other_local = strncmp(host, "169.254.", 8) == 0 || strncasecmp(host, "[fe", 3) == 0 ||
                       strncasecmp(host, "[fd", 3) == 0;
    return !other_local && xfer_host_is_local(host, n);
}

static int from_container(struct look *l, bool *ret_found)
{
    const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    struct chain *c = l->c;
    *ret_found = relative != NULL || full != NULL;
    if (!*ret_found)
        return 0;
    int n;
    if (relative != NULL && relative[0] != '/')
        return fail(l, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with /");
    if (relative != NULL)
        n = snprintf(c->url, sizeof c->url, "http://169.254.170.2%s", relative);
    else
        n = snprintf(c->url, sizeof c->url, "%s", full);
    if (n < 0 || (size_t)n >= sizeof c->url)
        return fail(l, "the container credentials URI is too long");
    if (relative == NULL && !chain_container_url_is_allowed(full))
        return fail(l, "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http to loopback, "
                       "169.254.170.2, 169.254.170.23 or [fd00:ec2::23]");
    set_source(c, CHAIN_CONTAINER, "container", "");
    return file == NULL
               ? 0
               : copy(l, c->path, sizeof c->path, file, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
}

/* credential_source of a profile with role_arn. */
static int from_named_source(struct look *l, const char *profile, const char *name)
{
    bool found = true;
    int err = 0;
    if (strcmp(name, "Environment") == 0)
        err = from_environment(l, &found);
    else if (strcmp(name, "EcsContainer") == 0)
        err = from_container(l, &found);
    else if (strcmp(name, "Ec2InstanceMetadata") == 0)
        set_source(l->c, CHAIN_IMDS, "instance metadata", "");
    else
        return fail_profile(l, profile,
                            "has a credential_source that is none of Environment, "
                            "Ec2InstanceMetadata, EcsContainer");
    if (err == 0 && !found)
        return fail_profile(l, profile, "names a credential_source that the environment lacks");
    return err;
}

static int from_keys(struct look *l, const char *profile, bool *ret_found)
{
    const char *key = profiles_get(l->p, "profile", profile, "aws_access_key_id");
    const char *secret = profiles_get(l->p, "profile", profile, "aws_secret_access_key");
    *ret_found = key != NULL || secret != NULL;
    if (!*ret_found)
        return 0;
    if (key == NULL || secret == NULL)
        return fail_profile(l, profile,
                            key == NULL ? "has aws_secret_access_key without aws_access_key_id"
                                        : "has aws_access_key_id without aws_secret_access_key");
    set_source(l->c, CHAIN_KEYS, "profile ", profile);
    return creds_set(&l->c->keys, key, secret,
                     profiles_get(l->p, "profile", profile, "aws_session_token"), 0);
}

static int from_profile(struct look *l, const char *profile, unsigned depth, bool *ret_found);

static int from_role(struct look *l, const char *profile, const char *arn, unsigned depth)
{
    const char *source = profiles_get(l->p, "profile", profile, "source_profile");
    const char *named = profiles_get(l->p, "profile", profile, "credential_source");
    struct chain_role role;
    bool found = true;
    int err;
    if (profiles_get(l->p, "profile", profile, "mfa_serial") != NULL)
        return fail_profile(l, profile, "needs an MFA code, which an agent cannot give");
    if ((source == NULL) == (named == NULL))
        return fail_profile(l, profile,
                            "has role_arn and needs one of source_profile, credential_source, "
                            "web_identity_token_file");
    if (named != NULL)
        err = from_named_source(l, profile, named);
    else if (strcmp(source, profile) == 0)
        err = from_keys(l, profile, &found);
    else
        err = from_profile(l, source, depth + 1, &found);
    if (err == 0 && !found)
        return fail_profile(l, profile, "has a source_profile without credentials");
    if (err == 0)
        err = fill_role(l, &role, profile, arn);
    if (err == 0 && l->c->role_count >= CHAIN_ROLES_MAX)
        return fail_profile(l, profile, "is at the end of too long a chain of roles");
    if (err == 0)
        l->c->roles[l->c->role_count++] = role;
    return err;
}

static int from_profile(struct look *l, const char *profile, unsigned depth, bool *ret_found)
{
    const char *arn = profiles_get(l->p, "profile", profile, "role_arn");
    const char *file = profiles_get(l->p, "profile", profile, "web_identity_token_file");
    const char *command = profiles_get(l->p, "profile", profile, "credential_process");
    *ret_found = true;
    if (depth > CHAIN_ROLES_MAX)
        return fail_profile(l, profile, "is part of a circle of source_profile, or too deep");
    if (depth > 0 && !profiles_has(l->p, "profile", profile))
        return fail_profile(l, profile, "is named as source_profile and does not exist");
    if (arn != NULL && file != NULL)
        return from_web_identity(l, profile, file, arn);
    if (arn != NULL)
        return from_role(l, profile, arn, depth);
    int err = from_keys(l, profile, ret_found);
    if (err != 0 || *ret_found)
        return err;
    if (command != NULL) {
        *ret_found = true;
        set_source(l->c, CHAIN_PROCESS, "profile ", profile);
        return copy(l, l->c->command, sizeof l->c->command, command, "credential_process");
    }
    if (profiles_get(l->p, "profile", profile, "sso_start_url") != NULL ||
        profiles_get(l->p, "profile", profile, "sso_session") != NULL) {
        *ret_found = true;
        return fail_profile(l, profile,
                            "uses IAM Identity Center (SSO), which needs a person; use "
                            "credential_process or a role");
    }
    return 0;
}

static int resolve(struct look *l, const char *option)
{
    const char *profile = profile_name(option);
    const char *file = env("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *arn = env("AWS_ROLE_ARN");
    bool named = (option != NULL && option[0] != '\0') || env("AWS_PROFILE") != NULL;
    bool found = false;
    int err = 0;
    if (option == NULL || option[0] == '\0')
        err = from_environment(l, &found);
    if (err != 0 || found)
        return err;
    if (named && !profiles_has(l->p, "profile", profile))
        return fail_profile(l, profile,
                            "does not exist in the shared config and credentials files");
    err = from_profile(l, profile, 0, &found);
    if (err != 0 || found)
        return err;
    if (file != NULL && arn == NULL)
        return fail(l, "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN");
    if (file != NULL)
        return from_web_identity(l, NULL, file, arn);
    err = from_container(l, &found);
    if (err != 0 || found)
        return err;
    if (!l->imds)
        return fail(l, "none in the environment or the shared files, and "
                       "AWS_EC2_METADATA_DISABLED is true");
    set_source(l->c, CHAIN_IMDS, "instance metadata", "");
    return 0;
}

int chain_resolve(struct chain *c, const struct profiles *p, const char *profile, bool imds,
                  struct errmsg *e)
{
    struct look l = {.c = c, .p = p, .imds = imds, .e = e};
    *c = (struct chain){0};
    int err = resolve(&l, profile);
    if (err != 0)
        chain_fini(c);
    return err == 0 || err == ERR_NOMEM ? err : ERR_AUTH;
}

void chain_fini(struct chain *c)
{
    creds_wipe(&c->keys);
    explicit_bzero(c, sizeof *c);
}
