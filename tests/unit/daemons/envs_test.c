/* SPDX-License-Identifier: Apache-2.0
 * The leader's environments and the intent. */
#include <criterion/criterion.h>

#include "agent/daemons/daemons_int.h"
#include "fakes.h"

/* A write costs as much as it changes, not as much as there are environments. */
Test(envs, a_change_is_looked_at_where_it_is)
{
    fake_init();
    fake_deploy("one", "11111111-1111-4111-8111-111111111111");
    fake_deploy("two", "11111111-1111-4111-8111-111111111111");
    daemons_lead(fake.d, true, 5);
    struct denv *one = map_get(&fake.d->envs, "one"), *two = map_get(&fake.d->envs, "two");
    cr_assert(one != NULL && two != NULL);
    for (int i = 0; i < 2; i++)
        json_object_set_new(json_object_get(fake.environments, i == 0 ? "one" : "two"), "cluster",
                            json_string("elsewhere"));
    fake_changed_in("two");
    cr_expect_str_eq(two->cluster, "elsewhere");
    cr_expect_str_eq(one->cluster, FAKE_CLUSTER);
    json_object_del(fake.environments, "one");
    json_object_del(fake.environments, "two");
    fake_changed_in("one");
    cr_expect_null(map_get(&fake.d->envs, "one"));
    cr_expect_eq(map_get(&fake.d->envs, "two"), two);
    fake_fini();
}

Test(envs, many_environments_all_get_their_turn)
{
    fake_init();
    fake_instances(3);
    fake_lead(5);
    fake_deploy_many(40);
    FAKE_UNTIL(fake_live_all() == 120);
    cr_expect_eq(fake_live_all(), 120);
    json_t *status = daemons_status(fake.d);
    cr_expect_eq(json_array_size(json_arr(status, "environments")), 40);
    cr_expect_str_eq(json_str(status, "state"), "scheduling");
    json_decref(status);
    fake_fini();
}
