/* SPDX-License-Identifier: Apache-2.0
 * Parser of the cluster query language. The evaluator is select_match.c. */
#include "scheduler/select.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "scheduler/select_int.h"

struct parser {
    struct select *sel;
    const char *text;
    size_t at;
    struct errmsg *e;
    unsigned depth;
};

static const struct {
    const char *text;
    uint8_t op;
    bool negate;
} operators[] = {
    /* longer ones first: "==" before "=", "greater_than_equal" before "greater_than" */
    {"==", SELECT_EQ, false},
    {"!=", SELECT_EQ, true},
    {">=", SELECT_GE, false},
    {"<=", SELECT_LE, false},
    {">", SELECT_GT, false},
    {"<", SELECT_LT, false},
    {"=~", SELECT_LIKE, false},
    {"!~", SELECT_LIKE, true},
    {"!in", SELECT_IN, true},
    {"in", SELECT_IN, false},
    {"!exists", SELECT_EXISTS, true},
    {"exists", SELECT_EXISTS, false},
    {"equals", SELECT_EQ, false},
    {"not_equals", SELECT_EQ, true},
    {"greater_than_equal", SELECT_GE, false},
    {"greater_than", SELECT_GT, false},
    {"less_than_equal", SELECT_LE, false},
    {"less_than", SELECT_LT, false},
    {"matches", SELECT_LIKE, false},
    {"not_matches", SELECT_LIKE, true},
    {"not_in", SELECT_IN, true},
    {"not_exists", SELECT_EXISTS, true},
};

static const struct {
    const char *text;
    uint8_t subject;
} subjects[] = {
    {"agentConnected", SELECT_CONNECTED},  {"agentVersion", SELECT_AGENT_VERSION},
    {"ec2InstanceId", SELECT_EC2},         {"registeredAt", SELECT_REGISTERED},
    {"runningTasksCount", SELECT_RUNNING}, {"task:group", SELECT_GROUP},
};

static bool is_blank(char ch)
{
    return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

static void skip_blanks(struct parser *p)
{
    while (is_blank(p->text[p->at]))
        p->at++;
}

/* A word ends at blanks, brackets, quotes, commas and operator signs. */
static bool is_word(char ch)
{
    return ch && !is_blank(ch) && !strchr("()[],'\"=!<>~&|", ch);
}

static size_t word_length(const struct parser *p)
{
    size_t n = 0;
    while (is_word(p->text[p->at + n]))
        n++;
    return n;
}

static int expected(struct parser *p, const char *what)
{
    const char *found = &p->text[p->at];
    size_t n = word_length(p);
    if (!*found)
        return errmsg_set(p->e, ERR_BADPARAM, "position %zu: expected %s, found the end", p->at + 1,
                          what);
    if (n == 0)
        n = 1;
    return errmsg_set(p->e, ERR_BADPARAM, "position %zu: expected %s, found '%.*s'", p->at + 1,
                      what, (int)(n > 40 ? 40 : n), found);
}

static bool take_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    if (word_length(p) != n || memcmp(&p->text[p->at], word, n) != 0)
        return false;
    p->at += n;
    return true;
}

static bool take_sign(struct parser *p, const char *sign)
{
    size_t n = strlen(sign);
    if (strncmp(&p->text[p->at], sign, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* Copies a text; the store is twice the longest expression, so it always fits. */
static uint16_t keep(struct parser *p, const char *text, size_t len)
{
    struct select *sel = p->sel;
    uint16_t at = sel->text_len;
    memcpy(&sel->texts[at], text, len);
    sel->texts[at + len] = '\0';
    sel->text_len = (uint16_t)(at + len + 1);
    return at;
}

static int new_node(struct parser *p, uint16_t *ret)
{
    if (p->sel->node_count == SELECT_NODES_MAX)
        return errmsg_set(p->e, ERR_TOOBIG, "position %zu: the expression has more than %d parts",
                          p->at + 1, SELECT_NODES_MAX);
    *ret = p->sel->node_count++;
    memset(&p->sel->nodes[*ret], 0, sizeof p->sel->nodes[0]);
    return 0;
}

/* A bare regular expression runs to the next blank or to a ')' that it did not open. */
static size_t pattern_length(const struct parser *p)
{
    size_t n = 0;
    unsigned open = 0;
    const char *text = &p->text[p->at];
    while (text[n] && !is_blank(text[n])) {
        if (text[n] == '(' || text[n] == '[')
            open++;
        else if ((text[n] == ')' || text[n] == ']') && open-- == 0)
            break;
        else if (text[n] == '\\' && text[n + 1])
            n++;
        n++;
    }
    return n;
}

/* One value: quoted, or a word. */
static int value_text(struct parser *p, bool is_pattern, size_t *ret_at, size_t *ret_len)
{
    char quote = p->text[p->at];
    if (quote == '\'' || quote == '"') {
        const char *end = strchr(&p->text[p->at + 1], quote);
        if (!end)
            return errmsg_set(p->e, ERR_BADPARAM, "position %zu: the quote %c is not closed",
                              p->at + 1, quote);
        *ret_at = p->at + 1;
        *ret_len = (size_t)(end - &p->text[p->at + 1]);
        p->at = *ret_at + *ret_len + 1;
        return 0;
    }
    *ret_at = p->at;
    *ret_len = is_pattern ? pattern_length(p) : word_length(p);
    if (*ret_len == 0)
        return expected(p, is_pattern ? "a regular expression" : "a value");
    p->at += *ret_len;
    return 0;
}

static int parse_number(struct parser *p, size_t at, const char *text, int64_t *ret)
{
    char *end;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || n < 0 || n > INT32_MAX) {
        p->at = at;
        return expected(p, "a whole number");
    }
    *ret = n;
    return 0;
}

/* A day, a time without a zone (UTC, then) or all of RFC 3339: what ECS takes. */
static int parse_time(struct parser *p, size_t at, const char *text, int64_t *ret)
{
    static const char midnight[] = "T00:00:00Z";
    char full[48];
    size_t n = strlen(text);
    if (n == 10 || n == 19) {
        memcpy(full, text, n);
        memcpy(full + n, n == 10 ? midnight : "Z", n == 10 ? sizeof midnight : sizeof "Z");
        text = full;
    }
    if (clock_parse_rfc3339(text, ret) == 0)
        return 0;
    p->at = at;
    return expected(p, "a time such as 2026-11-22T14:00:00Z");
}

/* Stores a value of the node's subject. */
static int value(struct parser *p, struct select_node *node)
{
    struct select *sel = p->sel;
    size_t at = 0, len = 0;
    int rv = value_text(p, node->op == SELECT_LIKE, &at, &len);
    if (rv)
        return rv;
    if (sel->value_count == SELECT_VALUES_MAX)
        return errmsg_set(p->e, ERR_TOOBIG, "position %zu: more than %d values", at + 1,
                          SELECT_VALUES_MAX);
    uint16_t index = sel->value_count++;
    if (node->value_count++ == 0)
        node->first_value = index;
    sel->values[index] = keep(p, &p->text[at], len);
    const char *text = &sel->texts[sel->values[index]];
    if (node->op == SELECT_LIKE) {
        size_t bad = 0;
        if (sel->pattern_count == SELECT_PATTERNS_MAX)
            return errmsg_set(p->e, ERR_TOOBIG, "position %zu: more than %d regular expressions",
                              at + 1, SELECT_PATTERNS_MAX);
        node->pattern = sel->pattern_count++;
        rv = pattern_compile(&sel->patterns[node->pattern], text, &bad, p->e);
        if (rv) {
            p->at = at + bad;
            errmsg_wrap(p->e, "position %zu", p->at + 1);
        }
        return rv;
    }
    if (node->subject == SELECT_RUNNING)
        return parse_number(p, at, text, &sel->numbers[index]);
    if (node->subject == SELECT_REGISTERED)
        return parse_time(p, at, text, &sel->numbers[index]);
    if (node->subject == SELECT_CONNECTED && strcmp(text, "true") != 0 &&
        strcmp(text, "false") != 0) {
        p->at = at;
        return expected(p, "true or false");
    }
    return 0;
}

static int value_list(struct parser *p, struct select_node *node)
{
    if (!take_sign(p, "["))
        return expected(p, "'[' and a list of values");
    for (;;) {
        skip_blanks(p);
        int rv = value(p, node);
        if (rv)
            return rv;
        skip_blanks(p);
        if (take_sign(p, "]"))
            return 0;
        if (!take_sign(p, ","))
            return expected(p, "',' or ']'");
    }
}

static int subject(struct parser *p, struct select_node *node)
{
    static const char attribute[] = "attribute:";
    size_t n = word_length(p);
    const char *word = &p->text[p->at];
    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        if (take_word(p, subjects[i].text)) {
            node->subject = subjects[i].subject;
            return 0;
        }
    }
    if (n >= sizeof attribute - 1 && memcmp(word, attribute, sizeof attribute - 1) == 0) {
        p->at += sizeof attribute - 1;
        n -= sizeof attribute - 1;
        if (n == 0)
            return expected(p, "the name of an attribute");
        node->subject = SELECT_ATTRIBUTE;
        node->name = keep(p, &p->text[p->at], n);
        p->at += n;
        return 0;
    }
    return expected(p, "a subject (attribute:NAME, ec2InstanceId, agentConnected, agentVersion, "
                       "registeredAt, runningTasksCount or task:group)");
}

static bool take_operator(struct parser *p, struct select_node *node)
{
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        const char *text = operators[i].text;
        bool letters = text[strlen(text) - 1] >= 'a' && text[strlen(text) - 1] <= 'z';
        size_t before = p->at;
        bool taken = letters && text[0] != '!' ? take_word(p, text) : take_sign(p, text);
        if (taken && letters && is_word(p->text[p->at])) { /* "!inside" */
            p->at = before;
            taken = false;
        }
        if (taken) {
            node->op = operators[i].op;
            node->negate = operators[i].negate;
            return true;
        }
    }
    return false;
}

/* Which operators make sense on which subject. */
static bool is_allowed(const struct select_node *node)
{
    bool order = node->op == SELECT_GT || node->op == SELECT_GE || node->op == SELECT_LT ||
                 node->op == SELECT_LE;
    switch (node->subject) {
    case SELECT_REGISTERED:
    case SELECT_RUNNING:
        return node->op != SELECT_LIKE;
    case SELECT_CONNECTED:
    case SELECT_GROUP:
    case SELECT_EC2:
        return !order;
    default:
        return true;
    }
}

static int test(struct parser *p, uint16_t *ret)
{
    int rv = new_node(p, ret);
    if (rv)
        return rv;
    struct select_node *node = &p->sel->nodes[*ret];
    node->kind = SELECT_TEST;
    rv = subject(p, node);
    if (rv)
        return rv;
    skip_blanks(p);
    size_t at = p->at;
    if (!take_operator(p, node))
        return expected(p, "an operator (== != > >= < <= =~ !~ in !in exists !exists)");
    if (!is_allowed(node)) {
        p->at = at;
        return errmsg_set(p->e, ERR_BADPARAM,
                          "position %zu: this operator cannot be used on this subject", at + 1);
    }
    skip_blanks(p);
    if (node->op == SELECT_EXISTS)
        return 0;
    return node->op == SELECT_IN ? value_list(p, node) : value(p, node);
}

static int any(struct parser *p, uint16_t *ret);

static int term(struct parser *p, uint16_t *ret)
{
    skip_blanks(p);
    if (p->depth >= SELECT_DEPTH_MAX)
        return errmsg_set(p->e, ERR_TOOBIG, "position %zu: nested more than %d deep", p->at + 1,
                          SELECT_DEPTH_MAX);
    int rv;
    p->depth++;
    if (take_word(p, "not") || take_sign(p, "!")) {
        uint16_t node = 0;
        rv = new_node(p, &node);
        if (!rv)
            rv = term(p, &p->sel->nodes[node].left);
        if (!rv)
            p->sel->nodes[node].kind = SELECT_NOT;
        *ret = node;
    } else if (take_sign(p, "(")) {
        rv = any(p, ret);
        if (!rv && !take_sign(p, ")"))
            rv = expected(p, "')', 'and' or 'or'");
    } else {
        rv = test(p, ret);
    }
    p->depth--;
    return rv;
}

/* A chain of terms joined by one of the two connectives. */
static int chain(struct parser *p, bool is_or, uint16_t *ret)
{
    int rv = is_or ? chain(p, false, ret) : term(p, ret);
    while (!rv) {
        skip_blanks(p);
        if (!take_sign(p, is_or ? "||" : "&&") && !take_word(p, is_or ? "or" : "and"))
            return 0;
        uint16_t node = 0;
        rv = new_node(p, &node);
        if (rv)
            return rv;
        p->sel->nodes[node].kind = is_or ? SELECT_OR : SELECT_AND;
        p->sel->nodes[node].left = *ret;
        uint16_t right = 0;
        rv = is_or ? chain(p, false, &right) : term(p, &right);
        p->sel->nodes[node].right = rv ? 0 : right;
        *ret = node;
    }
    return rv;
}

static int any(struct parser *p, uint16_t *ret)
{
    return chain(p, true, ret);
}

int select_parse(struct select *ret, const char *text, size_t *ret_position, struct errmsg *e)
{
    struct parser p = {.sel = ret, .text = text, .e = e};
    memset(ret, 0, sizeof *ret);
    if (ret_position)
        *ret_position = 0;
    if (strlen(text) > SELECT_TEXT_MAX)
        return errmsg_set(e, ERR_TOOBIG, "the expression is longer than %d characters",
                          SELECT_TEXT_MAX);
    skip_blanks(&p);
    if (!p.text[p.at]) {
        ret->everything = true;
        return 0;
    }
    int rv = any(&p, &ret->root);
    if (!rv && p.text[p.at])
        rv = expected(&p, "'and', 'or' or the end");
    if (ret_position)
        *ret_position = p.at;
    return rv;
}
