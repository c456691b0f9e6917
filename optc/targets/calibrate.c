/* Prints: f32 FLOP/s of one core, operations/s of dot products of bytes (0 where none are known here), read bandwidth of all cores beyond the caches, then the read bandwidth of one core
   for each working set. Arguments: cores, then working sets in bytes (the last one beyond the caches). */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef float vector __attribute__((vector_size(VECTOR_BYTES)));
#define LANES (VECTOR_BYTES / 4)

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static volatile float sink;

#if defined(__x86_64__)
#define IN_REGISTER "+x"
#elif defined(__aarch64__)
#define IN_REGISTER "+w"
#else
#define IN_REGISTER "+m"
#endif
#define CHAIN(k) a##k = a##k * b + c; __asm__ volatile("" : IN_REGISTER(a##k))

/* Ten independent chains: latency 4 times two units is 8, and 16 registers also hold b and c. */
static double flops_once(long rounds) {
    vector b, c;
    for (int i = 0; i < LANES; i++) b[i] = 0.999f, c[i] = 1e-6f;
    vector a0 = c, a1 = c, a2 = c, a3 = c, a4 = c, a5 = c, a6 = c, a7 = c, a8 = c, a9 = c;
    double start = now();
    for (long r = 0; r < rounds; r++) {
        CHAIN(0); CHAIN(1); CHAIN(2); CHAIN(3); CHAIN(4);
        CHAIN(5); CHAIN(6); CHAIN(7); CHAIN(8); CHAIN(9);
    }
    double seconds = now() - start;
    vector total = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9;
    sink = total[0];
    return 2.0 * LANES * 10 * rounds / seconds;
}

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__AVX512VNNI__) && VECTOR_BYTES == 64
typedef __m512i bytes;
#define DOT(a, x, w) _mm512_dpbusd_epi32(a, x, w)
#elif defined(__AVXVNNI__)
typedef __m256i bytes;
#define DOT(a, x, w) _mm256_dpbusd_avx_epi32(a, x, w)
#elif defined(__AVX512BW__) && VECTOR_BYTES == 64
typedef __m512i bytes;
#define DOT(a, x, w) _mm512_add_epi32(a, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), w))
#elif defined(__AVX2__)
typedef __m256i bytes;
#define DOT(a, x, w) _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), w))
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
typedef int32x4_t bytes;
#define DOT(a, x, w) vdotq_s32(a, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(w))
#endif

/* Four products a lane; the same ten chains. */
static double dots_once(long rounds) {
#ifdef DOT
    bytes x, w;
    memset(&x, 3, sizeof x);
    memset(&w, 1, sizeof w);
    bytes a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x, a8 = x, a9 = x;
#define DOTS(k) a##k = DOT(a##k, x, w); __asm__ volatile("" : IN_REGISTER(a##k), IN_REGISTER(x))
    double start = now();
    for (long r = 0; r < rounds; r++) {
        DOTS(0); DOTS(1); DOTS(2); DOTS(3); DOTS(4);
        DOTS(5); DOTS(6); DOTS(7); DOTS(8); DOTS(9);
    }
    double seconds = now() - start;
    bytes all[10] = {a0, a1, a2, a3, a4, a5, a6, a7, a8, a9};
    int first[10];
    for (int i = 0; i < 10; i++) memcpy(&first[i], &all[i], sizeof(int)), sink += first[i];
    return 2.0 * sizeof(bytes) * 10 * rounds / seconds;
#else
    (void)rounds;
    return 0;
#endif
}

static double read_once(const vector *data, long vectors, long rounds) {
    vector s[8];
    memset(s, 0, sizeof s);
    double start = now();
    for (long r = 0; r < rounds; r++) {
        for (long i = 0; i + 8 <= vectors; i += 8)
            for (int k = 0; k < 8; k++) s[k] += data[i + k];
        __asm__ volatile("" ::: "memory");
    }
    double seconds = now() - start;
    vector total = s[0];
    for (int k = 1; k < 8; k++) total += s[k];
    sink = total[0];
    return (double)VECTOR_BYTES * (vectors / 8 * 8) * rounds / seconds;
}

static double read_best(const vector *data, long bytes) {
    long vectors = bytes / VECTOR_BYTES, rounds = (64L << 20) / bytes + 1;
    double best = 0;
    for (int attempt = 0; attempt < 5; attempt++) {
        double rate = read_once(data, vectors, rounds);
        if (rate > best) best = rate;
    }
    return best;
}

static pthread_barrier_t barrier;
struct job { long bytes; double seconds; };

static void *stream(void *argument) {
    struct job *job = argument;
    vector *data = aligned_alloc(64, job->bytes);
    if (!data) exit(1);
    memset(data, 0, job->bytes);
    read_once(data, job->bytes / VECTOR_BYTES, 1);
    pthread_barrier_wait(&barrier);
    double start = now();
    for (int r = 0; r < 4; r++) read_once(data, job->bytes / VECTOR_BYTES, 1);
    pthread_barrier_wait(&barrier);
    job->seconds = now() - start;
    free(data);
    return 0;
}

int main(int argc, char **argv) {
    int cores = atoi(argv[1]);
    long largest = atol(argv[argc - 1]);
    double peak = 0, dots = 0;
    for (int attempt = 0; attempt < 8; attempt++) {
        double rate = flops_once(2000000), byte_rate = dots_once(2000000);
        if (rate > peak) peak = rate;
        if (byte_rate > dots) dots = byte_rate;
    }
    struct job jobs[cores];
    pthread_t threads[cores];
    pthread_barrier_init(&barrier, 0, cores);
    for (int i = 0; i < cores; i++) {
        jobs[i].bytes = largest / 64 * 64;
        if (pthread_create(&threads[i], 0, stream, &jobs[i])) return 1;
    }
    double longest = 0;
    for (int i = 0; i < cores; i++) {
        pthread_join(threads[i], 0);
        if (jobs[i].seconds > longest) longest = jobs[i].seconds;
    }
    printf("%.6e %.6e %.6e", peak, dots, 4.0 * jobs[0].bytes * cores / longest);
    vector *data = aligned_alloc(64, (largest + 63) / 64 * 64);
    if (!data) return 1;
    memset(data, 0, largest);
    for (int i = 2; i < argc; i++) printf(" %.6e", read_best(data, atol(argv[i])));
    printf("\n");
    return 0;
}
