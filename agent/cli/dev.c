/* SPDX-License-Identifier: Apache-2.0
 * blox dev: a local cloud (ECS, SQS, instance metadata, ECS agents) and N agents, as processes
 * of their own in a directory of their own; Ctrl-C ends them all. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/cli/cli.h"
#include "agent/cli/ports.h"

#define USAGE                                                                                      \
    "dev [--agents N] [--instances N] [--cluster NAME] [--dir DIR] [--api-port P] "                \
    "[--cloud-port P] [--scenario FILE]"
#define AGENTS_MAX 64
#define API_PORT 7380
#define START_TIMEOUT_MS 15000

struct dev {
    struct cli *cli;
    long agents;
    const char *instances;
    const char *cluster;
    const char *scenario;
    const char *cloud_port;
    long api[AGENTS_MAX], gossip[AGENTS_MAX]; /* ports of the agents */
    char dir[PATH_MAX / 2];
    bool own_dir; /* made here, removed at the end */
    pid_t cloud;
    pid_t agent[AGENTS_MAX]; /* 0: it has ended */
    json_t *ready;           /* the cloud's first line */
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t n = strlen(text);
    bool ok = fd >= 0 && write(fd, text, n) == (ssize_t)n;
    if (fd >= 0)
        close(fd);
    if (!ok)
        fprintf(stderr, "blox: cannot write %s: %s\n", path, strerror(errno));
    return ok;
}

/* What the user's shell says of another cluster or account is not for the local one. */
static void clean_environment(void)
{
    extern char **environ;
    char name[128];
    for (char **p = environ; *p != NULL;) {
        size_t n = strcspn(*p, "=");
        bool ours = strncmp(*p, "BLOX_", 5) == 0 || strncmp(*p, "AWS_", 4) == 0;
        if (ours && n < sizeof name) {
            memcpy(name, *p, n);
            name[n] = '\0';
            unsetenv(name); /* moves the rest down */
        } else {
            p++;
        }
    }
}

/* Children die with us, whatever ends us. */
static pid_t spawn(const char *program, char *const *argv, int out_fd, const char *log)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    clean_environment();
    signal(SIGINT, SIG_IGN); /* the terminal's Ctrl-C goes to the whole group; we stop in order */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
        dup2(fd, STDERR_FILENO);
        dup2(out_fd >= 0 ? out_fd : fd, STDOUT_FILENO);
    }
    execv(program, argv);
    fprintf(stderr, "blox: cannot run %s: %s\n", program, strerror(errno));
    _exit(127);
}

/* The cloud says where it is in one JSON line. */
static json_t *read_ready_line(int fd)
{
    struct buf line;
    json_t *j = NULL;
    char c;
    buf_init(&line, 16u << 20);
    while (read(fd, &c, 1) == 1 && c != '\n')
        buf_putc(&line, c);
    if (line.len > 0)
        j = json_parse_lenient(line.data, line.len, NULL);
    buf_fini(&line);
    return j;
}

static bool start_cloud(struct dev *d)
{
    char program[PATH_MAX];
    char log[PATH_MAX];
    int fds[2];
    snprintf(program, sizeof program, "%s/blox-devcloud", d->cli->program_dir);
    snprintf(log, sizeof log, "%s/cloud.log", d->dir);
    char *argv[12] = {program,
                      "--port",
                      (char *)(uintptr_t)d->cloud_port,
                      "--instances",
                      (char *)(uintptr_t)d->instances,
                      "--cluster",
                      (char *)(uintptr_t)d->cluster};
    if (d->scenario != NULL) {
        argv[7] = "--scenario";
        argv[8] = (char *)(uintptr_t)d->scenario;
    }
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    d->cloud = spawn(program, argv, fds[1], log);
    close(fds[1]);
    d->ready = d->cloud < 0 ? NULL : read_ready_line(fds[0]);
    close(fds[0]);
    if (d->ready == NULL)
        fprintf(stderr, "blox: the local cloud did not start; see %s\n", log);
    return d->ready != NULL;
}

static bool write_config(const struct dev *d, long i, const char *path, const char *key_path)
{
    struct buf b;
    const json_t *list = json_arr(d->ready, "instances");
    const json_t *instance =
        json_array_size(list) == 0 ? NULL : json_array_get(list, (size_t)i % json_array_size(list));
    bool has_instance = (size_t)i < json_array_size(list);
    buf_init(&b, 1u << 16);
    buf_printf(&b, "[agent]\ncluster = %s\ndata_dir = %s/agent-%ld\n", d->cluster, d->dir, i + 1);
    if (!has_instance)
        buf_printf(&b, "id = dev-agent-%ld\n", i + 1);
    buf_printf(&b, "[gossip]\nbind = 127.0.0.1:%ld\nkey_file = %s\n", d->gossip[i], key_path);
    buf_printf(&b, "join = 127.0.0.1:%ld", d->gossip[0]);
    if (d->agents > 1) /* where nobody is nobody answers, which an agent tells */
        buf_printf(&b, ", 127.0.0.1:%ld", d->gossip[1]);
    buf_puts(&b, "\n");
    buf_printf(&b, "join_ecs = %s\n", has_instance ? "true" : "false");
    buf_printf(&b, "[raft]\nexpect = %ld\nbootstrap_wait = 1s\n", d->agents);
    buf_printf(&b, "[aws]\nregion = %s\n", json_str_or(d->ready, "region", "us-east-1"));
    static const char *const services[] = {"ecs", "sqs", "sts", "ec2"};
    for (size_t s = 0; s < sizeof services / sizeof services[0]; s++)
        buf_printf(&b, "%s_endpoint = %s\n", services[s], json_str_or(d->ready, "endpoint", ""));
    buf_printf(&b, "imds_endpoint = %s\n", json_str_or(instance, "imds", ""));
    buf_printf(&b, "ecs_agent_endpoint = %s\n",
               has_instance ? json_str_or(instance, "ecs_agent", "") : "");
    buf_printf(&b, "[intake]\nqueue = %s\n", json_str_or(d->ready, "queue_url", ""));
    buf_printf(&b, "[api]\nbind = 127.0.0.1:%ld\nsocket = %s/agent-%ld.sock\nanonymous = write\n",
               d->api[i], d->dir, i + 1);
    bool ok = b.err == 0 && write_file(path, b.data);
    buf_fini(&b);
    return ok;
}

static bool start_agents(struct dev *d)
{
    char program[PATH_MAX];
    char key_path[PATH_MAX];
    char command[3 * PATH_MAX];
    snprintf(program, sizeof program, "%s/bloxd", d->cli->program_dir);
    snprintf(key_path, sizeof key_path, "%s/gossip.key", d->dir);
    snprintf(command, sizeof command, "umask 077; '%s/blox' keygen > '%s'", d->cli->program_dir,
             key_path);
    if (access(key_path, R_OK) != 0 && system(command) != 0)
        return false;
    for (long i = 0; i < d->agents; i++) {
        char config[PATH_MAX];
        char log[PATH_MAX];
        snprintf(config, sizeof config, "%s/agent-%ld.conf", d->dir, i + 1);
        snprintf(log, sizeof log, "%s/agent-%ld.log", d->dir, i + 1);
        if (!write_config(d, i, config, key_path))
            return false;
        char *argv[] = {program, "--config", config, NULL};
        d->agent[i] = spawn(program, argv, -1, log);
        if (d->agent[i] < 0)
            return false;
    }
    return true;
}

/* Its state, and why it is not ready. */
struct agent_says {
    char state[32];
    char why[512];
};

static bool ask_agent(struct dev *d, long i, struct agent_says *ret)
{
    struct cli quiet = *d->cli;
    struct cli_answer a;
    char address[PATH_MAX];
    *ret = (struct agent_says){.state = "does not answer"};
    snprintf(address, sizeof address, "%s/agent-%ld.sock", d->dir, i + 1);
    if (d->agent[i] == 0 || access(address, R_OK) != 0)
        return false;
    snprintf(address, sizeof address, "unix:%s/agent-%ld.sock", d->dir, i + 1);
    quiet.address = address;
    cli_request(&quiet, "GET", "/v2/agent", NULL, &a);
    if (a.status == 200) {
        snprintf(ret->state, sizeof ret->state, "%s", json_str_or(a.body, "state", ""));
        snprintf(ret->why, sizeof ret->why, "%s", json_str_or(a.body, "why", ""));
    }
    cli_answer_fini(&a);
    return strcmp(ret->state, "ready") == 0;
}

/* The last line of a log, which says why its process ended. */
static void last_line(const char *path, char *out, size_t size)
{
    char line[1024];
    FILE *f = fopen(path, "r");
    out[0] = '\0';
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
    if (f != NULL)
        fclose(f);
}

/* Who has ended is told once. False: the cloud has. */
static bool look_at_children(struct dev *d)
{
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == d->cloud) {
            fprintf(stderr, "blox: the local cloud ended; see %s/cloud.log\n", d->dir);
            d->cloud = 0;
        }
        for (long i = 0; i < d->agents; i++) {
            char log[PATH_MAX], line[1024];
            if (d->agent[i] != pid)
                continue;
            snprintf(log, sizeof log, "%s/agent-%ld.log", d->dir, i + 1);
            last_line(log, line, sizeof line);
            fprintf(stderr, "blox: agent %ld ended; see %s: %s\n", i + 1, log, line);
            d->agent[i] = 0;
        }
    }
    return d->cloud > 0;
}

static bool are_all_ready(struct dev *d)
{
    struct agent_says says;
    long ready = 0;
    for (long i = 0; i < d->agents; i++)
        ready += ask_agent(d, i, &says);
    return ready == d->agents;
}

static bool has_ended(const struct dev *d)
{
    for (long i = 0; i < d->agents; i++) {
        if (d->agent[i] == 0)
            return true;
    }
    return false;
}

static bool wait_until_ready(struct dev *d)
{
    uint64_t end = clock_mono_ms() + START_TIMEOUT_MS;
    bool ready = false;
    while (!ready && clock_mono_ms() < end && !stop_requested && look_at_children(d) &&
           !has_ended(d)) {
        ready = are_all_ready(d);
        if (!ready)
            usleep(100000);
    }
    return ready;
}

static void print_addresses(struct dev *d, bool ready)
{
    struct agent_says says;
    printf("local cloud  %s   (log %s/cloud.log)\n", json_str_or(d->ready, "endpoint", ""), d->dir);
    printf("queue        %s\n", json_str_or(d->ready, "queue_url", ""));
    for (long i = 0; i < d->agents; i++) {
        printf("agent %-3ld    http://127.0.0.1:%ld/   socket %s/agent-%ld.sock\n", i + 1,
               d->api[i], d->dir, i + 1);
        if (!ready && d->agent[i] > 0 && !ask_agent(d, i, &says))
            printf("             not ready: %s%s%s\n", says.state, says.why[0] == '\0' ? "" : ", ",
                   says.why);
    }
    if (d->agents > 0)
        printf("dashboard    http://127.0.0.1:%ld/\n", d->api[0]);
    if (d->agents > 0)
        printf("%s. In another shell: export BLOX_ADDR=http://127.0.0.1:%ld; blox status\n",
               ready ? "All agents are ready" : "Some agents are not ready yet", d->api[0]);
    printf("Ctrl-C ends it.\n");
    fflush(stdout);
}

static void stop_all(struct dev *d)
{
    for (long i = 0; i < d->agents; i++) {
        if (d->agent[i] > 0)
            kill(d->agent[i], SIGTERM);
    }
    uint64_t end = clock_mono_ms() + 5000;
    for (long i = 0; i < d->agents; i++) {
        while (d->agent[i] > 0 && waitpid(d->agent[i], NULL, WNOHANG) == 0 && clock_mono_ms() < end)
            usleep(20000);
        if (d->agent[i] > 0)
            kill(d->agent[i], SIGKILL);
    }
    if (d->cloud > 0) {
        kill(d->cloud, SIGTERM);
        waitpid(d->cloud, NULL, 0);
    }
}

/* Ends at a signal, or when a child dies that should not. */
static int supervise(struct dev *d, bool ready)
{
    while (!stop_requested) {
        if (!look_at_children(d))
            return 1;
        usleep(ready ? 100000 : 500000);
        if (!ready && (ready = are_all_ready(d))) {
            printf("All agents are ready now.\n");
            fflush(stdout);
        }
    }
    return 0;
}

static bool make_dir(struct dev *d, const char *wanted)
{
    if (wanted != NULL) {
        snprintf(d->dir, sizeof d->dir, "%s", wanted);
        return mkdir(d->dir, 0700) == 0 || errno == EEXIST;
    }
    snprintf(d->dir, sizeof d->dir, "/tmp/blox-dev-XXXXXX");
    d->own_dir = mkdtemp(d->dir) != NULL;
    return d->own_dir;
}

static int run(struct dev *d)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    int code = 1;
    if (start_cloud(d) && start_agents(d)) {
        bool ready = wait_until_ready(d);
        if (!stop_requested)
            print_addresses(d, ready);
        code = supervise(d, ready);
    }
    stop_all(d);
    json_decref(d->ready);
    if (d->own_dir && code == 0) {
        char command[PATH_MAX];
        snprintf(command, sizeof command, "rm -rf '%s'", d->dir);
        if (system(command) != 0)
            fprintf(stderr, "blox: cannot remove %s\n", d->dir);
    }
    return code;
}

/* The ports that were asked for, or else the usual ones, or else any. Gossip's follow the API's by
 * a thousand if they are free, so that they stay the same. */
static bool choose_ports(struct dev *d, const char *wanted, long first)
{
    long taken = first == 0 ? 0 : ports_row(first, d->agents, false, d->api);
    if (taken != 0 && wanted != NULL) {
        fprintf(
            stderr,
            "blox: port %ld of the %ld from %ld on is taken, perhaps by another blox dev; choose "
            "others with --api-port, or --api-port 0 for any that are free\n",
            taken, d->agents, first);
        return false;
    }
    if (taken != 0)
        printf("port %ld is taken, perhaps by another blox dev: the agents listen elsewhere\n",
               taken);
    bool ok = (taken == 0 && first != 0) || ports_any(d->agents, false, d->api);
    if (ok && ports_row(d->api[0] + 1000, d->agents, true, d->gossip) != 0)
        ok = ports_any(d->agents, true, d->gossip);
    if (!ok)
        fprintf(stderr, "blox: this machine has no free ports\n");
    return ok;
}

static bool number(const char *text, long low, long high, long *ret)
{
    char *end = NULL;
    long v = strtol(text, &end, 10);
    if (end == text || *end != '\0' || v < low || v > high)
        return false;
    *ret = v;
    return true;
}

int cli_dev(struct cli *cli, int argc, char **argv)
{
    struct dev d = {.cli = cli, .cluster = "dev", .instances = "3", .cloud_port = "0"};
    const char *agents = "3";
    const char *port = NULL;
    long first = API_PORT;
    const char *dir = NULL;
    const struct cli_option options[] = {{.name = "--agents", .value = &agents},
                                         {.name = "--instances", .value = &d.instances},
                                         {.name = "--cluster", .value = &d.cluster},
                                         {.name = "--dir", .value = &dir},
                                         {.name = "--api-port", .value = &port},
                                         {.name = "--cloud-port", .value = &d.cloud_port},
                                         {.name = "--scenario", .value = &d.scenario},
                                         {0}};
    int n = cli_parse(cli, argc, argv, options, NULL, 0, USAGE);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    if (!number(agents, 0, AGENTS_MAX, &d.agents) ||
        (port != NULL && !number(port, 0, 64000, &first))) {
        fprintf(stderr, "blox: --agents is 0..%d, --api-port 1..64000, or 0 for any\n", AGENTS_MAX);
        return 2;
    }
    if (!choose_ports(&d, port, first))
        return 1;
    if (!make_dir(&d, dir)) {
        fprintf(stderr, "blox: cannot make %s: %s\n", d.dir, strerror(errno));
        return 1;
    }
    return run(&d);
}
