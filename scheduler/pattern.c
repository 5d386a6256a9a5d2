/* SPDX-License-Identifier: Apache-2.0
 * Compiles to Thompson's instructions by recursive descent and runs them as a set of states
 * (K. Thompson, "Regular Expression Search Algorithm", 1968). */
#include "scheduler/pattern.h"

#include <string.h>

enum { OP_CHAR, OP_ANY, OP_CLASS, OP_SPLIT, OP_JUMP, OP_END };

struct compiler {
    struct pattern *p;
    const char *text;
    size_t at;
    struct errmsg *e;
    unsigned groups; /* open ones */
    unsigned choices;
};

static int alternatives(struct compiler *c);

static int too_long(struct compiler *c)
{
    return errmsg_set(c->e, ERR_BADPARAM, "the regular expression is too long once expanded");
}

static int emit(struct compiler *c, uint8_t code, uint8_t arg, int jump)
{
    /* One place is kept for OP_END. */
    if (c->p->len >= PATTERN_OPS_MAX - 1)
        return too_long(c);
    c->p->ops[c->p->len++] = (struct pattern_op){code, arg, (int16_t)jump};
    return 0;
}

/* Puts a split before the code at start; its jump is set by the caller. */
static int insert_split(struct compiler *c, size_t start, int jump)
{
    int rv = emit(c, OP_END, 0, 0);
    if (rv)
        return rv;
    struct pattern_op *ops = c->p->ops;
    memmove(&ops[start + 1], &ops[start], (c->p->len - 1 - start) * sizeof ops[0]);
    ops[start] = (struct pattern_op){OP_SPLIT, 0, (int16_t)jump};
    return 0;
}

static void class_add(uint8_t *bits, unsigned first, unsigned last)
{
    for (unsigned b = first; b <= last; b++)
        bits[b / 8] = (uint8_t)(bits[b / 8] | (1u << (b % 8)));
}

static void class_invert(uint8_t *bits)
{
    for (size_t i = 0; i < 32; i++)
        bits[i] = (uint8_t)~bits[i];
}

/* \d \w \s and their opposites. False if the letter is none of them. */
static bool class_named(uint8_t *bits, char letter)
{
    uint8_t set[32] = {0};
    switch (letter) {
    case 'd':
    case 'D':
        class_add(set, '0', '9');
        break;
    case 'w':
    case 'W':
        class_add(set, '0', '9');
        class_add(set, 'A', 'Z');
        class_add(set, 'a', 'z');
        class_add(set, '_', '_');
        break;
    case 's':
    case 'S':
        class_add(set, '\t', '\r');
        class_add(set, ' ', ' ');
        break;
    default:
        return false;
    }
    if (letter < 'a')
        class_invert(set);
    for (size_t i = 0; i < 32; i++)
        bits[i] = (uint8_t)(bits[i] | set[i]);
    return true;
}

static bool is_punctuation(char ch)
{
    return ch > ' ' && ch < 127 && !(ch >= '0' && ch <= '9') && !(ch >= 'a' && ch <= 'z') &&
           !(ch >= 'A' && ch <= 'Z');
}

static int new_class(struct compiler *c, uint8_t *ret)
{
    if (c->p->class_count == PATTERN_CLASSES_MAX)
        return errmsg_set(c->e, ERR_BADPARAM, "more than %d character classes",
                          PATTERN_CLASSES_MAX);
    *ret = c->p->class_count++;
    memset(c->p->classes[*ret], 0, 32);
    return 0;
}

/* One byte of a [class], after an escape if there is one. */
static int class_byte(struct compiler *c, unsigned *ret)
{
    if (c->text[c->at] == '\\') {
        c->at++;
        if (!is_punctuation(c->text[c->at]))
            return errmsg_set(c->e, ERR_BADPARAM, "this escape is not supported in a class");
    }
    *ret = (unsigned char)c->text[c->at];
    c->at++;
    return 0;
}

static int class_body(struct compiler *c)
{
    uint8_t index = 0;
    int rv = new_class(c, &index);
    if (rv)
        return rv;
    uint8_t *bits = c->p->classes[index];
    bool invert = c->text[c->at] == '^';
    if (invert)
        c->at++;
    size_t first_at = c->at;
    while (c->text[c->at] != ']' || c->at == first_at) {
        if (!c->text[c->at])
            return errmsg_set(c->e, ERR_BADPARAM, "the class is not closed: expected ']'");
        if (c->text[c->at] == '[' || (c->text[c->at] == '&' && c->text[c->at + 1] == '&'))
            return errmsg_set(c->e, ERR_BADPARAM, "classes within classes are not supported");
        if (c->text[c->at] == '\\' && class_named(bits, c->text[c->at + 1])) {
            c->at += 2;
            continue;
        }
        unsigned low, high;
        rv = class_byte(c, &low);
        if (rv)
            return rv;
        high = low;
        if (c->text[c->at] == '-' && c->text[c->at + 1] && c->text[c->at + 1] != ']') {
            c->at++;
            rv = class_byte(c, &high);
            if (rv)
                return rv;
        }
        if (high < low)
            return errmsg_set(c->e, ERR_BADPARAM, "a range of the class is the wrong way round");
        class_add(bits, low, high);
    }
    c->at++;
    if (invert)
        class_invert(bits);
    return emit(c, OP_CLASS, index, 0);
}

static int group(struct compiler *c)
{
    if (c->text[c->at] == '?') {
        if (c->text[c->at + 1] != ':')
            return errmsg_set(c->e, ERR_BADPARAM,
                              "look-around, flags and named groups are not supported");
        c->at += 2;
    }
    if (++c->groups > PATTERN_DEPTH_MAX)
        return errmsg_set(c->e, ERR_BADPARAM, "groups are nested too deeply");
    int rv = alternatives(c);
    if (rv)
        return rv;
    c->groups--;
    if (c->text[c->at] != ')')
        return errmsg_set(c->e, ERR_BADPARAM, "the group is not closed: expected ')'");
    c->at++;
    return 0;
}

static int escape(struct compiler *c)
{
    char letter = c->text[c->at];
    uint8_t bits[32] = {0};
    if (class_named(bits, letter)) {
        uint8_t index = 0;
        int rv = new_class(c, &index);
        if (rv)
            return rv;
        memcpy(c->p->classes[index], bits, 32);
        c->at++;
        return emit(c, OP_CLASS, index, 0);
    }
    if (!is_punctuation(letter))
        return errmsg_set(c->e, ERR_BADPARAM, "this escape is not supported");
    c->at++;
    return emit(c, OP_CHAR, (uint8_t)letter, 0);
}

static int atom(struct compiler *c)
{
    char ch = c->text[c->at];
    switch (ch) {
    case '*':
    case '+':
    case '?':
    case '{':
        return errmsg_set(c->e, ERR_BADPARAM, "there is nothing before '%c' to repeat", ch);
    case '^':
    case '$':
        return errmsg_set(c->e, ERR_BADPARAM,
                          "'%c' can only stand at the %s; the whole value is matched anyway", ch,
                          ch == '^' ? "start" : "end");
    case '(':
        c->at++;
        return group(c);
    case '[':
        c->at++;
        return class_body(c);
    case '.':
        c->at++;
        return emit(c, OP_ANY, 0, 0);
    case '\\':
        c->at++;
        return escape(c);
    default:
        c->at++;
        return emit(c, OP_CHAR, (uint8_t)ch, 0);
    }
}

/* Wraps the code from start to the end: at least one round runs before for plus. */
static int star(struct compiler *c, size_t start)
{
    size_t size = c->p->len - start;
    int rv = insert_split(c, start, (int)size + 2);
    if (rv)
        return rv;
    return emit(c, OP_JUMP, 0, -(int)(size + 1));
}

static int optional(struct compiler *c, size_t start)
{
    return insert_split(c, start, (int)(c->p->len - start) + 1);
}

static int read_number(struct compiler *c, unsigned *ret)
{
    unsigned n = 0;
    size_t first = c->at;
    while (c->text[c->at] >= '0' && c->text[c->at] <= '9' && n <= PATTERN_REPEAT_MAX)
        n = n * 10 + (unsigned)(c->text[c->at++] - '0');
    if (c->at == first)
        return errmsg_set(c->e, ERR_BADPARAM, "expected a number in the repetition {m,n}");
    if (n > PATTERN_REPEAT_MAX)
        return errmsg_set(c->e, ERR_BADPARAM, "a repetition is at most %d", PATTERN_REPEAT_MAX);
    *ret = n;
    return 0;
}

/* {m}, {m,}, {m,n}: the code of the atom is written out again as often as needed. */
static int repeat(struct compiler *c, size_t start)
{
    unsigned least = 0, most = 0;
    bool unbounded = false;
    int rv = read_number(c, &least);
    if (rv)
        return rv;
    most = least;
    if (c->text[c->at] == ',') {
        c->at++;
        unbounded = c->text[c->at] == '}';
        if (!unbounded && (rv = read_number(c, &most)) != 0)
            return rv;
    }
    if (c->text[c->at] != '}' || most < least)
        return errmsg_set(c->e, ERR_BADPARAM, "expected a repetition such as {2} or {1,3}");
    c->at++;
    struct pattern_op body[PATTERN_OPS_MAX];
    size_t size = c->p->len - start;
    memcpy(body, &c->p->ops[start], size * sizeof body[0]);
    c->p->len = (uint16_t)start;
    unsigned rounds = unbounded ? least + 1 : most;
    for (unsigned i = 0; i < rounds; i++) {
        size_t from = c->p->len;
        if (from + size >= PATTERN_OPS_MAX - 1)
            return too_long(c);
        memcpy(&c->p->ops[from], body, size * sizeof body[0]);
        c->p->len = (uint16_t)(from + size);
        if (i >= least && (rv = unbounded ? star(c, from) : optional(c, from)) != 0)
            return rv;
    }
    return 0;
}

static int quantifier(struct compiler *c, size_t start)
{
    char ch = c->text[c->at];
    int rv = 0;
    if (ch != '*' && ch != '+' && ch != '?' && ch != '{')
        return 0;
    c->at++;
    if (ch == '*')
        rv = star(c, start);
    else if (ch == '+')
        rv = emit(c, OP_SPLIT, 0, -(int)(c->p->len - start));
    else if (ch == '?')
        rv = optional(c, start);
    else
        rv = repeat(c, start);
    if (rv)
        return rv;
    if (c->text[c->at] == '?')
        c->at++;
    else if (c->text[c->at] == '+')
        return errmsg_set(c->e, ERR_BADPARAM, "possessive quantifiers are not supported");
    return 0;
}

static int alternatives(struct compiler *c)
{
    size_t start = c->p->len;
    int rv;
    while (c->text[c->at] && c->text[c->at] != '|' && c->text[c->at] != ')') {
        if (c->text[c->at] == '$' && !c->text[c->at + 1] && c->groups == 0) {
            c->at++;
            break;
        }
        size_t from = c->p->len;
        rv = atom(c);
        if (!rv)
            rv = quantifier(c, from);
        if (rv)
            return rv;
    }
    if (c->text[c->at] != '|')
        return 0;
    c->at++;
    /* split to the next alternative; at the end of this one jump over the rest */
    rv = insert_split(c, start, (int)(c->p->len - start) + 2);
    if (rv)
        return rv;
    size_t jump = c->p->len;
    rv = emit(c, OP_JUMP, 0, 0);
    if (rv)
        return rv;
    if (++c->choices > PATTERN_CHOICES_MAX)
        return errmsg_set(c->e, ERR_BADPARAM, "there are too many alternatives");
    rv = alternatives(c);
    c->choices--;
    c->p->ops[jump].jump = (int16_t)(c->p->len - jump);
    return rv;
}

int pattern_compile(struct pattern *ret, const char *text, size_t *ret_at, struct errmsg *e)
{
    struct compiler c = {.p = ret, .text = text, .e = e};
    memset(ret, 0, sizeof *ret);
    if (text[0] == '^')
        c.at++;
    int rv = alternatives(&c);
    if (!rv && text[c.at] == ')')
        rv = errmsg_set(e, ERR_BADPARAM, "this ')' closes no group");
    *ret_at = c.at;
    if (rv)
        return rv;
    ret->ops[ret->len++] = (struct pattern_op){OP_END, 0, 0};
    return 0;
}

struct states {
    uint16_t at[PATTERN_OPS_MAX];
    size_t count;
    bool has[PATTERN_OPS_MAX];
};

static void clear(const struct pattern *p, struct states *set)
{
    set->count = 0;
    memset(set->has, 0, p->len * sizeof set->has[0]);
}

/* Adds an instruction and all that are reached from it without reading a byte. */
static void follow(const struct pattern *p, struct states *set, size_t first)
{
    uint16_t stack[PATTERN_OPS_MAX];
    size_t depth = 0;
    if (set->has[first])
        return;
    set->has[first] = true;
    stack[depth++] = (uint16_t)first;
    while (depth) {
        size_t pc = stack[--depth];
        const struct pattern_op *op = &p->ops[pc];
        set->at[set->count++] = (uint16_t)pc;
        size_t next[2] = {pc, pc};
        if (op->code == OP_SPLIT)
            next[0] = pc + 1;
        if (op->code == OP_SPLIT || op->code == OP_JUMP)
            next[1] = (size_t)((int)pc + op->jump);
        for (size_t i = 0; i < 2; i++) {
            if (set->has[next[i]])
                continue;
            set->has[next[i]] = true;
            stack[depth++] = (uint16_t)next[i];
        }
    }
}

static bool accepts(const struct pattern *p, const struct pattern_op *op, unsigned char byte)
{
    if (op->code == OP_CHAR)
        return op->arg == byte;
    if (op->code == OP_CLASS)
        return (p->classes[op->arg][byte / 8] >> (byte % 8)) & 1;
    return op->code == OP_ANY;
}

bool pattern_match(const struct pattern *p, const char *text)
{
    struct states sets[2];
    size_t now = 0;
    clear(p, &sets[0]);
    follow(p, &sets[0], 0);
    for (const char *at = text; *at && sets[now].count; at++) {
        const struct states *from = &sets[now];
        struct states *to = &sets[!now];
        clear(p, to);
        for (size_t i = 0; i < from->count; i++) {
            if (accepts(p, &p->ops[from->at[i]], (unsigned char)*at))
                follow(p, to, from->at[i] + 1u);
        }
        now = !now;
    }
    return sets[now].has[p->len - 1u];
}
