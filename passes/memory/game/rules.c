/* The mapping game: where each tensor lies at each of its accesses, and how it gets there.
 *
 * Tensors are decided one after the other, all accesses of one in the order of steps. An access is served from the
 * tensor's home (the slow memory that always has room for it) or from a faster memory. A tensor stays in a fast memory
 * from one access to the next, or comes from its home by a copy that runs beside the steps before; a changed one that
 * leaves a fast memory is copied home. Of constants a fast memory may also hold one for all runs.
 *
 * The game is that of Wang et al., "Optimizing Memory Mapping Using Deep Reinforcement Learning" (2023), for any number
 * of memories; a step's time and the copies beside it are those of `simulation.py`.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { AT_HOME = 1, CONSTANT = 2, FIXED = 4 };            /* flags of a tensor: where it lies at first, and may lie */
enum { MOST_ACTIONS = 7, NOWHERE = -1, NEVER = INT32_MAX };

typedef struct {
    int32_t memories, steps, tensors, accesses;
    const int64_t *capacity;  /* by memory, the fastest first */
    const double *rate;       /* bytes a second, by memory */
    const double *compute;    /* seconds, by step */
    const int64_t *size;      /* by tensor */
    const int32_t *home, *flags;
    const int32_t *access_at; /* the accesses of tensor n: access_at[n] .. access_at[n + 1] */
    const int32_t *step, *writes; /* by access */
    const int64_t *moved;     /* bytes that an access reads or writes */
    const int32_t *order;     /* tensors in the order of decision */
} Problem;

typedef struct {
    int32_t tensor, source, destination, issue, deadline;
    double seconds;
} Copy;

/* What a move does, worked out before it is made. */
typedef struct {
    int32_t legal, memory, window; /* the memory of the access; the first step in which its room there is taken */
    double copied, missing;        /* seconds of copies; of them, what no step before has room for */
    double gain;                   /* seconds by which the step gets shorter */
} Move;

typedef struct {
    const Problem *p;
    int32_t position, access, place, since, clean, copies;
    uint32_t homes;          /* the memories that are a home, as bits */
    char *block;
    size_t bytes;
    int64_t *used;           /* by memory and step */
    double *traffic, *slow;  /* seconds of a step's accesses, and of those to homes */
    double *assigned;        /* seconds of copies that a step is expected to hide */
    double total;            /* seconds of all steps without stalls */
    Copy *copy;
    int32_t *choice;         /* by access; NOWHERE: not decided */
} State;

static int is_home(const State *s, int32_t memory) { return (int)(s->homes >> memory & 1u); }

static double larger(double a, double b) { return a > b ? a : b; }

static double duration(const State *s, int32_t t) { return larger(s->p->compute[t], s->traffic[t]); }

static double spare(const State *s, int32_t t) {
    return larger(0.0, duration(s, t) - s->slow[t] - s->assigned[t]);
}

static double copy_seconds(const Problem *p, int32_t n, int32_t memory) {
    double home = p->rate[p->home[n]], other = p->rate[memory];
    return (double)p->size[n] / (home < other ? home : other);
}

static int fits(const State *s, int32_t memory, int64_t size, int32_t from, int32_t to) {
    const int64_t *used = s->used + (size_t)memory * (size_t)s->p->steps;
    for (int32_t t = from; t <= to; t++)
        if (used[t] + size > s->p->capacity[memory]) return 0;
    return 1;
}

static void take(State *s, int32_t memory, int64_t size, int32_t from, int32_t to) {
    int64_t *used = s->used + (size_t)memory * (size_t)s->p->steps;
    for (int32_t t = from; t <= to; t++) used[t] += size;
}

/* Move the bytes of an access between memories. */
static void serve(State *s, int32_t access, int32_t from, int32_t to) {
    const Problem *p = s->p;
    int32_t t = p->step[access];
    double moved = (double)p->moved[access], before = duration(s, t);
    s->traffic[t] += moved / p->rate[to] - moved / p->rate[from];
    if (is_home(s, from)) s->slow[t] -= moved / p->rate[from];
    if (is_home(s, to)) s->slow[t] += moved / p->rate[to];
    s->total += duration(s, t) - before;
}

static double gain_of(const State *s, int32_t access, int32_t n, int32_t memory) {
    const Problem *p = s->p;
    int32_t t = p->step[access];
    double moved = (double)p->moved[access];
    double traffic = s->traffic[t] + moved / p->rate[memory] - moved / p->rate[p->home[n]];
    return duration(s, t) - larger(p->compute[t], traffic);
}

static void record(State *s, int32_t n, int32_t from, int32_t to, int32_t issue, int32_t deadline, double seconds) {
    s->copy[s->copies++] = (Copy){n, from, to, issue, deadline, seconds};
}

/* The latest window before step t in which a copy of tensor n to `memory` can hide: its first step, and what is left. */
static int32_t window_of(const State *s, int32_t memory, int64_t size, int32_t earliest, int32_t t, double *left) {
    const int64_t *used = s->used + (size_t)memory * (size_t)s->p->steps;
    int32_t first = t;
    while (*left > 1e-15 && first > earliest && used[first - 1] + size <= s->p->capacity[memory])
        *left -= spare(s, --first);
    if (*left < 1e-15) *left = 0.0;
    return first;
}

static void hide(State *s, int32_t from, int32_t to, double seconds, int backwards) {
    for (int32_t i = 0; i < to - from && seconds > 0.0; i++) {
        int32_t t = backwards ? to - 1 - i : from + i;
        double part = spare(s, t);
        if (part > seconds) part = seconds;
        s->assigned[t] += part;
        seconds -= part;
    }
}

/* After how many steps from `from` on a copy home is expected to be done; where others take the room it must be. */
static int32_t leave_until(const State *s, int32_t memory, int64_t size, int32_t from, int32_t t, double *left) {
    int32_t until = from;
    while (*left > 1e-15 && until < t && fits(s, memory, size, until, until)) *left -= spare(s, until++);
    if (*left < 1e-15) *left = 0.0;
    return until;
}

static int32_t current(const State *s) { return s->p->order[s->position]; }

static int over(const State *s) { return s->position == s->p->tensors; }

/* Action 0: home; 1 + m: memory m; memories + m: m for all runs, or home and back to m. */
static Move examine(const State *s, int32_t action) {
    const Problem *p = s->p;
    Move move = {0, NOWHERE, 0, 0.0, 0.0, 0.0};
    int32_t n = current(s), t = p->step[s->access], home = p->home[n], fast = p->memories - 1;
    int64_t size = p->size[n];
    int at_first = s->place == NOWHERE, stale = s->clean == NEVER;
    int in_fast = !at_first && s->place != home;
    if (action == 0) {
        move = (Move){1, home, t, 0.0, 0.0, 0.0};
        if (in_fast && stale) {
            double left = move.copied = copy_seconds(p, n, s->place);
            leave_until(s, s->place, size, s->since + 1, t, &left);
            move.missing = left;
        }
        return move;
    }
    int32_t memory = (action - 1) % fast, other_way = action > fast;
    if (memory >= home || (p->flags[n] & FIXED)) return move;
    move.memory = memory;
    move.gain = gain_of(s, s->access, n, memory);
    if (other_way && at_first) {
        move.legal = (p->flags[n] & CONSTANT) && fits(s, memory, size, 0, p->steps - 1);
        return move;
    }
    if (at_first && !(p->flags[n] & AT_HOME)) {
        if (other_way) return move;
        move.window = t;
        move.legal = fits(s, memory, size, t, t);
        return move;
    }
    if (in_fast && !other_way) {
        move.window = s->since + 1;
        move.legal = memory == s->place && fits(s, memory, size, s->since + 1, t);
        return move;
    }
    if ((other_way && !in_fast) || (in_fast && memory != s->place) || !fits(s, memory, size, t, t)) return move;
    int32_t earliest = s->clean;
    if (in_fast && stale) {
        double left = copy_seconds(p, n, memory);
        if (s->since + 1 >= t) return move;
        move.copied += left;
        earliest = leave_until(s, memory, size, s->since + 1, t, &left);
        move.missing += left;
    } else if (in_fast && earliest <= s->since) {
        earliest = s->since + 1;
    }
    if (earliest > t) return move;
    double left = copy_seconds(p, n, memory);
    move.copied += left;
    move.window = window_of(s, memory, size, earliest, t, &left);
    move.missing += left;
    move.legal = 1;
    return move;
}

static void next_tensor(State *s) {
    s->position++;
    s->place = NOWHERE;
    s->since = -1;
    if (over(s)) return;
    s->access = s->p->access_at[current(s)];
    s->clean = s->p->flags[current(s)] & AT_HOME ? 0 : NEVER;
}

static void make(State *s, int32_t action, const Move *move) {
    const Problem *p = s->p;
    int32_t n = current(s), access = s->access, t = p->step[access], home = p->home[n], fast = p->memories - 1;
    int64_t size = p->size[n];
    int at_first = s->place == NOWHERE, in_fast = !at_first && s->place != home, other_way = action > fast;
    s->choice[access] = action;
    if (in_fast && s->clean == NEVER && (action == 0 || other_way)) {
        double seconds = copy_seconds(p, n, s->place), left = seconds;
        int32_t until = leave_until(s, s->place, size, s->since + 1, t, &left);
        record(s, n, s->place, home, s->since + 1, until, seconds);
        take(s, s->place, size, s->since + 1, until - 1);
        hide(s, s->since + 1, until, seconds, 0);
        s->clean = until;
    }
    if (action == 0) {
        s->place = home;
    } else if (other_way && at_first) {
        take(s, move->memory, size, 0, p->steps - 1);
        for (int32_t a = access; a < p->access_at[n + 1]; a++) {
            serve(s, a, home, move->memory);
            s->choice[a] = action;
        }
        next_tensor(s);
        return;
    } else {
        if (move->copied > 0.0) {
            double seconds = copy_seconds(p, n, move->memory);
            record(s, n, home, move->memory, move->window, t, seconds);
            hide(s, move->window, t, seconds, 1);
        }
        take(s, move->memory, size, move->window, t);
        serve(s, access, home, move->memory);
        s->place = move->memory;
    }
    if (p->writes[access]) s->clean = action == 0 ? t + 1 : NEVER;
    s->since = t;
    s->access++;
    if (s->access == p->access_at[n + 1]) next_tensor(s);
}

/* What the greedy baseline does: the fastest memory with room until the next access; copies only where they hide, and
 * only where the step gets shorter; of constants, for all runs where no copy hides. The choices are those of XLA's
 * memory space assignment, which takes the most memory-bound buffers first. */
static int32_t greedy_action(const State *s, Move *best) {
    const Problem *p = s->p;
    int32_t n = current(s), fast = p->memories - 1, t = p->step[s->access];
    int produced = s->place == NOWHERE && !(p->flags[n] & AT_HOME);
    for (int32_t m = 0; m < fast; m++) {
        Move move = examine(s, 1 + m);
        if (!move.legal || move.missing > 0.0 || (move.copied > 0.0 && move.gain <= 0.0)) continue;
        int32_t next = s->access + 1 < p->access_at[n + 1] ? p->step[s->access + 1] : t;
        if (produced && !fits(s, m, p->size[n], t, next)) continue;
        *best = move;
        return 1 + m;
    }
    for (int32_t m = 0; m < fast && s->place == NOWHERE; m++) {
        Move move = examine(s, p->memories + m);
        if (!move.legal || move.gain <= 0.0) continue;
        *best = move;
        return p->memories + m;
    }
    *best = examine(s, 0);
    return 0;
}

static void finish_greedily(State *s) {
    while (!over(s)) {
        Move move;
        int32_t action = greedy_action(s, &move);
        make(s, action, &move);
    }
}

/* Seconds of all steps, stalls included: copies run one after the other in the order of their issue. */
static double makespan(const State *s, int32_t *queue, double *left) {
    const Problem *p = s->p;
    int32_t head = 0, tail = 0, count = 0;
    double time = 0.0;
    for (int32_t i = 0; i < s->copies; i++) {
        int32_t at = count++;
        while (at > 0 && s->copy[queue[at - 1]].issue > s->copy[i].issue) {
            queue[at] = queue[at - 1];
            at--;
        }
        queue[at] = i;
    }
    for (int32_t i = 0; i < count; i++) left[i] = s->copy[queue[i]].seconds;
    for (int32_t t = 0; t < p->steps; t++) {
        while (tail < count && s->copy[queue[tail]].issue <= t) tail++;
        int32_t needed = head;
        for (int32_t i = head; i < tail; i++)
            if (s->copy[queue[i]].deadline <= t) needed = i + 1;
        while (head < needed) time += left[head++];
        double room = duration(s, t) - s->slow[t];
        while (head < tail && room > 0.0) {
            if (left[head] > room) {
                left[head] -= room;
                break;
            }
            room -= left[head++];
        }
        time += duration(s, t);
    }
    return time;
}

static void layout(State *s) {
    size_t steps = (size_t)s->p->steps;
    char *at = s->block;
    s->used = (int64_t *)at, at += sizeof(int64_t) * (size_t)s->p->memories * steps;
    s->traffic = (double *)at, at += sizeof(double) * steps;
    s->slow = (double *)at, at += sizeof(double) * steps;
    s->assigned = (double *)at, at += sizeof(double) * steps;
    s->copy = (Copy *)at, at += sizeof(Copy) * 2 * (size_t)s->p->accesses;
    s->choice = (int32_t *)at;
}

static int open_state(State *s, const Problem *p) {
    size_t steps = (size_t)p->steps, accesses = (size_t)p->accesses;
    s->bytes = steps * (8 * (size_t)p->memories + 24) + accesses * (2 * sizeof(Copy) + 4);
    s->p = p;
    s->block = calloc(1, s->bytes);
    if (!s->block) return 0;
    layout(s);
    return 1;
}

static void copy_state(State *to, const State *from) {
    char *block = to->block;
    *to = *from;
    to->block = block;
    memcpy(block, from->block, from->bytes);
    layout(to);
}

static void start(State *s) {
    const Problem *p = s->p;
    memset(s->block, 0, s->bytes);
    s->copies = 0;
    s->homes = 0;
    for (int32_t n = 0; n < p->tensors; n++) {
        int32_t begin = p->access_at[n], end = p->access_at[n + 1], home = p->home[n];
        s->homes |= 1u << home;
        for (int32_t a = begin; a < end; a++) {
            s->choice[a] = NOWHERE;
            s->traffic[p->step[a]] += (double)p->moved[a] / p->rate[home];
            s->slow[p->step[a]] += (double)p->moved[a] / p->rate[home];
        }
        if (!(p->flags[n] & CONSTANT)) take(s, home, p->size[n], p->step[begin], p->step[end - 1]);
    }
    s->total = 0.0;
    for (int32_t t = 0; t < p->steps; t++) s->total += duration(s, t);
    s->position = -1;
    next_tensor(s);
}

/* Play given choices (by access; NOWHERE, and what is not legal: what the greedy baseline does). The choices made go to
 * `choice`, the copies to `copies` (each: tensor, source, destination, issue, deadline) and their number is returned;
 * -1 without memory. */
int32_t optc_game_play(const Problem *p, int32_t *choice, double *seconds, int32_t *copies) {
    State s;
    if (!open_state(&s, p)) return -1;
    start(&s);
    while (!over(&s)) {
        int32_t action = choice[s.access];
        Move move = {0};
        if (action >= 0 && action <= 2 * (p->memories - 1)) move = examine(&s, action);
        if (!move.legal) action = greedy_action(&s, &move);
        make(&s, action, &move);
    }
    int32_t *queue = malloc(sizeof(int32_t) * ((size_t)s.copies + 1));
    double *left = malloc(sizeof(double) * ((size_t)s.copies + 1));
    int32_t count = queue && left ? s.copies : -1;
    if (count >= 0) {
        *seconds = makespan(&s, queue, left);
        memcpy(choice, s.choice, sizeof(int32_t) * (size_t)p->accesses);
        for (int32_t i = 0; i < count; i++)
            memcpy(copies + 5 * i, &s.copy[i], 5 * sizeof(int32_t));
    }
    free(queue);
    free(left);
    free(s.block);
    return count;
}
