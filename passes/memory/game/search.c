/* Monte-Carlo tree search over the mapping game, led by a small network (AlphaZero's PUCT, Silver et al. 2018).
 *
 * A leaf is worth a mix of what the network expects and of what the greedy baseline reaches from there on, as AlphaGo
 * mixed its value network with rollouts (Silver et al. 2016). Worth is the logarithm of the baseline's time over the
 * game's. The best complete mapping that any rollout met is kept.
 */
enum { STATE_FEATURES = 18, ACTION_FEATURES = 12, HIDDEN = 32 };

typedef struct {
    /* The policy scores each action by its own features and the state's; the value sees the state's alone. */
    const float *policy_state, *policy_action, *policy_bias;  /* HIDDEN x STATE, HIDDEN x ACTION, HIDDEN */
    const float *policy_inner, *policy_inner_bias, *policy_out; /* HIDDEN x HIDDEN, HIDDEN, HIDDEN */
    const float *value_in, *value_bias, *value_inner, *value_inner_bias, *value_out, *value_out_bias;
} Network;

typedef struct {
    int32_t simulations;   /* for each decision */
    double explore;        /* PUCT's constant */
    double trust;          /* the share of the network's value in a leaf's worth */
    double noise;          /* the share of random numbers in the root's prior: self-play only */
    int32_t sampled;       /* so many first decisions are drawn by visits: self-play only */
    uint64_t seed;
} Settings;

typedef struct {
    int32_t child[MOST_ACTIONS], visits[MOST_ACTIONS], expanded, legal;
    float prior[MOST_ACTIONS], worth[MOST_ACTIONS];
} Node;

typedef struct {
    const Problem *p;
    const Network *net;
    const Settings *set;
    Node *nodes;
    int32_t count, room;
    State leaf;
    int32_t *queue;
    double *left;
    double baseline, best;
    int32_t *best_choice;
    double lowest, highest; /* worths met so far */
    uint64_t random;
    const double *demand;   /* bytes of tensors alive at each step */
} Search;

static double uniform(Search *s) {
    uint64_t z = (s->random += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

static double free_share(const State *s, int32_t memory, int32_t from, int32_t to) {
    const Problem *p = s->p;
    int64_t most = 0;
    for (int32_t t = from; t <= to; t++) {
        int64_t used = s->used[(size_t)memory * (size_t)p->steps + (size_t)t];
        if (used > most) most = used;
    }
    return 1.0 - (double)most / (double)p->capacity[memory];
}

static void state_features(const Search *search, const State *s, float *f) {
    const Problem *p = s->p;
    int32_t n = current(s), t = p->step[s->access], home = p->home[n];
    int32_t last = p->step[p->access_at[n + 1] - 1], from = s->since < 0 ? t : s->since + 1;
    double seconds = copy_seconds(p, n, 0), all = s->total, now = duration(s, t);
    double hidden = 0.0, room = 0.0;
    for (int32_t i = 0; i < p->steps; i++) hidden += s->assigned[i], room += duration(s, i) - s->slow[i];
    int i = 0;
    f[i++] = (float)(log2((double)p->size[n] + 1.0) / 32.0);
    f[i++] = (float)((p->flags[n] & CONSTANT) != 0);
    f[i++] = (float)((p->flags[n] & AT_HOME) != 0);
    f[i++] = (float)(s->place == NOWHERE);
    f[i++] = (float)(s->place != NOWHERE && s->place != home);
    f[i++] = (float)(s->clean == NEVER);
    f[i++] = (float)s->position / (float)p->tensors;
    f[i++] = (float)t / (float)p->steps;
    f[i++] = (float)(t - (s->since < 0 ? t : s->since)) / (float)p->steps;
    f[i++] = (float)(last - t) / (float)p->steps;
    f[i++] = (float)fmin(1.0, 16.0 * now / all);
    f[i++] = (float)(p->compute[t] / now);
    f[i++] = (float)fmin(2.0, seconds / now);
    f[i++] = (float)(hidden / larger(room, 1e-12));
    f[i++] = (float)(4.0 * log(search->baseline / all));
    for (int32_t m = 0; m < 3; m++) f[i++] = m < home ? (float)free_share(s, m, from, t) : 0.0f;
}

static void action_features(const Search *search, const State *s, int32_t action, const Move *move, int greedy, float *f) {
    const Problem *p = s->p;
    int32_t n = current(s), t = p->step[s->access], home = p->home[n], fast = p->memories - 1;
    int32_t memory = move->memory, from = action > fast && s->place == NOWHERE ? 0 : move->window;
    int32_t to = action > fast && s->place == NOWHERE ? p->steps - 1 : t;
    double all = s->total, needed = 0.0, pressed = 0.0;
    if (memory != home)
        for (int32_t i = from; i <= to; i++) {
            needed += (double)p->size[n] / (double)p->capacity[memory];
            pressed += fmin(4.0, search->demand[i] / (double)p->capacity[memory]);
        }
    int i = 0;
    f[i++] = (float)(action == 0);
    f[i++] = (float)(action > fast);
    f[i++] = (float)(memory == home ? 0.0 : 0.2 * log2(p->rate[memory] / p->rate[home]));
    f[i++] = (float)greedy;
    f[i++] = (float)fmin(2.0, 16.0 * move->gain / all);
    f[i++] = (float)fmin(2.0, 16.0 * move->missing / all);
    f[i++] = (float)fmin(2.0, 16.0 * move->copied / all);
    f[i++] = (float)(needed / (double)p->steps);
    f[i++] = (float)(memory == home ? 0.0 : (double)p->size[n] / (double)p->capacity[memory]);
    f[i++] = (float)(memory == home ? 0.0 : pressed / (double)(to - from + 1) / 4.0);
    f[i++] = (float)(memory == home ? 0.0 : free_share(s, memory, from, to));
    f[i++] = (float)((double)(t - move->window + 1) / (double)p->steps);
}

static void dense(const float *weights, const float *bias, const float *in, int32_t columns, float *out) {
    for (int32_t row = 0; row < HIDDEN; row++) {
        float sum = bias ? bias[row] : 0.0f;
        for (int32_t c = 0; c < columns; c++) sum += weights[row * columns + c] * in[c];
        out[row] = sum;
    }
}

static void rectify(float *values) {
    for (int32_t i = 0; i < HIDDEN; i++)
        if (values[i] < 0.0f) values[i] = 0.0f;
}

static float dot(const float *a, const float *b) {
    float sum = 0.0f;
    for (int32_t i = 0; i < HIDDEN; i++) sum += a[i] * b[i];
    return sum;
}

/* Legal actions as bits; the features of each, and the greedy one. */
static int32_t look(const Search *search, const State *s, float *features, int32_t *greedy) {
    Move unused;
    *greedy = greedy_action(s, &unused);
    int32_t legal = 0;
    for (int32_t a = 0; a < 2 * s->p->memories - 1; a++) {
        Move move = examine(s, a);
        if (!move.legal) continue;
        legal |= 1 << a;
        if (features) action_features(search, s, a, &move, a == *greedy, features + a * ACTION_FEATURES);
    }
    return legal;
}

/* Open a leaf: its priors; returns what the network expects of it. */
static double expand(Search *search, Node *node, const State *s) {
    float state[STATE_FEATURES], actions[MOST_ACTIONS * ACTION_FEATURES], shared[HIDDEN], x[HIDDEN], y[HIDDEN];
    int32_t greedy;
    memset(node, 0, sizeof *node);
    state_features(search, s, state);
    node->legal = look(search, s, actions, &greedy);
    node->expanded = 1;
    double most = -1e30, sum = 0.0, score[MOST_ACTIONS];
    const Network *net = search->net;
    if (net) dense(net->policy_state, net->policy_bias, state, STATE_FEATURES, shared);
    for (int32_t a = 0; a < MOST_ACTIONS; a++) {
        node->child[a] = NOWHERE;
        if (!(node->legal >> a & 1)) continue;
        score[a] = a == greedy ? 1.0 : 0.0;
        if (net) {
            dense(net->policy_action, NULL, actions + a * ACTION_FEATURES, ACTION_FEATURES, x);
            for (int32_t i = 0; i < HIDDEN; i++) x[i] += shared[i];
            rectify(x);
            dense(net->policy_inner, net->policy_inner_bias, x, HIDDEN, y);
            rectify(y);
            score[a] = dot(net->policy_out, y);
        }
        most = larger(most, score[a]);
    }
    for (int32_t a = 0; a < MOST_ACTIONS; a++)
        if (node->legal >> a & 1) sum += exp(score[a] - most);
    for (int32_t a = 0; a < MOST_ACTIONS; a++)
        if (node->legal >> a & 1) node->prior[a] = (float)(exp(score[a] - most) / sum);
    if (!net) return 0.0;
    dense(net->value_in, net->value_bias, state, STATE_FEATURES, x);
    rectify(x);
    dense(net->value_inner, net->value_inner_bias, x, HIDDEN, y);
    rectify(y);
    return 0.05 * (double)(dot(net->value_out, y) + net->value_out_bias[0]);
}

static double finished(Search *search, State *s) {
    double seconds = makespan(s, search->queue, search->left);
    if (seconds < search->best) {
        search->best = seconds;
        memcpy(search->best_choice, s->choice, sizeof(int32_t) * (size_t)s->p->accesses);
    }
    double worth = log(search->baseline / seconds);
    search->lowest = fmin(search->lowest, worth);
    search->highest = larger(search->highest, worth);
    return worth;
}

static int32_t choose(const Search *search, const Node *node) {
    int32_t total = 0, best = NOWHERE;
    double highest = -1e30, span = larger(search->highest - search->lowest, 1e-9);
    for (int32_t a = 0; a < MOST_ACTIONS; a++) total += node->visits[a];
    for (int32_t a = 0; a < MOST_ACTIONS; a++) {
        if (!(node->legal >> a & 1)) continue;
        double mean = node->visits[a] ? node->worth[a] / (double)node->visits[a] : 0.0;
        double known = (mean - search->lowest) / span;
        double score = known + search->set->explore * node->prior[a] * sqrt((double)total + 1.0) / (1.0 + node->visits[a]);
        if (score > highest) highest = score, best = a;
    }
    return best;
}

static int32_t new_node(Search *search) {
    if (search->count == search->room) return NOWHERE;
    search->nodes[search->count].expanded = 0;
    return search->count++;
}

/* One simulation from the node at the root, whose state is `from`. */
static void simulate(Search *search, int32_t root, const State *from) {
    int32_t path[4096], taken[4096], depth = 0, at = root;
    State *s = &search->leaf;
    double worth;
    copy_state(s, from);
    for (;;) {
        Node *node = &search->nodes[at];
        int32_t action = choose(search, node);
        Move move = examine(s, action);
        make(s, action, &move);
        path[depth] = at, taken[depth++] = action;
        if (over(s)) {
            worth = finished(search, s);
            break;
        }
        if (node->child[action] == NOWHERE) {
            int32_t child = depth < 4095 ? new_node(search) : NOWHERE;
            double expected = 0.0, trust = search->net ? search->set->trust : 0.0;
            if (child != NOWHERE) {
                search->nodes[at].child[action] = child;
                expected = expand(search, &search->nodes[child], s);
            }
            finish_greedily(s);
            worth = trust * expected + (1.0 - trust) * finished(search, s);
            break;
        }
        at = node->child[action];
    }
    for (int32_t i = 0; i < depth; i++) {
        search->nodes[path[i]].visits[taken[i]]++;
        search->nodes[path[i]].worth[taken[i]] += (float)worth;
    }
}

static void disturb(Search *search, Node *node) {
    double draw[MOST_ACTIONS], sum = 0.0;
    for (int32_t a = 0; a < MOST_ACTIONS; a++) sum += draw[a] = node->legal >> a & 1 ? -log(uniform(search)) : 0.0;
    for (int32_t a = 0; a < MOST_ACTIONS; a++)
        if (node->legal >> a & 1)
            node->prior[a] = (float)((1.0 - search->set->noise) * node->prior[a] + search->set->noise * draw[a] / sum);
}

static int32_t decide(Search *search, const Node *node, int sampled) {
    int32_t best = NOWHERE, total = 0;
    for (int32_t a = 0; a < MOST_ACTIONS; a++) total += node->visits[a];
    double point = sampled ? uniform(search) * total : 0.0;
    for (int32_t a = 0; a < MOST_ACTIONS; a++) {
        if (!(node->legal >> a & 1)) continue;
        if (sampled && (point -= node->visits[a]) < 0.0) return a;
        if (best == NOWHERE || node->visits[a] > node->visits[best] ||
            (node->visits[a] == node->visits[best] && node->worth[a] > node->worth[best]))
            best = a;
    }
    return best;
}

/* Where samples for training go; each decision with several legal actions makes one. */
typedef struct {
    float *state, *action, *visits; /* by sample: STATE_FEATURES; MOST_ACTIONS x ACTION_FEATURES; MOST_ACTIONS (-1: not legal) */
    int32_t room, count;
} Samples;

static void keep_sample(Samples *into, const Search *search, const State *s, const Node *node) {
    if (!into || into->count == into->room) return;
    int32_t greedy, i = into->count++;
    state_features(search, s, into->state + (size_t)i * STATE_FEATURES);
    float *actions = into->action + (size_t)i * MOST_ACTIONS * ACTION_FEATURES;
    memset(actions, 0, sizeof(float) * MOST_ACTIONS * ACTION_FEATURES);
    look(search, s, actions, &greedy);
    for (int32_t a = 0; a < MOST_ACTIONS; a++)
        into->visits[i * MOST_ACTIONS + a] = node->legal >> a & 1 ? (float)node->visits[a] : -1.0f;
}

static int play_out(Search *search, State *s, Samples *samples) {
    int32_t root = NOWHERE, played = 0;
    while (!over(s)) {
        if (root == NOWHERE || !search->nodes[root].expanded) {
            search->count = 0;
            root = new_node(search);
            expand(search, &search->nodes[root], s);
        }
        Node *node = &search->nodes[root];
        int32_t action;
        if ((node->legal & (node->legal - 1)) == 0) {
            for (action = 0; !(node->legal >> action & 1);) action++;
        } else {
            if (search->set->noise > 0.0) disturb(search, node);
            for (int32_t i = 0; i < search->set->simulations; i++) {
                if (search->count + 1 >= search->room) { /* the tree is full: it grows anew from here */
                    search->count = 0;
                    root = new_node(search);
                    node = &search->nodes[root];
                    expand(search, node, s);
                }
                simulate(search, root, s);
            }
            keep_sample(samples, search, s, node);
            action = decide(search, node, played++ < search->set->sampled);
        }
        Move move = examine(s, action);
        make(s, action, &move);
        root = search->nodes[root].child[action];
    }
    return 1;
}

/* Search a game. Returns 0 without memory.
 *
 * net: NULL for priors that lean to the greedy action. demand: bytes alive at each step. choice: gets the best mapping
 * met. seconds: gets the baseline's, the best's, and that of the game as it was played. */
int32_t optc_game_search(const Problem *p, const Network *net, const Settings *set, const double *demand,
                         int32_t *choice, double *seconds, Samples *samples) {
    Search search = {.p = p, .net = net, .set = set, .demand = demand, .best_choice = choice, .random = set->seed};
    State s;
    size_t most = 2 * (size_t)p->accesses + 1;
    search.room = 65536;
    search.nodes = malloc(sizeof(Node) * (size_t)search.room);
    search.queue = malloc(sizeof(int32_t) * most);
    search.left = malloc(sizeof(double) * most);
    int ready = open_state(&s, p);
    ready = open_state(&search.leaf, p) && ready && search.nodes && search.queue && search.left;
    if (ready) {
        start(&s);
        copy_state(&search.leaf, &s);
        finish_greedily(&search.leaf);
        search.best = INFINITY;
        search.baseline = makespan(&search.leaf, search.queue, search.left);
        finished(&search, &search.leaf);
        seconds[0] = search.baseline;
        play_out(&search, &s, samples);
        finished(&search, &s);
        seconds[2] = makespan(&s, search.queue, search.left);
        seconds[1] = search.best;
    }
    free(search.nodes);
    free(search.queue);
    free(search.left);
    free(s.block);
    free(search.leaf.block);
    return ready;
}
