#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that are tests: include arrows, purity of the cores, sizes, banned calls, format, spelling
of commit-worthy files. Prints each breach as file:line: text and exits 1 if there is any.

    python3 tests/lint/lint.py [--build DIR] [--no-format]
"""
import argparse
import glob
import os
import re
import subprocess
import sys

PRODUCT = ("agent", "gossip", "store", "scheduler")
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70
LINE_MAX = 100
# docs/consensus.md: so much can be read and reasoned about in one go.
RAFT_CORE = [f"gossip/raft{part}.c" for part in ("", "_lead", "_follow", "_log", "_config")]
RAFT_CORE_LINES_MAX = 700

# Who may include what of the project. The longest matching prefix of a file decides.
ARROWS = {
    "agent/base/": ("agent/base/",),
    "store/": ("store/", "agent/base/"),
    "gossip/": ("gossip/", "agent/base/"),
    "scheduler/": ("scheduler/", "agent/base/"),
    "agent/aws/": ("agent/aws/", "agent/base/"),
    "agent/api/": ("agent/api/", "agent/base/", "store/", "scheduler/"),
    "agent/intent/": ("agent/intent/", "agent/base/", "store/"),
    "agent/rows/": ("agent/rows/", "agent/base/", "store/", "gossip/records.h"),
    "agent/raft/": ("agent/raft/", "agent/base/", "store/", "gossip/"),
    "agent/intake/": ("agent/intake/", "agent/aws/aws.h", "agent/rows/rows.h", "agent/base/",
                      "store/store.h"),
    "agent/daemons/": ("agent/daemons/", "agent/aws/aws.h", "agent/rows/rows.h", "agent/base/",
                       "agent/intake/", "agent/intent/intent.h", "agent/raft/raft_uv.h",
                       "scheduler/", "store/store.h"),
    "agent/devcloud/": ("agent/devcloud/", "agent/base/"),
    "agent/cli/": ("agent/cli/", "agent/base/"),
    "agent/": ("agent/", "gossip/", "store/", "scheduler/"),  # the composition knows all
}

# Which files may include a library's header.
LIBRARIES = {
    "uv.h": lambda f: f.endswith("_uv.c") or f in UV_HEADERS or f.startswith("agent/agent")
    or f in ("agent/main.c", "agent/flow.c", "agent/commands.c", "agent/publish.c"),
    "lmdb.h": lambda f: f.startswith("store/"),
    "curl/curl.h": lambda f: f.startswith(("agent/aws/", "agent/cli/")),
    "sodium.h": lambda f: f in ("gossip/seal.c", "gossip/nodekey.c", "agent/aws/sign.c")
    or f.startswith("agent/devcloud/"),
    "microhttpd.h": lambda f: f.startswith(("agent/api/", "agent/devcloud/")),
    "zlib.h": lambda f: f == "agent/api/gzip.c" or f.startswith("tests/"),
    "jansson.h": lambda f: f.startswith("agent/"),
    "ini.h": lambda f: f.startswith(("agent/config", "agent/aws/")),
}
# Private headers of shells that hold uv handles.
UV_HEADERS = set()

BANNED = re.compile(
    r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|rand|srand|gettimeofday|alloca"
    r"|tmpnam|mktemp)\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|not implemented|for now\b", re.I)

# Object files that must be pure: no I/O, clock, allocation or randomness of their own.
PURE = ("gossip/swim", "gossip/rumor", "gossip/sync", "gossip/raft", "gossip/voters",
        "gossip/wire", "gossip/path.", "gossip/addr.", "scheduler/")
PURE_SYMBOLS = re.compile(
    r"^(mem(cpy|move|set|cmp|chr)|str(n?len|n?cmp|n?casecmp|chr|rchr|str|spn|cspn|n?cpy)|qsort|"
    r"inet_(ntop|pton)|[nh]to[hn][sl]|snprintf|vsnprintf|abort|fprintf|stderr|fwrite|__.*|_GLOBAL_OFFSET_TABLE_|"
    r"buf_\w+|wbuf_\w+|rbuf_\w+|hash_\w+|prng_\w+|record_\w+|row_\w+|map_\w+|err_\w+|errmsg_\w+|"
    r"strto(l|ul|ll|ull|d)|clock_parse_rfc3339|log2?|pow|exp|ceil|floor|isdigit|isalpha|isalnum|isspace|tolower|toupper|bcmp)$")

breaches = []


def breach(path, line, text):
    breaches.append(f"{path}:{line}: {text}")


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns],
                         capture_output=True, text=True, check=True).stdout
    return [f for f in out.splitlines() if os.path.isfile(f)]


def longest_prefix(path):
    return max((p for p in ARROWS if path.startswith(p)), key=len, default=None)


def check_includes(path, lines):
    allowed = ARROWS.get(longest_prefix(path), ())
    for n, line in enumerate(lines, 1):
        m = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if not m:
            continue
        header = m.group(1)
        if header.startswith(PRODUCT) and not header.startswith(allowed):
            breach(path, n, f"includes {header}: arrows point down only")
        rule = LIBRARIES.get(header)
        if rule and not rule(path):
            breach(path, n, f"includes <{header}>: not a place for that library")


def check_lines(path, lines):
    in_block = False
    for n, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            breach(path, n, f"{len(line)} columns, {LINE_MAX} at most")
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line)
        if "/*" in code:
            in_block = True
        if not in_block and BANNED.search(code):
            breach(path, n, "banned call: " + BANNED.search(code).group(1))
        if "*/" in code:
            in_block = False
        if UNFINISHED.search(line):
            breach(path, n, "unfinished: " + UNFINISHED.search(line).group(0))


def check_functions(path, lines):
    start = None
    for n, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = n
        elif line.startswith("}") and start is not None:
            if n - start - 1 > FUNCTION_LINES_MAX:
                breach(path, start, f"function of {n - start - 1} lines, {FUNCTION_LINES_MAX} at most")
            start = None


def check_file(path):
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    if not lines or "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:3]):
        breach(path, 1, "no SPDX-License-Identifier line")
    if len(lines) > FILE_LINES_MAX:
        breach(path, 1, f"{len(lines)} lines, {FILE_LINES_MAX} at most: one concept a file")
    check_lines(path, lines)
    check_functions(path, lines)
    if path.startswith(PRODUCT):
        check_includes(path, lines)


def check_purity(build):
    objects = [o for d in ("gossip", "scheduler")
               for o in glob.glob(f"{build}/{d}/CMakeFiles/**/*.o", recursive=True)]
    seen = 0
    for obj in objects:
        source = re.sub(r"^.*?/((gossip|scheduler)/)CMakeFiles/\w+\.dir/", r"\1", obj)
        if not source.startswith(PURE) or source.endswith("_uv.c.o"):
            continue
        seen += 1
        out = subprocess.run(["nm", "-u", obj], capture_output=True, text=True, check=True).stdout
        own = tuple(p.split("/")[-1].rstrip(".") for p in PURE if p != "scheduler/")
        for line in out.splitlines():
            symbol = line.split()[-1]
            module = symbol.split("_")[0]
            if PURE_SYMBOLS.match(symbol) or module in own + ("select", "plan", "model", "regex",
                                                              "pattern", "peers"):
                continue
            breach(source[:-2], 1, f"a pure core uses {symbol}")
    if not seen:
        breach(build, 1, "no object files of the cores: build first")


def check_symbols(build):
    """No two libraries define the same external name: whichever is linked first would win."""
    owner = {}
    for lib in sorted(glob.glob(f"{build}/**/lib*.a", recursive=True)):
        if f"{build}/tests/" in lib:
            continue
        out = subprocess.run(["nm", "-g", "--defined-only", lib], capture_output=True, text=True,
                             check=True).stdout
        for line in out.splitlines():
            parts = line.split()
            if len(parts) == 3 and not parts[2].startswith("__"):
                if owner.setdefault(parts[2], lib) != lib:
                    breach(lib, 1, f"{parts[2]} is defined in {owner[parts[2]]} too")


def check_headers_alone():
    for header in tracked(*(f"{d}/*.h" for d in PRODUCT)):
        if header.endswith("_int.h"):
            continue
        cmd = ["cc", "-std=c17", "-D_GNU_SOURCE", "-I.", "-fsyntax-only", "-x", "c", "-include",
               header, "/dev/null"]
        r = subprocess.run(cmd, capture_output=True, text=True)
        if r.returncode:
            breach(header, 1, "does not compile alone: " + r.stderr.strip().splitlines()[0])


def check_format(files):
    for start in range(0, len(files), 50):
        part = files[start:start + 50]
        r = subprocess.run(["clang-format", "--dry-run", "-Werror", *part], capture_output=True,
                           text=True)
        seen = set()
        for line in r.stderr.splitlines():
            m = re.match(r"([^:]+):(\d+):", line)
            if m and m.group(1) not in seen:
                seen.add(m.group(1))
                breach(m.group(1), m.group(2), "not as clang-format would have it")


def check_tidy(build):
    """clang-tidy's checks for bugs (.clang-tidy), on the product."""
    files = [f for f in tracked(*(f"{d}/*.c" for d in PRODUCT)) if os.path.exists(f)]
    cmd = ["clang-tidy", "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option"]
    here = os.getcwd() + "/"
    half = (len(files) + 1) // 2
    runs = [subprocess.Popen(cmd + part, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True) for part in (files[:half], files[half:])]
    for run in runs:
        out = run.communicate()[0]
        for m in re.finditer(r"^(\S+?):(\d+):\d+: (?:error|warning): (.*)$", out, re.M):
            breach(m.group(1).removeprefix(here), m.group(2), m.group(3))
        if run.returncode and not breaches:
            breach(".clang-tidy", 1, f"clang-tidy ended with {run.returncode}")


def check_raft_core():
    code = 0
    for path in RAFT_CORE:
        with open(path, encoding="utf-8") as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        code += sum(1 for line in text.splitlines() if line.strip())
    if code > RAFT_CORE_LINES_MAX:
        breach(RAFT_CORE[0], 1, f"the raft core has {code} lines without blank ones and comments, "
               f"{RAFT_CORE_LINES_MAX} at most")
    return code


def check_tree():
    top = {f.split("/")[0] for f in tracked() if "/" in f}
    extra = top - {"agent", "gossip", "store", "scheduler", "packaging", "tests", "docs", ".ci"}
    for name in sorted(extra):
        breach(name, 1, "a top-level folder outside the layout")
    lines = sum(1 for _ in open("docs/ARCHITECTURE.md", encoding="utf-8"))
    if lines > 300:
        breach("docs/ARCHITECTURE.md", 1, f"{lines} lines, 300 at most")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build/dev")
    parser.add_argument("--no-format", action="store_true")
    args = parser.parse_args()
    files = tracked("*.c", "*.h", "*.def")
    for header in files:
        if header.endswith(("_int.h", "_uv.h", "agent_int.h")):
            UV_HEADERS.add(header)
    UV_HEADERS.update({"agent/agent.h"})
    for path in files:
        check_file(path)
    check_headers_alone()
    check_purity(args.build)
    check_symbols(args.build)
    check_tree()
    check_raft_core()
    if not args.no_format:
        check_format([f for f in files if not f.endswith(".def")])
        check_tidy(args.build)
    for line in breaches:
        print(line)
    print(f"lint: {len(files)} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
