/* Exact packing of buffers into an arena of given capacity by depth-first search.
 *
 * Of the buffers that are not yet placed, the one with the lowest possible offset (its floor) is taken. Either it lies
 * at its floor, or something that it meets lies in its way, and then its floor rises to the lowest top of such a
 * blocker. Each packing can be pushed down until every buffer lies at its floor or on another one, so these two
 * branches lose nothing; a buffer that was raised and that nothing can block any more ends a branch. A branch also ends
 * when in some section of time the lowest floor and the bytes still to come exceed the capacity. Buffers that no longer
 * share a time, even through others, are packed on their own: where one part fails the others are not tried again.
 *
 * The floors, sections and parts are those of Moffitt, "MiniMalloc: A Lightweight Memory Allocator for
 * Hardware-Accelerated Machine Learning" (ASPLOS 2023).
 */
#include <stdint.h>
#include <stdlib.h>

enum { PACKED = 1, IMPOSSIBLE = 0, OUT_OF_NODES = -1, OUT_OF_MEMORY = -2 };

typedef struct {
    int64_t *place;
    int64_t before;
} Change;

typedef struct {
    /* The problem: buffer b is live in the sections [first[b], last[b]). */
    int32_t buffers, sections;
    const int32_t *first, *last, *rank;
    const int64_t *size;
    int64_t capacity;
    /* Buffers that b meets: meets[meets_at[b] .. meets_at[b + 1]]; buffers live in section t in the same way. */
    int64_t *meets_at, *live_at;
    int32_t *meets, *live;
    /* The state, restored from the trail on return. */
    int64_t *floor;   /* lowest offset of a buffer */
    int64_t *limit;   /* a raised buffer needs a blocker below this offset; 0: it was not raised */
    int64_t *blocked; /* whether that blocker is placed */
    int64_t *placed;
    int64_t *waiting; /* bytes of a section that are not yet placed */
    Change *trail;
    size_t changes, room;
    /* Of the section checks of one move. */
    int64_t *checked, move;
    int64_t *offsets;
    int64_t nodes, most_nodes;
    int failed;
} Search;

static void set(Search *s, int64_t *place, int64_t value) {
    if (s->changes == s->room) {
        Change *larger = realloc(s->trail, 2 * s->room * sizeof(Change));
        if (!larger) {
            s->failed = 1;
            return;
        }
        s->trail = larger;
        s->room *= 2;
    }
    s->trail[s->changes++] = (Change){place, *place};
    *place = value;
}

static void undo(Search *s, size_t mark) {
    while (s->changes > mark) {
        s->changes--;
        *s->trail[s->changes].place = s->trail[s->changes].before;
    }
}

static int section_fits(Search *s, int32_t section) {
    if (s->checked[section] == s->move || !s->waiting[section]) return 1;
    s->checked[section] = s->move;
    int64_t room = s->capacity - s->waiting[section];
    for (int64_t i = s->live_at[section]; i < s->live_at[section + 1]; i++)
        if (!s->placed[s->live[i]] && s->floor[s->live[i]] <= room) return 1;
    return 0;
}

static int sections_fit(Search *s, int32_t buffer) {
    for (int32_t section = s->first[buffer]; section < s->last[buffer]; section++)
        if (!section_fits(s, section)) return 0;
    return 1;
}

static int put_at_floor(Search *s, int32_t buffer) {
    int64_t bottom = s->floor[buffer], top = bottom + s->size[buffer];
    if (top > s->capacity) return 0;
    s->offsets[buffer] = bottom;
    s->move++;
    set(s, &s->placed[buffer], 1);
    for (int32_t t = s->first[buffer]; t < s->last[buffer]; t++) set(s, &s->waiting[t], s->waiting[t] - s->size[buffer]);
    for (int64_t i = s->meets_at[buffer]; i < s->meets_at[buffer + 1]; i++) {
        int32_t other = s->meets[i];
        if (s->placed[other]) continue;
        if (bottom < s->limit[other] && !s->blocked[other]) set(s, &s->blocked[other], 1);
        if (s->floor[other] < top) set(s, &s->floor[other], top);
    }
    for (int64_t i = s->meets_at[buffer]; i < s->meets_at[buffer + 1]; i++) {
        int32_t other = s->meets[i];
        if (!s->placed[other] && s->floor[other] == top && !sections_fit(s, other)) return 0;
    }
    return sections_fit(s, buffer);
}

/* Raise a buffer to the lowest top of what can still lie below `limit` in its way; 0 when nothing can. */
static int raise_floor(Search *s, int32_t buffer, int64_t limit) {
    int64_t lowest = INT64_MAX;
    for (int64_t i = s->meets_at[buffer]; i < s->meets_at[buffer + 1]; i++) {
        int32_t other = s->meets[i];
        if (s->placed[other] || s->floor[other] >= limit) continue;
        int64_t top = s->floor[other] + s->size[other];
        if (top < lowest) lowest = top;
    }
    if (lowest == INT64_MAX) return 0;
    if (lowest <= s->floor[buffer]) return 1;
    s->move++;
    set(s, &s->floor[buffer], lowest);
    return sections_fit(s, buffer);
}

static int search(Search *s, const int32_t *part, int32_t count);

/* Pack the parts of `list`, which is sorted by first section, that share no time. */
static int pack_parts(Search *s, const int32_t *list, int32_t count) {
    int32_t *rest = malloc(sizeof(int32_t) * ((size_t)count + 1)), left = 0;
    if (!rest) return OUT_OF_MEMORY;
    for (int32_t i = 0; i < count; i++)
        if (!s->placed[list[i]]) rest[left++] = list[i];
    int outcome = PACKED;
    for (int32_t begin = 0, end; outcome == PACKED && begin < left; begin = end) {
        int32_t until = s->last[rest[begin]];
        for (end = begin + 1; end < left && s->first[rest[end]] < until; end++)
            if (s->last[rest[end]] > until) until = s->last[rest[end]];
        outcome = search(s, rest + begin, end - begin);
    }
    free(rest);
    return outcome;
}

static int search(Search *s, const int32_t *part, int32_t count) {
    size_t entry = s->changes;
    int outcome = IMPOSSIBLE;
    while (outcome == IMPOSSIBLE) {
        int32_t next = part[0];
        for (int32_t i = 1; i < count; i++) {
            int64_t lower = s->floor[next] - s->floor[part[i]];
            if (lower > 0 || (lower == 0 && s->rank[part[i]] < s->rank[next])) next = part[i];
        }
        if (s->limit[next] && !s->blocked[next]) {
            if (!raise_floor(s, next, s->limit[next])) break;
            continue;
        }
        int hopeless = 0;
        for (int32_t i = 0; i < count && !hopeless; i++)
            hopeless = s->limit[part[i]] && !s->blocked[part[i]] && s->limit[part[i]] <= s->floor[next];
        if (hopeless) break;
        if (++s->nodes > s->most_nodes) outcome = OUT_OF_NODES;
        if (s->failed) outcome = OUT_OF_MEMORY;
        if (outcome != IMPOSSIBLE) break;
        size_t here = s->changes;
        if (put_at_floor(s, next)) outcome = pack_parts(s, part, count);
        if (outcome != IMPOSSIBLE) break;
        undo(s, here);
        int64_t limit = s->floor[next] + s->size[next];
        set(s, &s->limit[next], limit);
        set(s, &s->blocked[next], 0);
        if (!raise_floor(s, next, limit)) break;
    }
    if (outcome != PACKED) undo(s, entry);
    return outcome;
}

static int meet(const Search *s, int32_t a, int32_t b) {
    return a != b && s->first[a] < s->last[b] && s->first[b] < s->last[a];
}

static int prepare(Search *s) {
    size_t buffers = (size_t)s->buffers + 1, sections = (size_t)s->sections + 1;
    size_t pairs = 1, lives = 1;
    for (int32_t a = 0; a < s->buffers; a++) {
        lives += (size_t)(s->last[a] - s->first[a]);
        for (int32_t b = 0; b < s->buffers; b++) pairs += (size_t)meet(s, a, b);
    }
    s->room = 1024;
    int64_t **numbers[] = {&s->meets_at, &s->floor, &s->limit, &s->blocked, &s->placed};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(*numbers[i] = calloc(buffers, sizeof(int64_t)))) return 0;
    int64_t **by_section[] = {&s->live_at, &s->waiting, &s->checked};
    for (size_t i = 0; i < sizeof by_section / sizeof *by_section; i++)
        if (!(*by_section[i] = calloc(sections, sizeof(int64_t)))) return 0;
    s->meets = malloc(pairs * sizeof(int32_t));
    s->live = malloc(lives * sizeof(int32_t));
    s->trail = malloc(s->room * sizeof(Change));
    if (!s->meets || !s->live || !s->trail) return 0;
    int64_t at = 0;
    for (int32_t a = 0; a < s->buffers; a++) {
        s->meets_at[a] = at;
        for (int32_t b = 0; b < s->buffers; b++)
            if (meet(s, a, b)) s->meets[at++] = b;
        for (int32_t t = s->first[a]; t < s->last[a]; t++) {
            s->waiting[t] += s->size[a];
            s->live_at[t + 1]++;
        }
    }
    s->meets_at[s->buffers] = at;
    for (int32_t t = 0; t < s->sections; t++) s->live_at[t + 1] += s->live_at[t];
    for (int32_t b = s->buffers - 1; b >= 0; b--)
        for (int32_t t = s->first[b]; t < s->last[b]; t++) s->live[s->live_at[t] + s->checked[t]++] = b;
    for (int32_t t = 0; t < s->sections; t++) s->checked[t] = 0;
    return 1;
}

static void release(Search *s) {
    void *all[] = {s->meets_at, s->floor, s->limit, s->blocked, s->placed, s->live_at,
                   s->waiting,  s->checked, s->meets, s->live, s->trail};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Pack buffers, sorted by their first section, into `capacity`; offsets go to `offsets`.
 *
 * rank: which of two buffers with the same floor is tried first. most_nodes: after so many placements it gives up.
 * Returns an outcome, and in *nodes the placements that were tried. */
int optc_pack(int32_t buffers, int32_t sections, const int32_t *first, const int32_t *last, const int64_t *size,
              const int32_t *rank, int64_t capacity, int64_t most_nodes, int64_t *offsets, int64_t *nodes) {
    Search s = {.buffers = buffers, .sections = sections, .first = first, .last = last, .rank = rank, .size = size,
                .capacity = capacity, .most_nodes = most_nodes, .offsets = offsets};
    int outcome = prepare(&s) ? PACKED : OUT_OF_MEMORY;
    for (int32_t t = 0; t < sections && outcome == PACKED; t++)
        if (s.waiting[t] > capacity) outcome = IMPOSSIBLE;
    int32_t *all = malloc(sizeof(int32_t) * ((size_t)buffers + 1));
    if (!all) outcome = OUT_OF_MEMORY;
    for (int32_t b = 0; all && b < buffers; b++) all[b] = b;
    if (outcome == PACKED) outcome = pack_parts(&s, all, buffers);
    *nodes = s.nodes;
    free(all);
    release(&s);
    return outcome;
}
