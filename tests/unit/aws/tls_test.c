/* SPDX-License-Identifier: Apache-2.0
 * TLS is always verified: a certificate that nobody vouches for, or one for another host, is
 * refused before a byte of the request goes out. */
#include "tests/unit/aws/client.h"

#include <stdio.h>
#include <sys/wait.h>

/* Serves one certificate for %s; prints its port; answers each request with {}. */
static const char server[] =
    "import http.server, ssl, sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    protocol_version = 'HTTP/1.1'\n"
    "    def log_message(self, *a): pass\n"
    "    def do_POST(self):\n"
    "        self.rfile.read(int(self.headers['Content-Length']))\n"
    "        self.send_response(200); self.send_header('Content-Length', '2')\n"
    "        self.end_headers(); self.wfile.write(b'{}')\n"
    "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
    "s.handle_error = lambda *a: None\n"
    "c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "c.load_cert_chain(sys.argv[1] + '/cert.pem', sys.argv[1] + '/key.pem')\n"
    "s.socket = c.wrap_socket(s.socket, server_side=True)\n"
    "print(s.server_port, flush=True)\n"
    "import threading; threading.Thread(target=s.serve_forever, daemon=True).start()\n"
    "sys.stdin.read()\n";

struct tls_server {
    char dir[64];
    char url[64];
    int in;
    FILE *out;
    pid_t pid;
};

static void tls_start(struct tls_server *t, const char *san)
{
    char command[1024];
    int to[2];
    int from[2];
    int port = 0;
    snprintf(t->dir, sizeof t->dir, "/tmp/blox-tls-XXXXXX");
    cr_assert(mkdtemp(t->dir) != NULL);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-subj /CN=blox-test -addext subjectAltName=%s -keyout %s/key.pem -out %s/cert.pem "
             "2>/dev/null",
             san, t->dir, t->dir);
    if (system("command -v openssl >/dev/null && /usr/bin/python3 -c 'import ssl'") != 0)
        cr_skip_test("skipped: the openssl command and /usr/bin/python3 are needed");
    cr_assert_eq(system(command), 0);
    cr_assert(pipe(to) == 0 && pipe(from) == 0);
    t->pid = fork();
    if (t->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        execl("/usr/bin/python3", "/usr/bin/python3", "-c", server, t->dir, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    t->in = to[1];
    t->out = fdopen(from[0], "r");
    cr_assert_eq(fscanf(t->out, "%d", &port), 1);
    snprintf(t->url, sizeof t->url, "https://127.0.0.1:%d", port);
}

static void tls_stop(struct tls_server *t)
{
    char command[128];
    close(t->in);
    fclose(t->out);
    waitpid(t->pid, NULL, 0);
    snprintf(command, sizeof command, "rm -rf %s", t->dir);
    cr_assert_eq(system(command), 0);
}

static struct outcome call(const struct tls_server *t, bool trusted)
{
    struct client c;
    char path[128];
    clean_environment();
    setenv("AWS_ACCESS_KEY_ID", "A", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
    snprintf(path, sizeof path, "%s/cert.pem", t->dir);
    if (trusted)
        setenv("AWS_CA_BUNDLE", path, 1);
    client_start(&c, (struct aws_options){.region = "eu-west-1", .ecs_endpoint = t->url});
    struct aws_call_options options = {.once = true};
    struct outcome o = client_call(&c, AWS_ECS, "StartTask", NULL, &options);
    client_stop(&c);
    unsetenv("AWS_CA_BUNDLE");
    json_decref(o.body);
    return o;
}

Test(aws_tls, only_a_trusted_certificate_of_that_host_is_taken)
{
    struct tls_server t;
    tls_start(&t, "IP:127.0.0.1");
    struct outcome o = call(&t, true);
    cr_assert_eq(o.err, 0, "%s", o.message);
    o = call(&t, false);
    cr_assert_eq(o.err, ERR_UNREACHABLE, "%d %s", o.err, o.message);
    cr_assert_not(o.ambiguous);
    cr_assert(strstr(o.message, "certificate") != NULL, "%s", o.message);
    tls_stop(&t);
    tls_start(&t, "DNS:other.example");
    o = call(&t, true);
    cr_assert_eq(o.err, ERR_UNREACHABLE, "%d %s", o.err, o.message);
    tls_stop(&t);
}
