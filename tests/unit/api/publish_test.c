/* SPDX-License-Identifier: Apache-2.0
 * Documents that the loop makes and the API's threads hand out: what is young is handed out as it
 * is, but never who led before. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "agent/api/publish.h"
#include "agent/base/clock.h"

static struct publish publish;
static sem_t asked;

static void on_want(void *arg)
{
    (void)arg;
    sem_post(&asked);
}

/* The loop: makes what is asked for, once. */
static void *loop(void *arg)
{
    (void)arg;
    sem_wait(&asked);
    unsigned wanted = publish_wanted(&publish);
    for (unsigned doc = 0; doc < API_DOC_COUNT; doc++)
        if ((wanted & 1u << doc) != 0)
            publish_put(&publish, doc, "new", 3);
    return NULL;
}

/* What a reader is given just after the document was made and, if so, found to be stale. */
static bool is_renewed_once(enum api_doc doc, bool stale)
{
    pthread_t thread;
    cr_assert_eq(publish_init(&publish, on_want, NULL), 0);
    sem_init(&asked, 0, 0);
    publish_put(&publish, doc, "old", 3);
    if (stale)
        publish_stale(&publish, doc);
    cr_assert_eq(pthread_create(&thread, NULL, loop, NULL), 0);
    struct publish_doc *d = publish_get(&publish, doc);
    cr_assert_not_null(d);
    bool fresh = memcmp(d->data, "new", 3) == 0;
    publish_release(d);
    sem_post(&asked); /* ends the loop if nothing asked for it */
    pthread_join(thread, NULL);
    publish_fini(&publish);
    sem_destroy(&asked);
    return fresh;
}

/* Asked again where the machine took so long that the reader stopped waiting or nothing was young.
 */
static bool is_renewed(enum api_doc doc, bool stale)
{
    for (;;) {
        uint64_t start_ms = clock_mono_ms();
        bool fresh = is_renewed_once(doc, stale);
        if (clock_mono_ms() - start_ms < PUBLISH_WAIT_MS)
            return fresh;
    }
}

Test(publish, young_is_good_enough)
{
    for (unsigned doc = 0; doc < API_DOC_COUNT; doc++)
        cr_assert(!is_renewed(doc, false), "document %u", doc);
}

Test(publish, the_former_leader_is_never_told)
{
    cr_assert(is_renewed(API_DOC_LEADER, true));
    cr_assert(is_renewed(API_DOC_AGENT, true));
    cr_assert(!is_renewed(API_DOC_MEMBERS, true), "a large page is not made for every packet");
}

/* The loop takes longer than a reader waits for other documents. */
static void *slow_loop(void *arg)
{
    sem_wait(&asked);
    usleep(2 * PUBLISH_WAIT_MS * 1000);
    publish_put(&publish, API_DOC_MEMBERS, "all", 3);
    return arg;
}

Test(publish, an_old_page_of_all_members_is_waited_for)
{
    pthread_t thread;
    cr_assert_eq(publish_init(&publish, on_want, NULL), 0);
    sem_init(&asked, 0, 0);
    publish_put(&publish, API_DOC_MEMBERS, "few", 3);
    publish.made_ms[API_DOC_MEMBERS] -= PUBLISH_PAGE_MS;
    cr_assert_eq(pthread_create(&thread, NULL, slow_loop, NULL), 0);
    struct publish_doc *d = publish_get(&publish, API_DOC_MEMBERS);
    cr_assert_eq(memcmp(d->data, "all", 3), 0);
    publish_release(d);
    pthread_join(thread, NULL);
    publish_fini(&publish);
    sem_destroy(&asked);
}
