/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/keyfile_uv.h"

#include <stdio.h>
#include <string.h>

#include "gossip/node.h"

void keyfile_init(struct keyfile *f, const struct keys *keys)
{
    f->count = keys->count;
    for (size_t i = 0; i < keys->count; i++)
        gossip_key_id(keys->key[i], f->id[i]);
}

bool keyfile_has(const struct keyfile *f, const char *id)
{
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->id[i], id) == 0)
            return true;
    return false;
}

static void write_it(uv_work_t *work)
{
    struct keyfile *f = work->data;
    f->result = keys_write(&f->keys, f->path, &f->told);
}

static void on_written(uv_work_t *work, int status)
{
    struct keyfile *f = work->data;
    f->writing = false;
    f->err = status == 0 ? f->result : ERR_CANCELED;
    f->why = f->told;
    if (f->err == 0)
        keyfile_init(f, &f->keys);
    else
        errmsg_wrap(&f->why, "changed gossip keys are not saved");
    keys_wipe(&f->keys);
    f->done(f->arg);
}

void keyfile_write(struct keyfile *f, uv_loop_t *loop, const struct keys *keys, const char *path,
                   void (*done)(void *arg), void *arg)
{
    f->keys = *keys;
    f->done = done;
    f->arg = arg;
    f->work.data = f;
    f->writing = true;
    snprintf(f->path, sizeof f->path, "%s", path);
    snprintf(f->told.text, sizeof f->told.text, "cannot write %s: %s", path,
             err_text(ERR_CANCELED));
    int rc = uv_queue_work(loop, &f->work, write_it, on_written);
    if (rc != 0)
        on_written(&f->work, rc);
}
