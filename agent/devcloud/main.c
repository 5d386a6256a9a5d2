/* SPDX-License-Identifier: Apache-2.0
 * blox-devcloud: the local cloud as a program. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/devcloud/devcloud.h"

static const char USAGE[] =
    "usage: blox-devcloud [options]\n"
    "A local ECS, SQS, STS, instance metadata service and ECS agents on 127.0.0.1.\n"
    "  --port N             0 (default) takes a free one\n"
    "  --instances N        container instances at start (0)\n"
    "  --instance-type T    of these (m5.large)\n"
    "  --cluster NAME       (default)\n"
    "  --queue NAME         the queue that gets the events (blox-events)\n"
    "  --region R --partition P --account A\n"
    "  --seed S             of all randomness (1)\n"
    "  --settings JSON      as the control verb set takes it, for example\n"
    "                       '{\"event_loss\":0.02,\"throttle\":0}'\n"
    "  --scenario FILE      JSON lines {\"at_ms\":N,\"verb\":\"...\",\"args\":{...}}\n"
    "  --truth-log FILE     one JSON line for each change\n"
    "  --control-token T    POST /_control/... needs it\n"
    "  --access-key K --secret-key S\n"
    "  --lenient            members that the service model does not know are ignored\n"
    "  --die-with-parent    end when the parent process ends\n"
    "One JSON line on standard output says when it is ready.\n";

enum {
    OPT_PORT = 256,
    OPT_INSTANCES,
    OPT_TYPE,
    OPT_CLUSTER,
    OPT_QUEUE,
    OPT_REGION,
    OPT_PARTITION,
    OPT_ACCOUNT,
    OPT_SEED,
    OPT_SETTINGS,
    OPT_SCENARIO,
    OPT_TRUTH,
    OPT_TOKEN,
    OPT_ACCESS,
    OPT_SECRET,
    OPT_LENIENT,
    OPT_DIE,
    OPT_HELP
};

static const struct option OPTIONS[] = {{"port", required_argument, NULL, OPT_PORT},
                                        {"instances", required_argument, NULL, OPT_INSTANCES},
                                        {"instance-type", required_argument, NULL, OPT_TYPE},
                                        {"cluster", required_argument, NULL, OPT_CLUSTER},
                                        {"queue", required_argument, NULL, OPT_QUEUE},
                                        {"region", required_argument, NULL, OPT_REGION},
                                        {"partition", required_argument, NULL, OPT_PARTITION},
                                        {"account", required_argument, NULL, OPT_ACCOUNT},
                                        {"seed", required_argument, NULL, OPT_SEED},
                                        {"settings", required_argument, NULL, OPT_SETTINGS},
                                        {"scenario", required_argument, NULL, OPT_SCENARIO},
                                        {"truth-log", required_argument, NULL, OPT_TRUTH},
                                        {"control-token", required_argument, NULL, OPT_TOKEN},
                                        {"access-key", required_argument, NULL, OPT_ACCESS},
                                        {"secret-key", required_argument, NULL, OPT_SECRET},
                                        {"lenient", no_argument, NULL, OPT_LENIENT},
                                        {"die-with-parent", no_argument, NULL, OPT_DIE},
                                        {"help", no_argument, NULL, OPT_HELP},
                                        {NULL, 0, NULL, 0}};

static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;

    errno = 0;
    *ret = strtoul(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *ret <= max && text[0] != '-';
}

/* 0: go on; otherwise the exit code + 1. */
static int parse_option(struct devcloud_options *o, int option, const char *arg)
{
    unsigned long number = 0;
    const char **text[] = {[OPT_TYPE - OPT_PORT] = &o->instance_type,
                           [OPT_CLUSTER - OPT_PORT] = &o->cluster,
                           [OPT_QUEUE - OPT_PORT] = &o->queue,
                           [OPT_REGION - OPT_PORT] = &o->region,
                           [OPT_PARTITION - OPT_PORT] = &o->partition,
                           [OPT_ACCOUNT - OPT_PORT] = &o->account,
                           [OPT_SETTINGS - OPT_PORT] = &o->settings,
                           [OPT_SCENARIO - OPT_PORT] = &o->scenario,
                           [OPT_TRUTH - OPT_PORT] = &o->truth_log,
                           [OPT_TOKEN - OPT_PORT] = &o->control_token,
                           [OPT_ACCESS - OPT_PORT] = &o->access_key,
                           [OPT_SECRET - OPT_PORT] = &o->secret_key,
                           [OPT_HELP - OPT_PORT] = NULL};

    if (option == OPT_HELP) {
        fputs(USAGE, stdout);
        return 1;
    }
    if (option == OPT_LENIENT) {
        o->strict = false;
    } else if (option == OPT_DIE) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    } else if (option == OPT_PORT && parse_number(arg, UINT16_MAX, &number)) {
        o->port = (uint16_t)number;
    } else if (option == OPT_INSTANCES && parse_number(arg, 5000, &number)) {
        o->instances = (unsigned)number;
    } else if (option == OPT_SEED && parse_number(arg, UINT32_MAX, &number)) {
        o->seed = number;
    } else if (option > OPT_PORT && option < OPT_HELP && text[option - OPT_PORT] != NULL) {
        *text[option - OPT_PORT] = arg;
    } else {
        fprintf(stderr, "blox-devcloud: bad option%s%s; try --help\n", arg == NULL ? "" : ": ",
                arg == NULL ? "" : arg);
        return 3;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct devcloud_options options;
    struct devcloud *cloud;
    struct errmsg e = {0};
    sigset_t signals;
    int option, caught;

    devcloud_options_init(&options);
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        int end = parse_option(&options, option, optarg);
        if (end != 0)
            return end - 1;
    }
    if (optind < argc) {
        fprintf(stderr, "blox-devcloud: unexpected '%s'; try --help\n", argv[optind]);
        return 2;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before the threads start, so that they inherit it */
    signal(SIGPIPE, SIG_IGN);
    int err = devcloud_start(&cloud, &options, &e);
    if (err != 0) {
        fprintf(stderr, "blox-devcloud: %s\n", e.text[0] == '\0' ? err_text(err) : e.text);
        return 1;
    }
    json_t *ready = devcloud_ready(cloud);
    json_dumpf(ready, stdout, JSON_COMPACT);
    json_decref(ready);
    printf("\n");
    fflush(stdout);
    sigwait(&signals, &caught);
    devcloud_stop(cloud);
    return 0;
}
