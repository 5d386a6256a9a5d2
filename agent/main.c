/* SPDX-License-Identifier: Apache-2.0
 * bloxd: arguments, configuration, signals, one loop. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/base/log_out.h"
#include "agent/base/sched.h"
#include "agent/config.h"

#define EXIT_CONFIG 78 /* systemd's RestartPreventExitStatus: a restart would not help */

/* What the API's connections and streams may take, and the rest. A process usually gets 1,024, of
 * which it may make more itself: the low default protects programs that call select(). */
#define FILES_WANTED 16384u

extern char **environ;

struct arguments {
    const char *config_file;
    bool check;
    int first_setting; /* argv index of the first --section.key=value, handled after the files */
};

/* A stop that hangs (a disk that does not answer) must not need a SIGKILL from the outside. */
#define STOP_MAX_MS 20000
#define FLUSH_MAX_MS 1000 /* for who reads the log */

struct process {
    struct agent *agent;
    uv_signal_t term;
    uv_signal_t interrupt;
    uv_timer_t watchdog;
};

static void print_help(void)
{
    printf("bloxd %s: the blox agent\n\n"
           "usage: bloxd [--config FILE] [--check-config] [--SECTION.KEY=VALUE ...]\n\n"
           "  --config FILE    read FILE and FILE.d/*.conf (default %s)\n"
           "  --check-config   print the effective configuration and where it comes from\n"
           "  --log-format F   text or json (short for --agent.log_format)\n"
           "  --version, --help\n\n"
           "Settings, in [section] as key = value, as BLOX_SECTION_KEY, or as an option:\n\n",
           BLOX_VERSION, CONFIG_FILE_DEFAULT);
    config_print_keys(stdout);
}

/* --key=value or --key value; dashes in the key stand for underscores. */
static int apply_option(struct config *c, char **argv, int argc, int *i, struct errmsg *e)
{
    char name[128];
    const char *text = argv[*i];
    if (strncmp(text, "--", 2) != 0)
        return errmsg_set(e, ERR_USAGE, "what is \"%s\"? (bloxd --help)", text);
    const char *eq = strchr(text, '=');
    size_t n = eq == NULL ? strlen(text) - 2 : (size_t)(eq - text) - 2;
    if (n >= sizeof name)
        return errmsg_set(e, ERR_USAGE, "unknown option %.60s...", text);
    memcpy(name, text + 2, n);
    name[n] = '\0';
    for (char *p = name; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    const char *value = eq == NULL ? NULL : eq + 1;
    if (value == NULL && *i + 1 < argc)
        value = argv[++*i];
    if (value == NULL)
        return errmsg_set(e, ERR_USAGE, "%s needs a value", text);
    return config_set(c, name, value, text, e);
}

static bool is_config_option(const char *text)
{
    return strcmp(text, "--config") == 0 || strncmp(text, "--config=", 9) == 0;
}

static int load_config(struct config *c, int argc, char **argv, bool *ret_check, struct errmsg *e)
{
    const char *file = getenv("BLOX_CONFIG");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            file = argv[i + 1];
        else if (strncmp(argv[i], "--config=", 9) == 0)
            file = argv[i] + 9;
    }
    int err = config_init(c);
    if (err == 0)
        err = config_read_file(c, file == NULL ? CONFIG_FILE_DEFAULT : file, file != NULL, e);
    if (err == 0)
        err = config_read_environment(c, environ, e);
    for (int i = 1; err == 0 && i < argc; i++) {
        if (strcmp(argv[i], "--check-config") == 0)
            *ret_check = true;
        else if (is_config_option(argv[i]))
            i += strchr(argv[i], '=') == NULL;
        else
            err = apply_option(c, argv, argc, &i, e);
    }
    return err != 0 ? err : config_check(c, e);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_stopped(void *arg)
{
    struct process *p = arg;
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
    uv_close((uv_handle_t *)&p->watchdog, NULL);
}

static void on_stop_late(uv_timer_t *timer)
{
    (void)timer;
    LOG_MSG(LOG_ERROR, "stop_late", "stopping takes too long; leaving without the rest");
    (void)log_flush(FLUSH_MAX_MS);
    _exit(1);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct process *p = signal->data;
    LOG(LOG_INFO, "signal", "", LI("number", number));
    if (!uv_is_active((uv_handle_t *)&p->watchdog))
        uv_timer_start(&p->watchdog, on_stop_late, STOP_MAX_MS, 0);
    agent_stop(p->agent, on_stopped, p);
}

static int run(const struct config *c, struct errmsg *e)
{
    /* Static: after a failed start all of it is still reachable while the process ends. */
    static uv_loop_t loop;
    static struct process p;
    uv_loop_init(&loop);
    uv_signal_init(&loop, &p.term);
    uv_signal_init(&loop, &p.interrupt);
    p.term.data = &p;
    p.interrupt.data = &p;
    uv_signal_start(&p.term, on_signal, SIGTERM);
    uv_signal_start(&p.interrupt, on_signal, SIGINT);
    uv_timer_init(&loop, &p.watchdog);
    int err = agent_start(&p.agent, &loop, c, e);
    if (err != 0)
        return err;
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_walk(&loop, close_handle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return 0;
}

static void allow_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= FILES_WANTED)
        return;
    files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    struct config c;
    struct errmsg e = {{0}};
    bool check = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("bloxd %s\n", BLOX_VERSION);
            return 0;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* past RLIMIT_FSIZE a write fails, as on a full disk */
    allow_files();
    sched_wake_soon(); /* the loop answers probes, the API's threads answer users */
    int err = load_config(&c, argc, argv, &check, &e);
    if (err != 0) {
        fprintf(stderr, "bloxd: %s\n", e.text);
        config_fini(&c);
        return err == ERR_USAGE ? 2 : EXIT_CONFIG;
    }
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;
    (void)log_level_parse(c.log_level, &level);
    (void)log_format_parse(c.log_format, &format);
    log_configure(level, format);
    if (check) {
        config_print(&c, stdout);
    } else if ((err = run(&c, &e)) != 0) {
        LOG(LOG_ERROR, "not_started", "", LS("why", e.text[0] == '\0' ? err_text(err) : e.text));
        fprintf(stderr, "bloxd: %s\n", e.text[0] == '\0' ? err_text(err) : e.text);
    }
    config_fini(&c);
    (void)log_flush(FLUSH_MAX_MS);
    return err == 0 ? 0 : err == ERR_CONFIG ? EXIT_CONFIG : 1;
}
